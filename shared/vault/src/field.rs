//! What a sealed value is the value of.

use events::{ChannelId, ClaimKey, NodeId, SightingId};
use std::fmt;

/// Which detail of which thing is sealed. It is bound to the sealed text, which opens for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// User and password of a router: see [`crate::TenantKeys::seal_login`].
    Login(NodeId),
    /// The token that a router's scripts carry.
    RouterToken(NodeId),
    /// The signing secret of a webhook channel.
    ChannelSecret(ChannelId),
    /// User and password of a mail server: see [`crate::TenantKeys::seal_login`].
    ChannelLogin(ChannelId),
    /// The password of a PPP user who is to be added.
    Password(NodeId),
    /// What is known about the person behind a subscriber.
    Person(NodeId),
    /// The user name or MAC of a session nobody is known by yet.
    Session(ClaimKey),
    /// What a device that was seen is called, and where it answers.
    Sighting(SightingId),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Login(node) => write!(f, "login/{node}"),
            Field::RouterToken(node) => write!(f, "router-token/{node}"),
            Field::ChannelSecret(channel) => write!(f, "channel-secret/{channel}"),
            Field::ChannelLogin(channel) => write!(f, "channel-login/{channel}"),
            Field::Password(node) => write!(f, "password/{node}"),
            Field::Person(node) => write!(f, "person/{node}"),
            Field::Session(key) => write!(f, "session/{key}"),
            Field::Sighting(device) => write!(f, "sighting/{device}"),
        }
    }
}

/// By what a session is known at its concentrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionKind {
    /// A PPP user name, byte for byte as the router says it.
    Ppp,
    /// A MAC address; upper or lower case, with any separators.
    Mac,
}

impl SessionKind {
    /// The name under the keyed hash.
    pub const fn name(self) -> &'static str {
        match self {
            SessionKind::Ppp => "ppp",
            SessionKind::Mac => "mac",
        }
    }
}
