//! What routers see around them: devices that say what they are (MNDP, LLDP, CDP), and whether the inventory
//! has them.
//!
//! A device is one thing however many routers see it, so there is one subject for it, and one decision: to
//! add it, or not to. Reconciler says what is seen, console what people decide. What may name a person (what
//! a device is called, its hardware and IP address) is sealed: nobody can tell a customer's box from the
//! operator's own by looking at it.

use crate::{DeviceClass, NodeId, Sealed, SightingId, Tier, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a device that was seen stands to the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SightingState {
    /// The inventory has it, and it is seen where the inventory has it.
    Known,
    /// The inventory does not have it: to add it is proposed.
    Proposed,
    /// The inventory has it, and it is seen elsewhere.
    Moved,
    /// Somebody said no to what was proposed. It is not proposed again as long as it is the same.
    Rejected,
    /// It was proposed, and nobody sees it any more.
    Gone,
}

impl SightingState {
    /// Every state.
    pub const ALL: [SightingState; 5] = [
        SightingState::Known,
        SightingState::Proposed,
        SightingState::Moved,
        SightingState::Rejected,
        SightingState::Gone,
    ];

    /// As it stands in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            SightingState::Known => "known",
            SightingState::Proposed => "proposed",
            SightingState::Moved => "moved",
            SightingState::Rejected => "rejected",
            SightingState::Gone => "gone",
        }
    }
}

/// Where a device is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spot {
    /// By which router.
    pub router: NodeId,
    /// At which of its ports; none when that names a customer's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// At which port it was before, when it moved from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
}

/// What a device would be put below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "above", rename_all = "snake_case")]
pub enum Above {
    /// Something that the inventory has.
    Node {
        /// Which.
        id: NodeId,
    },
    /// Another device that was seen, and is not in the inventory yet.
    Sighting {
        /// Which.
        id: SightingId,
    },
}

/// A device as it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeenDevice {
    /// A keyed hash of what the device is told apart by.
    pub id: SightingId,
    /// How it stands to the inventory.
    pub state: SightingState,
    /// Since when it stands so.
    pub since: Time,
    /// What kind of box it seems to be.
    pub class: DeviceClass,
    /// How far up it would stand, or stands.
    pub tier: Tier,
    /// What it would be put below; none: nothing that is known is above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Above>,
    /// Which node it is, if the inventory has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// By whom it is seen, in order of the routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spots: Vec<Spot>,
    /// Why it is taken for that and put there, in sentences. No names in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Who made it, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Which model it is, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// Which software it runs, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it has an address at which it could be watched.
    #[serde(default)]
    pub has_address: bool,
    /// What it is called and where it answers, sealed.
    pub seen: Sealed,
}

/// How the last scan of a router went. Said after everything that was seen in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scan {
    /// Which router.
    pub router: NodeId,
    /// When it was asked.
    pub at: Time,
    /// How many devices it sees.
    #[serde(default)]
    pub device_count: u32,
    /// How many of them are in the inventory, in their place.
    #[serde(default)]
    pub known_count: u32,
    /// How many are proposed.
    #[serde(default)]
    pub proposed_count: u32,
    /// How many moved.
    #[serde(default)]
    pub moved_count: u32,
    /// How many somebody said no to.
    #[serde(default)]
    pub rejected_count: u32,
    /// How many it sees beyond those, that were left out because there are too many.
    #[serde(default)]
    pub left_out_count: u32,
    /// Why it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was seen. Subject keys: `device-<id>`, `router-<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Sighting {
    /// A device, as it stands.
    Device(SeenDevice),
    /// A router was scanned.
    Scan(Scan),
}

impl Sighting {
    /// The key of its subject.
    pub fn key(&self) -> String {
        match self {
            Sighting::Device(device) => Self::device_key(device.id),
            Sighting::Scan(scan) => Self::scan_key(scan.router),
        }
    }

    /// The key under which a device is said.
    pub fn device_key(id: SightingId) -> String {
        format!("device-{id}")
    }

    /// The key under which scans of a router are said.
    pub fn scan_key(router: NodeId) -> String {
        format!("router-{router}")
    }
}
