//! The deciding half: [`domain::Announcing`] on the log, and what it shows of itself.

use anyhow::Context;
use domain::Announcing;
use kit::{Decider, DeciderStats, Service};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often what it shows is brought up to date.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

/// Decides until the process is told to stop.
pub(crate) async fn run(service: &Service) -> anyhow::Result<()> {
    let decider = Decider::new(service.log.clone(), |_| Announcing::default());
    let stats = decider.stats();
    tokio::select! {
        decided = decider.run(service.stop.clone()) => decided.context("deciding who is told"),
        () = show(service, &stats) => Ok(()),
    }
}

/// Shows how the decider is, without end.
async fn show(service: &Service, stats: &Arc<DeciderStats>) {
    let readiness = service.readiness.part("decider");
    let metrics = service.metrics.under("decider");
    let counters: [(Counter, &AtomicU64); 8] = [
        (metrics.counter("inputs", "Facts heard"), &stats.inputs),
        (metrics.counter("said", "Facts said"), &stats.said),
        (metrics.counter("commits", "Batches stored"), &stats.commits),
        (metrics.counter("conflicts", "Commits another replica was faster with"), &stats.conflicts),
        (metrics.counter("unknown", "Commits without a known outcome"), &stats.unknown),
        (metrics.counter("loads", "Memories loaded"), &stats.loads),
        (metrics.counter("fold_stuck", "Facts nothing could be decided with"), &stats.stuck),
        (metrics.counter("undecodable", "Messages that could not be read"), &stats.undecodable),
    ];
    let lag: Gauge = metrics.gauge("lag", "Messages that wait to be heard");
    loop {
        for (counter, figure) in &counters {
            counter.inner().store(figure.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        lag.set(i64::try_from(stats.lag()).unwrap_or(i64::MAX));
        if stats.is_ready() {
            readiness.ready();
        } else {
            readiness.not_ready("waiting for the log");
        }
        tokio::time::sleep(SHOWN_EVERY).await;
    }
}
