//! What routers see around them: showing it, adding a device, saying no to one.

use super::{
    inventory::nodes_called,
    list::{Page, after, one_of, rows},
    orders::{OrderStored, Ordered, Stored, by_name, by_whom, place},
    routers::router_called,
};
use crate::{
    adopt::{self, Wishes},
    desk::{Answer, Desk, Within, made, read, request_id},
    read_models::{RouterScanRow, SightingRow},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use events::{DeviceClass, Order, Sealed, SightingId, SightingState, Tier};
use kit::http::Problem;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The longest name.
const NAME_MAX: usize = 200;

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichSightings {
    /// A router that sees them: its id, or its id in the network file.
    router: Option<String>,
    /// known, proposed, moved, rejected or gone.
    state: Option<String>,
    /// Whether names are shown that may be customers'. That is on record.
    #[serde(default)]
    names: bool,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most: 1 to 1000; 100 if absent.
    limit: Option<u32>,
}

/// A device that routers see around them. Of one that may be a customer's the name is shown only on request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SightingShown {
    #[serde(flatten)]
    row: SightingRow,
    /// What it is called.
    name: Option<String>,
    /// The hardware address that spoke.
    mac: Option<String>,
    /// Where it answers.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
}

/// A device as it is to come into the inventory. What is absent is as proposed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDevice {
    /// Its id, as a network file would have it.
    id: Option<String>,
    /// What people read.
    name: Option<String>,
    /// What it hangs on: its id, or its id in the network file.
    parent: Option<String>,
    /// router, switch, sector_ap, backhaul, station, server or other.
    #[schema(value_type = Option<String>)]
    class: Option<DeviceClass>,
    /// core, site, sector or station.
    #[schema(value_type = Option<String>)]
    tier: Option<Tier>,
    /// The person, if the token is used by several.
    by: Option<String>,
}

/// A device that has come into the inventory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceAdded {
    /// Which node it is.
    node: Uuid,
    /// Its id, as a network file would have it.
    file_id: String,
    /// The router that watches it, if it has an address and one sees it.
    watched_by: Option<Uuid>,
    /// Whether that router is told to by now; else its plan shows what would be changed.
    is_managed: bool,
    /// The place in the log of the order to that router.
    seq: u64,
}

/// What routers see around them.
#[utoipa::path(
    get, path = "/api/v1/sightings", tag = "scout", params(WhichSightings),
    responses((status = 200, body = Page<SightingShown>))
)]
pub(crate) async fn list(
    State(desk): State<Desk>,
    within: Within,
    Query(which): Query<WhichSightings>,
) -> Answer<Json<Page<SightingShown>>> {
    let (limit, after) = (rows(which.limit)?, after(which.cursor.as_deref())?);
    let states = SightingState::ALL.map(SightingState::name);
    let state = one_of("state", which.state, &states)?;
    let routers = which.router.map(|called| nodes_called(within.tenant, &called));
    let found = desk.models.sightings(within.tenant, routers.as_deref(), state, after, limit).await?;
    let page = Page::of(found, limit, |row| row.id.to_string());
    let is_hidden = |row: &SightingRow| {
        let class = serde_json::from_value(row.class.clone().into()).unwrap_or(DeviceClass::Other);
        adopt::may_be_a_customers(class)
    };
    let hidden = page.items.iter().filter(|row| is_hidden(row)).count();
    if which.names && hidden > 0 {
        // On record before anybody reads it.
        let count = u32::try_from(hidden).unwrap_or(u32::MAX);
        _ = place(&desk, &within, Order::OpenSightings { count }, &HeaderMap::new(), &[]).await?;
    }
    let keys = if page.items.is_empty() { None } else { Some(adopt::keys(&desk, &within).await?) };
    let shown = page.items.into_iter().map(|row| {
        let seen = keys.as_ref().filter(|_| which.names || !is_hidden(&row));
        let seen = seen.and_then(|keys| adopt::opened(keys, SightingId(row.id), &Sealed(row.seen.clone())));
        let (name, mac, address) =
            seen.map_or((None, None, None), |seen| (Some(seen.name), Some(seen.mac), seen.address));
        SightingShown { row, name, mac, address }
    });
    Ok(Json(Page { items: shown.collect(), next: page.next }))
}

/// How the last scan of a router went.
#[utoipa::path(
    get, path = "/api/v1/routers/{router}/scan", tag = "scout",
    params(("router" = String, Path, description = "Its id, or its id in the network file.")),
    responses((status = 200, body = RouterScanRow), (status = 404))
)]
pub(crate) async fn last_scan(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
) -> Answer<Json<RouterScanRow>> {
    let found = desk.models.router_scan(within.tenant, &nodes_called(within.tenant, &called)).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found("no such router was scanned yet"))?))
}

/// Asks a router now whom it sees around it. Nothing is written there.
#[utoipa::path(
    post, path = "/api/v1/routers/{router}/scan", tag = "scout",
    params(("router" = String, Path, description = "Its id, or its id in the network file.")),
    request_body = Option<Ordered>, responses((status = 202, body = OrderStored), (status = 404))
)]
pub(crate) async fn scan(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Stored {
    let (router, _) = router_called(&desk, &within, &called).await?;
    place(&desk, &within, Order::Scan { router }, &headers, &body).await
}

/// Adds a device that was seen: the node, what it hangs on, and that its router watches it, in one step. One that moved
/// is put where it is seen.
#[utoipa::path(
    post, path = "/api/v1/sightings/{sighting}/add", tag = "scout",
    params(("sighting" = String, Path, description = "The id of the device.")),
    request_body = Option<NewDevice>,
    responses((status = 201, body = DeviceAdded), (status = 404), (status = 409), (status = 422))
)]
pub(crate) async fn add(
    State(desk): State<Desk>,
    within: Within,
    Path(sighting): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Response> {
    let id = sighting_called(&sighting)?;
    let new: NewDevice = if body.is_empty() { NewDevice::default() } else { read(&body)? };
    if new.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_MAX) {
        return Err(Problem::impossible("name", format!("`name` is 1 to {NAME_MAX} bytes")).into());
    }
    if new.tier == Some(Tier::Subscriber) {
        return Err(Problem::impossible("tier", "a device is no subscriber").into());
    }
    let by = by_name(&within, new.by)?;
    let wishes = Wishes { id: new.id, name: new.name, parent: new.parent, class: new.class, tier: new.tier };
    let request = request_id(&within.who, &headers)?;
    let added = adopt::add(&desk, &within, id, &wishes, (&by, request)).await?;
    Ok(made(DeviceAdded {
        node: added.node.0,
        file_id: added.file_id,
        watched_by: added.watched_by.map(|(router, _)| router.0),
        is_managed: added.watched_by.is_some_and(|(_, is_managed)| is_managed),
        seq: added.seq,
    }))
}

/// Says no to a device: it is not proposed again as long as it is the same.
#[utoipa::path(
    post, path = "/api/v1/sightings/{sighting}/reject", tag = "scout",
    params(("sighting" = String, Path, description = "The id of the device.")),
    request_body = Option<Ordered>, responses((status = 202, body = OrderStored), (status = 404), (status = 409))
)]
pub(crate) async fn reject(
    State(desk): State<Desk>,
    within: Within,
    Path(sighting): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Stored {
    let id = sighting_called(&sighting)?;
    let by = by_whom(&within, &body)?;
    let request = request_id(&within.who, &headers)?;
    let seq = adopt::reject(&desk, &within, id, (by, request)).await?;
    Ok((StatusCode::ACCEPTED, Json(OrderStored { order: events::OrderId::of(request).0, seq })))
}

fn sighting_called(called: &str) -> Answer<SightingId> {
    called.parse().map_err(|_| Problem::not_found("no such device was seen").into())
}
