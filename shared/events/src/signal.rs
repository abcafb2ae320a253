//! Raw claims about nodes. Not believed by themselves when they say down.

use crate::{ClaimKey, NodeId, Sealed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who or what makes claims of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalSource {
    /// A PPP profile's on-up or on-down script.
    Ppp,
    /// A DHCP server's lease script.
    Dhcp,
    /// A netwatch entry's script.
    Netwatch,
    /// A missed heartbeat of the server's own.
    Heartbeat,
    /// A scheduled ping through a router.
    ProxyPing,
    /// A roll call.
    RollCall,
    /// SNMP.
    Snmp,
    /// The reconciler's reading of a router.
    Reconcile,
    /// A syslog line.
    Syslog,
    /// RADIUS accounting.
    Radius,
    /// A Zabbix problem.
    Zabbix,
    /// Another system, through the signals API.
    Api,
    /// A person.
    Person,
}

impl SignalSource {
    /// Whether claims of this kind are about a session at a concentrator.
    pub const fn is_session(self) -> bool {
        match self {
            SignalSource::Ppp | SignalSource::Dhcp | SignalSource::Radius => true,
            SignalSource::Netwatch
            | SignalSource::Heartbeat
            | SignalSource::ProxyPing
            | SignalSource::RollCall
            | SignalSource::Snmp
            | SignalSource::Reconcile
            | SignalSource::Syslog
            | SignalSource::Zabbix
            | SignalSource::Api
            | SignalSource::Person => false,
        }
    }
}

/// How it came to be known that a node had changed: who spoke of it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Learned {
    /// Somebody told us by himself: a router's script, another system, a person.
    Push,
    /// We looked, on a schedule or to settle something else.
    Poll,
    /// The reconciler found that nobody had told us.
    Reconcile,
}

impl SignalSource {
    /// What a change is learned by that a claim of this kind tells of.
    pub const fn learned(self) -> Learned {
        match self {
            SignalSource::Ppp
            | SignalSource::Dhcp
            | SignalSource::Netwatch
            | SignalSource::Syslog
            | SignalSource::Radius
            | SignalSource::Zabbix
            | SignalSource::Api
            | SignalSource::Person => Learned::Push,
            SignalSource::Heartbeat
            | SignalSource::ProxyPing
            | SignalSource::RollCall
            | SignalSource::Snmp => Learned::Poll,
            SignalSource::Reconcile => Learned::Reconcile,
        }
    }
}

/// What is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// It works badly.
    Degraded,
}

/// What a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A node the sender can name.
    Node(NodeId),
    /// A session, under the keyed hash of its user.
    Session(ClaimKey),
}

impl About {
    /// The key of the signal's subject.
    pub fn key(&self) -> String {
        match self {
            About::Node(id) => id.to_string(),
            About::Session(key) => format!("s-{key}"),
        }
    }
}

/// One claim, version 2. (Version 1 had `status: online|offline|up|down`; see `upcast`.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// What it is about.
    pub about: About,
    /// What it says.
    pub says: Claim,
    /// What made it.
    pub source: SignalSource,
    /// The router whose token it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<NodeId>,
    /// The sender's boot, as its scripts say it: changes with every boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The sender's sequence within that boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The user name of a session nobody is known by yet, sealed (kept 7 days in read models).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_name: Option<Sealed>,
    /// What else the sender said, at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
