//! What the keeper knows: the networks and their routers, what subscribers are entitled to, and what was seen.

use crate::ledger::{Ledger, Wanted};
use domain::{Graph, enforce::Hold};
use events::{
    ClaimKey, EventId, Fact, Heard, NodeId, Noun, SeenDevice, Sighting, SightingId, TenantId, Time, slot_of,
};
use kit::{Log, Slots};
use roster::Roster;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// What was last said of a device, and where.
#[derive(Debug, Clone)]
pub(crate) struct SaidDevice {
    pub(crate) device: Arc<SeenDevice>,
    pub(crate) seq: u64,
    pub(crate) heard: Time,
}

/// What was seen of a tenant's surroundings.
#[derive(Debug, Default)]
struct Seen {
    devices: BTreeMap<SightingId, SaidDevice>,
    /// When each router was scanned last.
    scanned: BTreeMap<NodeId, Time>,
}

/// Everything the keeper knows. Shared by all its parts.
pub(crate) struct Book {
    /// The networks, their routers, and how those are entered.
    pub(crate) roster: Arc<Roster>,
    ledgers: RwLock<BTreeMap<TenantId, Ledger>>,
    seen: RwLock<BTreeMap<TenantId, Seen>>,
    /// The place in the log up to which everything is in force here.
    place: watch::Sender<u64>,
}

impl Book {
    /// Nothing yet but the roster.
    pub(crate) fn new(roster: Arc<Roster>) -> Self {
        Self { roster, ledgers: RwLock::default(), seen: RwLock::default(), place: watch::channel(0).0 }
    }

    fn ledgers(&self) -> RwLockReadGuard<'_, BTreeMap<TenantId, Ledger>> {
        self.ledgers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> RwLockReadGuard<'_, BTreeMap<TenantId, Seen>> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in facts in the order of the log, and says whether something else is known than before.
    fn hear(&self, chunk: &[Heard]) -> bool {
        let mut ledgers = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for heard in chunk {
            match &heard.fact {
                Fact::Entitlement(_) | Fact::Enforcement(_) => {
                    changed |= ledgers.entry(heard.tenant).or_default().hear(heard);
                }
                Fact::Sighting(Sighting::Device(device)) => {
                    let said =
                        SaidDevice { device: Arc::new(device.clone()), seq: heard.seq, heard: heard.heard };
                    seen.entry(heard.tenant).or_default().devices.insert(device.id, said);
                }
                Fact::Sighting(Sighting::Scan(scan)) => {
                    seen.entry(heard.tenant).or_default().scanned.insert(scan.router, scan.at);
                }
                // The roster has taken them in.
                _ => {}
            }
        }
        drop((ledgers, seen));
        if let Some(last) = chunk.last() {
            self.place.send_replace(last.seq);
        }
        changed
    }

    /// Those of the routers in these slots whose operator allows subscribers to be enforced there.
    pub(crate) fn enforcing(&self, slots: Slots) -> HashMap<NodeId, TenantId> {
        let mut routers = HashMap::new();
        self.roster.each(|tenant, node| {
            if slots.has(slot_of(node.id)) && node.login.as_ref().is_some_and(|login| login.enforce) {
                routers.insert(node.id, tenant);
            }
        });
        routers
    }

    /// The routers at which subscribers are to get something else than when this was asked last, each with the event
    /// that says so.
    pub(crate) fn take_changed(&self) -> BTreeMap<NodeId, EventId> {
        let mut ledgers = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        let changed = ledgers
            .iter_mut()
            .filter_map(|(tenant, ledger)| self.roster.look(*tenant, |network| ledger.take_changed(network)));
        changed.flatten().collect()
    }

    /// What is to be in force at a router.
    pub(crate) fn wanted(&self, tenant: TenantId, router: NodeId) -> Vec<Wanted> {
        let ledgers = self.ledgers();
        let wanted = ledgers
            .get(&tenant)
            .and_then(|ledger| self.roster.look(tenant, |network| ledger.wanted(network, router)));
        wanted.unwrap_or_default()
    }

    /// Whose session is claimed under `key`, and the routers that may hold it, if he is not to be served.
    pub(crate) fn unserved(&self, tenant: TenantId, key: ClaimKey) -> Option<(NodeId, BTreeSet<NodeId>)> {
        let ledgers = self.ledgers();
        let ledger = ledgers.get(&tenant)?;
        self.roster.look(tenant, |network| ledger.unserved(network, key))?
    }

    /// Who was cut off at a router after a time.
    pub(crate) fn cut_since(&self, tenant: TenantId, router: NodeId, since: Time) -> BTreeSet<NodeId> {
        self.ledgers().get(&tenant).map_or_else(BTreeSet::new, |ledger| ledger.cut_since(router, since))
    }

    /// Why nobody of a tenant is cut off, if somebody has said so.
    pub(crate) fn halted(&self, tenant: TenantId) -> Option<Hold> {
        let ledgers = self.ledgers();
        let cutting = ledgers.get(&tenant)?.halted()?;
        Some(Hold::Halted { why: cutting.why.clone() })
    }

    /// Whether the operator allows subscribers to be enforced at a router, as far as it is known.
    pub(crate) fn may_enforce(&self, tenant: TenantId, router: NodeId) -> bool {
        let node = self.roster.node(tenant, router);
        node.and_then(|node| Some(node.login.as_ref()?.enforce)).unwrap_or_default()
    }

    /// How many are held back at routers in these slots.
    pub(crate) fn held_count(&self, slots: Slots) -> u64 {
        self.ledgers().values().map(|ledger| ledger.held_count(|router| slots.has(slot_of(router)))).sum()
    }

    /// What was said of a tenant's devices.
    pub(crate) fn sightings(&self, tenant: TenantId) -> BTreeMap<SightingId, SaidDevice> {
        self.seen().get(&tenant).map(|seen| seen.devices.clone()).unwrap_or_default()
    }

    /// How many devices are remembered, of all tenants.
    pub(crate) fn sightings_count(&self) -> usize {
        self.seen().values().map(|seen| seen.devices.len()).sum()
    }

    /// When a router was last scanned, or tried to be.
    pub(crate) fn scanned_at(&self, tenant: TenantId, router: NodeId) -> Option<Time> {
        self.seen().get(&tenant)?.scanned.get(&router).copied()
    }

    /// Does something with a tenant's graph; an empty one when there is no such tenant.
    pub(crate) fn with_graph<T>(&self, tenant: TenantId, mut look: impl FnMut(&Graph) -> T) -> T {
        let found = self.roster.look(tenant, |network| look(&network.graph));
        found.unwrap_or_else(|| look(&Graph::default()))
    }

    /// Waits until what stands at `seq` in the log is known here.
    pub(crate) async fn reach(&self, seq: u64) {
        let mut place = self.place.subscribe();
        // The sender lives as long as this does.
        let _reached = place.wait_for(|place| *place >= seq).await;
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
    ) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
        let book = Arc::clone(self);
        let more = [Noun::Entitlement, Noun::Enforcement, Noun::Sighting];
        self.roster.follow(log, &more, move |chunk| book.hear(chunk), stop).await
    }
}
