//! Probes wanted. An ask is no memory: what was asked is in the standing it was asked for.

use crate::{AskId, ClaimKey, NodeId, NodeKind, Probe, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From where a probe looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vantage {
    /// The point of presence itself.
    Direct,
    /// A router, over its API.
    Through(NodeId),
}

/// What is wanted to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Question {
    /// Does the target answer the server itself?
    Reach {
        /// How to look.
        probe: Probe,
    },
    /// Does the target answer its router's ping?
    PingThrough {
        /// The router.
        router: NodeId,
    },
    /// Has the target's router a session under one of these keys?
    Session {
        /// The router.
        router: NodeId,
        /// The keys.
        keys: Vec<ClaimKey>,
    },
    /// All the target (a router) knows of its sessions and netwatch entries.
    RollCall {
        /// Everything, or only what changed since the previous roll call.
        whole: bool,
    },
}

/// One probe wanted. Subject key: `<pop>.<slot>.<via>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ask {
    /// Answers carry it; the first counts.
    pub id: AskId,
    /// About which node.
    pub target: NodeId,
    /// What kind of node that is.
    pub target_kind: NodeKind,
    /// What is wanted.
    pub question: Question,
    /// When it was asked: the time of the decision. Answers carry it back.
    pub at: Time,
    /// An answer after this is dropped.
    pub deadline: Time,
}

impl Ask {
    /// From where it is answered: whose slot it lies in.
    pub fn via(&self) -> NodeId {
        match &self.question {
            Question::Reach { .. } | Question::RollCall { .. } => self.target,
            Question::PingThrough { router } | Question::Session { router, .. } => *router,
        }
    }

    /// The key of its subject at the point of presence `pop`.
    pub fn key(&self, pop: &str) -> String {
        let via = self.via();
        format!("{pop}.{}.{via}", crate::slot_of(via))
    }
}
