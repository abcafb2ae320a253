//! Outages: what broke, who is cut off and what happened since.

use super::{NoticeRow, Read, ReadModels, notice::notices_of};
use chrono::{DateTime, Utc};
use events::{IncidentId, SiteHypothesis, TenantId};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, Postgres, Transaction, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

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
    /// The site that may have failed as a whole, its power for one: {site, name, confidence, evidence}. A guess, by which
    /// nothing is decided.
    #[schema(value_type = Option<Object>)]
    pub(crate) site_hypothesis: Option<Json<SiteHypothesis>>,
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

/// Which incidents are listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct IncidentFilter {
    pub(crate) open: bool,
    pub(crate) state: Option<String>,
    pub(crate) before: Option<(DateTime<Utc>, Uuid)>,
    pub(crate) limit: i64,
}

/// The incidents that the rest of the statement chooses.
macro_rules! incidents {
    ($which:literal) => {
        concat!(
            "SELECT id, state, class, title, urgency, tier, site_name, site_address, owner_account,
                    owner_ticket_url, opened_at, ended_at, ended_because, merged_into, acknowledged_by,
                    subscriber_count, site_count, at_risk_count, observed_count, impact, site_hypothesis
             FROM incident
             ",
            $which
        )
    };
}

impl ReadModels {
    /// Incidents, the newest first, with their causes.
    pub(crate) async fn incidents(&self, tenant: TenantId, filter: IncidentFilter) -> Read<Vec<IncidentRow>> {
        let mut tx = self.of(tenant).await?;
        let (before_at, before_id) = filter.before.unzip();
        let rows = sqlx::query_as(incidents!(
            "WHERE tenant = $1
               AND (NOT $2 OR ended_at IS NULL)
               AND ($3::text IS NULL OR state = $3)
               AND ($4::timestamptz IS NULL OR (opened_at, id) < ($4, $5))
             ORDER BY opened_at DESC, id DESC LIMIT $6"
        ));
        let rows = rows.bind(tenant.0).bind(filter.open).bind(filter.state).bind(before_at).bind(before_id);
        let mut incidents: Vec<IncidentRow> = rows.bind(filter.limit).fetch_all(&mut *tx).await?;
        with_causes(&mut tx, tenant, &mut incidents).await?;
        Ok(incidents)
    }

    pub(crate) async fn incident(&self, tenant: TenantId, id: IncidentId) -> Read<Option<IncidentDetail>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_as(incidents!("WHERE tenant = $1 AND id = $2"));
        let found: Vec<IncidentRow> = row.bind(tenant.0).bind(id.0).fetch_all(&mut *tx).await?;
        let mut found = found;
        with_causes(&mut tx, tenant, &mut found).await?;
        let Some(incident) = found.pop() else { return Ok(None) };
        let timeline = sqlx::query_as(
            "SELECT seq, event, cause, kind, state, title, what, subscriber_count, heard_at
             FROM incident_event WHERE tenant = $1 AND incident = $2 ORDER BY seq LIMIT 1000",
        );
        let timeline = timeline.bind(tenant.0).bind(id.0).fetch_all(&mut *tx).await?;
        let notices = notices_of(&mut tx, tenant, id).await?;
        Ok(Some(IncidentDetail { incident, timeline, notices }))
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
