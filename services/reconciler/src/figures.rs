//! What the keeper counts.

use kit::admin::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

/// How a look at a router ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct VisitEnded {
    /// `proposed`, `as_desired`, `incomplete`, `unfit`, `unreachable`, `taken` or `failed`; of the enforcer also
    /// `in_force`, `held` and `nothing`.
    pub(crate) outcome: &'static str,
    /// `schedule`, `order` or `reconnect`.
    pub(crate) why: &'static str,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RepairEnded {
    /// `made`, `refused`, `unknown` or `found`.
    pub(crate) outcome: &'static str,
}

/// What followed from the word that somebody dialled in who is not to be served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DialledIn {
    /// `ordered`: a look; `too_soon`: one was a moment ago, or too many are remembered.
    pub(crate) outcome: &'static str,
}

/// How a scan ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ScanEnded {
    /// `scanned` or `failed`.
    pub(crate) outcome: &'static str,
}

/// What was said of a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Sighted {
    /// `known`, `proposed`, `moved`, `rejected` or `gone`.
    pub(crate) state: &'static str,
}

/// Everything the keeper counts.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Slots that are worked on.
    pub(crate) slots: Gauge,
    /// Routers that are looked at by turns.
    pub(crate) routers: Gauge,
    /// Routers with a standing session.
    pub(crate) sessions: Gauge,
    /// Routers whose circuit is not closed.
    pub(crate) open: Gauge,
    /// Logins for those sessions.
    pub(crate) logins: Counter,
    /// Looks that are under way.
    pub(crate) running: Gauge,
    /// Looks that have ended.
    pub(crate) visits: Family<VisitEnded, Counter>,
    /// How long a look takes.
    pub(crate) took: Histogram,
    /// How much later than planned a look begins.
    pub(crate) lateness: Histogram,
    /// Looks of the enforcer that have ended.
    pub(crate) enforcements: Family<VisitEnded, Counter>,
    /// Subscribers who were cut off.
    pub(crate) cuts: Counter,
    /// Subscribers who would be cut off and are held back.
    pub(crate) held: Gauge,
    /// Words that somebody dialled in who is not to be served.
    pub(crate) dialled_in: Family<DialledIn, Counter>,
    /// Persons whose user name or address was opened.
    pub(crate) persons: Counter,
    /// Changes of routers.
    pub(crate) repairs: Family<RepairEnded, Counter>,
    /// Claims of what nobody had heard of: pushes that were missed.
    pub(crate) differences: Counter,
    /// Scans that have ended.
    pub(crate) scans: Family<ScanEnded, Counter>,
    /// News of devices.
    pub(crate) sighted: Family<Sighted, Counter>,
    /// Devices that a scan left out because a router sees too many.
    pub(crate) left_out: Counter,
    /// Devices that are remembered.
    pub(crate) devices: Gauge,
    /// Orders that wait for their router.
    pub(crate) orders: Gauge,
    /// Orders that were dropped because too many waited, or nobody could carry them out in time.
    pub(crate) orders_dropped: Counter,
}

impl Figures {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            slots: metrics.gauge("slots", "Slots that are worked on"),
            routers: metrics.gauge("routers", "Routers that are looked at by turns"),
            sessions: metrics.gauge("router_sessions", "Routers with a standing session"),
            open: metrics.gauge(
                "routers_open",
                "Routers whose circuit is not closed: the last attempts to log in failed",
            ),
            logins: metrics.counter("router_logins", "Logins for sessions with routers"),
            running: metrics.gauge("visits_running", "Looks at routers that are under way"),
            visits: metrics.counters("visits", "Looks at routers that have ended"),
            took: metrics.seconds("visit", "How long a look at a router takes"),
            lateness: metrics.seconds("visit_lateness", "How much later than planned a look begins"),
            enforcements: metrics
                .counters("enforcements", "Looks at what routers show of what subscribers are entitled to"),
            cuts: metrics.counter("cuts", "Subscribers who were cut off, or whose session was ended"),
            held: metrics.gauge("cuts_held", "Subscribers who would be cut off and are held back"),
            dialled_in: metrics
                .counters("dialled_in", "Words that somebody dialled in who is not to be served"),
            persons: metrics.counter("persons_opened", "Persons whose user name or address was opened"),
            repairs: metrics.counters("repairs", "Changes of routers that were made or tried"),
            differences: metrics
                .counter("differences", "Claims of what a router knew and nobody had heard of"),
            scans: metrics.counters("scans", "Scans of what routers see around them that have ended"),
            sighted: metrics.counters("sightings", "News of devices that routers see around them"),
            left_out: metrics
                .counter("sightings_left_out", "Devices that a scan left out because a router sees too many"),
            devices: metrics.gauge("devices", "Devices that routers see around them and that are remembered"),
            orders: metrics.gauge("orders_waiting", "Orders that wait for their router"),
            orders_dropped: metrics.counter("orders_dropped", "Orders that nobody could carry out in time"),
        }
    }
}
