//! Where nodes are.
//!
//! A node that names no site is where the first thing is that names one: walking up from it, depth first, in the
//! order in which what it needs is written down, each thing once. So a subscriber is where his antenna is, and not
//! where his sessions end, if the antenna is written first; and it follows from the inventory alone, not from the
//! order in which that was laid down.

use super::{Graph, Index};
use events::{Group, Member, Node, NodeId, SiteId};
use std::collections::BTreeSet;

/// What a node needs, in the order in which it is written: members of a group before those of groups within it.
pub fn ways_up(node: &Node) -> Vec<NodeId> {
    fn of_group(group: &Group, into: &mut Vec<NodeId>) {
        let nodes = group.members.iter().filter_map(|member| match member {
            Member::Node(id) => Some(*id),
            Member::Group(_) => None,
        });
        into.extend(nodes);
        for member in &group.members {
            if let Member::Group(inner) = member {
                of_group(inner, into);
            }
        }
    }
    let mut ways = Vec::new();
    node.needs.iter().for_each(|group| of_group(group, &mut ways));
    ways
}

impl Graph {
    /// Works out where every node is: those that are needed come first.
    pub(super) fn locate(&mut self) {
        let mut order: Vec<Index> = self.indexes().collect();
        order.sort_by_key(|i| self.rank[*i as usize]);
        self.place = vec![None; self.nodes.len()];
        for i in order {
            self.place[i as usize] = self.named_by(i).or_else(|| match self.above(i) {
                _ if self.knots.contains_key(&self.rank(i)) => self.first_named_above(i),
                // Most need one other: no order is looked up.
                [] => None,
                [one] => self.site_of(*one),
                _ => self.ways_of(i).find_map(|above| self.site_of(above)),
            });
        }
    }

    fn named_by(&self, index: Index) -> Option<SiteId> {
        self.node(index)?.site
    }

    fn ways_of(&self, index: Index) -> impl DoubleEndedIterator<Item = Index> + '_ {
        let ways = self.node(index).map(|node| ways_up(node)).unwrap_or_default();
        // A group with a gap in it is passed over, as everywhere.
        let is_needed = move |i: &Index| self.above(index).binary_search(i).is_ok();
        ways.into_iter().filter_map(|id| self.index_of(id)).filter(is_needed)
    }

    /// The same of one in a ring, where no member can take the answer of another: each walks by itself, until it
    /// comes to what lies above the ring.
    fn first_named_above(&self, from: Index) -> Option<SiteId> {
        let (mut seen, mut open) = (BTreeSet::from([from]), Vec::from_iter(self.ways_of(from).rev()));
        while let Some(i) = open.pop() {
            if !seen.insert(i) {
                continue;
            }
            if self.rank(i) < self.rank(from) {
                if let Some(known) = self.site_of(i) {
                    return Some(known);
                }
            } else if let Some(named) = self.named_by(i) {
                return Some(named);
            } else {
                open.extend(self.ways_of(i).rev());
            }
        }
        None
    }

    /// The site where a node is: the one it names itself, or the first that is named above it.
    pub fn site_of(&self, index: Index) -> Option<SiteId> {
        self.place.get(index as usize).copied().flatten()
    }
}
