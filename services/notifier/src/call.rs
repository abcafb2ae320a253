//! How a call to a channel ended: one vocabulary for every kind of channel.

use events::{Channel, ChannelKind, Notice, NoticeId};
use std::time::Duration;
use url::Url;

/// How a call ended. The texts are for people; never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The other side took it.
    Delivered(String),
    /// It did not take it now, and surely does not have it; not before this time again.
    Retry {
        /// What it said.
        why: String,
        /// When it wants to be asked again, if it said so.
        after: Option<Duration>,
    },
    /// It will never take this one.
    Rejected(String),
    /// It wants nothing any more.
    Gone(String),
    /// It may have it, or not.
    Unknown(String),
}

impl Outcome {
    /// Its name in figures.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Outcome::Delivered(_) => "delivered",
            Outcome::Retry { .. } => "retry",
            Outcome::Rejected(_) => "rejected",
            Outcome::Gone(_) => "gone",
            Outcome::Unknown(_) => "unknown",
        }
    }
}

/// Whether a receiver can tell a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// By a key that is the same every time: repeating does no harm.
    ByKey,
    /// Not at all: a person would read it twice.
    Untold,
}

/// What figures and log lines call the kind of a channel, and whether it tells repetitions.
pub(crate) const fn kind_of(channel: &Channel) -> (&'static str, Repeats) {
    match channel.kind {
        ChannelKind::Webhook { .. } => ("webhook", Repeats::ByKey),
        ChannelKind::Email { .. } => ("email", Repeats::Untold),
    }
}

/// What a message says beside its notice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter<'a> {
    pub(crate) notice: &'a Notice,
    /// The notice this contact was first told of the incident by, when that is another one.
    pub(crate) first: Option<NoticeId>,
    /// Whether this may be the second time it arrives.
    pub(crate) possibly_repeated: bool,
    /// Where people find the console.
    pub(crate) console: Option<&'a Url>,
}

impl Letter<'_> {
    /// Where people read more about the incident.
    pub(crate) fn incident_url(&self) -> Option<String> {
        let base = self.console?.as_str().trim_end_matches('/');
        Some(format!("{base}/incidents/{}", self.notice.incident))
    }
}

/// The longest answer that is kept.
const ANSWER_CHARS_MAX: usize = 200;

/// What the other side said, short and on one line.
pub(crate) fn shortened(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.chars().take(ANSWER_CHARS_MAX).collect()
}
