//! Dead letters: what could not be read or decided upon, whole, with the reason.
//!
//! A dead letter keeps its body and its headers; the server's own are renamed (`Nats-…` to
//! `Dead-Nats-…`), so that they mean nothing any more. Its subject is `dead.<service>.<part>.<sequence>`
//! and its id is service and sequence: the same one buried twice lies there once.
//!
//! For a decider, what lies here was never heard: a start passes over it.

use crate::{
    commit::{Member, Outcome, write},
    log::{Log, LogError},
    message::{Encoded, HeaderPair, MESSAGE_ID, Raw},
    publish::Pause,
    read,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use std::collections::BTreeSet;

/// The stream they lie in, for 30 days.
pub(crate) const STREAM: &str = "DEAD";

/// Why it lies there.
pub const REASON: &str = "Dead-Reason";
/// Where it lay in the log.
pub const SEQUENCE: &str = "Dead-Sequence";
/// Under which subject it lay in the log.
pub const SUBJECT: &str = "Dead-Subject";
/// When the log had stored it.
pub const HEARD: &str = "Dead-Heard";

/// How many bytes its body had, when it had to be left in the log alone.
pub const OMITTED: &str = "Dead-Body-Omitted";

/// The longest reason that is kept, in bytes: headers are read by every tool.
const REASON_BYTES_MAX: usize = 1_024;

impl Log {
    /// Puts `raw` into the dead letters of `service`, whole, and returns when it is stored there.
    /// Tries without end: nothing may be passed over that is not kept. A body so large that our headers
    /// do not fit beside it stays in the log alone.
    pub async fn bury(&self, service: &str, raw: &Raw, reason: &str) {
        let mut letter = letter(service, raw, reason);
        let mut pause = Pause::default();
        loop {
            let member = Member { message: &letter, more: Vec::new() };
            let outcome = write(&self.inner.connection, self.inner.config.ack_timeout, &[member]).await;
            match outcome {
                Outcome::Stored { .. } => break,
                Outcome::Refused { .. } if !letter.body.is_empty() => {
                    // With our headers it is larger than a message may be.
                    letter.headers.push((OMITTED, letter.body.len().to_string()));
                    letter.body = Bytes::new();
                }
                other => {
                    tracing::warn!(?other, seq = raw.seq, service, "a dead letter is not stored yet");
                    tokio::time::sleep(pause.next()).await;
                }
            }
        }
        tracing::error!(
            seq = raw.seq,
            subject = &*raw.subject,
            service,
            reason,
            "passed over, kept in the dead letters"
        );
    }

    /// The sequences in the log that `service` has buried of partition `part`.
    pub(crate) async fn buried(&self, service: &str, part: u16) -> Result<BTreeSet<u64>, LogError> {
        let filter = format!("dead.{service}.{part}.>");
        let first = self.next_at(STREAM, &filter, 1).await?;
        let mut buried = BTreeSet::new();
        if first.is_none() {
            return Ok(buried);
        }
        let end = self.last_in(STREAM, &filter).await?.map_or(0, |raw| raw.seq);
        let mut letters = self.read_stream(STREAM, vec![filter], read::From::Start, Some(end)).headers_only();
        while let Some(raw) = letters.next().await? {
            buried.extend(raw.header(SEQUENCE).and_then(|seq| seq.parse::<u64>().ok()));
        }
        Ok(buried)
    }
}

fn letter(service: &str, raw: &Raw, reason: &str) -> Encoded {
    let part = raw.part().map_or_else(|| "x".to_owned(), |part| part.to_string());
    let headers: Vec<HeaderPair> = vec![
        (MESSAGE_ID, format!("{service}-{}", raw.seq)),
        (REASON, one_line(reason)),
        (SEQUENCE, raw.seq.to_string()),
        (SUBJECT, raw.subject.to_string()),
        (HEARD, raw.heard.to_string()),
    ];
    Encoded {
        subject: format!("dead.{service}.{part}.{}", raw.seq),
        headers,
        body: raw.body.clone(),
        read_headers: disarmed(&raw.headers),
    }
}

/// The message's own headers; what would mean something to the server is renamed.
fn disarmed(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        let name = if name.starts_with("Nats-") { format!("Dead-{name}") } else { name.to_owned() };
        for value in values {
            kept.append(name.as_str(), value.clone());
        }
    }
    kept
}

fn one_line(reason: &str) -> String {
    let mut line: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|i| line.is_char_boundary(*i)).unwrap_or(0);
        line.truncate(end);
    }
    line
}
