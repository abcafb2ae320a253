//! How the simulated routers behave, all alike.

use std::time::Duration;

use url::Url;

/// Behaviour of every router; what differs between them is in [`crate::network::Habits`]. Times are the routers' own, see [`crate::clock`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many times as fast as ours the routers' clock runs.
    pub time_scale: f64,
    /// How long a netwatch probe waits for its answer. Default 3 s.
    pub probe_timeout: Duration,
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
            probe_timeout: Duration::from_secs(3),
            sessions_return_over: Duration::from_secs(60),
            fetch_timeout: Duration::from_secs(10),
            scripts_at_once: 8,
            sessions_max: 20,
            ingest: None,
            seed: 1,
        }
    }
}
