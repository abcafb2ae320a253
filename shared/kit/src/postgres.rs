//! Postgres, as the place of answers that can be thrown away and told again.
//!
//! Tables belong to the owner who runs the migrations. Services act as the role [`SERVICE_ROLE`],
//! which owns nothing and cannot pass by row-level security: every connection of a pool takes
//! that role before it is used, whatever user it logged in as. Without [`as_tenant`] such a connection sees
//! no row of any tenant.
//!
//! A place in the log is a row beside the rows that were made from it ([`move_position`]), so both
//! move or neither does.

use crate::config::Secret;
use events::{PARTITIONS, TenantId};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, Row,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{collections::BTreeMap, str::FromStr, time::Duration};

/// The role that services act as.
pub const SERVICE_ROLE: &str = "mastwatch_service";

/// A connection that cannot be had within this time is not to be had now.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// No statement takes longer; one that does is waiting for somebody who will not come.
const STATEMENT_MS_MAX: u32 = 60_000;

/// The places in the log, one per read model and partition.
const POSITIONS: &str = "CREATE TABLE IF NOT EXISTS projection_position (
    model text NOT NULL,
    part smallint NOT NULL,
    seq bigint NOT NULL CHECK (seq >= 0),
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, part)
)";

/// Why the database is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be read. It is not repeated: it holds a password.
    #[error("reading the address of the database")]
    Address(#[source] sqlx::Error),
    /// The server did not answer, or refused the user.
    #[error("connecting to the database as its owner")]
    Connect(#[source] sqlx::Error),
    /// Only somebody with more rights can make the role of the services.
    #[error(
        "the role {SERVICE_ROLE} is not there, and `{owner}` may not make it: as a superuser, \
         CREATE ROLE {SERVICE_ROLE}; GRANT {SERVICE_ROLE} TO {login}"
    )]
    Role {
        /// The user who runs migrations.
        owner: String,
        /// The user that services log in as.
        login: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The role of the services could read every tenant's rows.
    #[error("the role {SERVICE_ROLE} must be neither SUPERUSER nor BYPASSRLS")]
    TooStrong,
    /// Something on the way failed.
    #[error("{doing}")]
    Step {
        /// What was attempted.
        doing: &'static str,
        /// What the server said.
        source: sqlx::Error,
    },
    /// A migration failed, or one that was applied has been changed since.
    #[error("migrating the database")]
    Migrate(#[source] MigrateError),
}

/// What is to be done about a failed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The server is away, full, starting, or somebody was in the way. Trying again is safe and may help.
    Passing,
    /// The statement or its data is at fault. Trying again would not help.
    Lasting,
}

/// Sorts a failure by what is to be done about it.
pub fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Trouble::Passing,
        sqlx::Error::Database(said) => of_state(&said.code().unwrap_or_default()),
        _ => Trouble::Lasting,
    }
}

/// Sorts an SQLSTATE. Source: the Postgres manual, appendix A.
fn of_state(code: &str) -> Trouble {
    let passing = match code.get(..2) {
        // Connection, resources, and operator intervention: starting up, shutting down, killed, too slow.
        Some("08" | "53" | "57" | "58") => true,
        // The login: passwords and roles are changed while we run.
        Some("28") => true,
        // The schema is not what we expect: the migrations of a new version may be running just now. If they
        // are not, no event is at fault either.
        Some("3D" | "3F" | "42") => true,
        // Serialisation failure and deadlock, lock not to be had, a standby after a switch.
        _ => matches!(code, "40001" | "40P01" | "55P03" | "25006"),
    };
    if passing { Trouble::Passing } else { Trouble::Lasting }
}

/// A pool of at most `size` connections that act as [`SERVICE_ROLE`]. Connects when first used.
///
/// # Errors
///
/// [`PostgresError::Address`] when the address cannot be read.
pub fn pool(url: &Secret, name: &str, size: u32) -> Result<PgPool, PostgresError> {
    let options = address(url)?.application_name(name);
    Ok(PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(CONNECT_WITHIN)
        .idle_timeout(Duration::from_secs(300))
        .test_before_acquire(true)
        .after_connect(|connection, _| Box::pin(become_service(connection)))
        .connect_lazy_with(options))
}

fn address(url: &Secret) -> Result<PgConnectOptions, PostgresError> {
    let options = PgConnectOptions::from_str(url.reveal()).map_err(PostgresError::Address)?;
    // Every statement of ours is logged by us, where it fails.
    Ok(options.disable_statement_logging())
}

async fn become_service(connection: &mut PgConnection) -> sqlx::Result<()> {
    let row = sqlx::query(
        "SELECT set_config('role', $1, false),
                set_config('statement_timeout', $2, false),
                set_config('idle_in_transaction_session_timeout', $2, false),
                (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = $1) AS too_strong",
    )
    .bind(SERVICE_ROLE)
    .bind(STATEMENT_MS_MAX.to_string())
    .fetch_one(connection)
    .await?;
    match row.try_get::<Option<bool>, _>("too_strong")? {
        Some(false) => Ok(()),
        Some(true) => Err(sqlx::Error::Configuration(Box::new(PostgresError::TooStrong))),
        None => Err(sqlx::Error::Configuration(format!("there is no role {SERVICE_ROLE}").into())),
    }
}

/// Whether the database answers as it must: for readiness.
///
/// # Errors
///
/// What the server said.
pub async fn answers(pool: &PgPool) -> sqlx::Result<()> {
    pool.execute("SELECT 1").await.map(|_| ())
}

/// Makes what follows in this transaction see and write the rows of `tenant` only.
///
/// # Errors
///
/// What the server said.
pub async fn as_tenant(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config('app.tenant_id', $1, true)")
        .bind(tenant.to_string())
        .execute(tx)
        .await
        .map(|_| ())
}

/// A stretch of one partition of the log: everything after `from`, up to and with `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub part: u16,
    /// The sequence that was written last.
    pub from: u64,
    /// The sequence that is written last after this.
    pub to: u64,
}

/// Moves the position of `model` over `place`, in the transaction that writes its rows.
///
/// `false`: it is not at `place.from` any more, because somebody was faster or emptied the model. Then
/// nothing may be written.
///
/// # Errors
///
/// What the server said.
pub async fn move_position(tx: &mut PgConnection, model: &str, place: &Place) -> sqlx::Result<bool> {
    let moved = sqlx::query(
        "UPDATE projection_position SET seq = $4, moved_at = now() WHERE model = $1 AND part = $2 AND seq = $3",
    )
    .bind(model)
    .bind(part_number(place.part))
    .bind(seq_number(place.from))
    .bind(seq_number(place.to))
    .execute(tx)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Where `model` stands in each partition. One that was never moved stands at 0.
///
/// # Errors
///
/// What the server said.
pub async fn positions(pool: &PgPool, model: &str) -> sqlx::Result<BTreeMap<u16, u64>> {
    sqlx::query(
        "INSERT INTO projection_position (model, part, seq) SELECT $1, part, 0 FROM generate_series(0, $2) AS part
         ON CONFLICT DO NOTHING",
    )
    .bind(model)
    .bind(i32::from(PARTITIONS) - 1)
    .execute(pool)
    .await?;
    let rows = sqlx::query("SELECT part, seq FROM projection_position WHERE model = $1")
        .bind(model)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            let (part, seq): (i16, i64) = (row.try_get("part")?, row.try_get("seq")?);
            Ok((part.unsigned_abs(), seq.unsigned_abs()))
        })
        .collect()
}

/// Where `model` stands in one partition.
///
/// # Errors
///
/// What the server said.
pub async fn position(pool: &PgPool, model: &str, part: u16) -> sqlx::Result<u64> {
    let seq: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM projection_position WHERE model = $1 AND part = $2")
            .bind(model)
            .bind(part_number(part))
            .fetch_optional(pool)
            .await?;
    Ok(seq.unwrap_or(0).unsigned_abs())
}

fn part_number(part: u16) -> i16 {
    i16::try_from(part).expect("there are 64 partitions")
}

fn seq_number(seq: u64) -> i64 {
    i64::try_from(seq).expect("the log gives less than 2^63 sequences")
}

/// Brings the database to where `migrator` leads, as the owner of its tables, and lets the user
/// who logs in by `service_url` act as [`SERVICE_ROLE`]. May be run by many at once and again.
///
/// # Errors
///
/// [`PostgresError`]; what was applied until then stays, and the next run goes on from there.
pub async fn migrate(
    owner_url: &Secret,
    service_url: &Secret,
    migrator: &Migrator,
) -> Result<(), PostgresError> {
    let step = |doing| move |source| PostgresError::Step { doing, source };
    let owner = address(owner_url)?.application_name("mastwatch-migrate");
    let login = address(service_url)?.get_username().to_owned();
    let mut db = owner.connect().await.map_err(PostgresError::Connect)?;
    // One at a time; the lock goes with the connection. The number is of our choosing.
    db.execute("SELECT pg_advisory_lock(7309459)").await.map_err(step("waiting for another migration"))?;
    make_role(&mut db, owner.get_username(), &login).await?;
    db.execute(POSITIONS).await.map_err(step("making the table of positions"))?;
    migrator.run_direct(None, &mut db, false).await.map_err(PostgresError::Migrate)?;
    for grant in [
        "GRANT USAGE ON SCHEMA public TO mastwatch_service",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO mastwatch_service",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO mastwatch_service",
        "REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM mastwatch_service",
    ] {
        db.execute(grant).await.map_err(step("granting the services their rights"))?;
    }
    db.close().await.map_err(step("ending the migration"))
}

async fn make_role(db: &mut PgConnection, owner: &str, login: &str) -> Result<(), PostgresError> {
    let step = |source| PostgresError::Step { doing: "looking up the role of the services", source };
    let refused = |source| PostgresError::Role { owner: owner.to_owned(), login: login.to_owned(), source };
    // Roles belong to the whole server: somebody may make it for another database at the same moment.
    db.execute(
        "DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mastwatch_service') THEN
                CREATE ROLE mastwatch_service NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $$",
    )
    .await
    .map_err(refused)?;
    let too_strong: bool =
        sqlx::query_scalar("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = $1")
            .bind(SERVICE_ROLE)
            .fetch_one(&mut *db)
            .await
            .map_err(step)?;
    if too_strong {
        return Err(PostgresError::TooStrong);
    }
    let grant: Option<String> = sqlx::query_scalar(
        "SELECT format('GRANT %I TO %I', $1, rolname) FROM pg_roles
         WHERE rolname = $2 AND NOT rolsuper AND NOT pg_has_role(rolname, $1, 'MEMBER')",
    )
    .bind(SERVICE_ROLE)
    .bind(login)
    .fetch_optional(&mut *db)
    .await
    .map_err(step)?;
    if let Some(grant) = grant {
        // Both names were quoted by the server itself.
        match db.execute(AssertSqlSafe(grant)).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(said)) if said.code().as_deref() == Some("23505") => {} // Granted meanwhile.
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(())
}

/// Empties the tables of `model` and sets it back to the beginning of the log, as the owner. Whoever is
/// writing it just now finds its position moved and begins again.
///
/// # Errors
///
/// [`PostgresError`]; nothing was emptied then.
pub async fn empty(owner_url: &Secret, model: &str, tables: &[&str]) -> Result<(), PostgresError> {
    let step = |source| PostgresError::Step { doing: "emptying a read model", source };
    let mut db = address(owner_url)?.connect().await.map_err(PostgresError::Connect)?;
    let mut tx = db.begin().await.map_err(step)?;
    // The position first, as every writer does: in another order the two could wait for each other.
    sqlx::query("UPDATE projection_position SET seq = 0, moved_at = now() WHERE model = $1")
        .bind(model)
        .execute(&mut *tx)
        .await
        .map_err(step)?;
    if !tables.is_empty() {
        let truncate: String = sqlx::query_scalar(
            "SELECT 'TRUNCATE ' || string_agg(format('%I', name), ', ') FROM unnest($1::text[]) AS name",
        )
        .bind(tables.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>())
        .fetch_one(&mut *tx)
        .await
        .map_err(step)?;
        // Every name was quoted by the server itself.
        tx.execute(AssertSqlSafe(truncate)).await.map_err(step)?;
    }
    tx.commit().await.map_err(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_passes_and_a_wrong_statement_lasts() {
        for code in [
            "08006", "53300", "53100", "57P01", "57P03", "57014", "40001", "40P01", "25006", "28P01", "42P01",
        ] {
            assert_eq!(of_state(code), Trouble::Passing, "{code}");
        }
        for code in ["23505", "22P02", "40002", ""] {
            assert_eq!(of_state(code), Trouble::Lasting, "{code}");
        }
        assert_eq!(trouble(&sqlx::Error::PoolTimedOut), Trouble::Passing);
        assert_eq!(trouble(&sqlx::Error::RowNotFound), Trouble::Lasting);
    }

    #[test]
    fn an_address_that_cannot_be_read_is_not_repeated() {
        let error = pool(&Secret::new("postgres://u:hunter2@h:port/d"), "test", 1).unwrap_err();
        assert!(!format!("{:#}", anyhow::Error::from(error)).contains("hunter2"));
    }
}
