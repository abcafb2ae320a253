//! What the keeper knows of the network: which routers there are, how they are entered, whether they may be
//! changed, and whom they see.
//!
//! Follows inventory, keys and what was seen of all tenants from the beginning of the log. What is sealed is opened when it
//! is used and kept nowhere.

use anyhow::Context;
use domain::{Graph, Network, plan::Watched};
use events::{
    Access, ClaimKey, Fact, Heard, LookUpKey, Node, NodeId, Noun, Sealed, SeenDevice, Sighting, SightingId,
    TenantId, Time, slot_of,
};
use kit::{Filter, From, Log, Slots};
use routeros_api::{
    Credentials, Options, Target,
    tls::{Tls, TlsError},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vault::{Field, MasterKeys, SessionKind, TenantKeys, Zeroizing};

/// How many messages are taken in before the changes take effect.
const CHUNK_MAX: usize = 500;
/// From the first packet to a router to being logged in.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How often a session that is not used is tried: so soon a reboot is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// After how long without a word that it owes, a router's session is replaced.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// A router as it is to be looked at.
pub(crate) struct Known {
    /// Where it is and how it is entered.
    pub(crate) target: Target,
    /// Whether the operator allows it to be changed.
    pub(crate) managed: bool,
    /// What its scripts carry; of managed routers.
    pub(crate) token: Option<Zeroizing<String>>,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// Those it sees.
    pub(crate) children: Vec<Arc<Node>>,
    /// A router up for less than this is blind, milliseconds.
    pub(crate) blind_after_boot_ms: u32,
    /// The tenant's keys.
    pub(crate) keys: Arc<TenantKeys>,
}

impl Known {
    /// Whom it is to watch.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let watched = |node: &Arc<Node>| Some(Watched { id: node.file_id.clone(), host: node.address? });
        self.children.iter().filter_map(watched).collect()
    }

    /// Under which keys sessions of these users and MAC addresses at `router` are claimed.
    pub(crate) fn claims(&self, router: NodeId, users: &[String], macs: &[String]) -> BTreeSet<ClaimKey> {
        let ppp = users.iter().map(|user| self.keys.look_up(router, SessionKind::Ppp, user));
        let mac = macs.iter().map(|mac| self.keys.look_up(router, SessionKind::Mac, mac));
        ppp.chain(mac).collect()
    }
}

/// Why a tenant's keys are not at hand.
#[derive(Debug, Clone)]
enum Keys {
    Missing,
    Wrong(String),
}

/// What was last said of a device, and where.
#[derive(Debug, Clone)]
pub(crate) struct SaidDevice {
    pub(crate) device: Arc<SeenDevice>,
    pub(crate) seq: u64,
    pub(crate) heard: Time,
}

struct Tenant {
    network: Network,
    devices: BTreeMap<SightingId, SaidDevice>,
    /// When each router was scanned last.
    scanned: BTreeMap<NodeId, Time>,
    keys: Result<Arc<TenantKeys>, Keys>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            network: Network::default(),
            devices: BTreeMap::new(),
            scanned: BTreeMap::new(),
            keys: Err(Keys::Missing),
        }
    }
}

/// Everything the keeper knows. Shared by all its parts.
pub(crate) struct Book {
    master: MasterKeys,
    tls: Tls,
    tenants: RwLock<BTreeMap<TenantId, Tenant>>,
    version: watch::Sender<u64>,
}

impl Book {
    /// Nothing yet. `authority` judges routers' certificates; without one any is taken.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when `authority` is no PEM text.
    pub(crate) fn new(master: MasterKeys, authority: Option<&str>) -> Result<Self, TlsError> {
        let tls = match authority {
            Some(pem) => Tls::signed_by(pem.as_bytes(), None)?,
            None => Tls::insecure()?,
        };
        Ok(Self { master, tls, tenants: RwLock::default(), version: watch::channel(0).0 })
    }

    /// Changes whenever something else is known than before.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn tenants(&self) -> RwLockReadGuard<'_, BTreeMap<TenantId, Tenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in facts in the order of the log; they are in force when this returns.
    fn hear(&self, chunk: &[Heard]) {
        let mut changed = false;
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for heard in chunk {
            let tenant = tenants.entry(heard.tenant).or_default();
            match &heard.fact {
                Fact::Inventory(_) | Fact::Part(_) | Fact::Revision(_) => tenant.network.hear(heard),
                Fact::Access(said) => match &said.now {
                    Access::Keys(wrapped) => {
                        tenant.keys = self.open(heard.tenant, wrapped);
                        changed = true;
                    }
                    Access::Token(_) => {}
                },
                Fact::Sighting(Sighting::Device(device)) => {
                    let said =
                        SaidDevice { device: Arc::new(device.clone()), seq: heard.seq, heard: heard.heard };
                    tenant.devices.insert(device.id, said);
                }
                Fact::Sighting(Sighting::Scan(scan)) => _ = tenant.scanned.insert(scan.router, scan.at),
                Fact::Order(_)
                | Fact::Signal(_)
                | Fact::Answer(_)
                | Fact::Ask(_)
                | Fact::Suspicion(_)
                | Fact::Health(_)
                | Fact::Incident(_)
                | Fact::Notice(_)
                | Fact::Delivery(_)
                | Fact::Repair(_)
                | Fact::Plan(_)
                | Fact::Due(_)
                | Fact::Cut(_) => {}
            }
        }
        for tenant in tenants.values_mut() {
            changed |= tenant.network.refresh().is_some();
        }
        drop(tenants);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn open(&self, tenant: TenantId, wrapped: &LookUpKey) -> Result<Arc<TenantKeys>, Keys> {
        self.master.open_tenant(tenant, wrapped).map(Arc::new).map_err(|error| {
            tracing::error!(%tenant, %error, "this tenant's keys cannot be opened: its routers are left alone");
            Keys::Wrong(error.to_string())
        })
    }

    /// The routers that can be entered, in these slots.
    pub(crate) fn routers(&self, slots: Slots) -> HashMap<NodeId, TenantId> {
        let tenants = self.tenants();
        let routers = tenants.iter().flat_map(|(tenant, known)| {
            let graph = &known.network.graph;
            let nodes = graph.indexes().filter_map(|index| graph.node(index));
            nodes.filter(|node| node.login.is_some() && slots.has(slot_of(node.id))).map(|n| (n.id, *tenant))
        });
        routers.collect()
    }

    /// Whether a router may be changed, if it is known.
    pub(crate) fn is_managed(&self, tenant: TenantId, router: NodeId) -> Option<bool> {
        let tenants = self.tenants();
        let graph = &tenants.get(&tenant)?.network.graph;
        graph.node(graph.index_of(router)?)?.login.as_ref().map(|login| login.manage)
    }

    /// What was said of a tenant's devices.
    pub(crate) fn sightings(&self, tenant: TenantId) -> BTreeMap<SightingId, SaidDevice> {
        self.tenants().get(&tenant).map(|known| known.devices.clone()).unwrap_or_default()
    }

    /// How many devices are remembered, of all tenants.
    pub(crate) fn sightings_count(&self) -> usize {
        self.tenants().values().map(|known| known.devices.len()).sum()
    }

    /// When a router was last scanned, or tried to be.
    pub(crate) fn scanned_at(&self, tenant: TenantId, router: NodeId) -> Option<Time> {
        self.tenants().get(&tenant)?.scanned.get(&router).copied()
    }

    /// Does something with a tenant's graph; an empty one when there is no such tenant.
    pub(crate) fn with_graph<T>(&self, tenant: TenantId, look: impl FnOnce(&Graph) -> T) -> T {
        match self.tenants().get(&tenant) {
            Some(known) => look(&known.network.graph),
            None => look(&Graph::default()),
        }
    }

    /// A router, and whom it sees.
    ///
    /// # Errors
    ///
    /// Why it cannot be looked at, for people.
    pub(crate) fn router(&self, tenant: TenantId, router: NodeId) -> Result<Known, String> {
        let tenants = self.tenants();
        let known = tenants.get(&tenant).ok_or("the tenant is not known")?;
        let graph = &known.network.graph;
        let index = graph.index_of(router).ok_or("the router is not in the inventory")?;
        let node = graph.node(index).ok_or("the router is not in the inventory")?;
        let address = node.address.ok_or("the inventory has no address for the router")?;
        let login = node.login.as_ref().ok_or("the inventory has no login for the router")?;
        let keys = known.keys.as_ref().map_err(|keys| match keys {
            Keys::Missing => "the tenant has no keys".to_owned(),
            Keys::Wrong(why) => format!("opening the tenant's keys: {why}"),
        })?;
        let (user, password) = keys
            .open_login(Field::Login(router), &login.secret)
            .map_err(|error| format!("opening the router's login: {error}"))?;
        let token = login.token.as_ref().map(|sealed| opened(keys, router, sealed)).transpose()?;
        let options = Options {
            connect_within: CONNECT_WITHIN,
            silent_after: SILENT_AFTER,
            keep_alive: KEEP_ALIVE,
            tls: login.tls.then(|| self.tls.clone()),
            ..Options::default()
        };
        Ok(Known {
            target: Target {
                address: SocketAddr::new(address, login.port),
                source: None,
                credentials: Credentials::new(user.as_str(), password.as_str()),
                options,
            },
            managed: login.manage,
            token,
            file_id: node.file_id.clone(),
            children: graph.sees(index).iter().filter_map(|child| graph.node(*child)).cloned().collect(),
            blind_after_boot_ms: known.network.policy.blind_after_boot_ms,
            keys: Arc::clone(keys),
        })
    }

    /// Reads the log up to its end as it is now; then goes on in the task that is returned, until `stop`.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        log: &Log,
        stop: CancellationToken,
    ) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<()>>> {
        let filters =
            [Noun::Inventory, Noun::Part, Noun::Revision, Noun::Access, Noun::Sighting].map(Filter::noun);
        let end = log.state().await.context("asking where the log ends")?.last_seq;
        self.read(log, log.read(&filters, From::Start, Some(end))).await?;
        let (book, log) = (Arc::clone(self), log.clone());
        Ok(tokio::spawn(async move {
            let rest = log.read(&filters, From::Seq(end + 1), None);
            tokio::select! {
                outcome = book.read(&log, rest) => outcome,
                () = stop.cancelled() => Ok(()),
            }
        }))
    }

    async fn read(&self, log: &Log, mut reader: kit::Reader) -> anyhow::Result<()> {
        loop {
            let raw = reader.next_chunk(CHUNK_MAX).await.context("reading the inventory")?;
            if raw.is_empty() {
                return Ok(());
            }
            let mut chunk = Vec::with_capacity(raw.len());
            for raw in raw {
                match raw.decode() {
                    Ok(heard) => chunk.push(heard),
                    Err(error) => log.bury("reconciler", &raw, &error.to_string()).await,
                }
            }
            self.hear(&chunk);
        }
    }
}

fn opened(keys: &TenantKeys, router: NodeId, sealed: &Sealed) -> Result<Zeroizing<String>, String> {
    let plain = keys
        .open(Field::RouterToken(router), sealed)
        .map_err(|error| format!("opening the router's token: {error}"))?;
    let text = std::str::from_utf8(&plain).map_err(|_| "the router's token is no text".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}
