//! What a keeper knows of the networks it looks after: who is in the inventory, who sees whom, and how
//! routers are entered.
//!
//! Follows inventory and keys of all tenants from the beginning of the log. What is sealed is opened when it
//! is used and kept nowhere.

mod trust;

pub use crate::trust::{PlainApi, Trust};
use anyhow::Context;
use domain::Network;
use events::{Access, ClaimKey, Fact, Heard, LookUpKey, Node, NodeId, Noun, TenantId, slot_of};
use kit::{Filter, From, Log, Slots};
use routeros_api::{Credentials, Options, Target};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use vault::{Field, MasterKeys, TenantKeys};

/// How many messages are taken in before the changes take effect.
const CHUNK_MAX: usize = 500;

/// Why a tenant's keys are not at hand.
#[derive(Debug, Clone)]
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

/// Everything a keeper knows of all tenants. Shared by all its parts.
pub struct Roster {
    /// Who follows, as it is called in the log of dead letters.
    by: &'static str,
    master: MasterKeys,
    sessions: Options,
    trust: Trust,
    tenants: RwLock<BTreeMap<TenantId, Tenant>>,
    version: watch::Sender<u64>,
}

impl Roster {
    /// Nothing yet. Sessions with routers are opened as `sessions` and `trust` say.
    pub fn new(by: &'static str, master: MasterKeys, trust: Trust, sessions: Options) -> Self {
        Self { by, master, sessions, trust, tenants: RwLock::default(), version: watch::channel(0).0 }
    }

    /// Changes whenever something else is known than before.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn tenants(&self) -> RwLockReadGuard<'_, BTreeMap<TenantId, Tenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in facts in the order of the log; they are in force when this returns.
    pub fn hear(&self, chunk: &[Heard]) {
        let mut changed = false;
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for heard in chunk {
            let tenant = tenants.entry(heard.tenant).or_default();
            match &heard.fact {
                Fact::Inventory(_) | Fact::Part(_) | Fact::Revision(_) => tenant.network.hear(heard),
                Fact::Access(said) => match &said.now {
                    Access::Keys(wrapped) => {
                        let now = self.open(heard.tenant, wrapped);
                        // Wrapped again they are the same keys: whoever has them goes on with them.
                        if now.is_ok() || tenant.keys.is_err() {
                            tenant.keys = now;
                        }
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
                | Fact::Repair(_)
                | Fact::Plan(_)
                | Fact::Entitlement(_)
                | Fact::Enforcement(_)
                | Fact::Sighting(_)
                | Fact::Refusal(_)
                | Fact::View(_)
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
            tracing::error!(%tenant, %error, "this tenant's keys cannot be opened");
            Keys::Wrong(error.to_string())
        })
    }

    /// Looks at a tenant's network; nothing is taken in meanwhile. Nothing for one that is not known.
    pub fn look<T>(&self, tenant: TenantId, at: impl FnOnce(&Network) -> T) -> Option<T> {
        Some(at(&self.tenants().get(&tenant)?.network))
    }

    /// Looks at every node of every tenant; nothing is taken in meanwhile.
    pub fn each(&self, mut see: impl FnMut(TenantId, &Arc<Node>)) {
        for (tenant, known) in self.tenants().iter() {
            let graph = &known.network.graph;
            graph.indexes().filter_map(|index| graph.node(index)).for_each(|node| see(*tenant, node));
        }
    }

    /// A node of the inventory.
    pub fn node(&self, tenant: TenantId, node: NodeId) -> Option<Arc<Node>> {
        self.look(tenant, |network| network.graph.node(network.graph.index_of(node)?).cloned())?
    }

    /// Where a node answers.
    ///
    /// # Errors
    ///
    /// Why that is not known, for people.
    pub fn address(&self, tenant: TenantId, node: NodeId) -> Result<IpAddr, String> {
        let node = self.node(tenant, node).ok_or("it is not in the inventory")?;
        node.address.ok_or_else(|| "the inventory has no address for it".into())
    }

    /// Where a router is and how it is entered.
    ///
    /// # Errors
    ///
    /// Why that is not known, for people.
    pub fn router(&self, tenant: TenantId, router: NodeId) -> Result<Target, String> {
        let node = self.node(tenant, router).ok_or("the router is not in the inventory")?;
        let address = node.address.ok_or("the inventory has no address for the router")?;
        let login = node.login.as_ref().ok_or("the inventory has no login for the router")?;
        let tls = self.trust.tls(address, login)?;
        let (user, password) = self
            .keys(tenant)?
            .open_login(Field::Login(router), &login.secret)
            .map_err(|error| format!("opening the router's login: {error}"))?;
        Ok(Target {
            address: SocketAddr::new(address, login.port),
            source: None,
            credentials: Credentials::new(user.as_str(), password.as_str()),
            options: Options { tls, ..self.sessions.clone() },
        })
    }

    /// A tenant's keys.
    ///
    /// # Errors
    ///
    /// Why they are not at hand, for people.
    pub fn keys(&self, tenant: TenantId) -> Result<Arc<TenantKeys>, String> {
        let tenants = self.tenants();
        let keys = tenants.get(&tenant).map_or(Err(&Keys::Missing), |tenant| tenant.keys.as_ref());
        keys.cloned().map_err(|keys| match keys {
            Keys::Missing => "the tenant has no keys".into(),
            Keys::Wrong(why) => format!("opening the tenant's keys: {why}"),
        })
    }

    /// Those whom a router sees.
    pub fn seen_by(&self, tenant: TenantId, router: NodeId) -> Vec<Arc<Node>> {
        let seen = self.look(tenant, |network| {
            let graph = &network.graph;
            let index = graph.index_of(router)?;
            Some(graph.sees(index).iter().filter_map(|child| graph.node(*child)).cloned().collect())
        });
        seen.flatten().unwrap_or_default()
    }

    /// All routers that can be entered, in these slots, and whose they are.
    pub fn routers(&self, slots: Slots) -> HashMap<NodeId, TenantId> {
        let mut routers = HashMap::new();
        self.each(|tenant, node| {
            if node.login.is_some() && slots.has(slot_of(node.id)) {
                routers.insert(node.id, tenant);
            }
        });
        routers
    }

    /// To whom a key belongs.
    pub fn of_claim(&self, tenant: TenantId, key: ClaimKey) -> Option<NodeId> {
        self.look(tenant, |network| Some(network.graph.node(network.graph.index_of_claim(key)?)?.id))?
    }

    /// Of these keys those that belong to somebody in the inventory.
    pub fn claimed<C: FromIterator<ClaimKey> + Default>(
        &self,
        tenant: TenantId,
        keys: impl IntoIterator<Item = ClaimKey>,
    ) -> C {
        let claimed = self.look(tenant, |network| {
            keys.into_iter().filter(|key| network.graph.index_of_claim(*key).is_some()).collect()
        });
        claimed.unwrap_or_default()
    }

    /// Waits until a node is in the inventory, at most `within`: what was asked may be ahead of what was read.
    pub async fn wait_for(&self, tenant: TenantId, node: NodeId, within: Duration) {
        let mut version = self.version();
        let there = async { while self.node(tenant, node).is_none() && version.changed().await.is_ok() {} };
        // Whoever asks finds out which of the two it was.
        let _in_time = tokio::time::timeout(within, there).await;
    }

    /// Reads the log up to its end as it is now; then goes on in the task that is returned, until `stop`.
    ///
    /// Facts of `more` nouns are read along. Whatever was read is told to `also` when it is in force here; it
    /// says whether that changed anything for the keeper.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub async fn follow(
        self: &Arc<Self>,
        log: &Log,
        more: &[Noun],
        also: impl Fn(&[Heard]) -> bool + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
        let own = [Noun::Inventory, Noun::Part, Noun::Revision, Noun::Access];
        let filters: Vec<Filter> = own.iter().chain(more).copied().map(Filter::noun).collect();
        let end = log.state().await.context("asking where the log ends")?.last_seq;
        self.read(log, log.read(&filters, From::Start, Some(end)), &also).await?;
        let (roster, log) = (Arc::clone(self), log.clone());
        Ok(tokio::spawn(async move {
            let rest = log.read(&filters, From::Seq(end + 1), None);
            tokio::select! {
                outcome = roster.read(&log, rest, &also) => outcome,
                () = stop.cancelled() => Ok(()),
            }
        }))
    }

    async fn read(
        &self,
        log: &Log,
        mut reader: kit::Reader,
        also: &(impl Fn(&[Heard]) -> bool + Sync),
    ) -> anyhow::Result<()> {
        loop {
            let raw = reader.next_chunk(CHUNK_MAX).await.context("reading the inventory")?;
            if raw.is_empty() {
                return Ok(());
            }
            let mut chunk = Vec::with_capacity(raw.len());
            for raw in raw {
                match raw.decode() {
                    Ok(heard) => chunk.push(heard),
                    Err(error) => log.bury(self.by, &raw, &error.to_string()).await,
                }
            }
            self.hear(&chunk);
            if also(&chunk) {
                self.version.send_modify(|version| *version += 1);
            }
        }
    }
}
