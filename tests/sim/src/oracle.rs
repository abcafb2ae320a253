//! What must hold at the end of every story, told from the network's truth alone.
//!
//! Shares no code with the deciders. It knows what was broken and when, what that cut off (naively),
//! and reads in the log what was believed, what was opened and who was told.

use crate::{
    bus::{Bus, Entry},
    net::{Net, Spell},
    run::Failure,
    world::Role,
};
use events::{
    Audience, ChannelId, DeliveryKind, EvidenceKind, Fact, Flag, Health, HealthKind, Incident, IncidentClass,
    IncidentId, IncidentKind, IncidentSaid, IncidentState, NodeHealth, NodeId, Notice, NoticeId, NoticeKind,
    Noun, Phase, Question, SuspicionKind, TenantId, Tier, Time,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A claim takes so long at most to reach a verdict: netwatch, its script, the probes and a restart, microseconds.
const GRACE_US: i64 = 90_000_000;
/// An outage of this length must have been told, microseconds.
const MUST_BE_TOLD_US: i64 = 300_000_000;
/// What fails so often within …
const FLAPS_MOST: usize = 3;
/// … so long is flapping, microseconds: people are told of no more beginnings.
const FLAPS_WITHIN_US: i64 = 1_200_000_000;
/// What is flapping failed so often at least (a late claim may have one failure believed twice) …
const FLAPPED_LEAST: usize = 2;
/// … within so long, microseconds.
const FLAPPED_WITHIN_US: i64 = 3_600_000_000;
/// The same may be asked of a node once for each new claim, and so often beside …
const ASKS_MOST: usize = 20;
/// … within so many milliseconds.
const ASKS_WITHIN_MS: i64 = 10_000;
/// At most so many failures of one property are listed.
const LISTED: usize = 4;
/// Roots an incident lists at most (`events::Incident::roots`).
const ROOTS_LISTED: usize = 64;

/// Whom an incident of `tier` concerns.
fn audience_of(tier: Tier) -> Option<Audience> {
    match tier {
        Tier::Core | Tier::Site => Some(Audience::Engineers),
        Tier::Sector | Tier::Station => Some(Audience::Technicians),
        Tier::Subscriber => None,
    }
}

/// A notice, and who has it.
struct Told<'a> {
    notice: &'a Notice,
    /// When the other side took it; `None`: it never left.
    delivered: Option<Time>,
    addressed: usize,
}

/// One tenant's end.
struct Judge<'a> {
    net: &'a Net,
    bus: &'a Bus,
    now: Time,
    health: HashMap<NodeId, &'a NodeHealth>,
    incidents: BTreeMap<IncidentId, &'a Incident>,
    told: BTreeMap<NoticeId, Told<'a>>,
    failures: Vec<Failure>,
}

/// Everything that does not hold.
pub fn judge(nets: &[Net], bus: &Bus) -> Vec<Failure> {
    let mut failures = vec![];
    for net in nets {
        let mut judge = Judge::new(net, bus);
        judge.beliefs();
        judge.roots();
        judge.togetherness();
        judge.impacts();
        judge.announcements();
        judge.falsehoods();
        judge.holds();
        judge.stories();
        judge.flaps();
        judge.asks();
        failures.append(&mut judge.failures);
    }
    failures
}

fn of_tenant(bus: &Bus, noun: Noun, tenant: TenantId) -> impl Iterator<Item = &Entry> {
    bus.standing(noun).into_iter().filter(move |entry| entry.heard.tenant == tenant)
}

fn incident(entry: &Entry) -> Option<&IncidentSaid> {
    match &entry.heard.fact {
        Fact::Incident(said) => Some(said),
        _ => None,
    }
}

impl<'a> Judge<'a> {
    fn new(net: &'a Net, bus: &'a Bus) -> Self {
        let tenant = net.tenant;
        let health = of_tenant(bus, Noun::Health, tenant)
            .filter_map(|entry| match &entry.heard.fact {
                Fact::Health(said) => Some((said.now.node, &said.now)),
                _ => None,
            })
            .collect();
        let incidents = of_tenant(bus, Noun::Incident, tenant)
            .filter_map(incident)
            .map(|said| (said.now.id, &said.now))
            .collect();
        let mut told: BTreeMap<NoticeId, Told> = BTreeMap::new();
        for entry in bus.log.iter().filter(|entry| entry.heard.tenant == tenant) {
            match &entry.heard.fact {
                Fact::Notice(said) => {
                    let told = told.entry(said.now.id).or_insert(Told {
                        notice: &said.now,
                        delivered: None,
                        addressed: 0,
                    });
                    told.addressed += usize::from(said.kind == NoticeKind::Addressed);
                }
                Fact::Delivery(said) if said.kind == DeliveryKind::Delivered => {
                    if let Some(told) = told.get_mut(&said.now.notice) {
                        told.delivered.get_or_insert(entry.heard.heard);
                    }
                }
                _ => {}
            }
        }
        let now = bus.log.last().map_or(Time::EPOCH, |entry| entry.heard.heard);
        Self { net, bus, now, health, incidents, told, failures: vec![] }
    }

    fn fail(&mut self, property: &'static str, what: String) {
        if self.failures.iter().filter(|f| f.property == property).count() < LISTED {
            self.failures.push(Failure { property, what });
        }
    }

    fn name(&self, thing: usize) -> String {
        self.net.world.name(thing as u32)
    }

    fn name_of(&self, id: NodeId) -> String {
        self.net.by_id.get(&id).map_or_else(|| format!("unknown {id}"), |t| self.name(*t as usize))
    }

    /// Broken, and nothing else explains it.
    fn is_root(&self, thing: usize) -> bool {
        self.net.broken[thing] && self.net.supply.supplied[thing] && !self.net.world.things[thing].absent
    }

    /// Nobody reachable is called down or cut off; nobody broken or cut off is called anything else.
    fn beliefs(&mut self) {
        for i in 0..self.net.ids.len() {
            if self.net.world.things[i].absent {
                self.retired(i);
                continue;
            }
            let believed = self.health.get(&self.net.ids[i]).map(|h| h.health);
            let supplied = self.net.supply.supplied[i];
            let wrong = match (self.net.supply.works[i], supplied, believed) {
                (true, _, None | Some(Health::Up | Health::Degraded)) => None,
                (true, _, Some(Health::Unknown)) => Some(("belief-unknown", "works")),
                (true, _, Some(Health::Down | Health::Impacted)) => Some(("belief", "works")),
                (false, true, Some(Health::Down)) | (false, false, Some(Health::Impacted)) => None,
                (false, true, _) => Some(("belief", "is broken")),
                (false, false, _) => Some(("belief", "is cut off")),
            };
            if let Some((property, truth)) = wrong {
                let flags = self.health.get(&self.net.ids[i]).map(|h| &h.flags);
                let what = format!("{} {truth} and is believed {believed:?} {flags:?}", self.name(i));
                self.fail(property, what);
            }
            let left: Vec<Flag> = self
                .health
                .get(&self.net.ids[i])
                .map(|h| &h.flags)
                .into_iter()
                .flatten()
                .filter(|flag| matches!(flag, Flag::Suspect | Flag::Recovering))
                .copied()
                .collect();
            if !left.is_empty() {
                self.fail("unsettled", format!("{} is still {left:?}", self.name(i)));
            }
        }
        for entry in of_tenant(self.bus, Noun::Suspicion, self.net.tenant) {
            let Fact::Suspicion(said) = &entry.heard.fact else { continue };
            // A later word about its health settles a suspicion too.
            let health = self.bus.last(self.net.tenant, Noun::Health, said.now.node.0);
            let settled = said.kind == SuspicionKind::Settled
                || health.is_some_and(|health| health.heard.seq > entry.heard.seq);
            if !settled {
                let name = self.name_of(said.now.node);
                self.fail("unsettled", format!("the suspicion of {name} was never settled"));
            }
        }
    }

    /// What the inventory has no longer is believed nothing of: that was said once.
    fn retired(&mut self, thing: usize) {
        let last = self.bus.last(self.net.tenant, Noun::Health, self.net.ids[thing].0);
        let Some(Fact::Health(said)) = last.map(|entry| &entry.heard.fact) else { return };
        if said.kind != HealthKind::Retired {
            let what =
                format!("{} is not in the inventory and is said to be {:?}", self.name(thing), said.kind);
            self.fail("retired", what);
        }
    }

    fn open(&self) -> Vec<&'a Incident> {
        let is_open = |i: &&&Incident| matches!(i.state, IncidentState::Open | IncidentState::Recovering);
        let by_cause = |i: &&&Incident| matches!(i.class, IncidentClass::Outage | IncidentClass::Redundancy);
        self.incidents.values().filter(is_open).filter(by_cause).copied().collect()
    }

    /// The down roots of open incidents are exactly the broken things that nothing else explains.
    fn roots(&mut self) {
        let open = self.open();
        for incident in &open {
            let down: Vec<NodeId> = incident.roots.iter().filter(|r| r.down).map(|r| r.node).collect();
            if down.is_empty() {
                self.fail("roots", format!("`{}` is open and names nothing that is down", incident.title));
            }
            for id in down {
                let truth = self.net.by_id.get(&id).map(|t| *t as usize);
                if !truth.is_some_and(|t| self.is_root(t)) {
                    let truth = truth.map(|t| (self.net.broken[t], self.net.supply.supplied[t]));
                    let what = format!(
                        "`{}` is open and says {} is down; (broken, supplied) = {truth:?}",
                        incident.title,
                        self.name_of(id)
                    );
                    self.fail("roots", what);
                }
            }
        }
        for i in 0..self.net.ids.len() {
            if !self.is_root(i) || !self.net.world.opens(i as u32) {
                continue;
            }
            let id = self.net.ids[i];
            let closed = |o: &&Incident| {
                o.state == IncidentState::Closed && o.roots.iter().any(|r| r.node == id && r.down)
            };
            if self.incidents.values().copied().any(|o| closed(&o)) {
                continue; // A person said that it is none.
            }
            let of = open.iter().filter(|o| o.roots.iter().any(|r| r.node == id && r.down)).count();
            let overfull = open.iter().any(|o| o.roots.len() >= ROOTS_LISTED);
            if of != 1 && !(of == 0 && overfull) {
                let what = format!(
                    "{} is broken, nothing else explains it, and {of} incidents say so",
                    self.name(i)
                );
                self.fail("roots", what);
            }
        }
        for incident in self.incidents.values().copied().collect::<Vec<_>>() {
            let unended = matches!(incident.state, IncidentState::Open | IncidentState::Recovering);
            let other = matches!(incident.class, IncidentClass::SessionsLost | IncidentClass::Blind);
            let nothing_broken =
                (0..self.net.ids.len()).all(|i| !self.net.broken[i] || self.net.world.things[i].absent);
            if unended && other && nothing_broken {
                let what = format!("`{}` is open although nothing is broken", incident.title);
                self.fail("roots", what);
            }
        }
    }

    /// Everything on a broken way up of `thing` that is broken while its own supply holds.
    fn roots_of(&self, thing: usize) -> BTreeSet<usize> {
        let world = &self.net.world;
        let works = &self.net.supply.works;
        let mut edge = vec![thing];
        let mut visited: BTreeSet<usize> = edge.iter().copied().collect();
        let mut roots = BTreeSet::new();
        while let Some(at) = edge.pop() {
            if at != thing && self.is_root(at) {
                roots.insert(at);
            }
            for need in &world.things[at].needs {
                need.missing(works, &mut |t| {
                    if visited.insert(t as usize) {
                        edge.push(t as usize);
                    }
                });
            }
        }
        roots
    }

    fn cut_off(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.net.ids.len()).filter(|i| !self.net.supply.supplied[*i] && !self.net.world.things[*i].absent)
    }

    fn incident_of_root(&self, root: usize) -> Option<IncidentId> {
        let id = self.net.ids[root];
        self.open().iter().find(|o| o.roots.iter().any(|r| r.node == id && r.down)).map(|o| o.id)
    }

    /// Roots that cut off the same thing are one incident.
    fn togetherness(&mut self) {
        let mut apart = vec![];
        for thing in self.cut_off() {
            let roots: Vec<usize> =
                self.roots_of(thing).into_iter().filter(|r| self.net.world.opens(*r as u32)).collect();
            for pair in roots.windows(2) {
                let (a, b) = (self.incident_of_root(pair[0]), self.incident_of_root(pair[1]));
                if a.is_some() && b.is_some() && a != b {
                    apart.push((thing, pair[0], pair[1]));
                }
            }
        }
        for (thing, a, b) in apart {
            let what = format!(
                "{} and {} both cut off {} and are two incidents",
                self.name(a),
                self.name(b),
                self.name(thing)
            );
            self.fail("together", what);
        }
    }

    /// An open incident counts the subscribers that its roots cut off.
    fn impacts(&mut self) {
        let mut counted: BTreeMap<IncidentId, u32> = BTreeMap::new();
        let by_root: HashMap<usize, IncidentId> = (0..self.net.ids.len())
            .filter(|i| self.is_root(*i))
            .filter_map(|i| Some((i, self.incident_of_root(i)?)))
            .collect();
        for thing in self.cut_off() {
            if self.net.world.things[thing].role == Role::Subscriber {
                let of: BTreeSet<IncidentId> =
                    self.roots_of(thing).iter().filter_map(|root| by_root.get(root)).copied().collect();
                for incident in of {
                    *counted.entry(incident).or_default() += 1;
                }
            }
        }
        for incident in self.open() {
            let truth = counted.get(&incident.id).copied().unwrap_or(0);
            if incident.impact.subscribers != truth {
                let what = format!(
                    "`{}` counts {} subscribers cut off; there are {truth}",
                    incident.title, incident.impact.subscribers
                );
                self.fail("impact", what);
            }
        }
    }

    /// The incident that carries `id` in the end.
    fn carrier(&self, id: IncidentId) -> IncidentId {
        let mut at = id;
        for _ in 0..1_000 {
            match self.incidents.get(&at).and_then(|i| i.merged_into) {
                Some(next) => at = next,
                None => return at,
            }
        }
        id
    }

    /// Each outage is announced once to each audience, and resolved once to exactly those who were told.
    fn announcements(&mut self) {
        type Ear = (Audience, ChannelId);
        let mut opened: BTreeMap<(IncidentId, Ear), usize> = BTreeMap::new();
        let mut ears: BTreeMap<IncidentId, BTreeSet<Ear>> = BTreeMap::new();
        let mut resolved: BTreeMap<(IncidentId, Ear), usize> = BTreeMap::new();
        let mut named: BTreeMap<IncidentId, BTreeSet<NodeId>> = BTreeMap::new();
        let mut twice = vec![];
        for (id, told) in &self.told {
            if told.addressed > 1 {
                twice.push(format!(
                    "notice {id} was addressed {} times: `{}`",
                    told.addressed, told.notice.title
                ));
            }
            let notice = told.notice;
            let ear = (notice.audience, notice.channel);
            let carrier = self.carrier(notice.incident);
            if told.delivered.is_none() {
                continue;
            }
            match notice.phase {
                Phase::Opened => {
                    *opened.entry((notice.incident, ear)).or_default() += 1;
                    ears.entry(carrier).or_default().insert(ear);
                }
                Phase::Resolved => *resolved.entry((carrier, ear)).or_default() += 1,
                Phase::Changed | Phase::Escalated => {}
            }
            if notice.phase != Phase::Resolved {
                let down = notice.about.roots.iter().filter(|r| r.down && !r.quiet).map(|r| r.node);
                named.entry(carrier).or_default().extend(down);
            }
        }
        for what in twice {
            self.fail("announced", what);
        }
        for ((incident, ear), times) in &opened {
            if *times > 1 {
                let what = format!("incident {incident} was announced {times} times to {}", ear.0.name());
                self.fail("announced", what);
            }
        }
        for (id, incident) in self.incidents.clone() {
            if incident.merged_into.is_some() {
                continue;
            }
            let told = ears.get(&id).cloned().unwrap_or_default();
            let over = matches!(incident.state, IncidentState::Resolved | IncidentState::Closed);
            for ear in &told {
                let times = resolved.get(&(id, *ear)).copied().unwrap_or(0);
                if times != usize::from(over) {
                    let what = format!(
                        "`{}` ({:?}) was announced to {} and resolved to them {times} times",
                        incident.title,
                        incident.state,
                        ear.0.name()
                    );
                    self.fail("resolved", what);
                }
            }
            for ((carrier, ear), times) in &resolved {
                if *carrier == id && !told.contains(ear) {
                    let what = format!(
                        "`{}` was resolved {times} times to {}, who were never told",
                        incident.title,
                        ear.0.name()
                    );
                    self.fail("resolved", what);
                }
            }
            self.must_be_told(incident, &told);
            let working =
                |node: &NodeId| self.net.by_id.get(node).is_some_and(|t| self.net.supply.works[*t as usize]);
            let all_back = named.get(&id).is_some_and(|nodes| nodes.iter().all(working));
            if all_back && !over && !incident.roots.iter().any(|r| r.down) {
                let what = format!("`{}`: everything named down works and nobody was told", incident.title);
                self.fail("named-up", what);
            }
        }
        self.once_per_spell();
    }

    fn in_maintenance(&self, thing: usize, at_us: i64) -> bool {
        let start = self.bus.log.first().map_or(0, |entry| entry.heard.heard.us());
        self.net.world.things[thing].maintenance.is_some_and(|(from, until)| {
            let second = (at_us - start) / 1_000_000;
            second >= i64::from(from) && second < i64::from(until)
        })
    }

    /// Whoever an outage concerns has been told of it, unless it was over at once.
    fn must_be_told(&mut self, incident: &Incident, told: &BTreeSet<(Audience, ChannelId)>) {
        if !matches!(incident.class, IncidentClass::Outage) || incident.roots.len() >= ROOTS_LISTED {
            return;
        }
        let end_us = incident.ended_at.unwrap_or(self.now).us();
        if end_us - incident.opened_at.us() < MUST_BE_TOLD_US {
            return;
        }
        let over = incident.ended_at.is_some();
        let loud = |node: NodeId| {
            let thing = *self.net.by_id.get(&node)? as usize;
            let quiet = if over {
                self.net.world.things[thing].maintenance.is_some()
            } else {
                self.in_maintenance(thing, end_us)
            };
            (!quiet).then_some(self.net.world.things[thing].role.tier())
        };
        let roots = incident.roots.iter().filter(|r| over || r.down);
        let Some(tier) = roots.filter_map(|r| loud(r.node)).min() else { return };
        let Some(audience) = audience_of(tier) else { return };
        for (i, reaches) in self.net.world.channels.iter().enumerate() {
            if *reaches == audience && !told.contains(&(audience, self.net.world.channel(i))) {
                let what = format!(
                    "`{}` ({:?}) was never told to {} through channel {i}",
                    incident.title,
                    incident.state,
                    audience.name()
                );
                self.fail("untold", what);
            }
        }
    }

    /// While something is broken without interruption, it is announced once as the first cause.
    fn once_per_spell(&mut self) {
        let mut several = vec![];
        for spell in &self.net.roots {
            let id = self.net.ids[spell.thing as usize];
            let mut ears: BTreeMap<(Audience, ChannelId), BTreeSet<IncidentId>> = BTreeMap::new();
            for told in self.told.values() {
                let notice = told.notice;
                let first = notice.about.roots.first().is_some_and(|r| r.node == id);
                let within = (spell.from_us..spell.until_us).contains(&notice.at.us());
                if notice.phase == Phase::Opened && told.delivered.is_some() && first && within {
                    ears.entry((notice.audience, notice.channel)).or_default().insert(notice.incident);
                }
            }
            for (ear, incidents) in ears {
                if incidents.len() > 1 {
                    several.push((spell.thing, ear.0, incidents.len()));
                }
            }
        }
        for (thing, audience, times) in several {
            let what = format!(
                "one failure of {} was announced to {} as {times} incidents",
                self.name(thing as usize),
                audience.name()
            );
            self.fail("announced", what);
        }
    }

    fn during(spells: &[Spell], thing: usize, from_us: i64, until_us: i64) -> bool {
        spells.iter().any(|s| s.thing as usize == thing && s.from_us <= until_us && s.until_us >= from_us)
    }

    fn throughout(spells: &[Spell], thing: usize, from_us: i64, until_us: i64) -> bool {
        spells.iter().any(|s| s.thing as usize == thing && s.from_us <= from_us && s.until_us >= until_us)
    }

    /// Nothing was named as a cause that was not broken, and nothing resolved that still was.
    fn falsehoods(&mut self) {
        let net = self.net;
        let mut named: BTreeMap<IncidentId, BTreeSet<NodeId>> = BTreeMap::new();
        let mut wrong = vec![];
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == net.tenant) {
            let Some(said) = incident(entry) else { continue };
            if !matches!(said.now.class, IncidentClass::Outage | IncidentClass::Redundancy) {
                continue;
            }
            let at = entry.heard.heard.us();
            let known = named.entry(said.now.id).or_default();
            for root in &said.now.roots {
                let Some(thing) = net.by_id.get(&root.node).map(|t| *t as usize) else { continue };
                if !root.down {
                    known.remove(&root.node);
                    continue;
                }
                if !known.insert(root.node) {
                    continue;
                }
                let undetermined = root.confidence == 0
                    || root.evidence.iter().any(|e| e.kind == EvidenceKind::Undetermined);
                let spells = if undetermined { &net.dark } else { &net.broke };
                if !Self::during(spells, thing, at - GRACE_US, at) {
                    let dark = Self::during(&net.dark, thing, at - GRACE_US, at);
                    wrong.push((
                        "false-root",
                        format!(
                            "{} was named as a cause at seq {} and was not broken{}: {:?}",
                            self.name(thing),
                            entry.heard.seq,
                            if dark { " but cut off" } else { "" },
                            root.evidence.iter().map(|e| (e.kind, e.count)).collect::<Vec<_>>()
                        ),
                    ));
                }
            }
            if said.kind != IncidentKind::Resolved {
                continue;
            }
            for root in &said.now.roots {
                let Some(thing) = net.by_id.get(&root.node).map(|t| *t as usize) else { continue };
                let since = at - 2 * GRACE_US;
                let seen = net.world.things[thing].watch_s.is_some()
                    || net.world.things[thing]
                        .seen_by
                        .is_some_and(|r| !Self::during(&net.dark, r as usize, since, at));
                if seen && Self::throughout(&net.roots, thing, since, at) {
                    wrong.push((
                        "resolved-false",
                        format!(
                            "seq {} says `{}` is over while {} is still broken",
                            entry.heard.seq,
                            said.now.title,
                            self.name(thing)
                        ),
                    ));
                }
            }
        }
        for (property, what) in wrong {
            self.fail(property, what);
        }
    }

    /// An incident is over when each of its roots has been believed up for the hold time, as far as whoever
    /// says so had read: who decides message by message may be half a minute behind in a storm.
    fn holds(&mut self) {
        let hold_ms = i64::from(self.net.world.policy.resolve_hold_ms);
        let mut changed: HashMap<NodeId, Vec<(u64, Health, Time)>> = HashMap::new();
        let mut early = vec![];
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            let heard = entry.heard.heard;
            match &entry.heard.fact {
                Fact::Health(said) => {
                    let told = changed.entry(said.now.node).or_default();
                    // Working badly is working.
                    let works = |health| matches!(health, Health::Up | Health::Degraded);
                    let before = told.last().filter(|(_, health, _)| works(*health)).map(|b| b.2);
                    let since = before.filter(|_| works(said.now.health)).unwrap_or(said.now.since);
                    told.push((entry.heard.seq, said.now.health, since));
                }
                Fact::Incident(said)
                    if said.kind == IncidentKind::Resolved && said.now.ended_because.is_none() =>
                {
                    for root in &said.now.roots {
                        let told = changed.get(&root.node).map(Vec::as_slice).unwrap_or_default();
                        let known = &told[..told.partition_point(|(seq, ..)| *seq <= entry.knew)];
                        let believed = known.last().map(|(_, h, since)| (*h, heard.ms_since(*since)));
                        let up = matches!(
                            believed,
                            Some((Health::Up | Health::Degraded, held_ms)) if held_ms >= hold_ms
                        );
                        if !up {
                            early.push((entry.heard.seq, root.node, believed));
                        }
                    }
                }
                _ => {}
            }
        }
        for (seq, node, believed) in early {
            let what = format!(
                "seq {seq} is over within {hold_ms} ms; {} is believed {believed:?} ms",
                self.name_of(node)
            );
            self.fail("hold", what);
        }
    }

    /// What goes down again and again is announced few times, and nothing else is said to flap. What a
    /// higher cause came to explain is over with that: what falls after it is announced anew.
    fn flaps(&mut self) {
        let mut begins: BTreeMap<(NodeId, Audience, ChannelId), Vec<i64>> = BTreeMap::new();
        for told in self.told.values().filter(|told| told.notice.phase == Phase::Opened) {
            let notice = told.notice;
            let merged = self.incidents.get(&notice.incident).is_some_and(|i| i.merged_into.is_some());
            let Some(first) = notice.about.roots.first().filter(|_| !merged) else { continue };
            begins.entry((first.node, notice.audience, notice.channel)).or_default().push(notice.at.us());
        }
        let mut wrong = vec![];
        for ((node, audience, _), mut times) in begins {
            times.sort_unstable();
            if times.windows(FLAPS_MOST + 1).any(|t| t[FLAPS_MOST] - t[0] <= FLAPS_WITHIN_US) {
                let what =
                    format!("{} was announced again and again to {}", self.name_of(node), audience.name());
                wrong.push(what);
            }
        }
        let mut flapping: BTreeSet<NodeId> = BTreeSet::new();
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            let Fact::Health(said) = &entry.heard.fact else { continue };
            let node = said.now.node;
            if !said.now.flags.contains(&Flag::Flapping) {
                flapping.remove(&node);
                continue;
            }
            if !flapping.insert(node) {
                continue;
            }
            let Some(thing) = self.net.by_id.get(&node).copied() else { continue };
            let at = entry.heard.heard.us();
            let within = |s: &&Spell| {
                s.thing == thing && s.from_us <= at && s.from_us >= at - FLAPPED_WITHIN_US - GRACE_US
            };
            let times = self.net.dark.iter().filter(within).count();
            if times < FLAPPED_LEAST {
                let what = format!(
                    "seq {}: {} is said to be flapping and failed {times} times",
                    entry.heard.seq,
                    self.name_of(node)
                );
                wrong.push(what);
            }
        }
        for what in wrong {
            self.fail("flapping", what);
        }
    }

    /// Nobody is asked the same thing again and again: a walk looks at each node once, and only what was
    /// asked after a claim can clear an ancestor of it.
    fn asks(&mut self) {
        let mut asked: HashMap<(NodeId, u8), VecDeque<Time>> = HashMap::new();
        let mut raised: VecDeque<Time> = VecDeque::new();
        let mut often: BTreeMap<NodeId, u64> = BTreeMap::new();
        let forget = |times: &mut VecDeque<Time>, now: Time| {
            while times.front().is_some_and(|first| now.ms_since(*first) > ASKS_WITHIN_MS) {
                times.pop_front();
            }
        };
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            let now = entry.heard.heard;
            if matches!(&entry.heard.fact, Fact::Suspicion(said) if said.kind == SuspicionKind::Raised) {
                raised.push_back(now);
            }
            let Fact::Ask(ask) = &entry.heard.fact else { continue };
            let what = match &ask.question {
                Question::Reach { .. } => 0,
                Question::PingThrough { .. } => 1,
                Question::Session { .. } => 2,
                Question::RollCall { .. } => 3,
            };
            let times = asked.entry((ask.target, what)).or_default();
            times.push_back(now);
            forget(times, now);
            forget(&mut raised, now);
            if times.len() > ASKS_MOST + raised.len() {
                often.entry(ask.target).or_insert(entry.heard.seq);
            }
        }
        for (node, seq) in often {
            let what = format!(
                "{} was asked the same more than {ASKS_MOST} times within {ASKS_WITHIN_MS} ms, first at seq {seq}",
                self.name_of(node)
            );
            self.fail("asks", what);
        }
    }

    /// Reading the incidents again from the beginning gives what stands, byte for byte, and every
    /// incident's story is one that an incident can have.
    fn stories(&mut self) {
        let mut again: BTreeMap<IncidentId, Incident> = BTreeMap::new();
        let mut odd = vec![];
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            let Some(said) = incident(entry) else { continue };
            let seq = entry.heard.seq;
            match again.get(&said.now.id) {
                None if said.kind != IncidentKind::Opened => {
                    odd.push(format!("seq {seq}: {:?} before it was opened", said.kind));
                }
                Some(_) if said.kind == IncidentKind::Opened => {
                    odd.push(format!("seq {seq}: `{}` is opened again", said.now.title));
                }
                // What a person closed is remembered as long as it is down, so that it does not begin again.
                Some(before)
                    if before.state == IncidentState::Closed
                        && (said.kind, said.now.state) == (IncidentKind::Changed, IncidentState::Closed) => {}
                Some(before) if !matches!(before.state, IncidentState::Open | IncidentState::Recovering) => {
                    odd.push(format!("seq {seq}: {:?} after it was {:?}", said.kind, before.state));
                }
                Some(before) if before.opened_at != said.now.opened_at => {
                    odd.push(format!("seq {seq}: opened at another time than before"));
                }
                Some(_) | None => {}
            }
            let state = match said.kind {
                IncidentKind::Opened | IncidentKind::Relapsed => Some(IncidentState::Open),
                IncidentKind::Recovering => Some(IncidentState::Recovering),
                IncidentKind::Merged => Some(IncidentState::Merged),
                IncidentKind::Resolved => Some(IncidentState::Resolved),
                IncidentKind::Closed => Some(IncidentState::Closed),
                IncidentKind::Changed | IncidentKind::Acknowledged => None,
            };
            if state.is_some_and(|state| state != said.now.state) {
                odd.push(format!("seq {seq}: {:?} leaves it {:?}", said.kind, said.now.state));
            }
            if (said.kind == IncidentKind::Merged) != said.now.merged_into.is_some() {
                odd.push(format!("seq {seq}: {:?} merged into {:?}", said.kind, said.now.merged_into));
            }
            if let Some(into) = said.now.merged_into {
                let carries = again
                    .get(&into)
                    .is_some_and(|i| matches!(i.state, IncidentState::Open | IncidentState::Recovering));
                let later = self.incidents.get(&into).is_some_and(|i| i.opened_at >= said.now.opened_at);
                if !carries && !later {
                    odd.push(format!("seq {seq}: merged into {into}, which is not open"));
                }
            }
            again.insert(said.now.id, said.now.clone());
        }
        for what in odd {
            self.fail("story", what);
        }
        let bytes = |incident: &Incident| serde_json::to_vec(incident).unwrap_or_default();
        let same = again.len() == self.incidents.len()
            && again.iter().zip(&self.incidents).all(|(a, b)| a.0 == b.0 && bytes(a.1) == bytes(b.1));
        if !same {
            self.fail("refold", "the incidents read again are not those that stand".into());
        }
    }
}

/// A digest of how every incident stands: two readings of the same log must give the same.
pub fn incidents_digest(bus: &Bus) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for entry in bus.standing(Noun::Incident) {
        for byte in serde_json::to_vec(&entry.heard.fact).unwrap_or_default() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    digest
}

/// Seconds from the breaking of a first root to the delivery of the notice that names it.
pub fn told_after_s(nets: &[Net], bus: &Bus) -> Vec<f64> {
    let mut after = vec![];
    for net in nets {
        let judge = Judge::new(net, bus);
        for told in judge.told.values().filter(|t| t.notice.phase == Phase::Opened) {
            let thing = told.notice.about.roots.first().and_then(|r| net.by_id.get(&r.node));
            let (Some(thing), Some(delivered)) = (thing, told.delivered) else { continue };
            let broke = net
                .roots
                .iter()
                .filter(|s| s.thing == *thing && s.from_us <= told.notice.at.us())
                .map(|s| s.from_us)
                .max();
            if let Some(broke) = broke {
                after.push((delivered.us() - broke) as f64 / 1e6);
            }
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agenda::Agenda,
        fault::Faults,
        net::SECOND_US,
        rng::Rng,
        script::{Step, What},
        toy,
        world::{Need, Thing, World},
    };
    use events::{
        AskId, Channel, ChannelKind, Delivery, DeliverySaid, EventId, HealthSaid, NoticeSaid, Policy,
        RootCause, Say, Sealed,
    };
    use uuid::Uuid;

    const START_US: i64 = 1_000_000 * SECOND_US;
    const TOWER: u32 = 1;
    const SECTOR: u32 = 2;
    const SUBSCRIBER: u32 = 3;

    /// A log as perfect deciders would have written it, one second a line.
    struct Tale {
        net: Net,
        agenda: Agenda<crate::run::Ev>,
        bus: Bus,
        incident: Option<Incident>,
        drawn: u128,
    }

    impl Tale {
        /// A core, a tower below it, a sector below that, a subscriber, and a second tower.
        fn new() -> Self {
            let thing = |label, role, needs: Vec<Need>, seen_by, watch_s| Thing {
                label,
                role,
                site: None,
                needs,
                seen_by,
                watch_s,
                maintenance: None,
                absent: false,
            };
            let things = vec![
                thing(0, Role::Core, vec![], None, Some(60)),
                thing(1, Role::Tower, vec![Need::all(&[0])], Some(0), None),
                thing(2, Role::Sector, vec![Need::all(&[1])], Some(1), None),
                thing(3, Role::Subscriber, vec![Need::all(&[2])], Some(1), None),
                thing(4, Role::Tower, vec![Need::all(&[0])], Some(0), None),
            ];
            let channels = vec![Audience::Engineers, Audience::Technicians];
            let policy = Policy::default();
            let world = World { slug: "t".into(), sites: 0, things, policy, channels, in_parts: false };
            let net = Net::new(0, world, &Faults::default(), START_US, &Rng::new(1));
            let mut tale =
                Self { net, agenda: Agenda::new(START_US), bus: Bus::new(&[]), incident: None, drawn: 0 };
            for thing in 0..5 {
                tale.believe(thing, Health::Up);
            }
            tale
        }

        fn wait_s(&mut self, seconds: i64) {
            while self.agenda.next(self.agenda.now_us() + seconds * SECOND_US).is_some() {}
        }

        fn say(&mut self, fact: Fact) {
            self.wait_s(1);
            self.drawn += 1;
            let id = EventId(Uuid::from_u128(self.drawn));
            let at = Time::from_us(self.agenda.now_us());
            let say = Say { id, tenant: self.net.tenant, at, cause: Some(id), fact };
            self.bus.store(self.agenda.now_us(), None, say);
        }

        fn now(&self) -> Time {
            Time::from_us(self.agenda.now_us())
        }

        fn step(&mut self, thing: u32, what: What) {
            self.net.step(&mut self.agenda, Step { at_ms: 0, thing, what }, &Faults::default());
        }

        fn believe(&mut self, thing: u32, health: Health) {
            let now = NodeHealth {
                node: self.net.ids[thing as usize],
                health,
                flags: vec![],
                since: self.now().plus_ms(1_000),
                at: None,
                roots: vec![],
                evidence: vec![],
                asked: vec![],
                opens_incident: false,
                penalty: None,
            };
            self.say(Fact::Health(HealthSaid { kind: HealthKind::Changed, now }));
        }

        fn root(&self, thing: u32) -> RootCause {
            let cause = EventId(Uuid::from_u128(1));
            let node = self.net.ids[thing as usize];
            toy::opened(node, &self.net.world.name(thing), Tier::Site, cause, self.now()).roots.remove(0)
        }

        fn open(&mut self, thing: u32, subscribers: u32) {
            let node = self.net.ids[thing as usize];
            let cause = EventId(AskId::of(EventId::default(), node, self.drawn as u32).0);
            let mut incident = toy::opened(node, &self.net.world.name(thing), Tier::Site, cause, self.now());
            incident.impact.subscribers = subscribers;
            self.incident_said(IncidentKind::Opened, incident);
        }

        fn incident_said(&mut self, kind: IncidentKind, now: Incident) {
            self.incident = Some(now.clone());
            self.say(Fact::Incident(IncidentSaid { kind, now }));
        }

        fn resolve(&mut self) {
            let mut now = self.incident.clone().unwrap();
            now.state = IncidentState::Resolved;
            now.roots.iter_mut().for_each(|r| r.down = false);
            now.ended_at = Some(self.now());
            self.incident_said(IncidentKind::Resolved, now);
        }

        fn tell(&mut self, audience: Audience, phase: Phase) {
            let i = usize::from(audience == Audience::Technicians);
            let channel = Channel {
                id: self.net.world.channel(i),
                name: String::new(),
                audience,
                kind: ChannelKind::Webhook { url: String::new(), secret: Sealed(String::new()) },
            };
            let now = toy::notice(self.incident.as_ref().unwrap(), &channel, phase, self.now());
            let delivery = Delivery { notice: now.id, attempts: 1, answer: None, possibly_repeated: false };
            self.say(Fact::Notice(NoticeSaid { kind: NoticeKind::Addressed, now }));
            self.say(Fact::Delivery(DeliverySaid { kind: DeliveryKind::Delivered, now: delivery }));
        }

        /// The tower breaks and all is believed and told as it should be.
        fn outage() -> Self {
            let mut tale = Self::new();
            tale.step(TOWER, What::Break { power: true });
            tale.believe(TOWER, Health::Down);
            tale.believe(SECTOR, Health::Impacted);
            tale.believe(SUBSCRIBER, Health::Impacted);
            tale.open(TOWER, 1);
            tale.tell(Audience::Engineers, Phase::Opened);
            tale
        }

        /// And is mended again.
        fn over() -> Self {
            let mut tale = Self::outage();
            tale.wait_s(600);
            tale.step(TOWER, What::Mend);
            for thing in [TOWER, SECTOR, SUBSCRIBER] {
                tale.believe(thing, Health::Up);
            }
            tale.wait_s(120);
            tale.resolve();
            tale.tell(Audience::Engineers, Phase::Resolved);
            tale
        }

        fn wrong(mut self) -> BTreeSet<&'static str> {
            self.wait_s(600);
            self.say(Fact::Revision(events::Revision {
                number: 2,
                source: events::RevisionSource::Commit { count: 0 },
                file_digest: None,
                by: "t".into(),
            }));
            judge(&[self.net], &self.bus).into_iter().map(|f| f.property).collect()
        }
    }

    #[test]
    fn what_is_right_passes() {
        assert_eq!(Tale::new().wrong(), [].into());
        assert_eq!(Tale::outage().wrong(), [].into());
        assert_eq!(Tale::over().wrong(), [].into());
    }

    #[test]
    fn a_false_belief_is_found() {
        for (thing, health) in [
            (4, Health::Impacted),
            (4, Health::Down),
            (TOWER, Health::Impacted),
            (TOWER, Health::Up),
            (SECTOR, Health::Up),
            (SUBSCRIBER, Health::Down),
        ] {
            let mut tale = Tale::outage();
            tale.believe(thing, health);
            assert_eq!(tale.wrong(), ["belief"].into(), "{thing} {health:?}");
        }
        let mut tale = Tale::outage();
        tale.believe(4, Health::Unknown);
        assert_eq!(tale.wrong(), ["belief-unknown"].into());
    }

    #[test]
    fn a_cause_that_is_missing_false_or_named_twice_is_found() {
        let mut missing = Tale::new();
        missing.step(TOWER, What::Break { power: true });
        missing.believe(TOWER, Health::Down);
        missing.believe(SECTOR, Health::Impacted);
        missing.believe(SUBSCRIBER, Health::Impacted);
        assert_eq!(missing.wrong(), ["roots"].into());

        let mut child_too = Tale::outage();
        let mut incident = child_too.incident.clone().unwrap();
        incident.roots.push(child_too.root(SECTOR));
        child_too.incident_said(IncidentKind::Changed, incident);
        assert_eq!(child_too.wrong(), ["false-root", "roots"].into());

        let mut twice = Tale::outage();
        twice.open(TOWER, 1);
        twice.tell(Audience::Engineers, Phase::Opened);
        assert_eq!(twice.wrong(), ["announced", "impact", "roots"].into());
    }

    #[test]
    fn a_wrong_count_of_those_cut_off_is_found() {
        let mut tale = Tale::outage();
        let mut incident = tale.incident.clone().unwrap();
        incident.impact.subscribers = 7;
        tale.incident_said(IncidentKind::Changed, incident);
        assert_eq!(tale.wrong(), ["impact"].into());
    }

    #[test]
    fn people_told_twice_too_few_or_the_wrong_ones_are_found() {
        let mut again = Tale::outage();
        again.tell(Audience::Engineers, Phase::Opened);
        assert_eq!(again.wrong(), ["announced"].into());

        let mut untold = Tale::new();
        untold.step(TOWER, What::Break { power: true });
        untold.believe(TOWER, Health::Down);
        untold.believe(SECTOR, Health::Impacted);
        untold.believe(SUBSCRIBER, Health::Impacted);
        untold.open(TOWER, 1);
        assert_eq!(untold.wrong(), ["untold"].into());

        let mut too_early = Tale::outage();
        too_early.tell(Audience::Engineers, Phase::Resolved);
        assert_eq!(too_early.wrong(), ["resolved"].into());

        let mut stranger = Tale::over();
        stranger.tell(Audience::Technicians, Phase::Resolved);
        assert_eq!(stranger.wrong(), ["resolved"].into());
    }

    #[test]
    fn whoever_is_named_down_must_be_named_up() {
        let mut tale = Tale::outage();
        tale.wait_s(600);
        tale.step(TOWER, What::Mend);
        for thing in [TOWER, SECTOR, SUBSCRIBER] {
            tale.believe(thing, Health::Up);
        }
        let mut incident = tale.incident.clone().unwrap();
        incident.state = IncidentState::Recovering;
        incident.roots[0].down = false;
        incident.impact.subscribers = 0;
        tale.incident_said(IncidentKind::Recovering, incident);
        assert_eq!(tale.wrong(), ["named-up", "roots"].into());
    }

    #[test]
    fn what_is_over_too_soon_or_while_still_broken_is_found() {
        let mut soon = Tale::outage();
        soon.wait_s(600);
        soon.step(TOWER, What::Mend);
        for thing in [TOWER, SECTOR, SUBSCRIBER] {
            soon.believe(thing, Health::Up);
        }
        soon.resolve();
        soon.tell(Audience::Engineers, Phase::Resolved);
        assert_eq!(soon.wrong(), ["hold"].into());

        let mut broken = Tale::outage();
        broken.wait_s(600);
        broken.believe(TOWER, Health::Up);
        broken.wait_s(120);
        broken.resolve();
        broken.tell(Audience::Engineers, Phase::Resolved);
        broken.believe(TOWER, Health::Down);
        assert_eq!(broken.wrong(), ["resolved-false", "roots"].into());
    }

    #[test]
    fn an_incident_is_over_by_what_its_sayer_had_read() {
        let resolved = |had_read_of_it: bool| {
            let mut tale = Tale::outage();
            tale.wait_s(600);
            tale.step(TOWER, What::Mend);
            tale.believe(TOWER, Health::Up);
            tale.wait_s(120);
            let before = tale.bus.log.last().unwrap().heard.seq;
            tale.believe(TOWER, Health::Down);
            tale.resolve();
            let mut said = tale.bus.log.iter_mut().rev();
            let said = said.find(|e| matches!(e.heard.fact, Fact::Incident(_))).unwrap();
            said.knew = if had_read_of_it { said.knew } else { before };
            tale.wrong()
        };
        assert!(resolved(true).contains("hold"));
        assert!(!resolved(false).contains("hold"));
    }

    #[test]
    fn whoever_is_gone_and_not_retired_is_found() {
        let mut tale = Tale::new();
        tale.step(SUBSCRIBER, What::Remove);
        assert_eq!(tale.wrong(), ["retired"].into());

        let mut retired = Tale::new();
        retired.step(SUBSCRIBER, What::Remove);
        let last = retired.bus.last(retired.net.tenant, Noun::Health, retired.net.ids[SUBSCRIBER as usize].0);
        let Fact::Health(mut said) = last.unwrap().heard.fact.clone() else { panic!("no health") };
        said.kind = HealthKind::Retired;
        retired.say(Fact::Health(said));
        assert_eq!(retired.wrong(), [].into());
    }

    #[test]
    fn whoever_is_said_to_flap_and_does_not_is_found() {
        let mut tale = Tale::outage();
        let last = tale.bus.last(tale.net.tenant, Noun::Health, tale.net.ids[TOWER as usize].0);
        let Fact::Health(mut said) = last.unwrap().heard.fact.clone() else { panic!("no health") };
        said.now.flags.push(Flag::Flapping);
        tale.say(Fact::Health(said));
        assert_eq!(tale.wrong(), ["flapping"].into());
    }

    #[test]
    fn a_story_no_incident_can_have_is_found() {
        let mut tale = Tale::over();
        let incident = tale.incident.clone().unwrap();
        tale.incident_said(IncidentKind::Acknowledged, incident);
        assert_eq!(tale.wrong(), ["story"].into());
    }

    #[test]
    fn roots_that_cut_off_the_same_thing_must_be_one_incident() {
        let mut tale = Tale::outage();
        tale.net.world.things[SECTOR as usize].needs = vec![Need::all(&[TOWER, 4])];
        tale.step(4, What::Break { power: true });
        tale.believe(4, Health::Down);
        tale.open(4, 1);
        tale.tell(Audience::Engineers, Phase::Opened);
        assert_eq!(tale.wrong(), ["together"].into());
    }
}
