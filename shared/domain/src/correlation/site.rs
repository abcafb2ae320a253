//! Whether a site failed as a whole: several of its devices went down together, nothing above them explains it, and none
//! there works.
//!
//! A guess with a confidence of its own, for the people who drive there: roots of one site stay incidents of their own
//! where they share nobody, nobody is told once more because of it, and nothing else is decided by it.

use super::{Out, Tenant, breaks};
use crate::{
    confidence::of_site,
    graph::{Graph, Index},
};
use events::{
    Incident, IncidentId, IncidentKind, IncidentState, NodeId, RootCause, SiteHypothesis, SiteId, Tier, Time,
};
use std::collections::{BTreeMap, BTreeSet};

/// Devices of one site that go down within so long of one another may have gone down together, ms: two of the heartbeats that
/// find a core router dead where the file does not say how often (60 s).
const TOGETHER_MS: i64 = 120_000;

/// The devices of each site that are looked at. What stands at a customer's says nothing of the mast.
pub(super) fn devices_at(graph: &Graph) -> BTreeMap<SiteId, Vec<Index>> {
    let mut devices: BTreeMap<SiteId, Vec<Index>> = BTreeMap::new();
    for index in graph.indexes() {
        let node = graph.node(index).filter(|node| node.tier < Tier::Station && node.is_observable());
        if let Some(site) = node.and_then(|_| graph.site_of(index)) {
            devices.entry(site).or_default().push(index);
        }
    }
    devices
}

impl Tenant {
    /// Of which site it may be that it failed as a whole, when roots of this incident were there: the likeliest.
    pub(super) fn site_hypothesis_of(&self, incident: &Incident) -> Option<Box<SiteHypothesis>> {
        let graph = &self.network.graph;
        let site_of = |root: &RootCause| graph.site_of(graph.index_of(root.node)?);
        let sites: BTreeSet<SiteId> =
            incident.roots.iter().filter(|r| counts(r)).filter_map(site_of).collect();
        let guesses = sites.into_iter().filter_map(|site| self.guess_of(site, incident));
        guesses.max_by_key(|guess| (guess.confidence, guess.site)).map(Box::new)
    }

    /// What is guessed of a site, with the roots of `incident` as they stand there.
    fn guess_of(&self, site: SiteId, incident: &Incident) -> Option<SiteHypothesis> {
        let graph = &self.network.graph;
        let devices = self.devices_at.get(&site)?;
        let others = self.incidents_at(devices).into_iter().filter(|id| *id != incident.id);
        let others = others.filter_map(|id| self.open.get(&id)).flat_map(|(other, _)| &other.roots);
        let roots: BTreeMap<NodeId, Time> =
            incident.roots.iter().chain(others).filter(|r| counts(r)).map(|r| (r.node, r.since)).collect();
        let down_since = |index: &Index| roots.get(&graph.node(*index)?.id).copied();
        // What works there has power.
        if !devices.iter().all(|d| down_since(d).is_some() || self.supply.of(*d).fails()) {
            return None;
        }
        let mut since: Vec<Time> = devices.iter().filter_map(down_since).collect();
        since.sort_unstable();
        let mine = incident.roots.iter().filter(|r| counts(r)).filter_map(|r| graph.index_of(r.node));
        let mine: Vec<Time> =
            mine.filter(|index| devices.contains(index)).filter_map(|i| down_since(&i)).collect();
        let together = largest_together(&since, &mine).filter(|together| together.len() > 1)?;
        let apart_ms = together.last()?.ms_since(*together.first()?);
        let evidence = of_site(together.len(), apart_ms, devices.len());
        let confidence = evidence.iter().map(|e| e.weight).sum();
        let name = graph.site(site)?.name.clone();
        Some(SiteHypothesis { site, name, confidence, evidence })
    }

    /// The open incidents with one of these as a root.
    fn incidents_at(&self, devices: &[Index]) -> BTreeSet<IncidentId> {
        let nodes = devices.iter().filter_map(|index| self.network.graph.node(*index));
        nodes.filter_map(|node| self.root_of.get(&node.id)).copied().collect()
    }

    /// Says of the incidents at sites where a root came what has become likelier. What has become less likely is said with
    /// the next word of them. Returns whether there was room for all of it.
    pub(super) fn look_at_sites(&mut self, out: &mut Out) -> bool {
        while let Some(site) = self.sites_dirty.pop_first() {
            let Some(devices) = self.devices_at.get(&site) else { continue };
            for id in self.incidents_at(devices) {
                let Some((incident, event)) = self.open.get(&id).cloned() else { continue };
                if incident.state != IncidentState::Open || !incident.class.breaks_the_map() {
                    continue;
                }
                let Some(guess) = self.site_hypothesis_of(&incident) else { continue };
                if incident.site_hypothesis.as_ref().is_some_and(|said| said.confidence >= guess.confidence) {
                    continue;
                }
                if out.left() < 1 {
                    self.sites_dirty.insert(site);
                    return false;
                }
                let line = format!("perhaps {} failed as a whole ({} %)", guess.name, guess.confidence);
                self.say(IncidentKind::Changed, incident, event, &line, out);
            }
            // What was said of it just now is no news about it.
            self.sites_dirty.remove(&site);
        }
        true
    }
}

/// Whether a root speaks for its site: it is down itself, and nobody works on it.
fn counts(root: &RootCause) -> bool {
    breaks(root) && !root.quiet
}

/// The most of `since`, which is sorted, that lie within [`TOGETHER_MS`] with one of `mine` among them; of two alike those
/// that lie closer.
fn largest_together<'a>(since: &'a [Time], mine: &[Time]) -> Option<&'a [Time]> {
    let from = |at: usize| {
        let first = since[at];
        let until = since.partition_point(|t| t.ms_since(first) <= TOGETHER_MS);
        &since[at..until]
    };
    let has_mine = |some: &&[Time]| some.iter().any(|t| mine.contains(t));
    let all = (0..since.len()).map(from).filter(has_mine);
    all.max_by_key(|some| (some.len(), std::cmp::Reverse(some[some.len() - 1].ms_since(some[0]))))
}
