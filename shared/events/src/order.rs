//! What people ask for.

use crate::{Asked, IncidentId, NodeId, OrderId};
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
