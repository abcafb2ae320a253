//! What the reconciler's tests stand on: a log of their own, a tenant in it, and a played router.

pub(crate) mod billing;
pub(crate) mod gate;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod wire;

use domain::scout::Seen;
use embedded::{Nats, Temporary};
use events::{
    Access, AccessSaid, DeviceClass, EventId, Fact, Fingerprint, Group, GroupMode, Health, HealthKind,
    HealthSaid, Heard, Inventory, Login, Member, Node, NodeHealth, NodeId, NodeKind, Noun, Order, OrderId,
    OrderSaid, Plan, PlanState, Policy, Repair, Revision, RevisionSource, Say, Scan, SeenDevice, Sighting,
    Signal, SignalSource, Suspicion, SuspicionKind, SuspicionSaid, TenantId, Tier, Time, Watch,
};
use kit::{
    Filter, From, Log, LogConfig, Outgoing, Service,
    admin::{Board, Build, Metrics},
    config::{Common, Durability, Settings},
};
use lab::{
    Lab,
    counters::Counters,
    network::{RouterIndex, Sight},
};
use routers::TOKEN;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::{Field, MasterKey, MasterKeys, SessionKind, TenantKeys};

/// A log with one tenant in it.
pub(crate) struct Ground {
    nats: Temporary<Nats>,
    pub(crate) log: Log,
    tenant: TenantId,
    keys: TenantKeys,
    metrics: Metrics,
    master: String,
    revision: AtomicU64,
    /// Whether routers that are imported allow their subscribers to be enforced.
    enforce: AtomicBool,
    /// What every reconciler is told beside what each test tells it.
    more: Mutex<Vec<(String, String)>>,
    /// The certificate that routers must show.
    certificate: Mutex<Option<Fingerprint>>,
    /// How routers are watched.
    watch: Mutex<Option<Watch>>,
}

/// A running reconciler.
pub(crate) struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it wherever it is, as a kill would: nothing more is sent, said or given back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_us(i64::try_from(since.as_micros()).unwrap())
}

/// How many commands that change something the router has heard.
pub(crate) fn writes(lab: &Lab) -> u64 {
    written(&lab.counters().0)
}

/// The same of one router.
pub(crate) fn writes_at(lab: &Lab, router: &str) -> u64 {
    written(&lab.counters().1[router])
}

fn written(counters: &Counters) -> u64 {
    let is_write = |path: &&str| ["/add", "/set", "/remove"].iter().any(|verb| path.ends_with(verb));
    counters.calls.iter().filter(|(path, _)| is_write(&path.as_str())).map(|(_, count)| count).sum()
}

impl Ground {
    /// A log with the tenant's keys in it, who takes a router's word at once after a boot.
    pub(crate) async fn lay() -> Self {
        let nats = Nats::start_temporary(|_| {}).await.unwrap();
        let log = Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap();
        log.ensure().await.unwrap();
        let tenant = TenantId::of("hillside");
        let key = MasterKey::random();
        let master = key.to_base64().to_string();
        let (keys, wrapped) = MasterKeys::new(key, vec![]).new_tenant(tenant);
        let ground = Self {
            nats,
            log,
            tenant,
            keys,
            metrics: Metrics::of_process(Build { version: "0", revision: "test" }),
            master,
            revision: AtomicU64::new(0),
            enforce: AtomicBool::new(false),
            more: Mutex::default(),
            certificate: Mutex::default(),
            watch: Mutex::default(),
        };
        let said = AccessSaid { now: Access::Keys(wrapped), by: "test".into() };
        ground.say(vec![Fact::Access(said)]).await;
        ground.blind_for(0).await;
        ground
    }

    /// Tells every reconciler that is started from now on this, too.
    pub(crate) fn tell(&self, key: &str, value: &str) {
        self.more.lock().unwrap().push((key.to_owned(), value.to_owned()));
    }

    /// The certificate that routers must show, from the next import on.
    pub(crate) fn pin(&self, certificate: Option<Fingerprint>) {
        *self.certificate.lock().unwrap() = certificate;
    }

    /// A router that booted less than this ago is blind.
    pub(crate) async fn blind_for(&self, ms: u32) {
        let policy = Policy { blind_after_boot_ms: ms, ..Policy::default() };
        self.lay_down(vec![Inventory::Policy(policy)]).await;
    }

    async fn say(&self, facts: Vec<Fact>) -> Vec<EventId> {
        let outs = facts.into_iter().map(|fact| {
            let id = EventId(Uuid::now_v7());
            let say = Say { id, tenant: self.tenant, at: now(), cause: None, fact };
            Outgoing::new(say, "test")
        });
        let stored = self.log.publish_all(outs.collect()).await.unwrap();
        stored.into_iter().map(|stored| stored.id).collect()
    }

    async fn lay_down(&self, things: Vec<Inventory>) {
        let count = u32::try_from(things.len()).unwrap();
        let mut facts: Vec<Fact> = things.into_iter().map(Fact::Inventory).collect();
        facts.push(Fact::Revision(Revision {
            number: self.revision.fetch_add(1, Ordering::Relaxed) + 1,
            source: RevisionSource::Commit { count },
            file_digest: None,
            by: "test".into(),
        }));
        self.say(facts).await;
    }

    pub(crate) fn id(&self, file_id: &str) -> NodeId {
        match file_id.strip_prefix("acct-") {
            Some(_) => NodeId::of_account(self.tenant, file_id),
            None => NodeId::of(self.tenant, file_id),
        }
    }

    fn node(&self, file_id: &str) -> Node {
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

    /// The played network, as the operator has written it down.
    pub(crate) async fn import(&self, lab: &Lab, manage: bool) {
        self.import_at(lab, |router| lab.api_address(router), manage).await;
    }

    /// The same, with its routers at other addresses.
    pub(crate) async fn import_at(
        &self,
        lab: &Lab,
        address: impl Fn(RouterIndex) -> SocketAddr,
        manage: bool,
    ) {
        self.import_those(lab, address, manage, |_| true).await;
    }

    /// Of the played network these nodes alone.
    pub(crate) async fn import_some(&self, lab: &Lab, manage: bool, those: &[&str]) {
        self.import_those(lab, |router| lab.api_address(router), manage, |id| those.contains(&id)).await;
    }

    async fn import_those(
        &self,
        lab: &Lab,
        address: impl Fn(RouterIndex) -> SocketAddr,
        manage: bool,
        is_wanted: impl Fn(&str) -> bool,
    ) {
        let network = lab.network();
        let id_of = |router: RouterIndex| self.id(&network.node(network.router(router).node).id);
        let mut things = Vec::new();
        for node in network.nodes().iter().filter(|node| is_wanted(&node.id)) {
            let id = self.id(&node.id);
            let mut needs = Vec::new();
            for group in &node.needs {
                group.for_each_node(&mut |above| {
                    let members = vec![Member::Node(self.id(&network.node(above).id))];
                    needs.push(Group { mode: GroupMode::All, members });
                });
            }
            if let Some(at) = network.router_indices().find(|router| id_of(*router) == id) {
                let address = address(at);
                things.push(Node {
                    address: Some(address.ip()),
                    watch: *self.watch.lock().unwrap(),
                    kind: NodeKind::Device { class: DeviceClass::Router },
                    tier: if needs.is_empty() { Tier::Core } else { Tier::Sector },
                    needs,
                    login: Some(Login {
                        port: address.port(),
                        tls: network.router(at).tls,
                        certificate: *self.certificate.lock().unwrap(),
                        secret: self.keys.seal_login(Field::Login(id), "nms", "s3cret"),
                        manage,
                        enforce: self.enforce.load(Ordering::Relaxed),
                        token: manage.then(|| self.keys.seal(Field::RouterToken(id), TOKEN.as_bytes())),
                    }),
                    ..self.node(&node.id)
                });
                continue;
            }
            let Some((router, sight)) = &node.seen_by else { continue };
            let claim = match sight {
                Sight::Session(user) => Some((SessionKind::Ppp, user)),
                Sight::Lease(mac) => Some((SessionKind::Mac, mac)),
                Sight::Netwatch => None,
            };
            let claim = claim.map(|(kind, name)| self.keys.look_up(id_of(*router), kind, name));
            things.push(Node {
                address: node.address.filter(|_| claim.is_none()),
                seen_by: Some(id_of(*router)),
                claims: claim.into_iter().collect(),
                needs,
                ..self.node(&node.id)
            });
        }
        for things in things.chunks(500) {
            let things = things.iter().cloned().map(|node| Inventory::Node(Arc::new(node)));
            self.lay_down(things.collect()).await;
        }
    }

    /// What is believed of somebody.
    pub(crate) async fn believe(&self, file_id: &str, health: Health) {
        let json = serde_json::json!({ "node": self.id(file_id), "health": health, "since": now() });
        let now: NodeHealth = serde_json::from_value(json).unwrap();
        self.say(vec![Fact::Health(HealthSaid { kind: HealthKind::Changed, now })]).await;
    }

    /// A claim against somebody is being checked.
    pub(crate) async fn suspect(&self, file_id: &str) {
        let now = Suspicion {
            node: self.id(file_id),
            since: now(),
            source: SignalSource::Netwatch,
            sender: None,
            claim: EventId::default(),
            asked: vec![],
            held_until: None,
        };
        self.say(vec![Fact::Suspicion(SuspicionSaid { kind: SuspicionKind::Raised, now })]).await;
    }

    /// What a reconciler is told, as variables of its environment.
    fn told(&self, push_url: &str, takeover_after_ms: &str) -> Vec<(String, String)> {
        let pairs = [
            ("MASTER_KEYS", self.master.as_str()),
            ("PUSH_URL", push_url),
            ("TAKEOVER_AFTER_MS", takeover_after_ms),
            ("RETRY_FIRST_S", "1"),
            ("KEEP_ALIVE_S", "6"),
            ("EVERY_S", "600"),
        ];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        // What is told last counts.
        let more = self.more.lock().unwrap().clone();
        let pairs: BTreeMap<String, String> = pairs.into_iter().chain(more).collect();
        pairs.into_iter().map(|(key, value)| (format!("MASTWATCH_RECONCILER__{key}"), value)).collect()
    }

    /// Starts a reconciler whose routers push to `push_url`, and waits until it is ready.
    pub(crate) async fn start(&self, push_url: &str) -> Running {
        self.start_held(push_url, "500").await
    }

    /// The same, whose slots are taken over when it has not been heard of for so many milliseconds.
    pub(crate) async fn start_held(&self, push_url: &str, takeover_after_ms: &str) -> Running {
        let pairs = self.told(push_url, takeover_after_ms);
        let config: reconciler::Config = Settings::from_parts(None, pairs).unwrap().section().unwrap();
        let board = Board::default();
        let service = Service {
            name: "reconciler",
            common: Arc::new(Common::default()),
            log: self.log.clone(),
            stop: CancellationToken::new(),
            readiness: board.condition("reconciler"),
            metrics: self.metrics.under("reconciler"),
        };
        let stop = service.stop.clone();
        let task = tokio::spawn(reconciler::run(config, service));
        until("the reconciler is ready", async || board.report(Durability::Always).ready).await;
        Running { stop, task }
    }

    async fn order(&self, order: Order) -> EventId {
        let id = OrderId(Uuid::now_v7());
        self.say(vec![Fact::Order(OrderSaid { id, order, by: "test".into() })]).await[0]
    }

    /// Orders that the router be looked at, or also changed, and waits until it was; gives how it stands then.
    pub(crate) async fn look(&self, writes: bool) -> Plan {
        let router = self.id("core");
        let order = if writes { Order::Repair { router } } else { Order::DrawPlan { router } };
        let order = self.order(order).await;
        let mut found = None;
        until("the order is carried out", async || {
            let all = self.heard_with_cause(Noun::Plan).await;
            let of_order = all.into_iter().filter(|(cause, _)| *cause == Some(order));
            let plans = of_order.filter_map(|(_, heard)| match heard.fact {
                Fact::Plan(plan) if plan.state != PlanState::Begun => Some(plan),
                _ => None,
            });
            found = plans.last();
            found.is_some()
        })
        .await;
        // What it says of the router's children follows.
        tokio::time::sleep(Duration::from_millis(300)).await;
        found.unwrap()
    }

    /// Orders that a router be scanned, and waits until it was.
    pub(crate) async fn scan(&self, router: &str) -> Scan {
        let order = self.order(Order::Scan { router: self.id(router) }).await;
        let mut found = None;
        until("the router is scanned", async || {
            let all = self.heard_with_cause(Noun::Sighting).await;
            found = all.into_iter().find_map(|(cause, heard)| match heard.fact {
                Fact::Sighting(Sighting::Scan(scan)) if cause == Some(order) => Some(scan),
                _ => None,
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// What was last said of each device, under what it is called.
    pub(crate) async fn devices(&self) -> BTreeMap<String, SeenDevice> {
        let all = self.heard(Noun::Sighting).await.into_iter();
        let devices = all.filter_map(|heard| match heard.fact {
            Fact::Sighting(Sighting::Device(device)) => Some(device),
            _ => None,
        });
        devices.map(|device| (self.opened(&device).name, device)).collect()
    }

    /// What was hidden of a device.
    pub(crate) fn opened(&self, device: &SeenDevice) -> Seen {
        let plain = self.keys.open(Field::Sighting(device.id), &device.seen).unwrap();
        serde_json::from_slice(&plain).unwrap()
    }

    /// Somebody says how a device stands.
    pub(crate) async fn decide(&self, device: SeenDevice) {
        self.say(vec![Fact::Sighting(Sighting::Device(device))]).await;
        // The reconciler hears of it.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    async fn heard_with_cause(&self, noun: Noun) -> Vec<(Option<EventId>, Heard)> {
        let end = self.log.state().await.unwrap().last_seq;
        let mut reader = self.log.read(&[Filter::noun(noun)], From::Start, Some(end));
        let mut all = Vec::new();
        while let Some(raw) = reader.next().await.unwrap() {
            all.push((raw.cause(), raw.decode().unwrap()));
        }
        all
    }

    pub(crate) async fn heard(&self, noun: Noun) -> Vec<Heard> {
        self.heard_with_cause(noun).await.into_iter().map(|(_, heard)| heard).collect()
    }

    pub(crate) async fn plans(&self) -> Vec<Plan> {
        let all = self.heard(Noun::Plan).await.into_iter();
        all.filter_map(|heard| if let Fact::Plan(plan) = heard.fact { Some(plan) } else { None }).collect()
    }

    pub(crate) async fn repairs(&self) -> Vec<Repair> {
        let all = self.heard(Noun::Repair).await.into_iter();
        all.filter_map(|heard| if let Fact::Repair(repair) = heard.fact { Some(repair) } else { None })
            .collect()
    }

    pub(crate) async fn signals(&self) -> Vec<Signal> {
        let all = self.heard(Noun::Signal).await.into_iter();
        all.filter_map(|heard| if let Fact::Signal(signal) = heard.fact { Some(signal) } else { None })
            .collect()
    }

    /// The sum of what a figure counts under this label.
    pub(crate) fn figure(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let shown = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        shown.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the router stands so.
    pub(crate) async fn stands(&self, state: PlanState) -> Plan {
        let mut last = None;
        until(&format!("the router is {state:?}"), async || {
            last = self.plans().await.pop();
            last.as_ref().is_some_and(|plan| plan.state == state)
        })
        .await;
        last.unwrap()
    }
}

/// Looks again and again, for about a minute of its own time: the machine may be busy with others.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to this: {what}");
}
