//! Whether a site failed as a whole: several of its devices went down together, nothing above them explains it, and none
//! there works.
//!
//! A guess with a confidence of its own, for the people who drive there: roots of one site stay incidents of their own
//! where they share nobody, nobody is told once more because of it, and nothing else is decided by it. It follows from what
//! stands open and from the map alone, so it is the same after a start.

use super::{Out, Tenant, breaks};
use crate::{
    confidence::of_site,
    graph::{Graph, Index},
};
use events::{
    Evidence, Incident, IncidentId, IncidentKind, IncidentState, NodeId, RootCause, SiteHypothesis, SiteId,
    Tier, Time,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

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

/// What went down at one site and may have gone down with it.
#[derive(Default)]
struct Fallen {
    /// Since when each is down.
    since: BTreeMap<NodeId, Time>,
    /// The incidents they are roots of.
    of: BTreeSet<IncidentId>,
}

impl Tenant {
    /// Says of every incident what has become of the guess about its site, if anything was said of incidents or the map
    /// changed. Returns whether there was room for all of it.
    pub(super) fn look_at_sites(&mut self, out: &mut Out) -> bool {
        if !std::mem::take(&mut self.sites_stale) {
            return true;
        }
        let guesses = self.guesses();
        let is_open = |i: &Incident| i.state == IncidentState::Open && i.class.breaks_the_map();
        let open = self.open.iter().filter(|(_, (incident, _))| is_open(incident));
        let news: Vec<IncidentId> = open
            .filter(|(id, (incident, _))| incident.site_hypothesis.as_deref() != guesses.get(id))
            .map(|(id, _)| *id)
            .collect();
        for id in news {
            if out.left() < 1 {
                self.sites_stale = true;
                return false;
            }
            let (mut incident, event) = self.open[&id].clone();
            let before = incident.site_hypothesis.take();
            incident.site_hypothesis = guesses.get(&id).cloned().map(Box::new);
            let line = match (&incident.site_hypothesis, before) {
                (Some(guess), _) => {
                    format!("perhaps {} failed as a whole ({} %)", guess.name, guess.confidence)
                }
                (None, Some(said)) => format!("{} as a whole is not suspected any more", said.name),
                (None, None) => continue,
            };
            self.say(IncidentKind::Changed, incident, event, &line, out);
        }
        // What was said of them just now changes nothing of it.
        self.sites_stale = false;
        true
    }

    /// The likeliest guess for each incident with a root at a site that may have failed as a whole.
    fn guesses(&self) -> BTreeMap<IncidentId, SiteHypothesis> {
        let mut guesses: BTreeMap<IncidentId, SiteHypothesis> = BTreeMap::new();
        for (site, fallen) in self.fallen_at_sites() {
            let Some(guess) = self.guess_of(site, &fallen) else { continue };
            for id in fallen.of {
                let known = guesses.get(&id);
                if known.is_none_or(|known| (known.confidence, known.site) < (guess.confidence, site)) {
                    guesses.insert(id, guess.clone());
                }
            }
        }
        guesses
    }

    /// What speaks for the failing of each site: roots of open incidents that nothing above explains.
    fn fallen_at_sites(&self) -> BTreeMap<SiteId, Fallen> {
        let graph = &self.network.graph;
        let mut fallen: BTreeMap<SiteId, Fallen> = BTreeMap::new();
        let open = self.open.iter().filter(|(_, (incident, _))| incident.state == IncidentState::Open);
        for (id, (incident, _)) in open {
            for root in incident.roots.iter().filter(|root| counts(root)) {
                let Some(index) = graph.index_of(root.node) else { continue };
                if let Some(site) = graph.site_of(index).filter(|_| !self.supply.of(index).fails()) {
                    let at = fallen.entry(site).or_default();
                    at.since.insert(root.node, root.since);
                    at.of.insert(*id);
                }
            }
        }
        fallen
    }

    fn guess_of(&self, site: SiteId, fallen: &Fallen) -> Option<SiteHypothesis> {
        let devices = self.devices_at.get(&site)?;
        if fallen.since.len() < 2 || devices.iter().any(|device| self.works(*device)) {
            return None;
        }
        let graph = &self.network.graph;
        let looked_at = |device: &Index| fallen.since.get(&graph.node(*device)?.id).copied();
        let mut since: Vec<Time> = devices.iter().filter_map(looked_at).collect();
        since.sort_unstable();
        let together = most_together(&since).filter(|together| together.len() > 1)?;
        let apart_ms = together.last()?.ms_since(*together.first()?);
        let evidence = of_site(together.len(), apart_ms, devices.len());
        let confidence = Evidence::confidence(&evidence);
        let name = graph.site(site)?.name.clone();
        Some(SiteHypothesis { site, name, confidence, evidence })
    }

    /// Whether nothing speaks against a device: it is no root that is down, whatever else is thought of that, and not cut off.
    fn works(&self, device: Index) -> bool {
        let Some(node) = self.network.graph.node(device) else { return false };
        let incident = self.root_of.get(&node.id).and_then(|id| self.open.get(id));
        let is_root = incident.is_some_and(|(i, _)| i.roots.iter().any(|r| r.node == node.id && breaks(r)));
        !is_root && !self.carried.contains_key(&node.id) && !self.supply.of(device).fails()
    }
}

/// Whether a root speaks for its site: it is down, nobody works on it, and it does not come and go.
fn counts(root: &RootCause) -> bool {
    breaks(root) && !root.quiet && !root.flapping
}

/// The most of `since`, which is sorted, that lie within [`TOGETHER_MS`]; of two alike those that lie closer.
fn most_together(since: &[Time]) -> Option<&[Time]> {
    let from = |at: usize| {
        let first = since[at];
        let until = since.partition_point(|t| t.ms_since(first) <= TOGETHER_MS);
        &since[at..until]
    };
    let apart_ms = |some: &[Time]| some[some.len() - 1].ms_since(some[0]);
    (0..since.len()).map(from).max_by_key(|some| (some.len(), Reverse(apart_ms(some))))
}
