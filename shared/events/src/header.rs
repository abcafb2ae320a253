//! The envelope of every event: CloudEvents 1.0 attribute names, carried as NATS headers.

use crate::{EventId, Noun, TenantId, Time};

/// What an envelope says about its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `ce-id`.
    pub id: EventId,
    /// `ce-type`: `net.mastwatch.<noun>.<past tense>.v<major>`.
    pub event_type: String,
    /// `ce-source`: `/mastwatch/<service>`.
    pub source: String,
    /// `ce-tenantid`.
    pub tenant: TenantId,
    /// `ce-time`: when it happened, as its source says.
    pub at: Time,
    /// `ce-causationid`: the event it follows from.
    pub cause: Option<EventId>,
    /// `ce-correlationid`: the first event of the chain.
    pub correlation: Option<EventId>,
    /// W3C `traceparent`.
    pub traceparent: Option<String>,
}

impl Noun {
    /// What happened, in the past tense, and the newest major version of its body.
    pub const fn verb_and_version(self) -> (&'static str, u16) {
        match self {
            Noun::Inventory => ("recorded", 1),
            Noun::Part => ("laid", 1),
            Noun::Revision => ("made", 1),
            Noun::Access => ("granted", 1),
            Noun::Entitlement => ("set", 1),
            Noun::Order => ("given", 1),
            Noun::Signal => ("claimed", 2),
            Noun::Answer => ("answered", 1),
            Noun::Ask => ("asked", 1),
            Noun::Suspicion => ("changed", 1),
            Noun::Health => ("changed", 1),
            Noun::Incident => ("changed", 1),
            Noun::Notice => ("addressed", 1),
            Noun::Delivery => ("attempted", 1),
            Noun::Repair => ("made", 1),
            Noun::Plan => ("drawn", 1),
            Noun::Enforcement => ("changed", 1),
            Noun::Sighting => ("seen", 1),
            Noun::Refusal => ("made", 1),
            Noun::View => ("changed", 1),
            Noun::Timer => ("armed", 1),
            Noun::Due => ("fired", 1),
            Noun::Cut => ("moved", 1),
        }
    }

    /// `ce-type` of the newest version.
    pub fn event_type(self) -> String {
        let (verb, version) = self.verb_and_version();
        format!("net.mastwatch.{}.{verb}.v{version}", self.token())
    }
}

/// The major version at the end of a `ce-type`; 1 when there is none to read.
pub fn version_of(event_type: &str) -> u16 {
    event_type.rsplit_once(".v").and_then(|(_, v)| v.parse().ok()).unwrap_or(1)
}

/// Names of the headers.
pub mod name {
    /// CloudEvents version.
    pub const SPEC_VERSION: &str = "ce-specversion";
    /// Event id.
    pub const ID: &str = "ce-id";
    /// Producer.
    pub const SOURCE: &str = "ce-source";
    /// Type and version.
    pub const TYPE: &str = "ce-type";
    /// When it happened.
    pub const TIME: &str = "ce-time";
    /// Whose it is.
    pub const TENANT: &str = "ce-tenantid";
    /// What it follows from.
    pub const CAUSE: &str = "ce-causationid";
    /// The first of the chain.
    pub const CORRELATION: &str = "ce-correlationid";
    /// Trace context.
    pub const TRACEPARENT: &str = "traceparent";
}
