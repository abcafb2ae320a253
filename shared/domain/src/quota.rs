//! How many walks a tenant may begin in an hour, and whose turn comes when they are used up.
//!
//! A suspicion beyond the quota is not dropped: it waits for its turn, says until when, and is looked into then.
//! Turns follow one another evenly, so that the end of an hour is no storm of its own. What is counted is the
//! last walk of each node, because that is what the log remembers.

use events::{NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};

/// The quota's hour, milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// When the last walk of each node began, or is to begin; of the last hour and the time to come.
#[derive(Debug, Default)]
pub(crate) struct Walks {
    of: BTreeMap<NodeId, Time>,
    in_order: BTreeSet<(Time, NodeId)>,
}

impl Walks {
    /// Remembers when a node's walk begins.
    pub(crate) fn note(&mut self, node: NodeId, begins: Time) {
        if let Some(before) = self.of.insert(node, begins) {
            self.in_order.remove(&(before, node));
        }
        self.in_order.insert((begins, node));
    }

    /// Forgets what is more than an hour old.
    pub(crate) fn forget(&mut self, now: Time) {
        let oldest = now.plus_ms(-HOUR_MS);
        while let Some(&(begun, node)) = self.in_order.first()
            && begun < oldest
        {
            self.in_order.pop_first();
            self.of.remove(&node);
        }
    }

    /// When one more walk may begin: now, or when its turn comes. What is over an hour old must be forgotten before.
    pub(crate) fn next(&self, now: Time, per_hour: u32) -> Time {
        let most = per_hour.max(1);
        let is_free = self.in_order.len() < most as usize;
        let (Some((first, _)), Some((last, _))) = (self.in_order.first(), self.in_order.last()) else {
            return now;
        };
        if is_free {
            return now;
        }
        let (a_place_is_free, after_the_last) =
            (first.plus_ms(HOUR_MS), last.plus_ms(HOUR_MS / i64::from(most)));
        a_place_is_free.max(after_the_last).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::TenantId;

    fn node(n: u32) -> NodeId {
        NodeId::of(TenantId::of("t"), &n.to_string())
    }

    #[test]
    fn beyond_the_quota_turns_come_evenly_and_not_before_an_hour_has_passed() {
        let mut walks = Walks::default();
        let start = Time::from_ms(1_800_000_000_000);
        for n in 0..10 {
            assert_eq!(walks.next(start, 10), start);
            walks.note(node(n), start);
        }
        let turns: Vec<i64> = (10..30)
            .map(|n| {
                let turn = walks.next(start, 10);
                walks.note(node(n), turn);
                turn.ms_since(start)
            })
            .collect();
        assert_eq!(turns[0], HOUR_MS);
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == HOUR_MS / 10), "{turns:?}");
        // No hour holds more than the quota allows, whichever hour it is.
        let later = start.plus_ms(HOUR_MS * 4);
        walks.forget(later);
        assert_eq!((walks.next(later, 10), walks.of.len()), (later, walks.in_order.len()));
    }

    #[test]
    fn a_node_counts_once() {
        let mut walks = Walks::default();
        let start = Time::from_ms(1_800_000_000_000);
        for n in 0..50 {
            walks.note(node(n % 2), start.plus_ms(i64::from(n)));
        }
        assert_eq!(walks.next(start, 3), start);
        assert_eq!(walks.in_order.len(), 2);
    }
}
