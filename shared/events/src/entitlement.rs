//! What a subscriber is to get from the network: said by billing systems and people, through console.
//!
//! The last message of a subscriber is what holds. A subscriber of whom nothing was said is nobody's business:
//! nothing about it is ever written to a router. The person behind it (user name, address) is not in here.

use crate::{ClaimKey, NodeId, Sealed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds of one subscriber, or of all of a tenant, and who said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntitlementSaid {
    /// What holds now.
    pub now: Entitlement,
    /// Who said it.
    pub by: String,
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Entitlement {
    /// Of one subscriber. Subject key: its id.
    Subscriber(Entitled),
    /// Of a whole tenant: whether anybody may be cut off. Subject key: `cutting`.
    Cutting(Cutting),
}

impl Entitlement {
    /// The key of this one's subject.
    pub fn key(&self) -> String {
        match self {
            Entitlement::Subscriber(entitled) => entitled.node.to_string(),
            Entitlement::Cutting(_) => "cutting".into(),
        }
    }
}

/// Whether a subscriber is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// It is served.
    Active,
    /// It is cut off until it is active again.
    Suspended,
    /// Its service is over: what we put on routers for it goes.
    Ended,
    /// It is not ours any more: what is on routers stays as it is.
    Released,
}

impl ServiceState {
    /// As it stands in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            ServiceState::Active => "active",
            ServiceState::Suspended => "suspended",
            ServiceState::Ended => "ended",
            ServiceState::Released => "released",
        }
    }
}

/// How fast a subscriber may be, bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// From the subscriber.
    pub up_bps: u64,
    /// To the subscriber.
    pub down_bps: u64,
}

/// What one subscriber is to get. What is absent is left as it is on the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entitled {
    /// Which subscriber.
    pub node: NodeId,
    /// Whether it is served.
    pub state: ServiceState,
    /// The PPP profile of its plan, as routers call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How fast it may be, as a queue of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// A keyed hash of the address that it always gets when it dials in. The address is with the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<ClaimKey>,
    /// The user's password, who is added with it where no router and no RADIUS server knows him, and given it at routers
    /// that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// A digest of what the network file last said of it, so that the same file again changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// The switch that stops all cutting off at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cutting {
    /// Whether nobody is cut off.
    pub halted: bool,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
