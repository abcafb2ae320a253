//! Whether people hear of sessions that many subscribers of one living thing lost together, and only of those.

use super::{GRACE_US, Judge, incident};
use crate::net::Spell;
use events::{Fact, Health, IncidentClass, IncidentId, IncidentKind, IncidentState, NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};

/// They are lost together when they are found to be within so long, microseconds.
const TOGETHER_US: i64 = 120_000_000;
/// Sessions that end within so long are found to have ended together, whatever a router takes to notice each.
const AT_ONCE_US: i64 = 20_000_000;
/// Their routers are asked at most so long before people hear of it: a roll call's deadline, and what was seen a
/// moment before that, microseconds.
const LOOKED_US: i64 = 30_000_000;
/// As long as one thing is looked at because of one doubt, three times for six seconds each, microseconds.
const UNSEEN_US: i64 = 18_000_000;
/// So long they must be gone before people must have heard, microseconds.
const GONE_US: i64 = 240_000_000;
/// Whoever was away so lately, or below something that was, may not count as having worked.
const SETTLED_US: i64 = 600_000_000;

/// How many of so many make an incident.
fn enough(of: usize) -> usize {
    (of as f64 / 5.0).ceil().max(5.0) as usize
}

/// Whether so many of these moments lie within so long of each other.
fn crowd(mut moments: Vec<i64>, many: usize, within_us: i64) -> Option<i64> {
    moments.sort_unstable();
    moments.windows(many.max(1)).find(|w| w[w.len() - 1] - w[0] <= within_us).map(|w| w[0])
}

impl Judge<'_> {
    pub(super) fn sessions(&mut self) {
        let told = self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant).filter_map(incident);
        let any = told.into_iter().any(|said| said.now.class == IncidentClass::SessionsLost);
        let exact = self.net.undisturbed && self.net.revision == 1;
        if !any && !exact {
            return;
        }
        let below: Vec<Vec<usize>> = (0..self.net.ids.len() as u32)
            .map(|i| self.net.world.subscribers_below(i))
            .map(|all| all.into_iter().map(|s| s as usize).collect())
            .collect();
        self.false_losses(&below);
        self.losses_that_stand(&below);
        if exact {
            self.losses_untold(&below);
        }
    }

    /// What is said to have been lost was: below something that worked, by that many who had worked, together.
    fn false_losses(&mut self, below: &[Vec<usize>]) {
        let mut worked: BTreeMap<NodeId, bool> = BTreeMap::new();
        let mut fell: BTreeMap<NodeId, Vec<i64>> = BTreeMap::new();
        let mut lost: BTreeMap<IncidentId, bool> = BTreeMap::new();
        let mut wrong = vec![];
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            if let Fact::Health(said) = &entry.heard.fact {
                // Of whom nothing is known for a while, it is known still that it worked before.
                let (node, health) = (said.now.node, said.now.health);
                let worked = match health {
                    Health::Up | Health::Degraded => worked.insert(node, true),
                    Health::Unknown => None,
                    Health::Down | Health::Impacted => worked.insert(node, false),
                };
                if worked == Some(true) && health == Health::Down {
                    fell.entry(node).or_default().push(said.now.since.us());
                }
            }
            let Some(said) = incident(entry).filter(|said| said.now.class == IncidentClass::SessionsLost)
            else {
                continue;
            };
            let stands = said.now.state == IncidentState::Open && said.now.roots.iter().any(|r| r.down);
            let stood = lost.insert(said.now.id, stands).unwrap_or(false);
            if !stands || stood || self.net.revision != 1 {
                continue;
            }
            let (seq, at) = (entry.heard.seq, entry.heard.heard.us());
            let [root] = said.now.roots.as_slice() else {
                wrong.push(format!("seq {seq}: `{}` has {} roots", said.now.title, said.now.roots.len()));
                continue;
            };
            let Some(thing) = self.net.by_id.get(&root.node).map(|t| *t as usize) else { continue };
            let below = &below[thing];
            let many = said.now.impact.subscribers as usize;
            if root.subscribers_below != Some(below.len() as u32) || many < enough(below.len()) {
                wrong.push(format!("seq {seq}: `{}`: {} hang below it", said.now.title, below.len()));
            }
            if Self::throughout(&self.net.dark, thing, at - GRACE_US, at) {
                wrong.push(format!("seq {seq}: `{}` and it does not work", said.now.title));
            }
            // Where words get lost, nobody may have heard of those who came back since the first of them fell. Their
            // routers were asked: where answers arrive, whoever is back with them does not count.
            let unheard_us = if self.net.undisturbed { 0 } else { TOGETHER_US };
            let from = at - GRACE_US - unheard_us;
            let is_in = |spells: &[Spell], s: &usize, from| Self::during(spells, *s, from, at);
            let looked = at - LOOKED_US;
            let is_back = |s: &usize| {
                self.net.answers && !is_in(&self.net.roots, s, looked) && !is_in(&self.net.gone, s, looked)
            };
            // Where looks get lost, what was away so shortly may not have been found silent by any.
            let unseen = |s: &usize| !self.net.answers && is_in(&self.briefly_dark(UNSEEN_US), s, from);
            let lost = |s: &&usize| (is_in(&self.net.roots, s, from) || unseen(s)) && !is_back(s);
            let gone = below.iter().filter(lost).count();
            if gone < many {
                wrong.push(format!("seq {seq}: `{}` and {gone} of them are gone", said.now.title));
            }
            let times = below.iter().filter_map(|s| fell.get(&self.net.ids[*s])).flatten().copied();
            if crowd(times.collect(), enough(below.len()), TOGETHER_US).is_none() {
                wrong.push(format!("seq {seq}: `{}` and not together", said.now.title));
            }
            if self.net.undisturbed {
                let spells = self.net.roots.iter().filter(|s| below.contains(&(s.thing as usize)));
                let began = spells.map(|s| s.from_us).filter(|from| *from <= at);
                if crowd(began.collect(), enough(below.len()), TOGETHER_US + GRACE_US).is_none() {
                    wrong.push(format!("seq {seq}: `{}` and they did not break together", said.now.title));
                }
            }
        }
        for what in wrong {
            self.fail("sessions-false", what);
        }
    }

    /// When what worked again within so long did not work.
    fn briefly_dark(&self, most_us: i64) -> Vec<Spell> {
        self.net.dark.iter().filter(|s| s.until_us - s.from_us <= most_us).cloned().collect()
    }

    /// What is said to be lost still, in the end, is; and it is not over while all of them are gone.
    fn losses_that_stand(&mut self, below: &[Vec<usize>]) {
        let mut wrong = vec![];
        for said in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant).filter_map(incident) {
            let now = &said.now;
            let over = said.kind == IncidentKind::Resolved && now.ended_because.is_none();
            if now.class != IncidentClass::SessionsLost || !over || !self.net.undisturbed {
                continue;
            }
            let Some(thing) = now.roots.first().and_then(|r| self.net.by_id.get(&r.node)) else { continue };
            let (from, until) = (now.opened_at.us(), now.ended_at.unwrap_or(now.opened_at).us());
            let of_it = |s: &&usize| {
                let spells = self.net.roots.iter().filter(|spell| spell.thing as usize == **s);
                let mut fell = spells.filter(|s| (from - AT_ONCE_US..=from).contains(&s.from_us));
                fell.any(|s| s.until_us > until)
            };
            let all = &below[*thing as usize];
            let gone = all.iter().filter(of_it).count();
            if self.net.revision == 1 && gone >= enough(all.len()) {
                wrong.push(format!("`{}` is over and {gone} of them are broken", now.title));
            }
        }
        for now in self.incidents.values().filter(|i| i.class == IncidentClass::SessionsLost) {
            let Some(root) = now.roots.first() else { continue };
            let Some(thing) = self.net.by_id.get(&root.node).map(|t| *t as usize) else { continue };
            let gone = below[thing].iter().filter(|s| self.is_root(**s)).count();
            let few = gone < enough(below[thing].len()) || !self.net.supply.works[thing];
            if now.state == IncidentState::Open && few {
                wrong.push(format!("`{}` is open and {gone} of them are broken", now.title));
            }
        }
        for what in wrong {
            self.fail("sessions-end", what);
        }
    }

    /// When many below a working thing broke together and stayed so, there was an incident about some of them.
    fn losses_untold(&mut self, below: &[Vec<usize>]) {
        let mut told: BTreeMap<IncidentId, (usize, i64, i64)> = BTreeMap::new();
        let mut works: BTreeMap<NodeId, Vec<(i64, bool)>> = BTreeMap::new();
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            if let Fact::Health(said) = &entry.heard.fact {
                let up = matches!(said.now.health, Health::Up | Health::Degraded);
                works.entry(said.now.node).or_default().push((entry.heard.heard.us(), up));
            }
            let Some(said) = incident(entry).filter(|said| said.now.class == IncidentClass::SessionsLost)
            else {
                continue;
            };
            let Some(thing) = said.now.roots.first().and_then(|r| self.net.by_id.get(&r.node)) else {
                continue;
            };
            let (from, until) = (said.now.opened_at.us(), said.now.ended_at.map_or(i64::MAX, Time::us));
            told.insert(said.now.id, (*thing as usize, from, until));
        }
        let up_before = |s: usize, at: i64| {
            let said = works.get(&self.net.ids[s]).map(Vec::as_slice).unwrap_or_default();
            said[..said.partition_point(|(t, _)| *t < at)].last().is_some_and(|(_, up)| *up)
        };
        let mut untold = vec![];
        for thing in (0..below.len()).filter(|t| below[*t].len() >= enough(0)) {
            let counts = |from_us: i64, until_us: i64, s: usize| {
                let before = from_us - SETTLED_US;
                until_us.saturating_sub(from_us) >= GONE_US
                    && up_before(s, from_us)
                    && !Self::during(&self.net.dark, s, before, from_us - 1)
                    && !Self::during(&self.net.dark, thing, before, from_us + GONE_US)
            };
            let spells = self.net.roots.iter().filter(|s| below[thing].contains(&(s.thing as usize)));
            let spells = spells.filter(|s| s.from_us + GONE_US <= self.now.us());
            let lost: Vec<_> = spells.filter(|s| counts(s.from_us, s.until_us, s.thing as usize)).collect();
            let times = lost.iter().map(|s| s.from_us).collect();
            let Some(at) = crowd(times, enough(below[thing].len()), AT_ONCE_US) else { continue };
            let these: BTreeSet<usize> = lost.iter().map(|s| s.thing as usize).collect();
            let about = |(of, from, until): &(usize, i64, i64)| {
                *from <= at + GONE_US && *until >= at && below[*of].iter().any(|s| these.contains(s))
            };
            if !told.values().any(about) {
                untold.push(format!(
                    "{} of {} below {} broke together and no incident says so",
                    these.len(),
                    below[thing].len(),
                    self.name(thing)
                ));
            }
        }
        for what in untold {
            self.fail("sessions-untold", what);
        }
    }
}
