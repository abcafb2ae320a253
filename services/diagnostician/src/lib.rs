//! The diagnostician: decides what is broken.
//!
//! Hears inventory, signals, answers and its own timers, in the order of the log; says suspicions, health
//! and asks. Keeps no store of its own: what it has said is its memory. What follows from what is
//! [`domain::Diagnosis`].

use anyhow::Context;
use kit::Service;

/// Runs until the process is told to stop.
///
/// # Errors
///
/// When it cannot run on this log.
pub async fn run(service: Service) -> anyhow::Result<()> {
    kit::decide::<domain::Diagnosis>(&service).await.context("deciding what is broken")
}
