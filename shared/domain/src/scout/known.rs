//! Which node of the inventory a device is, and whether it is where the inventory has it.

use super::neighbour::Seen;
use crate::{Graph, graph::Index};
use events::{DeviceClass, Node, NodeId, NodeKind, SeenDevice, Spot};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// What every fresh box is called: nobody is known by it. Source: MikroTik's and Ubiquiti's defaults.
const DEFAULT_NAMES: [&str; 3] = ["mikrotik", "ubnt", "localhost"];

/// The devices of the inventory by what they may be known by.
pub(super) struct Directory<'a> {
    graph: &'a Graph,
    by_address: BTreeMap<IpAddr, Vec<Index>>,
    by_name: BTreeMap<String, BTreeSet<Index>>,
}

impl<'a> Directory<'a> {
    pub(super) fn of(graph: &'a Graph) -> Self {
        let mut this = Self { graph, by_address: BTreeMap::new(), by_name: BTreeMap::new() };
        for index in graph.indexes() {
            let Some(node) = graph.node(index).filter(|node| class_of(node).is_some()) else { continue };
            if let Some(address) = node.address {
                this.by_address.entry(address).or_default().push(index);
            }
            for name in [&node.file_id, &node.name] {
                this.by_name.entry(name.to_lowercase()).or_default().insert(index);
            }
        }
        this
    }

    /// Who it is, seen by `router`: by what was decided before, then by its address within the router's reach, then
    /// by its name, if only one is called so.
    pub(super) fn recognise(
        &self,
        seen: &Seen,
        old: Option<&SeenDevice>,
        router: NodeId,
    ) -> Option<&'a Arc<Node>> {
        let graph = self.graph;
        let decided = old.and_then(|old| old.node).and_then(|id| graph.node(graph.index_of(id)?));
        if decided.is_some() {
            return decided;
        }
        let mut near = seen
            .address
            .and_then(|address| self.by_address.get(&address))
            .into_iter()
            .flatten()
            .filter(|index| is_near(**index, router, graph));
        if let (Some(index), None) = (near.next(), near.next()) {
            return graph.node(*index);
        }
        let name = seen.name.to_lowercase();
        let called = self.by_name.get(&name).filter(|_| !DEFAULT_NAMES.contains(&name.as_str()))?;
        let mut called = called.iter();
        match (called.next(), called.next()) {
            (Some(index), None) => graph.node(*index),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }
}

/// Of which kind a device of the inventory is; none of what is no device.
pub(super) fn class_of(node: &Arc<Node>) -> Option<DeviceClass> {
    match node.kind {
        NodeKind::Device { class } => Some(class),
        NodeKind::Link | NodeKind::Subscriber | NodeKind::Service | NodeKind::Upstream => None,
    }
}

/// Whether what a router sees may be this node: it is the router's child, or one of them is on the other's way up.
fn is_near(index: Index, router: NodeId, graph: &Graph) -> bool {
    let Some(own) = graph.index_of(router) else { return false };
    let is_child = graph.node(index).and_then(|node| node.seen_by) == Some(router);
    is_child || index == own || graph.all_above(index).contains(&own) || graph.all_above(own).contains(&index)
}

/// Why a node that is seen at these spots, and reached through the router `through`, is not where the inventory has
/// it; none: it is.
///
/// A router beside it (one that needs what it needs) may see it too. As long as any router sees it where it is,
/// the others look past it.
pub(super) fn strays(
    node: &Node,
    spots: &[Spot],
    through: Option<NodeId>,
    graph: &Graph,
) -> Option<&'static str> {
    let index = graph.index_of(node.id)?;
    let parents = graph.above(index);
    let is_beside = |router: NodeId| {
        let above = graph.index_of(router).map(|own| graph.above(own)).unwrap_or_default();
        above.iter().any(|above| parents.contains(above))
    };
    let is_there = |spot: &&Spot| is_near(index, spot.router, graph) || is_beside(spot.router);
    if !spots.is_empty() && !spots.iter().any(|spot| is_there(&spot)) {
        return Some("the inventory has it elsewhere: neither below a router that sees it nor on its way up");
    }
    let moved = spots.iter().any(|spot| Some(spot.router) == through && spot.was.is_some());
    moved.then_some("it was at another port of this router before")
}
