//! What routers see around them.

use super::{Read, ReadModels, uuids};
use chrono::{DateTime, Utc};
use events::{NodeId, TenantId};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// A device that routers see around them.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct SightingRow {
    /// Its id: a keyed hash of what it is told apart by.
    pub(crate) id: Uuid,
    /// known, proposed, moved, rejected or gone.
    pub(crate) state: String,
    /// Since when it stands so.
    pub(crate) since: DateTime<Utc>,
    /// router, switch, sector_ap, backhaul, station, server or other.
    pub(crate) class: String,
    /// core, site, sector or station.
    pub(crate) tier: String,
    /// The node it would be put below.
    pub(crate) parent_node: Option<Uuid>,
    /// The id of that in the network file.
    pub(crate) parent_file_id: Option<String>,
    /// The device it would be put below, which is not in the inventory yet.
    pub(crate) parent_sighting: Option<Uuid>,
    /// Which node it is, if the inventory has it.
    pub(crate) node: Option<Uuid>,
    /// The id of that in the network file.
    pub(crate) node_file_id: Option<String>,
    /// Where it is seen: a list of {router, port, was}.
    #[schema(value_type = Vec<Object>)]
    pub(crate) spots: Value,
    /// Why it is taken for that and put there: a list of sentences.
    #[schema(value_type = Vec<String>)]
    pub(crate) reasons: Value,
    /// Who made it.
    pub(crate) platform: Option<String>,
    /// Which model it is.
    pub(crate) board: Option<String>,
    /// Which software it runs.
    pub(crate) version: Option<String>,
    /// Whether it has an address at which it could be watched.
    pub(crate) has_address: bool,
    /// What it is called, sealed.
    #[serde(skip)]
    pub(crate) seen: String,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
    /// Its place in the log.
    pub(crate) seq: i64,
}

/// How the last scan of a router went.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct RouterScanRow {
    /// Which router.
    pub(crate) router: Uuid,
    /// When it was asked.
    pub(crate) scanned_at: DateTime<Utc>,
    /// How many devices it sees.
    pub(crate) device_count: i64,
    /// How many of them are in the inventory, in their place.
    pub(crate) known_count: i64,
    /// How many are proposed.
    pub(crate) proposed_count: i64,
    /// How many moved.
    pub(crate) moved_count: i64,
    /// How many somebody said no to.
    pub(crate) rejected_count: i64,
    /// How many it sees beyond those, that were left out.
    pub(crate) left_out_count: i64,
    /// Why it could not be asked.
    pub(crate) error: Option<String>,
    /// The event that says so.
    pub(crate) event: Uuid,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
    /// Its place in the log.
    pub(crate) seq: i64,
}

impl ReadModels {
    /// What was seen by the first of `routers` that saw anything; of all routers where none is named.
    pub(crate) async fn sightings(
        &self,
        tenant: TenantId,
        routers: Option<&[NodeId]>,
        state: Option<String>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<SightingRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT s.id, s.state, s.since, s.class, s.tier, s.parent_node, p.file_id AS parent_file_id,
                    s.parent_sighting, s.node, n.file_id AS node_file_id, s.spots, s.reasons, s.platform, s.board,
                    s.version, s.has_address, s.seen, s.heard_at, s.seq
             FROM sighting s
             LEFT JOIN node n ON n.tenant = s.tenant AND n.id = s.node
             LEFT JOIN node p ON p.tenant = s.tenant AND p.id = s.parent_node
             WHERE s.tenant = $1 AND ($2::uuid[] IS NULL OR s.routers && $2)
               AND ($3::text IS NULL OR s.state = $3) AND ($4::uuid IS NULL OR s.id > $4)
             ORDER BY s.id LIMIT $5",
        );
        let rows = rows.bind(tenant.0).bind(routers.map(uuids)).bind(state).bind(after).bind(limit);
        Ok(rows.fetch_all(&mut *tx).await?)
    }

    /// The last scan of the first of `ids` that is a router.
    pub(crate) async fn router_scan(&self, tenant: TenantId, ids: &[NodeId]) -> Read<Option<RouterScanRow>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(
            "SELECT router, scanned_at, device_count, known_count, proposed_count, moved_count, rejected_count,
                    left_out_count, error, event, heard_at, seq
             FROM router_scan WHERE tenant = $1 AND router = ANY ($2)
             ORDER BY array_position($2, router) LIMIT 1",
        );
        Ok(row.bind(tenant.0).bind(uuids(ids)).fetch_optional(&mut *tx).await?)
    }
}
