//! Tenants' keys: wrapped again under the newest master key.

use crate::{
    access::Rewrapped,
    desk::{Answer, Caller, Desk},
};
use axum::{Json, extract::State};
use kit::http::Problem;
use serde::Serialize;
use utoipa::ToSchema;

/// What became of tenants' keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RewrappedShown {
    /// How many were wrapped again.
    rewrapped: usize,
    /// How many were wrapped under the newest master key already.
    already: usize,
    /// The ids of the tenants whose keys no master key that is held opens.
    unopened: Vec<String>,
}

/// Wraps every tenant's keys under the newest master key, which is read again before. For administrators. While
/// `unopened` is not empty, no master key should be thrown away.
#[utoipa::path(
    post, path = "/api/v1/keys/rewrap", tag = "keys",
    responses((status = 200, body = RewrappedShown), (status = 403), (status = 503))
)]
pub(crate) async fn rewrap(State(desk): State<Desk>, Caller(who): Caller) -> Answer<Json<RewrappedShown>> {
    if who.tenant.is_some() {
        return Err(Problem::forbidden("only an administrator wraps tenants' keys").into());
    }
    let Rewrapped { rewrapped, already, unopened } = desk.register.rewrap(&who.name).await?;
    let unopened = unopened.iter().map(ToString::to_string).collect();
    Ok(Json(RewrappedShown { rewrapped, already, unopened }))
}
