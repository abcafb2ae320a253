//! What the delivering half counts.

use kit::admin::{Metrics, Seconds};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

/// Which kind of channel, and how the call ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    via: &'static str,
    outcome: &'static str,
}

/// Which kind of channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Via {
    via: &'static str,
}

/// How a delivery ended, for good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    end: &'static str,
}

/// The figures of the delivering half: `mastwatch_notifier_…`.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    calls: Family<Call, Counter>,
    seconds: Family<Via, Histogram, Seconds>,
    ends: Family<End, Counter>,
    /// From the decision that somebody is told to the moment the other side has it.
    pub(crate) told: Histogram,
    /// Times a notice was put off because its channel was busy.
    pub(crate) busy: Counter,
    /// Channels that said they want nothing any more.
    pub(crate) off: Gauge,
    /// Repetitions that had to be marked as possibly one.
    pub(crate) marked: Counter,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            calls: metrics.counters("calls", "Calls to channels, by how they ended"),
            seconds: metrics.seconds_by("call", "Time a call to a channel takes"),
            ends: metrics.counters("deliveries", "Deliveries that are over, by how"),
            told: metrics.seconds("told", "Time from the decision to the delivery"),
            busy: metrics.counter("busy", "Times a notice waited because its channel was busy"),
            off: metrics.gauge("channels_off", "Channels that answered that they want nothing any more"),
            marked: metrics.counter("possibly_repeated", "Messages marked as possibly a repetition"),
        }
    }

    /// One call of a channel of kind `via`.
    pub(crate) fn call(&self, via: &'static str, outcome: &'static str, seconds: f64) {
        self.calls.get_or_create(&Call { via, outcome }).inc();
        self.seconds.get_or_create(&Via { via }).observe(seconds);
    }

    /// One delivery that is over.
    pub(crate) fn end(&self, end: &'static str) {
        self.ends.get_or_create(&End { end }).inc();
    }
}
