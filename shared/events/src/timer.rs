//! Timers and cuts: what the kit says beside the facts.

use crate::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A wish to be woken. One per key; arming again replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timer {
    /// What it is for: tokens of a subject, unique within the service.
    pub key: String,
    /// When. None disarms.
    pub at: Option<Time>,
    /// What the firing is compared with: an old one means nothing.
    pub version: u32,
}

/// A timer that fired: a hint. Whether it still matters is looked up in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Due {
    /// Which service armed it.
    pub service: String,
    /// What for.
    pub key: String,
    /// With which version.
    pub version: u32,
}

/// How far a service has read a partition, in the same commit as what it said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cut {
    /// The last sequence that was decided upon.
    pub position: u64,
    /// The highest `heard` so far: the decider's now.
    pub now: Time,
    /// Whether something that follows was not said yet.
    pub owed: bool,
    /// When the stream was made: a cut of another stream means nothing.
    #[serde(default)]
    pub stream_made: Time,
}
