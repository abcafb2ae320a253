//! What the keeper counts.

use crate::routers::Census;
use events::{Outcome, Probe, Question};
use kit::{KeeperStats, admin::Metrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::sync::atomic::Ordering;

/// How a probe was made, for whom, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ended {
    /// `icmp`, `tcp`, `routeros`, `ping_through`, `session`, `roll_call`.
    pub(crate) kind: &'static str,
    /// `heartbeat` or `ask`.
    pub(crate) purpose: &'static str,
    /// `replied`, `silent`, `router_silent`, `unanswered`, `session`, `roll_call`.
    pub(crate) outcome: &'static str,
}

/// Everything the keeper counts.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Probes that have ended.
    pub(crate) probes: Family<Ended, Counter>,
    /// Asks that wait or are worked on.
    pub(crate) asks: Gauge,
    /// Asks answered "unanswered" because too many waited.
    pub(crate) asks_overflown: Counter,
    /// Asks heard a second time.
    pub(crate) asks_repeated: Counter,
    /// Asks whose deadline passed before they were answered.
    pub(crate) asks_late: Counter,
    /// From an ask's being asked to its last answer's being stored.
    pub(crate) ask_answered: Histogram,
    /// Nodes that are watched.
    pub(crate) watched: Gauge,
    /// How much later than planned heartbeats begin.
    pub(crate) heartbeat_lateness: Histogram,
    /// Heartbeats left out because the one before was still going on, or too many were.
    pub(crate) heartbeats_skipped: Counter,
    /// Answers that were stored.
    pub(crate) answers_said: Counter,
    /// Answers that could not be stored while they were any use.
    pub(crate) answers_lost: Counter,
    /// Claims of static subscribers that were stored.
    pub(crate) claims_said: Counter,
    /// Claims that could not be stored while they were any use.
    pub(crate) claims_lost: Counter,
    /// Persons whose address was opened, to ping them.
    pub(crate) persons: Counter,
    /// Slots that are worked on.
    pub(crate) slots: Gauge,
    /// Whether a reference answers: 1, or 0 while this point of presence is blind.
    pub(crate) sees: Gauge,
    /// Times a silence was not said because no reference answered.
    pub(crate) unproven: Counter,
    routers: Gauge,
    sessions: Gauge,
    open: Gauge,
    logins: Counter,
    fresh_logins: Counter,
    echo_window: Gauge,
    echo_buffer: Gauge,
    asks_undecodable: Gauge,
    asks_kept_late: Gauge,
    asks_dropped: Gauge,
}

impl Figures {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            probes: metrics.counters("probes", "Probes that have ended"),
            asks: metrics.gauge("asks", "Asks that wait or are worked on"),
            asks_overflown: metrics.counter("asks_overflown", "Asks not taken because too many waited"),
            asks_repeated: metrics.counter("asks_repeated", "Asks heard a second time"),
            asks_late: metrics.counter("asks_late", "Asks whose deadline passed before they were answered"),
            ask_answered: metrics.seconds("ask_answered", "From asking to the last answer being stored"),
            watched: metrics.gauge("watched", "Nodes that are watched"),
            heartbeat_lateness: metrics
                .seconds("heartbeat_lateness", "How much later than planned heartbeats begin"),
            heartbeats_skipped: metrics.counter("heartbeats_skipped", "Heartbeats left out"),
            answers_said: metrics.counter("answers_said", "Answers that were stored"),
            answers_lost: metrics.counter("answers_lost", "Answers that could not be stored in time"),
            claims_said: metrics.counter("claims_said", "Claims of static subscribers that were stored"),
            claims_lost: metrics.counter("claims_lost", "Claims that could not be stored in time"),
            persons: metrics.counter("persons_opened", "Persons whose address was opened, to ping them"),
            slots: metrics.gauge("slots", "Slots that are worked on"),
            sees: metrics
                .gauge("sees", "Whether a reference answers (1), or this point of presence is blind (0)"),
            unproven: metrics
                .counter("silences_unproven", "Times a silence was not said because no reference answered"),
            routers: metrics.gauge("routers", "Routers that are spoken to"),
            sessions: metrics.gauge("router_sessions", "Routers with a standing session"),
            open: metrics
                .gauge("routers_open", "Routers that are not tried by turns: their circuit is not closed"),
            logins: metrics.counter("router_logins", "Logins for sessions that everybody shares"),
            fresh_logins: metrics.counter("router_fresh_logins", "Logins of later tries of probes"),
            echo_window: metrics.gauge("echo_window", "ICMP echoes that may be under way at once"),
            echo_buffer: metrics.gauge("echo_buffer_bytes", "Receive buffer of the ICMP socket"),
            asks_undecodable: metrics
                .gauge("asks_undecodable", "Asks that could not be read, since the start"),
            asks_kept_late: metrics
                .gauge("asks_expired", "Asks whose deadline passed unheard, since the start"),
            asks_dropped: metrics.gauge("asks_dropped", "Asks dropped unheard because too many waited"),
        }
    }

    /// Counts a probe that has ended.
    pub(crate) fn ended(&self, kind: &'static str, purpose: &'static str, outcome: &'static str) {
        self.probes.get_or_create(&Ended { kind, purpose, outcome }).inc();
    }

    /// Takes over figures that others keep.
    pub(crate) fn take(&self, census: Census, (window, buffer_bytes): (usize, usize), keeper: &KeeperStats) {
        self.routers.set(as_i64(census.routers as u64));
        self.sessions.set(as_i64(census.connected as u64));
        self.open.set(as_i64(census.open as u64));
        self.logins.inc_by(census.logins.saturating_sub(self.logins.get()));
        self.fresh_logins.inc_by(census.fresh_logins.saturating_sub(self.fresh_logins.get()));
        self.echo_window.set(as_i64(window as u64));
        self.echo_buffer.set(as_i64(buffer_bytes as u64));
        self.asks_undecodable.set(as_i64(keeper.undecodable.load(Ordering::Relaxed)));
        self.asks_kept_late.set(as_i64(keeper.late.load(Ordering::Relaxed)));
        self.asks_dropped.set(as_i64(keeper.dropped.load(Ordering::Relaxed)));
    }
}

fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What a probe is called in figures.
pub(crate) fn kind_of_probe(probe: Probe) -> &'static str {
    match probe {
        Probe::Icmp => "icmp",
        Probe::Tcp { .. } => "tcp",
        Probe::RouterOs => "routeros",
    }
}

/// What a question is called in figures.
pub(crate) fn kind_of(question: &Question) -> &'static str {
    match question {
        Question::Reach { probe } => kind_of_probe(*probe),
        Question::PingThrough { .. } => "ping_through",
        Question::Session { .. } => "session",
        Question::RollCall { .. } => "roll_call",
    }
}

/// What an outcome is called in figures.
pub(crate) fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Replied { .. } => "replied",
        Outcome::Silent { .. } => "silent",
        Outcome::RouterSilent { .. } => "router_silent",
        Outcome::Unanswered { .. } => "unanswered",
        Outcome::Session { .. } => "session",
        Outcome::RollCall(_) => "roll_call",
    }
}
