//! Nodes of the inventory, held once in a process.
//!
//! Every service that knows the inventory reads it for itself, from where it last stood. What is read is the
//! same, and most of it are nodes: so whoever decodes one that somebody here holds already gets that one.

use events::{Fact, Inventory, Node, NodeId};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

/// Below so many entries nobody looks for those that are no longer held.
const SWEEP_FROM: usize = 1_024;

static HELD: LazyLock<Mutex<Held>> = LazyLock::new(Mutex::default);

/// The newest version of each node that was decoded.
#[derive(Default)]
struct Held {
    nodes: HashMap<NodeId, Weak<Node>>,
    /// When there are so many, those that nobody holds are swept out.
    sweep_at: usize,
}

impl Held {
    /// The one that is held, if it is the same; else `node`, from now on.
    fn one(&mut self, node: Arc<Node>) -> Arc<Node> {
        if let Some(held) = self.nodes.get(&node.id).and_then(Weak::upgrade)
            && held == node
        {
            return held;
        }
        self.nodes.insert(node.id, Arc::downgrade(&node));
        if self.nodes.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.nodes.retain(|_, node| node.strong_count() > 0);
            self.sweep_at = self.nodes.len() * 2;
        }
        node
    }
}

/// Puts in the place of every node in `fact` the one that is held here already.
pub(crate) fn share(fact: &mut Fact) {
    let things = match fact {
        Fact::Inventory(thing) => std::slice::from_mut(thing),
        Fact::Part(part) => part.things.as_mut_slice(),
        Fact::Revision(_)
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
        | Fact::Cut(_) => return,
    };
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    for thing in things {
        if let Inventory::Node(node) = thing {
            *node = held.one(Arc::clone(node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(id: u8, name: &str) -> Arc<Node> {
        let id = uuid::Uuid::from_u128(id.into());
        let node = json!({"id": id, "file_id": "sector-1", "name": name, "kind": "device", "class": "router", "tier": "sector"});
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn the_same_node_is_held_once_and_another_version_by_itself() {
        let mut held = Held::default();
        let first = held.one(node(1, "Sector 1"));
        assert!(Arc::ptr_eq(&first, &held.one(node(1, "Sector 1"))));
        let renamed = held.one(node(1, "Sector 1 north"));
        assert!(!Arc::ptr_eq(&first, &renamed));
        assert!(Arc::ptr_eq(&renamed, &held.one(node(1, "Sector 1 north"))));
    }

    #[test]
    fn what_nobody_holds_is_swept_out() {
        let mut held = Held::default();
        for n in 0..10_000_u32 {
            let mut one = node(0, "Sector");
            Arc::make_mut(&mut one).id = NodeId(uuid::Uuid::from_u128(n.into()));
            drop(held.one(one));
        }
        assert!(held.nodes.len() <= SWEEP_FROM, "{}", held.nodes.len());
    }
}
