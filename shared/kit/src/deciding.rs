//! A decider as a whole service: its figures and its readiness beside it.
//!
//! The services around deciders are the same sentence three times; it stands here once.

use crate::{
    decider::{Decider, DeciderError, DeciderStats},
    run::Service,
};
use events::Decide;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often figures and readiness are brought up to date.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs a decider of `D` until the process is told to stop.
///
/// # Errors
///
/// [`DeciderError`]: it cannot run on this log.
pub async fn decide<D: Decide + Default>(service: &Service) -> Result<(), DeciderError> {
    let decider = Decider::new(service.log.clone(), |_| D::default());
    let showing = tokio::spawn(show(service.clone(), decider.stats()));
    let ended = decider.run(service.stop.clone()).await;
    showing.abort();
    ended
}

/// One figure of a decider: what shows it, and where it is read.
type Figure = (Counter, fn(&DeciderStats) -> &AtomicU64);

/// Keeps the figures and the readiness of a service up to date from what its decider counts.
async fn show(service: Service, stats: Arc<DeciderStats>) {
    let metrics = &service.metrics;
    let figures: [Figure; 11] = [
        (metrics.counter("inputs", "Facts heard, those read again at a start not counted"), |s| &s.inputs),
        (metrics.counter("said", "Facts said"), |s| &s.said),
        (metrics.counter("timers", "Timers armed or disarmed"), |s| &s.timers),
        (metrics.counter("commits", "Batches stored"), |s| &s.commits),
        (metrics.counter("conflicts", "Commits refused because another replica was faster"), |s| {
            &s.conflicts
        }),
        (metrics.counter("commits_unknown", "Commits whose outcome was not known"), |s| &s.unknown),
        (metrics.counter("loads", "Memories loaded"), |s| &s.loads),
        (metrics.counter("fold_stuck", "Facts with which nothing could be decided: dead letters"), |s| {
            &s.stuck
        }),
        (metrics.counter("restated", "Standings said again before the log forgets them"), |s| &s.restated),
        (metrics.counter("expired", "Standings too old to be loaded"), |s| &s.expired),
        (metrics.counter("undecodable", "Messages that could not be read: dead letters"), |s| &s.undecodable),
    ];
    let lag: Gauge = metrics.gauge("lag", "Messages that lie before it");
    let waiting: Gauge = metrics.gauge("waiting", "Partitions that wait for the log to store again");
    loop {
        for (counter, read) in &figures {
            counter.inc_by(read(&stats).load(Ordering::Relaxed).saturating_sub(counter.get()));
        }
        lag.set(i64::try_from(stats.lag()).unwrap_or(i64::MAX));
        waiting.set(i64::from(stats.waiting()));
        if stats.is_ready() {
            service.readiness.ready();
        } else if stats.waiting() > 0 {
            service.readiness.not_ready("the log does not store");
        } else {
            service.readiness.not_ready("the log is being read");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
