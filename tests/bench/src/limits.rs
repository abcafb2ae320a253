//! What a figure has to be: each line says it beside what it was, and whether it was.
//!
//! `ok` says that nothing went wrong, `within_limits` that it was also fast and small enough.

use serde_json::{Value, json};

/// What a figure may not fall below, or rise above.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// It is to be so much at least.
    AtLeast(f64),
    /// It is to be so much at most.
    AtMost(f64),
}

/// Lays the limits of the figures at `limits` (names, with dots between those of nested ones) into `line`.
///
/// A figure that is not there has not held its limit.
pub(crate) fn hold(line: &mut Value, limits: &[(&str, Limit)]) {
    let told: Vec<Value> = limits
        .iter()
        .map(|(name, limit)| {
            let figure = line.pointer(&format!("/{}", name.replace('.', "/"))).and_then(Value::as_f64);
            let (word, bound, holds) = match limit {
                Limit::AtLeast(least) => ("at_least", least, figure.is_some_and(|f| f >= *least)),
                Limit::AtMost(most) => ("at_most", most, figure.is_some_and(|f| f <= *most)),
            };
            json!({ "figure": name, word: bound, "was": figure, "holds": holds })
        })
        .collect();
    line["within_limits"] = told.iter().all(|limit| limit["holds"] == true).into();
    line["limits"] = told.into();
}

/// Whether nothing went wrong and every limit was held; a line without a verdict has nothing against it.
pub(crate) fn passed(line: &Value) -> bool {
    line["ok"] != false && line["within_limits"] != false
}

/// The limits that were not held, for people.
pub(crate) fn missed(line: &Value) -> Vec<String> {
    let limits = line["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let missed = limits.iter().filter(|limit| limit["holds"] == false).map(|limit| {
        let (word, bound) = match &limit["at_least"] {
            Value::Null => ("at most", &limit["at_most"]),
            least => ("at least", least),
        };
        let name = limit["figure"].as_str().unwrap_or_default();
        format!("{name} was {}, and is to be {word} {bound}", limit["was"])
    });
    missed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_which_limit_was_not_held() {
        let mut line = json!({ "ok": true, "ratio": 0.9, "arrays": { "per_second": 24_000 } });
        hold(&mut line, &[("ratio", Limit::AtLeast(0.85)), ("arrays.per_second", Limit::AtMost(25_000.0))]);
        assert!(passed(&line) && missed(&line).is_empty(), "{line}");
        hold(&mut line, &[("ratio", Limit::AtLeast(0.85)), ("arrays.per_second", Limit::AtLeast(25_000.0))]);
        assert!(!passed(&line));
        assert_eq!(missed(&line), ["arrays.per_second was 24000.0, and is to be at least 25000.0"]);
    }

    #[test]
    fn a_figure_that_is_missing_is_not_within_its_limit() {
        let mut line = json!({ "seconds": null });
        hold(&mut line, &[("seconds", Limit::AtMost(3.0))]);
        assert!(!passed(&line));
        assert_eq!(missed(&line), ["seconds was null, and is to be at most 3.0"]);
    }
}
