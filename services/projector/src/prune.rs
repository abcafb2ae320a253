//! Rows whose time is over.
//!
//! A row lives as long as the message it says. Time is the highest time at which the log stored
//! anything that was heard, never the clock of a machine: so the same history leaves the same rows.

use events::TenantId;
use kit::postgres::as_tenant;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

const STATEMENTS: [&str; 11] = [
    "delete from session_claim where tenant = $1 and kept_until < $2",
    "delete from suspicion where tenant = $1 and kept_until < $2",
    "delete from health where tenant = $1 and kept_until < $2",
    "delete from downtime where tenant = $1 and kept_until < $2",
    "delete from audit where tenant = $1 and kept_until < $2",
    "delete from router_plan where tenant = $1 and kept_until < $2",
    "delete from repair where tenant = $1 and kept_until < $2",
    "delete from enforcement where tenant = $1 and kept_until < $2",
    "delete from router_enforcement where tenant = $1 and kept_until < $2",
    "delete from sighting where tenant = $1 and kept_until < $2",
    "delete from router_scan where tenant = $1 and kept_until < $2",
];

/// Every tenant that has rows, in order. What follows in the transaction is about none of them yet.
pub(crate) async fn tenants(tx: &mut PgConnection) -> sqlx::Result<Vec<TenantId>> {
    sqlx::query("select set_config('app.every_tenant', 'on', true)").execute(&mut *tx).await?;
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select tenant from projected_tenant order by tenant").fetch_all(tx).await?;
    Ok(ids.into_iter().map(TenantId).collect())
}

/// Deletes every row whose `kept_until` lies before the highest time heard; says how many.
///
/// # Errors
///
/// When Postgres refuses or is gone. What was deleted of other tenants until then stays deleted.
pub async fn prune(pool: &PgPool) -> sqlx::Result<u64> {
    let mut tx = pool.begin().await?;
    let all = tenants(&mut tx).await?;
    let highest: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select max(heard_at) from projected_tenant").fetch_one(&mut *tx).await?;
    tx.commit().await?;
    let Some(now) = highest else { return Ok(0) };
    let mut deleted = 0;
    for tenant in all {
        let mut tx = pool.begin().await?;
        as_tenant(&mut tx, tenant).await?;
        for sql in STATEMENTS {
            deleted += sqlx::query(sql).bind(tenant.0).bind(now).execute(&mut *tx).await?.rows_affected();
        }
        tx.commit().await?;
    }
    Ok(deleted)
}
