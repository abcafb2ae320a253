//! How far routers can be trusted to tell: by whom changes of what they see were first spoken of.

use super::{
    inventory::nodes_called,
    list::{Page, rows},
};
use crate::{
    desk::{Answer, Desk, Within},
    read_models::TrustRow,
};
use axum::{
    Json,
    extract::{Query, State},
};
use kit::http::Problem;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

/// The most days that are looked back.
const DAYS_MAX: i32 = 365;
/// So many unless something else is asked for.
const DAYS: i32 = 30;

/// Of which routers, and how far back.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichTrust {
    /// One router: its id, or its id in the network file.
    router: Option<String>,
    /// How many days are looked back: 1 to 365; 30 if absent.
    days: Option<i32>,
    /// Where the page before ended.
    cursor: Option<Uuid>,
    /// How many routers at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// By whom changes of what routers see were first spoken of: their scripts (push), we who looked (poll), or only the
/// reconciler. Routers of which nothing changed are left out.
#[utoipa::path(
    get, path = "/api/v1/trust", tag = "routers", params(WhichTrust),
    responses((status = 200, body = Page<TrustRow>), (status = 400))
)]
pub(crate) async fn list(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<WhichTrust>,
) -> Answer<Json<Page<TrustRow>>> {
    let limit = rows(which.limit)?;
    let days = which.days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Problem::malformed(format!("`days` is 1 to {DAYS_MAX}")).into());
    }
    let routers = which.router.map(|called| nodes_called(within.tenant, &called));
    let found = desk.models.trust(within.tenant, routers.as_deref(), days, which.cursor, limit).await?;
    Ok(Json(Page::of(found, limit, |row| row.router.to_string())))
}
