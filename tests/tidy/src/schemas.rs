//! The published JSON Schemas, generated from the types of `events`.
//!
//! The newest version of each event is generated. Older ones are kept as they were when they
//! were the newest, for those who still read old messages: no type is left to make them from.

use anyhow::Context;
use events::Noun;
use serde_json::Value;
use std::collections::BTreeMap;

/// The nouns that have a body, in order.
pub fn nouns() -> impl Iterator<Item = Noun> {
    Noun::ALL.into_iter().filter(|noun| events::schema::of(*noun).is_some())
}

/// `<noun>.<verb>`: what the folder of an event's schemas is called.
pub fn event(noun: Noun) -> String {
    format!("{}.{}", noun.token(), noun.verb_and_version().0)
}

/// Where the schema of a version lies, below the root of the repository.
pub fn path(noun: Noun, version: u16) -> String {
    format!("schemas/events/{}/v{version}.json", event(noun))
}

/// The newest schema of every noun that has a body: path and text.
pub fn generated() -> BTreeMap<String, String> {
    nouns()
        .filter_map(|noun| {
            let schema = events::schema::of(noun)?.to_value();
            Some((path(noun, noun.verb_and_version().1), text(schema)))
        })
        .collect()
}

/// The published schema of a version, read from its file.
///
/// # Errors
///
/// When there is none or it is no JSON.
pub fn published(noun: Noun, version: u16) -> anyhow::Result<Value> {
    let path = path(noun, version);
    let text =
        std::fs::read_to_string(crate::root().join(&path)).with_context(|| format!("reading {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("decoding {path}"))
}

/// JSON for people: keys in order whatever order the map keeps, two spaces, a last newline.
pub fn text(value: Value) -> String {
    let mut text = serde_json::to_string_pretty(&in_order(value)).expect("a JSON value has a text form");
    text.push('\n');
    text
}

/// The same value with all keys in alphabetical order, whatever order the map keeps.
pub fn in_order(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map.into_iter().map(|(k, v)| (k, in_order(v))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(in_order).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
