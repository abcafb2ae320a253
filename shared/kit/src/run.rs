//! How a process lives: it starts its services, keeps them going, and ends in good order.
//!
//! A service that fails or panics is logged once, with the whole chain of reasons, and started again
//! after a growing pause; one that keeps failing ends the process, so that whoever started it
//! can see it. A signal makes everything unready first, then ends the inboxes, then waits for what was
//! begun; a second signal, or the end of patience, ends it at once.

use crate::{
    admin::{self, Board, Build, Metrics, Readiness},
    config::Common,
    http::{self, Limits},
    log::{Log, LogConfig, LogError},
    telemetry::Telemetry,
};
use anyhow::anyhow;
use futures::{FutureExt, future::BoxFuture};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// How often the connection to the log is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// Groups of published events under way where deciders of the same process commit too: with four, the notice of
/// a storm of 100,000 reports comes two seconds later.
const GROUPS_BESIDE_DECIDERS: usize = 2;

/// What a service is given.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name: in ids, subjects, figures and log lines.
    pub name: &'static str,
    /// What concerns every service.
    pub common: Arc<Common>,
    /// Where facts are heard and said. One connection for the whole process.
    pub log: Log,
    /// Cancelled when it is to end: take nothing new, finish what was begun, return.
    pub stop: CancellationToken,
    /// Whether it can work. Not until it says so.
    pub readiness: Readiness,
    /// Where it registers its figures.
    pub metrics: Metrics,
}

impl Service {
    /// A service without a process around it: for a command that does one thing and ends.
    pub fn alone(name: &'static str, common: Common, log: Log) -> Self {
        let build = Build { version: env!("CARGO_PKG_VERSION"), revision: "" };
        Self {
            name,
            common: Arc::new(common),
            log,
            stop: CancellationToken::new(),
            readiness: Board::default().condition(name),
            metrics: Metrics::of_process(build).under(name),
        }
    }
}

/// What is done about a service that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The process ends. For one service a process, where somebody else starts it again.
    Never,
    /// It is started again: after `first`, then twice as long each time up to `most`. When it has failed
    /// more than `times` within `within`, the process ends.
    Bounded {
        /// The first pause.
        first: Duration,
        /// The longest pause.
        most: Duration,
        /// How many failures are borne.
        times: u32,
        /// Within which time.
        within: Duration,
    },
}

impl Restart {
    /// For many services in one process: half a second up to 30 s; more than 20 failures in ten minutes end it.
    pub const PATIENT: Restart = Restart::Bounded {
        first: Duration::from_millis(500),
        most: Duration::from_secs(30),
        times: 20,
        within: Duration::from_secs(600),
    };
}

/// Why a process could not begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its admin port is not to be had.
    #[error("opening the admin port")]
    Admin(#[source] io::Error),
    /// It cannot be told to stop.
    #[error("listening for signals")]
    Signals(#[source] io::Error),
}

/// Why a process did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log is not for us. A log that is merely away is waited for.
    #[error("connecting to the log")]
    Log(#[source] LogError),
    /// A service failed, and was not to be started again.
    #[error("running {service}")]
    Failed {
        /// Which one.
        service: &'static str,
        /// Its last failure.
        source: anyhow::Error,
    },
    /// It was told to stop, and these services did not end in time.
    #[error("{} did not end within {} s and was cut off", services.join(", "), within.as_secs())]
    CutOff {
        /// Which ones.
        services: Vec<&'static str>,
        /// The time they had.
        within: Duration,
    },
    /// It was told to stop twice.
    #[error("{} was cut off by a second signal", .0.join(", "))]
    Hurried(Vec<&'static str>),
}

type Start = Box<dyn Fn(Service) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// One process and the services in it.
pub struct Process {
    common: Arc<Common>,
    board: Board,
    metrics: Metrics,
    stop: CancellationToken,
    telemetry: Telemetry,
    admin: TcpListener,
    admin_address: SocketAddr,
    signals: [Signal; 2],
    restart: Restart,
    services: BTreeMap<&'static str, Start>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("services", &self.services.keys()).finish_non_exhaustive()
    }
}

impl Process {
    /// Opens the admin port and begins to listen for signals. `telemetry` is finished when the process is.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when one of the two cannot be had.
    pub async fn open(common: Common, build: Build, telemetry: Telemetry) -> Result<Self, OpenError> {
        crate::telemetry::use_ring();
        let hear = |kind| signal(kind).map_err(OpenError::Signals);
        let signals = [hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?];
        let admin = http::listen(common.admin_address).await.map_err(OpenError::Admin)?;
        let admin_address = admin.local_addr().map_err(OpenError::Admin)?;
        Ok(Self {
            common: Arc::new(common),
            board: Board::default(),
            metrics: Metrics::of_process(build),
            stop: CancellationToken::new(),
            telemetry,
            admin,
            admin_address,
            signals,
            restart: Restart::Never,
            services: BTreeMap::new(),
        })
    }

    /// What is done about services that fail; [`Restart::Never`] unless said.
    #[must_use]
    pub fn restarting(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Adds a service. `start` is called once for each time it is started.
    #[must_use]
    pub fn service<F>(
        mut self,
        name: &'static str,
        start: impl Fn(Service) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.services.insert(name, Box::new(move |service| start(service).boxed()));
        self
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Cancelling this has the effect of a signal.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Where conditions are named that are not of one service.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// The figures of the process.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Runs every service until a signal, a cancelled stop, or one that is given up; then drains.
    ///
    /// # Errors
    ///
    /// [`RunError`] when a service was given up or cut off.
    pub async fn run(self) -> Result<(), RunError> {
        let Process {
            common,
            board,
            metrics,
            stop,
            telemetry,
            admin,
            admin_address,
            mut signals,
            restart,
            services,
        } = self;
        let admin_stop = CancellationToken::new();
        let admin = tokio::spawn({
            let routes = admin::routes(board.clone(), metrics.clone(), common.durability);
            let (metrics, stop) = (metrics.under("admin"), admin_stop.clone());
            let limits = Limits {
                connections: 64,
                requests: 16,
                drain_within: Duration::from_secs(1),
                ..Limits::default()
            };
            async move { http::serve(admin, routes, limits, &metrics, stop).await }
        });
        let names: Vec<&'static str> = services.keys().copied().collect();
        tracing::info!(%admin_address, durability = %common.durability, services = ?names, "running");

        let log_stands = board.condition("log");
        let connected = tokio::select! {
            () = stop.cancelled() => None,
            () = told_to_stop(&mut signals) => None,
            connected = connect(&common, &names) => Some(connected),
        };
        let outcome = match connected {
            None => {
                board.drain();
                Ok(())
            }
            Some(Err(error)) => Err(RunError::Log(error)),
            Some(Ok(log)) => {
                let figures = LogFigures::of(&metrics);
                let watching = tokio::spawn(watch(log.clone(), log_stands, figures, admin_stop.clone()));
                let crew = Crew { common, board, metrics, stop, restart, log };
                let outcome = crew.live(services, &mut signals).await;
                watching.abort();
                outcome
            }
        };
        admin_stop.cancel();
        if let Ok(Err(error)) = admin.await {
            tracing::warn!(%error, "closing the admin port");
        }
        tracing::info!("ended");
        telemetry.finish().await;
        outcome
    }
}

/// What running services needs.
struct Crew {
    common: Arc<Common>,
    board: Board,
    metrics: Metrics,
    stop: CancellationToken,
    restart: Restart,
    log: Log,
}

impl Crew {
    /// Runs `services` until the process is told to stop or one is given up; then drains.
    async fn live(
        self,
        services: BTreeMap<&'static str, Start>,
        signals: &mut [Signal; 2],
    ) -> Result<(), RunError> {
        let mut running = BTreeSet::new();
        let mut tasks = JoinSet::new();
        for (name, start) in services {
            let service = Service {
                name,
                common: Arc::clone(&self.common),
                log: self.log.clone(),
                stop: self.stop.clone(),
                readiness: self.board.condition(name),
                metrics: self.metrics.under(name),
            };
            running.insert(name);
            let (span, restart) = (tracing::info_span!("service", service = name), self.restart);
            tasks.spawn(async move { (name, supervise(&service, &start, restart).await) }.instrument(span));
        }

        let mut outcome = Ok(());
        let mut ended = |joined: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>,
                         running: &mut BTreeSet<&'static str>| {
            let (name, result) = joined.expect("a supervisor catches panics and is aborted only below");
            running.remove(name);
            if let (Err(source), true) = (result, outcome.is_ok()) {
                outcome = Err(RunError::Failed { service: name, source });
            }
        };
        // The first service that ends, ends the process: `supervise` returns only when it gives up.
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = told_to_stop(signals) => {}
            Some(joined) = tasks.join_next() => ended(joined, &mut running),
        }

        self.board.drain();
        self.stop.cancel();
        let within = Duration::from_secs(self.common.drain_s);
        let deadline = tokio::time::sleep(within);
        tokio::pin!(deadline);
        let cut_off = loop {
            tokio::select! {
                joined = tasks.join_next() => match joined {
                    Some(joined) => ended(joined, &mut running),
                    None => break None,
                },
                () = &mut deadline => {
                    break Some(RunError::CutOff { services: running.iter().copied().collect(), within });
                }
                () = told_to_stop(signals) => {
                    break Some(RunError::Hurried(running.iter().copied().collect()));
                }
            }
        };
        tasks.shutdown().await;
        match cut_off {
            Some(cut_off) if outcome.is_ok() => Err(cut_off),
            Some(_) | None => outcome,
        }
    }
}

/// The process's one connection to the log, with its streams declared.
async fn connect(common: &Common, services: &[&'static str]) -> Result<Log, LogError> {
    let name = match services {
        [one] => *one,
        _ => "mastwatch",
    };
    let defaults = LogConfig::of(common, name);
    let config = LogConfig {
        groups_max: if services.len() > 1 { GROUPS_BESIDE_DECIDERS } else { defaults.groups_max },
        reads_together: services.len() > 1,
        ..defaults
    };
    let log = Log::connect(config).await?;
    if common.declare_streams {
        log.ensure().await?;
    }
    Ok(log)
}

/// What the connection to the log has done, as `/metrics` tells it.
struct LogFigures {
    messages: Counter,
    seats: Gauge,
    lost_seats: Counter,
    commits: Counter,
    stored: Counter,
    retries: Counter,
    duplicates: Counter,
    halved: Counter,
    learned: Counter,
    busy: Counter,
}

impl LogFigures {
    fn of(metrics: &Metrics) -> Self {
        let metrics = metrics.under("log");
        Self {
            messages: metrics.counter("read_together", "Messages that came by the one shared reading"),
            seats: metrics.gauge("readers_together", "Readers that share one reading of the log"),
            lost_seats: metrics.counter("readers_too_slow", "Times a reader was too slow and read on alone"),
            commits: metrics.counter("publish_commits", "Groups of published events that were stored"),
            stored: metrics.counter("published", "Events that were published and stored"),
            retries: metrics.counter("publish_retries", "Groups that had to be sent again"),
            duplicates: metrics.counter("publish_duplicates", "Events that had been stored before"),
            halved: metrics.counter("publish_halved", "Groups taken apart to find repeated events"),
            learned: metrics.counter("publish_learned", "Ids of an earlier process, read back from the log"),
            busy: metrics.counter("publish_busy", "Publishes refused because too much waited"),
        }
    }

    fn note(&self, log: &Log) {
        let up_to = |counter: &Counter, total: &AtomicU64| {
            counter.inc_by(total.load(Ordering::Relaxed).saturating_sub(counter.get()));
        };
        let (tap, publishing) = (log.tap_stats(), log.publish_stats());
        up_to(&self.messages, &tap.messages);
        up_to(&self.lost_seats, &tap.lost_seats);
        self.seats.set(i64::try_from(tap.seats.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
        up_to(&self.commits, &publishing.commits);
        up_to(&self.stored, &publishing.stored);
        up_to(&self.retries, &publishing.retries);
        up_to(&self.duplicates, &publishing.duplicates);
        up_to(&self.halved, &publishing.halved);
        up_to(&self.learned, &publishing.learned);
        up_to(&self.busy, &publishing.busy);
    }
}

/// Says whether the connection to the log stands, and what it has done, until `stop`.
async fn watch(log: Log, stands: Readiness, figures: LogFigures, stop: CancellationToken) {
    loop {
        figures.note(&log);
        match (log.is_connected(), log.denial()) {
            (false, _) => stands.not_ready("the connection to the log is broken"),
            (true, Some(denial)) => {
                stands
                    .not_ready(format!("the log's server does not permit this user what it needs: {denial}"));
            }
            (true, None) => stands.ready(),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}

/// Resolves at the next signal that asks for an end.
async fn told_to_stop(signals: &mut [Signal; 2]) {
    let [terminate, interrupt] = signals;
    let heard = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = heard, "told to stop");
}

/// Runs one service until it is told to stop or given up.
async fn supervise(service: &Service, start: &Start, restart: Restart) -> anyhow::Result<()> {
    let restarts = service.metrics.counter("restarts", "Times it was started again");
    let mut failures = VecDeque::new();
    let mut pause = None;
    loop {
        // What a failed run leaves behind ends with it.
        let stop = service.stop.child_token();
        let _ends_with_this_run = stop.clone().drop_guard();
        let given = Service { stop, ..service.clone() };
        let outcome = AssertUnwindSafe(async { start(given).await }).catch_unwind().await;
        let failure = match outcome {
            Ok(Ok(())) if service.stop.is_cancelled() => return Ok(()),
            Ok(Ok(())) => anyhow!("ended although nobody told it to"),
            Ok(Err(error)) => error,
            Err(panic) => anyhow!("panicked: {}", http::panic_text(&*panic)),
        };
        tracing::error!(error = format!("{failure:#}"), "failed");
        if service.stop.is_cancelled() {
            return Err(failure);
        }
        service.readiness.not_ready(format!("failed: {failure:#}"));

        let Restart::Bounded { first, most, times, within } = restart else { return Err(failure) };
        let now = Instant::now();
        failures.push_back(now);
        failures.retain(|at| now.duration_since(*at) <= within);
        if failures.len() as u64 > u64::from(times) {
            return Err(failure.context(format!("given up after {} failures", failures.len())));
        }
        // A failure long after the one before it is a first one.
        let last = failures.len().checked_sub(2).and_then(|at| failures.get(at));
        let is_first = last.is_none_or(|at| now.duration_since(*at) > most * 2);
        let wait =
            if is_first { first } else { pause.map_or(first, |pause: Duration| (pause * 2).min(most)) };
        pause = Some(wait);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = service.stop.cancelled() => return Ok(()),
        }
        restarts.inc();
        service.readiness.not_ready("starting again");
    }
}
