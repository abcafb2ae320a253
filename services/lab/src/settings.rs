//! How the simulated routers behave, where real ones differ or are set up differently.

use std::time::Duration;

use url::Url;

use crate::version::{DEFAULT_VERSION, Version};

/// Behaviour of every router. Times are the routers' own, see [`crate::clock`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many times as fast as ours the routers' clock runs.
    pub time_scale: f64,
    /// What a router plays when its plan does not say.
    pub version: Version,
    /// After a boot, how long version 7 waits before netwatch probes anything.
    /// Default 5 min. Source: `startup-delay` of `/tool/netwatch`.
    pub startup_delay: Duration,
    /// Between two netwatch probes of a placed entry. Default 10 s.
    pub probe_interval: Duration,
    /// How long a netwatch probe waits for its answer. Default 3 s.
    pub probe_timeout: Duration,
    /// How long after the last sign of a customer its session is given up: between this and half of it.
    /// Default 20 s: `keepalive-timeout` of 10 s, and drops at about twice that.
    pub session_lost_after: Duration,
    /// Over which time customers dial in again when the way is free. Default 60 s.
    pub sessions_return_over: Duration,
    /// How long `/tool fetch` waits for a server that does not answer. Default 10 s.
    pub fetch_timeout: Duration,
    /// Scripts a router runs at the same time. Default 8.
    pub scripts_at_once: usize,
    /// API sessions a router takes. Default 20. Source: `max-sessions` of `/ip/service`.
    pub sessions_max: usize,
    /// Where the placed scripts send webhooks: the address before `/api/…`. Without one none are placed.
    pub ingest: Option<Url>,
    /// Where chance begins.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_scale: 1.0,
            version: DEFAULT_VERSION.parse().expect("the default version is one"),
            startup_delay: Duration::from_secs(300),
            probe_interval: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(3),
            session_lost_after: Duration::from_secs(20),
            sessions_return_over: Duration::from_secs(60),
            fetch_timeout: Duration::from_secs(10),
            scripts_at_once: 8,
            sessions_max: 20,
            ingest: None,
            seed: 1,
        }
    }
}
