//! The inventory, as the read models have it.

use super::list::{Page, TIERS, after, one_of, rows};
use crate::{
    desk::{Answer, Desk, Within},
    read_models::{NodeDetail, NodeFilter, NodeRow, SiteRow},
};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use events::{NodeId, SiteId, TenantId};
use kit::http::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

/// The longest text that is looked for.
const TEXT_MAX: usize = 200;

/// Which sites.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichSites {
    /// Part of the name or of the id in the network file.
    text: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// Which nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichNodes {
    /// core, site, sector, station or subscriber.
    tier: Option<String>,
    /// device, link, subscriber, service or upstream.
    kind: Option<String>,
    /// A site: its id, or its id in the network file. What hangs on something there and names no other site is there too.
    site: Option<String>,
    /// Part of the name or of the id in the network file.
    text: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// The sites.
#[utoipa::path(
    get, path = "/api/v1/inventory/sites", tag = "inventory", params(WhichSites),
    responses((status = 200, body = Page<SiteRow>))
)]
pub(crate) async fn sites(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<WhichSites>,
) -> Answer<Json<Page<SiteRow>>> {
    let (limit, after) = (rows(which.limit)?, after(which.cursor.as_deref())?);
    let found = desk.models.sites(within.tenant, text(which.text)?, after, limit).await?;
    Ok(Json(Page::of(found, limit, |site| site.id.to_string())))
}

/// The nodes, with what is believed of them.
#[utoipa::path(
    get, path = "/api/v1/inventory/nodes", tag = "inventory", params(WhichNodes),
    responses((status = 200, body = Page<NodeRow>))
)]
pub(crate) async fn nodes(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<WhichNodes>,
) -> Answer<Json<Page<NodeRow>>> {
    let limit = rows(which.limit)?;
    let site = which
        .site
        .map(|called| called.parse::<SiteId>().unwrap_or_else(|_| SiteId::of(within.tenant, &called)).0);
    let filter = NodeFilter {
        tier: one_of("tier", which.tier, &TIERS)?,
        kind: one_of("kind", which.kind, &["device", "link", "subscriber", "service", "upstream"])?,
        site,
        text: text(which.text)?,
        after: after(which.cursor.as_deref())?,
        limit,
    };
    let found = desk.models.nodes(within.tenant, filter).await?;
    Ok(Json(Page::of(found, limit, |node| node.id.to_string())))
}

/// One node, with what it needs and how many subscribers need it.
#[utoipa::path(
    get, path = "/api/v1/inventory/nodes/{node}", tag = "inventory",
    params(("node" = String, Path, description = "Its id, or its id in the network file.")),
    responses((status = 200, body = NodeDetail), (status = 404))
)]
pub(crate) async fn node(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
) -> Answer<Json<NodeDetail>> {
    let found = desk.models.node(within.tenant, &nodes_called(within.tenant, &called)).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found("there is no such node"))?))
}

/// The nodes that `called` may mean: an id, a device's id in the network file, or an account.
pub(crate) fn nodes_called(tenant: TenantId, called: &str) -> Vec<NodeId> {
    match called.parse() {
        Ok(id) => vec![id],
        Err(_) => vec![NodeId::of(tenant, called), NodeId::of_account(tenant, called)],
    }
}

fn text(given: Option<String>) -> Answer<Option<String>> {
    match given {
        Some(text) if text.len() > TEXT_MAX => {
            Err(Problem::malformed(format!("`text` is at most {TEXT_MAX} bytes")).into())
        }
        given => Ok(given.filter(|text| !text.is_empty())),
    }
}
