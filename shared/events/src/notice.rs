//! Messages to people. Only notifier's deciding half says these things.

use crate::{ChannelId, IncidentId, NoticeId, Time, Urgency};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Network engineers: core and site.
    Engineers,
    /// Field technicians: sector, backhaul, a station serving several.
    Technicians,
    /// Support: a single subscriber; a dashboard, nothing is pushed.
    Support,
}

impl Audience {
    /// The name as it stands in files and ids.
    pub const fn name(self) -> &'static str {
        match self {
            Audience::Engineers => "engineers",
            Audience::Technicians => "technicians",
            Audience::Support => "support",
        }
    }
}

/// Which change of an incident is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It began.
    Opened,
    /// It is materially another than was told.
    Changed,
    /// Nobody acknowledged it in time.
    Escalated,
    /// It is over.
    Resolved,
}

impl Phase {
    /// The name as it stands in ids and webhook types.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Opened => "opened",
            Phase::Changed => "changed",
            Phase::Escalated => "escalated",
            Phase::Resolved => "resolved",
        }
    }
}

/// One message to one audience through one channel about one change of one incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// hash(incident, audience, contact, phase, step).
    pub id: NoticeId,
    /// About which incident: the one it was first told as.
    pub incident: IncidentId,
    /// To whom.
    pub audience: Audience,
    /// Through what.
    pub channel: ChannelId,
    /// Which change.
    pub phase: Phase,
    /// Which repetition of that phase, from 0.
    pub step: u32,
    /// How soon they must know.
    pub urgency: Urgency,
    /// The first line.
    pub title: String,
    /// The rest: evidence, impact, place.
    pub text: String,
    /// When it was decided.
    pub at: Time,
    /// After this, it is not sent any more.
    pub expires: Time,
    /// The incident as it stood, for machines.
    pub about: Box<crate::Incident>,
}

/// What happened to a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// It is to be sent.
    Addressed,
    /// It must not be sent any more (merged or over before it left).
    Withdrawn,
}

/// What has become of one notice. The last message is the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoticeSaid {
    /// What happened.
    pub kind: NoticeKind,
    /// The notice.
    pub now: Notice,
}
