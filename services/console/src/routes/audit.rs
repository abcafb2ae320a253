//! Who did what, and who was turned away.

use super::list::{Page, one_of, rows};
use crate::{
    desk::{Answer, Caller, Desk, Within},
    read_models::AuditRow,
};
use axum::{
    Json,
    extract::{Query, State},
};
use events::{AUDITED, TenantId};
use kit::http::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichRecords {
    /// What was done: token_granted, token_revoked, keys_set, inventory_changed, entitlement_set, cutting_set,
    /// acknowledge, close_as_wrong, live_check, draw_plan, repair, cut_held, scan, add_sighting, reject_sighting,
    /// open_sightings or refused.
    what: Option<String>,
    /// Where the page before ended.
    cursor: Option<i64>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// Who did what of the tenant's, and who was turned away with one of its tokens. Newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", params(WhichRecords),
    responses((status = 200, body = Page<AuditRow>), (status = 400))
)]
pub(crate) async fn list(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<WhichRecords>,
) -> Answer<Json<Page<AuditRow>>> {
    page(&desk, within.tenant, which).await
}

/// The operator's own records: administrators' tokens, and who was turned away with a token that is nobody's. For
/// administrators.
#[utoipa::path(
    get, path = "/api/v1/operator/audit", tag = "audit", params(WhichRecords),
    responses((status = 200, body = Page<AuditRow>), (status = 400), (status = 403))
)]
pub(crate) async fn operators(
    State(desk): State<Desk>,
    Caller(who): Caller,
    Query(which): Query<WhichRecords>,
) -> Answer<Json<Page<AuditRow>>> {
    if who.tenant.is_some() {
        return Err(Problem::forbidden("only an administrator reads the operator's records").into());
    }
    page(&desk, TenantId::operator(), which).await
}

async fn page(desk: &Desk, tenant: TenantId, which: WhichRecords) -> Answer<Json<Page<AuditRow>>> {
    let limit = rows(which.limit)?;
    let what = one_of("what", which.what, &AUDITED)?;
    let found = desk.models.audit(tenant, what, which.cursor, limit).await?;
    Ok(Json(Page::of(found, limit, |row| row.seq.to_string())))
}
