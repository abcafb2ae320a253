//! Who was told, and by which ways people can be reached.

use super::{Read, ReadModels};
use chrono::{DateTime, Utc};
use events::{IncidentId, TenantId};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, Postgres, Transaction};
use utoipa::ToSchema;
use uuid::Uuid;

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

/// The notices that the rest of the statement chooses.
macro_rules! notices {
    ($which:literal) => {
        concat!(
            "SELECT n.id, n.incident, n.audience, c.name AS channel_name, n.phase, n.step, n.urgency, n.title,
                    n.state, n.decided_at, d.state AS delivery, d.attempt_count::bigint AS attempts
             FROM notice n
             LEFT JOIN channel c ON c.tenant = n.tenant AND c.id = n.channel
             LEFT JOIN delivery d ON d.tenant = n.tenant AND d.notice = n.id
             ",
            $which
        )
    };
}

impl ReadModels {
    /// The newest notices.
    pub(crate) async fn last_notices(&self, tenant: TenantId, limit: i64) -> Read<Vec<NoticeRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(notices!("WHERE n.tenant = $1 ORDER BY n.seq DESC LIMIT $2"));
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
}

/// The notices about one incident, in the order of the log.
pub(super) async fn notices_of(
    tx: &mut Transaction<'static, Postgres>,
    tenant: TenantId,
    incident: IncidentId,
) -> sqlx::Result<Vec<NoticeRow>> {
    let rows = sqlx::query_as(notices!("WHERE n.tenant = $1 AND n.incident = $2 ORDER BY n.seq LIMIT 1000"));
    rows.bind(tenant.0).bind(incident.0).fetch_all(&mut **tx).await
}
