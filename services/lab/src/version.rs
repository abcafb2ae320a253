//! What differs between RouterOS versions, as far as clients notice.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A RouterOS version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    text: String,
    major: u32,
    minor: u32,
}

/// The version a router plays when nobody says: the last long-standing one before `!empty`.
pub const DEFAULT_VERSION: &str = "7.16.2 (stable)";

/// A text that is not a RouterOS version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no RouterOS version: `7.16.2 (stable)` and `6.49` are")]
pub struct BadVersion(String);

impl std::str::FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let mut numbers = text.split(['.', ' ']).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major @ 6..=7)), Some(Ok(minor))) => Ok(Self { text: text.to_owned(), major, minor }),
            _ => Err(BadVersion(text.chars().take(64).collect())),
        }
    }
}

impl Version {
    /// As `/system/resource` shows it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Only the numbers, such as `7.16.2`.
    pub fn number(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    fn is_at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// Version 6: no names of netwatch entries, no start-up delay, whole milliseconds.
    pub fn is_v6(&self) -> bool {
        self.major == 6
    }

    /// Whether radios are in `/interface/wifi` (7.13), and not in `/interface/wireless`.
    pub fn has_wifi(&self) -> bool {
        self.is_at_least(7, 13)
    }

    /// Whether an answer without rows says `!empty` (7.18).
    pub fn says_empty(&self) -> bool {
        self.is_at_least(7, 18)
    }

    /// Whether a login answers a challenge instead of sending the password (before 6.43).
    pub fn wants_challenge(&self) -> bool {
        !self.is_at_least(6, 43)
    }

    /// Whether the answer to a challenge is still accepted (before 6.45).
    pub fn takes_challenge(&self) -> bool {
        !self.is_at_least(6, 45)
    }

    /// A moment of the router's wall clock.
    pub fn timestamp(&self, at: DateTime<Utc>) -> String {
        if self.is_at_least(7, 10) {
            at.format("%Y-%m-%d %H:%M:%S").to_string()
        } else {
            at.format("%b/%d/%Y %H:%M:%S").to_string().to_lowercase()
        }
    }

    /// A round-trip time.
    pub fn round_trip(&self, rtt_us: u64) -> String {
        if self.is_v6() {
            return format!("{}ms", rtt_us / 1000);
        }
        let (s, ms, us) = (rtt_us / 1_000_000, rtt_us / 1000 % 1000, rtt_us % 1000);
        let parts = [(s, "s"), (ms, "ms"), (us, "us")];
        let text: String =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
        if text.is_empty() { "0us".to_owned() } else { text }
    }
}

/// A length of time in whole seconds, such as `1w2d3h4m5s`.
pub fn duration(time: Duration) -> String {
    let s = time.as_secs();
    if s == 0 && time.as_millis() > 0 {
        return format!("{}ms", time.as_millis());
    }
    let parts =
        [(s / 604_800, "w"), (s / 86_400 % 7, "d"), (s / 3600 % 24, "h"), (s / 60 % 60, "m"), (s % 60, "s")];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_where_clients_notice() {
        let v = |text: &str| text.parse::<Version>().unwrap();
        assert!(
            !v(DEFAULT_VERSION).says_empty()
                && v("7.18").says_empty()
                && !v("6.49.10 (long-term)").says_empty()
        );
        assert!(v("6.42").wants_challenge() && !v("6.43").wants_challenge() && v("6.44").takes_challenge());
        assert_eq!(
            (v("6.49").round_trip(12_345), v("7.16").round_trip(12_345)),
            ("12ms".into(), "12ms345us".into())
        );
        assert_eq!(
            (v("7.16").round_trip(453), v("7.16").round_trip(1_023_000)),
            ("453us".into(), "1s23ms".into())
        );
        let at = DateTime::from_timestamp(1_763_629_953, 0).unwrap();
        assert_eq!(v("7.10").timestamp(at), "2025-11-20 09:12:33");
        assert_eq!(v("7.9").timestamp(at), "nov/20/2025 09:12:33");
        for wrong in ["", "7", "8.1", "x.y", "5.26"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lengths_of_time_read_back_as_they_were() {
        for secs in [0, 5, 60, 3_599, 86_400 * 9 + 11_045] {
            let time = Duration::from_secs(secs);
            assert_eq!(routeros_api::value::duration(&duration(time)), Ok(Some(time)));
        }
    }
}
