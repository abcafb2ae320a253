//! Outages as people speak of them. Only correlator says these things.

use crate::{Evidence, IncidentId, NodeId, SiteId, Tier, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of outage it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentClass {
    /// Something is broken and others are cut off, or it is missed itself.
    Outage,
    /// Many subscribers below one living parent lost their sessions together.
    SessionsLost,
    /// Nothing is cut off, but one more failure would.
    Redundancy,
    /// A vantage point lost its own references: what it watches is unknown.
    Blind,
}

impl IncidentClass {
    /// Whether its roots keep what hangs below them from working. Where only sessions were lost, or a point of presence is
    /// blind, the map is as it was.
    pub const fn breaks_the_map(self) -> bool {
        match self {
            IncidentClass::Outage | IncidentClass::Redundancy => true,
            IncidentClass::SessionsLost | IncidentClass::Blind => false,
        }
    }
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// A root is down.
    Open,
    /// Every root is back, the hold runs.
    Recovering,
    /// Every root was up for the hold time, or left the inventory.
    Resolved,
    /// Another incident carries it from here on.
    Merged,
    /// A person said that it was none.
    Closed,
}

/// How soon people must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Dashboard and mail.
    Low,
    /// Within the hour.
    Normal,
    /// Now: page somebody.
    Urgent,
}

/// One cause of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RootCause {
    /// Which node.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Its tier.
    pub tier: Tier,
    /// Repairing it alone would restore what it cut off; otherwise it contributes.
    pub primary: bool,
    /// Whether it is down, or was and is back. Of one that works (`subscribers_below`): whether the sessions below it
    /// are still lost.
    pub down: bool,
    /// Since when it is so.
    pub since: Time,
    /// Whether it is in maintenance: named, but nobody is told because of it.
    #[serde(default)]
    pub quiet: bool,
    /// Whether it goes down so often that it is told once and not each time: until it is steady again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flapping: bool,
    /// The sum of the weights, at most 100 percent; 0 with no decisive evidence: undetermined.
    pub confidence: u32,
    /// The weights.
    pub evidence: Vec<Evidence>,
    /// How many subscribers hang below it, when it works itself and many of those lost their sessions together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribers_below: Option<u32>,
}

/// How many one site has of those cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteImpact {
    /// Which site.
    pub site: SiteId,
    /// What people call it.
    pub name: String,
    /// Subscribers cut off there.
    pub subscribers: u32,
    /// All nodes cut off there.
    pub nodes: u32,
}

/// Who is cut off: counts and the largest sites, never a list of everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Impact {
    /// Nodes cut off, by tier; the roots themselves not counted.
    pub by_tier: BTreeMap<Tier, u32>,
    /// Subscribers cut off.
    pub subscribers: u32,
    /// Sites with something cut off or broken.
    pub sites: u32,
    /// Subscribers cut off by plan; the 16 largest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_plan: BTreeMap<String, u32>,
    /// The sites with the most subscribers cut off, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest_sites: Vec<SiteImpact>,
    /// Nodes that one more failure would cut off.
    #[serde(default)]
    pub at_risk: u32,
    /// Of the nodes cut off, how many were seen to be: the rest follows from the map.
    #[serde(default)]
    pub observed: u32,
}

/// One line of an incident's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// When it was decided.
    pub at: Time,
    /// What happened, for people.
    pub what: String,
}

/// A point of presence that lost its references.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlindPop {
    /// Which.
    pub pop: String,
    /// In which of its slots, ascending.
    pub slots: Vec<u16>,
    /// Since when each of them is, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub since: Vec<Time>,
    /// How many nodes it watches there, of which nothing is known meanwhile.
    pub targets: u32,
}

/// Several devices of one site went down together, nothing above them explains it, and none there works: perhaps the site
/// itself failed, most often for want of power. A guess for people: nothing is decided by it, and the map knows nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteHypothesis {
    /// Which site.
    pub site: SiteId,
    /// What people call it.
    pub name: String,
    /// The sum of the weights, percent.
    pub confidence: u32,
    /// The weights.
    pub evidence: Vec<Evidence>,
}

/// One outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Derived from its first verdict; never changes.
    pub id: IncidentId,
    /// Where it stands.
    pub state: IncidentState,
    /// What kind it is.
    pub class: IncidentClass,
    /// "Core-3 at Mill Hill is down: 10 sites, 3,150 subscribers".
    pub title: String,
    /// How soon people must know.
    pub urgency: Urgency,
    /// The highest tier among the loud roots: decides the audience.
    pub tier: Tier,
    /// Where the first root is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// What people call that place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_name: Option<String>,
    /// Where a technician drives to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_address: Option<String>,
    /// The point of presence that is blind, when that is what the incident is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<Box<BlindPop>>,
    /// The site of which it may be that it failed as a whole, with roots of this incident and of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_hypothesis: Option<Box<SiteHypothesis>>,
    /// What is broken, the first one first; at most 64 (the rest is counted in the title).
    pub roots: Vec<RootCause>,
    /// Who is cut off.
    pub impact: Impact,
    /// When the first root was found.
    pub opened_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Why it ended, when not by recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_because: Option<String>,
    /// The incident that carries it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<IncidentId>,
    /// Who took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// The version of the hold timer that may resolve it.
    #[serde(default)]
    pub hold: u32,
    /// Its story, the newest 50 lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
    /// Whose it is: the first root's owner account (requirements, R2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<crate::Owner>,
}

/// What happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// A root cause came to light that no open incident explains.
    Opened,
    /// Roots, class or impact are not what they were.
    Changed,
    /// Every root is back; the hold began.
    Recovering,
    /// A root failed again within the hold.
    Relapsed,
    /// It is part of a larger one, which carries it from here on.
    Merged,
    /// Every root has been up for the hold time, or left the inventory.
    Resolved,
    /// A person took it.
    Acknowledged,
    /// A person closed it as wrong.
    Closed,
}

/// What has become of one incident. The last message is the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentSaid {
    /// What happened.
    pub kind: IncidentKind,
    /// The whole incident as it stands after this.
    pub now: Incident,
}
