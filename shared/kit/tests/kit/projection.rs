//! The promises of a projection, against a real log and a real Postgres.

use crate::ground::{Ground, On, claims, ground, until};
use crate::nats::on_one_and_on_three;
use embedded::{Postgres, Temporary};
use events::{Fact, Noun, TenantId, partition_of};
use kit::{
    Service,
    config::Secret,
    postgres::{self, as_tenant, move_position},
    projection::{Chunk, Project, Projection, ProjectionError},
};
use sqlx::{
    Executor, PgPool, Row,
    migrate::{Migration, MigrationType, Migrator},
};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Writes one row per event. What says "poison" breaks a constraint, what says "panic" panics.
struct Claims;

impl Project for Claims {
    const MODEL: &'static str = "claims";
    const HEARS: &'static [Noun] = &[Noun::Signal];

    async fn write(&self, pool: &PgPool, chunk: &Chunk) -> sqlx::Result<bool> {
        let mut tx = pool.begin().await?;
        if !move_position(&mut tx, Self::MODEL, &chunk.place).await? {
            return Ok(false);
        }
        for (tenant, told) in chunk.by_tenant() {
            as_tenant(&mut tx, tenant).await?;
            let (mut seqs, mut details) = (vec![], vec![]);
            for told in told {
                let Fact::Signal(signal) = &told.heard.fact else { panic!("only signals are heard") };
                let detail = signal.detail.clone().unwrap();
                assert_ne!(detail, "panic");
                assert!(told.kept_until.unwrap().ms_since(told.heard.heard) == 30 * 86_400_000);
                seqs.push(told.heard.seq as i64);
                details.push(detail);
            }
            // Without ON CONFLICT: an event written twice is an error.
            sqlx::query("INSERT INTO claim (tenant_id, seq, detail) SELECT $1, * FROM unnest($2::bigint[], $3::text[])")
                .bind(tenant.0)
                .bind(&seqs)
                .bind(&details)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

fn migrator() -> Migrator {
    let sql = "CREATE TABLE claim (tenant_id uuid NOT NULL, seq bigint NOT NULL,
            detail text NOT NULL CHECK (detail <> 'poison'), PRIMARY KEY (tenant_id, seq));
        ALTER TABLE claim ENABLE ROW LEVEL SECURITY;
        ALTER TABLE claim FORCE ROW LEVEL SECURITY;
        CREATE POLICY wall ON claim USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";
    let sql = sqlx::SqlStr::from_static(sql);
    Migrator::with_migrations(vec![Migration::new(1, "claims".into(), MigrationType::Simple, sql, false)])
}

struct Rows {
    server: Temporary<Postgres>,
    owner: Secret,
    pool: PgPool,
}

async fn rows() -> Rows {
    let server = Postgres::start_temporary(|_| {}).await.unwrap();
    let owner = Secret::new(server.superuser_url());
    let service = Secret::new(server.url());
    postgres::migrate(&owner, &service, &migrator()).await.unwrap();
    let pool = postgres::pool(&service, "test", 8).unwrap();
    Rows { server, owner, pool }
}

impl Rows {
    /// What was written for a tenant, in order.
    async fn written(&self, tenant: TenantId) -> Vec<u64> {
        let Ok(mut tx) = self.pool.begin().await else { return vec![] };
        as_tenant(&mut tx, tenant).await.unwrap();
        let rows = tx.fetch_all("SELECT seq FROM claim ORDER BY seq").await.unwrap();
        rows.iter().map(|row| row.get::<i64, _>(0).unsigned_abs()).collect()
    }
}

type Running = (CancellationToken, JoinHandle<Result<(), ProjectionError>>);

fn start(ground: &Ground, rows: &Rows) -> Running {
    start_with(ground.service(), rows.pool.clone(), Projection::new(Claims))
}

fn start_with(service: Service, pool: PgPool, projection: Projection<Claims>) -> Running {
    service.readiness.ready();
    let stop = service.stop.clone();
    (stop, tokio::spawn(async move { projection.run(&service, pool).await }))
}

async fn stop((stop, run): Running) {
    stop.cancel();
    run.await.unwrap().unwrap();
}

on_one_and_on_three![
    two_that_write_the_same_model_write_every_event_once,
    while_the_log_is_away_nothing_is_lost,
    poison_harms_itself_only,
];

#[tokio::test]
async fn what_was_said_before_and_after_the_start_becomes_rows_each_once() {
    let (ground, rows) = (ground(On::One).await, rows().await);
    let (a, b) = (TenantId::of("a"), TenantId::of("b"));
    assert_ne!(partition_of(a), partition_of(b));
    for n in 0..3 {
        ground.say_all(a, n * 800..(n + 1) * 800, "x").await;
    }
    ground.say_all(b, 0..10, "x").await;
    let running = start(&ground, &rows);
    until("it is ready", async || ground.holds("test/claims") && ground.holds("test/claims/postgres")).await;
    assert_eq!((rows.written(a).await.len(), rows.written(b).await.len()), (2_400, 10));
    ground.say_all(b, 10..20, "x").await;
    ground.say(a, 2_400, "x").await;
    until("b is written", async || rows.written(b).await.len() == 20).await;
    until("a is written", async || rows.written(a).await.len() == 2_401).await;
    stop(running).await;
    // A new start finds nothing to do, and then what was said meanwhile.
    ground.say(a, 2_401, "x").await;
    let running = start(&ground, &rows);
    until("a is written", async || rows.written(a).await.len() == 2_402).await;
    stop(running).await;
    assert_eq!(ground.figure("mastwatch_claims_events_total"), Some(2_422.0));
    assert_eq!(ground.figure("mastwatch_claims_retries_total"), Some(0.0));
}

async fn two_that_write_the_same_model_write_every_event_once(on: On) {
    let (ground, rows) = (ground(on).await, rows().await);
    let a = TenantId::of("a");
    let running: Vec<Running> = (0..2)
        .map(|_| start_with(ground.service(), rows.pool.clone(), Projection::new(Claims).chunk_max(20)))
        .collect();
    for n in 0..30 {
        ground.say_all(a, n * 50..(n + 1) * 50, "x").await;
    }
    until("all are written", async || rows.written(a).await.len() == 1_500).await;
    for running in running {
        stop(running).await;
    }
    assert!(ground.figure("mastwatch_claims_outrun_total") > Some(0.0), "they were to meet");
    assert_eq!(ground.figure("mastwatch_claims_dead_total"), Some(0.0));
}

async fn poison_harms_itself_only(on: On) {
    let (ground, rows) = (ground(on).await, rows().await);
    let a = TenantId::of("a");
    let mut bad = vec![];
    let mut good = vec![];
    for n in 0..200 {
        let detail = match n {
            40 => "poison",
            41 | 120 => "panic",
            _ => "x",
        };
        let stored = ground.say(a, n, detail).await;
        if detail == "x" { &mut good } else { &mut bad }.push(stored.seq);
    }
    ground.lay_nonsense(a).await;
    good.push(ground.say(a, 200, "x").await.seq);
    let running = start(&ground, &rows);
    until("the good are written", async || rows.written(a).await.len() == good.len()).await;
    assert_eq!(rows.written(a).await, good);
    stop(running).await;
    let dead = ground.dead().await;
    let part = partition_of(a);
    let reason_of = |seq: u64| {
        let subject = format!("dead.test-claims.{part}.{seq}");
        dead.iter().find(|(found, _)| *found == subject).map(|(_, reason)| reason.as_str())
    };
    assert!(reason_of(bad[0]).unwrap().contains("claim_detail_check"), "{dead:?}");
    assert!(reason_of(bad[1]).unwrap().contains("panicked"), "{dead:?}");
    assert!(reason_of(bad[2]).unwrap().contains("panicked"), "{dead:?}");
    assert!(reason_of(201).is_some(), "{dead:?}");
    assert_eq!(dead.len(), 4);
    assert_eq!(ground.figure("mastwatch_claims_dead_total"), Some(4.0));
}

#[tokio::test]
async fn while_postgres_is_away_nothing_is_lost_and_readiness_says_so() {
    let (ground, rows) = (ground(On::One).await, rows().await);
    let a = TenantId::of("a");
    let running = start(&ground, &rows);
    ground.say_all(a, 0..10, "x").await;
    until("ten are written", async || rows.written(a).await.len() == 10).await;
    rows.server.kill();
    // More than a partition may have waiting.
    for n in 0..12 {
        ground.say_all(a, 10 + n * 500..510 + n * 500, "x").await;
    }
    until("it is not ready", async || !ground.holds("test/claims/postgres")).await;
    rows.server.restart().await.unwrap();
    until("all are written", async || rows.written(a).await.len() == 6_010).await;
    until("it is ready again", async || ground.holds("test/claims") && ground.holds("test/claims/postgres"))
        .await;
    ground.say(a, 9_999, "x").await;
    until("it goes on", async || rows.written(a).await.len() == 6_011).await;
    stop(running).await;
    assert_eq!(ground.figure("mastwatch_claims_dead_total"), Some(0.0));
}

async fn while_the_log_is_away_nothing_is_lost(on: On) {
    let (ground, rows) = (ground(on).await, rows().await);
    let a = TenantId::of("a");
    let running = start(&ground, &rows);
    ground.say_all(a, 0..10, "x").await;
    until("ten are written", async || rows.written(a).await.len() == 10).await;
    ground.nats.strike_the_leader().await;
    ground.say_all(a, 10..20, "x").await;
    until("all are written", async || rows.written(a).await.len() == 20).await;
    // Frozen it keeps its connections and says nothing.
    let leader = ground.nats.leader().await;
    leader.freeze().unwrap();
    let log = ground.log.within(Duration::from_secs(20));
    let saying = tokio::spawn(async move { log.publish_all(claims(a, 20..30, "x")).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    leader.thaw().unwrap();
    saying.await.unwrap().unwrap();
    until("these too", async || rows.written(a).await.len() == 30).await;
    stop(running).await;
}

#[tokio::test]
async fn an_emptied_model_is_told_again_while_it_runs_and_the_rows_are_the_same() {
    let (ground, rows) = (ground(On::One).await, rows().await);
    let a = TenantId::of("a");
    let running = start(&ground, &rows);
    ground.say_all(a, 0..300, "x").await;
    until("all are written", async || rows.written(a).await.len() == 300).await;
    let before = rows.written(a).await;
    postgres::empty(&rows.owner, "claims", &["claim"]).await.unwrap();
    // The next event finds the position moved.
    ground.say(a, 300, "x").await;
    until("all are written again", async || rows.written(a).await.len() == 301).await;
    assert_eq!(rows.written(a).await[..300], before);
    stop(running).await;
}

#[tokio::test]
async fn a_partition_that_cannot_keep_up_catches_up_by_itself_and_holds_up_nobody() {
    let (ground, rows) = (ground(On::One).await, rows().await);
    let (slow, quick) = (TenantId::of("a"), TenantId::of("b"));
    let running = start(&ground, &rows);
    until("it is ready", async || ground.holds("test/claims") && ground.holds("test/claims/postgres")).await;
    // Somebody holds the position of the slow one.
    let mut held = rows.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM projection_position WHERE part = $1 FOR UPDATE")
        .bind(i32::from(partition_of(slow)))
        .fetch_all(&mut *held)
        .await
        .unwrap();
    for n in 0..14 {
        ground.say_all(slow, n * 500..(n + 1) * 500, "x").await;
    }
    ground.say(quick, 1, "x").await;
    until("the quick one is written", async || rows.written(quick).await.len() == 1).await;
    assert_eq!(rows.written(slow).await.len(), 0);
    held.rollback().await.unwrap();
    until("the slow one is written", async || rows.written(slow).await.len() == 7_000).await;
    ground.say(slow, 7_000, "x").await;
    until("it goes on", async || rows.written(slow).await.len() == 7_001).await;
    stop(running).await;
}

#[tokio::test]
async fn rows_made_from_another_log_are_not_gone_on_with() {
    let (ground, rows) = (ground(On::One).await, rows().await);
    postgres::positions(&rows.pool, "claims").await.unwrap();
    let owner = PgPool::connect(rows.owner.reveal()).await.unwrap();
    owner.execute("UPDATE projection_position SET seq = 1000000 WHERE part = 5").await.unwrap();
    let (_stop, run) = start(&ground, &rows);
    let error = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, ProjectionError::Ahead { part: 5, position: 1_000_000, .. }), "{error}");
}
