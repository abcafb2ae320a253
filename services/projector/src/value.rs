//! Values as Postgres takes them.
//!
//! Whatever a fact holds can be written: a text with a zero character, which Postgres refuses,
//! or a number beyond `bigint` must not stop everything behind it. The first loses that
//! character, the second becomes the largest there is.

use chrono::{DateTime, Utc};
use events::Time;
use kit::projection::Told;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// A text without zero characters.
pub(crate) type Text<'a> = Cow<'a, str>;

/// `text` as a column takes it.
pub(crate) fn text(text: &str) -> Text<'_> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The same of one that may be missing.
pub(crate) fn some_text(optional: Option<&String>) -> Option<Text<'_>> {
    optional.map(|t| text(t))
}

/// `value` as a `jsonb` column takes it.
pub(crate) fn json(value: &impl Serialize) -> Value {
    clean(serde_json::to_value(value).expect("what an event holds has a JSON form"))
}

fn clean(value: Value) -> Value {
    match value {
        Value::String(s) => Value::String(text(&s).into_owned()),
        Value::Array(list) => Value::Array(list.into_iter().map(clean).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (text(&k).into_owned(), clean(v))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// A time as a column takes it; what chrono cannot say becomes the end of time.
pub(crate) fn at(time: Time) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.us()).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A count or sequence as a `bigint`.
pub(crate) fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// An ordinal or small count as an `integer`.
pub(crate) fn small(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Until when a row may stay: as long as the log keeps what it says; none: for ever.
pub(crate) fn kept_until(told: &Told) -> Option<DateTime<Utc>> {
    told.kept_until.map(at)
}

/// The scheme, host and port of an address: what of it may be shown to everybody.
///
/// Paths, queries, user names and passwords often are secrets.
pub(crate) fn endpoint(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    let host = text(host);
    if scheme.is_empty() { host.into_owned() } else { format!("{}://{host}", text(scheme)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_only_the_host_is_shown() {
        assert_eq!(endpoint("https://hooks.example/services/T0/B1/secret"), "https://hooks.example");
        assert_eq!(endpoint("smtps://user:p@ss@mail.example:465"), "smtps://mail.example:465");
        assert_eq!(endpoint("https://hooks.example?token=secret"), "https://hooks.example");
        assert_eq!(endpoint("mail.example:25"), "mail.example:25");
    }

    #[test]
    fn a_zero_character_does_not_reach_the_database() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert_eq!(json(&["a\0b"]), serde_json::json!(["a\u{fffd}b"]));
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        assert_eq!(at(Time::from_us(i64::MAX)), DateTime::<Utc>::MAX_UTC);
        assert_eq!(at(Time::EPOCH).timestamp(), 0);
    }
}
