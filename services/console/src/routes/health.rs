//! What is believed of nodes, answered from stored state: value, since when, how old, and why.

use super::{
    inventory::nodes_called,
    list::{Page, TIERS, after, one_of, rows},
};
use crate::{
    desk::{Answer, Desk, Within},
    read_models::HealthRow,
};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use kit::http::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// up, down, impacted, degraded, unknown, suspect, or at_risk: what could not lose one more of what it needs, most
    /// subscribers behind it first; if absent, every node that is known not to be up.
    state: Option<String>,
    /// core, site, sector, station or subscriber.
    tier: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// What is believed of a node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthShown {
    #[serde(flatten)]
    row: HealthRow,
    /// Where the belief comes from, for people.
    source: String,
    /// A down claim that is being checked, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicion: Option<String>,
}

/// What is believed of nodes.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "health", params(Which),
    responses((status = 200, body = Page<HealthShown>))
)]
pub(crate) async fn list(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<Which>,
) -> Answer<Json<Page<HealthShown>>> {
    let limit = rows(which.limit)?;
    let states = ["up", "down", "impacted", "degraded", "unknown", "suspect", "at_risk"];
    let state = one_of("state", which.state, &states)?;
    let tier = one_of("tier", which.tier, &TIERS)?;
    let after = after(which.cursor.as_deref())?;
    let found = match state.as_deref() {
        Some("at_risk") => desk.models.at_risk(within.tenant, tier, after, limit).await?,
        Some(_) | None => desk.models.health(within.tenant, state, tier, after, limit).await?,
    };
    let found = found.into_iter().map(shown).collect();
    Ok(Json(Page::of(found, limit, |health: &HealthShown| health.row.node.to_string())))
}

/// What is believed of one node.
#[utoipa::path(
    get, path = "/api/v1/health/{node}", tag = "health",
    params(("node" = String, Path, description = "Its id, or its id in the network file.")),
    responses((status = 200, body = HealthShown), (status = 404))
)]
pub(crate) async fn show(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
) -> Answer<Json<HealthShown>> {
    let found = desk.models.health_of(within.tenant, &nodes_called(within.tenant, &called)).await?;
    Ok(Json(shown(found.ok_or_else(|| Problem::not_found("there is no such node"))?)))
}

fn shown(row: HealthRow) -> HealthShown {
    HealthShown { source: source_of(&row), suspicion: suspicion_of(&row), row }
}

fn source_of(row: &HealthRow) -> String {
    let kinds = row.evidence.as_array().into_iter().flatten();
    let named = kinds.filter_map(|one| {
        let (kind, count) = (one.get("kind")?.as_str()?, one.get("count")?.as_u64()?);
        Some(format!("{} ({count})", kind.replace('_', " ")))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    if !named.is_empty() {
        named
    } else if !row.roots.is_empty() {
        "the map: what it needs is down".into()
    } else if row.event.is_none() {
        "nothing has been heard of it".into()
    } else {
        "what was last heard of it".into()
    }
}

/// "reported down 14:02:03 by netwatch, being checked"; or why it is not yet.
pub(crate) fn suspicion_of(row: &HealthRow) -> Option<String> {
    let (since, source) = (row.suspect_since?, row.suspect_source.as_deref()?);
    let doing = match row.suspect_held_until {
        Some(until) if until > chrono::Utc::now() => {
            let until = until.format("%H:%M:%S");
            format!("waits until {until} UTC: the walks of this hour are used up")
        }
        Some(_) | None => "being checked".to_owned(),
    };
    Some(format!("reported down {} UTC by {source}, {doing}", since.format("%H:%M:%S")))
}
