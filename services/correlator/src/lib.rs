//! The correlator: gathers changes of health into incidents.
//!
//! Hears inventory, health, orders and its own timers, in the order of the log; says incidents. Keeps no
//! store of its own: what it has said is its memory. What follows from what is [`domain::Correlation`].

use anyhow::Context;
use kit::Service;

/// Runs until the process is told to stop.
///
/// # Errors
///
/// When it cannot run on this log.
pub async fn run(service: Service) -> anyhow::Result<()> {
    kit::decide::<domain::Correlation>(&service).await.context("gathering incidents")
}
