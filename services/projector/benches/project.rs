//! How fast rows are made, beside a bare insert of the same rows: one JSON line.
//!
//! Both write the health of 100,000 nodes and the downtime that begins with it to a real Postgres, 2,000 nodes and
//! so 4,000 rows in a transaction; figures are nodes a second. The projection
//! starts from the bytes of the messages: it decodes them, makes the rows, passes the wall around the
//! tenant and moves its position. The bare insert is an `UNNEST` of arrays that lie ready for each table, into the same
//! columns with the same key, with nothing around it. They take turns, chunk by chunk.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints its line"
)]

use embedded::Postgres;
use events::{
    EventId, Evidence, EvidenceKind, Fact, Health, HealthKind, HealthSaid, Heard, NodeHealth, NodeId, Noun,
    TenantId, Time, partition_of,
};
use kit::config::Secret;
use kit::postgres::{self, Place, as_tenant};
use kit::projection::{Chunk, Project, Told};
use projector::{MIGRATIONS, MODEL, Parts, ReadModels};
use sqlx::{Connection, Executor, PgConnection, types::Json};
use std::time::{Duration, Instant};

const CHUNKS: u64 = 50;
const CHUNK: u64 = 2_000;

struct NoParts;

impl Parts for NoParts {
    async fn part(&self, _: TenantId, digest: &str, n: u32) -> Result<events::Part, projector::PartError> {
        Err(projector::PartError::Lost { digest: digest.to_owned(), n, problem: "is not there".into() })
    }
}

fn now(tenant: TenantId, seq: u64) -> NodeHealth {
    let event = EventId::following(EventId::default(), "bench", &seq.to_string());
    let evidence = Evidence::of(EvidenceKind::DownClaim, 3, 40, Some(event));
    NodeHealth {
        node: NodeId::of(tenant, &format!("node-{seq}")),
        health: Health::Impacted,
        flags: vec![],
        since: Time::from_ms(1_795_000_000_000 + seq as i64),
        at: Some(Time::from_ms(1_795_000_000_000)),
        roots: vec![NodeId::of(tenant, "core-1")],
        evidence: vec![evidence],
        asked: vec![],
        opens_incident: false,
        penalty: None,
        session_lost: false,
        learned: None,
        sessions_lost: None,
    }
}

fn told(tenant: TenantId, seq: u64, body: &[u8]) -> Told {
    let fact = Fact::decode(Noun::Health, 1, body).unwrap();
    let heard = Time::from_ms(1_795_000_000_500);
    let id = EventId::following(EventId::default(), "health", &seq.to_string());
    let key = fact.key("main");
    let heard = Heard { seq, id, tenant, heard, at: heard, fact };
    Told {
        key,
        cause: Some(id),
        correlation: None,
        kept_until: Some(heard.heard.plus_ms(1)),
        heard: heard.into(),
    }
}

const BARE: &str = "insert into bare (tenant, node, health, flags, since, claimed_at, roots, confidence_percent,
        evidence, event, cause, heard_at, kept_until, seq)
    select $1, k.node, k.health, '{}', k.since, k.claimed_at, array[k.root], k.confidence, k.evidence, k.event,
        k.cause, k.heard_at, k.kept_until, k.seq
    from unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::uuid[], $7::int[], $8::jsonb[],
        $9::uuid[], $10::uuid[], $11::timestamptz[], $12::timestamptz[], $13::bigint[])
        as k (node, health, since, claimed_at, root, confidence, evidence, event, cause, heard_at, kept_until, seq)";

const BARE_DOWNTIME: &str =
    "insert into bare_downtime (tenant, node, believed_at, from_at, health, roots, event,
        heard_at, kept_until, seq)
    select $1, k.node, k.since, k.since, k.health, array[k.root], k.event, k.since, k.since, k.seq
    from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::uuid[], $6::uuid[], $7::bigint[])
        as k (node, since, health, root, event, seq)";

async fn bare(db: &mut PgConnection, tenant: TenantId, chunk: &[(u64, NodeHealth)]) -> Duration {
    let time = |t: Time| chrono::DateTime::from_timestamp_micros(t.us()).unwrap();
    let all = |of: fn(&NodeHealth) -> uuid::Uuid| chunk.iter().map(|(_, n)| of(n)).collect::<Vec<_>>();
    let event = |n: &NodeHealth| n.evidence[0].event.unwrap().0;
    let (nodes, roots, events) = (all(|n| n.node.0), all(|n| n.roots[0].0), all(event));
    let since: Vec<_> = chunk.iter().map(|(_, n)| time(n.since)).collect();
    let evidence: Vec<_> = chunk.iter().map(|(_, n)| Json(n.evidence.as_slice())).collect();
    let seqs: Vec<i64> = chunk.iter().map(|(seq, _)| *seq as i64).collect();
    let (words, confidence) = (vec!["impacted"; chunk.len()], vec![40_i32; chunk.len()]);
    let began = Instant::now();
    let mut tx = db.begin().await.unwrap();
    tx.execute("set local synchronous_commit = off").await.unwrap();
    sqlx::query(BARE)
        .bind(tenant.0)
        .bind(&nodes)
        .bind(&words)
        .bind(&since)
        .bind(&since)
        .bind(&roots)
        .bind(&confidence)
        .bind(&evidence)
        .bind(&events)
        .bind(&events)
        .bind(&since)
        .bind(&since)
        .bind(&seqs)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(BARE_DOWNTIME)
        .bind(tenant.0)
        .bind(&nodes)
        .bind(&since)
        .bind(&words)
        .bind(&roots)
        .bind(&events)
        .bind(&seqs)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    began.elapsed()
}

#[tokio::main]
async fn main() {
    let server = Postgres::start_temporary(|options| options.fsync = true).await.unwrap();
    let (owner, service) = (Secret::new(server.superuser_url()), Secret::new(server.url()));
    postgres::migrate(&owner, &service, &MIGRATIONS).await.unwrap();
    let pool = postgres::pool(&service, "bench", 2).unwrap();
    postgres::positions(&pool, MODEL).await.unwrap();
    let mut db = PgConnection::connect(owner.reveal()).await.unwrap();
    db.execute("create table bare (like health including all)").await.unwrap();
    db.execute("create table bare_downtime (like downtime including all)").await.unwrap();

    let tenant = TenantId::of("hillside");
    let models = ReadModels::new(NoParts);
    let (mut projected, mut inserted) = (Duration::ZERO, Duration::ZERO);
    for n in 0..CHUNKS {
        let rows: Vec<(u64, NodeHealth)> =
            (n * CHUNK + 1..=(n + 1) * CHUNK).map(|seq| (seq, now(tenant, seq))).collect();
        let say = |now: &NodeHealth| HealthSaid { kind: HealthKind::Changed, now: now.clone() };
        let bodies: Vec<(u64, Vec<u8>)> =
            rows.iter().map(|(seq, now)| (*seq, serde_json::to_vec(&say(now)).unwrap())).collect();
        inserted += bare(&mut db, tenant, &rows).await;
        let began = Instant::now();
        let told = bodies.iter().map(|(seq, body)| told(tenant, *seq, body)).collect();
        let place = Place { part: partition_of(tenant), from: n * CHUNK, to: (n + 1) * CHUNK };
        assert!(models.write(&pool, &Chunk { place, told }).await.unwrap());
        projected += began.elapsed();
    }
    let mut tx = pool.begin().await.unwrap();
    as_tenant(&mut tx, tenant).await.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from health").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(count, (CHUNKS * CHUNK) as i64);
    let per_second = |took: Duration| ((CHUNKS * CHUNK) as f64 / took.as_secs_f64()) as u64;
    let line = serde_json::json!({
        "bench": "project",
        "rows": CHUNKS * CHUNK,
        "chunk": CHUNK,
        "rows_per_second": per_second(projected),
        "bare_insert_rows_per_second": per_second(inserted),
        "ratio": (inserted.as_secs_f64() / projected.as_secs_f64() * 100.0).round() / 100.0,
    });
    println!("{line}");
}
