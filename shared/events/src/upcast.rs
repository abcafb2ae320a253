//! Old versions, translated on the way in, so that everybody else only ever sees the newest.
//!
//! JSON to JSON, one step a version. A step never looks at anything but the body it translates.

use crate::Noun;
use serde_json::{Value, json};

/// Brings a body of `noun` from `version` to the newest one.
pub fn to_newest(noun: Noun, version: u16, mut body: Value) -> Value {
    let newest = noun.verb_and_version().1;
    for from in version..newest {
        body = step(noun, from, body);
    }
    body
}

fn step(noun: Noun, from: u16, body: Value) -> Value {
    match (noun, from) {
        (Noun::Signal, 1) => signal_1_to_2(body),
        _ => body,
    }
}

/// Version 1 said `status` in the router's own words and `node` for devices only.
fn signal_1_to_2(mut body: Value) -> Value {
    let Some(map) = body.as_object_mut() else { return body };
    if let Some(status) = map.remove("status") {
        let says = match status.as_str() {
            Some("online" | "up" | "bound") => "up",
            Some("degraded") => "degraded",
            _ => "down",
        };
        map.insert("says".into(), json!(says));
    }
    if let Some(node) = map.remove("node") {
        map.insert("about".into(), json!({ "node": node }));
    }
    body
}

#[cfg(test)]
mod tests {
    use crate::{Claim, Fact, Noun};

    #[test]
    fn a_signal_of_version_1_is_still_understood() {
        let old =
            br#"{"node":"018f2f2e-0000-7000-8000-000000000001","status":"offline","source":"netwatch"}"#;
        let Fact::Signal(signal) = Fact::decode(Noun::Signal, 1, old).unwrap() else { panic!("a signal") };
        assert_eq!(signal.says, Claim::Down);
    }

    #[test]
    fn a_version_from_the_future_is_refused_not_guessed() {
        assert!(Fact::decode(Noun::Signal, 3, b"{}").is_err());
    }
}
