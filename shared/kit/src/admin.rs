//! How a process is asked how it is: alive, ready, and in figures.
//!
//! Each process serves `/healthz`, `/readyz` and `/metrics` on a port of its own, apart from whatever
//! its services serve, so that these answer while the front door is full. Ready means that
//! every condition that was ever named holds; what has not yet said that it is ready is not.

use crate::config::Durability;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};
use serde::Serialize;
use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt::{self, Debug},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Which program this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// The version of the release.
    pub version: &'static str,
    /// The revision it was built from.
    pub revision: &'static str,
}

/// What the parts of a process say about themselves.
#[derive(Debug, Clone, Default)]
pub struct Board {
    shown: Arc<Mutex<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    /// Why each condition does not hold; `None` when it does.
    conditions: BTreeMap<String, Option<String>>,
    /// Set once and for good when the process was told to stop.
    draining: bool,
}

/// One condition: its owner says whether it holds.
#[derive(Debug, Clone)]
pub struct Readiness {
    board: Board,
    name: String,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadyReport {
    /// Whether every condition holds.
    pub ready: bool,
    /// What the log's servers were told about durability.
    pub durability: Durability,
    /// Each condition: `null`, or why it does not hold.
    pub conditions: BTreeMap<String, Option<String>>,
}

impl Board {
    /// Names a condition. Until it is said to hold, it does not.
    pub fn condition(&self, name: impl Into<String>) -> Readiness {
        let readiness = Readiness { board: self.clone(), name: name.into() };
        readiness.not_ready("starting");
        readiness
    }

    /// From here on nothing is ready: the process was told to stop.
    pub fn drain(&self) {
        self.shown().draining = true;
    }

    /// How it is now.
    pub fn report(&self, durability: Durability) -> ReadyReport {
        let shown = self.shown();
        let mut conditions = shown.conditions.clone();
        if shown.draining {
            conditions.insert("process".into(), Some("told to stop, finishing what was begun".into()));
        }
        let ready = !conditions.is_empty() && conditions.values().all(Option::is_none);
        ReadyReport { ready, durability, conditions }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // A panic elsewhere leaves nothing half-done in here.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readiness {
    /// The condition holds.
    pub fn ready(&self) {
        self.set(None);
    }

    /// It does not, and why.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    /// A condition of its own below this one, such as `projector/postgres`.
    pub fn part(&self, name: &str) -> Readiness {
        self.board.condition(format!("{}/{name}", self.name))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn set(&self, why_not: Option<String>) {
        let mut shown = self.board.shown();
        let before = shown.conditions.insert(self.name.clone(), why_not.clone());
        drop(shown);
        if before.as_ref() != Some(&why_not) {
            match why_not {
                None => tracing::info!(condition = self.name, "ready"),
                Some(why) => tracing::info!(condition = self.name, why, "not ready"),
            }
        }
    }
}

/// Where a service registers its figures; they are called `mastwatch_<service>_<name>`.
///
/// Asking twice for a name gives the same figure, so a service that is started again goes on counting.
#[derive(Clone, Default)]
pub struct Metrics {
    shelf: Arc<Mutex<Shelf>>,
    prefix: String,
}

#[derive(Default)]
struct Shelf {
    registry: Registry,
    known: HashMap<String, (Figure, Box<dyn Any + Send>)>,
}

/// One figure, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figure {
    /// Its name as it is read.
    pub name: String,
    /// counter, gauge or histogram.
    pub kind: String,
    /// What it tells.
    pub help: String,
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Metrics {
    /// The figures of one process, with `mastwatch_build_info`.
    pub fn of_process(build: Build) -> Self {
        let metrics = Self::default();
        let labels = vec![("version", build.version), ("revision", build.revision)];
        metrics.shelf().registry.register("mastwatch_build", "Which program this is", Info::new(labels));
        metrics
    }

    /// The figures of one service, or of a part of one.
    #[must_use]
    pub fn under(&self, name: &str) -> Self {
        let prefix = if self.prefix.is_empty() {
            format!("mastwatch_{}", name.replace(['-', '/'], "_"))
        } else {
            format!("{}_{}", self.prefix, name.replace(['-', '/'], "_"))
        };
        Self { shelf: Arc::clone(&self.shelf), prefix }
    }

    /// The figure `name`, made by `make` when it is asked for the first time.
    ///
    /// # Panics
    ///
    /// When the name is that of a figure of another type.
    pub fn register<M: Metric + Clone>(
        &self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        make: impl FnOnce() -> M,
    ) -> M {
        let full = if self.prefix.is_empty() { name.to_owned() } else { format!("{}_{name}", self.prefix) };
        let mut shelf = self.shelf();
        if let Some((_, known)) = shelf.known.get(&full) {
            return known.downcast_ref::<M>().expect("one name belongs to one type of figure").clone();
        }
        let metric = make();
        let kind = metric.metric_type();
        let unit_ending = unit.as_ref().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let is_counter = matches!(kind, MetricType::Counter);
        let ending = unit_ending + if is_counter { "_total" } else { "" };
        let figure =
            Figure { name: full.clone() + &ending, kind: kind.as_str().to_owned(), help: help.to_owned() };
        match unit {
            Some(unit) => shelf.registry.register_with_unit(full.clone(), help, unit, metric.clone()),
            None => shelf.registry.register(full.clone(), help, metric.clone()),
        }
        shelf.known.insert(full, (figure, Box::new(metric.clone())));
        metric
    }

    /// A figure that only grows; its name ends in `_total` when read.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, None, Counter::default)
    }

    /// A figure that rises and falls.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, None, Gauge::default)
    }

    /// Counters by label.
    pub fn counters<L>(&self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
    {
        self.register(name, help, None, Family::default)
    }

    /// How long something takes, in seconds; its name ends in `_seconds` when read.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.register(name, help, Some(Unit::Seconds), || Seconds.new_metric())
    }

    /// How long something takes, by label.
    pub fn seconds_by<L>(&self, name: &str, help: &str) -> Family<L, Histogram, Seconds>
    where
        L: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
    {
        self.register(name, help, Some(Unit::Seconds), || Family::new_with_constructor(Seconds))
    }

    /// Every figure that has been asked for so far, by name; `mastwatch_build_info` is none of them.
    pub fn list(&self) -> Vec<Figure> {
        let mut all: Vec<Figure> = self.shelf().known.values().map(|(figure, _)| figure.clone()).collect();
        all.sort();
        all
    }

    /// All figures of the process as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// [`fmt::Error`] when a figure cannot be written down.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.shelf().registry)?;
        Ok(text)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic elsewhere leaves nothing half-done in here.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes histograms from half a millisecond to half a minute.
#[derive(Debug, Clone, Copy)]
pub struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ])
    }
}

#[derive(Debug, Clone)]
struct Desk {
    board: Board,
    metrics: Metrics,
    durability: Durability,
}

/// The routes `/healthz`, `/readyz` and `/metrics`.
pub fn routes(board: Board, metrics: Metrics, durability: Durability) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Desk { board, metrics, durability })
}

async fn readyz(State(desk): State<Desk>) -> Response {
    let report = desk.board.report(desk.durability);
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

async fn metrics_text(State(desk): State<Desk>) -> Response {
    match desk.metrics.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "writing down the figures");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_what_has_said_so_and_nothing_else() {
        let board = Board::default();
        assert!(!board.report(Durability::Always).ready, "nobody has said anything");
        let ingest = board.condition("ingest");
        let log = ingest.part("log");
        ingest.ready();
        let report = board.report(Durability::Always);
        assert_eq!((report.ready, &report.conditions["ingest/log"]), (false, &Some("starting".into())));
        log.ready();
        assert!(board.report(Durability::Always).ready);
        log.not_ready("no answer from the log");
        assert!(!board.report(Durability::Always).ready);
        log.ready();
        board.drain();
        assert!(!board.report(Durability::Always).ready);
    }

    #[test]
    fn a_figure_asked_for_twice_is_one_figure() {
        let metrics = Metrics::of_process(Build { version: "1.2.3", revision: "abc" });
        metrics.under("ingest").counter("stored", "Stored").inc();
        metrics.under("ingest").counter("stored", "Stored").inc();
        metrics.under("ingest").seconds("answer", "Time to answer").observe(0.2);
        let text = metrics.text().unwrap();
        assert_eq!(text.matches("# TYPE mastwatch_ingest_stored counter").count(), 1, "{text}");
        assert!(text.contains("mastwatch_ingest_stored_total 2\n"), "{text}");
        assert!(text.contains("mastwatch_ingest_answer_seconds_count 1\n"), "{text}");
        assert!(text.contains("mastwatch_build_info{version=\"1.2.3\",revision=\"abc\"} 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    #[should_panic(expected = "one name belongs to one type of figure")]
    fn a_name_is_never_two_figures() {
        let metrics = Metrics::default();
        metrics.counter("x", "");
        metrics.gauge("x", "");
    }
}
