//! What is broken: the decider behind diagnostician.
//!
//! Hears the inventory, claims, answers and orders; says suspicions, health and asks. What it said
//! last of a node is its belief about it; what it heard lately is held against that, node by node,
//! with whatever a node needs before the node itself. The judging is in `judge`.

use crate::{
    graph::Index,
    judge::Fallen,
    network::Network,
    quota::Walks,
    recent::{ClaimHeard, Look, NodeRecent, Recent, Seen, UNASKED_SLACK_MS, try_sent_at},
    supply::{Own, Supply},
};
use events::{
    About, Answer, Asked, Decide, Decision, EventId, Fact, Flag, Health, HealthKind, HealthSaid, Heard,
    NodeHealth, NodeId, Noun, Outcome, RollCall, Say, SessionState, Signal, Suspicion, SuspicionKind,
    SuspicionSaid, TenantId, Time, Timer, Vantage,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The key of the one timer a tenant has here.
const WAKE: &str = "wake";

/// The chunks of one roll call come within so long of each other; others are of another one.
const CHUNKS_WITHIN_MS: i64 = 20_000;
/// A netwatch entry of 30 s (R9) that says up was right so long ago at the latest; its probe's way counted in.
const NETWATCH_UP_LAG_MS: i64 = 35_000;

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

/// The chunks of a roll call that have come in.
#[derive(Debug, Default)]
struct RollSoFar {
    asked_at: Time,
    /// When the last of them was heard.
    heard: Option<Time>,
    chunks: BTreeSet<u32>,
    told: BTreeSet<Index>,
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

    fn count_suspects(&mut self) {
        let n = self.network.graph.len();
        self.suspects_below = vec![0; n];
        self.suspects_seen = vec![0; n];
        for i in 0..n as Index {
            if let Some(suspicion) = &self.standing[i as usize].suspicion {
                let claimed = suspicion.sender.is_some();
                self.count_suspect(i, true, claimed);
            }
        }
    }

    /// Counts a suspect, or no longer, with the router that sees it and, if somebody claimed it, with
    /// everything it needs: what is only suspected because nobody has heard of it accuses nobody.
    fn count_suspect(&mut self, index: Index, more: bool, claimed: bool) {
        let Some(node) = self.network.graph.node(index) else { return };
        let router = node.seen_by.and_then(|id| self.network.graph.index_of(id));
        let step = |count: &mut u32| *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if let Some(router) = router {
            step(&mut self.suspects_seen[router as usize]);
        }
        let accused = if claimed { self.network.graph.all_above(index) } else { Default::default() };
        for above in accused {
            step(&mut self.suspects_below[above as usize]);
            let half_silent = more
                && self
                    .recent
                    .of(above)
                    .and_then(NodeRecent::silence)
                    .is_some_and(|l| matches!(l.seen, Seen::Silent(..)));
            if half_silent {
                self.soil(above);
            }
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

    fn hear_signal(&mut self, heard: &Heard, signal: &Signal) {
        self.refresh();
        let boot = signal.sender.zip(signal.boot.as_deref());
        let boot = boot.map(|(sender, boot)| self.recent.boot(sender, boot, heard.heard));
        let index = match signal.about {
            About::Node(id) => self.network.graph.index_of(id),
            About::Session(key) => self.network.graph.index_of_claim(key),
        };
        let counts = |index: &Index| self.network.counts_claim(*index, signal.about, heard.seq);
        let Some(index) = index.filter(counts) else { return };
        let session = match signal.about {
            About::Node(_) => None,
            About::Session(key) => Some(key),
        };
        let claim = ClaimHeard {
            heard: heard.heard,
            at: heard.at,
            says: signal.says,
            source: signal.source,
            session,
            sender: signal.sender,
            boot,
            seq: signal.seq,
            event: heard.id,
        };
        self.recent.claim(index, claim);
        self.soil(index);
    }

    /// What was asked through a router tells of the router too, whatever has become of whom it was asked about.
    fn hear_answer(&mut self, heard: &Heard, answer: &Answer) {
        self.refresh();
        let known =
            |id| self.network.graph.index_of(id).filter(|index| self.network.counts(*index, heard.seq));
        let target = known(answer.target);
        let router = match answer.via {
            Vantage::Through(router) => known(router),
            Vantage::Direct => None,
        };
        let asked = answer.asked_at.is_some();
        // A silence nobody asked for lasts until it is heard; a sign of life was there before that.
        let silent_at = answer.asked_at.unwrap_or(heard.heard);
        let look = |asked_at, seen| Look { heard: heard.heard, asked_at, asked, seen, event: heard.id };
        // Of a ping through a router only the router's part of the way was measured.
        let rtt_us = match (&answer.outcome, answer.via) {
            (Outcome::Replied { rtt_us }, Vantage::Direct) => Some(*rtt_us),
            _ => None,
        };
        let answered_from = |of: Option<Index>, at: Time| {
            of.and_then(|index| self.recent.of(index)).map_or(at, |r| r.answered_from(at, rtt_us))
        };
        let unasked_at = heard.heard.plus_ms(-UNASKED_SLACK_MS);
        // A router that was found silent meanwhile answered after that: the probe had to wait for its turn.
        let silent = router.and_then(|index| self.recent.of(index)).and_then(NodeRecent::silent_at);
        let router_at =
            answer.asked_at.map_or(unasked_at, |at| answered_from(router, at).max(silent.unwrap_or(at)));
        let alive_at = answer.asked_at.map_or(unasked_at, |at| answered_from(target, at).max(router_at));
        if let Some(target) = target {
            match &answer.outcome {
                Outcome::Replied { .. } => self.look(target, look(alive_at, Seen::Up)),
                Outcome::Silent { tries, last } => {
                    self.look(target, look(silent_at, Seen::Silent(*tries, *last)));
                }
                Outcome::RouterSilent { last: true, .. } | Outcome::Unanswered { .. } => {
                    self.look(target, look(silent_at, Seen::Nothing));
                }
                Outcome::RouterSilent { last: false, .. } => {}
                Outcome::Session { state: SessionState::Present } => {
                    self.look(target, look(alive_at, Seen::Up));
                }
                Outcome::Session { state: SessionState::Absent } => {
                    self.look(target, look(silent_at, Seen::RouterSaysDown));
                }
                Outcome::RollCall(_) => {}
            }
        }
        // What a router told of others counts, however it is looked at itself by now.
        if let Outcome::RollCall(roll) = &answer.outcome
            && let Some(target) = self.network.graph.index_of(answer.target)
        {
            self.hear_roll(target, roll, (heard, alive_at, silent_at), asked, &look);
        }
        if let Some(router) = router {
            match &answer.outcome {
                Outcome::Replied { .. } | Outcome::Session { .. } => {
                    self.look(router, look(router_at, Seen::Up));
                }
                // It was there from the first try that it tells of to the last.
                Outcome::Silent { tries, .. } => {
                    self.look(router, look(router_at, Seen::Up));
                    let last = if asked { try_sent_at(silent_at, *tries) } else { router_at };
                    if last > router_at {
                        self.look(router, look(last, Seen::Up));
                    }
                }
                Outcome::RouterSilent { tries, last } => {
                    self.look(router, look(silent_at, Seen::Silent(*tries, *last)));
                }
                Outcome::Unanswered { .. } | Outcome::RollCall(_) => {}
            }
        }
    }

    /// A router that was just booted knows nothing yet of those it does not see: it is blind, they are not down.
    fn hear_roll(
        &mut self,
        router: Index,
        roll: &RollCall,
        (heard, alive_at, silent_at): (&Heard, Time, Time),
        asked: bool,
        look: &impl Fn(Time, Seen) -> Look,
    ) {
        let blind = roll.uptime_ms < u64::from(self.network.policy.blind_after_boot_ms);
        let (heard, seq) = (heard.heard, heard.seq);
        let uptime_ms = i64::try_from(roll.uptime_ms).unwrap_or(i64::MAX).min(heard.ms_since(Time::EPOCH));
        let itself = self.network.counts(router, seq);
        if itself {
            self.recent.booted(router, heard.plus_ms(-uptime_ms), heard);
        }
        let network = &self.network;
        let counts = |index: &Index| network.counts(*index, seq);
        let nodes = |ids: &[NodeId]| {
            ids.iter().filter_map(|id| network.graph.index_of(*id)).filter(counts).collect::<Vec<_>>()
        };
        let sessions = |keys: &[events::ClaimKey]| {
            keys.iter().filter_map(|k| network.graph.index_of_claim(*k)).filter(counts).collect::<Vec<_>>()
        };
        let (works, present) = (nodes(&roll.up), sessions(&roll.present));
        let (dead, gone) = (nodes(&roll.down), sessions(&roll.gone));
        // An entry says what its last test found: what it calls up may have died since.
        for &i in &works {
            self.look(i, look(alive_at.plus_ms(-NETWATCH_UP_LAG_MS), Seen::NetwatchUp));
        }
        for &i in &present {
            self.look(i, look(alive_at, Seen::Up));
        }
        if !blind {
            for &i in &dead {
                self.look(i, look(silent_at, Seen::NetwatchDown));
            }
            for &i in &gone {
                self.look(i, look(silent_at, Seen::RouterSaysDown));
            }
        }
        let so_far = self.rolls.entry(router).or_default();
        // Chunks nobody asked for come each at its own time: a chunk that is there already begins anew.
        let again = if asked { so_far.asked_at != silent_at } else { so_far.chunks.contains(&roll.chunk) };
        let late = so_far.heard.is_some_and(|last| heard.ms_since(last) > CHUNKS_WITHIN_MS);
        if again || late {
            *so_far = RollSoFar { asked_at: silent_at, ..RollSoFar::default() };
        }
        so_far.heard = Some(heard);
        so_far.chunks.insert(roll.chunk);
        so_far.told.extend(works);
        so_far.told.extend(present);
        so_far.told.extend(dead);
        so_far.told.extend(gone);
        if so_far.chunks.len() < roll.chunks as usize {
            if itself {
                self.look(router, look(alive_at, Seen::Up));
            }
            return;
        }
        let told = self.rolls.remove(&router).map(|so_far| so_far.told).unwrap_or_default();
        if roll.whole && !blind {
            let absent = |i: &Index| {
                !told.contains(i)
                    && self.network.counts(*i, seq)
                    && self.network.graph.node(*i).is_some_and(|n| !n.claims.is_empty())
            };
            let missing: Vec<Index> =
                self.network.graph.sees(router).iter().copied().filter(absent).collect();
            for i in missing {
                self.look(i, look(silent_at, Seen::RouterSaysDown));
            }
        }
        if itself {
            self.look(router, look(alive_at, Seen::Told));
        }
    }

    fn look(&mut self, index: Index, look: Look) {
        self.recent.look(index, look);
        self.soil(index);
        let settles = match look.seen {
            Seen::Up | Seen::NetwatchUp | Seen::Nothing | Seen::Told | Seen::Silent(_, true) => true,
            Seen::Silent(_, false) | Seen::RouterSaysDown | Seen::NetwatchDown => false,
        };
        if settles && let Some(waiting) = self.waiting.remove(&index) {
            for suspect in waiting {
                self.soil(suspect);
            }
        }
    }

    /// Remembers one thing said. The same said again changes nothing.
    pub(crate) fn apply(&mut self, said: &Say) {
        self.refresh();
        match &said.fact {
            Fact::Suspicion(s) => self.apply_suspicion(s),
            Fact::Health(h) => self.apply_health(h, said.id),
            Fact::Inventory(_)
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
            | Fact::Cut(_) => {}
        }
    }

    fn apply_suspicion(&mut self, said: &SuspicionSaid) {
        let open = match said.kind {
            SuspicionKind::Raised | SuspicionKind::Pursued => Some(Box::new(said.now.clone())),
            SuspicionKind::Settled => None,
        };
        let Some(index) = self.network.graph.index_of(said.now.node) else {
            let stray = self.strays.entry(said.now.node).or_default();
            stray.suspicion = open;
            if *stray == Standing::default() {
                self.strays.remove(&said.now.node);
            }
            return;
        };
        self.walks.note(said.now.node, said.now.walks_from());
        self.set_suspicion(index, open);
    }

    fn set_suspicion(&mut self, index: Index, open: Option<Box<Suspicion>>) {
        if self.standing[index as usize].suspicion == open {
            return;
        }
        let claimed = |s: &Option<Box<Suspicion>>| s.as_ref().map(|s| s.sender.is_some());
        let (before, after) = (claimed(&self.standing[index as usize].suspicion), claimed(&open));
        self.standing[index as usize].suspicion = open;
        if before != after {
            if let Some(claimed) = before {
                self.count_suspect(index, false, claimed);
            }
            if let Some(claimed) = after {
                self.count_suspect(index, true, claimed);
            }
        }
        if after.is_some() {
            self.note_asked(index);
        }
        self.weigh_later(index);
        self.soil(index);
    }

    fn apply_health(&mut self, said: &HealthSaid, id: EventId) {
        let node = said.now.node;
        let Some(index) = self.network.graph.index_of(node) else {
            match said.kind {
                HealthKind::Retired => self.strays.remove(&node),
                HealthKind::Changed | HealthKind::Noted | HealthKind::Restated => self
                    .strays
                    .insert(node, Standing { health: Some((said.now.clone(), id)), suspicion: None }),
            };
            return;
        };
        if self.standing[index as usize].health.as_ref().is_some_and(|(_, last)| *last == id) {
            // Heard of already; but a suspicion said before it may just have been applied again.
            if let Some(ended) = self.standing[index as usize].suspicion.take() {
                self.count_suspect(index, false, ended.sender.is_some());
                self.weigh_later(index);
            }
            return;
        }
        let was_down = self.believed(index) == Some(Health::Down);
        self.set_suspicion(index, None);
        self.standing[index as usize].health = match said.kind {
            HealthKind::Retired => None,
            HealthKind::Changed | HealthKind::Noted | HealthKind::Restated => Some((said.now.clone(), id)),
        };
        self.note_asked(index);
        self.supply.set(&self.network.graph, index, self.own_of(index));
        let mut touched = Vec::new();
        self.supply.settle(&self.network.graph, &mut |i, changed| touched.push((i, changed)));
        for (i, changed) in touched {
            if changed || self.network.graph.is_redundant(i) {
                self.soil(i);
            }
            if changed {
                self.note_fallen(i);
            }
        }
        self.note_fallen(index);
        if was_down != (self.believed(index) == Some(Health::Down)) {
            self.soil_impacted_below(index);
        }
    }

    /// Whether a node is believed to work although the map says that it cannot.
    fn disagrees(&self, index: Index) -> bool {
        let health = self.standing[index as usize].health.as_ref();
        health.is_some_and(|(now, _)| now.flags.contains(&Flag::MapDisagrees))
    }

    /// Those cut off below a node whose being down has changed may have other roots now, and those that
    /// work in spite of the old ones may not work in spite of this one.
    fn soil_impacted_below(&mut self, index: Index) {
        let (mut seen, mut open) = (BTreeSet::new(), vec![index]);
        while let Some(i) = open.pop() {
            for &b in self.network.graph.below(i) {
                if seen.insert(b) {
                    open.push(b);
                    if self.believed(b) == Some(Health::Impacted) || self.disagrees(b) {
                        self.dirty.insert((self.network.graph.rank(b), b));
                    }
                }
            }
        }
    }

    /// Takes what a standing says was asked into the table of asks under way.
    fn note_asked(&mut self, index: Index) {
        let standing = &self.standing[index as usize];
        let of_health = standing.health.iter().flat_map(|(now, _)| now.asked.iter());
        let of_suspicion = standing.suspicion.iter().flat_map(|s| s.asked.iter());
        let asked: Vec<Asked> = of_health.chain(of_suspicion).cloned().collect();
        for Asked { target, at, deadline, round, roll_call, .. } in asked {
            let Some(target) = self.network.graph.index_of(target) else { continue };
            let known = self.in_flight.entry((target, roll_call)).or_insert(InFlight { at, deadline, round });
            if known.at < at {
                *known = InFlight { at, deadline, round };
            }
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
