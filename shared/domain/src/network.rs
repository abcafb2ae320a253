//! One tenant's inventory as a decider knows it: graph, policy and channels of the last revision.
//!
//! Things are staged until the revision that names them; so nobody ever decides on half a change.

use crate::graph::{Graph, Index};
use events::{
    About, Channel, ChannelId, ClaimKey, Fact, Heard, Inventory, NodeId, Policy, RevisionSource, Tenant, Time,
};
use std::collections::BTreeMap;

/// What a revision changed, for those who keep something by index.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Nodes that are new or other than before.
    pub put: Vec<Index>,
    /// Nodes that are gone.
    pub taken: Vec<(Index, NodeId)>,
    /// Nodes that came, or that are looked at in another way than before: what looks at them showed tells nothing.
    pub seen_anew: Vec<Index>,
}

/// One tenant's inventory.
#[derive(Debug, Default, Clone)]
pub struct Network {
    /// The dependency graph, and the sites.
    pub graph: Graph,
    /// How long things are held.
    pub policy: Policy,
    /// How people are reached.
    pub channels: BTreeMap<ChannelId, Channel>,
    /// What the tenant is called.
    pub tenant: Option<Tenant>,
    /// The number of the last revision.
    pub revision: u64,
    /// When it was heard.
    pub revised_at: Time,
    revised_seq: u64,
    /// Of each node, from which place in the log on a look at it counts.
    known_from: Vec<u64>,
    /// Of each node, after which place in the log it came.
    came_at: Vec<u64>,
    /// Of each session key, after which place in the log it became its node's.
    keyed_at: BTreeMap<ClaimKey, u64>,
    changes: Option<Changes>,
    staged: Vec<Inventory>,
    parts: BTreeMap<String, BTreeMap<u32, Vec<Inventory>>>,
    without_nodes: bool,
}

impl Network {
    /// One that passes nodes and sites over, for who asks only about policy and channels.
    pub fn without_nodes() -> Self {
        Self { without_nodes: true, ..Self::default() }
    }

    fn keeps(&self, thing: &Inventory) -> bool {
        match thing {
            Inventory::Tenant(_)
            | Inventory::Policy(_)
            | Inventory::Channel(_)
            | Inventory::ChannelRemoved { .. } => true,
            Inventory::Site(_)
            | Inventory::SiteRemoved { .. }
            | Inventory::Node(_)
            | Inventory::NodeRemoved { .. } => !self.without_nodes,
        }
    }

    /// Takes in a fact of the inventory. What a revision changes is in force after [`Network::refresh`].
    pub fn hear(&mut self, heard: &Heard) {
        match &heard.fact {
            Fact::Inventory(thing) if self.keeps(thing) => self.staged.push(thing.clone()),
            Fact::Part(part) => {
                let kept = part.things.iter().filter(|thing| self.keeps(thing)).cloned().collect();
                self.parts.entry(part.digest.clone()).or_default().insert(part.n, kept);
            }
            Fact::Revision(revision) => {
                let staged = std::mem::take(&mut self.staged);
                let mut things = match &revision.source {
                    RevisionSource::Commit { .. } => Vec::new(),
                    RevisionSource::Parts { digest, .. } => {
                        self.parts.remove(digest).unwrap_or_default().into_values().flatten().collect()
                    }
                };
                things.extend(staged);
                self.revision = revision.number;
                self.revised_at = heard.heard;
                self.revised_seq = heard.seq;
                self.lay(things);
            }
            Fact::Inventory(_)
            | Fact::Access(_)
            | Fact::Order(_)
            | Fact::Signal(_)
            | Fact::Answer(_)
            | Fact::Ask(_)
            | Fact::Suspicion(_)
            | Fact::Health(_)
            | Fact::Incident(_)
            | Fact::Notice(_)
            | Fact::Delivery(_)
            | Fact::Due(_)
            | Fact::Repair(_)
            | Fact::Plan(_)
            | Fact::Entitlement(_)
            | Fact::Enforcement(_)
            | Fact::Sighting(_)
            | Fact::Refusal(_)
            | Fact::View(_)
            | Fact::Cut(_) => {}
        }
    }

    /// Lays things down. They are in force after [`Network::refresh`].
    pub fn lay(&mut self, things: Vec<Inventory>) {
        let changes = self.changes.get_or_insert_default();
        for thing in things {
            match thing {
                Inventory::Tenant(tenant) => self.tenant = Some(tenant),
                Inventory::Policy(policy) => self.policy = policy,
                Inventory::Site(site) => self.graph.put_site(site),
                Inventory::SiteRemoved { id } => self.graph.take_site(id),
                Inventory::Channel(channel) => {
                    self.channels.insert(channel.id, channel);
                }
                Inventory::ChannelRemoved { id } => {
                    self.channels.remove(&id);
                }
                Inventory::Node(node) => {
                    let before = self.graph.index_of(node.id).and_then(|index| self.graph.node(index));
                    let anew = before.is_none_or(|before| {
                        (before.seen_by, &before.claims, before.watch)
                            != (node.seen_by, &node.claims, node.watch)
                    });
                    let came = before.is_none();
                    let is_new = |key: &&ClaimKey| before.is_none_or(|before| !before.claims.contains(key));
                    let keyed = node.claims.iter().filter(is_new).map(|key| (*key, self.revised_seq));
                    self.keyed_at.extend(keyed);
                    let index = self.graph.put(node);
                    changes.put.push(index);
                    if came {
                        self.came_at.resize(self.came_at.len().max(index as usize + 1), 0);
                        self.came_at[index as usize] = self.revised_seq;
                    }
                    if anew {
                        changes.seen_anew.push(index);
                        self.known_from.resize(self.known_from.len().max(index as usize + 1), 0);
                        self.known_from[index as usize] = self.revised_seq;
                    }
                }
                Inventory::NodeRemoved { id } => {
                    changes.taken.extend(self.graph.take(id).map(|index| (index, id)));
                }
            }
        }
    }

    /// Whether a claim that stands at `seq` in the log was made of the node, and not before it came or was claimed
    /// under that key. It counts however the node is looked at since: nobody makes it a second time.
    pub fn counts_claim(&self, index: Index, about: About, seq: u64) -> bool {
        let after = match about {
            About::Node(_) => self.came_at.get(index as usize),
            About::Session(key) => self.keyed_at.get(&key),
        };
        after.is_none_or(|after| seq > *after)
    }

    /// Whether a look that stands at `seq` in the log was said of the node as it is, and not before it, or the router
    /// that sees it, came or was looked at otherwise. A start, which reads the inventory first, knows no more than who lived through it.
    pub fn counts(&self, index: Index, seq: u64) -> bool {
        let since = |index: Index| self.known_from.get(index as usize).is_none_or(|from| seq > *from);
        let router = self.graph.node(index).and_then(|n| n.seen_by).and_then(|id| self.graph.index_of(id));
        since(index) && router.is_none_or(since)
    }

    /// Works the graph out again if anything was laid down since the last time, and says what changed.
    pub fn refresh(&mut self) -> Option<Changes> {
        let changes = self.changes.take()?;
        self.graph.knit();
        Some(changes)
    }
}
