//! How long a router that fails is waited for.

use std::time::Duration;

/// How patiently a lost router is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The wait after a first failure. It doubles with each further one, and the wait really taken
    /// is half of it to all of it, by chance, so that a thousand routers do not return as one.
    pub wait_min: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// After this many failures in a row the circuit is open: those who ask are refused during the wait.
    pub opens_after_failures: u32,
    /// The wait after a rejected login, which opens the circuit at once. Trying on would fill the router's log and may lock us out.
    pub rejected_wait: Duration,
    /// A session that lasted this long was a good one. One that ends sooner counts as a failure;
    /// the first such is forgiven, so that one cut means one reconnect, at once.
    pub good_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            wait_min: Duration::from_secs(1),
            wait_max: Duration::from_secs(60),
            opens_after_failures: 3,
            rejected_wait: Duration::from_secs(300),
            good_after: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// How long to wait after so many failures in a row.
    pub(super) fn wait_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.wait_min.saturating_mul(1 << doublings).min(self.wait_max);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}
