//! What mastwatch wants to know of a router, and how to read the answer of either major version.
//!
//! A [`Question`] is a command and a way to read its reply; it needs no connection to be tested.
//! What the question is about has to be readable, or the answer is an error. What is merely told
//! beside it is `None` when the router does not tell it in a form we know, because a new way to
//! write an uptime must not hide three thousand sessions.

mod health;
mod interface;
mod neighbour;
mod netwatch;
mod ping;
mod ppp;
mod station;
mod system;

use std::borrow::Cow;
use std::time::Duration;

use tokio::time::Instant;

use crate::command::{Command, Reply, Row, Trap};
use crate::session::{CallError, Session, after};
use crate::value::{self, BadValue};

pub use self::health::{Health, HealthNow};
pub use self::interface::{Arp, PortNow, Ports};
pub use self::neighbour::{Heard, Neighbours};
pub use self::netwatch::{Netwatch, Watch, WatchStatus};
pub use self::ping::{BadPing, Echo, EchoStatus, Ping, Pong};
pub use self::ppp::{PppActive, PppSession, ProfileOfSecrets};
pub use self::station::{Station, Stations};
pub use self::system::{Identity, Resource, ResourceNow, Uptime, Version};

/// One thing that can be asked of a router.
pub trait Question {
    /// What is known afterwards.
    type Answer;

    /// How it is asked.
    fn command(&self) -> Command;

    /// How else it is asked, of a router that refused with `trap`.
    fn otherwise(&self, _trap: &Trap) -> Option<Command> {
        None
    }

    /// What the router's reply means.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the reply does not hold what was asked for.
    fn read(&self, reply: &Reply) -> Result<Self::Answer, Unreadable>;
}

/// A reply that does not hold what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is no row where there always is one.
    #[error("the answer has no row")]
    NoRow,
    /// A row lacks what the question is about.
    #[error("a row has no `{property}`")]
    Missing {
        /// The property that is not there.
        property: &'static str,
    },
    /// A row holds it in a form that we do not know.
    #[error("reading `{property}`")]
    Value {
        /// The property that is not understood.
        property: &'static str,
        /// What is wrong with it.
        source: BadValue,
    },
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The router did not reply, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It replied with something else.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Session {
    /// Asks a question and reads the answer, `within` that time in all.
    ///
    /// # Errors
    ///
    /// [`AskError`], as [`Session::call`] or when the reply cannot be read.
    pub async fn ask<Q: Question>(&self, question: &Q, within: Duration) -> Result<Q::Answer, AskError> {
        let by = after(within);
        let reply = match self.call(&question.command(), within).await {
            Err(CallError::Trap(trap)) => match question.otherwise(&trap) {
                Some(command) => self.call(&command, by.saturating_duration_since(Instant::now())).await,
                None => Err(CallError::Trap(trap)),
            },
            reply => reply,
        };
        Ok(question.read(&reply?)?)
    }
}

/// The only or first row.
fn first(reply: &Reply) -> Result<&Row, Unreadable> {
    reply.rows.first().ok_or(Unreadable::NoRow)
}

/// A property that has to be there.
fn required<'a>(row: &'a Row, property: &'static str) -> Result<Cow<'a, str>, Unreadable> {
    row.text(property).ok_or(Unreadable::Missing { property })
}

/// A property that has to be there in a form that `read` knows.
fn required_as<T>(
    row: &Row,
    property: &'static str,
    read: impl FnOnce(&str) -> Result<T, BadValue>,
) -> Result<T, Unreadable> {
    read(&required(row, property)?).map_err(|source| Unreadable::Value { property, source })
}

/// A property that is told beside the point; an empty text is none.
fn told(row: &Row, property: &str) -> Option<String> {
    row.text(property).filter(|text| !text.is_empty()).map(Cow::into_owned)
}

/// The same, in a form that `read` knows.
fn told_as<T>(row: &Row, property: &str, read: impl FnOnce(&str) -> Result<T, BadValue>) -> Option<T> {
    row.text(property).and_then(|text| read(&text).ok())
}

/// A length of time that has to be one: not `never`.
fn span(text: &str) -> Result<Duration, BadValue> {
    value::duration(text)?.ok_or_else(|| BadValue { text: text.to_owned(), expected: "length of time" })
}

/// A length of time as every version reads it.
fn milliseconds(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Sentence;

    /// A reply with rows given as `name=value` words.
    pub(super) fn reply(rows: &[&[&str]]) -> Reply {
        let row = |words: &&[&str]| {
            Row::new(words.iter().fold(Sentence::re(), |row, word| row.word(format!("={word}"))))
        };
        Reply { rows: rows.iter().map(row).collect(), done: Sentence::done() }
    }

    #[test]
    fn every_question_asks_only_for_what_it_reads() {
        let one = std::num::NonZeroU16::MIN;
        let asked = [
            Identity.command(),
            Resource.command(),
            Uptime.command(),
            PppActive::all().command(),
            Netwatch.command(),
            Ports.command(),
            Arp.command(),
            Neighbours.command(),
            Stations::Wireless.command(),
            ProfileOfSecrets.command(),
        ];
        for command in asked {
            assert!(command.sentence().attribute(".proplist").is_some(), "{command:?}");
            assert!(command.is_repeatable(), "{command:?}");
        }
        let ping = Ping::new("10.0.0.1".parse().unwrap(), one, Duration::from_secs(1)).unwrap();
        assert!(ping.command().is_repeatable());
    }
}
