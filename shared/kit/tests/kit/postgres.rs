//! The promises about Postgres, against a real one.

use embedded::Postgres;
use events::TenantId;
use kit::{
    config::Secret,
    postgres::{self, Place, Trouble, as_tenant, move_position},
};
use sqlx::{
    Executor, PgPool, Row,
    migrate::{Migration, MigrationType, Migrator},
};
use std::time::{Duration, Instant};

const MODEL: &str = "test";

fn migrator() -> Migrator {
    let sql = "CREATE TABLE thing (tenant_id uuid NOT NULL, id int NOT NULL, PRIMARY KEY (tenant_id, id));
        ALTER TABLE thing ENABLE ROW LEVEL SECURITY;
        ALTER TABLE thing FORCE ROW LEVEL SECURITY;
        CREATE POLICY wall ON thing USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";
    let sql = sqlx::SqlStr::from_static(sql);
    Migrator::with_migrations(vec![Migration::new(1, "things".into(), MigrationType::Simple, sql, false)])
}

struct Database {
    server: embedded::Temporary<Postgres>,
    pool: PgPool,
}

impl Database {
    fn owner(&self) -> Secret {
        Secret::new(self.server.superuser_url())
    }
}

async fn database() -> Database {
    let server = Postgres::start_temporary(|_| {}).await.unwrap();
    let service = Secret::new(server.url());
    postgres::migrate(&Secret::new(server.superuser_url()), &service, &migrator()).await.unwrap();
    let pool = postgres::pool(&service, "test", 8).unwrap();
    Database { server, pool }
}

async fn insert(pool: &PgPool, acting: Option<TenantId>, tenant: TenantId, id: i32) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
    if let Some(acting) = acting {
        as_tenant(&mut tx, acting).await?;
    }
    sqlx::query("INSERT INTO thing VALUES ($1, $2)").bind(tenant.0).bind(id).execute(&mut *tx).await?;
    tx.commit().await
}

async fn count(pool: &PgPool, acting: Option<TenantId>) -> i64 {
    let mut tx = pool.begin().await.unwrap();
    if let Some(acting) = acting {
        as_tenant(&mut tx, acting).await.unwrap();
    }
    tx.fetch_one("SELECT count(*) FROM thing").await.unwrap().get(0)
}

#[tokio::test]
async fn a_tenant_is_a_wall_for_the_role_of_the_services() {
    let db = database().await;
    let (a, b) = (TenantId::of("a"), TenantId::of("b"));
    insert(&db.pool, Some(a), a, 1).await.unwrap();
    assert!(insert(&db.pool, Some(a), b, 1).await.is_err(), "a row of another tenant");
    assert!(insert(&db.pool, None, a, 2).await.is_err(), "a row without saying whose");
    assert_eq!((count(&db.pool, Some(a)).await, count(&db.pool, Some(b)).await), (1, 0));
    assert_eq!(count(&db.pool, None).await, 0);
    // The tenant does not outlive its transaction, on whatever connection.
    for _ in 0..8 {
        assert_eq!(count(&db.pool, None).await, 0);
    }
    let row = db
        .pool
        .fetch_one(
            "SELECT current_user::text, (SELECT count(*) FROM pg_class WHERE relowner =
             (SELECT oid FROM pg_roles WHERE rolname = current_user)), rolbypassrls OR rolsuper
             FROM pg_roles WHERE rolname = current_user",
        )
        .await
        .unwrap();
    let found: (String, i64, bool) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(found, (postgres::SERVICE_ROLE.into(), 0, false));
    assert!(db.pool.execute("DELETE FROM _sqlx_migrations").await.is_err());
    assert!(db.pool.execute("DROP TABLE thing").await.is_err());
}

#[tokio::test]
async fn even_a_superuser_acts_as_the_role_of_the_services() {
    let db = database().await;
    let a = TenantId::of("a");
    insert(&db.pool, Some(a), a, 1).await.unwrap();
    let pool = postgres::pool(&db.owner(), "test", 1).unwrap();
    assert_eq!(count(&pool, None).await, 0);
}

#[tokio::test]
async fn a_role_that_could_pass_the_wall_is_refused() {
    let db = database().await;
    let owner = PgPool::connect(&db.server.superuser_url()).await.unwrap();
    owner.execute("ALTER ROLE mastwatch_service BYPASSRLS").await.unwrap();
    let service = Secret::new(db.server.url());
    let error = postgres::migrate(&db.owner(), &service, &migrator()).await.unwrap_err();
    assert!(matches!(error, postgres::PostgresError::TooStrong), "{error}");
    let pool = postgres::pool(&service, "test", 1).unwrap();
    let error = postgres::answers(&pool).await.unwrap_err();
    assert_eq!(postgres::trouble(&error), Trouble::Passing);
}

#[tokio::test]
async fn who_may_not_make_the_role_is_told_what_to_type() {
    let server = Postgres::start_temporary(|_| {}).await.unwrap();
    let service = Secret::new(server.url());
    let error = postgres::migrate(&service, &service, &migrator()).await.unwrap_err().to_string();
    assert!(error.contains("CREATE ROLE mastwatch_service; GRANT mastwatch_service TO mastwatch"), "{error}");
    let superuser = PgPool::connect(&server.superuser_url()).await.unwrap();
    superuser.execute("CREATE ROLE mastwatch_service").await.unwrap();
    superuser.execute("GRANT mastwatch_service TO mastwatch").await.unwrap();
    postgres::migrate(&service, &service, &migrator()).await.unwrap();
    let pool = postgres::pool(&service, "test", 1).unwrap();
    let a = TenantId::of("a");
    insert(&pool, Some(a), a, 1).await.unwrap();
    assert_eq!(count(&pool, None).await, 0);
}

#[tokio::test]
async fn migrations_may_be_run_by_many_at_once_and_again() {
    let server = Postgres::start_temporary(|_| {}).await.unwrap();
    let (owner, service) = (Secret::new(server.superuser_url()), Secret::new(server.url()));
    let migrator = migrator();
    let runs = (0..4).map(|_| postgres::migrate(&owner, &service, &migrator));
    for run in futures::future::join_all(runs).await {
        run.unwrap();
    }
    postgres::migrate(&owner, &service, &migrator).await.unwrap();
}

#[tokio::test]
async fn of_many_who_move_a_position_exactly_one_does() {
    let db = database().await;
    let a = TenantId::of("a");
    let all = postgres::positions(&db.pool, MODEL).await.unwrap();
    assert_eq!((all.len(), all.values().sum::<u64>()), (64, 0));

    let stretch = Place { part: 7, from: 0, to: 10 };
    let write = async |id: i32| -> sqlx::Result<bool> {
        let mut tx = db.pool.begin().await?;
        if !move_position(&mut tx, MODEL, &stretch).await? {
            return Ok(false);
        }
        as_tenant(&mut tx, a).await?;
        sqlx::query("INSERT INTO thing VALUES ($1, $2)").bind(a.0).bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    };
    let moved = futures::future::join_all((0..6).map(write)).await;
    assert_eq!(moved.into_iter().filter(|moved| *moved.as_ref().unwrap()).count(), 1);
    assert_eq!(count(&db.pool, Some(a)).await, 1);
    assert_eq!(postgres::position(&db.pool, MODEL, 7).await.unwrap(), 10);
    assert_eq!(postgres::position(&db.pool, MODEL, 8).await.unwrap(), 0);

    // A transaction that is dropped moves nothing.
    let mut tx = db.pool.begin().await.unwrap();
    assert!(move_position(&mut tx, MODEL, &Place { part: 7, from: 10, to: 20 }).await.unwrap());
    drop(tx);
    assert_eq!(postgres::position(&db.pool, MODEL, 7).await.unwrap(), 10);
}

#[tokio::test]
async fn an_emptied_model_stands_at_the_beginning_and_holds_nothing_of_any_tenant() {
    let db = database().await;
    let (a, b) = (TenantId::of("a"), TenantId::of("b"));
    insert(&db.pool, Some(a), a, 1).await.unwrap();
    insert(&db.pool, Some(b), b, 1).await.unwrap();
    postgres::positions(&db.pool, MODEL).await.unwrap();
    let mut tx = db.pool.begin().await.unwrap();
    assert!(move_position(&mut tx, MODEL, &Place { part: 3, from: 0, to: 5 }).await.unwrap());
    tx.commit().await.unwrap();

    let error = postgres::empty(&db.owner(), MODEL, &["thing", "no\"thing"]).await.unwrap_err();
    assert!(matches!(error, postgres::PostgresError::Step { .. }), "{error}");
    assert_eq!(postgres::position(&db.pool, MODEL, 3).await.unwrap(), 5, "nothing was emptied");

    postgres::empty(&db.owner(), MODEL, &["thing"]).await.unwrap();
    assert_eq!(postgres::position(&db.pool, MODEL, 3).await.unwrap(), 0);
    assert_eq!((count(&db.pool, Some(a)).await, count(&db.pool, Some(b)).await), (0, 0));
}

#[tokio::test]
async fn a_killed_server_is_passing_trouble_and_the_pool_comes_back() {
    let db = database().await;
    let a = TenantId::of("a");
    insert(&db.pool, Some(a), a, 1).await.unwrap();
    db.server.kill();
    let began = Instant::now();
    let error = insert(&db.pool, Some(a), a, 2).await.unwrap_err();
    assert_eq!(postgres::trouble(&error), Trouble::Passing, "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    db.server.restart().await.unwrap();
    insert(&db.pool, Some(a), a, 2).await.unwrap();
    let error = insert(&db.pool, Some(a), a, 2).await.unwrap_err();
    assert_eq!(postgres::trouble(&error), Trouble::Lasting, "{error}");
}
