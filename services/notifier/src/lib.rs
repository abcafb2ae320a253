//! The notifier: decides who is told.

use anyhow::Context;
use kit::{
    Service,
    config::{Check, Secret, Section},
};
use serde::Deserialize;

/// The table `notifier`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The master keys that tenants' keys are wrapped under.
    pub master_keys: Option<Secret>,
    /// Whether notices may go to loopback and private addresses.
    pub allow_private_targets: bool,
}

impl Section for Config {
    const NAME: &'static str = "notifier";
    fn check(&self, _: &mut Check) {}
}

/// Runs until the process is told to stop.
///
/// # Errors
///
/// When it cannot run on this log.
pub async fn run(_: Config, service: Service) -> anyhow::Result<()> {
    kit::decide::<domain::Announcing>(&service).await.context("deciding who is told")
}
