//! What routers see around them.
//!
//! A device has one row, the last; a router has one row for its last scan.

use super::columns;
use crate::value::{Text, at, json, kept_until, number, some_text, text};
use crate::words;
use chrono::{DateTime, Utc};
use events::{Above, NodeId, Scan, SeenDevice, Sighting, SightingId};
use kit::projection::Told;
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    devices: BTreeMap<SightingId, (&'a Told, &'a SeenDevice)>,
    scans: BTreeMap<NodeId, (&'a Told, &'a Scan)>,
}

columns! {
    Devices<'a> {
        id: Uuid, state: &'static str, since: DateTime<Utc>, class: &'static str, tier: &'static str,
        parent_node: Option<Uuid>, parent_sighting: Option<Uuid>, node: Option<Uuid>, routers: String,
        spots: Value, reasons: Value, platform: Option<Text<'a>>, board: Option<Text<'a>>,
        version: Option<Text<'a>>, has_address: bool, seen: Text<'a>, event: Uuid, heard_at: DateTime<Utc>,
        kept_until: Option<DateTime<Utc>>, seq: i64,
    }
    "insert into sighting (tenant, id, state, since, class, tier, parent_node, parent_sighting, node, routers, spots,
         reasons, platform, board, version, has_address, seen, event, heard_at, kept_until, seq)
     select $1, id, state, since, class, tier, parent_node, parent_sighting, node, routers::uuid[], spots, reasons,
         platform, board, version, has_address, seen, event, heard_at, kept_until, seq
     from unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::uuid[], $8::uuid[],
         $9::uuid[], $10::text[], $11::jsonb[], $12::jsonb[], $13::text[], $14::text[], $15::text[], $16::bool[],
         $17::text[], $18::uuid[], $19::timestamptz[], $20::timestamptz[], $21::bigint[])
         as told (id, state, since, class, tier, parent_node, parent_sighting, node, routers, spots, reasons, platform,
             board, version, has_address, seen, event, heard_at, kept_until, seq)
     on conflict (tenant, id) do update set state = excluded.state, since = excluded.since, class = excluded.class,
         tier = excluded.tier, parent_node = excluded.parent_node, parent_sighting = excluded.parent_sighting,
         node = excluded.node, routers = excluded.routers, spots = excluded.spots, reasons = excluded.reasons,
         platform = excluded.platform, board = excluded.board, version = excluded.version,
         has_address = excluded.has_address, seen = excluded.seen, event = excluded.event,
         heard_at = excluded.heard_at, kept_until = excluded.kept_until, seq = excluded.seq"
}

columns! {
    Scans<'a> {
        router: Uuid, scanned_at: DateTime<Utc>, device_count: i64, known_count: i64, proposed_count: i64,
        moved_count: i64, rejected_count: i64, left_out_count: i64, error: Option<Text<'a>>, event: Uuid,
        heard_at: DateTime<Utc>, kept_until: Option<DateTime<Utc>>, seq: i64,
    }
    "insert into router_scan (tenant, router, scanned_at, device_count, known_count, proposed_count, moved_count,
         rejected_count, left_out_count, error, event, heard_at, kept_until, seq)
     select $1, * from unnest($2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::bigint[], $9::bigint[], $10::text[], $11::uuid[], $12::timestamptz[], $13::timestamptz[], $14::bigint[])
     on conflict (tenant, router) do update set scanned_at = excluded.scanned_at,
         device_count = excluded.device_count, known_count = excluded.known_count,
         proposed_count = excluded.proposed_count, moved_count = excluded.moved_count,
         rejected_count = excluded.rejected_count, left_out_count = excluded.left_out_count,
         error = excluded.error, event = excluded.event, heard_at = excluded.heard_at,
         kept_until = excluded.kept_until, seq = excluded.seq"
}

pub(super) const STATEMENTS: &[&str] = &[Devices::SQL, Scans::SQL];

impl<'a> Rows<'a> {
    pub(super) fn seen(&mut self, told: &'a Told, sighting: &'a Sighting) {
        match sighting {
            Sighting::Device(device) => _ = self.devices.insert(device.id, (told, device)),
            Sighting::Scan(scan) => _ = self.scans.insert(scan.router, (told, scan)),
        }
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        let mut rows = Devices::default();
        for (told, device) in self.devices.values() {
            let (parent_node, parent_sighting) = match device.parent {
                Some(Above::Node { id }) => (Some(id.0), None),
                Some(Above::Sighting { id }) => (None, Some(id.0)),
                None => (None, None),
            };
            rows.id.push(device.id.0);
            rows.state.push(device.state.name());
            rows.since.push(at(device.since));
            rows.class.push(words::class(device.class));
            rows.tier.push(words::tier(device.tier));
            rows.parent_node.push(parent_node);
            rows.parent_sighting.push(parent_sighting);
            rows.node.push(device.node.map(|id| id.0));
            rows.routers.push(routers(device));
            rows.spots.push(json(&device.spots));
            rows.reasons.push(json(&device.reasons));
            rows.platform.push(some_text(device.platform.as_ref()));
            rows.board.push(some_text(device.board.as_ref()));
            rows.version.push(some_text(device.version.as_ref()));
            rows.has_address.push(device.has_address);
            rows.seen.push(text(&device.seen.0));
            rows.event.push(told.heard.id.0);
            rows.heard_at.push(at(told.heard.heard));
            rows.kept_until.push(kept_until(told));
            rows.seq.push(number(told.heard.seq));
        }
        rows.write(tenant, tx).await?;
        let mut rows = Scans::default();
        for (told, scan) in self.scans.values() {
            rows.router.push(scan.router.0);
            rows.scanned_at.push(at(scan.at));
            rows.device_count.push(i64::from(scan.device_count));
            rows.known_count.push(i64::from(scan.known_count));
            rows.proposed_count.push(i64::from(scan.proposed_count));
            rows.moved_count.push(i64::from(scan.moved_count));
            rows.rejected_count.push(i64::from(scan.rejected_count));
            rows.left_out_count.push(i64::from(scan.left_out_count));
            rows.error.push(some_text(scan.error.as_ref()));
            rows.event.push(told.heard.id.0);
            rows.heard_at.push(at(told.heard.heard));
            rows.kept_until.push(kept_until(told));
            rows.seq.push(number(told.heard.seq));
        }
        rows.write(tenant, tx).await
    }
}

/// The routers that see a device, each once, as Postgres writes an array: columns are arrays of rows already, and of
/// arrays of different lengths there is none.
fn routers(device: &SeenDevice) -> String {
    let mut all: Vec<String> = device.spots.iter().map(|spot| spot.router.to_string()).collect();
    all.dedup();
    format!("{{{}}}", all.join(","))
}
