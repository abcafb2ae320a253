//! Who dials in though he is not to be served: his router is looked at at once, and not at its next turn.
//!
//! A user who lives in RADIUS comes back as soon as his session was ended. The router's own word that he is there
//! orders a look; what is done then the look decides by what it finds. A box that dials in without end orders no
//! more than one look in a while; between them the next turn is early enough.

use crate::{
    book::Book,
    figures::{DialledIn, Figures},
    schedule::{Asked, Schedule},
};
use events::{About, Claim, Fact, Heard, NodeId, SignalSource};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Of how many subscribers it is remembered when a look was ordered; who is one more waits for his router's turn.
const REMEMBERED_MAX: usize = 10_000;

/// Looks that were ordered because somebody dialled in.
#[derive(Debug)]
pub(crate) struct Dialled {
    ordered: HashMap<NodeId, Instant>,
    every: Duration,
    figures: Figures,
}

impl Dialled {
    /// At most one look for each subscriber within `every`.
    pub(crate) fn new(every: Duration, figures: Figures) -> Self {
        Self { ordered: HashMap::new(), every, figures }
    }

    /// Hears a claim, and orders a look at the routers of ours that may hold the session of somebody who is not to be
    /// served.
    pub(crate) fn hear(&mut self, heard: &Heard, book: &Book, schedule: &mut Schedule, now: Instant) {
        let Fact::Signal(signal) = &heard.fact else { return };
        let (SignalSource::Ppp, Claim::Up, About::Session(key)) = (signal.source, signal.says, signal.about)
        else {
            return;
        };
        let Some((subscriber, mut routers)) = book.unserved(heard.tenant, key) else { return };
        // Where he is, if the router says so itself.
        if let Some(sender) = signal.sender.filter(|sender| routers.contains(sender)) {
            routers.retain(|router| *router == sender);
        }
        routers.retain(|router| schedule.has(*router));
        if routers.is_empty() {
            return;
        }
        let outcome = if self.may(subscriber, now) {
            routers.into_iter().for_each(|router| _ = schedule.order(router, Asked::change(heard.id)));
            "ordered"
        } else {
            "too_soon"
        };
        self.figures.dialled_in.get_or_create(&DialledIn { outcome }).inc();
    }

    /// Whether another look may be ordered for him; if so, it is.
    fn may(&mut self, subscriber: NodeId, now: Instant) -> bool {
        if self.ordered.len() >= REMEMBERED_MAX {
            let every = self.every;
            self.ordered.retain(|_, at| now.saturating_duration_since(*at) < every);
        }
        let before = self.ordered.get(&subscriber);
        let is_soon = before.is_some_and(|at| now.saturating_duration_since(*at) < self.every);
        if is_soon || (before.is_none() && self.ordered.len() >= REMEMBERED_MAX) {
            return false;
        }
        self.ordered.insert(subscriber, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::TenantId;
    use kit::admin::{Build, Metrics};

    #[test]
    fn nobody_orders_more_than_one_look_in_a_while_and_only_so_many_are_remembered() {
        let metrics = Metrics::of_process(Build { version: "0", revision: "test" });
        let every = Duration::from_secs(60);
        let mut dialled = Dialled::new(every, Figures::new(&metrics.under("reconciler")));
        let node = |n: usize| NodeId::of(TenantId::of("hillside"), &n.to_string());
        let now = Instant::now();
        assert!(dialled.may(node(0), now) && !dialled.may(node(0), now + every / 2));
        assert!(dialled.may(node(0), now + every), "a while is over");
        for n in 1..REMEMBERED_MAX {
            assert!(dialled.may(node(n), now + every));
        }
        assert!(!dialled.may(node(REMEMBERED_MAX), now + every), "one too many");
        assert!(dialled.may(node(REMEMBERED_MAX), now + every * 2), "the others are forgotten");
        assert_eq!(dialled.ordered.len(), 1);
    }
}
