//! How much one sender may ask of us: a token bucket per key.
//!
//! A bucket is one number (the time at which it will be full again, GCRA), so a million senders cost a
//! few tens of megabytes. A bucket that is full again says nothing and is forgotten. When
//! every remembered bucket is in use, senders not yet known share a single one: memory
//! stays bounded, those already known keep their due, and a flood of invented names limits itself.

use crate::admin::Metrics;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A table that is full is swept at most this often.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// What one sender may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// So many units a second, in the long run.
    pub per_second: f64,
    /// So many at once after a rest.
    pub burst: u32,
}

/// Why a request is over quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It would be granted after this time.
    #[error("over quota: try again in {} ms", .0.as_millis())]
    Wait(Duration),
    /// It is larger than the burst: it would never be granted.
    #[error("more at once than the quota ever grants")]
    TooMany,
}

/// Token buckets by key.
#[derive(Debug)]
pub struct Quota<K> {
    /// Nanoseconds one unit takes to come back.
    unit_ns: u64,
    /// Nanoseconds the whole burst takes to come back.
    burst_ns: u64,
    keys_max: usize,
    began: Instant,
    table: Mutex<Table<K>>,
    refused: Counter,
    keys: Gauge,
}

#[derive(Debug)]
struct Table<K> {
    /// When each bucket is full again, in nanoseconds since `began`.
    full_at: HashMap<K, u64>,
    /// The one bucket of all who found no place.
    strangers_full_at: u64,
    sweep_at: u64,
}

impl<K: Eq + Hash + Clone> Quota<K> {
    /// Grants `rate` to each of up to `keys_max` keys at a time.
    ///
    /// Counts refusals as `<what>_refused_total` and remembered keys as `<what>_keys`.
    ///
    /// # Panics
    ///
    /// When the rate or `keys_max` is zero: a mistake in the program, since configuration is checked.
    pub fn new(what: &str, rate: Rate, keys_max: usize, metrics: &Metrics) -> Self {
        assert!(rate.per_second > 0.0 && rate.burst > 0 && keys_max > 0, "a quota grants something");
        let unit_ns = (1e9 / rate.per_second).max(1.0) as u64;
        Self {
            unit_ns,
            burst_ns: unit_ns.saturating_mul(rate.burst.into()),
            keys_max,
            began: Instant::now(),
            table: Mutex::new(Table { full_at: HashMap::new(), strangers_full_at: 0, sweep_at: 0 }),
            refused: metrics.counter(&format!("{what}_refused"), "Requests refused over quota"),
            keys: metrics.gauge(&format!("{what}_keys"), "Senders whose bucket is not full"),
        }
    }

    /// Takes `units` out of the bucket of `key`, or none.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there are not as many in it; nothing has been taken then.
    pub fn take(&self, key: &K, units: u32) -> Result<(), Refused> {
        self.take_at(key, units, self.began.elapsed().as_nanos() as u64)
    }

    fn take_at(&self, key: &K, units: u32, now: u64) -> Result<(), Refused> {
        let cost = self.unit_ns.saturating_mul(units.into());
        if cost > self.burst_ns {
            self.refused.inc();
            return Err(Refused::TooMany);
        }
        // A panic elsewhere leaves nothing half-done in here.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if !table.full_at.contains_key(key) && table.full_at.len() >= self.keys_max && table.sweep_at <= now {
            table.full_at.retain(|_, full_at| *full_at > now);
            table.sweep_at = now + SWEEP_EVERY.as_nanos() as u64;
        }
        let has_place = table.full_at.contains_key(key) || table.full_at.len() < self.keys_max;
        let full_at = if has_place {
            table.full_at.entry(key.clone()).or_insert(0)
        } else {
            &mut table.strangers_full_at
        };
        let would_be = (*full_at).max(now).saturating_add(cost);
        let granted = would_be.saturating_sub(now) <= self.burst_ns;
        if granted {
            *full_at = would_be;
        }
        self.keys.set(table.full_at.len() as i64);
        if granted {
            Ok(())
        } else {
            self.refused.inc();
            Err(Refused::Wait(Duration::from_nanos(would_be - now - self.burst_ns)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn quota(per_second: f64, burst: u32, keys_max: usize) -> Quota<&'static str> {
        Quota::new("tokens", Rate { per_second, burst }, keys_max, &Metrics::default())
    }

    #[test]
    fn a_burst_is_granted_and_then_the_rate() {
        let q = quota(2.0, 3, 10);
        for _ in 0..3 {
            q.take_at(&"a", 1, S).unwrap();
        }
        assert_eq!(q.take_at(&"a", 1, S), Err(Refused::Wait(Duration::from_millis(500))));
        q.take_at(&"b", 3, S).unwrap();
        q.take_at(&"a", 1, S + S / 2).unwrap();
        assert!(q.take_at(&"a", 1, S + S / 2).is_err());
        assert_eq!(q.refused.get(), 2);
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        let q = quota(1.0, 10, 10);
        q.take_at(&"a", 8, 0).unwrap();
        assert_eq!(q.take_at(&"a", 5, 0), Err(Refused::Wait(Duration::from_secs(3))));
        q.take_at(&"a", 2, 0).unwrap();
    }

    #[test]
    fn more_than_the_burst_is_never_granted() {
        assert_eq!(quota(1.0, 10, 10).take_at(&"a", 11, 0), Err(Refused::TooMany));
    }

    #[test]
    fn keys_are_bounded_and_strangers_share_one_bucket() {
        let q = quota(1.0, 2, 2);
        q.take_at(&"a", 1, 0).unwrap();
        q.take_at(&"b", 1, 0).unwrap();
        q.take_at(&"c", 2, 0).unwrap();
        assert!(q.take_at(&"d", 1, 0).is_err(), "c and d share");
        q.take_at(&"a", 1, 0).unwrap();
        assert_eq!(q.keys.get(), 2);
        // Once a and b are full again their places are free.
        q.take_at(&"d", 2, 5 * S).unwrap();
        q.take_at(&"c", 2, 5 * S).unwrap();
    }
}
