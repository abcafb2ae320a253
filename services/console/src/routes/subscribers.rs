//! Subscribers: what they are entitled to, and how far routers show it. For billing systems and support.

use super::{
    list::{Page, after, one_of, rows},
    orders::{OrderStored, Ordered, Stored, by_name, by_whom, place_as},
    routers::router_called,
};
use crate::{
    desk::{Answer, Desk, Within, request_id},
    entitlements::{Asked, EntitlementStored, Rest},
    laid::Key,
    read_models::{CuttingRow, EnforcementRow, EntitlementRow, RouterEnforcementRow},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::HeaderMap,
};
use events::{Cutting, NodeId, Order, PlanDigest, Rate, ServiceState};
use kit::{config::Secret, http::Problem};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The most subscribers that one request says something of.
const SERVICES_MAX: usize = 500;
/// The longest name of a profile, account, password and reason.
const TEXT_MAX: usize = 200;
/// The fastest that a queue can be: 1 Tbit/s.
const BPS_MAX: u64 = 1_000_000_000_000;

/// Whether a subscriber is served.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Served {
    /// It is served.
    Active,
    /// It is cut off until it is active again.
    Suspended,
    /// Its service is over: what we put on routers for it goes.
    Ended,
    /// It is not ours any more: what is on routers stays as it is.
    Released,
}

/// How fast it may be, bits per second.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Speed {
    /// From the subscriber.
    up_bps: u64,
    /// To the subscriber.
    down_bps: u64,
}

/// What a subscriber is to get. What is absent is left as routers have it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewService {
    /// Whether it is served.
    state: Served,
    /// The PPP profile of its plan, as routers call it.
    profile: Option<String>,
    /// How fast it may be: a queue of its address.
    rate: Option<Speed>,
    /// The address that it always gets when it dials in.
    #[schema(value_type = Option<String>)]
    address: Option<Secret>,
    /// The user's password, who is added with it where nobody knows him and given it where somebody does. Absent: the one that was given before.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    /// The person, if the token is used by several.
    by: Option<String>,
}

/// The same of one of several.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewServiceOf {
    /// The account in the operator's books.
    account: String,
    #[serde(flatten)]
    service: NewService,
}

/// What a subscriber is entitled to, and how far routers show it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceShown {
    #[serde(flatten)]
    entitlement: EntitlementRow,
    /// How it stands at each router that may hold its session. Nothing: no router of it allows that anything is
    /// enforced there (`enforce: on` in its `login`), or nobody has looked yet.
    at_routers: Vec<EnforcementRow>,
}

/// Which standings.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichStandings {
    /// waiting, begun, in_force, partly, held or failed; without it all that are not in force.
    state: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// The switch that stops all cutting off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCutting {
    /// Whether nobody is cut off.
    halted: bool,
    /// Why, for people.
    why: Option<String>,
    /// The person, if the token is used by several.
    by: Option<String>,
}

/// Which are to be cut off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CutHeld {
    /// What the router's standing names as `held_plan`: yes to these, and to no others.
    plan: Uuid,
    /// The person, if the token is used by several.
    by: Option<String>,
}

/// What a subscriber is entitled to, and how far routers show it.
#[utoipa::path(
    get, path = "/api/v1/subscribers/{account}/service", tag = "subscribers",
    params(("account" = String, Path, description = "The account in the network file.")),
    responses((status = 200, body = ServiceShown), (status = 404))
)]
pub(crate) async fn show(
    State(desk): State<Desk>,
    within: Within,
    Path(account): Path<String>,
) -> Answer<Json<ServiceShown>> {
    let node = node_of(&within, &account);
    let found = desk.models.entitlement(within.tenant, node).await?;
    let (entitlement, at_routers) =
        found.ok_or_else(|| Problem::not_found("nothing was said of what it is entitled to"))?;
    Ok(Json(ServiceShown { entitlement, at_routers }))
}

/// Says what a subscriber is to get. The same again changes nothing. `If-Match` with the place (`seq`) of what was read:
/// only if nothing was said since.
#[utoipa::path(
    put, path = "/api/v1/subscribers/{account}/service", tag = "subscribers",
    params(("account" = String, Path, description = "The account in the network file.")),
    request_body = NewService,
    responses((status = 200, body = EntitlementStored), (status = 404), (status = 409), (status = 422))
)]
pub(crate) async fn put(
    State(desk): State<Desk>,
    within: Within,
    Path(account): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewService>,
) -> Answer<Json<EntitlementStored>> {
    let by = by_name(&within, new.by.clone())?;
    one(&desk, &within, (asked(account, new)?, by), &headers).await
}

/// Says what several subscribers are to get, all or none of them, at most 500.
#[utoipa::path(
    put, path = "/api/v1/services", tag = "subscribers", request_body = Vec<NewServiceOf>,
    responses((status = 200, body = Vec<EntitlementStored>), (status = 404), (status = 422))
)]
pub(crate) async fn put_all(
    State(desk): State<Desk>,
    within: Within,
    headers: HeaderMap,
    Json(new): Json<Vec<NewServiceOf>>,
) -> Answer<Json<Vec<EntitlementStored>>> {
    if new.len() > SERVICES_MAX {
        return Err(Problem::too_large(format!("at most {SERVICES_MAX} subscribers in one request")).into());
    }
    let by = by_name(&within, new.first().and_then(|new| new.service.by.clone()))?;
    let accounts: BTreeSet<&str> = new.iter().map(|new| new.account.as_str()).collect();
    if accounts.len() != new.len() {
        return Err(Problem::impossible("account", "an account stands there twice").into());
    }
    let asked: Vec<Asked> =
        new.into_iter().map(|new| asked(new.account, new.service)).collect::<Answer<_>>()?;
    are_known(&desk, &within, &asked).await?;
    let request = request_id(&within.who, &headers)?;
    Ok(Json(desk.entitle(&within, asked, (&by, request), None).await?))
}

/// Suspends a subscriber; everything else that it is entitled to stays.
#[utoipa::path(
    post, path = "/api/v1/subscribers/{account}/suspend", tag = "subscribers",
    params(("account" = String, Path, description = "The account in the network file.")),
    request_body = Option<Ordered>, responses((status = 200, body = EntitlementStored), (status = 404))
)]
pub(crate) async fn suspend(
    State(desk): State<Desk>,
    within: Within,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Json<EntitlementStored>> {
    set(&desk, &within, (account, ServiceState::Suspended), &headers, &body).await
}

/// Serves a subscriber again; everything else that it is entitled to stays.
#[utoipa::path(
    post, path = "/api/v1/subscribers/{account}/resume", tag = "subscribers",
    params(("account" = String, Path, description = "The account in the network file.")),
    request_body = Option<Ordered>, responses((status = 200, body = EntitlementStored), (status = 404))
)]
pub(crate) async fn resume(
    State(desk): State<Desk>,
    within: Within,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Json<EntitlementStored>> {
    set(&desk, &within, (account, ServiceState::Active), &headers, &body).await
}

/// How subscribers stand at their routers; without a state those that are not in force.
#[utoipa::path(
    get, path = "/api/v1/enforcement", tag = "subscribers", params(WhichStandings),
    responses((status = 200, body = Page<EnforcementRow>))
)]
pub(crate) async fn standings(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<WhichStandings>,
) -> Answer<Json<Page<EnforcementRow>>> {
    let (limit, after) = (rows(which.limit)?, after(which.cursor.as_deref())?);
    let states = ["waiting", "begun", "in_force", "partly", "held", "failed"];
    let state = one_of("state", which.state, &states)?;
    let found = desk.models.enforcements(within.tenant, state, after, limit).await?;
    Ok(Json(Page::of(found, limit, |row| row.event.to_string())))
}

/// How a router stands against what its subscribers are entitled to.
#[utoipa::path(
    get, path = "/api/v1/routers/{router}/enforcement", tag = "routers",
    params(("router" = String, Path, description = "Its id, or its id in the network file.")),
    responses((status = 200, body = RouterEnforcementRow), (status = 404))
)]
pub(crate) async fn router(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
) -> Answer<Json<RouterEnforcementRow>> {
    let id = called.parse().unwrap_or_else(|_| NodeId::of(within.tenant, &called));
    let found = desk.models.router_enforcement(within.tenant, id).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found("nothing was said of such a router yet"))?))
}

/// Says yes to cutting off those who are held back at a router because they are too many.
#[utoipa::path(
    post, path = "/api/v1/routers/{router}/cut-held", tag = "routers",
    params(("router" = String, Path, description = "Its id, or its id in the network file.")),
    request_body = CutHeld, responses((status = 202, body = OrderStored), (status = 404), (status = 422))
)]
pub(crate) async fn cut_held(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    headers: HeaderMap,
    Json(held): Json<CutHeld>,
) -> Stored {
    let (router, login) = router_called(&desk, &within, &called).await?;
    if !login.enforce {
        let why = "nobody has allowed subscribers to be cut off there: write `enforce: on` into its `login` and import";
        return Err(Problem::impossible("not_enforcing", why).into());
    }
    let by = by_name(&within, held.by)?;
    place_as(&desk, &within, Order::CutHeld { router, plan: PlanDigest(held.plan) }, &headers, by).await
}

/// Whether all cutting off is halted.
#[utoipa::path(
    get, path = "/api/v1/cutting", tag = "subscribers", responses((status = 200, body = CuttingRow))
)]
pub(crate) async fn cutting(State(desk): State<Desk>, within: Within) -> Answer<Json<CuttingRow>> {
    Ok(Json(desk.models.cutting(within.tenant).await?))
}

/// Halts all cutting off of subscribers at once, or lets it go on. Who is to be served again is, in any case.
#[utoipa::path(
    put, path = "/api/v1/cutting", tag = "subscribers", request_body = NewCutting,
    responses((status = 200, body = CuttingStored))
)]
pub(crate) async fn put_cutting(
    State(desk): State<Desk>,
    within: Within,
    headers: HeaderMap,
    Json(new): Json<NewCutting>,
) -> Answer<Json<CuttingStored>> {
    let by = by_name(&within, new.by)?;
    if let Some(why) = &new.why {
        is_text("why", why)?;
    }
    let cutting = Cutting { halted: new.halted, why: new.why };
    let request = request_id(&within.who, &headers)?;
    let seq = desk.switch_cutting(within.tenant, cutting, (by, request)).await?;
    Ok(Json(CuttingStored { seq }))
}

/// A switch that was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CuttingStored {
    /// Its place in the log.
    seq: u64,
}

async fn set(
    desk: &Desk,
    within: &Within,
    (account, state): (String, ServiceState),
    headers: &HeaderMap,
    body: &[u8],
) -> Answer<Json<EntitlementStored>> {
    let by = by_whom(within, body)?;
    one(desk, within, (Asked { account, state, rest: None }, by), headers).await
}

async fn one(
    desk: &Desk,
    within: &Within,
    (asked, by): (Asked, String),
    headers: &HeaderMap,
) -> Answer<Json<EntitlementStored>> {
    let asked = vec![asked];
    are_known(desk, within, &asked).await?;
    let expected = match headers.get("if-match") {
        None => None,
        Some(place) => {
            let place = place.to_str().ok().and_then(|place| place.trim_matches('"').parse::<u64>().ok());
            Some(place.ok_or_else(|| Problem::malformed("`If-Match` is the `seq` of what was read"))?)
        }
    };
    let request = request_id(&within.who, headers)?;
    let mut stored = desk.entitle(within, asked, (&by, request), expected).await?;
    Ok(Json(stored.pop().ok_or_else(Problem::internal)?))
}

/// Fails when one of them is not in the inventory. The log is asked, not the read models.
async fn are_known(desk: &Desk, within: &Within, asked: &[Asked]) -> Answer<()> {
    let laid = desk.inventories.now(within.tenant).await?;
    let is_known = |asked: &Asked| laid.things.contains_key(&Key::Node(node_of(within, &asked.account)));
    match asked.iter().position(|asked| !is_known(asked)) {
        None => Ok(()),
        Some(_) if asked.len() == 1 => Err(Problem::not_found("there is no such subscriber").into()),
        Some(n) => Err(Problem::not_found(format!("there is no subscriber as number {n}, from 0")).into()),
    }
}

fn node_of(within: &Within, account: &str) -> NodeId {
    NodeId::of_account(within.tenant, account)
}

fn asked(account: String, new: NewService) -> Answer<Asked> {
    is_text("account", &account)?;
    if let Some(profile) = &new.profile {
        is_text("profile", profile)?;
    }
    if let Some(password) = &new.password {
        is_text("password", password.reveal())?;
    }
    let address = new.address.map(|address| address.reveal().parse()).transpose();
    let address = address.map_err(|_| Problem::impossible("address", "`address` is no IP address"))?;
    let is_speed =
        |speed: &Speed| (1..=BPS_MAX).contains(&speed.up_bps) && (1..=BPS_MAX).contains(&speed.down_bps);
    if new.rate.is_some_and(|rate| !is_speed(&rate)) {
        let why = format!("`up_bps` and `down_bps` are 1 to {BPS_MAX} bits per second");
        return Err(Problem::impossible("rate", why).into());
    }
    let state = match new.state {
        Served::Active => ServiceState::Active,
        Served::Suspended => ServiceState::Suspended,
        Served::Ended => ServiceState::Ended,
        Served::Released => ServiceState::Released,
    };
    let rate = new.rate.map(|rate| Rate { up_bps: rate.up_bps, down_bps: rate.down_bps });
    let rest = Some(Rest { profile: new.profile, rate, address, password: new.password });
    Ok(Asked { account, state, rest })
}

/// A text that is said to a router stands on one line.
fn is_text(key: &str, text: &str) -> Answer<()> {
    if text.is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        let why = format!("`{key}` is 1 to {TEXT_MAX} bytes without control characters");
        return Err(Problem::impossible(key, why).into());
    }
    Ok(())
}
