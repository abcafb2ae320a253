//! Whether incidents name what is broken, together what belongs together, and are over when it works.

use super::{GRACE_US, Judge, ROOTS_LISTED, incident};
use crate::{net::Spell, world::Role};
use events::{
    EvidenceKind, Fact, Health, Incident, IncidentClass, IncidentId, IncidentKind, IncidentState, NodeId,
    Time,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

impl<'a> Judge<'a> {
    pub(super) fn open(&self) -> Vec<&'a Incident> {
        let is_open = |i: &&&Incident| matches!(i.state, IncidentState::Open | IncidentState::Recovering);
        let by_cause = |i: &&&Incident| matches!(i.class, IncidentClass::Outage | IncidentClass::Redundancy);
        self.incidents.values().filter(is_open).filter(by_cause).copied().collect()
    }

    /// The down roots of open incidents are exactly the broken things that nothing else explains.
    pub(super) fn roots(&mut self) {
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
    pub(super) fn roots_of(&self, thing: usize) -> BTreeSet<usize> {
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

    pub(super) fn cut_off(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.net.ids.len()).filter(|i| !self.net.supply.supplied[*i] && !self.net.world.things[*i].absent)
    }

    pub(super) fn incident_of_root(&self, root: usize) -> Option<IncidentId> {
        let id = self.net.ids[root];
        self.open().iter().find(|o| o.roots.iter().any(|r| r.node == id && r.down)).map(|o| o.id)
    }

    /// Roots that cut off the same thing are one incident.
    pub(super) fn togetherness(&mut self) {
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
    pub(super) fn impacts(&mut self) {
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

    pub(super) fn during(spells: &[Spell], thing: usize, from_us: i64, until_us: i64) -> bool {
        spells.iter().any(|s| s.thing as usize == thing && s.from_us <= until_us && s.until_us >= from_us)
    }

    pub(super) fn throughout(spells: &[Spell], thing: usize, from_us: i64, until_us: i64) -> bool {
        spells.iter().any(|s| s.thing as usize == thing && s.from_us <= from_us && s.until_us >= until_us)
    }

    /// Nothing was named as a cause that was not broken, and nothing resolved that still was.
    pub(super) fn falsehoods(&mut self) {
        let net = self.net;
        let mut named: BTreeMap<IncidentId, BTreeSet<NodeId>> = BTreeMap::new();
        let mut unknown: BTreeSet<NodeId> = BTreeSet::new();
        let mut wrong = vec![];
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == net.tenant) {
            if let Fact::Health(said) = &entry.heard.fact {
                if said.now.health == Health::Unknown {
                    unknown.insert(said.now.node);
                } else {
                    unknown.remove(&said.now.node);
                }
            }
            let Some(said) = incident(entry) else { continue };
            if !matches!(said.now.class, IncidentClass::Outage | IncidentClass::Redundancy) {
                continue;
            }
            let at = entry.heard.heard.us();
            // What comes with an incident that is part of another now was named in that.
            let moved = said.now.merged_into.and_then(|_| named.remove(&said.now.id));
            let carrier = said.now.merged_into.unwrap_or(said.now.id);
            let known = named.entry(carrier).or_default();
            known.extend(moved.into_iter().flatten());
            for root in &said.now.roots {
                let Some(thing) = net.by_id.get(&root.node).map(|t| *t as usize) else { continue };
                if !root.down {
                    known.remove(&root.node);
                    continue;
                }
                if !known.insert(root.node) {
                    continue;
                }
                // Of what nothing is known any more its incident is not over; nobody says that it is broken.
                if said.kind == IncidentKind::Relapsed && unknown.contains(&root.node) {
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
    pub(super) fn holds(&mut self) {
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

    /// Reading the incidents again from the beginning gives what stands, byte for byte, and every
    /// incident's story is one that an incident can have.
    pub(super) fn stories(&mut self) {
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
