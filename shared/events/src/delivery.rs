//! What became of sending a notice. Only notifier's delivering half says these things, by compare-and-set.

use crate::NoticeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the sending of a notice stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Which notice.
    pub notice: NoticeId,
    /// How many attempts were begun.
    pub attempts: u32,
    /// What the other side answered, for people; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Whether a repetition had to be marked as possibly one.
    #[serde(default)]
    pub possibly_repeated: bool,
}

/// What happened to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// An attempt begins. Said before the call.
    Attempted,
    /// The other side took it.
    Delivered,
    /// The other side refused for now; it will be tried again.
    Deferred,
    /// The other side refused for good, or the tries are used up.
    Refused,
    /// It cannot be known whether the other side has it.
    Unknown,
    /// It was withdrawn, superseded or expired before it left.
    Dropped,
}

/// What has become of one delivery. The last message is the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliverySaid {
    /// What happened.
    pub kind: DeliveryKind,
    /// Where it stands.
    pub now: Delivery,
}
