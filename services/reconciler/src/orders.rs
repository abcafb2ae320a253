//! Orders to look at a router that have not reached it yet.
//!
//! An order may come before the inventory that it is about, or before the slot of its router: it is kept for a
//! while. The last minutes are read again at a start, so that an order is not lost with who had heard it;
//! carried out twice, it finds nothing to do.

use crate::figures::Figures;
use events::{EventId, Fact, Heard, NodeId, Order, Time};
use std::collections::VecDeque;

/// How long an order waits, and how far back orders are read at a start, milliseconds.
pub(crate) const KEPT_MS: i64 = 5 * 60_000;
/// How many wait at most; beyond that the oldest are dropped.
const WAITING_MAX: usize = 10_000;

/// An order that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// Which router is to be looked at.
    pub(crate) router: NodeId,
    /// The event that ordered it.
    pub(crate) event: EventId,
    /// Whether it may be changed.
    pub(crate) writes: bool,
    /// Whether it is asked whom it sees.
    pub(crate) scans: bool,
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
        let (router, writes, scans) = match said.order {
            Order::DrawPlan { router } => (router, false, false),
            Order::Repair { router } => (router, true, false),
            Order::Scan { router } => (router, false, true),
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
        self.waiting.push_back(Waiting { router, event: heard.id, writes, scans, heard: heard.heard });
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
