//! The projector: writes the read models and time series that people and dashboards look at.
//!
//! Hears every fact that leaves a row and writes it to Postgres, with the place in the log in the
//! same transaction. Holds nothing in memory between two chunks: killed at any moment it goes on
//! from its position, and another replica may be faster at any moment.
//!
//! A row says what the last message about its thing said. So however the log is cut into chunks
//! and however often it is read, the rows come out the same ([`checksum`] proves it).

mod checksum;
mod config;
mod parts;
mod project;
mod prune;
mod rebuild;
mod rows;
mod series;
mod value;
mod words;

pub use checksum::{TABLES, checksum};
pub use config::Config;
pub use parts::{PartError, Parts};
pub use project::ReadModels;
pub use prune::prune;
pub use rebuild::{Progress, RebuildError, rebuild};
pub use rows::statements;
pub use series::lines;

use anyhow::Context;
use kit::Service;
use kit::config::{Common, Secret};
use kit::postgres::{self, PostgresError, Trouble, trouble};
use kit::projection::Projection;
use sqlx::PgPool;
use std::time::Duration;

/// The name of the read model: in positions and metrics.
pub const MODEL: &str = "read_models";

/// The tables' migrations, forward only.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../schemas/postgres");

/// How long it is waited before Postgres is asked again whether it is there.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Runs until the process is told to stop.
///
/// # Errors
///
/// No address of Postgres is configured, its tables cannot be brought up to date, or the rows were
/// made from another log. Postgres or the log being away is no error: it is waited for.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    let url = service.common.database_url.clone().context("`database_url` is missing")?;
    let pool = postgres::pool(&url, "mastwatch-projector", config.connections)?;
    if config.migrate {
        let standing = service.readiness.part("tables");
        standing.not_ready("bringing the tables up to date");
        tokio::select! {
            () = service.stop.cancelled() => return Ok(()),
            done = migrate_when_there(&service.common) => done?,
        }
        standing.ready();
    }
    service.readiness.ready();
    let held = service.metrics.counter(
        "suspicions_held",
        "Suspicions that had to wait because their tenant's walks of the hour were used up",
    );
    let kept_up = Projection::new(ReadModels::new(service.log.clone()).counting(held))
        .chunk_max(config.chunk_max)
        .linger(Duration::from_millis(config.linger_ms))
        .run(&service, pool.clone());
    let written = async { tokio::try_join!(async { Ok(kept_up.await?) }, series::run(&service)).map(|_| ()) };
    tokio::select! {
        ended = written => ended,
        never = prune_now_and_then(&pool, Duration::from_secs(config.prune_every_s)) => never,
    }
}

/// Brings the tables to where [`MIGRATIONS`] lead. May be run by many at once and again.
///
/// # Errors
///
/// [`PostgresError`]; the next run goes on from where it ended.
pub async fn migrate(common: &Common) -> Result<(), PostgresError> {
    let service = common.database_url.clone().unwrap_or_else(|| Secret::new(""));
    let owner = common.database_owner_url.as_ref().unwrap_or(&service);
    postgres::migrate(owner, &service, &MIGRATIONS).await
}

async fn migrate_when_there(common: &Common) -> Result<(), PostgresError> {
    loop {
        match migrate(common).await {
            Err(PostgresError::Connect(source) | PostgresError::Step { source, .. })
                if trouble(&source) == Trouble::Passing =>
            {
                tracing::debug!(%source, "Postgres is away, trying again");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

async fn prune_now_and_then(pool: &PgPool, every: Duration) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(every).await;
        match prune(pool).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "deleted rows past their time"),
            Err(error) => tracing::warn!(%error, "deleting rows past their time"),
        }
    }
}

/// Empties the read models and sets them back to the beginning of the log, as the owner of the tables.
///
/// Whoever is writing them just now finds its position moved and begins again.
///
/// # Errors
///
/// [`PostgresError`]; nothing was emptied then.
pub async fn empty(owner_url: &Secret) -> Result<(), PostgresError> {
    let mut tables: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    tables.push("projected_tenant");
    postgres::empty(owner_url, MODEL, &tables).await
}
