//! Who waits at which router, and who may begin.
//!
//! So many at one router, so many at all. Routers take turns: one with thousands behind it, or with many that do not
//! answer, holds up nobody else's. Nobody waits twice, so there are never more that wait than there are
//! subscribers.

use events::NodeId;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
struct Door {
    waiting: VecDeque<NodeId>,
    inside: usize,
    /// Whether it is among those whose turn comes.
    is_listed: bool,
}

/// The doors of all routers.
#[derive(Debug)]
pub(super) struct Doors {
    inside_max: usize,
    each_max: usize,
    inside: usize,
    waiting: usize,
    doors: BTreeMap<NodeId, Door>,
    /// Routers at which somebody waits and may begin.
    turns: VecDeque<NodeId>,
}

impl Doors {
    /// Nobody waits. Lets in `inside_max` at once, `each_max` of them at one router.
    pub(super) fn new(inside_max: usize, each_max: usize) -> Self {
        Self {
            inside_max: inside_max.max(1),
            each_max: each_max.max(1),
            inside: 0,
            waiting: 0,
            doors: BTreeMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Has `who` wait at a router. Whoever waits there already, or is inside, must not come again before that ended.
    pub(super) fn wait(&mut self, router: NodeId, who: NodeId) {
        self.doors.entry(router).or_default().waiting.push_back(who);
        self.waiting += 1;
        self.list(router);
    }

    /// Lets in the next one, if there is room: at which router, and who.
    pub(super) fn next(&mut self) -> Option<(NodeId, NodeId)> {
        while self.inside < self.inside_max {
            let router = self.turns.pop_front()?;
            let Some(door) = self.doors.get_mut(&router) else { continue };
            door.is_listed = false;
            let Some(who) = door.waiting.pop_front() else {
                self.list(router); // Those who waited were sent away.
                continue;
            };
            door.inside += 1;
            self.inside += 1;
            self.waiting -= 1;
            self.list(router);
            return Some((router, who));
        }
        None
    }

    /// One that was let in is done.
    pub(super) fn left(&mut self, router: NodeId) {
        let Some(door) = self.doors.get_mut(&router) else { return };
        door.inside = door.inside.saturating_sub(1);
        self.inside = self.inside.saturating_sub(1);
        self.list(router);
    }

    /// Sends away all who wait at a router.
    pub(super) fn clear(&mut self, router: NodeId) -> VecDeque<NodeId> {
        let Some(door) = self.doors.get_mut(&router) else { return VecDeque::new() };
        let sent_away = std::mem::take(&mut door.waiting);
        self.waiting -= sent_away.len();
        self.list(router);
        sent_away
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Gives a router its turn, if somebody there may begin; forgets one at which there is nobody.
    fn list(&mut self, router: NodeId) {
        let Some(door) = self.doors.get_mut(&router) else { return };
        if !door.waiting.is_empty() && door.inside < self.each_max && !door.is_listed {
            door.is_listed = true;
            self.turns.push_back(router);
        } else if door.waiting.is_empty() && door.inside == 0 && !door.is_listed {
            self.doors.remove(&router);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn id(n: usize) -> NodeId {
        NodeId(Uuid::from_u128(n as u128))
    }

    #[test]
    fn a_router_that_many_wait_at_holds_up_no_other() {
        let mut doors = Doors::new(4, 3);
        for n in 0..100 {
            doors.wait(id(1), id(1_000 + n));
        }
        doors.wait(id(2), id(2_000));
        let let_in: Vec<_> = std::iter::from_fn(|| doors.next()).map(|(router, _)| router).collect();
        assert_eq!(let_in, [id(1), id(2), id(1), id(1)]);
        assert_eq!(doors.waiting(), 97);
        doors.left(id(2));
        assert_eq!(doors.next(), None, "three are at that router");
        doors.left(id(1));
        assert_eq!(doors.next(), Some((id(1), id(1_003))));
        assert_eq!(doors.clear(id(1)).len(), 96);
        assert_eq!((doors.waiting(), doors.next()), (0, None));
    }

    proptest! {
        /// Whatever comes in whatever order: the bounds hold, whoever waited is let in or sent away once, and in the
        /// end nothing is left.
        #[test]
        fn everybody_is_let_in_or_sent_away_once(
            steps in prop::collection::vec((0_usize..5, 0_usize..8), 1..300),
            inside_max in 1_usize..6, each_max in 1_usize..4,
        ) {
            let mut doors = Doors::new(inside_max, each_max);
            let (mut came, mut gone) = (0, 0);
            let mut inside: BTreeMap<NodeId, usize> = BTreeMap::new();
            let all = steps.into_iter().chain((0..2_000).map(|n| (n % 5, 7)));
            for (router, step) in all {
                let router = id(router);
                match step {
                    0..=2 => {
                        came += 1;
                        doors.wait(router, id(10_000 + came));
                    }
                    3 => gone += doors.clear(router).len(),
                    4 | 5 => {
                        if let Some((router, _)) = doors.next() {
                            gone += 1;
                            *inside.entry(router).or_default() += 1;
                        }
                    }
                    _ => {
                        if inside.get(&router).is_some_and(|count| *count > 0) {
                            *inside.get_mut(&router).unwrap() -= 1;
                            doors.left(router);
                        }
                        if let Some((router, _)) = doors.next() {
                            gone += 1;
                            *inside.entry(router).or_default() += 1;
                        }
                    }
                }
                prop_assert!(inside.values().sum::<usize>() <= inside_max);
                prop_assert!(inside.values().all(|count| *count <= each_max));
                prop_assert_eq!(doors.waiting(), came - gone);
            }
            for (router, count) in inside {
                (0..count).for_each(|_| doors.left(router));
            }
            prop_assert_eq!(doors.waiting(), 0);
            prop_assert!(doors.doors.is_empty() && doors.turns.is_empty() && doors.inside == 0);
        }
    }
}
