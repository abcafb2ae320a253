//! What is to be changed on a router, and what was. Only reconciler says these things.
//!
//! A plan is the standing of one router: what it would take to make it as it should be. It is said before
//! anything is written, and again when that changed. Each change that was made, or refused, is a repair.
//! The secret part of a token is in neither: whoever says them leaves it out.

use crate::{EventId, Fingerprint, NodeId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a router stands against what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Something would be changed, and the operator has not allowed it: nothing was written.
    Proposed,
    /// The changes are being made. Said before the first of them.
    Begun,
    /// It was read, and is as it should be.
    AsDesired,
    /// Some of it is not as it should be, and could not be made so.
    Incomplete,
    /// It cannot do what would be asked of it. Nothing was written.
    Unfit,
    /// It could not be looked at.
    Unreachable,
}

impl PlanState {
    /// As it stands in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            PlanState::Proposed => "proposed",
            PlanState::Begun => "begun",
            PlanState::AsDesired => "as_desired",
            PlanState::Incomplete => "incomplete",
            PlanState::Unfit => "unfit",
            PlanState::Unreachable => "unreachable",
        }
    }
}

/// What is done to a row of a router's menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is added.
    Add,
    /// Properties of it are changed.
    Set,
    /// It is removed.
    Remove,
}

impl ChangeKind {
    /// The router's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            ChangeKind::Add => "add",
            ChangeKind::Set => "set",
            ChangeKind::Remove => "remove",
        }
    }
}

/// One property of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Property {
    /// Its name at the router.
    pub name: String,
    /// Its value: a long one is shortened, and of a token only the public part is there.
    pub value: String,
}

/// One change of a router, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouterChange {
    /// The menu, such as `/tool/netwatch`.
    pub menu: String,
    /// What is done there.
    pub change: ChangeKind,
    /// The row's id at the router; none of a row that is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// What people know the row by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub called: String,
    /// What the properties were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Property>,
    /// What they become.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Property>,
}

/// How a router stands. The last message is the memory. Subject key: the router's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Which router.
    pub router: NodeId,
    /// How it stands.
    pub state: PlanState,
    /// Whether the operator allows it to be changed.
    pub managed: bool,
    /// Since when it stands so.
    pub since: Time,
    /// What software it said it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it said it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Which board it said it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// What it does not allow, for the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// What is not ours to change and stands in the way, for the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<String>,
    /// The changes, in the order in which they are to be made; the first of them when there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<RouterChange>,
    /// How many there are in all.
    #[serde(default)]
    pub change_count: u32,
    /// Why it could not be looked at or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The certificate that it showed, if that is why it could not be looked at: nobody vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_shown: Option<Fingerprint>,
}

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepairOutcome {
    /// The router took it.
    Made,
    /// The router refused it.
    Refused,
    /// It was sent, and whether the router took it is not known: the next look tells.
    Unknown,
    /// Who made it ended before saying so; it was found made.
    Found,
}

impl RepairOutcome {
    /// As it stands in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            RepairOutcome::Made => "made",
            RepairOutcome::Refused => "refused",
            RepairOutcome::Unknown => "unknown",
            RepairOutcome::Found => "found",
        }
    }
}

/// One change that was made on a router, or refused by it. Subject key: the router's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repair {
    /// Which router.
    pub router: NodeId,
    /// What became of it.
    pub outcome: RepairOutcome,
    /// The event that announced it.
    pub plan: EventId,
    /// Which of the changes announced there, from 0.
    pub number: u32,
    /// What was changed.
    pub change: RouterChange,
    /// The subscriber for whom it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<NodeId>,
    /// Why the router refused, or why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
