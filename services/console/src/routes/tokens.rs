//! Tokens: grant, list without secrets, revoke. A secret is shown once.

use crate::{
    access::{AccessError, Held},
    desk::{Answer, Desk, Within, made},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use events::{Grant, NodeId, Token};
use ipnet::IpNet;
use kit::{PublishError, http::Problem};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;
use vault::FreshToken;

/// The longest name.
const NAME_MAX: usize = 200;
/// The most networks a token is bound to. As in network files.
const NETWORKS_MAX: usize = 64;
/// The most tokens of a tenant, revoked ones too.
const TOKENS_MAX: usize = 100_000;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Opens {
    /// A router may push claims about what it sees.
    Router,
    /// Another system may push claims about any node of the tenant.
    Signals,
    /// A person or program may use this API for the tenant.
    Console,
    /// The same for every tenant.
    Administrator,
}

/// A token that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// What operators call it: stands in the audit.
    name: String,
    /// What it opens: `router`, `signals` or `console`.
    opens: Opens,
    /// Which router: its id, or its id in the network file.
    router: Option<String>,
    /// From where it may be used, as `address/bits`; empty: from anywhere.
    #[serde(default)]
    networks: Vec<String>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenShown {
    /// The public part.
    prefix: String,
    /// What operators call it.
    name: String,
    /// What it opens.
    opens: Opens,
    /// Which router it is for.
    router: Option<uuid::Uuid>,
    /// From where it may be used; empty: from anywhere.
    networks: Vec<String>,
    /// Whether it opens nothing any more.
    revoked: bool,
    /// Who granted or revoked it.
    by: String,
}

/// A token that was just made: the only time that its secret is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenMade {
    /// The whole token.
    token: String,
    #[serde(flatten)]
    shown: TokenShown,
}

fn shown(token: &Token, by: &str) -> TokenShown {
    let (opens, router) = match token.grant {
        Grant::Router { router } => (Opens::Router, Some(router.0)),
        Grant::Signals => (Opens::Signals, None),
        Grant::Console => (Opens::Console, None),
        Grant::Administrator => (Opens::Administrator, None),
    };
    TokenShown {
        prefix: token.prefix.clone(),
        name: token.name.clone(),
        opens,
        router,
        networks: token.networks.clone(),
        revoked: token.revoked,
        by: by.to_owned(),
    }
}

/// The tenant's tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", responses((status = 200, body = Vec<TokenShown>)))]
pub(crate) async fn list(State(desk): State<Desk>, within: Within) -> Json<Vec<TokenShown>> {
    let held = desk.register.tokens(within.tenant);
    Json(held.values().map(|held| shown(&held.token, &held.by)).collect())
}

/// Grants a token. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = TokenMade), (status = 422))
)]
pub(crate) async fn grant(
    State(desk): State<Desk>,
    within: Within,
    Json(new): Json<NewToken>,
) -> Answer<Response> {
    if new.name.is_empty() || new.name.len() > NAME_MAX {
        return Err(Problem::impossible("name", format!("`name` is 1 to {NAME_MAX} bytes")).into());
    }
    let networks = networks(&new.networks)?;
    if desk.register.tokens(within.tenant).len() >= TOKENS_MAX {
        return Err(Problem::impossible("tokens", "the tenant has as many tokens as it can have").into());
    }
    let grant = match (new.opens, new.router) {
        (Opens::Router, Some(router)) => {
            Grant::Router { router: pushing_router(&desk, &within, &router).await? }
        }
        (Opens::Router, None) => return Err(Problem::impossible("router", "name the `router`").into()),
        (Opens::Signals | Opens::Console, Some(_)) => {
            return Err(Problem::impossible("router", "only a router's token names a `router`").into());
        }
        (Opens::Signals, None) => Grant::Signals,
        (Opens::Console, None) => Grant::Console,
        (Opens::Administrator, _) => {
            return Err(Problem::impossible("opens", "an administrator's token is made on the server").into());
        }
    };
    let fresh = FreshToken::random();
    let (prefix, sha256) = (fresh.prefix().to_owned(), fresh.sha256());
    let token = Token { prefix, sha256, grant, networks, name: new.name, revoked: false };
    desk.register.say_token(within.tenant, token.clone(), &within.who.name, 0).await?;
    Ok(made(TokenMade { token: fresh.text().to_owned(), shown: shown(&token, &within.who.name) }))
}

/// Revokes a token. What it was for is shut at once on this replica, and within moments everywhere.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{prefix}", tag = "tokens", params(("prefix" = String, Path)),
    responses((status = 204), (status = 404))
)]
pub(crate) async fn revoke(
    State(desk): State<Desk>,
    within: Within,
    Path(prefix): Path<String>,
) -> Answer<StatusCode> {
    let mut changes = 0;
    loop {
        let held = desk.register.tokens(within.tenant).remove(&prefix);
        let held = held.ok_or_else(|| Problem::not_found("there is no such token"))?;
        let Held { token, seq, .. } = held.as_ref();
        if token.revoked {
            return Ok(StatusCode::NO_CONTENT);
        }
        let revoked = Token { revoked: true, ..token.clone() };
        match desk.register.say_token(within.tenant, revoked, &within.who.name, *seq).await {
            Ok(()) => return Ok(StatusCode::NO_CONTENT),
            Err(AccessError::Publish(PublishError::Conflict { .. })) if changes < 3 => {
                // Somebody was faster: what they said is on its way to us.
                changes += 1;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The router that a token is to be for. One that nobody can enter may push all the same.
async fn pushing_router(desk: &Desk, within: &Within, called: &str) -> Answer<NodeId> {
    let laid = desk.inventories.now(within.tenant).await?;
    match desk.node_called(within.tenant, &laid, called).await? {
        Some(node) if node.login.is_some() || is_router(&node) => Ok(node.id),
        Some(_) => Err(Problem::impossible("router", "that node is no router").into()),
        None => Err(Problem::impossible("router", "there is no such router").into()),
    }
}

fn is_router(node: &events::Node) -> bool {
    matches!(node.kind, events::NodeKind::Device { class: events::DeviceClass::Router })
}

fn networks(given: &[String]) -> Answer<Vec<String>> {
    if given.len() > NETWORKS_MAX {
        return Err(Problem::impossible("networks", format!("at most {NETWORKS_MAX} networks")).into());
    }
    given
        .iter()
        .map(|text| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map(|network| network.trunc().to_string()).map_err(|_| {
                Problem::impossible("networks", "write a network like `10.0.3.0/24` or `10.0.3.1`").into()
            })
        })
        .collect()
}
