//! Whether a point of presence sees anything beyond itself.
//!
//! A poller whose own way out is broken finds everything silent. So it looks at references as well, hosts that
//! have nothing to do with the network that is watched; while none of them answers it is blind: silence proves
//! nothing then, and it says so.

use crate::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a point of presence, or the part of it that one replica works on, sees now. Said when that changes, and
/// every minute while it is blind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct View {
    /// Which point of presence.
    pub pop: String,
    /// Whether a reference answers it.
    pub sees: bool,
    /// In which of its slots, ascending. Where it is blind: those that this replica holds and in which the tenant has
    /// routers or watched nodes; where it sees: those that were said to be blind and that this replica holds.
    pub slots: Vec<u16>,
    /// Since when.
    pub since: Time,
    /// How many references it has.
    pub references: u32,
}

impl View {
    /// The key of its subject.
    pub fn key(&self) -> String {
        self.pop.clone()
    }
}
