//! Points in time, as events carry them.
//!
//! Microseconds since the Unix epoch inside and in binary forms, RFC 3339 text outside. There is no `now` here:
//! a decision learns the time from what it hears.

use chrono::{DateTime, SecondsFormat};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// A point in time, to the microsecond, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// The Unix epoch: earlier than anything that was ever heard.
    pub const EPOCH: Time = Time(0);

    /// A time from microseconds since the Unix epoch.
    pub const fn from_us(us: i64) -> Self {
        Self(us)
    }

    /// A time from milliseconds since the Unix epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn us(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn ms(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This time and `ms` milliseconds more (or fewer when negative).
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// How many milliseconds have passed since `earlier`; negative when it lies ahead.
    pub const fn ms_since(self, earlier: Time) -> i64 {
        (self.0 - earlier.0).div_euclid(1_000)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0) {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(f, "{} µs since the epoch", self.0),
        }
    }
}

impl FromStr for Time {
    type Err = chrono::ParseError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(DateTime::parse_from_rfc3339(s)?.timestamp_micros()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if !d.is_human_readable() {
            return i64::deserialize(d).map(Self);
        }
        let text = Cow::<str>::deserialize(d)?;
        text.parse().map_err(|_| de::Error::custom(format!("`{text}` is no RFC 3339 time")))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text_form() {
        let t = Time::from_us(1_795_000_000_123_456);
        assert_eq!(t.to_string().parse::<Time>().unwrap(), t);
    }

    #[test]
    fn other_time_zones_are_understood() {
        let t: Time = "2026-11-20T10:00:00+02:00".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-20T08:00:00.000000Z");
    }
}
