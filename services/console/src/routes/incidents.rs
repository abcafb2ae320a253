//! Incidents: list, show, and what people order about them.

use super::{
    list::{Page, one_of, rows},
    orders::{OrderStored, Ordered, Stored, place},
};
use crate::{
    desk::{Answer, Desk, Within},
    explain::{self, Explanation},
    read_models::{IncidentDetail, IncidentFilter, IncidentRow},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::HeaderMap,
};
use chrono::{DateTime, SecondsFormat, Utc};
use events::{IncidentId, Noun, Order, Subject};
use kit::http::Problem;
use serde::Deserialize;
use std::time::Duration;
use utoipa::IntoParams;
use uuid::Uuid;

/// Which incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// `open` (the default: all that are not over), `all`, or one of recovering, resolved, merged, closed.
    state: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// Incidents, the newest first.
#[utoipa::path(
    get, path = "/api/v1/incidents", tag = "incidents", params(Which),
    responses((status = 200, body = Page<IncidentRow>))
)]
pub(crate) async fn list(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<Which>,
) -> Answer<Json<Page<IncidentRow>>> {
    let limit = rows(which.limit)?;
    let states = ["open", "all", "recovering", "resolved", "merged", "closed"];
    let state = one_of("state", which.state, &states)?.unwrap_or_else(|| "open".into());
    let filter = IncidentFilter {
        open: state == "open",
        state: (state != "open" && state != "all").then_some(state),
        before: which.cursor.as_deref().map(before).transpose()?,
        limit,
    };
    let found = desk.models.incidents(within.tenant, filter).await?;
    Ok(Json(Page::of(found, limit, |incident| {
        let at = incident.opened_at.to_rfc3339_opts(SecondsFormat::Micros, true);
        format!("{at}_{}", incident.id)
    })))
}

fn before(cursor: &str) -> Answer<(DateTime<Utc>, Uuid)> {
    let read = || {
        let (at, id) = cursor.split_once('_')?;
        Some((at.parse().ok()?, Uuid::try_parse(id).ok()?))
    };
    read().ok_or_else(|| Problem::malformed("`cursor` is none of ours").into())
}

/// One incident with its causes, impact, story and notices.
#[utoipa::path(
    get, path = "/api/v1/incidents/{incident}", tag = "incidents", params(("incident" = Uuid, Path)),
    responses((status = 200, body = IncidentDetail), (status = 404))
)]
pub(crate) async fn show(
    State(desk): State<Desk>,
    within: Within,
    Path(id): Path<String>,
) -> Answer<Json<IncidentDetail>> {
    let found = desk.models.incident(within.tenant, incident_id(&id)?).await?;
    Ok(Json(found.ok_or_else(no_incident)?))
}

/// "I have it": stops the escalation.
#[utoipa::path(
    post, path = "/api/v1/incidents/{incident}/acknowledge", tag = "incidents",
    params(("incident" = Uuid, Path)), request_body = Option<Ordered>,
    responses((status = 202, body = OrderStored), (status = 404))
)]
pub(crate) async fn acknowledge(
    State(desk): State<Desk>,
    within: Within,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Stored {
    let incident = incident_id(&id)?;
    about(&desk, &within, incident, Order::Acknowledge { incident }, &headers, &body).await
}

/// "This was none."
#[utoipa::path(
    post, path = "/api/v1/incidents/{incident}/close-as-wrong", tag = "incidents",
    params(("incident" = Uuid, Path)), request_body = Option<Ordered>,
    responses((status = 202, body = OrderStored), (status = 404))
)]
pub(crate) async fn close_as_wrong(
    State(desk): State<Desk>,
    within: Within,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Stored {
    let incident = incident_id(&id)?;
    about(&desk, &within, incident, Order::CloseAsWrong { incident }, &headers, &body).await
}

/// Has something ordered about an incident that there is. The log is asked, not the read models: orders are taken
/// while Postgres is down.
async fn about(
    desk: &Desk,
    within: &Within,
    incident: IncidentId,
    order: Order,
    headers: &HeaderMap,
    body: &[u8],
) -> Stored {
    let subject = Subject::of(within.tenant, Noun::Incident, incident.0);
    desk.log.last(&subject.to_string()).await?.ok_or_else(no_incident)?;
    place(desk, within, order, headers, body).await
}

pub(crate) fn incident_id(text: &str) -> Answer<IncidentId> {
    // What is no id names no incident.
    text.parse().map_err(|_| no_incident().into())
}

pub(crate) fn no_incident() -> Problem {
    Problem::not_found("there is no such incident")
}

/// Which of those that were cut off.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichSuppressed {
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// The chain of evidence, from the notices back to claims and answers; and who was cut off, with the
/// verdict that justified each silence.
#[utoipa::path(
    get, path = "/api/v1/incidents/{incident}/explain", tag = "incidents",
    params(("incident" = Uuid, Path), WhichSuppressed),
    responses((status = 200, body = Explanation), (status = 404))
)]
pub(crate) async fn explain(
    State(desk): State<Desk>,
    within: Within,
    Path(id): Path<String>,
    Query(which): Query<WhichSuppressed>,
) -> Answer<Json<Explanation>> {
    let incident = incident_id(&id)?;
    let limit = usize::try_from(rows(which.limit)? - 1).unwrap_or(0);
    let after = which.cursor.map_or(Ok(0), |cursor| cursor.parse());
    let after = after.map_err(|_| Problem::malformed("`cursor` is none of ours"))?;
    let turn = desk.explaining.try_acquire();
    let busy = || Problem::unavailable("too many explanations at a time", Duration::from_secs(2));
    let _turn = turn.map_err(|_| busy())?;
    let found = explain::explain(&desk.log, within.tenant, incident, after, limit).await?;
    Ok(Json(found.ok_or_else(no_incident)?))
}
