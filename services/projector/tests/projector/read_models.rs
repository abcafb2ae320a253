//! The read models on a real Postgres: the same rows however the log is read, and a wall around each tenant.

use crate::history::{self, Dice, History, told};
use embedded::{Postgres, Temporary};
use events::{Heard, PARTITIONS, TenantId, partition_of};
use kit::{
    config::Secret,
    postgres::{self, Place, Trouble, as_tenant},
    projection::{Chunk, Project, Told},
};
use projector::{MIGRATIONS, MODEL, ReadModels, TABLES, checksum, prune};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use std::sync::Arc;

struct Database {
    server: Temporary<Postgres>,
    pool: PgPool,
}

impl Database {
    async fn new() -> Self {
        let server = Postgres::start_temporary(|_| {}).await.unwrap();
        let service = Secret::new(server.url());
        postgres::migrate(&Secret::new(server.superuser_url()), &service, &MIGRATIONS).await.unwrap();
        let pool = postgres::pool(&service, "test", 4).unwrap();
        postgres::positions(&pool, MODEL).await.unwrap();
        Self { server, pool }
    }

    async fn empty(&self) {
        projector::empty(&Secret::new(self.server.superuser_url())).await.unwrap();
    }

    async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.server.superuser_url()).await.unwrap()
    }
}

/// Reads the history from the positions on, in chunks whose sizes follow from `seed`.
async fn read_on(db: &Database, history: &History, seed: u64) {
    let mut dice = Dice::new(seed);
    let model = ReadModels::new(history.clone());
    for part in 0..PARTITIONS {
        let mut from = postgres::position(&db.pool, MODEL, part).await.unwrap();
        let rest = of_part(history, part).filter(|t| t.heard.seq > from).collect::<Vec<_>>();
        let mut rest = rest.as_slice();
        while !rest.is_empty() {
            let size = (1 + dice.below(60) as usize).min(rest.len());
            let (now, after) = rest.split_at(size);
            let chunk = chunk(part, from, now);
            assert!(model.write(&db.pool, &chunk).await.unwrap());
            (rest, from) = (after, chunk.place.to);
        }
    }
}

fn of_part(history: &History, part: u16) -> impl Iterator<Item = Told> {
    history.told.iter().filter(move |t| partition_of(t.heard.tenant) == part).cloned()
}

fn chunk(part: u16, from: u64, told: &[Told]) -> Chunk {
    let to = told.last().unwrap().heard.seq;
    Chunk { place: Place { part, from, to }, told: told.to_vec() }
}

/// How many rows a table has, of all tenants.
async fn count(owner: &mut PgConnection, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(sql).fetch_one(owner).await.unwrap()
}

#[tokio::test]
async fn reading_the_log_again_gives_the_same_rows() {
    let db = Database::new().await;
    let mut owner = db.owner().await;
    let mut sums = std::collections::BTreeSet::new();
    let (mut pruned, mut expired) = (0, 0);
    for seed in 0..4 {
        let history = history::random(seed, 1_100);
        read_on(&db, &history, seed).await;
        for (table, _) in TABLES.iter().filter(|_| seed == 0) {
            assert!(count(&mut owner, table).await > 0, "{table} is never written");
        }
        pruned += prune(&db.pool).await.unwrap();
        let before = checksum(&db.pool).await.unwrap();

        db.empty().await;
        for (table, _) in TABLES {
            assert_eq!(count(&mut owner, table).await, 0, "{table} is not emptied");
        }
        // The second time the log has forgotten what it need not keep, and chunks are cut elsewhere.
        let kept = history.as_kept();
        expired += history.told.len() - kept.told.len();
        read_on(&db, &kept, seed + 1_000).await;
        prune(&db.pool).await.unwrap();
        assert_eq!(checksum(&db.pool).await.unwrap(), before, "seed {seed}");
        sums.insert(before);
        db.empty().await;
    }
    assert_eq!(sums.len(), 4, "another history gives another sum");
    assert!(pruned > 100 && expired > 100, "{pruned} rows and {expired} messages grew old");
}

#[tokio::test]
async fn one_changed_column_changes_the_checksum() {
    let db = Database::new().await;
    let mut owner = db.owner().await;
    read_on(&db, &history::random(7, 900), 7).await;
    // In the way of changing one of two columns.
    owner.execute("alter table dependency_member drop constraint dependency_member_check").await.unwrap();
    let before = checksum(&db.pool).await.unwrap();
    let mut changed = 0;
    for (table, _) in TABLES {
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select column_name::text, data_type::text from information_schema.columns
             where table_name = $1 and column_name <> 'tenant'",
        )
        .bind(table)
        .fetch_all(&mut owner)
        .await
        .unwrap();
        run(&mut owner, format!("create table saved as table {table}")).await;
        for (column, kind) in columns {
            let other = match kind.as_str() {
                "text" => format!("coalesce({column}, '') || 'x'"),
                "uuid" => "'00000000-0000-0000-0000-00000000ffff'".into(),
                "bigint" | "integer" => format!("coalesce({column}, 0) + 1000000"),
                "boolean" => format!("not coalesce({column}, false)"),
                "jsonb" => "'{\"x\": 1}'".into(),
                "timestamp with time zone" => format!("coalesce({column}, now()) + interval '1 microsecond'"),
                "ARRAY" => format!("array_append({column}, null)"),
                kind => panic!("{table}.{column} is a {kind}"),
            };
            let one = format!("ctid = (select min(ctid) from {table})");
            assert_eq!(
                run(&mut owner, format!("update {table} set {column} = {other} where {one}")).await,
                1
            );
            assert_ne!(checksum(&db.pool).await.unwrap(), before, "{table}.{column} does not count");
            run(&mut owner, format!("truncate {table}")).await;
            run(&mut owner, format!("insert into {table} table saved")).await;
            changed += 1;
        }
        run(&mut owner, "drop table saved".into()).await;
        assert_eq!(checksum(&db.pool).await.unwrap(), before, "{table} is as it was");
    }
    assert!(changed > 100, "{changed} columns");
}

/// Runs a statement that a test puts together; says how many rows it touched.
async fn run(owner: &mut PgConnection, sql: String) -> u64 {
    owner.execute(sqlx::AssertSqlSafe(sql)).await.unwrap().rows_affected()
}

#[tokio::test]
async fn no_table_shows_a_row_to_whom_it_does_not_belong() {
    let db = Database::new().await;
    let history = history::random(3, 900);
    read_on(&db, &history, 3).await;
    let [a, b, c] = history::tenants();
    let mut owner = db.owner().await;
    let tables: Vec<(String, bool, bool)> = sqlx::query_as(
        "select relname::text, relrowsecurity, relforcerowsecurity from pg_class
         where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') order by 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    let mut walled = 0;
    for (table, on, forced) in tables {
        if ["_sqlx_migrations", "projection_position"].contains(&table.as_str()) {
            continue; // They hold nothing of any tenant.
        }
        assert!(on && forced, "{table} has no wall");
        walled += 1;
        let all = count(&mut owner, &table).await;
        let mut seen = 0;
        for tenant in [a, b, c] {
            let mut tx = db.pool.begin().await.unwrap();
            as_tenant(&mut tx, tenant).await.unwrap();
            let foreign = sqlx::AssertSqlSafe(format!("select count(*) from {table} where tenant <> $1"));
            let foreign: i64 = sqlx::query_scalar(foreign).bind(tenant.0).fetch_one(&mut *tx).await.unwrap();
            assert_eq!(foreign, 0, "{table} shows foreign rows");
            seen += count(&mut tx, &table).await;
        }
        assert_eq!(seen, all, "{table} hides rows from their tenant");
        let mut tx = db.pool.begin().await.unwrap();
        assert_eq!(count(&mut tx, &table).await, 0, "{table} shows rows to nobody in particular");
        // Nor can rows be given to another tenant.
        let holder = sqlx::AssertSqlSafe(format!("select tenant from {table} limit 1"));
        let holder = TenantId(sqlx::query_scalar(holder).fetch_one(&mut owner).await.unwrap());
        let other = if holder == b { c } else { b };
        as_tenant(&mut tx, holder).await.unwrap();
        let steal = sqlx::AssertSqlSafe(format!("update {table} set tenant = $1"));
        assert!(sqlx::query(steal).bind(other.0).execute(&mut *tx).await.is_err(), "{table} gives rows away");
    }
    assert_eq!(walled, TABLES.len() + 1);
    let mut tx = db.pool.begin().await.unwrap();
    for view in ["unmatched_claim", "downtime_incident", "blind_slot", "health_now"] {
        assert_eq!(count(&mut tx, view).await, 0, "{view} is no way around the wall");
    }
    let mut tx = db.pool.begin().await.unwrap();
    as_tenant(&mut tx, a).await.unwrap();
    assert_eq!(count(&mut tx, "health_now").await, count(&mut tx, "health").await);
    assert!(count(&mut tx, "health_now").await > 0);
}

#[tokio::test]
async fn no_secret_reaches_a_read_model() {
    let db = Database::new().await;
    read_on(&db, &history::random(4, 2_000), 4).await;
    let mut owner = db.owner().await;
    for (table, _) in TABLES {
        let sql = format!("select count(*) from {table} t where t::text like '%secret-%'");
        let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut owner).await.unwrap();
        assert_eq!(found, 0, "{table}");
    }
}

#[tokio::test]
async fn of_two_projectors_one_writes() {
    let db = Database::new().await;
    let history = history::random(5, 200);
    let tenant = history::tenants()[0];
    let part = partition_of(tenant);
    let chunk = chunk(part, 0, &of_part(&history, part).take(40).collect::<Vec<_>>());
    let model = ReadModels::new(history);
    let (one, other) = tokio::join!(model.write(&db.pool, &chunk), model.write(&db.pool, &chunk));
    assert_eq!([one.unwrap(), other.unwrap()].iter().filter(|wrote| **wrote).count(), 1);
    assert_eq!(postgres::position(&db.pool, MODEL, part).await.unwrap(), chunk.place.to);
}

#[tokio::test]
async fn a_revision_whose_parts_are_gone_writes_nothing() {
    let db = Database::new().await;
    let mut history = history::random(6, 400);
    history.parts.clear();
    let part = partition_of(history::tenants()[2]);
    let chunk = chunk(part, 0, &of_part(&history, part).collect::<Vec<_>>());
    let error = ReadModels::new(history).write(&db.pool, &chunk).await.unwrap_err();
    assert_eq!(postgres::trouble(&error), Trouble::Lasting, "{error}: asking again would not help");
    assert_eq!(postgres::position(&db.pool, MODEL, part).await.unwrap(), 0);
    let mut owner = db.owner().await;
    assert_eq!(count(&mut owner, "projected_tenant").await, 0);
}

#[tokio::test]
async fn every_statement_is_understood_by_the_database() {
    let db = Database::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let statements = projector::statements();
    assert!(statements.len() > 20);
    for sql in statements {
        let prepared = connection.prepare(sqlx::SqlStr::from_static(sql)).await;
        assert!(prepared.is_ok(), "{sql}\n{prepared:?}");
    }
}

#[tokio::test]
async fn a_claim_about_nobody_is_parked_until_somebody_has_it() {
    use events::{
        About, Claim, ClaimKey, Fact, Inventory, Node, NodeId, NodeKind, Sealed, Signal, SignalSource, Tier,
        Time,
    };
    let db = Database::new().await;
    let tenant = TenantId::of("hillside");
    let key = ClaimKey(uuid::Uuid::from_u128(77));
    let t = Time::from_ms(1_795_000_000_000);
    let heard = |seq, fact| Heard { seq, id: events::EventId::default(), tenant, heard: t, at: t, fact };
    let claim = Fact::Signal(Signal {
        about: About::Session(key),
        says: Claim::Up,
        source: SignalSource::Ppp,
        sender: None,
        boot: None,
        seq: None,
        sealed_name: Some(Sealed("sealed".into())),
        detail: None,
    });
    let mut history = History { told: vec![told(heard(1, claim))], parts: Default::default() };
    read_on(&db, &history, 1).await;
    let parked = async || {
        let mut tx = db.pool.begin().await.unwrap();
        as_tenant(&mut tx, tenant).await.unwrap();
        count(&mut tx, "unmatched_claim").await
    };
    assert_eq!(parked().await, 1);
    history.told.push(told(heard(
        2,
        Fact::Inventory(Inventory::Node(Arc::new(Node {
            claims: vec![key],
            ..Node::bare(NodeId::of_account(tenant, "HW-1"), "HW-1", NodeKind::Subscriber, Tier::Subscriber)
        }))),
    )));
    read_on(&db, &history, 1).await;
    assert_eq!(parked().await, 0);
}

/// Requirements, R20: whatever is moved, added or taken out, each node is where domain says, and so are those below it
/// of whom nothing was said.
#[tokio::test]
async fn nodes_are_where_domain_says_however_the_network_changes() {
    use domain::Graph;
    use events::{
        DeviceClass, Fact, Group, GroupMode, Inventory, Member, Node, NodeId, NodeKind, SiteId, Tier, Time,
    };
    let db = Database::new().await;
    let tenant = TenantId::of("hillside");
    let t = Time::from_ms(1_795_000_000_000);
    let id = |n: u64| NodeId(uuid::Uuid::from_u128(u128::from(n) << 100 | 7));
    let (mut dice, mut now) = (Dice::new(20), std::collections::BTreeMap::new());
    let mut history = History { told: vec![], parts: Default::default() };
    let mut inherited = 0;
    for round in 0..12_u64 {
        for _ in 0..if round == 0 { 60 } else { 4 } {
            let n = dice.below(60);
            let thing = if round > 0 && dice.chance(15) {
                now.remove(&id(n));
                Inventory::NodeRemoved { id: id(n) }
            } else {
                let mut group = |depth: bool| {
                    let mut members: Vec<Member> =
                        (0..=dice.below(2)).map(|_| Member::Node(id(dice.below(60)))).collect();
                    if depth {
                        let inner = (0..=dice.below(1)).map(|_| Member::Node(id(dice.below(60)))).collect();
                        members.insert(0, Member::Group(Group { mode: GroupMode::All, members: inner }));
                    }
                    Group { mode: GroupMode::All, members }
                };
                let needs = vec![group(n % 3 == 0), group(false)];
                let node = Arc::new(Node {
                    site: dice.chance(15).then(|| SiteId(uuid::Uuid::from_u128(u128::from(dice.below(5))))),
                    needs,
                    ..Node::bare(
                        id(n),
                        n.to_string(),
                        NodeKind::Device { class: DeviceClass::Other },
                        Tier::Station,
                    )
                });
                now.insert(id(n), Arc::clone(&node));
                Inventory::Node(node)
            };
            let seq = history.told.len() as u64 + 1;
            let fact = Fact::Inventory(thing);
            history.told.push(told(Heard {
                seq,
                id: events::EventId::default(),
                tenant,
                heard: t,
                at: t,
                fact,
            }));
        }
        read_on(&db, &history, round).await;
        let mut graph = Graph::default();
        now.values().for_each(|node| _ = graph.put(Arc::clone(node)));
        graph.knit();
        let mut tx = db.pool.begin().await.unwrap();
        as_tenant(&mut tx, tenant).await.unwrap();
        let rows: Vec<(uuid::Uuid, Option<uuid::Uuid>, Option<uuid::Uuid>)> =
            sqlx::query_as("select id, site, at_site from node").fetch_all(&mut *tx).await.unwrap();
        assert_eq!(rows.len(), now.len());
        for (id, own, at) in rows {
            let site = graph.site_of(graph.index_of(NodeId(id)).unwrap());
            assert_eq!(at, site.map(|site| site.0), "round {round}, node {id}");
            inherited += usize::from(own.is_none() && at.is_some());
        }
    }
    assert!(inherited > 100, "{inherited}");
}
