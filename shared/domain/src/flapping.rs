//! Whether a node goes down so often that people are told of it once, and not each time.
//!
//! Each time it goes down adds to a penalty, which decays. Above one threshold the node is flapping, and it
//! stays so until the penalty has decayed below another, lower one: so it is not flapping now and then.
//! After RFC 2439 (BGP route flap damping), with the values that routers come with (RFC 7196).
//!
//! Three failures within twenty minutes are flapping; two a day are two failures.

use events::Time;

/// What going down once adds.
const EDGE: u32 = 1_000;
/// From here on it is flapping: the third time within about 20 minutes.
const SUPPRESS: u32 = 2_000;
/// Below this it is steady again.
const REUSE: u32 = 750;
/// In so long half of a penalty is gone, milliseconds.
const HALF_LIFE_MS: i64 = 15 * 60_000;
/// No penalty is higher, so that whatever stays up is steady after an hour at the latest.
const MOST: u32 = (REUSE << 4) - 1;
/// What has decayed below this is not remembered.
const FORGOTTEN: u32 = REUSE / 2;

/// A penalty, and when it was worked out.
pub(crate) type Penalty = (u32, Time);

/// What is left of a penalty. Between one half-life and the next it falls in a straight line.
fn left((value, at): Penalty, now: Time) -> u32 {
    let ms = now.ms_since(at).max(0);
    let (halves, rest) = (ms / HALF_LIFE_MS, ms % HALF_LIFE_MS);
    let value = i64::from(value).checked_shr(u32::try_from(halves).unwrap_or(u32::MAX)).unwrap_or(0);
    u32::try_from(value - value * rest / (2 * HALF_LIFE_MS)).unwrap_or(0)
}

/// The penalty after it has gone down once more.
pub(crate) fn after_an_edge(before: Option<Penalty>, now: Time) -> Penalty {
    let before = before.map_or(0, |before| left(before, now));
    ((before + EDGE).min(MOST), now)
}

/// The penalty as far as it must be remembered.
pub(crate) fn remembered(penalty: Option<Penalty>, now: Time) -> Option<Penalty> {
    penalty.filter(|penalty| left(*penalty, now) >= FORGOTTEN)
}

/// Whether it is flapping with that penalty; `was`: it was until now.
pub(crate) fn is_flapping(penalty: Option<Penalty>, was: bool, now: Time) -> bool {
    let left = penalty.map_or(0, |penalty| left(penalty, now));
    left >= SUPPRESS || (was && left >= REUSE)
}

/// When what is flapping will be steady if it does not go down again.
pub(crate) fn steady_at(penalty: Penalty) -> Time {
    let (value, at) = penalty;
    let halves = i64::from((value / REUSE).checked_ilog2().unwrap_or(0));
    let begins = at.plus_ms(halves * HALF_LIFE_MS);
    let value = i64::from(left(penalty, begins));
    // The first whole step down to below the threshold; the half-life itself rounds down.
    let over = (value - i64::from(REUSE)).max(0) + 1;
    let ms = (over * 2 * HALF_LIFE_MS + value - 1) / value.max(1);
    begins.plus_ms(ms.min(HALF_LIFE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn start() -> Time {
        Time::from_ms(1_800_000_000_000)
    }

    /// The penalty after going down at each of these minutes, and the last of them.
    fn after(minutes: &[i64]) -> (Penalty, Time) {
        let mut penalty = None;
        let mut now = start();
        for minute in minutes {
            now = start().plus_ms(minute * MINUTE_MS);
            penalty = Some(after_an_edge(penalty, now));
        }
        (penalty.expect("at least one"), now)
    }

    fn flaps(minutes: &[i64]) -> bool {
        let (penalty, now) = after(minutes);
        is_flapping(Some(penalty), false, now)
    }

    #[test]
    fn half_of_it_is_gone_in_a_half_life() {
        let penalty = (1_000, start());
        for (ms, is_left) in [(0, 1_000), (450_000, 750), (900_000, 500), (1_800_000, 250), (i64::MAX / 4, 0)]
        {
            assert_eq!(left(penalty, start().plus_ms(ms)), is_left, "{ms}");
        }
        assert_eq!(left(penalty, Time::EPOCH), 1_000, "time does not run backwards");
    }

    #[test]
    fn three_times_within_twenty_minutes_is_flapping_and_twice_a_day_is_not() {
        assert!(!flaps(&[0]));
        assert!(!flaps(&[0, 1]));
        assert!(flaps(&[0, 1, 2]));
        assert!(flaps(&[0, 10, 20]));
        assert!(!flaps(&[0, 15, 30]));
        let days: Vec<i64> = (0..60).map(|half| half * 12 * 60).collect();
        assert!(!flaps(&days));
    }

    #[test]
    fn it_is_steady_when_it_is_said_to_be_and_not_a_moment_sooner() {
        for times in 3..60 {
            let minutes: Vec<i64> = (0..times).collect();
            let (penalty, now) = after(&minutes);
            let steady = steady_at(penalty);
            assert!(is_flapping(Some(penalty), true, steady.plus_ms(-1)), "{times}");
            assert!(!is_flapping(Some(penalty), true, steady), "{times}");
            assert!(steady.ms_since(now) <= 60 * MINUTE_MS + 1, "{times}: {}", steady.ms_since(now));
        }
    }
}
