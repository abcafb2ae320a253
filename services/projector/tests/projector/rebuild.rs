//! The projector on a real log and a real Postgres: it keeps up, and a rebuild gives the same rows.

use crate::history;
use embedded::{Nats, Postgres, Temporary};
use events::{Fact, Noun, Revision, RevisionSource, Say, TenantId};
use kit::{
    Log, LogConfig, Outgoing, Service,
    admin::{Board, Build, Metrics},
    config::{Common, Secret},
    postgres,
};
use projector::{Config, Progress, checksum, rebuild};
use sqlx::{Connection, PgConnection, PgPool};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Ground {
    _nats: Temporary<Nats>,
    server: Temporary<Postgres>,
    log: Log,
    board: Board,
    metrics: Metrics,
}

impl Ground {
    async fn new() -> Self {
        let nats = Nats::start_temporary(|_| {}).await.unwrap();
        let log = Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap();
        log.ensure().await.unwrap();
        let server = Postgres::start_temporary(|_| {}).await.unwrap();
        let metrics = Metrics::of_process(Build { version: "0", revision: "test" });
        Self { _nats: nats, server, log, board: Board::default(), metrics }
    }

    fn service(&self) -> Service {
        let common = Common {
            database_url: Some(Secret::new(self.server.url())),
            database_owner_url: Some(Secret::new(self.server.superuser_url())),
            ..Common::default()
        };
        Service {
            name: "projector",
            common: Arc::new(common),
            log: self.log.clone(),
            stop: CancellationToken::new(),
            readiness: self.board.condition("projector"),
            metrics: self.metrics.clone(),
        }
    }

    fn start(&self) -> (CancellationToken, JoinHandle<anyhow::Result<()>>) {
        let service = self.service();
        (service.stop.clone(), tokio::spawn(projector::run(Config::default(), service)))
    }

    fn pool(&self) -> PgPool {
        postgres::pool(&Secret::new(self.server.url()), "test", 4).unwrap()
    }

    /// Waits until these are suspected and nobody else.
    async fn comes_to(&self, tenant: TenantId, suspected: &[events::NodeId]) {
        let (pool, began) = (self.pool(), Instant::now());
        let wanted: std::collections::BTreeSet<_> = suspected.iter().map(|node| node.0).collect();
        loop {
            let mut tx = pool.begin().await.unwrap();
            postgres::as_tenant(&mut tx, tenant).await.unwrap();
            let nodes = sqlx::query_scalar("select node from suspicion where tenant = $1").bind(tenant.0);
            let seen: Vec<_> = nodes.fetch_all(&mut *tx).await.unwrap_or_default();
            if seen.iter().copied().collect::<std::collections::BTreeSet<_>>() == wanted {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{seen:?} are suspected, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Says a whole random history; what its revisions name is laid down before them.
    async fn tell(&self, seed: u64, count: u64) {
        let history = history::random(seed, count);
        for (n, told) in history.told.iter().enumerate() {
            if let Fact::Revision(Revision { source: RevisionSource::Parts { digest, count }, .. }) =
                &told.heard.fact
            {
                for n in 0..*count {
                    let part = history.parts[&(told.heard.tenant, digest.clone(), n)].clone();
                    self.say(
                        told.heard.tenant,
                        u128::from(n) << 64 | told.heard.id.0.as_u128(),
                        Fact::Part(part),
                    )
                    .await;
                }
            }
            let is_a_subject = !matches!(&told.heard.fact, Fact::Access(_)); // Its random prefixes are none.
            if is_a_subject {
                self.say(told.heard.tenant, (n as u128) << 64 | u128::from(seed), told.heard.fact.clone())
                    .await;
            }
        }
    }

    async fn say(&self, tenant: TenantId, id: u128, fact: Fact) {
        let id = events::EventId(uuid::Uuid::from_u128(id));
        let say = Say { id, tenant, at: events::Time::from_ms(1_795_000_000_000), cause: None, fact };
        self.log.publish(Outgoing::new(say, "test")).await.unwrap();
    }

    /// Waits until every tenant's rows are of its last message that leaves any.
    async fn is_written(&self) {
        let mut owner = PgConnection::connect(&self.server.superuser_url()).await.unwrap();
        let began = Instant::now();
        for tenant in history::tenants() {
            let nouns = Noun::ALL
                .into_iter()
                .filter(|n| *n != Noun::Part)
                .map(|n| kit::Filter::noun(n).tenant(tenant));
            let filters: Vec<kit::Filter> = nouns.collect();
            let end = self.log.state().await.unwrap().last_seq;
            let mut reader = self.log.read(&filters, kit::From::Start, Some(end));
            let mut last = 0;
            while let Some(raw) = reader.next().await.unwrap() {
                last = raw.seq;
            }
            loop {
                let seq: Option<i64> =
                    sqlx::query_scalar("select seq from projected_tenant where tenant = $1")
                        .bind(tenant.0)
                        .fetch_optional(&mut owner)
                        .await
                        .unwrap_or_default();
                if seq == Some(last as i64) {
                    break;
                }
                assert!(began.elapsed() < Duration::from_secs(20), "{seq:?} is written of {last}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_rebuild_beside_a_running_projector_gives_the_same_rows() {
    let ground = Ground::new().await;
    ground.tell(1, 150).await;
    let (stop, running) = ground.start();
    ground.tell(2, 150).await;
    ground.is_written().await;
    let pool = ground.pool();
    let before = checksum(&pool).await.unwrap();

    let owner = Secret::new(ground.server.superuser_url());
    let service = ground.service();
    let mut told: Vec<Progress> = vec![];
    let after = rebuild(&owner, &service, &pool, |p| told.push(p)).await.unwrap();
    assert_eq!(after, before);
    let last = *told.last().unwrap();
    assert!(last.written == last.of && last.of > 250, "{last:?}");
    assert!(told.is_sorted_by_key(|p| p.written), "{told:?}");

    // The one that ran all the time goes on from where the rebuild came.
    ground.tell(3, 30).await;
    ground.is_written().await;
    assert_ne!(checksum(&pool).await.unwrap(), before);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_projector_that_is_stopped_and_started_goes_on_from_its_position() {
    let ground = Ground::new().await;
    for seed in 0..4 {
        let (stop, running) = ground.start();
        ground.tell(10 + seed, 60).await;
        if seed % 2 == 0 {
            running.abort(); // In the middle of whatever it does.
            let _ = running.await;
        } else {
            ground.is_written().await;
            stop.cancel();
            running.await.unwrap().unwrap();
        }
    }
    let pool = ground.pool();
    let before = checksum(&pool).await.unwrap();
    let owner = Secret::new(ground.server.superuser_url());
    assert_eq!(rebuild(&owner, &ground.service(), &pool, |_| ()).await.unwrap(), before);
}

#[tokio::test]
async fn a_claim_is_seen_as_a_suspicion_well_within_a_second() {
    use events::{EventId, NodeId, SignalSource, Suspicion, SuspicionKind, SuspicionSaid, Time};
    let ground = Ground::new().await;
    let (stop, running) = ground.start();
    let tenant = TenantId::of("hillside");
    let pool = ground.pool();
    let mut slowest = Duration::ZERO;
    for n in 0..30_u64 {
        let node = NodeId::of(tenant, &n.to_string());
        let now = Suspicion {
            node,
            since: Time::EPOCH,
            source: SignalSource::Netwatch,
            sender: None,
            claim: EventId::default(),
            asked: vec![],
            held_until: None,
        };
        ground
            .say(
                tenant,
                1 + u128::from(n),
                Fact::Suspicion(SuspicionSaid { kind: SuspicionKind::Raised, now }),
            )
            .await;
        let began = Instant::now();
        loop {
            let mut tx = pool.begin().await.unwrap();
            postgres::as_tenant(&mut tx, tenant).await.unwrap();
            let seen: Option<bool> =
                sqlx::query_scalar("select true from suspicion where tenant = $1 and node = $2")
                    .bind(tenant.0)
                    .bind(node.0)
                    .fetch_optional(&mut *tx)
                    .await
                    .unwrap_or_default();
            if seen.is_some() {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it is never seen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if n > 0 {
            slowest = slowest.max(began.elapsed()); // The first one waits for the tables.
        }
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// What a suspicion led to ends it, in one reading of the log or in two; one that is raised later stands.
#[tokio::test]
async fn a_suspicion_is_gone_when_health_says_what_came_of_it() {
    use events::{EventId, Health, HealthKind, HealthSaid, NodeHealth, NodeId, SignalSource};
    use events::{Suspicion, SuspicionKind, SuspicionSaid, Time};
    let ground = Ground::new().await;
    let tenant = TenantId::of("hillside");
    let ids = ["settled", "raised-again", "settled-later"].map(|id| NodeId::of(tenant, id));
    let raised = |node| {
        let now = Suspicion {
            node,
            since: Time::EPOCH,
            source: SignalSource::Netwatch,
            sender: None,
            claim: EventId::default(),
            asked: vec![],
            held_until: None,
        };
        Fact::Suspicion(SuspicionSaid { kind: SuspicionKind::Raised, now })
    };
    let down = |node| {
        let now = NodeHealth::of(node, Health::Down, Time::EPOCH);
        Fact::Health(HealthSaid { kind: HealthKind::Changed, now })
    };
    let [settled, again, later] = ids;
    let facts = [raised(settled), down(settled), down(again), raised(again), raised(later)];
    for (n, fact) in (1_u128..).zip(facts) {
        ground.say(tenant, n, fact).await;
    }
    let (stop, running) = ground.start();
    ground.comes_to(tenant, &[again, later]).await;
    ground.say(tenant, 6, down(later)).await;
    ground.comes_to(tenant, &[again]).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
