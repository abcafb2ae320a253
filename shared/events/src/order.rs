//! What people ask for.

use crate::{Asked, IncidentId, NodeId, OrderId, PlanDigest, SightingId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// "I have it": stops the escalation.
    Acknowledge {
        /// Which incident.
        incident: IncidentId,
    },
    /// "This was none."
    CloseAsWrong {
        /// Which incident.
        incident: IncidentId,
    },
    /// Look at every hop from root to leaf, now.
    LiveCheck {
        /// The leaf.
        node: NodeId,
        /// What was asked, hop by hop, root first.
        hops: Vec<Asked>,
    },
    /// Look at a router now, and say what would be changed on it.
    DrawPlan {
        /// Which router.
        router: NodeId,
    },
    /// Look at a router now, and change what is not as it should be.
    Repair {
        /// Which router.
        router: NodeId,
    },
    /// Cut those off who are held back at a router because they are too many.
    CutHeld {
        /// Which router.
        router: NodeId,
        /// Who: what was shown when the person said yes.
        plan: PlanDigest,
    },
    /// Ask a router now what it sees around it.
    Scan {
        /// Which router.
        router: NodeId,
    },
    /// Add a device that was seen to the inventory. It is in force with the order.
    AddSighting {
        /// Which.
        sighting: SightingId,
        /// As which node.
        node: NodeId,
    },
    /// Not to propose a device again.
    RejectSighting {
        /// Which.
        sighting: SightingId,
    },
    /// Show what devices are called that may be a customer's.
    OpenSightings {
        /// How many were shown.
        count: u32,
    },
}

/// An order and who gave it. Subject key: the order's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderSaid {
    /// Which.
    pub id: OrderId,
    /// What.
    pub order: Order,
    /// Who gave it.
    pub by: String,
}
