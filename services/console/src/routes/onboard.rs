//! Routers and devices that people add one by one, and take away again. What a network file names is the file's.

use super::orders::by_name;
use crate::{
    adopt::{below, checked_id, keys},
    desk::{Answer, Desk, Within, read},
    import::Change,
    laid::{Key, Laid},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use events::{
    DeviceClass, Fingerprint, Grant, Inventory, Login, Node, NodeId, NodeKind, Noun, Origin, Probe, Tier,
    Token, Watch,
};
use kit::{Filter, From, config::Secret, http::Problem};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};
use utoipa::ToSchema;
use uuid::Uuid;
use vault::{Field, TenantKeys};

/// The longest user name, password and name.
const TEXT_MAX: usize = 200;
/// How often the server looks at a router that a person has added, seconds (requirements, R10).
const HEARTBEAT_S: u32 = 60;
/// The ports of the routers' API, without and with TLS.
const PORTS: (u16, u16) = (8728, 8729);

/// A router that is to be looked after.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRouter {
    /// Its id, as a network file would have it.
    id: String,
    /// Where it answers: an IP address.
    address: String,
    /// The user to log in as.
    #[schema(value_type = String)]
    user: Secret,
    /// That user's password.
    #[schema(value_type = String)]
    password: Secret,
    /// The port of its API; 8728, with TLS 8729, if absent.
    port: Option<u16>,
    /// Whether its API is spoken to over TLS.
    #[serde(default)]
    tls: bool,
    /// The certificate that it must show then: `sha256:` and 64 hexadecimal digits. If absent the one that it had to show
    /// before, else one that an authority of the keepers has signed.
    certificate: Option<String>,
    /// What people read; its id if absent.
    name: Option<String>,
    /// What it hangs on: an id. Absent: it stands by itself.
    parent: Option<String>,
    /// The person, if the token is used by several.
    by: Option<String>,
}

/// Whether a router may be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Management {
    /// Whether it may.
    manage: bool,
    /// The person, if the token is used by several.
    by: Option<String>,
}

/// A router that is looked after.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RouterAdded {
    /// Which node it is.
    node: Uuid,
    /// Its id, as a network file would have it.
    file_id: String,
    /// Whether it may be changed.
    is_managed: bool,
    /// The certificate that it must show, if one is pinned.
    certificate: Option<String>,
    /// The revision of the inventory that says so.
    revision: u64,
}

/// Adds a router, or puts another login in the place of the one it had. Nothing is written to it.
#[utoipa::path(
    post, path = "/api/v1/routers", tag = "routers", request_body = NewRouter,
    responses((status = 200, body = RouterAdded), (status = 409), (status = 422))
)]
pub(crate) async fn add(State(desk): State<Desk>, within: Within, body: Bytes) -> Answer<Json<RouterAdded>> {
    let new: NewRouter = read(&body)?;
    let file_id = checked_id(&new.id)?;
    let address: IpAddr = new
        .address
        .parse()
        .map_err(|_| Problem::impossible("address", "`address` is an IP address like 10.0.0.1"))?;
    let texts = [new.user.reveal(), new.password.reveal(), new.name.as_deref().unwrap_or("x")];
    if new.user.reveal().is_empty() || texts.iter().any(|text| text.len() > TEXT_MAX) {
        let why = format!("`user` is 1 to {TEXT_MAX} bytes, `password` and `name` at most that");
        return Err(Problem::impossible("login", why).into());
    }
    let certificate = certificate(&new)?;
    let by = by_name(&within, new.by)?;
    let keys = keys(&desk, &within).await?;
    let laid = desk.inventories.now(within.tenant).await?;
    let id = NodeId::of(within.tenant, &file_id);
    let before = desk.inventories.node(&laid, id).await?;
    if before.as_ref().is_some_and(|node| node.origin.is_file()) {
        return Err(of_the_file(&file_id).into());
    }
    let parent = match &new.parent {
        Some(called) => {
            let found = desk.node_called(within.tenant, &laid, called).await?;
            Some(found.ok_or_else(|| Problem::impossible("parent", format!("there is no `{called}`")))?)
        }
        None => None,
    };
    if parent.as_ref().is_some_and(|parent| parent.id == id) {
        return Err(Problem::impossible("parent", "nothing hangs on itself").into());
    }
    let login = before.as_ref().and_then(|node| node.login.as_ref());
    let login = Login {
        port: new.port.unwrap_or(if new.tls { PORTS.1 } else { PORTS.0 }),
        tls: new.tls,
        certificate: certificate.or(login.and_then(|login| login.certificate)).filter(|_| new.tls),
        secret: keys.seal_login(Field::Login(id), new.user.reveal(), new.password.reveal()),
        manage: login.is_some_and(|login| login.manage),
        enforce: login.is_some_and(|login| login.enforce),
        token: login.and_then(|login| login.token.clone()),
    };
    let (is_managed, pinned) = (login.manage, text_of(&login));
    let known = before.as_deref().cloned();
    let known = known.unwrap_or_else(|| fresh(id, &file_id, parent.as_ref().map(|parent| parent.tier)));
    let router = Node {
        name: new.name.unwrap_or(known.name),
        needs: parent.as_ref().map_or(known.needs, |parent| vec![below(parent.id)]),
        seen_by: parent.filter(|parent| parent.login.is_some()).map(|parent| parent.id).or(known.seen_by),
        address: Some(address),
        watch: known.watch.or(Some(Watch { probe: Probe::RouterOs, every_s: HEARTBEAT_S })),
        login: Some(login),
        ..known
    };
    let revision = say(&desk, &within, laid, router, vec![], &by).await?;
    Ok(Json(RouterAdded { node: id.0, file_id, is_managed, certificate: pinned, revision }))
}

/// Allows a router that a person has added to be changed, or forbids it.
#[utoipa::path(
    put, path = "/api/v1/routers/{router}/manage", tag = "routers",
    params(("router" = String, Path, description = "Its id.")),
    request_body = Management, responses((status = 200, body = RouterAdded), (status = 404), (status = 409))
)]
pub(crate) async fn manage(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    body: Bytes,
) -> Answer<Json<RouterAdded>> {
    let laid = desk.inventories.now(within.tenant).await?;
    let found = desk.node_called(within.tenant, &laid, &called).await?;
    let found = found.ok_or_else(|| Problem::not_found("there is no such router"))?;
    let wanted: Management = read(&body)?;
    let by = by_name(&within, wanted.by)?;
    let keys = keys(&desk, &within).await?;
    if found.origin.is_file() {
        return Err(of_the_file(&found.file_id).into());
    }
    let Some(login) = found.login.clone() else {
        return Err(Problem::impossible("login", "nobody has said how to log in to it").into());
    };
    let (token, tokens) = if wanted.manage {
        let text = keys.router_token(found.id);
        let sealed = keys.seal(Field::RouterToken(found.id), text.as_bytes());
        (Some(sealed), vec![grant(&keys, &found, false)?])
    } else {
        (None, vec![])
    };
    let (node, file_id, certificate) = (found.id.0, found.file_id.clone(), text_of(&login));
    let router = Node { login: Some(Login { manage: wanted.manage, token, ..login }), ..(*found).clone() };
    let revision = say(&desk, &within, laid, router, tokens, &by).await?;
    Ok(Json(RouterAdded { node, file_id, is_managed: wanted.manage, certificate, revision }))
}

/// Takes a node out of the inventory that a person has added, and on which nothing hangs. What was put on routers stays
/// there until they are looked at.
#[utoipa::path(
    delete, path = "/api/v1/inventory/nodes/{node}", tag = "inventory",
    params(("node" = String, Path, description = "Its id, or its id as in a network file.")),
    responses((status = 204), (status = 404), (status = 409))
)]
pub(crate) async fn remove(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
) -> Answer<StatusCode> {
    let laid = desk.inventories.now(within.tenant).await?;
    let found = desk.node_called(within.tenant, &laid, &called).await?;
    let found = found.ok_or_else(|| Problem::not_found("there is no such node"))?;
    if found.origin.is_file() {
        return Err(of_the_file(&found.file_id).into());
    }
    if let Some(hanging) = hangs_on(&desk, &within, found.id).await? {
        return Err(Problem::conflict(format!("`{hanging}` hangs on it: remove that first")).into());
    }
    let tokens = match &found.login {
        Some(login) if login.manage => vec![grant(&keys(&desk, &within).await?, &found, true)?],
        Some(_) | None => vec![],
    };
    let change = Change::by_hand(within.tenant, &laid, &within.who.name);
    drop(laid);
    desk.importer.change(&change, vec![Inventory::NodeRemoved { id: found.id }], tokens, vec![]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The certificate that a new router is to show.
fn certificate(new: &NewRouter) -> Answer<Option<Fingerprint>> {
    let Some(text) = &new.certificate else { return Ok(None) };
    if !new.tls {
        let why = "`certificate` goes with `tls`: without TLS a router shows none";
        return Err(Problem::impossible("certificate", why).into());
    }
    let fingerprint = text.parse();
    Ok(Some(
        fingerprint.map_err(|error| Problem::impossible("certificate", format!("`certificate`: {error}")))?,
    ))
}

fn text_of(login: &Login) -> Option<String> {
    login.certificate.map(|certificate| certificate.to_string())
}

/// A router nobody has heard of.
fn fresh(id: NodeId, file_id: &str, above: Option<Tier>) -> Node {
    let tier = above.map_or(Tier::Core, |above| above.max(Tier::Site));
    let kind = NodeKind::Device { class: DeviceClass::Router };
    Node { origin: Origin::Hand, ..Node::bare(id, file_id, kind, tier) }
}

/// The token that a router's scripts carry.
fn grant(keys: &TenantKeys, router: &Node, revoked: bool) -> Answer<Token> {
    let kept = vault::kept(&keys.router_token(router.id), Grant::Router { router: router.id }, &router.name);
    Ok(Token { revoked, ..kept.map_err(|_| Problem::internal())? })
}

fn of_the_file(file_id: &str) -> Problem {
    Problem::conflict(format!("the network file has `{file_id}`: change it there, and import"))
}

/// Somebody who needs `id` or is seen by it, if anybody does. The whole inventory is read for it, once.
async fn hangs_on(desk: &Desk, within: &Within, id: NodeId) -> Answer<Option<String>> {
    let mut network = domain::Network::default();
    let filters =
        [Noun::Inventory, Noun::Part, Noun::Revision].map(|noun| Filter::noun(noun).tenant(within.tenant));
    let end = desk.log.state().await?.last_seq;
    let mut reader = desk.log.read(&filters, From::Start, Some(end));
    while let Some(raw) = reader.next().await? {
        if let Ok(heard) = raw.decode() {
            network.hear(&heard);
        }
    }
    _ = network.refresh();
    let graph = &network.graph;
    let Some(index) = graph.index_of(id) else { return Ok(None) };
    let hanging = graph.below(index).iter().chain(graph.sees(index)).filter(|other| **other != index);
    Ok(hanging.filter_map(|other| graph.node(*other)).map(|node| node.file_id.clone()).min())
}

/// Says a node with its tokens; gives the number of the revision.
async fn say(
    desk: &Desk,
    within: &Within,
    laid: tokio::sync::OwnedMutexGuard<Laid>,
    node: Node,
    tokens: Vec<Token>,
    by: &str,
) -> Answer<u64> {
    let thing = Inventory::Node(Arc::new(node));
    let is_as_before = laid.things.get(&Key::of(&thing)).map(|lies| lies.like) == crate::laid::like(&thing);
    if is_as_before && tokens.is_empty() {
        return Ok(laid.number());
    }
    let change = Change::by_hand(within.tenant, &laid, by);
    drop(laid);
    desk.importer.change(&change, vec![thing], tokens, vec![]).await?;
    Ok(change.number)
}
