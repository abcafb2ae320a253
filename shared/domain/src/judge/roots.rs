//! Which nodes cut another off.

use crate::{
    diagnosis::Tenant,
    graph::Index,
    supply::{Own, Supply},
};
use events::{Health, Time};
use std::collections::BTreeSet;

/// Roots named with one node.
const MOST_ROOTS: usize = 16;

impl Tenant {
    /// When the supply of a node last broke: a root may be down for long, and what is between it and the node
    /// may have worked in spite of it until a moment ago.
    pub(super) fn broke_at(&self, index: Index, roots: &[Index]) -> Time {
        let mut last = roots.iter().map(|r| self.since(*r)).max().unwrap_or(Time::EPOCH);
        let (mut seen, mut open) = (BTreeSet::from([index]), vec![index]);
        while let Some(i) = open.pop() {
            for &m in self.network.graph.above(i) {
                let stands = matches!(self.believed(m), Some(Health::Up | Health::Degraded) | None);
                if stands || !self.supply.gives(m).fails() || !seen.insert(m) {
                    continue;
                }
                last = last.max(self.since(m));
                if self.believed(m) != Some(Health::Down) {
                    open.push(m);
                }
            }
        }
        last
    }

    /// The roots that cut a node off when it is not taken for granted itself: in a ring, what is proven alive
    /// feeds those that feed it, and nothing above it seems broken.
    pub(super) fn roots_by_the_map(&self, index: Index) -> Vec<Index> {
        let graph = &self.network.graph;
        if self.supply.own(index) != Own::Proven || graph.knot(graph.rank(index)).is_none() {
            return self.roots_of(index);
        }
        let mut supply = self.supply.clone();
        supply.set(graph, index, Own::Follows);
        supply.settle(graph, &mut |_, _| {});
        self.roots_with(&supply, index)
    }

    /// All nodes believed down on any broken way up.
    pub(super) fn roots_of(&self, index: Index) -> Vec<Index> {
        self.roots_with(&self.supply, index)
    }

    pub(super) fn roots_with(&self, supply: &Supply, index: Index) -> Vec<Index> {
        let (mut roots, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![index];
        while let Some(i) = open.pop() {
            for &m in self.network.graph.above(i) {
                if roots.len() >= MOST_ROOTS || !supply.gives(m).fails() || !seen.insert(m) {
                    continue;
                }
                if self.believed(m) == Some(Health::Down) {
                    roots.insert(m);
                } else {
                    open.push(m);
                }
            }
        }
        roots.into_iter().collect()
    }

    /// The highest nodes that keep it from being supplied: what they need themselves is there.
    pub(super) fn frontier_of(&self, index: Index) -> BTreeSet<Index> {
        let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![index];
        while let Some(i) = open.pop() {
            for &m in self.network.graph.above(i) {
                if found.len() >= MOST_ROOTS || self.supply.gives(m).holds() || !seen.insert(m) {
                    continue;
                }
                if self.believed(m) == Some(Health::Down) || self.supply.of(m).holds() {
                    found.insert(m);
                } else {
                    open.push(m);
                }
            }
        }
        found
    }
}
