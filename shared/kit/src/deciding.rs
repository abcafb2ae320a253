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
    sync::{Arc, atomic::Ordering},
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

/// Keeps the figures and the readiness of a service up to date from what its decider counts.
async fn show(service: Service, stats: Arc<DeciderStats>) {
    let metrics = &service.metrics;
    let counters: Vec<(Counter, Box<dyn Fn(&DeciderStats) -> u64 + Send>)> = vec![
        (
            metrics.counter("inputs", "Facts heard, those read again at a start not counted"),
            Box::new(|s| s.inputs.load(Ordering::Relaxed)),
        ),
        (metrics.counter("said", "Facts said"), Box::new(|s| s.said.load(Ordering::Relaxed))),
        (metrics.counter("timers", "Timers armed or disarmed"), Box::new(|s| s.timers.load(Ordering::Relaxed))),
        (metrics.counter("commits", "Batches stored"), Box::new(|s| s.commits.load(Ordering::Relaxed))),
        (
            metrics.counter("conflicts", "Commits refused because another replica was faster"),
            Box::new(|s| s.conflicts.load(Ordering::Relaxed)),
        ),
        (
            metrics.counter("commits_unknown", "Commits whose outcome was not known"),
            Box::new(|s| s.unknown.load(Ordering::Relaxed)),
        ),
        (metrics.counter("loads", "Memories loaded"), Box::new(|s| s.loads.load(Ordering::Relaxed))),
        (
            metrics.counter("fold_stuck", "Facts put into the dead letters because nothing could be decided with them"),
            Box::new(|s| s.stuck.load(Ordering::Relaxed)),
        ),
        (
            metrics.counter("undecodable", "Messages put into the dead letters because they could not be read"),
            Box::new(|s| s.undecodable.load(Ordering::Relaxed)),
        ),
    ];
    let lag: Gauge = metrics.gauge("lag", "Messages that lie before it");
    let waiting: Gauge = metrics.gauge("waiting", "Partitions that wait for the log to store again");
    loop {
        for (counter, read) in &counters {
            counter.inc_by(read(&stats).saturating_sub(counter.get()));
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
