//! What is broken: the decider behind diagnostician.
//!
//! Hears the inventory, claims, answers and orders; says suspicions, health and asks. What it said
//! last of a node is its belief about it; what it heard lately is held against that, node by node,
//! with whatever a node needs before the node itself. The judging is in `judge`.
//!
//! `hearing` what a claim or answer tells, `remembering` what was said.

mod hearing;
mod remembering;

use self::hearing::RollSoFar;
use crate::{
    graph::Index,
    judge::Fallen,
    network::Network,
    quota::Walks,
    recent::Recent,
    supply::{Own, Supply},
};
use events::{
    Decide, Decision, EventId, Fact, Flag, Health, HealthKind, HealthSaid, Heard, NodeHealth, NodeId, Noun,
    Say, Suspicion, SuspicionKind, SuspicionSaid, TenantId, Time, Timer,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The key of the one timer a tenant has here.
const WAKE: &str = "wake";
/// The decider behind diagnostician.
#[derive(Default)]
pub struct Diagnosis {
    tenants: BTreeMap<TenantId, Tenant>,
}

impl Decide for Diagnosis {
    const NAME: &'static str = "diagnostician";
    const HEARS: &'static [Noun] = &[Noun::Signal, Noun::Answer, Noun::Due];
    const SAYS: &'static [Noun] = &[Noun::Suspicion, Noun::Health];

    fn recall(&mut self, heard: &Heard) {
        let tenant = self.tenants.entry(heard.tenant).or_default();
        match &heard.fact {
            Fact::Inventory(_) | Fact::Part(_) | Fact::Revision(_) => tenant.network.hear(heard),
            Fact::Signal(signal) => tenant.hear_signal(heard, signal),
            Fact::Answer(answer) => tenant.hear_answer(heard, answer),
            Fact::Due(due) if due.service == Self::NAME => tenant.armed = None,
            Fact::Due(_)
            | Fact::Access(_)
            | Fact::Order(_)
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
            | Fact::Cut(_) => {}
        }
    }

    fn apply(&mut self, said: &Say) {
        self.tenants.entry(said.tenant).or_default().apply(said);
    }

    fn forget(&mut self, now: Time) {
        for tenant in self.tenants.values_mut() {
            tenant.recent.forget(now);
        }
    }

    fn decide(&mut self, now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        for (id, tenant) in &mut self.tenants {
            let left = room.saturating_sub(decision.said.len() + decision.timers.len());
            if left < 2 {
                decision.owed = true;
                break;
            }
            let mut out = Out { tenant: *id, now, room: left - 1, said: Vec::new() };
            decision.owed |= tenant.decide(&mut out);
            decision.said.append(&mut out.said);
            if let Some(timer) = tenant.wake(now) {
                decision.timers.push((*id, timer));
            }
        }
        decision
    }

    fn restate(&self, said: &Say) -> Option<Fact> {
        match &said.fact {
            // What is being checked will lead to a word of its own, and that word ends the suspicion.
            Fact::Health(health) if !self.is_suspect(said.tenant, health.now.node) => match health.kind {
                HealthKind::Changed | HealthKind::Noted | HealthKind::Restated => {
                    let now = health.now.clone();
                    Some(Fact::Health(HealthSaid { kind: HealthKind::Restated, now }))
                }
                HealthKind::Retired => None,
            },
            Fact::Suspicion(suspicion) => match suspicion.kind {
                SuspicionKind::Raised | SuspicionKind::Pursued => {
                    let now = suspicion.now.clone();
                    Some(Fact::Suspicion(SuspicionSaid { kind: SuspicionKind::Pursued, now }))
                }
                SuspicionKind::Settled => None,
            },
            Fact::Health(_)
            | Fact::Inventory(_)
            | Fact::Part(_)
            | Fact::Revision(_)
            | Fact::Access(_)
            | Fact::Order(_)
            | Fact::Signal(_)
            | Fact::Answer(_)
            | Fact::Ask(_)
            | Fact::Incident(_)
            | Fact::Notice(_)
            | Fact::Delivery(_)
            | Fact::Due(_)
            | Fact::Repair(_)
            | Fact::Plan(_)
            | Fact::Entitlement(_)
            | Fact::Enforcement(_)
            | Fact::Sighting(_)
            | Fact::Refusal(_)
            | Fact::View(_)
            | Fact::Cut(_) => None, // It says none of these, or they need not be remembered.
        }
    }

    fn digest(&self) -> u64 {
        let tenants = self.tenants.iter().map(|(id, t)| (id, t.digest()));
        crate::digest::digest_of(&tenants.collect::<Vec<_>>())
    }
}

impl Diagnosis {
    fn is_suspect(&self, tenant: TenantId, node: NodeId) -> bool {
        let Some(tenant) = self.tenants.get(&tenant) else { return false };
        let index = tenant.network.graph.index_of(node);
        index.is_some_and(|index| tenant.standing[index as usize].suspicion.is_some())
    }

    /// What is believed of a node now; nothing when nothing was ever said of it.
    pub fn health_of(&self, tenant: TenantId, node: NodeId) -> Option<&NodeHealth> {
        let tenant = self.tenants.get(&tenant)?;
        tenant.standing[tenant.network.graph.index_of(node)? as usize].health.as_ref().map(|(now, _)| now)
    }
}

/// What one decision has said so far, and how much more it may say.
pub(crate) struct Out {
    pub(crate) tenant: TenantId,
    pub(crate) now: Time,
    room: usize,
    pub(crate) said: Vec<Say>,
}

impl Out {
    /// How many more messages there is room for.
    pub(crate) fn left(&self) -> usize {
        self.room.saturating_sub(self.said.len())
    }

    /// Says something that follows from `cause`.
    pub(crate) fn say(&mut self, cause: EventId, what: &str, at: Time, fact: Fact) -> Say {
        let id = EventId::following(cause, Diagnosis::NAME, &format!("{what} {}", self.now.us()));
        let say = Say { id, tenant: self.tenant, at, cause: Some(cause), fact };
        self.said.push(say.clone());
        say
    }
}

/// What was said last of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// What is believed, and the event that said so.
    pub(crate) health: Option<(NodeHealth, EventId)>,
    /// What is being checked.
    pub(crate) suspicion: Option<Box<Suspicion>>,
}

/// An ask whose answer is awaited, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) at: Time,
    pub(crate) deadline: Time,
    pub(crate) round: u32,
}

/// One tenant's nodes and what is believed of them.
#[derive(Default)]
pub(crate) struct Tenant {
    pub(crate) network: Network,
    pub(crate) supply: Supply,
    pub(crate) recent: Recent,
    pub(crate) standing: Vec<Standing>,
    /// What was said of nodes that the network does not have (any more).
    strays: BTreeMap<NodeId, Standing>,
    /// Who is to be judged, whatever is needed first.
    pub(crate) dirty: BTreeSet<(u32, Index)>,
    /// Of each node, how many that need it are suspects because somebody claimed so.
    pub(crate) suspects_below: Vec<u32>,
    /// Of each router, how many of those it sees are suspects.
    pub(crate) suspects_seen: Vec<u32>,
    pub(crate) in_flight: BTreeMap<(Index, bool), InFlight>,
    /// Who waits for a look at a node.
    pub(crate) waiting: BTreeMap<Index, BTreeSet<Index>>,
    pub(crate) wakes: BTreeSet<(Time, Index)>,
    /// Who lost a session, and below whom.
    pub(crate) fallen: Fallen,
    /// When walks began, for the tenant's quota of them.
    pub(crate) walks: Walks,
    rolls: BTreeMap<Index, RollSoFar>,
    armed: Option<Time>,
    armed_version: u32,
}

impl Tenant {
    fn decide(&mut self, out: &mut Out) -> bool {
        self.refresh();
        self.recent.forget(out.now);
        self.walks.forget(out.now);
        while let Some(&(at, index)) = self.wakes.first() {
            if at > out.now {
                break;
            }
            self.wakes.pop_first();
            self.soil(index);
        }
        self.retire(out);
        loop {
            while let Some((rank, index)) = self.dirty.pop_first() {
                if out.left() < 2 {
                    self.dirty.insert((rank, index));
                    return true;
                }
                self.judge(index, out);
            }
            if !self.weigh_sessions(out) {
                return true;
            }
            if self.dirty.is_empty() {
                break;
            }
        }
        let put_off = self.wakes.first().is_some_and(|(at, _)| *at <= out.now);
        put_off || !self.strays.is_empty()
    }

    /// The timer to arm, when somebody has to be looked at earlier than one is armed for.
    fn wake(&mut self, now: Time) -> Option<Timer> {
        let at = self.wakes.iter().map(|(at, _)| *at).find(|at| *at > now)?;
        let still_armed = self.armed.is_some_and(|armed| armed > now && armed <= at);
        if still_armed {
            return None;
        }
        self.armed = Some(at);
        self.armed_version = self.armed_version.wrapping_add(1);
        Some(Timer { key: WAKE.into(), at: Some(at), version: self.armed_version })
    }

    /// Marks a node to be judged.
    pub(crate) fn soil(&mut self, index: Index) {
        if self.network.graph.node(index).is_some() {
            self.dirty.insert((self.network.graph.rank(index), index));
        }
    }

    /// Puts a revision in force: nodes that went are retired, nodes that came are judged.
    fn refresh(&mut self) {
        let Some(changes) = self.network.refresh() else { return };
        let n = self.network.graph.len();
        for (index, id) in changes.taken {
            let standing = self.standing.get_mut(index as usize).map(std::mem::take).unwrap_or_default();
            if standing != Standing::default() {
                self.strays.insert(id, standing);
            }
            self.recent.drop_node(index);
        }
        self.standing.resize_with(n, Standing::default);
        for index in changes.seen_anew {
            for index in [index].iter().chain(self.network.graph.sees(index)) {
                let Some(node) = self.network.graph.node(*index) else { continue };
                self.recent.forget_looks(*index, &node.claims);
            }
        }
        for index in changes.put {
            let Some(node) = self.network.graph.node(index) else { continue };
            if let Some(standing) = self.strays.remove(&node.id) {
                self.standing[index as usize] = standing;
            }
        }
        let own: Vec<Own> = (0..n as Index).map(|i| self.own_of(i)).collect();
        self.supply = Supply::with(&self.network.graph, |i| own[i as usize]);
        self.count_suspects();
        self.count_fallen();
        self.in_flight.clear();
        self.waiting.clear();
        self.wakes.clear();
        self.dirty.clear();
        for index in self.network.graph.indexes().collect::<Vec<_>>() {
            self.note_asked(index);
            self.soil(index);
        }
    }

    fn retire(&mut self, out: &mut Out) {
        let gone: Vec<NodeId> = self.strays.keys().copied().take(out.left()).collect();
        for id in gone {
            let standing = self.strays.remove(&id).unwrap_or_default();
            let Some((mut now, cause)) = standing.health else {
                // Nothing was ever believed of it; what was checked is not to be any more.
                if let Some(suspicion) = standing.suspicion {
                    let claim = suspicion.claim;
                    let now = Suspicion { asked: Vec::new(), ..*suspicion };
                    let said = Fact::Suspicion(SuspicionSaid { kind: SuspicionKind::Settled, now });
                    out.say(claim, &format!("settled {id}"), out.now, said);
                }
                continue;
            };
            now.since = out.now;
            now.asked.clear();
            out.say(
                cause,
                &format!("retired {id}"),
                out.now,
                Fact::Health(HealthSaid { kind: HealthKind::Retired, now }),
            );
        }
    }

    /// What is believed of a node.
    pub(crate) fn believed(&self, index: Index) -> Option<Health> {
        self.standing[index as usize].health.as_ref().map(|(now, _)| now.health)
    }

    /// What the last word about a node means for those that need it.
    fn own_of(&self, index: Index) -> Own {
        let observable = self.network.graph.node(index).is_some_and(|n| n.is_observable());
        match &self.standing[index as usize].health {
            Some((now, _)) => match now.health {
                Health::Up | Health::Degraded if now.flags.contains(&Flag::MapDisagrees) => Own::Proven,
                Health::Up | Health::Degraded => Own::Follows,
                Health::Down => Own::Broken,
                Health::Impacted | Health::Unknown if observable => Own::Doubtful,
                Health::Impacted | Health::Unknown => Own::Follows,
            },
            None if observable => Own::Doubtful,
            None => Own::Follows,
        }
    }

    fn digest(&self) -> u64 {
        let standing: Vec<_> = self
            .network
            .graph
            .indexes()
            .filter_map(|i| {
                let node = self.network.graph.node(i)?;
                let standing = self.standing.get(i as usize).filter(|s| **s != Standing::default());
                Some((node.id, standing))
            })
            .collect();
        crate::digest::digest_of(&(self.network.revision, standing, &self.strays, self.recent.digest()))
    }
}
