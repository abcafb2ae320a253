//! Incidents: list, show, and what people order about them.

use super::list::{Page, one_of, rows};
use crate::{
    desk::{Answer, Desk, Within, request_id},
    explain::{self, Explanation},
    read_models::{IncidentDetail, IncidentFilter, IncidentRow},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, SecondsFormat, Utc};
use events::{Fact, IncidentId, Noun, Order, OrderId, OrderSaid, Say, Subject};
use kit::{Outgoing, http::Problem};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The longest name of somebody.
const NAME_MAX: usize = 200;

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

/// Who orders something.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ordered {
    /// The person, if the token is used by several. The token's name is noted beside it.
    by: Option<String>,
}

/// An order that was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderStored {
    /// Its id.
    pub(crate) order: Uuid,
    /// Its place in the log.
    pub(crate) seq: u64,
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
) -> Answer<(StatusCode, Json<OrderStored>)> {
    let incident = incident_id(&id)?;
    order(&desk, &within, incident, Order::Acknowledge { incident }, &headers, &body).await
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
) -> Answer<(StatusCode, Json<OrderStored>)> {
    let incident = incident_id(&id)?;
    order(&desk, &within, incident, Order::CloseAsWrong { incident }, &headers, &body).await
}

async fn order(
    desk: &Desk,
    within: &Within,
    incident: IncidentId,
    order: Order,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer<(StatusCode, Json<OrderStored>)> {
    let by = by_whom(within, body)?;
    // The log is asked, not the read models: orders are taken while Postgres is down.
    let subject = Subject::new(within.tenant, Noun::Incident, incident.to_string());
    let subject = subject.expect("an id is a token").to_string();
    desk.log.last(&subject).await?.ok_or_else(no_incident)?;
    let request = request_id(&within.who, headers)?;
    let said = OrderSaid { id: OrderId::of(request), order, by };
    let id = said.id;
    let say =
        Say { id: request, tenant: within.tenant, at: crate::now(), cause: None, fact: Fact::Order(said) };
    let out = Outgoing::new(say, crate::SOURCE).traced(kit::telemetry::current_traceparent());
    let stored = desk.log.publish(out).await?;
    Ok((StatusCode::ACCEPTED, Json(OrderStored { order: id.0, seq: stored.seq })))
}

/// Who orders it: the person that the body names, with the token's name.
pub(crate) fn by_whom(within: &Within, body: &[u8]) -> Answer<String> {
    let ordered: Ordered = if body.is_empty() {
        Ordered::default()
    } else {
        serde_json::from_slice(body).map_err(|error| Problem::malformed(error.to_string()))?
    };
    if ordered.by.as_ref().is_some_and(|by| by.is_empty() || by.len() > NAME_MAX) {
        return Err(Problem::malformed(format!("`by` is 1 to {NAME_MAX} bytes")).into());
    }
    let name = &within.who.name;
    Ok(ordered.by.map_or_else(|| name.clone(), |person| format!("{person} ({name})")))
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
