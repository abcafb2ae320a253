//! Whether a point of presence sees anything beyond itself.
//!
//! A poller whose own way out is broken finds everything silent. So it looks at references as well, hosts that
//! have nothing to do with the network that is watched; while none of them answers it is blind: silence proves
//! nothing then, and it says so.

use crate::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So often it is said again that a slot in which something is watched is worked on, milliseconds.
pub const SEEN_AGAIN_MS: u64 = 5 * 60_000;

/// How a point of presence, or the part of it that one replica works on, sees now. Said when that changes, every minute while
/// it is blind, and every [`SEEN_AGAIN_MS`] while it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct View {
    /// Which point of presence.
    pub pop: String,
    /// Whether a reference answers it.
    pub sees: bool,
    /// In which of its slots, ascending. Where it is blind: those that this replica holds and in which the tenant has
    /// routers or watched nodes; where it sees: those that were said to be blind and that this replica holds, and
    /// those in which the tenant has watched nodes, when that was said long enough ago.
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
