//! What is believed of nodes. Only diagnostician says these things.

use crate::{AskId, EventId, Impact, Learned, NodeId, SignalSource, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is believed of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It works.
    Up,
    /// It is broken itself.
    Down,
    /// It is cut off by something else.
    Impacted,
    /// It works badly.
    Degraded,
    /// Nothing is known.
    Unknown,
}

/// What else is to be said of a node's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// A claim against it is being checked. Never said: an open suspicion tells, and who reads health is shown it.
    Suspect,
    /// Its root is back; itself not heard of yet.
    Recovering,
    /// It changes too often to be told each time.
    Flapping,
    /// One more failure would cut it off.
    AtRisk,
    /// It may be down quietly. Never said: the inventory tells when, and who reads health is shown it.
    Maintenance,
    /// It answers although the map says it cannot.
    MapDisagrees,
}

/// What a piece of evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A try of a probe went unanswered.
    SilentTry,
    /// A node that depends on it was independently claimed down.
    DownClaim,
    /// It was itself claimed down.
    ClaimedDown,
    /// Its router says so of it (netwatch or session table).
    RouterSaysDown,
    /// What it depends on was seen alive after the claim.
    SupplyAlive,
    /// Nothing decisive was found in time.
    Undetermined,
    /// A subscriber below it lost its session while everything that the session needs was there.
    SessionLost,
    /// A point of presence has so many references, and none of them answers it.
    ReferencesSilent,
    /// Nothing was heard of who works at a point of presence for so many minutes.
    PollerSilent,
    /// So many devices of one site went down together, and nothing above them explains it.
    SiteDevicesDown,
    /// They went down in the same moment.
    SameMoment,
    /// Of all devices of the site that are looked at, so many, none works.
    SiteSilent,
}

/// One named weight in a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What it is.
    pub kind: EvidenceKind,
    /// How often it was found.
    pub count: u32,
    /// What it adds to the confidence, percent points.
    pub weight: u32,
    /// The event that said it (the last of them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// Where nothing decisive was found: what that is called which a look at would settle it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
}

impl Evidence {
    /// So much of a kind, with the event that said so last.
    pub const fn of(kind: EvidenceKind, count: u32, weight: u32, event: Option<EventId>) -> Self {
        Self { kind, count, weight, event, settled_by: None }
    }

    /// What these weigh together, percent: at most 100, and nothing where the cause could not be determined.
    pub fn confidence(all: &[Evidence]) -> u32 {
        if all.iter().any(|e| e.kind == EvidenceKind::Undetermined) {
            return 0;
        }
        all.iter().fold(0_u32, |sum, e| sum.saturating_add(e.weight)).min(100)
    }
}

/// A probe that was asked for, in the standing of what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// The ask.
    pub id: AskId,
    /// About which node.
    pub target: NodeId,
    /// When it was asked: the time of the decision.
    pub at: Time,
    /// Until when an answer counts.
    pub deadline: Time,
    /// How many asks in this matter came before it.
    #[serde(default)]
    pub round: u32,
    /// Whether a roll call was asked for, and not a look at the target itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub roll_call: bool,
}

/// A claim that has been heard and is being checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suspicion {
    /// Who is suspected to be down.
    pub node: NodeId,
    /// Since when: the first claim's time of hearing.
    pub since: Time,
    /// What raised it.
    pub source: SignalSource,
    /// Who claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<NodeId>,
    /// The claim.
    pub claim: EventId,
    /// What was asked to settle it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// Until when it waits or waited before anything was asked, because the tenant's walks of that hour were
    /// used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,
}

impl Suspicion {
    /// When looking into it began, or is to begin.
    pub fn walks_from(&self) -> Time {
        self.held_until.map_or(self.since, |until| until.max(self.since))
    }
}

/// What happened to a suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuspicionKind {
    /// A claim was heard.
    Raised,
    /// More was asked to settle it.
    Pursued,
    /// It was settled: the node's health says how.
    Settled,
}

/// What has become of one suspicion. The last message is the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuspicionSaid {
    /// What happened.
    pub kind: SuspicionKind,
    /// The suspicion as it stands after this.
    pub now: Suspicion,
}

/// Many subscribers below one living node lost their sessions within two minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsLost {
    /// How many subscribers hang below the node in all.
    pub of: u32,
    /// When the first of them was found down.
    pub since: Time,
    /// What said so of the last of them.
    pub event: EventId,
    /// Those that lost their sessions since then and are still down, when this was said.
    pub impact: Impact,
    /// Who they are, in the order in which they were found down; of many the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<NodeId>,
}

/// What is believed of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeHealth {
    /// Which node.
    pub node: NodeId,
    /// What is believed.
    pub health: Health,
    /// What else, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Since when it is believed: the time of the decision.
    pub since: Time,
    /// Since when it was so, as far as its source can tell (`at` of the first claim).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// What explains it, when it is impacted: the roots on its broken ways up, at most 16. Of a node that works: what
    /// came to explain that subscribers below it lost their sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<NodeId>,
    /// Why it is believed, when it is down: named weights that sum to the confidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// What is being asked about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// Whether its being down is an incident of its own, by the map as it was when this was said: that of a
    /// subscriber is none, nor that of a station that serves one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opens_incident: bool,
    /// The decaying penalty for changing often, and when it was last worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<(u32, Time)>,
    /// Of a subscriber: whether it worked until it went down by itself, or until nothing was known of it. What is only found down when something else
    /// is repaired, or was never known to work, lost no session then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub session_lost: bool,
    /// That many subscribers below it lost their sessions together, while it works itself: an incident of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_lost: Option<Box<SessionsLost>>,
    /// Who spoke first of its having come to be so, if it works or is down and anybody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
}

impl NodeHealth {
    /// Only what is believed, and since when.
    pub fn of(node: NodeId, health: Health, since: Time) -> Self {
        Self {
            node,
            health,
            flags: Vec::new(),
            since,
            at: None,
            roots: Vec::new(),
            evidence: Vec::new(),
            asked: Vec::new(),
            opens_incident: false,
            penalty: None,
            session_lost: false,
            sessions_lost: None,
            learned: None,
        }
    }
}

/// What happened to a node's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthKind {
    /// Something else is believed than before.
    Changed,
    /// The same is believed; flags, roots or evidence differ.
    Noted,
    /// The same, said again because the earlier message is about to expire.
    Restated,
    /// The node left the inventory.
    Retired,
}

/// What has become of one node's health. The last message is the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthSaid {
    /// What happened.
    pub kind: HealthKind,
    /// What is believed after this.
    pub now: NodeHealth,
}
