//! How routers write values, in the formats of both major versions.
//!
//! Version 6 and 7 differ in durations (`1w2d03:04:05` against `1w2d3h4m5s`), in round-trip times
//! (whole milliseconds against `4ms812us`) and in timestamps (`jan/02/1970 00:00:05` against
//! `2025-06-02 11:32:45`). Everything here reads both. A timestamp is the router's own wall clock:
//! it has no zone and must not be compared with ours.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A value that is not what its property holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {expected}")]
pub struct BadValue {
    /// What the router wrote, made safe for a log line.
    pub text: String,
    /// What should have stood there.
    pub expected: &'static str,
}

impl BadValue {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: printable(text.as_bytes(), 64), expected }
    }
}

/// The text of a word: UTF-8, or else the Windows code page 1252 that WinBox used to write.
///
/// Every byte sequence is some text; to write a value back, use the raw bytes.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(from_cp1252).collect()),
    }
}

/// Code points of the bytes 80 to 9F; the five that are undefined stay control characters.
/// Source: the Unicode consortium's `CP1252.TXT`.
const CP1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn from_cp1252(byte: u8) -> char {
    match byte {
        0x80..=0x9f => CP1252[usize::from(byte - 0x80)],
        0x00..=0x7f | 0xa0..=0xff => char::from(byte),
    }
}

/// A router's words for people and logs: no control characters, at most `chars_max` characters.
pub fn printable(bytes: &[u8], chars_max: usize) -> String {
    // Four bytes a character at most: what lies beyond cannot be needed.
    let cut = &bytes[..bytes.len().min(chars_max.saturating_mul(4).saturating_add(4))];
    let whole = match std::str::from_utf8(cut) {
        // The cut itself may have gone through a character.
        Err(error) if cut.len() < bytes.len() && error.error_len().is_none() => {
            text(&cut[..error.valid_up_to()])
        }
        Ok(_) | Err(_) => text(cut),
    };
    let mut shown: String =
        whole.chars().take(chars_max).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if whole.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

/// A length of time, or `None` for `never`, `none`, `infinity`, `sometime` and nothing at all.
///
/// Reads `1w2d3h4m5s`, `4ms812us`, `1w2d03:04:05`, `00:00:00.123` and a bare number of seconds.
///
/// # Errors
///
/// [`BadValue`] for anything else, and for what exceeds 64 bits of seconds.
pub fn duration(text: &str) -> Result<Option<Duration>, BadValue> {
    match text {
        "" | "never" | "none" | "infinity" | "sometime" => Ok(None),
        _ => counted(text.as_bytes()).map(Some).ok_or_else(|| BadValue::new(text, "length of time")),
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn counted(mut text: &[u8]) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut below = None;
    while !text.is_empty() {
        let (count, rest) = digits(text)?;
        if rest.first() == Some(&b':') {
            if below.is_some_and(|below| below < DAY) {
                return None;
            }
            return total.checked_add(clock(text)?);
        }
        let letters = rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        let (unit, rest) = rest.split_at(letters);
        let unit = match unit {
            b"w" => Duration::from_secs(7 * 24 * 3600),
            b"d" => DAY,
            b"h" => Duration::from_secs(3600),
            b"m" => Duration::from_secs(60),
            b"s" => Duration::from_secs(1),
            b"ms" => Duration::from_millis(1),
            b"us" => Duration::from_micros(1),
            b"ns" => Duration::from_nanos(1),
            // A bare number is seconds, as the router's own console takes it.
            b"" if below.is_none() && rest.is_empty() => Duration::from_secs(1),
            _ => return None,
        };
        if below.is_some_and(|below| unit >= below) {
            return None; // Units only ever grow smaller.
        }
        below = Some(unit);
        total = total.checked_add(times(unit, count)?)?;
        text = rest;
    }
    below.map(|_| total)
}

fn times(unit: Duration, count: u64) -> Option<Duration> {
    if unit >= Duration::from_secs(1) {
        return Some(Duration::from_secs(unit.as_secs().checked_mul(count)?));
    }
    let nanos = u128::from(unit.subsec_nanos()).checked_mul(count.into())?;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// `03:04:05` or `03:04:05.678`, and nothing after it.
fn clock(text: &[u8]) -> Option<Duration> {
    let (hours, rest) = digits(text)?;
    let (minutes, rest) = digits(rest.strip_prefix(b":")?)?;
    let (seconds, rest) = digits(rest.strip_prefix(b":")?)?;
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let whole = hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)?;
    let nanos = match rest.strip_prefix(b".") {
        None if rest.is_empty() => 0,
        None => return None,
        Some(fraction) => {
            let (digits, rest) = digits(fraction)?;
            let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= 9)?;
            if !rest.is_empty() {
                return None;
            }
            u32::try_from(digits).ok()? * 10_u32.pow(9 - places)
        }
    };
    Some(Duration::new(whole, nanos))
}

/// The number at the start, at least one digit, and what follows it.
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(count);
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((number, rest))
}

/// A truth value: `true`, `false`, `yes` or `no`.
///
/// # Errors
///
/// [`BadValue`] for anything else.
pub fn truth(text: &str) -> Result<bool, BadValue> {
    match text {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => Err(BadValue::new(text, "truth value")),
    }
}

/// A whole number, which routers may write with a trailing `%`.
///
/// # Errors
///
/// [`BadValue`] when it is none or does not fit.
pub fn number<N: std::str::FromStr>(text: &str) -> Result<N, BadValue> {
    text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| BadValue::new(text, "whole number"))
}

/// A moment by the router's own wall clock, of unknown zone and possibly wrong by years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallClock {
    /// 1970 on a router that has not been told the time.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

impl fmt::Display for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// A timestamp: `jan/02/1970 00:00:05` in any letter case (before 7.10) or `2025-06-02 11:32:45`.
///
/// # Errors
///
/// [`BadValue`] for anything else.
pub fn wall_clock(text: &str) -> Result<WallClock, BadValue> {
    moment(text).ok_or_else(|| BadValue::new(text, "timestamp"))
}

fn moment(text: &str) -> Option<WallClock> {
    let (date, time) = text.split_once(' ')?;
    let (year, month, day) = if date.contains('/') {
        let [month, day, year] = three(date, '/')?;
        let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
        (year.parse().ok()?, u8::try_from(month).ok()?, day.parse().ok()?)
    } else {
        let [year, month, day] = three(date, '-')?;
        (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
    };
    let [hour, minute, second] = three(time, ':')?;
    let moment = WallClock {
        year,
        month,
        day,
        hour: hour.parse().ok()?,
        minute: minute.parse().ok()?,
        second: second.parse().ok()?,
    };
    let possible = (1..=12).contains(&moment.month)
        && (1..=31).contains(&moment.day)
        && moment.hour <= 23
        && moment.minute <= 59
        && moment.second <= 60;
    possible.then_some(moment)
}

fn three(text: &str, separator: char) -> Option<[&str; 3]> {
    let mut parts = text.split(separator);
    let found = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_both_versions_are_read() {
        let day = 24 * 3600;
        let known = [
            ("1w2d3h4m5s", Duration::from_secs(9 * day + 3 * 3600 + 4 * 60 + 5)),
            ("3h42m53s13ms71us", Duration::from_micros(((3 * 3600 + 42 * 60 + 53) * 1000 + 13) * 1000 + 71)),
            ("690ms", Duration::from_millis(690)),
            ("0s", Duration::ZERO),
            ("10ms", Duration::from_millis(10)),
            ("2d20h12m20s", Duration::from_secs(2 * day + 20 * 3600 + 12 * 60 + 20)),
            ("1w3d", Duration::from_secs(10 * day)),
            ("1w2d03:04:05", Duration::from_secs(9 * day + 3 * 3600 + 4 * 60 + 5)),
            ("00:00:10", Duration::from_secs(10)),
            ("00:00:00.123", Duration::from_millis(123)),
            ("00:00:00.5", Duration::from_millis(500)),
            ("453us", Duration::from_micros(453)),
            ("1s23ms", Duration::from_millis(1023)),
            ("36:00:00", Duration::from_secs(36 * 3600)),
            ("30", Duration::from_secs(30)),
        ];
        for (text, expected) in known {
            assert_eq!(duration(text), Ok(Some(expected)), "{text}");
        }
        for text in ["never", "none", "infinity", "sometime", ""] {
            assert_eq!(duration(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let wrong = [
            "s",
            "5x",
            "-5s",
            "1h2d",
            "5s5s",
            "1d5",
            "1h00:00:05",
            "00:00",
            "00:61:00",
            "00:00:00.",
            "00:00:00.1234567890",
            "00:00:00 ",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615w",
            "٣s",
        ];
        for text in wrong {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timestamps_of_both_versions_are_read() {
        let first = WallClock { year: 1970, month: 1, day: 2, hour: 0, minute: 0, second: 5 };
        assert_eq!(wall_clock("jan/02/1970 00:00:05"), Ok(first));
        assert_eq!(wall_clock("Feb/03/2023 09:12:23").unwrap().to_string(), "2023-02-03 09:12:23");
        assert_eq!(wall_clock("2025-06-02 11:32:45").unwrap().to_string(), "2025-06-02 11:32:45");
        for text in ["", "2025-06-02", "2025-13-02 11:32:45", "foo/02/1970 00:00:05", "2025-06-02 24:00:00"] {
            assert!(wall_clock(text).is_err(), "{text}");
        }
    }

    #[test]
    fn truth_is_read_in_both_spellings() {
        assert_eq!((truth("true"), truth("no")), (Ok(true), Ok(false)));
        assert!(truth("maybe").is_err());
    }

    #[test]
    fn words_that_are_not_utf8_are_read_as_winbox_wrote_them() {
        assert_eq!(text("Žižkov".as_bytes()), "Žižkov");
        assert_eq!(text(b"Torre Espa\xf1a \x80"), "Torre España €");
    }

    #[test]
    fn a_log_line_cannot_be_broken_by_a_router() {
        assert_eq!(printable(b"a\r\nb\x1b[2J", 100), "a\u{fffd}\u{fffd}b\u{fffd}[2J");
        assert_eq!(printable("ž".repeat(10).as_bytes(), 3), "žžž…");
        assert_eq!(printable(("x".to_owned() + &"ž".repeat(100)).as_bytes(), 2), "xž…");
        assert_eq!(printable(&vec![b'x'; 1 << 20], 3), "xxx…");
    }

    proptest! {
        #[test]
        fn nothing_a_router_writes_makes_us_panic(any in ".*", close in "[0-9wdhms:./a-z -]{0,24}") {
            for text in [any, close] {
                let _ = (duration(&text), wall_clock(&text), truth(&text), number::<u8>(&text));
            }
        }

        #[test]
        fn a_duration_survives_being_written(ms in 0..u64::from(u32::MAX)) {
            let (s, m, h) = (ms / 1000 % 60, ms / 60_000 % 60, ms / 3_600_000 % 24);
            let text = format!("{}d{h}h{m}m{s}s{}ms", ms / 86_400_000, ms % 1000);
            prop_assert_eq!(duration(&text), Ok(Some(Duration::from_millis(ms))));
        }
    }
}
