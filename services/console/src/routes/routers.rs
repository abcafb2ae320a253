//! Routers: what would be changed on them, what was, and ordering either.

use super::{
    inventory::nodes_called,
    list::{Page, rows},
    orders::{OrderStored, Ordered, Stored, place},
};
use crate::{
    desk::{Answer, Desk, Within},
    read_models::{RepairRow, RouterPlanRow},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::HeaderMap,
};
use domain::plan::words;
use events::{Login, NodeId, Order, RouterChange};
use kit::http::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How a router stands, and what would be changed on it as it would be typed there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RouterPlanShown {
    #[serde(flatten)]
    plan: RouterPlanRow,
    /// The changes in router words, one a line.
    words: Vec<String>,
}

/// One change that was made or refused, as it would be typed at the router.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RepairShown {
    #[serde(flatten)]
    repair: RepairRow,
    /// The change in router words.
    words: String,
}

/// Which repairs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichRepairs {
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// How a router stands against what it should be, as it was last said.
#[utoipa::path(
    get, path = "/api/v1/routers/{router}/plan", tag = "routers",
    params(("router" = String, Path, description = "Its id, or its id in the network file.")),
    responses((status = 200, body = RouterPlanShown), (status = 404))
)]
pub(crate) async fn plan(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
) -> Answer<Json<RouterPlanShown>> {
    let found = desk.models.router_plan(within.tenant, &nodes_called(within.tenant, &called)).await?;
    let plan = found.ok_or_else(|| Problem::not_found("nothing was said of such a router yet"))?;
    let changes: Vec<RouterChange> = serde_json::from_value(plan.changes.clone()).unwrap_or_default();
    Ok(Json(RouterPlanShown { words: changes.iter().map(words).collect(), plan }))
}

/// What was changed on a router, the newest first.
#[utoipa::path(
    get, path = "/api/v1/routers/{router}/repairs", tag = "routers",
    params(("router" = String, Path, description = "Its id, or its id in the network file."), WhichRepairs),
    responses((status = 200, body = Page<RepairShown>), (status = 404))
)]
pub(crate) async fn repairs(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    Query(which): Query<WhichRepairs>,
) -> Answer<Json<Page<RepairShown>>> {
    let limit = rows(which.limit)?;
    let before = which.cursor.map(|cursor| cursor.parse::<i64>()).transpose();
    let before = before.map_err(|_| Problem::malformed("`cursor` is none of ours"))?;
    let ids = nodes_called(within.tenant, &called);
    let found = desk.models.repairs(within.tenant, &ids, before, limit).await?;
    if found.is_empty() {
        router_called(&desk, &within, &called).await?;
    }
    let shown = found.into_iter().map(|repair| {
        let change = serde_json::json!({
            "menu": repair.menu, "change": repair.change, "row": repair.row_id, "called": repair.called,
            "before": repair.before, "after": repair.after,
        });
        let words = serde_json::from_value(change).map(|change| words(&change)).unwrap_or_default();
        RepairShown { words, repair }
    });
    Ok(Json(Page::of(shown.collect(), limit, |shown| shown.repair.seq.to_string())))
}

/// Looks at a router now, and says what would be changed on it. Nothing is written there.
#[utoipa::path(
    post, path = "/api/v1/routers/{router}/plan", tag = "routers",
    params(("router" = String, Path, description = "Its id, or its id in the network file.")),
    request_body = Option<Ordered>, responses((status = 202, body = OrderStored), (status = 404))
)]
pub(crate) async fn draw(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Stored {
    let (router, _) = router_called(&desk, &within, &called).await?;
    place(&desk, &within, Order::DrawPlan { router }, &headers, &body).await
}

/// Looks at a router now, and changes what is not as it should be. Its operator must have allowed that.
#[utoipa::path(
    post, path = "/api/v1/routers/{router}/repair", tag = "routers",
    params(("router" = String, Path, description = "Its id, or its id in the network file.")),
    request_body = Option<Ordered>,
    responses((status = 202, body = OrderStored), (status = 404), (status = 422))
)]
pub(crate) async fn repair(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Stored {
    let (router, login) = router_called(&desk, &within, &called).await?;
    if !login.manage {
        let why =
            "nobody has allowed this router to be changed: write `manage: on` into its `login` and import";
        return Err(Problem::impossible("not_managed", why).into());
    }
    place(&desk, &within, Order::Repair { router }, &headers, &body).await
}

/// The router that is called so, and how it is entered. The log is asked, not the read models.
pub(crate) async fn router_called(desk: &Desk, within: &Within, called: &str) -> Answer<(NodeId, Login)> {
    let laid = desk.inventories.now(within.tenant).await?;
    let found = desk.node_called(within.tenant, &laid, called).await?;
    let router = found.ok_or_else(|| Problem::not_found("there is no such router"))?;
    match &router.login {
        Some(login) => Ok((router.id, login.clone())),
        None => Err(Problem::impossible("login", "the network file has no `login` for it").into()),
    }
}
