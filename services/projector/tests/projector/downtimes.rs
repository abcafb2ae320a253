//! When nodes did not work follows from what was believed of them, however the log is cut, forgotten or read again.

use embedded::{Postgres, Temporary};
use events::{
    EventId, Fact, Health, HealthKind, HealthSaid, Heard, Impact, Incident, IncidentClass, IncidentId,
    IncidentKind, IncidentSaid, IncidentState, Learned, NodeHealth, NodeId, Part, RootCause, TenantId, Tier,
    Time, Urgency, partition_of,
};
use kit::{
    config::Secret,
    postgres::{self, Place, as_tenant},
    projection::{Chunk, Project, Told},
};
use projector::{MIGRATIONS, MODEL, PartError, Parts, ReadModels, checksum};
use sqlx::PgPool;
use uuid::Uuid;

const START: Time = Time::from_ms(1_795_000_000_000);

fn tenant() -> TenantId {
    TenantId::of("hillside")
}

fn node(name: &str) -> NodeId {
    NodeId::of(tenant(), name)
}

/// So many seconds into the story.
fn at(s: i64) -> Time {
    START.plus_ms(s * 1_000)
}

/// What is said of one node at a second of the story.
fn said(s: i64, name: &str, kind: HealthKind, health: Health, since: i64) -> (i64, HealthSaid) {
    let now = NodeHealth {
        node: node(name),
        health,
        flags: vec![],
        since: at(since),
        at: None,
        roots: if health == Health::Impacted { vec![node("core")] } else { vec![] },
        evidence: vec![],
        asked: vec![],
        opens_incident: false,
        penalty: None,
        session_lost: false,
        learned: None,
        sessions_lost: None,
    };
    (s, HealthSaid { kind, now })
}

fn changed(s: i64, name: &str, health: Health) -> (i64, HealthSaid) {
    said(s, name, HealthKind::Changed, health, s)
}

fn told(seq: u64, s: i64, fact: Fact) -> Told {
    let id = EventId(Uuid::from_u128(u128::from(seq)));
    let heard = Heard { seq, id, tenant: tenant(), heard: at(s), at: at(s), fact };
    Told { key: String::new(), cause: None, correlation: None, kept_until: None, heard: heard.into() }
}

fn story(said: impl IntoIterator<Item = (i64, HealthSaid)>) -> Vec<Told> {
    (1..).zip(said).map(|(seq, (s, said))| told(seq, s, Fact::Health(said))).collect()
}

/// An outage of the core from one second to another.
fn incident(from: i64, until: Option<i64>) -> Incident {
    Incident {
        id: IncidentId::of(EventId(Uuid::from_u128(from as u128))),
        state: if until.is_some() { IncidentState::Resolved } else { IncidentState::Open },
        class: IncidentClass::Outage,
        title: "Core-1 is down".into(),
        urgency: Urgency::Urgent,
        tier: Tier::Core,
        site: None,
        site_name: None,
        site_address: None,
        site_hypothesis: None,
        roots: vec![RootCause {
            node: node("core"),
            name: "Core-1".into(),
            tier: Tier::Core,
            primary: true,
            down: until.is_none(),
            since: at(from),
            quiet: false,
            flapping: false,
            confidence: 90,
            evidence: vec![],
            subscribers_below: None,
        }],
        impact: Impact::default(),
        opened_at: at(from),
        ended_at: until.map(at),
        ended_because: None,
        merged_into: None,
        blind: None,
        acknowledged_by: None,
        hold: 0,
        timeline: vec![],
        owner: None,
    }
}

/// These stories have no imports.
struct NoParts;

impl Parts for NoParts {
    async fn part(&self, _: TenantId, digest: &str, n: u32) -> Result<Part, PartError> {
        Err(PartError::Lost { digest: digest.to_owned(), n, problem: "is not there".into() })
    }
}

struct Database {
    server: Temporary<Postgres>,
    pool: PgPool,
}

/// Name of a node, begin and end in seconds of the story, health, roots.
type Row = (NodeId, i64, Option<i64>, String, Vec<NodeId>);

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

    /// Reads on in pieces of `size`.
    async fn read(&self, story: &[Told], size: usize) {
        let part = partition_of(tenant());
        let mut from = postgres::position(&self.pool, MODEL, part).await.unwrap();
        for piece in story.chunks(size) {
            let to = piece.last().unwrap().heard.seq;
            let chunk = Chunk { place: Place { part, from, to }, told: piece.to_vec() };
            assert!(ReadModels::new(NoParts).write(&self.pool, &chunk).await.unwrap());
            from = to;
        }
    }

    async fn rows(&self) -> Vec<Row> {
        type Columns = (Uuid, i64, Option<i64>, Option<i64>, String, Vec<Uuid>);
        let mut tx = self.pool.begin().await.unwrap();
        as_tenant(&mut tx, tenant()).await.unwrap();
        let rows: Vec<Columns> = sqlx::query_as(
            "select node, extract(epoch from from_at)::bigint, extract(epoch from until_at)::bigint, duration_ms,
                 health, roots
             from downtime order by believed_at, node",
        )
        .fetch_all(&mut *tx)
        .await
        .unwrap();
        let start = START.ms() / 1_000;
        rows.into_iter()
            .map(|(node, from, until, ms, health, roots)| {
                assert_eq!(ms, until.map(|u| (u - from) * 1_000), "a duration is until less from");
                let roots = roots.into_iter().map(NodeId).collect();
                (NodeId(node), from - start, until.map(|u| u - start), health, roots)
            })
            .collect()
    }

    async fn incidents_of(&self, name: &str) -> Vec<Uuid> {
        let mut tx = self.pool.begin().await.unwrap();
        as_tenant(&mut tx, tenant()).await.unwrap();
        sqlx::query_scalar("select incident from downtime_incident where node = $1 order by 1")
            .bind(node(name).0)
            .fetch_all(&mut *tx)
            .await
            .unwrap()
    }
}

fn row(name: &str, from: i64, until: Option<i64>, health: &str, root: &str) -> Row {
    (node(name), from, until, health.into(), vec![node(root)])
}

#[tokio::test]
async fn down_and_up_seven_minutes_later_is_one_downtime_of_420_seconds() {
    let db = Database::new().await;
    let mut down = changed(3, "ap-17", Health::Down);
    down.1.now.at = Some(at(0)); // The claim was three seconds earlier.
    db.read(&story([down, changed(420, "ap-17", Health::Up)]), 1).await;
    assert_eq!(db.rows().await, [row("ap-17", 0, Some(420), "down", "ap-17")]);
}

#[tokio::test]
async fn a_downtime_says_who_spoke_first_of_its_beginning_and_of_its_end() {
    let db = Database::new().await;
    let learned = |mut said: (i64, HealthSaid), by| {
        said.1.now.learned = by;
        said
    };
    let story = story([
        learned(changed(0, "ap-1", Health::Down), Some(Learned::Push)),
        changed(1, "ap-2", Health::Impacted),
        learned(said(5, "ap-1", HealthKind::Noted, Health::Down, 0), Some(Learned::Push)),
        learned(changed(20, "ap-1", Health::Up), Some(Learned::Reconcile)),
        learned(changed(30, "ap-3", Health::Down), Some(Learned::Poll)),
        changed(40, "ap-3", Health::Impacted),
    ]);
    for size in [1, 2, 6] {
        db.empty().await;
        db.read(&story, size).await;
        let mut tx = db.pool.begin().await.unwrap();
        as_tenant(&mut tx, tenant()).await.unwrap();
        let found: Vec<(Uuid, Option<String>, Option<String>)> =
            sqlx::query_as("select node, began_by, ended_by from downtime order by believed_at")
                .fetch_all(&mut *tx)
                .await
                .unwrap();
        let by = |name: &str, began: Option<&str>, ended: Option<&str>| {
            (node(name).0, began.map(str::to_owned), ended.map(str::to_owned))
        };
        let expected = [
            by("ap-1", Some("push"), Some("reconcile")),
            by("ap-2", None, None),
            by("ap-3", Some("poll"), None),
            by("ap-3", None, None),
        ];
        assert_eq!(found, expected, "in pieces of {size}");
    }
}

#[tokio::test]
async fn a_downtime_stays_open_until_the_node_is_believed_to_work() {
    let db = Database::new().await;
    let mut long = vec![changed(10, "client-1", Health::Impacted)];
    for day in 1..400 {
        let kind = if day % 2 == 0 { HealthKind::Noted } else { HealthKind::Restated };
        long.push(said(10 + day * 86_400, "client-1", kind, Health::Impacted, 10));
    }
    let story = story(long);
    db.read(&story, 50).await;
    assert_eq!(db.rows().await, [row("client-1", 10, None, "impacted", "core")]);

    // The log has forgotten how it began: it is told again from what stands.
    db.empty().await;
    db.read(&story[380..], 7).await;
    assert_eq!(db.rows().await, [row("client-1", 10, None, "impacted", "core")]);
}

#[tokio::test]
async fn a_subscriber_cut_off_by_the_core_has_a_downtime_that_names_core_and_incident() {
    let db = Database::new().await;
    let (first, second) = (incident(0, Some(300)), incident(5_000, None));
    let say = |seq, s, now: &Incident| {
        told(seq, s, Fact::Incident(IncidentSaid { kind: IncidentKind::Opened, now: now.clone() }))
    };
    let health = |seq, (s, said): (i64, HealthSaid)| told(seq, s, Fact::Health(said));
    let story = [
        health(1, changed(0, "core", Health::Down)),
        say(2, 0, &incident(0, None)),
        health(3, changed(2, "client-1", Health::Impacted)),
        health(4, changed(200, "core", Health::Up)),
        health(5, changed(230, "client-1", Health::Up)),
        say(6, 300, &first),
        health(7, changed(5_000, "core", Health::Down)),
        say(8, 5_000, &second),
    ];
    for size in [1, 3, 8] {
        db.empty().await;
        db.read(&story, size).await;
        let expected = [
            row("core", 0, Some(200), "down", "core"),
            row("client-1", 2, Some(230), "impacted", "core"),
            row("core", 5_000, None, "down", "core"),
        ];
        assert_eq!(db.rows().await, expected);
        assert_eq!(db.incidents_of("client-1").await, [first.id.0]);
        let mut both = vec![first.id.0, second.id.0];
        both.sort();
        assert_eq!(db.incidents_of("core").await, both);
    }
}

#[tokio::test]
async fn what_is_down_and_then_cut_off_has_two_downtimes_that_do_not_overlap() {
    let db = Database::new().await;
    let mut again = changed(90, "ap-1", Health::Down);
    again.1.now.at = Some(at(40)); // Claimed while it was cut off.
    db.read(
        &story([
            changed(10, "ap-1", Health::Down),
            changed(30, "ap-1", Health::Impacted),
            again,
            changed(100, "ap-1", Health::Degraded),
        ]),
        2,
    )
    .await;
    let expected = [
        row("ap-1", 10, Some(30), "down", "ap-1"),
        row("ap-1", 30, Some(40), "impacted", "core"),
        row("ap-1", 40, Some(100), "down", "ap-1"),
    ];
    assert_eq!(db.rows().await, expected);
}

#[tokio::test]
async fn nothing_is_counted_of_a_node_of_which_nothing_is_known_or_that_is_no_more() {
    let db = Database::new().await;
    db.read(
        &story([
            changed(10, "ap-1", Health::Down),
            changed(10, "ap-2", Health::Down),
            changed(50, "ap-1", Health::Unknown),
            said(60, "ap-2", HealthKind::Retired, Health::Down, 60),
            changed(500, "ap-1", Health::Up),
        ]),
        5,
    )
    .await;
    let mut expected = [row("ap-1", 10, Some(50), "down", "ap-1"), row("ap-2", 10, Some(60), "down", "ap-2")];
    expected.sort();
    assert_eq!(db.rows().await, expected);
}

#[tokio::test]
async fn the_rows_are_the_same_wherever_the_log_is_cut() {
    let db = Database::new().await;
    let words = [Health::Down, Health::Impacted, Health::Up, Health::Unknown, Health::Degraded];
    let mut since = [0_i64; 3];
    let story = story((0..120_i64).map(|n| {
        // Of three nodes by turns, some words more than once.
        let (which, word) = ((n * 7 % 3) as usize, words[(n * n / 5 % 5) as usize]);
        let noted = n % 4 == 3;
        if !noted {
            since[which] = n;
        }
        let word = if noted { words[((n - 3) * (n - 3) / 5 % 5) as usize] } else { word };
        let kind = if noted { HealthKind::Noted } else { HealthKind::Changed };
        said(n, ["a", "b", "c"][which], kind, word, since[which])
    }));
    let mut sums = std::collections::BTreeSet::new();
    for size in [1, 2, 3, 5, 8, 13, 60, 120] {
        db.empty().await;
        db.read(&story, size).await;
        assert!(db.rows().await.len() > 20);
        sums.insert(checksum(&db.pool).await.unwrap());
    }
    assert_eq!(sums.len(), 1);
}
