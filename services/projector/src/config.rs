//! What an operator may say about the projector: the table `[projector]`.

use kit::config::{Check, Section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The table `[projector]` of the configuration. Where Postgres is stands among what concerns every service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Events in one transaction at most. 2,000 by default: beyond that nothing is gained.
    pub chunk_max: usize,
    /// How long an event waits for others to be written with, in milliseconds. It adds to the time
    /// until a claim is seen.
    pub linger_ms: u64,
    /// Connections to Postgres at most.
    pub connections: u32,
    /// How often rows past their time are deleted, in seconds.
    pub prune_every_s: u64,
    /// Whether the tables are brought up to date at the start. Off where somebody else does it.
    pub migrate: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { chunk_max: 2_000, linger_ms: 50, connections: 8, prune_every_s: 3_600, migrate: true }
    }
}

impl Section for Config {
    const NAME: &'static str = "projector";

    fn check(&self, check: &mut Check) {
        check.holds((1..=20_000).contains(&self.chunk_max), "chunk_max", "must lie between 1 and 20,000");
        check.holds(self.linger_ms <= 5_000, "linger_ms", "must be at most 5,000");
        check.holds((2..=100).contains(&self.connections), "connections", "must lie between 2 and 100");
        check.holds(
            (1..=86_400).contains(&self.prune_every_s),
            "prune_every_s",
            "must lie between 1 and 86,400",
        );
    }
}
