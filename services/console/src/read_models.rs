//! The read models: the only place of this crate that speaks to Postgres.
//!
//! Every question is one transaction that names its tenant first; row-level security then
//! shows the rows of that tenant alone, whatever the statement says. All statements are fixed texts.

mod audit;
mod entitlement;
mod health;
mod incident;
mod network;
mod notice;
mod router;
mod sighting;
mod tenant;
mod trust;

pub(crate) use self::{
    audit::AuditRow,
    entitlement::{CuttingRow, EnforcementRow, EntitlementRow, RouterEnforcementRow},
    health::{CountRow, HealthRow},
    incident::{IncidentDetail, IncidentFilter, IncidentRow},
    network::{NodeDetail, NodeFilter, NodeRow, SiteRow},
    notice::{ChannelRow, NoticeRow},
    router::{RepairRow, RouterPlanRow},
    sighting::{RouterScanRow, SightingRow},
    tenant::TenantRow,
    trust::TrustRow,
};

use events::{NodeId, TenantId};
use kit::postgres::{Trouble, as_tenant, trouble};
use sqlx::{PgPool, Postgres, Transaction};
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
}

fn uuids(ids: &[NodeId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}
