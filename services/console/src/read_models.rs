//! The read models: the only place of this crate that speaks to Postgres.
//!
//! Every question is one transaction that names its tenant first; row-level security then
//! shows the rows of that tenant alone, whatever the statement says. All statements are fixed texts.

mod entitlement;

pub(crate) use self::entitlement::{CuttingRow, EnforcementRow, EntitlementRow, RouterEnforcementRow};

use chrono::{DateTime, Utc};
use events::{IncidentId, NodeId, TenantId};
use kit::postgres::{Trouble, as_tenant, trouble};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgPool, Postgres, Transaction};
use utoipa::ToSchema;
use uuid::Uuid;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Asking again is safe and may help.
    #[error("Postgres is away")]
    Away(#[source] sqlx::Error),
    /// The statement or its data is at fault.
    #[error("Postgres refuses")]
    Fault(#[source] sqlx::Error),
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        match trouble(&error) {
            Trouble::Passing => ReadError::Away(error),
            Trouble::Lasting => ReadError::Fault(error),
        }
    }
}

type Read<T> = Result<T, ReadError>;

/// Answers from stored state.
#[derive(Debug, Clone)]
pub(crate) struct ReadModels {
    pool: PgPool,
}

/// One ISP.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct TenantRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// What operators type.
    pub(crate) slug: String,
    /// What people read.
    pub(crate) name: String,
}

/// A physical place.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct SiteRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// What people say on the phone.
    pub(crate) name: String,
    /// Where a technician drives to.
    pub(crate) address: Option<String>,
    /// Microdegrees north.
    pub(crate) latitude_udeg: Option<i32>,
    /// Microdegrees east.
    pub(crate) longitude_udeg: Option<i32>,
    /// Nodes that say themselves that they are there.
    pub(crate) node_count: i64,
}

/// Anything in the dependency graph, and what is believed of it.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct NodeRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// What people read.
    pub(crate) name: String,
    /// device, link, subscriber, service or upstream.
    pub(crate) kind: String,
    /// Of a device: router, switch, sector_ap, backhaul, station, server or other.
    pub(crate) class: Option<String>,
    /// core, site, sector, station or subscriber.
    pub(crate) tier: String,
    /// Where it is, if it says so itself.
    pub(crate) site: Option<Uuid>,
    /// What people call that place.
    pub(crate) site_name: Option<String>,
    /// Where it answers.
    pub(crate) address: Option<String>,
    /// The router that sees it.
    pub(crate) seen_by: Option<Uuid>,
    /// How the server itself watches it.
    pub(crate) probe: Option<String>,
    /// How often, seconds.
    pub(crate) probe_every_seconds: Option<i64>,
    /// The plan a subscriber pays for.
    pub(crate) plan: Option<String>,
    /// The account of whose it is.
    pub(crate) owner_account: Option<String>,
    /// Where the owner's ticket is.
    pub(crate) owner_ticket_url: Option<String>,
    /// When it may be down quietly.
    #[schema(value_type = Vec<Object>)]
    pub(crate) maintenance: Value,
    /// What is believed of it: up, down, impacted, degraded or unknown.
    pub(crate) health: String,
    /// Since when.
    pub(crate) since: Option<DateTime<Utc>>,
}

/// One member of a group: a node, or another group of the same node.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct GroupMember {
    /// The node.
    pub(crate) node: Option<Uuid>,
    /// Its id in the network file.
    pub(crate) file_id: Option<String>,
    /// Its name.
    pub(crate) name: Option<String>,
    /// The number of the group.
    pub(crate) group: Option<i32>,
}

/// What a node needs: all of its groups that have no parent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct GroupRow {
    /// Which group of that node, from 0.
    pub(crate) number: i32,
    /// The group that it is a member of.
    pub(crate) parent: Option<i32>,
    /// any, all or k_of_n.
    pub(crate) mode: String,
    /// How many, of k_of_n.
    pub(crate) k: Option<i32>,
    /// Who can supply.
    pub(crate) members: Vec<GroupMember>,
}

#[derive(FromRow)]
struct MemberRow {
    number: i32,
    parent: Option<i32>,
    mode: String,
    k: Option<i32>,
    member: Option<Uuid>,
    member_group: Option<i32>,
    file_id: Option<String>,
    name: Option<String>,
}

/// One node with what it needs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NodeDetail {
    /// The node.
    #[serde(flatten)]
    pub(crate) node: NodeRow,
    /// What it needs.
    pub(crate) groups: Vec<GroupRow>,
    /// Subscribers that have it on their way up.
    pub(crate) subscribers_below: i64,
}

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
    /// Any of suspect, recovering, flapping, at_risk, maintenance, map_disagrees.
    pub(crate) flags: Vec<String>,
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
    /// Since when a down claim is being checked.
    pub(crate) suspect_since: Option<DateTime<Utc>>,
    /// What raised it.
    pub(crate) suspect_source: Option<String>,
    /// The router that claimed it.
    pub(crate) suspect_sender: Option<Uuid>,
    /// Until when that claim waits or waited for its turn, because the tenant's walks of that hour were used up.
    pub(crate) suspect_held_until: Option<DateTime<Utc>>,
}

/// One outage.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct IncidentRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// open, recovering, resolved, merged or closed.
    pub(crate) state: String,
    /// outage, sessions_lost, redundancy or blind.
    pub(crate) class: String,
    /// What is broken and who is cut off, in one line.
    pub(crate) title: String,
    /// low, normal or urgent.
    pub(crate) urgency: String,
    /// The highest tier among the causes.
    pub(crate) tier: String,
    /// What people call the place of the first cause.
    pub(crate) site_name: Option<String>,
    /// Where a technician drives to.
    pub(crate) site_address: Option<String>,
    /// The account of whose the first cause is.
    pub(crate) owner_account: Option<String>,
    /// Where the owner's ticket is.
    pub(crate) owner_ticket_url: Option<String>,
    /// When the first cause was found.
    pub(crate) opened_at: DateTime<Utc>,
    /// When it ended.
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// Why it ended, when not by recovery.
    pub(crate) ended_because: Option<String>,
    /// The incident that carries it now.
    pub(crate) merged_into: Option<Uuid>,
    /// Who took it.
    pub(crate) acknowledged_by: Option<String>,
    /// Subscribers cut off.
    pub(crate) subscriber_count: i64,
    /// Sites with something cut off or broken.
    pub(crate) site_count: i64,
    /// Nodes that one more failure would cut off.
    pub(crate) at_risk_count: i64,
    /// Of the nodes cut off, how many were seen to be.
    pub(crate) observed_count: i64,
    /// Who is cut off: counts by tier, site and plan.
    #[schema(value_type = Object)]
    pub(crate) impact: Value,
    /// What is broken.
    #[sqlx(skip)]
    pub(crate) causes: Vec<CauseRow>,
}

/// One cause of an incident.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct CauseRow {
    #[serde(skip)]
    incident: Uuid,
    /// Which node.
    pub(crate) node: Uuid,
    /// What people called it then.
    pub(crate) name: String,
    /// Its tier.
    pub(crate) tier: String,
    /// Repairing it alone would restore what it cut off.
    pub(crate) is_primary: bool,
    /// Whether it is down, or was and is back.
    pub(crate) is_down: bool,
    /// Whether it is in maintenance.
    pub(crate) is_quiet: bool,
    /// Since when it is down, or up again.
    pub(crate) since: DateTime<Utc>,
    /// How sure we are, percent.
    pub(crate) confidence_percent: i64,
    /// Why: a list of {kind, count, weight, event}.
    #[schema(value_type = Vec<Object>)]
    pub(crate) evidence: Value,
}

/// One thing that happened to an incident.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct IncidentEventRow {
    /// Its place in the log.
    pub(crate) seq: i64,
    /// The event that said it.
    pub(crate) event: Uuid,
    /// The event it followed from.
    pub(crate) cause: Option<Uuid>,
    /// opened, changed, recovering, relapsed, merged, resolved, acknowledged or closed.
    pub(crate) kind: String,
    /// Where the incident stood after it.
    pub(crate) state: String,
    /// Its title after it.
    pub(crate) title: String,
    /// What happened, for people.
    pub(crate) what: Option<String>,
    /// Subscribers cut off, as known then.
    pub(crate) subscriber_count: i64,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
}

/// One message to people about an incident, and what became of it.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct NoticeRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// About which incident.
    pub(crate) incident: Uuid,
    /// To whom.
    pub(crate) audience: String,
    /// Through what.
    pub(crate) channel_name: Option<String>,
    /// opened, changed, escalated or resolved.
    pub(crate) phase: String,
    /// Which repetition of that phase.
    pub(crate) step: i64,
    /// low, normal or urgent.
    pub(crate) urgency: String,
    /// The first line.
    pub(crate) title: String,
    /// addressed or withdrawn.
    pub(crate) state: String,
    /// When it was decided.
    pub(crate) decided_at: DateTime<Utc>,
    /// What became of sending it.
    pub(crate) delivery: Option<String>,
    /// How many attempts were begun.
    pub(crate) attempts: Option<i64>,
}

/// One incident with its story.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct IncidentDetail {
    /// The incident.
    #[serde(flatten)]
    pub(crate) incident: IncidentRow,
    /// Everything that happened to it, in order.
    pub(crate) timeline: Vec<IncidentEventRow>,
    /// Who was told.
    pub(crate) notices: Vec<NoticeRow>,
}

/// A way to reach people. Of an address only the server is shown.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct ChannelRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// What operators call it.
    pub(crate) name: String,
    /// engineers, technicians or support.
    pub(crate) audience: String,
    /// webhook or email.
    pub(crate) via: String,
    /// The server it goes to, without path, user and password.
    pub(crate) endpoint: String,
    /// Who gets the mail.
    #[schema(value_type = Vec<String>)]
    pub(crate) recipients: Value,
}

/// By whom changes of what a router sees were first spoken of.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct TrustRow {
    /// Which router.
    pub(crate) router: Uuid,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// Its name.
    pub(crate) name: String,
    /// Changes that a script, another system or a person told us of.
    pub(crate) pushed: i64,
    /// Changes that we found by looking: on a schedule, or to settle something else.
    pub(crate) polled: i64,
    /// Changes that the reconciler found nobody had told us of.
    pub(crate) reconciled: i64,
    /// Which part of all was pushed, 0 to 1.
    pub(crate) pushed_share: f64,
    /// Of those that were pushed or should have been: which part only the reconciler found, 0 to 1.
    pub(crate) missed_push_rate: f64,
}

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

/// Which nodes are listed. What is absent does not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFilter {
    pub(crate) tier: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) site: Option<Uuid>,
    pub(crate) text: Option<String>,
    pub(crate) after: Option<Uuid>,
    pub(crate) limit: i64,
}

/// Which incidents are listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct IncidentFilter {
    pub(crate) open: bool,
    pub(crate) state: Option<String>,
    pub(crate) before: Option<(DateTime<Utc>, Uuid)>,
    pub(crate) limit: i64,
}

impl ReadModels {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Whether Postgres answers at all.
    pub(crate) async fn answer(&self) -> Read<()> {
        Ok(kit::postgres::answers(&self.pool).await?)
    }

    /// A transaction that sees one tenant.
    async fn of(&self, tenant: TenantId) -> Read<Transaction<'static, Postgres>> {
        let mut tx = self.pool.begin().await?;
        as_tenant(&mut tx, tenant).await?;
        Ok(tx)
    }

    /// Every tenant, for administrators. The one question that is not about a single tenant.
    pub(crate) async fn every_tenant(&self) -> Read<Vec<TenantRow>> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("SELECT set_config('app.every_tenant', 'on', true)").execute(&mut *tx).await?;
        let rows = sqlx::query_as("SELECT tenant AS id, slug, name FROM tenant ORDER BY slug LIMIT 10000");
        Ok(rows.fetch_all(&mut *tx).await?)
    }

    pub(crate) async fn tenant(&self, tenant: TenantId) -> Read<Option<TenantRow>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as("SELECT tenant AS id, slug, name FROM tenant WHERE tenant = $1");
        Ok(row.bind(tenant.0).fetch_optional(&mut *tx).await?)
    }

    pub(crate) async fn sites(
        &self,
        tenant: TenantId,
        text: Option<String>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<SiteRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT s.id, s.file_id, s.name, s.address, s.latitude_udeg, s.longitude_udeg,
                    (SELECT count(*) FROM node n WHERE n.tenant = s.tenant AND n.site = s.id) AS node_count
             FROM site s
             WHERE s.tenant = $1
               AND ($2::text IS NULL OR strpos(lower(s.name), lower($2)) > 0
                    OR strpos(lower(s.file_id), lower($2)) > 0)
               AND ($3::uuid IS NULL OR s.id > $3)
             ORDER BY s.id LIMIT $4",
        );
        Ok(rows.bind(tenant.0).bind(text).bind(after).bind(limit).fetch_all(&mut *tx).await?)
    }

    pub(crate) async fn nodes(&self, tenant: TenantId, filter: NodeFilter) -> Read<Vec<NodeRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT n.id, n.file_id, n.name, n.kind, n.class, n.tier, n.site, s.name AS site_name, n.address,
                    n.seen_by, n.probe, n.probe_every_seconds, n.plan, n.owner_account, n.owner_ticket_url,
                    n.maintenance, coalesce(h.health, 'unknown') AS health, h.since
             FROM node n
             LEFT JOIN site s ON s.tenant = n.tenant AND s.id = n.site
             LEFT JOIN health h ON h.tenant = n.tenant AND h.node = n.id
             WHERE n.tenant = $1
               AND ($2::text IS NULL OR n.tier = $2)
               AND ($3::text IS NULL OR n.kind = $3)
               AND ($4::uuid IS NULL OR n.site = $4)
               AND ($5::text IS NULL OR strpos(lower(n.name), lower($5)) > 0
                    OR strpos(lower(n.file_id), lower($5)) > 0)
               AND ($6::uuid IS NULL OR n.id > $6)
             ORDER BY n.id LIMIT $7",
        );
        let rows = rows.bind(tenant.0).bind(filter.tier).bind(filter.kind).bind(filter.site);
        Ok(rows.bind(filter.text).bind(filter.after).bind(filter.limit).fetch_all(&mut *tx).await?)
    }

    /// The first of `ids` that there is.
    pub(crate) async fn node(&self, tenant: TenantId, ids: &[NodeId]) -> Read<Option<NodeDetail>> {
        let mut tx = self.of(tenant).await?;
        let node: Option<NodeRow> = sqlx::query_as(
            "SELECT n.id, n.file_id, n.name, n.kind, n.class, n.tier, n.site, s.name AS site_name, n.address,
                    n.seen_by, n.probe, n.probe_every_seconds, n.plan, n.owner_account, n.owner_ticket_url,
                    n.maintenance, coalesce(h.health, 'unknown') AS health, h.since
             FROM node n
             LEFT JOIN site s ON s.tenant = n.tenant AND s.id = n.site
             LEFT JOIN health h ON h.tenant = n.tenant AND h.node = n.id
             WHERE n.tenant = $1 AND n.id = ANY ($2)
             ORDER BY array_position($2, n.id) LIMIT 1",
        )
        .bind(tenant.0)
        .bind(uuids(ids))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(node) = node else { return Ok(None) };
        let members: Vec<MemberRow> = sqlx::query_as(
            "SELECT g.number, g.parent, g.mode, g.k, m.member, m.member_group, n.file_id, n.name
             FROM dependency_group g
             LEFT JOIN dependency_member m
                    ON m.tenant = g.tenant AND m.node = g.node AND m.group_number = g.number
             LEFT JOIN node n ON n.tenant = m.tenant AND n.id = m.member
             WHERE g.tenant = $1 AND g.node = $2
             ORDER BY g.number, m.ordinal",
        )
        .bind(tenant.0)
        .bind(node.id)
        .fetch_all(&mut *tx)
        .await?;
        let subscribers_below: i64 = sqlx::query_scalar(
            "WITH RECURSIVE below (node) AS (
                 SELECT $2::uuid
                 UNION
                 SELECT m.node FROM below b JOIN dependency_member m ON m.tenant = $1 AND m.member = b.node
             )
             SELECT count(*) FROM below b JOIN node n ON n.tenant = $1 AND n.id = b.node
             WHERE n.tier = 'subscriber' AND n.id <> $2",
        )
        .bind(tenant.0)
        .bind(node.id)
        .fetch_one(&mut *tx)
        .await?;
        Ok(Some(NodeDetail { node, groups: groups_of(members), subscribers_below }))
    }

    /// How the first of `ids` that is a router stands.
    pub(crate) async fn router_plan(&self, tenant: TenantId, ids: &[NodeId]) -> Read<Option<RouterPlanRow>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(
            "SELECT p.router, n.file_id, n.name, p.state, p.is_managed, p.since, p.version, p.identity, p.board, p.findings, p.obstacles,
                    p.changes, p.change_count, p.error, p.event, p.heard_at, p.seq
             FROM router_plan p
             LEFT JOIN node n ON n.tenant = p.tenant AND n.id = p.router
             WHERE p.tenant = $1 AND p.router = ANY ($2)
             ORDER BY array_position($2, p.router) LIMIT 1",
        );
        Ok(row.bind(tenant.0).bind(uuids(ids)).fetch_optional(&mut *tx).await?)
    }

    /// By whom the changes of the last `days` of what routers see were first spoken of; of these routers, or all.
    pub(crate) async fn trust(
        &self,
        tenant: TenantId,
        routers: Option<&[NodeId]>,
        days: i32,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<TrustRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "WITH change AS (
                 SELECT n.seen_by AS router, c.learned
                 FROM downtime d
                 JOIN node n ON n.tenant = d.tenant AND n.id = d.node
                 CROSS JOIN LATERAL (VALUES (d.began_by, d.from_at), (d.ended_by, d.until_at)) AS c (learned, at)
                 WHERE d.tenant = $1 AND n.seen_by IS NOT NULL AND c.learned IS NOT NULL
                   AND c.at > now() - make_interval(days => $2)
                   AND ($3::uuid[] IS NULL OR n.seen_by = ANY ($3)) AND ($4::uuid IS NULL OR n.seen_by > $4)
             ), counted AS (
                 SELECT router, count(*) FILTER (WHERE learned = 'push') AS pushed,
                        count(*) FILTER (WHERE learned = 'poll') AS polled,
                        count(*) FILTER (WHERE learned = 'reconcile') AS reconciled
                 FROM change GROUP BY router
             )
             SELECT c.router, r.file_id, r.name, c.pushed, c.polled, c.reconciled,
                    c.pushed::float8 / (c.pushed + c.polled + c.reconciled) AS pushed_share,
                    coalesce(c.reconciled::float8 / nullif(c.pushed + c.reconciled, 0), 0) AS missed_push_rate
             FROM counted c JOIN node r ON r.tenant = $1 AND r.id = c.router
             ORDER BY c.router LIMIT $5",
        );
        let rows = rows.bind(tenant.0).bind(days).bind(routers.map(uuids)).bind(after).bind(limit);
        Ok(rows.fetch_all(&mut *tx).await?)
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
        let rows = sqlx::query_as(
            "SELECT n.id AS node, n.file_id, n.name, n.tier, coalesce(h.health, 'unknown') AS health,
                    coalesce(h.flags, '{}') AS flags, h.since, h.claimed_at,
                    extract(epoch FROM now() - h.heard_at)::bigint AS age_seconds,
                    coalesce(h.roots, '{}') AS roots, h.confidence_percent,
                    coalesce(h.evidence, '[]') AS evidence, h.event, h.cause,
                    s.since AS suspect_since, s.source AS suspect_source, s.sender AS suspect_sender,
                    s.held_until AS suspect_held_until
             FROM node n
             LEFT JOIN health h ON h.tenant = n.tenant AND h.node = n.id
             LEFT JOIN suspicion s ON s.tenant = n.tenant AND s.node = n.id
             WHERE n.tenant = $1
               AND CASE WHEN $2::text IS NULL THEN h.health <> 'up' OR s.node IS NOT NULL
                        WHEN $2 = 'suspect' THEN s.node IS NOT NULL
                        WHEN $2 = 'unknown' THEN coalesce(h.health, 'unknown') = 'unknown'
                        ELSE h.health = $2 END
               AND ($3::text IS NULL OR n.tier = $3)
               AND ($4::uuid IS NULL OR n.id > $4)
             ORDER BY n.id LIMIT $5",
        );
        Ok(rows.bind(tenant.0).bind(state).bind(tier).bind(after).bind(limit).fetch_all(&mut *tx).await?)
    }

    /// What is believed of the first of `ids` that there is.
    pub(crate) async fn health_of(&self, tenant: TenantId, ids: &[NodeId]) -> Read<Option<HealthRow>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(
            "SELECT n.id AS node, n.file_id, n.name, n.tier, coalesce(h.health, 'unknown') AS health,
                    coalesce(h.flags, '{}') AS flags, h.since, h.claimed_at,
                    extract(epoch FROM now() - h.heard_at)::bigint AS age_seconds,
                    coalesce(h.roots, '{}') AS roots, h.confidence_percent,
                    coalesce(h.evidence, '[]') AS evidence, h.event, h.cause,
                    s.since AS suspect_since, s.source AS suspect_source, s.sender AS suspect_sender,
                    s.held_until AS suspect_held_until
             FROM node n
             LEFT JOIN health h ON h.tenant = n.tenant AND h.node = n.id
             LEFT JOIN suspicion s ON s.tenant = n.tenant AND s.node = n.id
             WHERE n.tenant = $1 AND n.id = ANY ($2)
             ORDER BY array_position($2, n.id) LIMIT 1",
        );
        Ok(row.bind(tenant.0).bind(uuids(ids)).fetch_optional(&mut *tx).await?)
    }

    /// Incidents, the newest first, with their causes.
    pub(crate) async fn incidents(&self, tenant: TenantId, filter: IncidentFilter) -> Read<Vec<IncidentRow>> {
        let mut tx = self.of(tenant).await?;
        let (before_at, before_id) = filter.before.unzip();
        let rows = sqlx::query_as(
            "SELECT id, state, class, title, urgency, tier, site_name, site_address, owner_account,
                    owner_ticket_url, opened_at, ended_at, ended_because, merged_into, acknowledged_by,
                    subscriber_count, site_count, at_risk_count, observed_count, impact
             FROM incident
             WHERE tenant = $1
               AND (NOT $2 OR ended_at IS NULL)
               AND ($3::text IS NULL OR state = $3)
               AND ($4::timestamptz IS NULL OR (opened_at, id) < ($4, $5))
             ORDER BY opened_at DESC, id DESC LIMIT $6",
        );
        let rows = rows.bind(tenant.0).bind(filter.open).bind(filter.state).bind(before_at).bind(before_id);
        let mut incidents: Vec<IncidentRow> = rows.bind(filter.limit).fetch_all(&mut *tx).await?;
        with_causes(&mut tx, tenant, &mut incidents).await?;
        Ok(incidents)
    }

    pub(crate) async fn incident(&self, tenant: TenantId, id: IncidentId) -> Read<Option<IncidentDetail>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(
            "SELECT id, state, class, title, urgency, tier, site_name, site_address, owner_account,
                    owner_ticket_url, opened_at, ended_at, ended_because, merged_into, acknowledged_by,
                    subscriber_count, site_count, at_risk_count, observed_count, impact
             FROM incident WHERE tenant = $1 AND id = $2",
        );
        let found: Vec<IncidentRow> = row.bind(tenant.0).bind(id.0).fetch_all(&mut *tx).await?;
        let mut found = found;
        with_causes(&mut tx, tenant, &mut found).await?;
        let Some(incident) = found.pop() else { return Ok(None) };
        let timeline = sqlx::query_as(
            "SELECT seq, event, cause, kind, state, title, what, subscriber_count, heard_at
             FROM incident_event WHERE tenant = $1 AND incident = $2 ORDER BY seq LIMIT 1000",
        );
        let timeline = timeline.bind(tenant.0).bind(id.0).fetch_all(&mut *tx).await?;
        let notices = sqlx::query_as(
            "SELECT n.id, n.incident, n.audience, c.name AS channel_name, n.phase, n.step, n.urgency, n.title,
                    n.state, n.decided_at, d.state AS delivery, d.attempt_count::bigint AS attempts
             FROM notice n
             LEFT JOIN channel c ON c.tenant = n.tenant AND c.id = n.channel
             LEFT JOIN delivery d ON d.tenant = n.tenant AND d.notice = n.id
             WHERE n.tenant = $1 AND n.incident = $2 ORDER BY n.seq LIMIT 1000",
        );
        let notices = notices.bind(tenant.0).bind(id.0).fetch_all(&mut *tx).await?;
        Ok(Some(IncidentDetail { incident, timeline, notices }))
    }

    /// The newest notices.
    pub(crate) async fn last_notices(&self, tenant: TenantId, limit: i64) -> Read<Vec<NoticeRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT n.id, n.incident, n.audience, c.name AS channel_name, n.phase, n.step, n.urgency, n.title,
                    n.state, n.decided_at, d.state AS delivery, d.attempt_count::bigint AS attempts
             FROM notice n
             LEFT JOIN channel c ON c.tenant = n.tenant AND c.id = n.channel
             LEFT JOIN delivery d ON d.tenant = n.tenant AND d.notice = n.id
             WHERE n.tenant = $1 ORDER BY n.seq DESC LIMIT $2",
        );
        Ok(rows.bind(tenant.0).bind(limit).fetch_all(&mut *tx).await?)
    }

    pub(crate) async fn channels(&self, tenant: TenantId) -> Read<Vec<ChannelRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT id, name, audience, via, endpoint, recipients FROM channel WHERE tenant = $1
             ORDER BY name LIMIT 1000",
        );
        Ok(rows.bind(tenant.0).fetch_all(&mut *tx).await?)
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
             LEFT JOIN health h ON h.tenant = n.tenant AND h.node = n.id
             LEFT JOIN suspicion s ON s.tenant = n.tenant AND s.node = n.id
             WHERE n.tenant = $1
             GROUP BY n.tier
             ORDER BY array_position(ARRAY['core', 'site', 'sector', 'station', 'subscriber'], n.tier)",
        );
        Ok(rows.bind(tenant.0).fetch_all(&mut *tx).await?)
    }

    /// Up to which place of the log the rows of a tenant are written.
    pub(crate) async fn written_to(&self, tenant: TenantId) -> Read<Option<DateTime<Utc>>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_scalar("SELECT heard_at FROM projected_tenant WHERE tenant = $1");
        Ok(row.bind(tenant.0).fetch_optional(&mut *tx).await?)
    }
}

async fn with_causes(
    tx: &mut Transaction<'static, Postgres>,
    tenant: TenantId,
    incidents: &mut [IncidentRow],
) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = incidents.iter().map(|incident| incident.id).collect();
    let causes: Vec<CauseRow> = sqlx::query_as(
        "SELECT incident, node, name, tier, is_primary, is_down, is_quiet, since, confidence_percent, evidence
         FROM incident_cause WHERE tenant = $1 AND incident = ANY ($2) ORDER BY incident, ordinal",
    )
    .bind(tenant.0)
    .bind(ids)
    .fetch_all(&mut **tx)
    .await?;
    for cause in causes {
        if let Some(incident) = incidents.iter_mut().find(|incident| incident.id == cause.incident) {
            incident.causes.push(cause);
        }
    }
    Ok(())
}

fn uuids(ids: &[NodeId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

/// Members come in the order of their groups.
fn groups_of(rows: Vec<MemberRow>) -> Vec<GroupRow> {
    let mut groups: Vec<GroupRow> = Vec::new();
    for row in rows {
        if groups.last().is_none_or(|group| group.number != row.number) {
            let MemberRow { number, parent, mode, k, .. } = &row;
            let (mode, members) = (mode.clone(), vec![]);
            groups.push(GroupRow { number: *number, parent: *parent, mode, k: *k, members });
        }
        if row.member.is_some() || row.member_group.is_some() {
            let group = groups.last_mut().expect("one was pushed");
            let MemberRow { member: node, file_id, name, member_group, .. } = row;
            group.members.push(GroupMember { node, file_id, name, group: member_group });
        }
    }
    groups
}
