//! The routers' time, which may run faster than ours.
//!
//! What routers do by themselves (netwatch, sessions, scripts that wait, uptime, wall clock) follows
//! this clock. What a client measures (round trips, ping intervals) is real time, whatever the scale.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// A moment of the routers' time: since the simulation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimTime(pub Duration);

impl SimTime {
    /// That much later.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long ago `earlier` was; nothing if it is later.
    pub fn since(self, earlier: SimTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Tells the routers' time.
#[derive(Debug, Clone)]
pub struct Clock {
    began: Instant,
    began_at: DateTime<Utc>,
    scale: f64,
}

impl Clock {
    /// A clock that starts now and runs `scale` times as fast as ours (0.01 to 10,000).
    pub fn starting_now(scale: f64) -> Self {
        let scale = if scale.is_finite() { scale.clamp(0.01, 10_000.0) } else { 1.0 };
        Self { began: Instant::now(), began_at: Utc::now(), scale }
    }

    /// The routers' time.
    pub fn now(&self) -> SimTime {
        SimTime(self.began.elapsed().mul_f64(self.scale))
    }

    /// When a moment of the routers' time is, in ours.
    pub fn instant(&self, at: SimTime) -> Instant {
        self.began + self.real(at.0)
    }

    /// How long a time of the routers takes in ours.
    pub fn real(&self, time: Duration) -> Duration {
        time.div_f64(self.scale)
    }

    /// The routers' wall clock.
    pub fn wall(&self, at: SimTime) -> DateTime<Utc> {
        chrono::Duration::from_std(at.0)
            .ok()
            .and_then(|time| self.began_at.checked_add_signed(time))
            .unwrap_or(self.began_at)
    }
}
