//! How routers stand against what they should be, and what was changed on them.

use super::{Read, ReadModels, uuids};
use chrono::{DateTime, Utc};
use events::{NodeId, TenantId};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// How a router stands against what it should be.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct RouterPlanRow {
    /// Which router.
    pub(crate) router: Uuid,
    /// Its id in the network file, while it is in the inventory.
    pub(crate) file_id: Option<String>,
    /// Its name.
    pub(crate) name: Option<String>,
    /// proposed, begun, as_desired, incomplete, unfit or unreachable.
    pub(crate) state: String,
    /// Whether its operator allows it to be changed.
    pub(crate) is_managed: bool,
    /// Since when it stands so.
    pub(crate) since: DateTime<Utc>,
    /// What software it said it runs.
    pub(crate) version: Option<String>,
    /// What it said it is called.
    pub(crate) identity: Option<String>,
    /// Which board it said it is.
    pub(crate) board: Option<String>,
    /// What it does not allow: a list of sentences.
    #[schema(value_type = Vec<String>)]
    pub(crate) findings: Value,
    /// What is not ours to change and stands in the way: a list of sentences.
    #[schema(value_type = Vec<String>)]
    pub(crate) obstacles: Value,
    /// The first changes: a list of {menu, change, row, called, before, after}.
    #[schema(value_type = Vec<Object>)]
    pub(crate) changes: Value,
    /// How many changes there are in all.
    pub(crate) change_count: i64,
    /// Why it could not be looked at or changed.
    pub(crate) error: Option<String>,
    /// The certificate that it showed, if that is why it could not be looked at: nobody vouches for it.
    pub(crate) certificate_shown: Option<String>,
    /// The event that says so.
    pub(crate) event: Uuid,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
    /// Its place in the log.
    pub(crate) seq: i64,
}

/// One change that was made on a router, or refused by it.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct RepairRow {
    /// Its place in the log.
    pub(crate) seq: i64,
    /// The event that says it.
    pub(crate) event: Uuid,
    /// Which router.
    pub(crate) router: Uuid,
    /// The event that announced it.
    pub(crate) plan_event: Uuid,
    /// made, refused, unknown or found.
    pub(crate) outcome: String,
    /// The menu of the router.
    pub(crate) menu: String,
    /// add, set or remove.
    pub(crate) change: String,
    /// What people know the row by.
    pub(crate) called: String,
    /// What its properties were: a list of {name, value}.
    #[schema(value_type = Vec<Object>)]
    pub(crate) before: Value,
    /// What they became.
    #[schema(value_type = Vec<Object>)]
    pub(crate) after: Value,
    /// The id of the row at the router.
    pub(crate) row_id: Option<String>,
    /// Why the router refused, or why it is not known.
    pub(crate) error: Option<String>,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
}

impl ReadModels {
    /// How the first of `ids` that is a router stands.
    pub(crate) async fn router_plan(&self, tenant: TenantId, ids: &[NodeId]) -> Read<Option<RouterPlanRow>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(
            "SELECT p.router, n.file_id, n.name, p.state, p.is_managed, p.since, p.version, p.identity, p.board, p.findings, p.obstacles,
                    p.changes, p.change_count, p.error, p.certificate_shown, p.event, p.heard_at, p.seq
             FROM router_plan p
             LEFT JOIN node n ON n.tenant = p.tenant AND n.id = p.router
             WHERE p.tenant = $1 AND p.router = ANY ($2)
             ORDER BY array_position($2, p.router) LIMIT 1",
        );
        Ok(row.bind(tenant.0).bind(uuids(ids)).fetch_optional(&mut *tx).await?)
    }

    /// What was changed on these routers, the newest first.
    pub(crate) async fn repairs(
        &self,
        tenant: TenantId,
        ids: &[NodeId],
        before: Option<i64>,
        limit: i64,
    ) -> Read<Vec<RepairRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT seq, event, router, plan_event, outcome, menu, change, called, before, after, row_id, error,
                    heard_at
             FROM repair
             WHERE tenant = $1 AND router = ANY ($2) AND ($3::bigint IS NULL OR seq < $3)
             ORDER BY seq DESC LIMIT $4",
        );
        Ok(rows.bind(tenant.0).bind(uuids(ids)).bind(before).bind(limit).fetch_all(&mut *tx).await?)
    }
}
