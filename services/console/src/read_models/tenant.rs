//! Tenants, and how far their rows are written.

use super::{Read, ReadModels};
use chrono::{DateTime, Utc};
use events::TenantId;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

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

impl ReadModels {
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

    /// Up to which place of the log the rows of a tenant are written.
    pub(crate) async fn written_to(&self, tenant: TenantId) -> Read<Option<DateTime<Utc>>> {
        let mut tx = self.of(tenant).await?;
        let row = sqlx::query_scalar("SELECT heard_at FROM projected_tenant WHERE tenant = $1");
        Ok(row.bind(tenant.0).fetch_optional(&mut *tx).await?)
    }
}
