//! One write to the log, and what became of it.
//!
//! A write is one message or an atomic batch (ADR-50): all of it is stored in consecutive places,
//! or nothing. Either may be conditional on the last sequence of a subject. What is not known after a write
//! (no acknowledgement in time, a broken connection) is called unknown: the caller
//! repeats with the same message ids, or reads what happened.
//!
//! A batch is written in one piece, without waiting for its first member's answer: a client that dies or
//! freezes half-way would otherwise leave an open batch behind much more often.

use crate::{
    log::{Connection, chain},
    message::{Encoded, HeaderPair},
};
use async_nats::{HeaderMap, RequestErrorKind, client::Request, header};
use bytes::Bytes;
use futures::future::join_all;
use serde::Deserialize;
use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// The most messages a commit holds (design: law 8). The server's own limit is 1,000.
pub const COMMIT_MESSAGES_MAX: usize = 900;

/// How many batches of this process may be open at once (design, section 5).
const OPEN_MAX: usize = 4;

/// How many plain messages are on their way at once while known ones are told apart.
const PIPELINE: usize = 64;

/// A subject nobody writes.
pub(crate) const NEVER_SUBJECT: &str = "mw.0.all.cut.never";

static OPEN: Semaphore = Semaphore::const_new(OPEN_MAX);
static BATCHES: AtomicU64 = AtomicU64::new(0);
/// Every member of a batch carries its name, so it is short: 64 random bits and a number.
static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);

/// Which batch a message belongs to.
pub(crate) const BATCH_ID: &str = "Nats-Batch-Id";
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// Makes a message conditional on its subject's last sequence.
pub(crate) const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
/// The subject that condition is about, when it is another one.
pub(crate) const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Stored; of a batch, `seq` is the last member's place.
    Stored {
        /// Its place.
        seq: u64,
        /// It had been stored before.
        duplicate: bool,
    },
    /// A condition does not hold: somebody else was faster.
    Conflict,
    /// A member of the batch has been stored before.
    Known,
    /// The store is full. Of a batch the first members may have been stored: nats-server 2.15.1 looks at
    /// the limit message by message (tried).
    Full(String),
    /// There is nobody to ask, or too much is open. Nothing was stored; later it may be.
    Away(String),
    /// It may have been stored, or not.
    Unknown(String),
    /// The server does not want it. Nothing was stored.
    Refused {
        /// JetStream's error code.
        code: u64,
        /// What it says.
        text: String,
    },
}

/// One message of a write, with what is added to it for this write.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) message: &'a Encoded,
    pub(crate) more: Vec<HeaderPair>,
}

#[derive(Deserialize)]
struct Reply {
    error: Option<ReplyError>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// The name of a batch: at most 64 characters, never used twice.
pub(crate) fn batch_id() -> String {
    format!("{:x}-{:x}", *PROCESS, BATCHES.fetch_add(1, Ordering::Relaxed))
}

/// Writes `members`, all or nothing; one alone is a plain publish.
pub(crate) async fn write(connection: &Connection, timeout: Duration, members: &[Member<'_>]) -> Outcome {
    write_as(&batch_id(), connection, timeout, members).await
}

/// [`write`], under a name of the caller's: stored messages carry it.
pub(crate) async fn write_as(
    id: &str,
    connection: &Connection,
    timeout: Duration,
    members: &[Member<'_>],
) -> Outcome {
    let Some((last, before)) = members.split_last() else {
        return Outcome::Refused { code: 0, text: "an empty commit".into() };
    };
    if !connection.is_up() {
        return Outcome::Away("the connection is down".into());
    }
    if before.is_empty() {
        return unless_broken(connection, timeout, request(connection, timeout, last, &[])).await;
    }
    // Closed never: a permit is only waited for while others' batches are open.
    let _permit = OPEN.acquire().await.expect("the semaphore of open batches is never closed");
    unless_broken(connection, timeout, batch(id, connection, timeout, before, last)).await
}

/// Which of `messages` the server has stored in the last two minutes, by their message ids; in order.
///
/// Found by halving, with batches that are never stored: ids are looked at in the order of a batch, and
/// the condition of its last member never holds.
pub(crate) async fn known_among(
    connection: &Connection,
    timeout: Duration,
    messages: &[&Encoded],
) -> Vec<usize> {
    let all: Vec<usize> = (0..messages.len()).collect();
    let (lower, upper) = all.split_at(all.len() / 2);
    let (mut known, mut level) = (Vec::new(), vec![lower.to_vec(), upper.to_vec()]);
    while !level.is_empty() {
        let mut probes = Vec::with_capacity(level.len());
        for part in &level {
            probes.push(knows_any(connection, timeout, messages, part));
        }
        let answers = join_all(probes).await;
        let mut next = Vec::new();
        for (part, has_known) in level.into_iter().zip(answers) {
            match (has_known, part.len()) {
                (false, _) => {}
                (true, 1) => known.extend(part),
                (true, n) => {
                    let (lower, upper) = part.split_at(n / 2);
                    next.extend([lower.to_vec(), upper.to_vec()]);
                }
            }
        }
        level = next;
    }
    known.sort_unstable();
    known
}

async fn knows_any(
    connection: &Connection,
    timeout: Duration,
    messages: &[&Encoded],
    part: &[usize],
) -> bool {
    let never = Encoded {
        subject: NEVER_SUBJECT.into(),
        headers: vec![(EXPECTED_LAST, (u64::MAX / 2).to_string())],
        body: Bytes::new(),
        read_headers: HeaderMap::new(),
    };
    let mut members: Vec<Member<'_>> =
        part.iter().map(|i| Member { message: messages[*i], more: Vec::new() }).collect();
    if members.is_empty() {
        return false;
    }
    members.push(Member { message: &never, more: Vec::new() });
    matches!(write(connection, timeout, &members).await, Outcome::Known)
}

/// Writes each of `messages` by itself, a few at once; answers in order. Known ones are answered with
/// the first one's place.
pub(crate) async fn one_by_one(
    connection: &Connection,
    timeout: Duration,
    messages: &[&Encoded],
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(messages.len());
    for some in messages.chunks(PIPELINE) {
        let mut under_way = Vec::with_capacity(some.len());
        for message in some {
            under_way.push(alone(connection, timeout, message));
        }
        outcomes.extend(join_all(under_way).await);
    }
    outcomes
}

async fn alone(connection: &Connection, timeout: Duration, message: &Encoded) -> Outcome {
    write(connection, timeout, &[Member { message, more: Vec::new() }]).await
}

async fn batch(
    id: &str,
    connection: &Connection,
    timeout: Duration,
    before: &[Member<'_>],
    last: &Member<'_>,
) -> Outcome {
    let place = |n: usize| [(BATCH_ID, id.to_owned()), (BATCH_SEQUENCE, n.to_string())];
    for (i, member) in before.iter().enumerate() {
        let mut headers = member.message.header_map(&member.more);
        for (name, value) in place(i + 1) {
            headers.insert(name, value);
        }
        let subject = member.message.subject.clone();
        let sent =
            connection.client.publish_with_headers(subject, headers, member.message.body.clone()).await;
        if let Err(error) = sent {
            // Without its last member a batch is never stored.
            return Outcome::Away(chain(error));
        }
    }
    let [batch_id, sequence] = place(before.len() + 1);
    let commit = [batch_id, sequence, (BATCH_COMMIT, header::NATS_BATCH_COMMIT_FINAL.into())];
    request(connection, timeout, last, &commit).await
}

async fn request(
    connection: &Connection,
    timeout: Duration,
    member: &Member<'_>,
    more: &[HeaderPair],
) -> Outcome {
    let mut headers = member.message.header_map(&member.more);
    for (name, value) in more {
        headers.insert(*name, value.as_str());
    }
    let request = Request::new().headers(headers).payload(member.message.body.clone()).timeout(Some(timeout));
    let subject = &member.message.subject;
    let answer = tokio::select! {
        answer = connection.client.send_request(subject.clone(), request) => answer,
        denial = connection.denies(subject) => return Outcome::Away(denial),
    };
    match answer {
        Ok(reply) => read(&reply.payload),
        Err(error) => match error.kind() {
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Outcome::Unknown(chain(error)),
            // What a stream without a leader looks like.
            RequestErrorKind::NoResponders => Outcome::Away("nobody answers for the log".into()),
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Outcome::Refused { code: 0, text: chain(error) }
            }
        },
    }
}

/// `write`, bounded: a full queue towards a frozen server blocks, and a broken connection answers nothing.
async fn unless_broken(
    connection: &Connection,
    timeout: Duration,
    write: impl Future<Output = Outcome>,
) -> Outcome {
    let broken = connection.broken();
    tokio::select! {
        outcome = write => outcome,
        () = broken => Outcome::Unknown("the connection broke".into()),
        () = tokio::time::sleep(timeout * 2) => Outcome::Unknown("the server takes nothing in".into()),
    }
}

fn read(reply: &[u8]) -> Outcome {
    let reply: Reply = match serde_json::from_slice(reply) {
        Ok(reply) => reply,
        Err(error) => return Outcome::Unknown(format!("an answer that is none: {error}")),
    };
    match reply.error {
        None => Outcome::Stored { seq: reply.seq, duplicate: reply.duplicate },
        Some(ReplyError { err_code, description }) => refusal(err_code, description),
    }
}

/// Sorts the server's error codes (its `errors.json`) by what is to be done about them.
fn refusal(code: u64, text: String) -> Outcome {
    match code {
        // Wrong last sequence; 10164 is the same without the number, for what is still being stored.
        10_071 | 10_164 => Outcome::Conflict,
        10_201 => Outcome::Known,
        // Insufficient resources; account, memory, storage exceeded; maximum bytes; a store that failed (a full disk).
        10_002 | 10_023 | 10_028 | 10_047 | 10_122 | 10_077 => Outcome::Full(text),
        // Cluster without a leader or a quorum; stream offline; same id in flight; batches too many or incomplete.
        10_004..=10_010 | 10_041 | 10_074 | 10_118 | 10_158 | 10_176 | 10_210 | 10_211 => {
            Outcome::Away(format!("{text} ({code})"))
        }
        _ => Outcome::Refused { code, text },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_read() {
        assert_eq!(
            read(br#"{"stream":"LOG","seq":7,"batch":"x","count":3}"#),
            Outcome::Stored { seq: 7, duplicate: false }
        );
        assert_eq!(
            read(br#"{"stream":"LOG","seq":7,"duplicate":true}"#),
            Outcome::Stored { seq: 7, duplicate: true }
        );
    }

    #[test]
    fn refusals_are_told_apart_by_what_to_do_about_them() {
        let said = |code: u64| {
            read(format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"d"}}}}"#).as_bytes())
        };
        assert_eq!(said(10_071), Outcome::Conflict);
        assert_eq!(said(10_201), Outcome::Known);
        assert_eq!(said(10_023), Outcome::Full("d".into()));
        assert!(matches!(said(10_210), Outcome::Away(_)));
        assert_eq!(said(10_111), Outcome::Refused { code: 10_111, text: "d".into() });
        assert!(matches!(read(b"?"), Outcome::Unknown(_)));
    }
}
