//! What the front door counts, beside what every HTTP server of ours counts by route and status.

use kit::admin::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

/// Which refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The figures of the front door: `mastwatch_ingest_…`.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Signals stored for the first time.
    pub(crate) accepted: Counter,
    /// Signals answered with an earlier one's id.
    pub(crate) duplicates: Counter,
    /// How long storing takes, as a sender waits for it.
    pub(crate) publish: Histogram,
    /// Signals whose number could not be remembered.
    pub(crate) unremembered: Counter,
    refusals: Family<Reason, Counter>,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            accepted: metrics.counter("signals_accepted", "Signals stored for the first time"),
            duplicates: metrics.counter("signals_repeated", "Signals that had been stored before"),
            publish: metrics.seconds("publish", "Time until the log has stored a request's signals"),
            unremembered: metrics.counter(
                "signals_unremembered",
                "Signals of senders beyond those that are remembered: stale ones of theirs are not refused",
            ),
            refusals: metrics.counters("refusals", "Requests refused, by reason"),
        }
    }

    /// Counts one refusal.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Reason { reason }).inc();
    }
}
