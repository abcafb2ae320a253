//! What is believed of nodes.

use super::{Read, ReadModels, uuids};
use chrono::{DateTime, Utc};
use events::{NodeId, TenantId};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// What is believed of a node.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct HealthRow {
    /// Which node.
    pub(crate) node: Uuid,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its tier.
    pub(crate) tier: String,
    /// up, down (broken itself), impacted (cut off), degraded or unknown.
    pub(crate) health: String,
    /// Any of suspect, recovering, flapping, at_risk, maintenance, map_disagrees, unwatched (the point of presence that watches
    /// it is blind).
    pub(crate) flags: Vec<String>,
    /// What was believed before the point of presence that watches it became blind; the same as `health` where it sees.
    pub(crate) health_before: Option<String>,
    /// Since when it is believed.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Since when it was so, as far as its source can tell.
    pub(crate) claimed_at: Option<DateTime<Utc>>,
    /// How long ago the log stored the verdict, seconds.
    pub(crate) age_seconds: Option<i64>,
    /// The nodes that explain it, when it is impacted.
    pub(crate) roots: Vec<Uuid>,
    /// How sure we are, percent.
    pub(crate) confidence_percent: Option<i32>,
    /// Why: a list of {kind, count, weight, event}.
    #[schema(value_type = Vec<Object>)]
    pub(crate) evidence: Value,
    /// The event that says so.
    pub(crate) event: Option<Uuid>,
    /// The event it followed from.
    pub(crate) cause: Option<Uuid>,
    /// Subscribers that have it on their way up; only where nodes at risk are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscribers_behind: Option<i64>,
    /// Since when a down claim is being checked.
    pub(crate) suspect_since: Option<DateTime<Utc>>,
    /// What raised it.
    pub(crate) suspect_source: Option<String>,
    /// The router that claimed it.
    pub(crate) suspect_sender: Option<Uuid>,
    /// Until when that claim waits or waited for its turn, because the tenant's walks of that hour were used up.
    pub(crate) suspect_held_until: Option<DateTime<Utc>>,
}

/// How many nodes of a tier are in which health.
#[derive(Debug, Clone, Serialize, FromRow)]
pub(crate) struct CountRow {
    pub(crate) tier: String,
    pub(crate) up: i64,
    pub(crate) down: i64,
    pub(crate) impacted: i64,
    pub(crate) degraded: i64,
    pub(crate) unknown: i64,
    pub(crate) suspect: i64,
}

/// What is believed of the nodes that the rest of the statement chooses.
macro_rules! believed {
    ($which:literal) => {
        believed!("", "NULL::bigint", $which)
    };
    ($with:literal, $behind:literal, $which:literal) => {
        concat!(
            $with,
            "SELECT n.id AS node, n.file_id, n.name, n.tier, coalesce(h.health, 'unknown') AS health,
                    coalesce(h.flags, '{}') AS flags, h.health_before, h.since, h.claimed_at,
                    extract(epoch FROM now() - h.heard_at)::bigint AS age_seconds,
                    coalesce(h.roots, '{}') AS roots, h.confidence_percent,
                    coalesce(h.evidence, '[]') AS evidence, h.event, h.cause,
                    s.since AS suspect_since, s.source AS suspect_source, s.sender AS suspect_sender,
                    s.held_until AS suspect_held_until, ",
            $behind,
            " AS subscribers_behind
             FROM node n
             LEFT JOIN health_now h ON h.tenant = n.tenant AND h.node = n.id
             LEFT JOIN suspicion s ON s.tenant = n.tenant AND s.node = n.id
             ",
            $which
        )
    };
}

impl ReadModels {
    /// What is believed, of the nodes with that state and tier; without a state of all that are not up.
    pub(crate) async fn health(
        &self,
        tenant: TenantId,
        state: Option<String>,
        tier: Option<String>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<HealthRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(believed!(
            "WHERE n.tenant = $1
               AND CASE WHEN $2::text IS NULL THEN h.health <> 'up' OR s.node IS NOT NULL
                        WHEN $2 = 'suspect' THEN s.node IS NOT NULL
                        WHEN $2 = 'unknown' THEN coalesce(h.health, 'unknown') = 'unknown'
                        ELSE h.health = $2 END
               AND ($3::text IS NULL OR n.tier = $3)
               AND ($4::uuid IS NULL OR n.id > $4)
             ORDER BY n.id LIMIT $5"
        ));
        Ok(rows.bind(tenant.0).bind(state).bind(tier).bind(after).bind(limit).fetch_all(&mut *tx).await?)
    }

    /// What is believed of those that could not lose one more of what they need: most subscribers behind them first.
    pub(crate) async fn at_risk(
        &self,
        tenant: TenantId,
        tier: Option<String>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<HealthRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(believed!(
            "WITH RECURSIVE below (root, node) AS (
                 SELECT h.node, h.node FROM health h WHERE h.tenant = $1 AND 'at_risk' = ANY (h.flags)
                 UNION
                 SELECT b.root, m.node FROM below b JOIN dependency_member m ON m.tenant = $1 AND m.member = b.node
             ),
             counted AS (
                 SELECT b.root, count(*) FILTER (WHERE c.tier = 'subscriber' AND c.id <> b.root) AS behind
                 FROM below b JOIN node c ON c.tenant = $1 AND c.id = b.node GROUP BY b.root
             ),
             ranked AS (SELECT root, behind, row_number() OVER (ORDER BY behind DESC, root) AS place FROM counted)
             ",
            "r.behind",
            "JOIN ranked r ON r.root = n.id
             WHERE n.tenant = $1
               AND ($2::text IS NULL OR n.tier = $2)
               AND ($3::uuid IS NULL OR r.place > (SELECT place FROM ranked WHERE root = $3))
             ORDER BY r.place LIMIT $4"
        ));
        Ok(rows.bind(tenant.0).bind(tier).bind(after).bind(limit).fetch_all(&mut *tx).await?)
    }

    /// What is believed of the first of `ids` that there is.
    pub(crate) async fn health_of(&self, tenant: TenantId, ids: &[NodeId]) -> Read<Option<HealthRow>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(believed!(
            "WHERE n.tenant = $1 AND n.id = ANY ($2)
             ORDER BY array_position($2, n.id) LIMIT 1"
        ));
        Ok(row.bind(tenant.0).bind(uuids(ids)).fetch_optional(&mut *tx).await?)
    }

    /// How many nodes of each tier are in which health.
    pub(crate) async fn counts(&self, tenant: TenantId) -> Read<Vec<CountRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT n.tier,
                    count(*) FILTER (WHERE h.health = 'up') AS up,
                    count(*) FILTER (WHERE h.health = 'down') AS down,
                    count(*) FILTER (WHERE h.health = 'impacted') AS impacted,
                    count(*) FILTER (WHERE h.health = 'degraded') AS degraded,
                    count(*) FILTER (WHERE coalesce(h.health, 'unknown') = 'unknown') AS unknown,
                    count(s.node) AS suspect
             FROM node n
             LEFT JOIN health_now h ON h.tenant = n.tenant AND h.node = n.id
             LEFT JOIN suspicion s ON s.tenant = n.tenant AND s.node = n.id
             WHERE n.tenant = $1
             GROUP BY n.tier
             ORDER BY array_position(ARRAY['core', 'site', 'sector', 'station', 'subscriber'], n.tier)",
        );
        Ok(rows.bind(tenant.0).fetch_all(&mut *tx).await?)
    }
}
