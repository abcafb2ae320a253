//! The running simulation: its state behind one lock, and the tasks that move it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use routeros_api::Fingerprint;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::network::{Network, NodeIndex, RouterIndex};
use crate::router::{Certificate, Door, keep};
use crate::script::{Fetch, Globals, Value};
use crate::settings::Settings;
use crate::state::State;

/// Due things done while the lock is held once.
const DUE_AT_ONCE_MAX: usize = 500;
/// How often the agenda is looked at when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);
/// Webhooks that are held back or sent again at the same time; further ones go straight through.
const ASIDE_MAX: usize = 20_000;
/// Connections to ingest a router keeps open between webhooks.
const CONNECTIONS_KEPT: usize = 8;

/// How a webhook travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the router's packets do.
    Own,
    /// By magic, even when the router is cut off.
    Any,
}

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    network: Arc<Network>,
    settings: Arc<Settings>,
    clock: crate::clock::Clock,
    state: Mutex<State>,
    /// An earlier thing than before is due, or there is work.
    changed: Notify,
    over: CancellationToken,
    tasks: TaskTracker,
    addresses: Vec<SocketAddr>,
    /// By router, made when it first sends something.
    clients: Vec<OnceLock<reqwest::Client>>,
    aside: Arc<tokio::sync::Semaphore>,
    /// By router; of those whose API is inside TLS.
    certificates: Vec<Option<RwLock<Certificate>>>,
}

impl Lab {
    /// Starts to simulate: doors open, agenda running.
    ///
    /// # Errors
    ///
    /// When an address cannot be had.
    pub async fn start(network: Network, settings: Settings) -> anyhow::Result<Arc<Self>> {
        // Whoever came first has the same provider; a second installation says so and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (network, settings) = (Arc::new(network), Arc::new(settings));
        let mut doors = Vec::with_capacity(network.routers().len());
        let mut certificates = Vec::with_capacity(network.routers().len());
        for plan in network.routers() {
            let address = SocketAddr::new(plan.address, plan.port);
            let id = &network.node(plan.node).id;
            let certificate = plan.tls.then(|| Certificate::of(id)).transpose();
            let certificate = certificate.with_context(|| format!("making the certificate of `{id}`"))?;
            certificates.push(certificate.map(RwLock::new));
            doors.push(
                Door::open_at(address)
                    .with_context(|| format!("listening for router `{id}` on {address}"))?,
            );
        }
        let state = State::new(Arc::clone(&network), Arc::clone(&settings));
        let lab = Arc::new(Self {
            clock: state.clock.clone(),
            state: Mutex::new(state),
            changed: Notify::new(),
            over: CancellationToken::new(),
            tasks: TaskTracker::new(),
            addresses: doors.iter().map(Door::address).collect(),
            clients: network.routers().iter().map(|_| OnceLock::new()).collect(),
            aside: Arc::new(tokio::sync::Semaphore::new(ASIDE_MAX)),
            certificates,
            network,
            settings,
        });
        for (index, door) in doors.into_iter().enumerate() {
            lab.spawn(keep(Arc::clone(&lab), RouterIndex(index as u32), door));
        }
        lab.spawn(Arc::clone(&lab).keep_agenda());
        Ok(lab)
    }

    /// Ends every task and waits for them.
    pub async fn stop(&self) {
        self.over.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// When the lab is told to end.
    pub async fn ended(&self) {
        self.over.cancelled().await;
    }

    /// What is simulated.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How routers behave.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where a router's API really listens; differs from the plan when that says port 0.
    pub fn api_address(&self, router: RouterIndex) -> SocketAddr {
        self.addresses[router.at()]
    }

    /// By what the certificate is known that a router shows; none of one whose API is not inside TLS.
    pub fn fingerprint(&self, router: RouterIndex) -> Option<Fingerprint> {
        Some(self.certificate(router)?.fingerprint())
    }

    /// Gives a router another certificate. Sessions that there are go on.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub fn renew_certificate(&self, router: RouterIndex) -> anyhow::Result<()> {
        let known = self.certificates[router.at()].as_ref().context("its API is not inside TLS")?;
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        *known = known.renewed()?;
        Ok(())
    }

    pub(crate) fn certificate(&self, router: RouterIndex) -> Option<Certificate> {
        let known = self.certificates[router.at()].as_ref()?;
        Some(known.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The router that plays a node.
    pub fn router_of(&self, node: NodeIndex) -> Option<RouterIndex> {
        self.network.router_indices().find(|router| self.network.router(*router).node == node)
    }

    /// How long a time of the routers takes in ours.
    pub fn real(&self, time: Duration) -> Duration {
        self.clock.real(time)
    }

    /// Runs a task that the lab waits for at its end.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Works on the state. Never called from inside itself.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (due_before, scripts_before) = (state.agenda.next(), state.scripts_queued);
        let done = work(&mut state);
        let due = state.agenda.next();
        let sooner = due.is_some_and(|due| due_before.is_none_or(|before| due < before));
        let scripts = state.scripts_queued > scripts_before;
        drop(state);
        if sooner || scripts {
            self.changed.notify_one();
        }
        done
    }

    async fn keep_agenda(self: Arc<Self>) {
        loop {
            let (next, workers) = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.work_off(DUE_AT_ONCE_MAX), state.take_workers())
            };
            for (router, count) in workers {
                for _ in 0..count {
                    self.spawn(crate::jobs::work(Arc::clone(&self), router));
                }
            }
            let until = match next {
                Some(next) => self.clock.instant(next),
                None => tokio::time::Instant::now() + IDLE,
            };
            tokio::select! {
                biased;
                () = self.ended() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Breaks or mends nodes; tells how many changed.
    pub fn set_broken(&self, nodes: &[NodeIndex], broken: bool) -> usize {
        self.with(|state| state.set_broken(nodes, broken))
    }

    /// Sends what a script wants sent, from the router's own address.
    ///
    /// # Errors
    ///
    /// What the router would say: no connection in time, or a status that is not 2xx.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        router: RouterIndex,
        fetch: Fetch,
        way: Way,
    ) -> Result<(), String> {
        let fate = self.with(|state| {
            let fate = state.faults.fate(&mut state.dice);
            let counters = &mut state.router(router).counters;
            counters.webhooks_dropped += u64::from(fate.dropped);
            fate
        });
        if fate.dropped {
            return Ok(());
        }
        if let Some(delay) = fate.delayed
            && let Ok(place) = Arc::clone(&self.aside).try_acquire_owned()
        {
            self.with(|state| state.router(router).counters.webhooks_delayed += 1);
            let lab = Arc::clone(self);
            self.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = lab.ended() => return,
                }
                // The router is not told: it believes this was sent long ago.
                let _ = lab.send(router, &fetch, way, fate.doubled).await;
                drop(place);
            });
            return Ok(());
        }
        self.send(router, &fetch, way, fate.doubled).await
    }

    async fn send(&self, router: RouterIndex, fetch: &Fetch, way: Way, doubled: bool) -> Result<(), String> {
        let sent = self.send_once(router, fetch, way).await;
        self.with(|state| {
            let counters = &mut state.router(router).counters;
            match &sent {
                Ok(()) => counters.webhooks_sent += 1,
                Err(_) => counters.webhooks_failed += 1,
            }
            counters.webhooks_doubled += u64::from(doubled && sent.is_ok());
        });
        if doubled && sent.is_ok() {
            // What becomes of the second one is the receiver's matter alone.
            let _ = self.send_once(router, fetch, way).await;
        }
        sent
    }

    async fn send_once(&self, router: RouterIndex, fetch: &Fetch, way: Way) -> Result<(), String> {
        let mut presence = self.with(|state| state.router(router).presence.subscribe());
        let timeout = self.real(self.settings.fetch_timeout);
        // A cut-off router asks into the void; if the way opens in time, it is heard after all.
        let there = presence.wait_for(|presence| presence.is_reachable || way == Way::Any);
        match tokio::time::timeout(timeout, there).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err("failure: the router is gone".to_owned()),
            Err(_) => return Err("failure: connection timeout".to_owned()),
        }
        let method = fetch.method.as_deref().unwrap_or("get").to_ascii_uppercase();
        let method = reqwest::Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("input does not match any value of http-method: {method}"))?;
        let mut request = self.client(router)?.request(method, &fetch.url).timeout(timeout.max(SERVER_LEAST));
        for (name, value) in &fetch.headers {
            request = request.header(name, value);
        }
        if let Some(data) = &fetch.data {
            request = request.body(data.clone());
        }
        let answer = request.send().await.map_err(|error| format!("failure: {}", short(&error)))?;
        let status = answer.status();
        // Reading it to its end lets the connection serve the next request.
        let _ = answer.bytes().await;
        if status.is_success() {
            return Ok(());
        }
        Err(format!("Fetch failed with status {}", status.as_u16()))
    }

    fn client(&self, router: RouterIndex) -> Result<&reqwest::Client, String> {
        let slot = &self.clients[router.at()];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .local_address(self.network.router(router).address)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(CONNECTIONS_KEPT)
            .pool_idle_timeout(Duration::from_secs(20))
            // `check-certificate` of `/tool/fetch` is `no` unless somebody sets it.
            .tls_danger_accept_invalid_certs(true)
            .user_agent("Mikrotik/6.x Fetch")
            .build()
            .map_err(|error| format!("failure: {}", short(&error)))?;
        Ok(slot.get_or_init(|| client))
    }

    /// The boot and the next sequence of a router, as its scripts would say them.
    pub(crate) fn next_said(&self, router: RouterIndex) -> (String, i64) {
        self.with(|state| {
            let now = state.clock.now();
            let (date, time) = state.date_and_time(router);
            let this = state.router(router);
            let uptime = crate::version::duration(this.uptime(now));
            let globals: &mut Globals = &mut this.globals;
            let boot = match globals.get("mwboot") {
                Some(Value::Text(boot)) if !boot.is_empty() => String::from_utf8_lossy(boot).into_owned(),
                Some(_) | None => {
                    let boot = format!("{date}-{time}-{uptime}");
                    globals.insert("mwboot".to_owned(), boot.as_str().into());
                    globals.insert("mwseq".to_owned(), Value::Number(0));
                    boot
                }
            };
            let seq = match globals.get("mwseq") {
                Some(Value::Number(seq)) => seq + 1,
                Some(_) | None => 1,
            };
            globals.insert("mwseq".to_owned(), Value::Number(seq));
            (boot, seq)
        })
    }

    /// What happened, of every router and all together.
    pub fn counters(&self) -> (crate::counters::Counters, BTreeMap<String, crate::counters::Counters>) {
        let routers: BTreeMap<_, _> = self.with(|state| {
            let of = |router: RouterIndex| {
                let id = self.network.node(self.network.router(router).node).id.to_string();
                (id, state.routers[router.at()].counters.clone())
            };
            self.network.router_indices().map(of).collect()
        });
        let mut all = crate::counters::Counters::default();
        for counters in routers.values() {
            all.add(counters);
        }
        (all, routers)
    }
}

/// However fast the routers' clock runs, a real server gets this long to answer.
const SERVER_LEAST: Duration = Duration::from_secs(10);

/// An error without its address, which may carry a token.
fn short(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "connection timeout"
    } else if error.is_connect() {
        "connection refused"
    } else {
        "closing connection"
    }
}
