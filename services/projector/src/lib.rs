//! The projector: writes the read models that people and dashboards look at.
//!
//! Hears every fact that leaves a row and writes it to Postgres, with the place in the log in the
//! same transaction. Holds nothing in memory between two chunks: killed at any moment it goes on
//! from its position, and another replica may be faster at any moment.
//!
//! A row says what the last message about its thing said. So however the log is cut into chunks
//! and however often it is read, the rows come out the same ([`checksum`] proves it).

mod checksum;
mod parts;
mod project;
mod prune;
mod rows;
mod value;
mod words;

pub use checksum::{TABLES, checksum};
pub use parts::{PartError, Parts};
pub use project::ReadModels;
pub use prune::prune;
pub use rows::statements;

/// The name of the read model: in positions and metrics.
pub const MODEL: &str = "read_models";

/// The tables' migrations, forward only.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../schemas/postgres");

/// Empties the read models and sets them back to the beginning of the log, as the owner of the tables.
///
/// Whoever is writing them just now finds its position moved and begins again.
///
/// # Errors
///
/// [`PostgresError`](kit::postgres::PostgresError); nothing was emptied then.
pub async fn empty(owner_url: &kit::config::Secret) -> Result<(), kit::postgres::PostgresError> {
    let mut tables: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    tables.push("projected_tenant");
    kit::postgres::empty(owner_url, MODEL, &tables).await
}
