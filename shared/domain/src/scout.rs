//! What a router sees around it, held against the inventory.
//!
//! [`scan`] takes what one router sees, what was said of devices before and the graph, and gives what is to be
//! said: who is known, who is proposed and where it would hang, who is seen elsewhere than the inventory has it, and
//! who is gone. Nothing is said of what is as it was. What somebody has said no to is not proposed again
//! unless it is something else by now: another name, another kind of box, or reached through another router.
//!
//! A match is made by what was decided before, then by address within the router's own reach, then by name. An
//! address alone proves nothing elsewhere: private ranges repeat behind every router. What is known and not seen any
//! more is no business of a scan: whether it is up is watched.

mod class;
mod known;
mod neighbour;
mod place;

pub use self::neighbour::{Neighbour, Row, Seen, neighbours};

use self::{
    known::{Directory, class_of, strays},
    place::{Beside, Place, Scene, place, reached_through},
};
use crate::Graph;
use events::{
    Above, DeviceClass, Node, NodeId, Scan, Sealed, SeenDevice, SightingId, SightingState, Spot, Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One look of one router.
pub struct Look<'a> {
    /// Which router looked.
    pub router: NodeId,
    /// When.
    pub at: Time,
    /// Whom it hears, under the keyed hash of what each is told apart by.
    pub heard: &'a BTreeMap<SightingId, Neighbour>,
    /// Everything that was said of the tenant's devices before.
    pub before: &'a BTreeMap<SightingId, Arc<SeenDevice>>,
    /// How many devices are told of one router at most.
    pub most: usize,
    /// Hides what a device is called; equal things must give equal texts.
    pub seal: &'a dyn Fn(SightingId, &Seen) -> Sealed,
    /// Opens what was hidden; none when it does not open.
    pub open: &'a dyn Fn(&SeenDevice) -> Option<Seen>,
}

/// What follows from a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is other than before, to be said in this order.
    pub news: Vec<SeenDevice>,
    /// How the scan went.
    pub scan: Scan,
}

/// What follows from `look` in a tenant with this graph.
pub fn scan(look: &Look<'_>, graph: &Graph) -> Found {
    let directory = Directory::of(graph);
    let mut scene = Scene::default();
    for (id, old) in look.before {
        scene.put(*id, beside(old));
    }
    let mut seen = heard(look, &directory);
    let device_count = count(seen.len());
    // Who has been told of stays told of; of the others those first on whom others hang.
    seen.sort_by_key(|it| (it.old.is_none(), class::weight(it.class), it.id));
    let left_out_count = count(seen.len().saturating_sub(look.most));
    seen.truncate(look.most);
    let heard_count = seen.len();
    seen.extend(unheard(look, graph));
    for it in &seen {
        let tier = it.node.map_or_else(|| class::tier_of(it.class, None), |node| node.tier);
        let node = it.node.map(|node| node.id);
        scene.put(it.id, Beside { class: it.class, tier, node, spots: it.spots.clone() });
    }
    for it in &mut seen {
        it.trust(look, &scene, graph);
        scene.set_class(it.id, it.class);
    }
    // Carriers before those whom they carry: a tier follows from the tier above.
    let mut turns: Vec<usize> = (0..seen.len()).collect();
    turns.sort_by_key(|n| (class::weight(seen[*n].class), seen[*n].id));
    let (mut news, mut states) = (Vec::new(), Vec::new());
    for n in turns {
        let it = &seen[n];
        let place = place(it.id, it.class, &it.spots, &scene, graph);
        let now = it.stands(look, place, graph);
        scene.set_tier(it.id, now.tier);
        if n < heard_count {
            states.push(now.state);
        }
        if it.old.is_none_or(|old| **old != now) {
            news.push(now);
        }
    }
    let of = |state| count(states.iter().filter(|found| **found == state).count());
    let scan = Scan {
        router: look.router,
        at: look.at,
        device_count,
        known_count: of(SightingState::Known),
        proposed_count: of(SightingState::Proposed),
        moved_count: of(SightingState::Moved),
        rejected_count: of(SightingState::Rejected),
        left_out_count,
        error: None,
    };
    Found { news, scan }
}

/// Whether it has an address at which it could be watched.
pub fn is_watchable(seen: &Seen) -> bool {
    seen.address.is_some_and(|address| !neighbour::is_local(&address))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn beside(device: &SeenDevice) -> Beside {
    let (class, tier, node, spots) = (device.class, device.tier, device.node, device.spots.clone());
    Beside { class, tier, node, spots }
}

/// A device, who it is and where it is seen now.
struct Recognised<'a> {
    id: SightingId,
    /// What it says of itself now; none when that is for another router to tell, or it is not heard any more.
    neighbour: Option<&'a Neighbour>,
    old: Option<&'a Arc<SeenDevice>>,
    node: Option<&'a Arc<Node>>,
    class: DeviceClass,
    /// Why it is taken for that; none when the inventory says so.
    why: Option<String>,
    spots: Vec<Spot>,
}

/// Whom the router hears, but for itself.
fn heard<'a>(look: &Look<'a>, directory: &Directory<'a>) -> Vec<Recognised<'a>> {
    let recognised = |(id, neighbour): (&SightingId, &'a Neighbour)| {
        let old = look.before.get(id);
        let node = directory.recognise(&neighbour.seen, old.map(Arc::as_ref), look.router);
        let (class, why) = match node.and_then(class_of) {
            Some(class) => (class, None),
            None => {
                let (class, why) = class::classify(neighbour);
                (class, Some(why))
            }
        };
        let spots = spots(look.router, &neighbour.ports, old.map(Arc::as_ref));
        Recognised { id: *id, neighbour: Some(neighbour), old, node, class, why, spots }
    };
    let all = look.heard.iter().map(recognised);
    all.filter(|it| it.node.is_none_or(|node| node.id != look.router)).collect()
}

/// Whom the router heard before and does not hear now.
fn unheard<'a>(look: &Look<'a>, graph: &'a Graph) -> impl Iterator<Item = Recognised<'a>> {
    let (router, heard) = (look.router, look.heard);
    let was_here = move |old: &&Arc<SeenDevice>| old.spots.iter().any(|spot| spot.router == router);
    let old = look.before.values().filter(move |old| !heard.contains_key(&old.id)).filter(was_here);
    old.map(move |old| Recognised {
        id: old.id,
        neighbour: None,
        old: Some(old),
        node: old.node.and_then(|id| graph.node(graph.index_of(id)?)),
        class: old.class,
        why: old.reasons.first().filter(|_| old.node.is_none()).cloned(),
        spots: old.spots.iter().filter(|spot| spot.router != router).cloned().collect(),
    })
}

impl Recognised<'_> {
    /// What a device says of itself is what it says to the router it is reached through: to each router it may show
    /// another address, and each look would be news.
    fn trust(&mut self, look: &Look<'_>, scene: &Scene, graph: &Graph) {
        let Some(old) = self.old.filter(|_| self.neighbour.is_some()) else { return };
        let is_others =
            |through: NodeId| through != look.router && old.spots.iter().any(|spot| spot.router == through);
        if !reached_through(&self.spots, scene, graph).is_some_and(is_others) {
            return;
        }
        self.neighbour = None;
        if self.node.is_none() && old.node.is_none() {
            self.class = old.class;
            self.why = old.reasons.first().cloned();
        }
    }

    /// How it stands after the look.
    fn stands(&self, look: &Look<'_>, place: Place, graph: &Graph) -> SeenDevice {
        let mut reasons: Vec<String> = self.why.iter().cloned().collect();
        let state = match self.node {
            None if self.spots.is_empty() => SightingState::Gone,
            None => SightingState::Proposed,
            Some(node) => match strays(node, &self.spots, place.through, graph) {
                None => SightingState::Known,
                Some(why) => {
                    reasons.push(why.to_owned());
                    SightingState::Moved
                }
            },
        };
        if let Some(old) = self.old.filter(|old| old.state == SightingState::Rejected) {
            match state {
                // It is where it belongs again.
                SightingState::Known => {}
                SightingState::Gone => return SeenDevice { spots: self.spots.clone(), ..(**old).clone() },
                SightingState::Proposed | SightingState::Moved | SightingState::Rejected => {
                    if self.is_what_was_rejected(look, old, place.parent) {
                        return (**old).clone();
                    }
                    reasons.push("somebody said no to it, and it is something else by now".to_owned());
                }
            }
        }
        reasons.extend(place.reasons);
        let tier = self.node.map_or_else(|| class::tier_of(self.class, place.above), |node| node.tier);
        let since = self.old.filter(|old| old.state == state).map_or(look.at, |old| old.since);
        let parent = match (state, self.node) {
            (SightingState::Known, Some(node)) => above(node, graph).or(place.parent),
            _ => place.parent,
        };
        let (node, spots) = (self.node.map(|node| node.id), self.spots.clone());
        let stands = SeenDevice {
            id: self.id,
            state,
            since,
            class: self.class,
            tier,
            parent,
            node,
            spots,
            reasons,
            platform: None,
            board: None,
            version: None,
            has_address: false,
            seen: Sealed(String::new()),
        };
        match (self.neighbour, self.old) {
            (Some(neighbour), _) => SeenDevice {
                platform: neighbour.platform.clone(),
                board: neighbour.board.clone(),
                version: neighbour.version.clone(),
                has_address: is_watchable(&neighbour.seen),
                seen: (look.seal)(self.id, &neighbour.seen),
                ..stands
            },
            (None, Some(old)) => SeenDevice {
                platform: old.platform.clone(),
                board: old.board.clone(),
                version: old.version.clone(),
                has_address: old.has_address,
                seen: old.seen.clone(),
                ..stands
            },
            (None, None) => stands,
        }
    }

    /// Whether it is the same as when somebody said no to it: called so, of that kind, below the same.
    fn is_what_was_rejected(&self, look: &Look<'_>, old: &SeenDevice, parent: Option<Above>) -> bool {
        let is_called_so = self
            .neighbour
            .is_none_or(|neighbour| (look.open)(old).is_some_and(|seen| seen.name == neighbour.seen.name));
        // What was above it may have been added since.
        let is_below_the_same = match (old.parent, parent) {
            (Some(Above::Sighting { id }), Some(Above::Node { id: node })) => {
                look.before.get(&id).is_some_and(|above| above.node == Some(node))
            }
            (before, now) => before == now,
        };
        is_called_so && old.class == self.class && is_below_the_same
    }
}

/// What a node of the inventory is below: of several the highest, then the first.
fn above(node: &Node, graph: &Graph) -> Option<Above> {
    let parents = graph.above(graph.index_of(node.id)?).iter().filter_map(|index| graph.node(*index));
    parents.min_by_key(|parent| (parent.tier, parent.id)).map(|parent| Above::Node { id: parent.id })
}

/// Where it is seen after `router` heard it at these ports: elsewhere as before.
fn spots(router: NodeId, ports: &BTreeSet<String>, old: Option<&SeenDevice>) -> Vec<Spot> {
    let old = old.map(|old| old.spots.as_slice()).unwrap_or_default();
    let (here, others): (Vec<&Spot>, Vec<&Spot>) = old.iter().partition(|spot| spot.router == router);
    let before: BTreeSet<&str> = here.iter().filter_map(|spot| spot.port.as_deref()).collect();
    let stays =
        before.is_empty() || ports.is_empty() || ports.iter().any(|port| before.contains(port.as_str()));
    // Where it came from stays on record until it is back, or somebody has decided.
    let was = match here.iter().find_map(|spot| spot.was.as_ref()) {
        Some(first) => Some(first).filter(|first| !ports.contains(*first)).cloned(),
        None => before.first().filter(|_| !stays).map(|port| (*port).to_owned()),
    };
    let mut spots: Vec<Spot> = others.into_iter().cloned().collect();
    if ports.is_empty() {
        spots.push(Spot { router, port: None, was: was.clone() });
    }
    spots.extend(ports.iter().map(|port| Spot { router, port: Some(port.clone()), was: was.clone() }));
    spots.sort_by(|a, b| (a.router, &a.port).cmp(&(b.router, &b.port)));
    spots
}
