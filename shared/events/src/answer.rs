//! Results of probes. What a probe could not find out is said as such and is evidence of nothing.

use crate::{AskId, ClaimKey, NodeId, Time, Vantage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a router's table says about one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It is there.
    Present,
    /// It is not.
    Absent,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It answered, or refused a connection, which proves the host alive.
    Replied {
        /// Round trip, microseconds.
        rtt_us: u32,
    },
    /// So many tries went unanswered so far; `last` when no more will follow.
    Silent {
        /// How many tries.
        tries: u8,
        /// Whether the probe has ended.
        last: bool,
    },
    /// The router through which it was asked did not answer: against the router, nothing about the target.
    RouterSilent {
        /// How many tries.
        tries: u8,
        /// Whether the probe has ended.
        last: bool,
    },
    /// Nobody finished it before its deadline: against the poller, never against the network.
    Unanswered {
        /// Why, for people.
        why: String,
    },
    /// The session look-up's result.
    Session {
        /// What the table says.
        state: SessionState,
    },
    /// What a router knows. Also proves that the router itself answers.
    RollCall(RollCall),
}

/// What a router knows of those it sees: one chunk of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollCall {
    /// Which chunk, from 0.
    pub chunk: u32,
    /// How many chunks.
    pub chunks: u32,
    /// Whether it tells everything, or what changed since the previous one.
    pub whole: bool,
    /// How long the router has been up, milliseconds.
    pub uptime_ms: u64,
    /// Children whose netwatch entry says up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub up: Vec<NodeId>,
    /// Children whose netwatch entry says down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub down: Vec<NodeId>,
    /// Sessions that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<ClaimKey>,
    /// Sessions that went since the previous roll call (only when not `whole`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<ClaimKey>,
}

/// One answer of a probe.
///
/// Without an ask it is a keeper's own watch: said when what it sees has changed, and again
/// every five minutes as an attestation ("as last said").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The ask it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<AskId>,
    /// When that ask was asked (`Ask::at`): what it proves, it proves for after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Time>,
    /// About which node.
    pub target: NodeId,
    /// From where.
    pub via: Vantage,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The point of presence that looked.
    pub pop: String,
}
