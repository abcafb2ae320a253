//! Where a device that is seen hangs: which of those who see it, or of those who are seen beside it, is above it.
//!
//! Whoever passes frames on makes what is behind it visible to the next one up: a core sees the stations behind
//! a sector. So of several routers that see a device the lowest is the one it is reached through, unless that
//! one sees it on the side of its own way up. And a station that shares a port with exactly one sector hangs on that
//! sector.

use events::{Above, DeviceClass, NodeId, SightingId, Spot, Tier};
use std::collections::{BTreeMap, BTreeSet};

use crate::Graph;

/// A device as far as others are placed by it.
#[derive(Debug, Clone)]
pub(super) struct Beside {
    pub(super) class: DeviceClass,
    pub(super) tier: Tier,
    pub(super) node: Option<NodeId>,
    pub(super) spots: Vec<Spot>,
}

/// Everything that is seen: what places are worked out from.
#[derive(Debug, Default)]
pub(super) struct Scene {
    all: BTreeMap<SightingId, Beside>,
    /// What each router sees.
    at: BTreeMap<NodeId, BTreeSet<SightingId>>,
}

impl Scene {
    /// Puts a device there, or in its own place.
    pub(super) fn put(&mut self, id: SightingId, beside: Beside) {
        for spot in self.all.get(&id).map(|old| old.spots.as_slice()).unwrap_or_default() {
            if let Some(there) = self.at.get_mut(&spot.router) {
                there.remove(&id);
            }
        }
        for spot in &beside.spots {
            self.at.entry(spot.router).or_default().insert(id);
        }
        self.all.insert(id, beside);
    }

    /// Its tier follows from where it hangs.
    pub(super) fn set_tier(&mut self, id: SightingId, tier: Tier) {
        if let Some(beside) = self.all.get_mut(&id) {
            beside.tier = tier;
        }
    }

    /// It is of another kind than it seemed to be.
    pub(super) fn set_class(&mut self, id: SightingId, class: DeviceClass) {
        if let Some(beside) = self.all.get_mut(&id) {
            beside.class = class;
        }
    }

    /// What a router sees at one of these ports.
    fn seen_at<'a, 'p>(
        &'a self,
        router: NodeId,
        ports: &'p BTreeSet<&str>,
    ) -> impl Iterator<Item = (SightingId, &'a Beside)> + use<'a, 'p> {
        let there = self.at.get(&router).into_iter().flatten();
        let there = there.filter_map(|id| Some((*id, self.all.get(id)?)));
        there.filter(move |(_, beside)| ports_at(router, &beside.spots).any(|port| ports.contains(port)))
    }
}

/// Where something hangs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parent: Option<Above>,
    /// How far up the parent stands.
    pub(super) above: Option<Tier>,
    /// Through which router it is reached.
    pub(super) through: Option<NodeId>,
    pub(super) reasons: Vec<String>,
}

/// Where the device `id` hangs, whose kind is `class`.
pub(super) fn place(
    id: SightingId,
    class: DeviceClass,
    spots: &[Spot],
    scene: &Scene,
    graph: &Graph,
) -> Place {
    let seers = seers(spots, graph);
    let Some(through) = reached_through(spots, scene, graph) else { return uphill(&seers, graph) };
    let mut reasons = Vec::new();
    if seers.len() > 1 {
        reasons.push(format!(
            "{} routers see it: it is reached through the lowest of them on whose way up it does not lie",
            seers.len()
        ));
    }
    let tier = tier_in(graph, through);
    let router =
        Place { parent: Some(Above::Node { id: through }), above: tier, through: Some(through), reasons };
    match carrier(id, class, through, spots, scene) {
        Carrier::One(carrier, beside) => {
            let what = super::class::name_of(beside.class);
            let parent = match beside.node {
                Some(node) => Above::Node { id: node },
                None => Above::Sighting { id: carrier },
            };
            let mut place = Place { parent: Some(parent), above: Some(beside.tier), ..router };
            place
                .reasons
                .push(format!("put below {what}: the router sees both at one port, and no other there"));
            place
        }
        Carrier::Several(what) => {
            let mut place = router;
            place.reasons.push(format!(
                "put below the router: it sees several of {what} at that port, and which one is above it does not show"
            ));
            place
        }
        Carrier::None => {
            let mut place = router;
            place.reasons.push("put below the router that sees it".into());
            place
        }
    }
}

/// The router through which it is reached; none: those who see it see it on their own way up.
pub(super) fn reached_through(spots: &[Spot], scene: &Scene, graph: &Graph) -> Option<NodeId> {
    let mut seers = seers(spots, graph);
    seers.retain(|router| !is_uphill(*router, spots, scene, graph));
    lowest(&seers, graph)
}

fn seers(spots: &[Spot], graph: &Graph) -> BTreeSet<NodeId> {
    spots.iter().map(|spot| spot.router).filter(|router| graph.index_of(*router).is_some()).collect()
}

/// What is seen on the way up only stands beside those who see it: it needs what they need.
fn uphill(seers: &BTreeSet<NodeId>, graph: &Graph) -> Place {
    let Some(seer) = lowest(seers, graph).and_then(|id| graph.index_of(id)) else { return Place::default() };
    let parents = graph.above(seer).iter().filter_map(|index| graph.node(*index));
    let why = "seen at the port at which the router's own way up begins";
    match parents.min_by_key(|node| (node.tier, node.id)) {
        Some(parent) => Place {
            parent: Some(Above::Node { id: parent.id }),
            above: Some(parent.tier),
            through: graph.node(seer).map(|node| node.id),
            reasons: vec![format!("put beside the router: {why}")],
        },
        None => Place { reasons: vec![format!("nothing is known above it: {why}")], ..Place::default() },
    }
}

/// Whether `router` sees the device at a port where it also sees something that is above itself.
fn is_uphill(router: NodeId, spots: &[Spot], scene: &Scene, graph: &Graph) -> bool {
    let Some(index) = graph.index_of(router) else { return false };
    let above = graph.all_above(index);
    let ports: BTreeSet<&str> = ports_at(router, spots).collect();
    scene.seen_at(router, &ports).any(|(_, other)| {
        other.node.and_then(|id| graph.index_of(id)).is_some_and(|index| above.contains(&index))
    })
}

/// The one below which no other of them is; of several the one that most stand above, then the first.
fn lowest(routers: &BTreeSet<NodeId>, graph: &Graph) -> Option<NodeId> {
    let depth = |id: &NodeId| graph.index_of(*id).map_or(0, |index| graph.all_above(index).len());
    routers.iter().max_by_key(|id| (depth(id), std::cmp::Reverse(**id))).copied()
}

/// Who carries a device between it and the router.
enum Carrier<'a> {
    None,
    One(SightingId, &'a Beside),
    /// More than one could.
    Several(&'static str),
}

fn carrier<'a>(
    id: SightingId,
    class: DeviceClass,
    router: NodeId,
    spots: &[Spot],
    scene: &'a Scene,
) -> Carrier<'a> {
    // Who may carry what, the nearest to the device first.
    let carriers: &[(DeviceClass, &str)] = match class {
        DeviceClass::Station => {
            &[(DeviceClass::SectorAp, "the sectors"), (DeviceClass::Switch, "the switches")]
        }
        DeviceClass::Router
        | DeviceClass::SectorAp
        | DeviceClass::Backhaul
        | DeviceClass::Server
        | DeviceClass::Other => &[(DeviceClass::Switch, "the switches")],
        DeviceClass::Switch => &[],
    };
    let ports: BTreeSet<&str> = ports_at(router, spots).collect();
    for (kind, called) in carriers {
        let mut there = scene
            .seen_at(router, &ports)
            .filter(|(other, beside)| *other != id && beside.class == *kind && beside.node != Some(router));
        match (there.next(), there.next()) {
            (Some((carrier, beside)), None) => return Carrier::One(carrier, beside),
            (Some(_), Some(_)) => return Carrier::Several(called),
            (None, _) => {}
        }
    }
    Carrier::None
}

fn ports_at(router: NodeId, spots: &[Spot]) -> impl Iterator<Item = &str> {
    spots.iter().filter(move |spot| spot.router == router).filter_map(|spot| spot.port.as_deref())
}

fn tier_in(graph: &Graph, id: NodeId) -> Option<Tier> {
    Some(graph.node(graph.index_of(id)?)?.tier)
}
