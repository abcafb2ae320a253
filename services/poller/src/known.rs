//! What the keeper knows of the network: who is watched and how, how routers are entered, who they see.
//!
//! Follows inventory and keys of all tenants from the beginning of the log. A login is opened when it is
//! used and kept nowhere.

use anyhow::Context;
use domain::{Children, Network};
use events::{Access, ClaimKey, Fact, Heard, LookUpKey, Node, NodeId, Noun, Probe, TenantId, slot_of};
use kit::{Filter, From, Log, Slots};
use routeros_api::{
    Credentials, Options, Target,
    tls::{Tls, TlsError},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vault::{Field, MasterKeys, SessionKind, TenantKeys};

/// How many messages are taken in before the changes take effect.
const CHUNK_MAX: usize = 500;

/// From the first packet to a router to being logged in, for the session that everybody shares. Longer
/// than a probe: an attempt that a probe gave up goes on for the next one.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// After how long without a word that it owes, a router's session is replaced.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// A node that the keeper itself watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Whose it is.
    pub(crate) tenant: TenantId,
    /// Which node.
    pub(crate) node: NodeId,
    /// Where it answers.
    pub(crate) address: IpAddr,
    /// How to look.
    pub(crate) probe: Probe,
    /// How often, seconds; at least 1.
    pub(crate) every_s: u32,
}

/// Those around a router: whom it may hear, and whom it can send an echo.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Those whom it sees and those that need it, by the names under which it may know them.
    pub(crate) children: Children,
    /// Those whom it sees and that answer somewhere.
    pub(crate) addresses: Vec<(NodeId, IpAddr)>,
}

/// Why a tenant's keys are not at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    Missing,
    Wrong(String),
}

struct Tenant {
    network: Network,
    keys: Result<Arc<TenantKeys>, Keys>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self { network: Network::default(), keys: Err(Keys::Missing) }
    }
}

/// What the keeper knows. Shared by all its parts.
pub(crate) struct Known {
    master: MasterKeys,
    tls: Tls,
    tenants: RwLock<BTreeMap<TenantId, Tenant>>,
    version: watch::Sender<u64>,
}

impl Known {
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
    pub(crate) fn hear(&self, chunk: &[Heard]) {
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
                Fact::Order(_)
                | Fact::Signal(_)
                | Fact::Answer(_)
                | Fact::Ask(_)
                | Fact::Suspicion(_)
                | Fact::Health(_)
                | Fact::Incident(_)
                | Fact::Notice(_)
                | Fact::Delivery(_)
                | Fact::Due(_)
                | Fact::Repair(_)
                | Fact::Plan(_)
                | Fact::Sighting(_)
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
            tracing::error!(%tenant, %error, "this tenant's keys cannot be opened: its routers cannot be asked");
            Keys::Wrong(error.to_string())
        })
    }

    /// Whether a node is in the inventory.
    pub(crate) fn has(&self, tenant: TenantId, node: NodeId) -> bool {
        self.node(tenant, node).is_some()
    }

    fn node(&self, tenant: TenantId, node: NodeId) -> Option<Arc<Node>> {
        let tenants = self.tenants();
        let graph = &tenants.get(&tenant)?.network.graph;
        graph.node(graph.index_of(node)?).cloned()
    }

    /// Where a node answers.
    ///
    /// # Errors
    ///
    /// Why that is not known, for people.
    pub(crate) fn address(&self, tenant: TenantId, node: NodeId) -> Result<IpAddr, String> {
        let node = self.node(tenant, node).ok_or("it is not in the inventory")?;
        node.address.ok_or_else(|| "the inventory has no address for it".into())
    }

    /// Where a router is and how it is entered.
    ///
    /// # Errors
    ///
    /// Why that is not known, for people.
    pub(crate) fn router(&self, tenant: TenantId, router: NodeId) -> Result<Target, String> {
        let node = self.node(tenant, router).ok_or("the router is not in the inventory")?;
        let address = node.address.ok_or("the inventory has no address for the router")?;
        let login = node.login.as_ref().ok_or("the inventory has no login for the router")?;
        let (user, password) = self
            .keys(tenant)?
            .open_login(Field::Login(router), &login.secret)
            .map_err(|error| format!("opening the router's login: {error}"))?;
        let options = Options {
            connect_within: CONNECT_WITHIN,
            silent_after: SILENT_AFTER,
            tls: login.tls.then(|| self.tls.clone()),
            ..Options::default()
        };
        Ok(Target {
            address: SocketAddr::new(address, login.port),
            source: None,
            credentials: Credentials::new(user.as_str(), password.as_str()),
            options,
        })
    }

    /// A tenant's keys.
    ///
    /// # Errors
    ///
    /// Why they are not at hand, for people.
    pub(crate) fn keys(&self, tenant: TenantId) -> Result<Arc<TenantKeys>, String> {
        let tenants = self.tenants();
        let keys = tenants.get(&tenant).map_or(Err(&Keys::Missing), |tenant| tenant.keys.as_ref());
        keys.cloned().map_err(|keys| match keys {
            Keys::Missing => "the tenant has no keys".into(),
            Keys::Wrong(why) => format!("opening the tenant's keys: {why}"),
        })
    }

    /// Those whom a router sees.
    pub(crate) fn children(&self, tenant: TenantId, router: NodeId) -> Children {
        let tenants = self.tenants();
        let Some(Tenant { network, .. }) = tenants.get(&tenant) else { return Children::default() };
        let Some(index) = network.graph.index_of(router) else { return Children::default() };
        let nodes = network.graph.sees(index).iter().filter_map(|child| network.graph.node(*child));
        Children::of(nodes.map(|node| (node.id, node.file_id.as_str(), node.address)))
    }

    /// Those around a router.
    pub(crate) fn surroundings(&self, tenant: TenantId, router: NodeId) -> Surroundings {
        let tenants = self.tenants();
        let graph = tenants.get(&tenant).map(|tenant| &tenant.network.graph);
        let Some((graph, index)) = graph.and_then(|graph| Some((graph, graph.index_of(router)?))) else {
            return Surroundings::default();
        };
        let nodes = |indexes: BTreeSet<_>| indexes.into_iter().filter_map(|index| graph.node(index));
        let seen: BTreeSet<_> = graph.sees(index).iter().copied().collect();
        let around = seen.iter().chain(graph.below(index)).copied().collect();
        Surroundings {
            children: Children::of(nodes(around).map(|node| (node.id, node.file_id.as_str(), node.address))),
            addresses: nodes(seen).filter_map(|node| Some((node.id, node.address?))).collect(),
        }
    }

    /// To whom a key belongs.
    pub(crate) fn of_claim(&self, tenant: TenantId, key: ClaimKey) -> Option<NodeId> {
        let tenants = self.tenants();
        let graph = &tenants.get(&tenant)?.network.graph;
        Some(graph.node(graph.index_of_claim(key)?)?.id)
    }

    /// All routers that can be entered, in these slots, and whose they are.
    pub(crate) fn routers_of(&self, slots: Slots) -> Vec<(TenantId, NodeId)> {
        let mut routers = Vec::new();
        for (tenant, known) in self.tenants().iter() {
            let graph = &known.network.graph;
            let nodes = graph.indexes().filter_map(|index| graph.node(index));
            let entered = nodes.filter(|node| node.login.is_some() && slots.has(slot_of(node.id)));
            routers.extend(entered.map(|node| (*tenant, node.id)));
        }
        routers
    }

    /// Of these keys those that belong to somebody in the inventory.
    pub(crate) fn claimed<C: FromIterator<ClaimKey>>(
        &self,
        tenant: TenantId,
        keys: impl IntoIterator<Item = ClaimKey>,
    ) -> C {
        let tenants = self.tenants();
        let graph = tenants.get(&tenant).map(|tenant| &tenant.network.graph);
        keys.into_iter()
            .filter(|key| graph.is_some_and(|graph| graph.index_of_claim(*key).is_some()))
            .collect()
    }

    /// Waits until a node is in the inventory, at most `within`: what was asked may be ahead of what was read.
    pub(crate) async fn wait_for(&self, tenant: TenantId, node: NodeId, within: Duration) {
        let mut version = self.version();
        let there = async { while !self.has(tenant, node) && version.changed().await.is_ok() {} };
        // Whoever asks finds out which of the two it was.
        let _in_time = tokio::time::timeout(within, there).await;
    }

    /// All routers that can be entered, in these slots.
    pub(crate) fn routers(&self, slots: Slots) -> HashSet<NodeId> {
        let tenants = self.tenants();
        let nodes = tenants.values().flat_map(|tenant| {
            let graph = &tenant.network.graph;
            graph.indexes().filter_map(|index| graph.node(index))
        });
        nodes.filter(|node| node.login.is_some() && slots.has(slot_of(node.id))).map(|node| node.id).collect()
    }

    /// Everybody to be watched in these slots.
    pub(crate) fn watched(&self, slots: Slots) -> Vec<Watched> {
        let mut watched = Vec::new();
        for (tenant, known) in self.tenants().iter() {
            let graph = &known.network.graph;
            for node in graph.indexes().filter_map(|index| graph.node(index)) {
                let Some(watch) = node.watch.filter(|_| slots.has(slot_of(node.id))) else { continue };
                match node.address {
                    Some(address) => watched.push(Watched {
                        tenant: *tenant,
                        node: node.id,
                        address,
                        probe: watch.probe,
                        every_s: watch.every_s.max(1),
                    }),
                    None => tracing::debug!(node = %node.id, "to be watched, but without an address"),
                }
            }
        }
        watched
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
        let filters = [Noun::Inventory, Noun::Part, Noun::Revision, Noun::Access].map(Filter::noun);
        let end = log.state().await.context("asking where the log ends")?.last_seq;
        self.read(log, log.read(&filters, From::Start, Some(end))).await?;
        let (known, log) = (Arc::clone(self), log.clone());
        Ok(tokio::spawn(async move {
            let rest = log.read(&filters, From::Seq(end + 1), None);
            tokio::select! {
                outcome = known.read(&log, rest) => outcome,
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
                    Err(error) => log.bury("poller", &raw, &error.to_string()).await,
                }
            }
            self.hear(&chunk);
        }
    }
}

/// Under which keys sessions of these users and MACs at a router are claimed.
pub(crate) fn claim_keys<'a>(
    keys: &TenantKeys,
    router: NodeId,
    kind: SessionKind,
    names: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = ClaimKey> {
    names.into_iter().map(move |name| keys.look_up(router, kind, name))
}
