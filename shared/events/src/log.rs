//! The nouns of the log: what kinds of fact there are, who says them and how long they are kept.

use serde::{Deserialize, Serialize};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// Thirteen months: what rollups and histories are kept for (requirements, ruling 7).
const MONTHS_13_S: u64 = 396 * DAY_S;

/// How long a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// As long as the stream exists.
    Forever,
    /// So many seconds after it was stored, per-message TTL.
    Seconds(u64),
}

/// What a fact is about: the fourth token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noun {
    /// A thing of the network or its policy, as it stands. Said by console.
    Inventory,
    /// A piece of a large import, without effect until a revision names it. Said by console.
    Part,
    /// The inventory's one order: ends every change. Said by console.
    Revision,
    /// Tokens and keys. Said by console.
    Access,
    /// What a subscriber is to get. Said by console.
    Entitlement,
    /// What a person asked for. Said by console.
    Order,
    /// A raw claim. Said by ingest, poller, reconciler.
    Signal,
    /// A probe's result. Said by poller.
    Answer,
    /// A probe wanted. Said by diagnostician, correlator, console.
    Ask,
    /// A claim that is being checked. Said by diagnostician.
    Suspicion,
    /// What is believed of a node. Said by diagnostician.
    Health,
    /// One outage. Said by correlator.
    Incident,
    /// One message to people. Said by notifier's deciding half.
    Notice,
    /// What became of sending it. Said by notifier's delivering half.
    Delivery,
    /// What was put right on a router. Said by reconciler.
    Repair,
    /// What is to be put right. Said by reconciler.
    Plan,
    /// How far routers show what subscribers are entitled to. Said by reconciler.
    Enforcement,
    /// What routers see around them. Said by reconciler, and by console what people decide about it.
    Sighting,
    /// Somebody was turned away at a door. Said by ingest.
    Refusal,
    /// Whether a point of presence sees anything. Said by poller.
    View,
    /// An armed timer. Said by its service, in its commits.
    Timer,
    /// A timer that fired. Said by the server.
    Due,
    /// How far a service has read. Said by that service, in its commits.
    Cut,
}

impl Noun {
    /// Every noun, in order.
    pub const ALL: [Noun; 23] = [
        Noun::Inventory,
        Noun::Part,
        Noun::Revision,
        Noun::Access,
        Noun::Entitlement,
        Noun::Order,
        Noun::Signal,
        Noun::Answer,
        Noun::Ask,
        Noun::Suspicion,
        Noun::Health,
        Noun::Incident,
        Noun::Notice,
        Noun::Delivery,
        Noun::Repair,
        Noun::Plan,
        Noun::Enforcement,
        Noun::Sighting,
        Noun::Refusal,
        Noun::View,
        Noun::Timer,
        Noun::Due,
        Noun::Cut,
    ];

    /// The token in the subject.
    pub const fn token(self) -> &'static str {
        match self {
            Noun::Inventory => "inventory",
            Noun::Part => "part",
            Noun::Revision => "revision",
            Noun::Access => "access",
            Noun::Entitlement => "entitlement",
            Noun::Order => "order",
            Noun::Signal => "signal",
            Noun::Answer => "answer",
            Noun::Ask => "ask",
            Noun::Suspicion => "suspicion",
            Noun::Health => "health",
            Noun::Incident => "incident",
            Noun::Notice => "notice",
            Noun::Delivery => "delivery",
            Noun::Repair => "repair",
            Noun::Plan => "plan",
            Noun::Enforcement => "enforcement",
            Noun::Sighting => "sighting",
            Noun::Refusal => "refusal",
            Noun::View => "view",
            Noun::Timer => "timer",
            Noun::Due => "due",
            Noun::Cut => "cut",
        }
    }

    /// The noun a subject's token names.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|n| n.token() == token)
    }

    /// Which services say facts of it. `due` is said by the log's server.
    pub const fn said_by(self) -> &'static [&'static str] {
        match self {
            Noun::Inventory | Noun::Part | Noun::Revision | Noun::Access => &["console"],
            Noun::Entitlement | Noun::Order => &["console"],
            Noun::Signal => &["ingest", "poller", "reconciler"],
            Noun::Answer | Noun::View => &["poller"],
            Noun::Ask => &["diagnostician", "correlator", "console"],
            Noun::Suspicion | Noun::Health => &["diagnostician"],
            Noun::Incident => &["correlator"],
            Noun::Notice | Noun::Delivery => &["notifier"],
            Noun::Repair | Noun::Plan | Noun::Enforcement => &["reconciler"],
            Noun::Sighting => &["reconciler", "console"],
            Noun::Refusal => &["ingest"],
            Noun::Timer | Noun::Cut => &["diagnostician", "correlator", "notifier"],
            Noun::Due => &[],
        }
    }

    /// How long a message of this noun is kept unless the tenant's policy says otherwise.
    pub const fn retention(self) -> Retention {
        match self {
            Noun::Inventory | Noun::Part | Noun::Revision | Noun::Access | Noun::Entitlement => {
                Retention::Forever
            }
            Noun::Incident | Noun::Notice | Noun::Delivery | Noun::Cut | Noun::Timer => Retention::Forever,
            Noun::Order | Noun::Refusal | Noun::Suspicion | Noun::Health => Retention::Seconds(MONTHS_13_S),
            Noun::Repair | Noun::Plan | Noun::Enforcement | Noun::Sighting => Retention::Seconds(MONTHS_13_S),
            Noun::Signal | Noun::View | Noun::Due => Retention::Seconds(30 * DAY_S),
            Noun::Answer => Retention::Seconds(7 * DAY_S),
            Noun::Ask => Retention::Seconds(HOUR_S),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_names_its_noun() {
        for noun in Noun::ALL {
            assert_eq!(Noun::from_token(noun.token()), Some(noun));
        }
        assert_eq!(Noun::from_token("health.x"), None);
    }
}
