//! What subscribers are entitled to, and how far routers show it.

use super::{Read, ReadModels};
use chrono::{DateTime, Utc};
use events::{NodeId, TenantId};
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// What one subscriber is to get.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct EntitlementRow {
    /// The subscriber.
    pub(crate) node: Uuid,
    /// Its account, while it is in the inventory.
    pub(crate) account: Option<String>,
    /// active, suspended, ended or released.
    pub(crate) state: String,
    /// The PPP profile of its plan.
    pub(crate) profile: Option<String>,
    /// How fast it may send, bits per second.
    pub(crate) up_bps: Option<i64>,
    /// How fast it may receive, bits per second.
    pub(crate) down_bps: Option<i64>,
    /// Whether it always gets the same address when it dials in.
    pub(crate) has_address: bool,
    /// Whether a user is added where nobody knows it.
    pub(crate) has_password: bool,
    /// Who said it.
    pub(crate) set_by: String,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
    /// Its place in the log: give it as `If-Match` to change this and nothing newer.
    pub(crate) seq: i64,
    /// Whether all cutting off is halted.
    pub(crate) cutting_halted: bool,
}

/// How one subscriber stands at one router.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct EnforcementRow {
    /// The subscriber.
    pub(crate) node: Uuid,
    /// Its account, while it is in the inventory.
    pub(crate) account: Option<String>,
    /// At which router.
    pub(crate) router: Uuid,
    /// The router's id in the network file, while it is in the inventory.
    pub(crate) router_file_id: Option<String>,
    /// waiting, begun, in_force, partly, held or failed.
    pub(crate) state: String,
    /// Since when it stands so.
    pub(crate) since: DateTime<Utc>,
    /// Whether that is about what holds now; false: the router was not looked at since.
    pub(crate) is_current: bool,
    /// When the log stored the entitlement that is pursued.
    pub(crate) wanted_since: DateTime<Utc>,
    /// Since when the router shows it.
    pub(crate) in_force_since: Option<DateTime<Utc>>,
    /// How often changes were begun for it.
    pub(crate) attempt_count: i64,
    /// When it was last cut off by us.
    pub(crate) cut_at: Option<DateTime<Utc>>,
    /// What of it is not ours to do there.
    pub(crate) not_ours: Option<String>,
    /// What stands in the way.
    pub(crate) error: Option<String>,
    /// The event that says so.
    pub(crate) event: Uuid,
}

/// How one router stands against what its subscribers are entitled to.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct RouterEnforcementRow {
    /// Which router.
    pub(crate) router: Uuid,
    /// Its id in the network file, while it is in the inventory.
    pub(crate) file_id: Option<String>,
    /// begun, in_force, incomplete, held or unreachable.
    pub(crate) state: String,
    /// Since when it stands so.
    pub(crate) since: DateTime<Utc>,
    /// Subscribers of whom it should show something.
    pub(crate) entitled_count: i64,
    /// Subscribers who used it at that moment.
    pub(crate) active_count: i64,
    /// Those who would be cut off and are not.
    pub(crate) held_count: i64,
    /// What to name to have those cut off who are too many.
    pub(crate) held_plan: Option<Uuid>,
    /// Why it could not be looked at or changed, or why it is held.
    pub(crate) error: Option<String>,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
    /// Its place in the log.
    pub(crate) seq: i64,
}

/// Whether all cutting off is halted.
#[derive(Debug, Clone, Default, Serialize, FromRow, ToSchema)]
pub(crate) struct CuttingRow {
    /// Whether nobody is cut off.
    pub(crate) is_halted: bool,
    /// Why, as somebody said.
    pub(crate) why: Option<String>,
    /// Who said it; nobody, if nothing was ever said.
    pub(crate) set_by: Option<String>,
    /// When the log stored it.
    pub(crate) heard_at: Option<DateTime<Utc>>,
}

/// Standings of subscribers at routers, of which a condition chooses.
macro_rules! standings {
    ($which:literal) => {
        concat!(
            "SELECT e.node, n.file_id AS account, e.router, r.file_id AS router_file_id, e.state, e.since,
                    coalesce(w.event = e.wanted, false) AS is_current, e.wanted_since, e.in_force_since,
                    e.attempt_count, e.cut_at, e.not_ours, e.error, e.event
             FROM enforcement e
             LEFT JOIN entitlement w ON w.tenant = e.tenant AND w.node = e.node
             LEFT JOIN node n ON n.tenant = e.tenant AND n.id = e.node
             LEFT JOIN node r ON r.tenant = e.tenant AND r.id = e.router ",
            $which
        )
    };
}

impl ReadModels {
    /// What a subscriber is entitled to, and how that stands at its routers.
    pub(crate) async fn entitlement(
        &self,
        tenant: TenantId,
        node: NodeId,
    ) -> Read<Option<(EntitlementRow, Vec<EnforcementRow>)>> {
        let mut tx = self.of(tenant).await?;
        let row: Option<EntitlementRow> = sqlx::query_as(
            "SELECT e.node, n.file_id AS account, e.state, e.profile, e.up_bps, e.down_bps, e.has_address,
                    e.has_password, e.set_by, e.heard_at, e.seq, coalesce(c.is_halted, false) AS cutting_halted
             FROM entitlement e
             LEFT JOIN node n ON n.tenant = e.tenant AND n.id = e.node
             LEFT JOIN cutting c ON c.tenant = e.tenant
             WHERE e.tenant = $1 AND e.node = $2",
        )
        .bind(tenant.0)
        .bind(node.0)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let of_node = standings!("WHERE e.tenant = $1 AND e.node = $2 ORDER BY e.router");
        let standings = sqlx::query_as(of_node).bind(tenant.0).bind(node.0).fetch_all(&mut *tx).await?;
        Ok(Some((row, standings)))
    }

    /// How subscribers stand, of those with that state; without one of those that are not in force.
    pub(crate) async fn enforcements(
        &self,
        tenant: TenantId,
        state: Option<String>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<EnforcementRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(standings!(
            "WHERE e.tenant = $1 AND w.state <> 'released'
               AND CASE WHEN $2::text IS NULL THEN e.state <> 'in_force' ELSE e.state = $2 END
               AND ($3::uuid IS NULL OR e.event > $3)
             ORDER BY e.event LIMIT $4"
        ));
        let rows = rows.bind(tenant.0).bind(state).bind(after);
        Ok(rows.bind(limit).fetch_all(&mut *tx).await?)
    }

    /// How a router stands.
    pub(crate) async fn router_enforcement(
        &self,
        tenant: TenantId,
        router: NodeId,
    ) -> Read<Option<RouterEnforcementRow>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(
            "SELECT e.router, n.file_id, e.state, e.since, e.entitled_count, e.active_count, e.held_count,
                    e.held_plan, e.error, e.heard_at, e.seq
             FROM router_enforcement e
             LEFT JOIN node n ON n.tenant = e.tenant AND n.id = e.router
             WHERE e.tenant = $1 AND e.router = $2",
        );
        Ok(row.bind(tenant.0).bind(router.0).fetch_optional(&mut *tx).await?)
    }

    /// The switch of a tenant.
    pub(crate) async fn cutting(&self, tenant: TenantId) -> Read<CuttingRow> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as("SELECT is_halted, why, set_by, heard_at FROM cutting WHERE tenant = $1");
        let row: Option<CuttingRow> = row.bind(tenant.0).fetch_optional(&mut *tx).await?;
        Ok(row.unwrap_or_default())
    }
}
