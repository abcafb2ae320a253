//! The dependency graph of one tenant: who needs whom.
//!
//! Nodes have small, stable indexes: a node keeps its index for as long as it exists, and an
//! index is never given to another node. Edges, ranks and rings are worked out again with every
//! revision of the inventory.
//!
//! Rings are legal. Nodes that need each other lie in one *knot* (a strongly connected component)
//! and share a rank; a rank is always greater than the ranks of everything needed.

mod edges;
mod place;

pub use place::ways_up;

use edges::Edges;
use events::{ClaimKey, Group, GroupMode, Member, Node, NodeId, Site, SiteId, Tier};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A node's index.
pub type Index = u32;

/// What a node needs, compiled to indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// That node gives.
    Of(Index),
    /// At least so many of them give. `any` is 1, `all` is their number.
    AtLeast(u32, Box<[Need]>),
}

/// Why a change of the inventory is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A group names something that this tenant does not have.
    #[error("`{node}` needs {member}, which this network does not have")]
    UnknownMember {
        /// Who needs it.
        node: String,
        /// What it needs.
        member: NodeId,
    },
    /// With everything up it would still not be supplied.
    #[error("`{node}` could never work: with everything up, nothing feeds {}", path.join(" → "))]
    NeverSupplied {
        /// Who.
        node: String,
        /// The way up along which nothing feeds it; the last one closes a ring or lacks members.
        path: Vec<String>,
    },
    /// More members must be up than there are.
    #[error("`{node}` needs {k} of {members} members")]
    TooMany {
        /// Who.
        node: String,
        /// How many it asks for.
        k: u16,
        /// How many there are.
        members: usize,
    },
}

/// The dependency graph of one tenant.
#[derive(Debug, Default, Clone)]
pub struct Graph {
    ids: BTreeMap<NodeId, Index>,
    nodes: Vec<Option<Arc<Node>>>,
    sites: BTreeMap<SiteId, Site>,
    claims: BTreeMap<ClaimKey, Index>,
    needs: Vec<Box<[Need]>>,
    above: Edges,
    below: Edges,
    sees: Edges,
    rank: Vec<u32>,
    knots: BTreeMap<u32, Vec<Index>>,
    redundant: Vec<bool>,
    place: Vec<Option<SiteId>>,
}

impl Graph {
    /// Puts a node in, or in the place of the one with the same id. Takes effect with [`Graph::knit`].
    pub fn put(&mut self, node: impl Into<Arc<Node>>) -> Index {
        let node = node.into();
        let index = *self.ids.entry(node.id).or_insert_with(|| {
            self.nodes.push(None);
            (self.nodes.len() - 1) as Index
        });
        self.nodes[index as usize] = Some(node);
        index
    }

    /// Takes a node out. Takes effect with [`Graph::knit`].
    pub fn take(&mut self, id: NodeId) -> Option<Index> {
        let index = self.ids.remove(&id)?;
        self.nodes[index as usize] = None;
        Some(index)
    }

    /// Puts a site in.
    pub fn put_site(&mut self, site: Site) {
        self.sites.insert(site.id, site);
    }

    /// Takes a site out.
    pub fn take_site(&mut self, id: SiteId) {
        self.sites.remove(&id);
    }

    /// Works out edges, ranks and rings from the nodes as they are now.
    ///
    /// Members that the network does not have are passed over: a gap in the map never suppresses anything.
    pub fn knit(&mut self) {
        let n = self.nodes.len();
        self.needs = Vec::with_capacity(n);
        self.above = Edges::default();
        self.redundant = vec![false; n];
        self.claims.clear();
        let mut seen = Vec::new();
        for i in 0..n {
            let Some(node) = self.nodes[i].clone() else {
                self.needs.push(Box::default());
                self.above.push([]);
                continue;
            };
            let needs: Box<[Need]> = node.needs.iter().filter_map(|g| self.compile(g)).collect();
            let mut members = BTreeSet::new();
            needs.iter().for_each(|need| members_of(need, &mut members));
            self.redundant[i] = needs.iter().any(has_slack);
            self.needs.push(needs);
            self.above.push(members);
            if let Some(router) = node.seen_by.and_then(|id| self.ids.get(&id)) {
                seen.push((*router, i as Index));
            }
            for key in &node.claims {
                self.claims.insert(*key, i as Index);
            }
        }
        self.above.shrink();
        self.below = Edges::of_pairs(n, self.above.pairs().map(|(from, to)| (to, from)));
        self.sees = Edges::of_pairs(n, seen.into_iter());
        self.order();
        self.locate();
    }

    fn compile(&self, group: &Group) -> Option<Need> {
        let known: Vec<Need> = group
            .members
            .iter()
            .filter_map(|m| match m {
                Member::Node(id) => self.ids.get(id).map(|i| Need::Of(*i)),
                Member::Group(g) => self.compile(g),
            })
            .collect();
        let gaps = group.members.len() - known.len();
        let k = match group.mode {
            GroupMode::Any if gaps > 0 => 0,
            GroupMode::Any => 1,
            GroupMode::All => known.len(),
            GroupMode::KOfN { k } => usize::from(k).saturating_sub(gaps),
        };
        match (k, known.as_slice()) {
            (0, _) | (_, []) => None,
            // Most nodes need one other: said without a list.
            (1, [one]) => Some(one.clone()),
            _ => Some(Need::AtLeast(k as u32, known.into())),
        }
    }

    /// Tarjan's algorithm, without recursion: knots come out with what they need first.
    fn order(&mut self) {
        let n = self.nodes.len();
        self.rank = vec![0; n];
        self.knots.clear();
        const UNSEEN: u32 = u32::MAX;
        let (mut found, mut low) = (vec![UNSEEN; n], vec![0u32; n]);
        let (mut stack, mut on_stack) = (Vec::new(), vec![false; n]);
        let (mut next, mut rank) = (0u32, 0u32);
        for start in 0..n {
            if found[start] != UNSEEN || self.nodes[start].is_none() {
                continue;
            }
            let mut way: Vec<(usize, usize)> = vec![(start, 0)];
            while let Some(&mut (v, ref mut edge)) = way.last_mut() {
                if found[v] == UNSEEN {
                    found[v] = next;
                    low[v] = next;
                    next += 1;
                    stack.push(v);
                    on_stack[v] = true;
                }
                if let Some(&w) = self.above.of(v as Index).get(*edge) {
                    *edge += 1;
                    let w = w as usize;
                    if found[w] == UNSEEN {
                        way.push((w, 0));
                    } else if on_stack[w] {
                        low[v] = low[v].min(found[w]);
                    }
                    continue;
                }
                way.pop();
                if let Some(&(parent, _)) = way.last() {
                    low[parent] = low[parent].min(low[v]);
                }
                if low[v] == found[v] {
                    let mut knot = Vec::new();
                    while let Some(w) = stack.pop() {
                        on_stack[w] = false;
                        self.rank[w] = rank;
                        knot.push(w as Index);
                        if w == v {
                            break;
                        }
                    }
                    if knot.len() > 1 || self.above.of(v as Index).contains(&(v as Index)) {
                        knot.sort_unstable();
                        self.knots.insert(rank, knot);
                    }
                    rank += 1;
                }
            }
        }
    }

    /// How many indexes were ever given: all vectors by index have this length.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there never was a node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The indexes of all nodes there are.
    pub fn indexes(&self) -> impl Iterator<Item = Index> + '_ {
        self.nodes.iter().enumerate().filter(|(_, n)| n.is_some()).map(|(i, _)| i as Index)
    }

    /// The index of a node.
    pub fn index_of(&self, id: NodeId) -> Option<Index> {
        self.ids.get(&id).copied()
    }

    /// The node whose session is claimed under `key`.
    pub fn index_of_claim(&self, key: ClaimKey) -> Option<Index> {
        self.claims.get(&key).copied()
    }

    /// The node at an index, if it still exists.
    pub fn node(&self, index: Index) -> Option<&Arc<Node>> {
        self.nodes.get(index as usize)?.as_ref()
    }

    /// A site.
    pub fn site(&self, id: SiteId) -> Option<&Site> {
        self.sites.get(&id)
    }

    /// Where a node is, as the inventory describes that site.
    pub fn place_of(&self, index: Index) -> Option<&Site> {
        self.site_of(index).and_then(|id| self.sites.get(&id))
    }

    /// What a node needs: every one of these.
    pub fn needs(&self, index: Index) -> &[Need] {
        &self.needs[index as usize]
    }

    /// The members of all its groups.
    pub fn above(&self, index: Index) -> &[Index] {
        self.above.of(index)
    }

    /// The nodes that have it as a member.
    pub fn below(&self, index: Index) -> &[Index] {
        self.below.of(index)
    }

    /// The nodes it sees: whose netwatch entries and sessions it holds.
    pub fn sees(&self, index: Index) -> &[Index] {
        self.sees.of(index)
    }

    /// Its place in the order: greater than that of everything it needs, except in a ring.
    pub fn rank(&self, index: Index) -> u32 {
        self.rank[index as usize]
    }

    /// The ring of that rank, if it is one.
    pub fn knot(&self, rank: u32) -> Option<&[Index]> {
        self.knots.get(&rank).map(Vec::as_slice)
    }

    /// Whether one of its groups can lose a member and still hold.
    pub fn is_redundant(&self, index: Index) -> bool {
        self.redundant[index as usize]
    }

    /// Everything a node needs, directly or not, in no particular order; itself not, unless it lies in a ring.
    pub fn all_above(&self, index: Index) -> BTreeSet<Index> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Index> = self.above(index).to_vec();
        while let Some(i) = open.pop() {
            if found.insert(i) {
                open.extend(self.above(i));
            }
        }
        found.remove(&index);
        found
    }

    /// How many subscribers hang directly below a node.
    pub fn subscribers_below(&self, index: Index) -> usize {
        self.below(index)
            .iter()
            .filter(|i| self.node(**i).is_some_and(|n| n.tier == Tier::Subscriber))
            .count()
    }

    /// Whether an outage of this node is an incident of its own: a subscriber's never is, nor that of
    /// a station that serves one.
    pub fn opens_incidents(&self, index: Index) -> bool {
        match self.node(index).map(|n| n.tier) {
            Some(Tier::Core | Tier::Site | Tier::Sector) => true,
            Some(Tier::Station) => self.subscribers_below(index) > 1,
            Some(Tier::Subscriber) | None => false,
        }
    }

    /// What is wrong with this graph; empty when it may be used. At most 50 problems.
    pub fn problems(&self) -> Vec<Problem> {
        const MOST: usize = 50;
        let mut problems = Vec::new();
        for i in self.indexes() {
            let Some(node) = self.node(i) else { continue };
            node.needs.iter().for_each(|g| self.check_group(&node.file_id, g, &mut problems));
        }
        if problems.is_empty() {
            let supply = crate::supply::Supply::new(self);
            for i in self.indexes().filter(|i| !supply.of(*i).holds()) {
                problems
                    .push(Problem::NeverSupplied { node: self.called(i), path: self.hungry_way(i, &supply) });
                if problems.len() >= MOST {
                    break;
                }
            }
        }
        problems.truncate(MOST);
        problems
    }

    fn check_group(&self, node: &str, group: &Group, problems: &mut Vec<Problem>) {
        if let GroupMode::KOfN { k } = group.mode
            && usize::from(k) > group.members.len()
        {
            problems.push(Problem::TooMany { node: node.to_owned(), k, members: group.members.len() });
        }
        for member in &group.members {
            match member {
                Member::Node(id) if !self.ids.contains_key(id) => {
                    problems.push(Problem::UnknownMember { node: node.to_owned(), member: *id });
                }
                Member::Node(_) => {}
                Member::Group(g) => self.check_group(node, g, problems),
            }
        }
    }

    fn called(&self, index: Index) -> String {
        self.node(index).map(|n| n.file_id.clone()).unwrap_or_default()
    }

    fn hungry_way(&self, from: Index, supply: &crate::supply::Supply) -> Vec<String> {
        let (mut way, mut seen, mut at) = (vec![self.called(from)], BTreeSet::from([from]), from);
        while let Some(next) = self.above(at).iter().copied().find(|m| !supply.gives(*m).holds()) {
            way.push(self.called(next));
            if !seen.insert(next) {
                break;
            }
            at = next;
        }
        way
    }
}

fn members_of(need: &Need, into: &mut BTreeSet<Index>) {
    match need {
        Need::Of(i) => {
            into.insert(*i);
        }
        Need::AtLeast(_, members) => members.iter().for_each(|m| members_of(m, into)),
    }
}

fn has_slack(need: &Need) -> bool {
    match need {
        Need::Of(_) => false,
        Need::AtLeast(k, members) => (*k as usize) < members.len() || members.iter().any(has_slack),
    }
}
