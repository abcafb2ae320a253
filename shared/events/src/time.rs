//! Points in time, as events carry them.
//!
//! Microseconds since the Unix epoch inside and in binary forms, RFC 3339 text outside. There is no `now` here:
//! a decision learns the time from what it hears.

use chrono::{DateTime, SecondsFormat};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, ops::Range, str::FromStr};

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

/// `2026-11-20T08:00:00.000000Z`: what we write, and so nearly all that we read.
const TEXT_BYTES: usize = 27;
const TEXT: &[u8; TEXT_BYTES] = b"0000-00-00T00:00:00.000000Z";
/// Where its numbers stand.
const YEAR: Range<usize> = 0..4;
const MONTH: Range<usize> = 5..7;
const DAY: Range<usize> = 8..10;
const HOUR: Range<usize> = 11..13;
const MINUTE: Range<usize> = 14..16;
const SECOND: Range<usize> = 17..19;
const MICROSECOND: Range<usize> = 20..26;
const US_OF_DAY: i64 = 86_400_000_000;

/// Our own text form; none for years that do not have four digits.
///
/// The calendar is worked out as in `civil_from_days` of H. Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms": years begin in March, so that the leap day is the last one.
fn written(us: i64) -> Option<[u8; TEXT_BYTES]> {
    let (days, of_day) = (us.div_euclid(US_OF_DAY), us.rem_euclid(US_OF_DAY));
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * of_year + 2) / 153;
    let day = of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9_999).contains(&year) {
        return None;
    }
    let mut text = *TEXT;
    let mut put = |at: Range<usize>, mut number: i64| {
        for digit in text[at].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(YEAR, year);
    put(MONTH, month);
    put(DAY, day);
    put(HOUR, of_day / 3_600_000_000);
    put(MINUTE, of_day / 60_000_000 % 60);
    put(SECOND, of_day / 1_000_000 % 60);
    put(MICROSECOND, of_day % 1_000_000);
    Some(text)
}

/// Reads our own text form, and nothing else. Source as in [`written`]: `days_from_civil`.
fn read(text: &[u8]) -> Option<i64> {
    let text: &[u8; TEXT_BYTES] = text.try_into().ok()?;
    let number = |at: Range<usize>| {
        text[at].iter().try_fold(0_i64, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    };
    let marks = [4, 7, 10, 13, 16, 19, 26];
    if marks.iter().any(|at| text[*at] != TEXT[*at]) {
        return None;
    }
    let (year, month, day) = (number(YEAR)?, number(MONTH)?, number(DAY)?);
    let (hour, minute, second) = (number(HOUR)?, number(MINUTE)?, number(SECOND)?);
    let days_of_month = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let from_march = year - i64::from(month <= 2);
    let (era, of_era) = (from_march.div_euclid(400), from_march.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * US_OF_DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + number(MICROSECOND)?)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = written(self.0) {
            return f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?);
        }
        match DateTime::from_timestamp_micros(self.0) {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(f, "{} µs since the epoch", self.0),
        }
    }
}

impl FromStr for Time {
    type Err = chrono::ParseError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Some(us) = read(s.as_bytes()) {
            return Ok(Self(us));
        }
        Ok(Self(DateTime::parse_from_rfc3339(s)?.timestamp_micros()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if !s.is_human_readable() {
            return s.serialize_i64(self.0);
        }
        let text = written(self.0);
        match text.as_ref().and_then(|text| str::from_utf8(text).ok()) {
            Some(text) => s.serialize_str(text),
            None => s.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() { d.deserialize_str(Text) } else { i64::deserialize(d).map(Self) }
    }
}

/// Takes a time out of its text form where it lies.
struct Text;

impl de::Visitor<'_> for Text {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        text.parse().map_err(|_| E::custom(format_args!("`{text}` is no RFC 3339 time")))
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
    fn the_text_form_is_that_of_the_calendar() {
        let day = 86_400_000_000;
        for n in -719_162..2_932_896_i64 {
            // A step of a day and a bit, so that every time of day comes as well.
            let us = n * day + (n * 7_919_777_777).rem_euclid(day);
            let calendar = DateTime::from_timestamp_micros(us).unwrap();
            if n % 16 == 0 || n % 1_461 < 3 {
                let text = Time(us).to_string();
                assert_eq!(text, calendar.to_rfc3339_opts(SecondsFormat::Micros, true));
                assert_eq!(read(text.as_bytes()), Some(us), "{text}");
            }
        }
        for far in [i64::MIN, i64::MAX, 253_402_300_800_000_000, -62_200_000_000_000_000] {
            assert_eq!(written(far), None);
            assert!(!Time(far).to_string().is_empty());
        }
    }

    #[test]
    fn what_is_no_day_is_no_time() {
        for bad in [
            "2026-02-29T00:00:00.000000Z",
            "2100-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-01T00:00:00.000000Z",
            "2026-04-31T00:00:00.000000Z",
            "2026-04-00T00:00:00.000000Z",
            "2026-04-01T24:00:00.000000Z",
            "2026-04-01T00:60:00.000000Z",
            "2026-04-01T00:00:0x.000000Z",
            "2026-04-01T00:00:00.000000",
            "",
        ] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
        assert!("2024-02-29T00:00:00.000000Z".parse::<Time>().is_ok());
    }

    #[test]
    fn other_time_zones_are_understood() {
        let t: Time = "2026-11-20T10:00:00+02:00".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-20T08:00:00.000000Z");
    }
}
