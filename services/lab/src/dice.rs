//! Chance, from a seed: the same seed and the same questions give the same answers.

use std::time::Duration;

/// A stream of pseudo-random numbers, good enough for losses and delays.
///
/// Source: splitmix64, public domain, Sebastiano Vigna 2015.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Every seed gives another stream.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to but without 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in this fraction of cases.
    pub fn chance(&mut self, fraction: f64) -> bool {
        fraction > 0.0 && self.fraction() < fraction
    }

    /// Any time up to but without `span`.
    pub fn within(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.fraction())
    }
}
