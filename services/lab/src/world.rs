//! What is broken, and who can reach whom.
//!
//! The server stands beside the sources of supply (the devices that need nothing), so it reaches
//! exactly what is supplied: the least fixpoint of the needs over everything that is not broken. A
//! router that is alive but cut off still sees its own island: the same fixpoint, grown from that
//! router alone. So rings that only feed each other are dark, as they should be.
//!
//! A broken router is switched off. A broken link leaves both its ends alive.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::network::{Group, Hop, Kind, Member, Mode, Network, NodeIndex, RouterIndex};

/// What a packet meets between a router and a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// There and back, microseconds.
    pub rtt_us: u32,
    /// The fraction of packets that get no answer, from 0 to 1.
    pub loss: f32,
}

/// The deepest path whose latencies are added up.
const HOPS_MAX: usize = 32;

/// The state of every node and link.
#[derive(Debug)]
pub struct World {
    network: Arc<Network>,
    broken: Vec<bool>,
    supplied: Vec<bool>,
    hops: Vec<Hop>,
    /// What a cut-off router sees, worked out when asked for.
    islands: HashMap<RouterIndex, HashSet<NodeIndex>>,
}

impl World {
    /// A network in which everything works.
    pub fn new(network: Arc<Network>) -> Self {
        let count = network.nodes().len();
        let hops = network.nodes().iter().map(|node| node.hop).collect();
        let mut world =
            Self { network, broken: vec![false; count], supplied: Vec::new(), hops, islands: HashMap::new() };
        world.supply();
        world
    }

    /// Breaks or mends nodes; tells which of them that changed.
    pub fn set_broken(&mut self, nodes: &[NodeIndex], broken: bool) -> Vec<NodeIndex> {
        let mut changed = Vec::new();
        for node in nodes {
            if std::mem::replace(&mut self.broken[node.at()], broken) != broken {
                changed.push(*node);
            }
        }
        if !changed.is_empty() {
            self.supply();
        }
        changed
    }

    /// Makes a node's line longer or worse: added to every path through it.
    pub fn set_line(&mut self, node: NodeIndex, rtt_us: u32, loss: f32) {
        self.hops[node.at()] = Hop { rtt_us, loss: loss.clamp(0.0, 1.0) };
    }

    /// What was set for a node itself.
    pub fn own_line(&self, node: NodeIndex) -> Line {
        let Hop { rtt_us, loss } = self.hops[node.at()];
        Line { rtt_us, loss }
    }

    /// Whether it is broken itself.
    pub fn is_broken(&self, node: NodeIndex) -> bool {
        self.broken[node.at()]
    }

    /// Whether it works and the server can reach it.
    pub fn is_reachable(&self, node: NodeIndex) -> bool {
        self.supplied[node.at()]
    }

    /// Whether a packet from a router reaches a node and comes back.
    pub fn sees(&mut self, router: RouterIndex, node: NodeIndex) -> bool {
        let own = self.network.router(router).node;
        if self.broken[own.at()] {
            false
        } else if self.supplied[own.at()] {
            self.supplied[node.at()]
        } else {
            self.island(router).contains(&node)
        }
    }

    /// Those of `nodes` that a packet from a router reaches, and from where it comes back.
    pub fn seen_of(&self, router: RouterIndex, nodes: &[NodeIndex]) -> Vec<NodeIndex> {
        let own = self.network.router(router).node;
        if self.broken[own.at()] {
            return Vec::new();
        }
        let island = (!self.supplied[own.at()]).then(|| match self.islands.get(&router) {
            Some(island) => Cow::Borrowed(island),
            None => Cow::Owned(self.reached_from(router)),
        });
        let is_seen = |node: &NodeIndex| match &island {
            Some(island) => island.contains(node),
            None => self.supplied[node.at()],
        };
        nodes.iter().copied().filter(is_seen).collect()
    }

    /// The line from a router to a node, along the first working way. `None` when there is none.
    pub fn line(&mut self, router: RouterIndex, node: NodeIndex) -> Option<Line> {
        if !self.sees(router, node) {
            return None;
        }
        let own = self.network.router(router).node;
        Some(self.way(node, Some(own)))
    }

    /// The line from the server to a node. `None` when it is not reachable.
    pub fn line_from_server(&self, node: NodeIndex) -> Option<Line> {
        self.is_reachable(node).then(|| self.way(node, None))
    }

    fn way(&self, node: NodeIndex, until: Option<NodeIndex>) -> Line {
        let (mut rtt_us, mut arrives) = (0_u32, 1.0_f32);
        let mut here = Some(node);
        for _ in 0..HOPS_MAX {
            let Some(at) = here else { break };
            if Some(at) == until {
                break;
            }
            let hop = self.hops[at.at()];
            rtt_us = rtt_us.saturating_add(hop.rtt_us);
            arrives *= 1.0 - hop.loss;
            here = self.network.node(at).needs.iter().find_map(|group| self.first_working(group));
        }
        Line { rtt_us: rtt_us.max(50), loss: 1.0 - arrives }
    }

    fn first_working(&self, group: &Group) -> Option<NodeIndex> {
        group.members.iter().find_map(|member| match member {
            Member::Node(node) => (!self.broken[node.at()]).then_some(*node),
            Member::Group(group) => self.first_working(group),
        })
    }

    fn supply(&mut self) {
        self.islands.clear();
        let network = Arc::clone(&self.network);
        let mut supplied = vec![false; network.nodes().len()];
        let mut grown: Vec<NodeIndex> = network
            .indices()
            .filter(|node| {
                let node_is = network.node(*node);
                !self.broken[node.at()] && node_is.needs.is_empty()
            })
            .collect();
        for node in &grown {
            supplied[node.at()] = true;
        }
        while let Some(node) = grown.pop() {
            for next in network.dependants(node) {
                if supplied[next.at()] || self.broken[next.at()] {
                    continue;
                }
                if network.node(*next).needs.iter().all(|group| holds(group, &|node| supplied[node.at()])) {
                    supplied[next.at()] = true;
                    grown.push(*next);
                }
            }
        }
        self.supplied = supplied;
    }

    fn island(&mut self, router: RouterIndex) -> &HashSet<NodeIndex> {
        if !self.islands.contains_key(&router) {
            let reached = self.reached_from(router);
            self.islands.insert(router, reached);
        }
        &self.islands[&router]
    }

    fn reached_from(&self, router: RouterIndex) -> HashSet<NodeIndex> {
        let (network, broken) = (&self.network, &self.broken);
        let own = network.router(router).node;
        let mut reached = HashSet::from([own]);
        let mut grown = vec![own];
        while let Some(node) = grown.pop() {
            for next in network.dependants(node) {
                if reached.contains(next) || broken[next.at()] {
                    continue;
                }
                let there = |node: NodeIndex| {
                    reached.contains(&node) || (is_passive(network, node) && !broken[node.at()])
                };
                if network.node(*next).needs.iter().all(|group| holds(group, &there)) {
                    reached.insert(*next);
                    grown.push(*next);
                }
            }
        }
        reached
    }
}

fn is_passive(network: &Network, node: NodeIndex) -> bool {
    let node = network.node(node);
    node.kind == Kind::Passive && node.needs.is_empty()
}

fn holds(group: &Group, works: &impl Fn(NodeIndex) -> bool) -> bool {
    let holds = |member: &Member| match member {
        Member::Node(node) => works(*node),
        Member::Group(group) => holds(group, works),
    };
    match group.mode {
        Mode::Any => group.members.iter().any(holds),
        Mode::All => group.members.iter().all(holds),
        Mode::AtLeast(count) => group.members.iter().filter(|member| holds(member)).count() >= count as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Node, RouterPlan};

    fn node(id: &str, kind: Kind, needs: Vec<Group>) -> Node {
        Node { needs, ..Node::new(id, kind) }
    }

    fn any(members: &[u32]) -> Group {
        let members = members.iter().map(|n| Member::Node(NodeIndex(*n))).collect();
        Group { mode: Mode::Any, members }
    }

    fn all(members: &[u32]) -> Group {
        Group { mode: Mode::All, ..any(members) }
    }

    /// core 0, link 1, tower 2 (core and link), sector 3 (tower), client 4 (sector), ring 5-6 (any of tower and each other).
    fn tower() -> World {
        let nodes = vec![
            node("core", Kind::Device, vec![]),
            node("link", Kind::Passive, vec![]),
            node("tower", Kind::Device, vec![all(&[0, 1])]),
            node("sector", Kind::Device, vec![all(&[2])]),
            node("client", Kind::Subscriber, vec![all(&[3])]),
            node("ring-a", Kind::Device, vec![any(&[2, 6])]),
            node("ring-b", Kind::Device, vec![any(&[5])]),
        ];
        let router = |n: u32| RouterPlan {
            node: NodeIndex(n),
            address: [127, 0, 0, 1].into(),
            port: 0,
            tls: false,
            user: String::new(),
            password: String::new(),
            token: None,
            habits: crate::network::Habits::default(),
        };
        World::new(Arc::new(Network::new(nodes, vec![router(0), router(2)]).unwrap()))
    }

    const CORE: RouterIndex = RouterIndex(0);
    const TOWER: RouterIndex = RouterIndex(1);

    #[test]
    fn what_hangs_below_a_broken_node_is_out_of_reach_and_comes_back_with_it() {
        let mut world = tower();
        assert!((0..7).all(|n| world.is_reachable(NodeIndex(n))));
        world.set_broken(&[NodeIndex(2)], true);
        assert_eq!((0..7).filter(|n| world.is_reachable(NodeIndex(*n))).collect::<Vec<_>>(), [0, 1]);
        assert!(!world.sees(TOWER, NodeIndex(3)), "a router without power sees nothing");
        world.set_broken(&[NodeIndex(2)], false);
        assert!((0..7).all(|n| world.is_reachable(NodeIndex(n))));
    }

    #[test]
    fn a_router_that_is_cut_off_still_sees_its_own_island_and_nothing_else() {
        let mut world = tower();
        world.set_broken(&[NodeIndex(1)], true);
        assert!(!world.is_reachable(NodeIndex(2)));
        for (node, seen) in [(0, false), (3, true), (4, true), (5, true), (6, true)] {
            assert_eq!(!world.seen_of(TOWER, &[NodeIndex(node)]).is_empty(), seen, "node {node}");
            assert_eq!(world.sees(TOWER, NodeIndex(node)), seen, "node {node}");
        }
        assert!(!world.sees(CORE, NodeIndex(2)));
    }

    #[test]
    fn a_ring_that_only_feeds_itself_is_dark() {
        let mut world = tower();
        world.set_broken(&[NodeIndex(2)], true);
        assert!(!world.is_reachable(NodeIndex(5)) && !world.is_reachable(NodeIndex(6)));
    }

    #[test]
    fn a_path_is_as_long_and_as_bad_as_its_hops_together() {
        let mut world = tower();
        world.set_line(NodeIndex(3), 10_000, 0.5);
        world.set_line(NodeIndex(4), 20_000, 0.5);
        let line = world.line(TOWER, NodeIndex(4)).unwrap();
        assert_eq!((line.rtt_us, line.loss), (30_000, 0.75));
        world.set_broken(&[NodeIndex(3)], true);
        assert_eq!(world.line(TOWER, NodeIndex(4)), None);
    }

    #[test]
    fn k_of_n_holds_with_k_and_not_with_fewer() {
        let mut nodes: Vec<Node> = (0..3).map(|n| node(&n.to_string(), Kind::Device, vec![])).collect();
        nodes.push(node("hub", Kind::Device, vec![Group { mode: Mode::AtLeast(2), ..any(&[0, 1, 2]) }]));
        let mut world = World::new(Arc::new(Network::new(nodes, vec![]).unwrap()));
        world.set_broken(&[NodeIndex(0)], true);
        assert!(world.is_reachable(NodeIndex(3)));
        world.set_broken(&[NodeIndex(1)], true);
        assert!(!world.is_reachable(NodeIndex(3)));
    }
}
