//! How far routers show what subscribers are entitled to. Only reconciler says these things.
//!
//! A router has one standing, and each subscriber has one at each router that may hold its session; both are
//! said in one commit, which fails when another replica works on that router.

use crate::{EventId, NodeId, PlanDigest, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one thing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Enforcement {
    /// A router. Subject key: its id.
    Router(RouterEnforcement),
    /// A subscriber at a router. Subject key: `<subscriber>.<router>`.
    Subscriber(SubscriberEnforcement),
}

impl Enforcement {
    /// The key of this one's subject.
    pub fn key(&self) -> String {
        match self {
            Enforcement::Router(router) => router.router.to_string(),
            Enforcement::Subscriber(subscriber) => format!("{}.{}", subscriber.node, subscriber.router),
        }
    }
}

/// How a router stands against what its subscribers are entitled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterEnforcementState {
    /// Changes are being made. Said before the first of them.
    Begun,
    /// It was read, and shows what it should as far as that is ours.
    InForce,
    /// Some of it is not as it should be, and could not be made so.
    Incomplete,
    /// Subscribers would be cut off, and are not: too many at once, or somebody has halted it.
    Held,
    /// It could not be looked at.
    Unreachable,
}

impl RouterEnforcementState {
    /// As it stands in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            RouterEnforcementState::Begun => "begun",
            RouterEnforcementState::InForce => "in_force",
            RouterEnforcementState::Incomplete => "incomplete",
            RouterEnforcementState::Held => "held",
            RouterEnforcementState::Unreachable => "unreachable",
        }
    }
}

/// How one router stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouterEnforcement {
    /// Which router.
    pub router: NodeId,
    /// How it stands.
    pub state: RouterEnforcementState,
    /// Since when it stands so.
    pub since: Time,
    /// Subscribers of whom it should show something.
    pub entitled_count: u32,
    /// Subscribers with a session there, and those with a fixed address who are entitled to something.
    #[serde(default)]
    pub active_count: u32,
    /// Those who would be cut off and are not.
    #[serde(default)]
    pub held_count: u32,
    /// What an operator names to have those cut off who are held back because they are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<PlanDigest>,
    /// Why it could not be looked at or changed, or why it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a subscriber stands at a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnforcementState {
    /// The router has not been reached since.
    Waiting,
    /// It is being changed. Said before the first change.
    Begun,
    /// The router shows it.
    InForce,
    /// All was done that can be done there; the rest is not ours, such as a user who lives in RADIUS.
    Partly,
    /// It would cut the subscriber off, and is held back.
    Held,
    /// The router refused, or shows something else than it was told.
    Failed,
}

impl EnforcementState {
    /// As it stands in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            EnforcementState::Waiting => "waiting",
            EnforcementState::Begun => "begun",
            EnforcementState::InForce => "in_force",
            EnforcementState::Partly => "partly",
            EnforcementState::Held => "held",
            EnforcementState::Failed => "failed",
        }
    }
}

/// How one subscriber stands at one router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriberEnforcement {
    /// Which subscriber.
    pub node: NodeId,
    /// At which router.
    pub router: NodeId,
    /// How it stands.
    pub state: EnforcementState,
    /// Since when it stands so.
    pub since: Time,
    /// The entitlement that is pursued.
    pub wanted: EventId,
    /// Since when it is wanted: when the log stored it.
    pub wanted_since: Time,
    /// Since when the router shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force_since: Option<Time>,
    /// How often changes were begun for this entitlement.
    #[serde(default)]
    pub attempts: u32,
    /// When it was last cut off by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_at: Option<Time>,
    /// The sessions that are to end, by the router's own numbers: whoever goes on after a crash ends these and no
    /// later one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<String>,
    /// A digest of the sealed password that the router was last given, or shows. Neither that nor the password can be
    /// told from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What of it is not ours to do, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ours: Option<String>,
    /// What stands in the way, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
