//! `mastwatch live-check`: every hop from root to leaf, as it is measured.

use crate::{
    api::{Api, refusal},
    show,
};
use anyhow::{Context, bail};
use futures::StreamExt;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use std::process::ExitCode;

/// Asks for a live check of what the network file calls `device`, and shows every hop as it comes. The exit code
/// is 3 when a hop is down.
///
/// # Errors
///
/// When the console is not reached or knows no such node, or when the check broke off before its end.
pub async fn run(device: &str, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    let response = api.send(Method::POST, &path_of(device)?, None).await?;
    let status = response.status();
    if !status.is_success() {
        let said = refusal(status, &response.text().await.context("reading the console's answer")?);
        match status {
            StatusCode::NOT_FOUND => bail!(
                "finding `{device}`: {said}; give a device's id or a subscriber's account as it stands in the \
                 network file that was imported"
            ),
            _ => bail!("asking for a live check of `{device}`: {said}"),
        }
    }
    let mut body = response.bytes_stream();
    let (mut lines, mut check) = (Lines::default(), Check::default());
    while let Some(bytes) = body.next().await {
        lines.put(&bytes.context("reading the live check")?);
        while let Some(line) = lines.next() {
            let Some(told) = check.hear(&line) else { continue };
            if json {
                show::json(&told);
            } else if told["state"].is_string() {
                show::line(shown(&told));
            }
        }
    }
    check.outcome()
}

/// Where a live check is asked for: what the file calls a thing may hold anything.
fn path_of(device: &str) -> anyhow::Result<String> {
    let mut url = Url::parse("http://console/api/v1/nodes").context("making the path")?;
    match url.path_segments_mut() {
        Ok(mut path) => path.push(device).push("live-check"),
        Err(()) => bail!("making the path of `{device}`"),
    };
    Ok(url.path().to_owned())
}

fn shown(hop: &Value) -> String {
    let of = |key: &str| hop[key].as_str().unwrap_or_default();
    let rtt = hop["rtt_us"].as_u64().map(|us| format!("{:.1} ms", us as f64 / 1_000.0));
    let said = rtt.unwrap_or_else(|| of("why").to_owned());
    format!("{:<28} {:<12} {said}", of("name"), of("state")).trim_end().to_owned()
}

/// The lines of a stream. A chunk may end anywhere, in the midst of a letter too.
#[derive(Debug, Default)]
struct Lines {
    kept: Vec<u8>,
}

impl Lines {
    fn put(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    fn next(&mut self) -> Option<String> {
        let end = self.kept.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.kept.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// What was heard of a live check: server-sent events, each a line with its name and one with its data.
#[derive(Debug, Default)]
struct Check {
    event: String,
    is_down: bool,
    has_ended: bool,
}

impl Check {
    /// Hears a line; the data of an event, if it holds any.
    fn hear(&mut self, line: &str) -> Option<Value> {
        if line.is_empty() {
            self.event.clear();
        } else if let Some(name) = line.strip_prefix("event:") {
            name.trim().clone_into(&mut self.event);
        }
        let told: Value = serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()?;
        self.is_down |= self.event == "hop" && told["state"] == "down";
        self.has_ended |= self.event == "end";
        Some(told)
    }

    fn outcome(&self) -> anyhow::Result<ExitCode> {
        match (self.has_ended, self.is_down) {
            (false, _) => {
                bail!("the live check broke off before its end: what is not shown was not looked at")
            }
            (true, true) => Ok(ExitCode::from(3)),
            (true, false) => Ok(ExitCode::SUCCESS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, chunk: usize) -> (Vec<String>, Check) {
        let (mut lines, mut check, mut told) = (Lines::default(), Check::default(), vec![]);
        for bytes in text.as_bytes().chunks(chunk) {
            lines.put(bytes);
            while let Some(line) = lines.next() {
                told.extend(check.hear(&line).filter(|hop| hop["state"].is_string()).as_ref().map(shown));
            }
        }
        (told, check)
    }

    const ORDER: &str = "event: order\ndata: {\"order\":\"o\",\"hops\":[]}\n\n";
    const UP: &str = "event: hop\ndata: {\"name\":\"Žižkov věž\",\"state\":\"up\",\"rtt_us\":1500}\n\n";
    const DOWN: &str = "event: hop\ndata: {\"name\":\"b\",\"state\":\"down\",\"why\":\"3 tries\"}\n\n";
    const END: &str = ": a sign of life\n\nevent: end\ndata: {\"up\":1,\"down\":0}\n\n";

    #[test]
    fn names_are_whole_wherever_a_chunk_ends() {
        for chunk in 1..9 {
            let (lines, _) = heard(&[ORDER, UP, END].concat(), chunk);
            assert_eq!(lines, ["Žižkov věž                   up           1.5 ms"], "{chunk}");
        }
    }

    #[test]
    fn a_hop_that_is_down_and_a_stream_that_broke_off_show_in_the_exit_code() {
        let of = |events: &[&str]| heard(&events.concat(), 64).1;
        let all_up = of(&[ORDER, UP, END]);
        assert!(all_up.outcome().is_ok() && !all_up.is_down);
        let one_down = of(&[ORDER, UP, DOWN, END]);
        assert!(one_down.outcome().is_ok() && one_down.is_down);
        assert!(of(&[ORDER, UP, DOWN]).outcome().is_err());
        assert!(of(&[]).outcome().is_err());
    }

    #[test]
    fn what_the_file_calls_a_thing_may_hold_anything() {
        assert_eq!(path_of("sector-7").unwrap(), "/api/v1/nodes/sector-7/live-check");
        assert_eq!(path_of("a/b?c&d e#é").unwrap(), "/api/v1/nodes/a%2Fb%3Fc&d%20e%23%C3%A9/live-check");
    }
}
