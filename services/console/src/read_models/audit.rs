//! Who did what, and who was turned away.

use super::{Read, ReadModels};
use chrono::{DateTime, Utc};
use events::TenantId;
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// One thing that somebody did, or was not let do.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct AuditRow {
    /// Its place in the log.
    pub(crate) seq: i64,
    /// The event that says it.
    pub(crate) event: Uuid,
    /// When the log stored it.
    pub(crate) heard_at: DateTime<Utc>,
    /// Who did it: the name of a token or of a person. Of who was refused: the public part of the token that was
    /// shown; empty where that is nobody's, or not told apart any more.
    pub(crate) done_by: String,
    /// What was done.
    pub(crate) what: String,
    /// To what; of who was refused: from which address, empty where it was many.
    pub(crate) subject: String,
    /// What else there is to say, without secrets.
    #[schema(value_type = Object)]
    pub(crate) detail: Value,
}

impl ReadModels {
    /// The records of `tenant`, newest first, of this kind or all; older than the place `before`.
    pub(crate) async fn audit(
        &self,
        tenant: TenantId,
        what: Option<String>,
        before: Option<i64>,
        limit: i64,
    ) -> Read<Vec<AuditRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT seq, event, heard_at, done_by, what, subject, detail FROM audit
             WHERE tenant = $1 AND ($2::text IS NULL OR what = $2) AND ($3::bigint IS NULL OR seq < $3)
             ORDER BY seq DESC LIMIT $4",
        );
        Ok(rows.bind(tenant.0).bind(what).bind(before).bind(limit).fetch_all(&mut *tx).await?)
    }
}
