//! Whether people are told once, and those who were told the end of it too.

use super::{GRACE_US, Judge, ROOTS_LISTED};
use crate::net::Spell;
use events::{
    Audience, ChannelId, Fact, Flag, Incident, IncidentClass, IncidentId, IncidentState, NodeId, Phase, Tier,
};
use std::collections::{BTreeMap, BTreeSet};

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

/// Whom an incident of `tier` concerns.
fn audience_of(tier: Tier) -> Option<Audience> {
    match tier {
        Tier::Core | Tier::Site => Some(Audience::Engineers),
        Tier::Sector | Tier::Station => Some(Audience::Technicians),
        Tier::Subscriber => None,
    }
}

impl Judge<'_> {
    /// The incident that carries `id` in the end.
    pub(super) fn carrier(&self, id: IncidentId) -> IncidentId {
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
    pub(super) fn announcements(&mut self) {
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
                // An update may overtake the beginning, which does not leave any more then: they were told.
                Phase::Changed => _ = ears.entry(carrier).or_default().insert(ear),
                Phase::Escalated => {}
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

    pub(super) fn in_maintenance(&self, thing: usize, at_us: i64) -> bool {
        let start = self.bus.log.first().map_or(0, |entry| entry.heard.heard.us());
        self.net.world.things[thing].maintenance.is_some_and(|(from, until)| {
            let second = (at_us - start) / 1_000_000;
            second >= i64::from(from) && second < i64::from(until)
        })
    }

    /// Whoever an outage concerns has been told of it, unless it was over at once.
    pub(super) fn must_be_told(&mut self, incident: &Incident, told: &BTreeSet<(Audience, ChannelId)>) {
        let urges = matches!(incident.class, IncidentClass::Outage | IncidentClass::SessionsLost);
        if !urges || incident.roots.len() >= ROOTS_LISTED {
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
    pub(super) fn once_per_spell(&mut self) {
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

    /// What goes down again and again is announced few times, and nothing else is said to flap. What a
    /// higher cause came to explain is over with that: what falls after it is announced anew, and so is what
    /// was broken before it and is broken still. That is no further failure: they are counted, and not the words.
    pub(super) fn flaps(&mut self) {
        let mut begins: BTreeMap<(NodeId, Audience, ChannelId), BTreeSet<i64>> = BTreeMap::new();
        for told in self.told.values().filter(|told| told.notice.phase == Phase::Opened) {
            let notice = told.notice;
            let merged = self.incidents.get(&notice.incident).is_some_and(|i| i.merged_into.is_some());
            let of_sessions = notice.about.class == IncidentClass::SessionsLost;
            let first = notice.about.roots.first().filter(|_| !merged && !of_sessions);
            let Some(first) = first else { continue };
            let failed_at = self.failure_before(first.node, notice.at.us());
            begins.entry((first.node, notice.audience, notice.channel)).or_default().insert(failed_at);
        }
        let mut wrong = vec![];
        for ((node, audience, _), times) in begins {
            let times: Vec<i64> = times.into_iter().collect();
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

    /// When what is announced at `at_us` broke; that moment itself of what did not break.
    fn failure_before(&self, node: NodeId, at_us: i64) -> i64 {
        let Some(thing) = self.net.by_id.get(&node) else { return at_us };
        let broke = self.net.broke.iter().filter(|s| s.thing == *thing && s.from_us <= at_us);
        broke.map(|s| s.from_us).max().unwrap_or(at_us)
    }
}
