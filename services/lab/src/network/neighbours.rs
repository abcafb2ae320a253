//! Which boxes a router hears around it.
//!
//! Frames pass through everything but routers: what hangs below a switch, a sector or a station is heard at the port at
//! which that hangs. A played router keeps them to itself unless it bridges. Ports are counted in the order of the
//! file, from `ether2` on; `ether1` goes up.

use std::collections::HashSet;

use super::{Kind, Node, NodeIndex, RouterIndex, RouterPlan, Sight};

/// A port of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// `ether` and a number.
    Ether(u16),
    /// Whatever the radio is called.
    Air,
}

/// A box that a router hears, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Which box.
    pub node: NodeIndex,
    /// At which port.
    pub port: Port,
}

/// The port of the way up.
const UPLINK: Port = Port::Ether(1);

/// Whom a router hears, each once.
pub(super) fn of_router(
    router: RouterIndex,
    nodes: &[Node],
    plans: &[RouterPlan],
    dependants: &[Vec<NodeIndex>],
    children: &[NodeIndex],
    played: impl Fn(NodeIndex) -> Option<RouterIndex>,
) -> Vec<Neighbour> {
    let own = plans[router.at()].node;
    let mut seen: HashSet<NodeIndex> = HashSet::from([own]);
    let mut found = Vec::new();
    for group in &nodes[own.at()].needs {
        group.for_each_node(&mut |above| {
            if nodes[above.at()].kind == Kind::Device && played(above).is_some() && seen.insert(above) {
                found.push(Neighbour { node: above, port: UPLINK });
            }
        });
    }
    // Who speaks: boxes, and the box of a customer with an address of his own that this router watches.
    let speaks = |node: NodeIndex| match nodes[node.at()].kind {
        Kind::Device => true,
        Kind::Subscriber => nodes[node.at()].seen_by == Some((router, Sight::Netwatch)),
        Kind::Passive => false,
    };
    let mut last = 1_u16;
    let starts = dependants[own.at()].iter().chain(children.iter().filter(|child| speaks(**child)));
    for first in starts {
        if seen.contains(first) {
            continue;
        }
        let port = if nodes[first.at()].is_radio {
            Port::Air
        } else {
            last = last.saturating_add(1);
            Port::Ether(last)
        };
        let mut open = vec![*first];
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            if speaks(node) {
                found.push(Neighbour { node, port });
            }
            let passes = played(node).is_none_or(|below| plans[below.at()].habits.bridges);
            if passes && nodes[node.at()].kind != Kind::Subscriber {
                open.extend(&dependants[node.at()]);
            }
        }
    }
    found
}
