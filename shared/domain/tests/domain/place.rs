//! Where nodes are: a function of the inventory, whatever the order in which it was laid down, and however much of it
//! is looked at.

use domain::{Graph, graph::ways_up};
use events::{DeviceClass, Group, GroupMode, Member, Node, NodeId, NodeKind, SiteId, TenantId, Tier};
use proptest::prelude::*;
use std::collections::BTreeSet;

const TENANT: &str = "places";

fn id(n: usize) -> NodeId {
    NodeId::of(TenantId::of(TENANT), &n.to_string())
}

fn site(n: usize) -> SiteId {
    SiteId::of(TenantId::of(TENANT), &n.to_string())
}

fn node(n: usize, site: Option<SiteId>, needs: Vec<Group>) -> Node {
    let kind = NodeKind::Device { class: DeviceClass::Other };
    Node { site, needs, ..Node::bare(id(n), n.to_string(), kind, Tier::Core) }
}

fn all(members: &[usize]) -> Group {
    Group { mode: GroupMode::All, members: members.iter().map(|m| Member::Node(id(*m))).collect() }
}

fn graph(nodes: impl IntoIterator<Item = Node>) -> Graph {
    let mut graph = Graph::default();
    for node in nodes {
        graph.put(node);
    }
    graph.knit();
    graph
}

fn place(graph: &Graph, n: usize) -> Option<SiteId> {
    graph.site_of(graph.index_of(id(n)).unwrap())
}

/// The same by the words of the rule: a walk for each node.
fn walked(nodes: &[Node], from: usize, seen: &mut BTreeSet<usize>) -> Option<SiteId> {
    let node = &nodes[from];
    if !seen.insert(from) {
        return None;
    }
    let above = || ways_up(node).into_iter().filter_map(|way| (0..nodes.len()).find(|n| id(*n) == way));
    node.site.or_else(|| above().find_map(|way| walked(nodes, way, seen)))
}

#[test]
fn a_subscriber_is_where_his_antenna_is_and_not_where_his_sessions_end() {
    let concentrator = node(0, Some(site(0)), vec![]);
    let tower = node(1, Some(site(1)), vec![]);
    let antenna = node(2, None, vec![all(&[1])]);
    let subscriber = node(3, None, vec![all(&[2]), all(&[0])]);
    assert_eq!(place(&graph([concentrator, tower, antenna, subscriber]), 3), Some(site(1)));
}

#[test]
fn members_of_a_group_come_before_those_of_groups_within_it() {
    let inner = Member::Group(all(&[1]));
    let group =
        Group { mode: GroupMode::Any, members: vec![inner, Member::Node(id(2)), Member::Node(id(0))] };
    let last = node(3, None, vec![group, all(&[4])]);
    assert_eq!(ways_up(&last), [2, 0, 1, 4].map(id));
}

#[test]
fn each_in_a_ring_walks_by_itself() {
    // Both feed each other, and each has a way out of its own.
    let ring = [
        node(0, None, vec![all(&[1, 2])]),
        node(1, None, vec![all(&[0, 3])]),
        node(2, Some(site(2)), vec![]),
        node(3, Some(site(3)), vec![]),
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let graph = graph(order.map(|n| ring[n].clone()));
        assert_eq!((place(&graph, 0), place(&graph, 1)), (Some(site(3)), Some(site(2))), "{order:?}");
    }
}

/// Up to ten nodes that need any of each other, rings and gaps included; some name a site.
fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
    let one = (proptest::option::weighted(0.3, 0..3_usize), proptest::collection::vec(0..11_usize, 0..4));
    proptest::collection::vec(one, 1..10).prop_map(|all_of| {
        let made = all_of.into_iter().enumerate();
        made.map(|(n, (named, needs))| {
            let groups = if needs.is_empty() { vec![] } else { vec![all(&needs)] };
            node(n, named.map(site), groups)
        })
        .collect()
    })
}

proptest! {
    #[test]
    fn a_node_is_where_the_first_thing_is_that_names_a_site(nodes in any_nodes(), turned in any::<bool>()) {
        let order: Vec<Node> = if turned { nodes.iter().rev().cloned().collect() } else { nodes.clone() };
        let graph = graph(order);
        for n in 0..nodes.len() {
            prop_assert_eq!(place(&graph, n), walked(&nodes, n, &mut BTreeSet::new()), "{}", n);
        }
    }

    /// What the read models rely on: who has changed, and everything below that names no site, is worked out anew with
    /// the answers of the rest, and comes out as if all of it had been.
    #[test]
    fn what_lies_below_a_change_can_be_worked_out_by_itself(nodes in any_nodes(), changed in 0..10_usize) {
        let whole = graph(nodes.clone());
        let mut touched = BTreeSet::from([changed % nodes.len()]);
        loop {
            let hangs = |n: &usize| nodes[*n].site.is_none() && ways_up(&nodes[*n]).iter().any(|way| touched.iter().any(|t| id(*t) == *way));
            let more: Vec<usize> = (0..nodes.len()).filter(|n| !touched.contains(n)).filter(hangs).collect();
            if more.is_empty() { break }
            touched.extend(more);
        }
        let part = graph((0..nodes.len()).map(|n| {
            if touched.contains(&n) { nodes[n].clone() } else { node(n, place(&whole, n), vec![]) }
        }));
        for n in touched {
            prop_assert_eq!(place(&part, n), place(&whole, n), "{}", n);
        }
    }
}
