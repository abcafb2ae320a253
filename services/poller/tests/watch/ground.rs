//! What these tests stand on: a log of their own, a network in it, and a running poller.

use crate::router::Router;
use embedded::{Nats, Temporary};
use events::{
    Access, AccessSaid, Answer, Ask, AskId, ClaimKey, DeviceClass, EventId, Fact, Heard, Inventory, Login,
    Node, NodeId, NodeKind, Noun, Outcome, Question, Revision, RevisionSource, Say, TenantId, Tier, Time,
    Watch,
};
use kit::{
    Filter, From, Log, LogConfig, Outgoing, Service,
    admin::{Board, Build, Metrics},
    config::{Common, Durability, Settings},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::{Field, MasterKey, MasterKeys, Person, SessionKind, TenantKeys};

/// A log with one tenant in it.
pub(crate) struct Ground {
    _nats: Temporary<Nats>,
    pub(crate) log: Log,
    pub(crate) tenant: TenantId,
    pub(crate) keys: TenantKeys,
    pub(crate) metrics: Metrics,
    board: Board,
    master: String,
    revision: AtomicU64,
}

/// A running poller.
pub(crate) struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it wherever it is, as a kill would: nothing is given back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_us(i64::try_from(since.as_micros()).unwrap())
}

impl Ground {
    /// An empty log, with the tenant's keys in it.
    pub(crate) async fn lay() -> Self {
        let nats = Nats::start_temporary(|_| {}).await.unwrap();
        let log = Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap();
        log.ensure().await.unwrap();
        let tenant = TenantId::of("hillside");
        let key = MasterKey::random();
        let master = key.to_base64().to_string();
        let (keys, wrapped) = MasterKeys::new(key, vec![]).new_tenant(tenant);
        let ground = Self {
            _nats: nats,
            log,
            tenant,
            keys,
            metrics: Metrics::of_process(Build { version: "0", revision: "test" }),
            board: Board::default(),
            master,
            revision: AtomicU64::new(0),
        };
        let said = AccessSaid { now: Access::Keys(wrapped), by: "test".into() };
        ground.say(vec![Fact::Access(said)]).await;
        ground
    }

    pub(crate) async fn say(&self, facts: Vec<Fact>) -> Vec<EventId> {
        let outs = facts.into_iter().map(|fact| {
            let id = EventId(Uuid::now_v7());
            let say = Say { id, tenant: self.tenant, at: now(), cause: None, fact };
            Outgoing::new(say, "test")
        });
        let stored = self.log.publish_all(outs.collect()).await.unwrap();
        stored.into_iter().map(|stored| stored.id).collect()
    }

    /// Lays nodes down, as a revision of their own.
    pub(crate) async fn put(&self, nodes: Vec<Node>) {
        let count = u32::try_from(nodes.len()).unwrap();
        let mut facts: Vec<Fact> =
            nodes.into_iter().map(|node| Fact::Inventory(Inventory::Node(Arc::new(node)))).collect();
        facts.push(Fact::Revision(Revision {
            number: self.revision.fetch_add(1, Ordering::Relaxed) + 1,
            source: RevisionSource::Commit { count },
            file_digest: None,
            by: "test".into(),
        }));
        self.say(facts).await;
    }

    pub(crate) fn id(&self, file_id: &str) -> NodeId {
        NodeId::of(self.tenant, file_id)
    }

    pub(crate) fn node(&self, file_id: &str) -> Node {
        Node {
            id: self.id(file_id),
            file_id: file_id.into(),
            name: file_id.into(),
            kind: NodeKind::Device { class: DeviceClass::Other },
            tier: Tier::Sector,
            site: None,
            needs: Vec::new(),
            address: None,
            watch: None,
            seen_by: None,
            claims: Vec::new(),
            login: None,
            plan: None,
            owner: None,
            maintenance: Vec::new(),
            origin: events::Origin::default(),
        }
    }

    /// A router that can be entered.
    pub(crate) fn router(&self, file_id: &str, address: SocketAddr, password: &str) -> Node {
        let field = Field::Login(self.id(file_id));
        let secret = self.keys.seal_login(field, "nms", password);
        Node {
            address: Some(address.ip()),
            login: Some(Login {
                port: address.port(),
                tls: false,
                certificate: None,
                secret,
                manage: false,
                enforce: false,
                token: None,
            }),
            tier: Tier::Core,
            ..self.node(file_id)
        }
    }

    /// Something that a router sees.
    pub(crate) fn child(&self, file_id: &str, router: &str, address: Option<&str>) -> Node {
        Node {
            address: address.map(|address| address.parse().unwrap()),
            seen_by: Some(self.id(router)),
            ..self.node(file_id)
        }
    }

    /// A subscriber that a router sees and of whom no session tells.
    pub(crate) fn subscriber(&self, account: &str, router: &str) -> Node {
        Node {
            id: NodeId::of_account(self.tenant, account),
            kind: NodeKind::Subscriber,
            tier: Tier::Subscriber,
            ..self.child(account, router, None)
        }
    }

    /// Keeps beside the log what is known of the person behind a subscriber.
    pub(crate) async fn know(&self, account: &str, tell: impl FnOnce(&mut Person)) {
        let mut person = Person::default();
        tell(&mut person);
        let node = NodeId::of_account(self.tenant, account);
        let sealed = self.keys.seal_person(node, &person);
        self.log.put_personal(self.tenant, vec![(node, sealed)]).await.unwrap();
    }

    pub(crate) fn claim(&self, router: &str, user: &str) -> ClaimKey {
        self.keys.look_up(self.id(router), SessionKind::Ppp, user)
    }

    /// Starts a poller, and waits until it is ready.
    pub(crate) async fn start(&self, settings: &[(&str, &str)]) -> Running {
        let own = ("MASTWATCH_POLLER__MASTER_KEYS".to_owned(), self.master.clone());
        let given = settings
            .iter()
            .map(|(key, value)| (format!("MASTWATCH_POLLER__{}", key.to_uppercase()), (*value).to_owned()));
        let settings = Settings::from_parts(None, given.chain([own])).unwrap();
        let config: poller::Config = settings.section().unwrap();
        let service = Service {
            name: "poller",
            common: Arc::new(Common::default()),
            log: self.log.clone(),
            stop: CancellationToken::new(),
            readiness: self.board.condition("poller"),
            metrics: self.metrics.under("poller"),
        };
        let stop = service.stop.clone();
        let task = tokio::spawn(poller::run(config, service));
        let board = self.board.clone();
        until("the poller is ready", Duration::from_secs(20), async || {
            board.report(Durability::Always).ready
        })
        .await;
        Running { stop, task }
    }

    /// The poller of a core router with one child that has an address.
    pub(crate) async fn with_one_router(&self) -> (Router, Running) {
        let router = Router::start("127.0.0.1").await;
        let core = self.router("core-1", router.address, "s3cret");
        self.put(vec![core, self.child("ap-1", "core-1", Some("10.0.0.1"))]).await;
        let running = self.start(&[]).await;
        (router, running)
    }

    pub(crate) fn question(&self, target: &str, question: Question, within: Duration) -> Ask {
        let at = now();
        Ask {
            id: AskId(Uuid::now_v7()),
            target: self.id(target),
            target_kind: NodeKind::Device { class: DeviceClass::Other },
            question,
            at,
            deadline: at.plus_ms(i64::try_from(within.as_millis()).unwrap()),
        }
    }

    /// Asks, and returns all answers up to the last one.
    pub(crate) async fn ask(&self, target: &str, question: Question) -> Vec<Outcome> {
        let ask = self.question(target, question, Duration::from_secs(10));
        self.say(vec![Fact::Ask(ask.clone())]).await;
        let (id, at) = (ask.id, ask.at);
        let answers = self.answers_until("the ask is answered", |all| all.iter().any(|a| ends(a, id))).await;
        let mine: Vec<Answer> = answers.into_iter().filter(|answer| answer.ask == Some(id)).collect();
        for answer in &mine {
            assert_eq!((answer.asked_at, answer.target), (Some(at), ask.target));
            assert_eq!(answer.pop, "main");
        }
        mine.into_iter().map(|answer| answer.outcome).collect()
    }

    /// Every answer there is, as it was heard.
    pub(crate) async fn heard(&self) -> Vec<Heard> {
        let end = self.log.state().await.unwrap().last_seq;
        let mut reader = self.log.read(&[Filter::noun(Noun::Answer)], From::Start, Some(end));
        let mut all = Vec::new();
        loop {
            let chunk = reader.next_chunk(500).await.unwrap();
            if chunk.is_empty() {
                return all;
            }
            all.extend(chunk.iter().map(|raw| raw.decode().unwrap()));
        }
    }

    pub(crate) async fn answers(&self) -> Vec<Answer> {
        let heard = self.heard().await.into_iter();
        heard
            .map(|heard| match heard.fact {
                Fact::Answer(answer) => answer,
                other => panic!("no answer: {other:?}"),
            })
            .collect()
    }

    pub(crate) async fn answers_until(&self, what: &str, enough: impl Fn(&[Answer]) -> bool) -> Vec<Answer> {
        let began = std::time::Instant::now();
        loop {
            let answers = self.answers().await;
            if enough(&answers) {
                return answers;
            }
            let (count, last) = (answers.len(), &answers[answers.len().saturating_sub(10)..]);
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it never came to this: {what}: {count} answers, the last {last:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The value of a figure; 0 when it was never counted.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0.0)
    }
}

/// Whether it is the last answer of an ask.
pub(crate) fn ends(answer: &Answer, ask: AskId) -> bool {
    answer.ask == Some(ask)
        && match &answer.outcome {
            Outcome::Silent { last, .. } | Outcome::RouterSilent { last, .. } => *last,
            Outcome::RollCall(roll) => roll.chunk + 1 == roll.chunks,
            Outcome::Replied { .. } | Outcome::Unanswered { .. } | Outcome::Session { .. } => true,
        }
}

pub(crate) fn watch(probe: events::Probe, every_s: u32) -> Option<Watch> {
    Some(Watch { probe, every_s })
}

pub(crate) async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < within, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
