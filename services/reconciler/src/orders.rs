//! Orders to look at a router that have not reached it yet.
//!
//! An order may come before the inventory that it is about, or before the slot of its router: it is kept for a
//! while. The last minutes are read again at a start, so that an order is not lost with who had heard it;
//! carried out twice, it finds nothing to do.

use crate::figures::Figures;
use events::{EventId, Fact, Heard, NodeId, Order, PlanDigest, Time};
use std::collections::VecDeque;

/// How long an order waits, and how far back orders are read at a start, milliseconds.
pub(crate) const KEPT_MS: i64 = 5 * 60_000;
/// How many wait at most; beyond that the oldest are dropped.
const WAITING_MAX: usize = 10_000;

/// What is ordered of a router.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ordered {
    /// A look.
    Look {
        /// Whether it may be changed.
        writes: bool,
        /// Whether it is asked whom it sees.
        scans: bool,
    },
    /// To cut off those who are held back.
    Cut {
        /// Which they were when somebody said yes.
        plan: PlanDigest,
    },
}

/// An order that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// Which router is to be looked at.
    pub(crate) router: NodeId,
    /// The event that ordered it.
    pub(crate) event: EventId,
    /// What is to be done there.
    pub(crate) ordered: Ordered,
    heard: Time,
}

/// Orders that wait.
#[derive(Debug)]
pub(crate) struct Orders {
    waiting: VecDeque<Waiting>,
    figures: Figures,
}

impl Orders {
    pub(crate) fn new(figures: Figures) -> Self {
        Self { waiting: VecDeque::new(), figures }
    }

    /// Hears of an order.
    pub(crate) fn hear(&mut self, heard: &Heard) {
        let Fact::Order(said) = &heard.fact else { return };
        let (router, ordered) = match said.order {
            Order::DrawPlan { router } => (router, Ordered::Look { writes: false, scans: false }),
            Order::Repair { router } => (router, Ordered::Look { writes: true, scans: false }),
            Order::Scan { router } => (router, Ordered::Look { writes: false, scans: true }),
            Order::CutHeld { router, plan } => (router, Ordered::Cut { plan }),
            Order::Acknowledge { .. }
            | Order::CloseAsWrong { .. }
            | Order::LiveCheck { .. }
            | Order::AddSighting { .. }
            | Order::RejectSighting { .. }
            | Order::OpenSightings { .. } => return,
        };
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
            self.figures.orders_dropped.inc();
        }
        self.waiting.push_back(Waiting { router, event: heard.id, ordered, heard: heard.heard });
    }

    /// Hands out those that `take` takes.
    pub(crate) fn hand_out(&mut self, now: Time, mut take: impl FnMut(&Waiting) -> bool) {
        let from = now.plus_ms(-KEPT_MS);
        let figures = &self.figures;
        self.waiting.retain(|order| {
            if order.heard < from {
                figures.orders_dropped.inc();
                return false;
            }
            !take(order)
        });
        self.figures.orders.set(i64::try_from(self.waiting.len()).unwrap_or(i64::MAX));
    }
}
