//! When each router is read and each static subscriber pinged: at a moment of its own within the interval, the same
//! whoever does it.
//!
//! The moment follows from the id alone, so one more or less moves nobody, and a poller that takes
//! over goes on in the same rhythm. Ids are hashes: their bytes spread them evenly over the interval.

use crate::voice::now;
use events::NodeId;
use std::time::Duration;

/// Its own moment within an interval of `every_ms`.
///
/// From other bytes of the id than the moment of its heartbeat: the two need not fall together.
pub(crate) fn offset_ms(node: NodeId, every_ms: u64) -> u64 {
    let [.., a, b, c, d] = *node.0.as_bytes();
    (u64::from(u32::from_be_bytes([a, b, c, d])) * every_ms) >> 32
}

/// The first moment of the schedule that is not before `now_ms` and comes after `last_ms`, the one that was
/// taken last. Moments that were slept through are left out. A clock that was set back by more
/// than an interval makes `last_ms` meaningless.
pub(crate) fn next_ms(now_ms: u64, last_ms: Option<u64>, offset_ms: u64, every_ms: u64) -> u64 {
    let every_ms = every_ms.max(1);
    let after = |ms: u64| ms + (offset_ms % every_ms + every_ms - ms % every_ms) % every_ms;
    match last_ms {
        Some(last_ms) if last_ms < now_ms + every_ms => after(now_ms.max(last_ms + 1)),
        Some(_) | None => after(now_ms),
    }
}

/// The time by this host's clock, milliseconds.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(now().ms()).unwrap_or(0)
}

/// Waits until a moment by this host's clock; without one for ever.
pub(crate) async fn until(at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()))).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::TenantId;
    use proptest::prelude::*;

    const EVERY_MS: u64 = 600_000;
    const DAY_MS: u64 = 86_400_000;

    proptest! {
        /// However late each reading begins, a day has as many as it has intervals.
        #[test]
        fn a_day_has_144_readings_give_or_take_one(
            id in any::<u128>(),
            start_ms in 1_700_000_000_000_u64..1_900_000_000_000,
            late_ms in prop::collection::vec(0_u64..5_000, 1..40),
        ) {
            let offset = offset_ms(NodeId(uuid::Uuid::from_u128(id)), EVERY_MS);
            prop_assert!(offset < EVERY_MS);
            let (mut now, mut last, mut begun) = (start_ms, None, Vec::new());
            for late_ms in late_ms.iter().cycle() {
                let due = next_ms(now, last, offset, EVERY_MS);
                prop_assert!(due >= now && due - now <= EVERY_MS + 1);
                prop_assert_eq!(due % EVERY_MS, offset);
                now = due + late_ms;
                if now >= start_ms + 2 * DAY_MS {
                    break;
                }
                last = Some(due);
                begun.push(now);
            }
            for from in [start_ms, start_ms + 12_345_678, start_ms + DAY_MS - 1] {
                let count = begun.iter().filter(|at| (from..from + DAY_MS).contains(at)).count();
                prop_assert!((143..=145).contains(&count), "{count} in the day from {from}");
            }
        }

        /// No moment is taken twice, and the schedule goes on after any leap of the clock.
        #[test]
        fn a_clock_that_leaps_neither_repeats_nor_ends_the_schedule(
            offset in 0..EVERY_MS, now in 1_000_000_000_u64..2_000_000_000_000, last in 0_u64..2_000_000_000_000,
        ) {
            let due = next_ms(now, Some(last), offset, EVERY_MS);
            prop_assert!(due >= now && due - now <= 2 * EVERY_MS);
            prop_assert!(due != last);
        }
    }

    #[test]
    fn a_thousand_routers_are_spread_over_the_interval() {
        let tenant = TenantId::of("hillside");
        let mut minutes = [0_u32; 10];
        for n in 0..1_000 {
            let offset = offset_ms(NodeId::of(tenant, &format!("router-{n}")), EVERY_MS);
            minutes[usize::try_from(offset / 60_000).unwrap()] += 1;
        }
        assert!(minutes.iter().all(|routers| (60..=150).contains(routers)), "{minutes:?}");
    }
}
