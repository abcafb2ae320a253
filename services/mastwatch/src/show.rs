//! How things are shown: lines for people, one JSON object a line for programs.

use serde::Serialize;
use std::io::{self, Write};

/// Prints a line to standard output. A reader that went away ends the program quietly.
pub fn line(text: impl AsRef<str>) {
    if writeln!(io::stdout().lock(), "{}", text.as_ref()).is_err() {
        std::process::exit(0);
    }
}

/// Prints one JSON object on a line.
pub fn json(thing: &impl Serialize) {
    line(serde_json::to_string(thing).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
}

/// Prints a line to standard error.
pub fn note(text: impl AsRef<str>) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Says on standard error why something failed: a line for people, one JSON object for programs.
pub fn failure(error: &anyhow::Error, json: bool) {
    if json {
        let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        note(serde_json::json!({ "error": error.to_string(), "causes": causes }).to_string());
    } else {
        note(format!("error: {error:#}"));
    }
}

/// A table of columns as wide as their widest cell.
pub fn table(heads: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = heads.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    show(heads.to_vec());
    for row in rows {
        show(row.iter().map(String::as_str).collect());
    }
}

/// A moment as people on call read it: `14:02:03 UTC`, from an RFC 3339 text.
pub fn clock(rfc3339: &str) -> String {
    rfc3339.get(11..19).map_or_else(|| rfc3339.to_owned(), |t| format!("{t} UTC"))
}
