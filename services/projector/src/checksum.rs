//! One figure for everything the read models say: equal rows give equal figures.

use crate::prune::tenants;
use kit::postgres::as_tenant;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use std::fmt::Write as _;

/// Every table that holds answers, and what its rows are told apart by.
///
/// `projection_position` and `projected_tenant` say where the projector is, not what it found.
pub const TABLES: [(&str, &str); 27] = [
    ("tenant", "tenant"),
    ("policy", "tenant"),
    ("site", "id"),
    ("node", "id"),
    ("node_claim", "node, claim"),
    ("dependency_group", "node, number"),
    ("dependency_member", "node, group_number, ordinal"),
    ("channel", "id"),
    ("revision", "number"),
    ("session_claim", "claim"),
    ("suspicion", "node"),
    ("health", "node"),
    ("downtime", "node, believed_at"),
    ("incident", "id"),
    ("incident_cause", "incident, ordinal"),
    ("incident_event", "incident, seq"),
    ("notice", "id"),
    ("delivery", "notice"),
    ("audit", "seq"),
    ("router_plan", "router"),
    ("repair", "seq"),
    ("entitlement", "node"),
    ("cutting", "tenant"),
    ("enforcement", "node, router"),
    ("router_enforcement", "router"),
    ("sighting", "id"),
    ("router_scan", "router"),
];

/// A digest of every column of every row of every tenant, in order of keys: lower-case hex.
///
/// Two databases that were told the same have the same one. Rows past their `kept_until` count
/// too: [`prune`](crate::prune) both before they are compared. Reads one state of the database, row by row.
///
/// # Errors
///
/// When Postgres refuses or is gone.
pub async fn checksum(pool: &PgPool) -> sqlx::Result<String> {
    let mut tx = pool.begin().await?;
    // One state for all statements, and one way to write a time.
    for setting in [
        "set transaction isolation level repeatable read, read only",
        "set local timezone = 'UTC'",
        "set local datestyle = 'ISO, YMD'",
    ] {
        sqlx::query(setting).execute(&mut *tx).await?;
    }
    let mut sum = Sha256::new();
    for tenant in tenants(&mut tx).await? {
        as_tenant(&mut tx, tenant).await?;
        for (table, key) in TABLES {
            let rows = of_table(&mut tx, (table, key), tenant.0, &mut sum).await?;
            sum.update(format!("{tenant} {table} {rows}\n"));
        }
    }
    tx.rollback().await?;
    let mut text = String::new();
    for byte in sum.finalize() {
        write!(text, "{byte:02x}").expect("a text takes more text");
    }
    Ok(text)
}

async fn of_table(
    tx: &mut PgConnection,
    (table, key): (&str, &str),
    tenant: uuid::Uuid,
    sum: &mut Sha256,
) -> sqlx::Result<u64> {
    use futures::TryStreamExt;
    // Both names are constants of this file.
    let sql = AssertSqlSafe(format!("select t::text from {table} t where tenant = $1 order by {key}"));
    let mut rows = sqlx::query(sql).bind(tenant).fetch(tx);
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        let text: &str = row.try_get(0)?;
        sum.update(u64::try_from(text.len()).expect("a row fits in memory").to_be_bytes());
        sum.update(text);
        count += 1;
    }
    Ok(count)
}
