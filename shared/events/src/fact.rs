//! Any event, decoded: what deciders hear and say.

use crate::{
    AccessSaid, Answer, Ask, Cut, DeliverySaid, Due, Enforcement, EntitlementSaid, EventId, HealthSaid,
    IncidentSaid, Inventory, NoticeSaid, Noun, OrderSaid, Part, Plan, Refusal, Repair, Revision, Sighting,
    Signal, SuspicionSaid, TenantId, Time, View, upcast,
};
use serde::Serialize;

/// Any fact of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each variant is the noun of the same name")]
pub enum Fact {
    Inventory(Inventory),
    Part(Part),
    Revision(Revision),
    Access(AccessSaid),
    Entitlement(EntitlementSaid),
    Order(OrderSaid),
    Signal(Signal),
    Answer(Answer),
    Ask(Ask),
    Suspicion(SuspicionSaid),
    Health(HealthSaid),
    Incident(IncidentSaid),
    Notice(NoticeSaid),
    Delivery(DeliverySaid),
    Repair(Repair),
    Plan(Plan),
    Enforcement(Enforcement),
    Sighting(Sighting),
    Refusal(Refusal),
    View(View),
    Due(Due),
    Cut(Cut),
}

/// Why the body of a message is no fact.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is not what its type promises.
    #[error("decoding a `{noun}` of version {version}")]
    Body {
        /// Which noun.
        noun: &'static str,
        /// Which version.
        version: u16,
        /// What the decoder says.
        source: serde_json::Error,
    },
    /// Written by a newer program.
    #[error("a `{noun}` of version {version} is newer than this program understands ({newest})")]
    Newer {
        /// Which noun.
        noun: &'static str,
        /// Which version.
        version: u16,
        /// The newest known.
        newest: u16,
    },
    /// This noun has no body of its own.
    #[error("a `{0}` carries no fact")]
    NoFact(&'static str),
}

impl Fact {
    /// Decodes the body of a message of `noun`, written in `version`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: the message belongs, whole, to the dead letters.
    pub fn decode(noun: Noun, version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let newest = noun.verb_and_version().1;
        if version > newest {
            return Err(DecodeError::Newer { noun: noun.token(), version, newest });
        }
        let wrong = |source| DecodeError::Body { noun: noun.token(), version, source };
        if version < newest {
            let old: serde_json::Value = serde_json::from_slice(body).map_err(wrong)?;
            let new = serde_json::to_vec(&upcast::to_newest(noun, version, old)).map_err(wrong)?;
            return Self::newest(noun, &new).map_err(|e| e.map_or(DecodeError::NoFact(noun.token()), wrong));
        }
        Self::newest(noun, body).map_err(|e| e.map_or(DecodeError::NoFact(noun.token()), wrong))
    }

    fn newest(noun: Noun, body: &[u8]) -> Result<Self, Option<serde_json::Error>> {
        use serde_json::from_slice as read;
        Ok(match noun {
            Noun::Inventory => Fact::Inventory(read(body)?),
            Noun::Part => Fact::Part(read(body)?),
            Noun::Revision => Fact::Revision(read(body)?),
            Noun::Access => Fact::Access(read(body)?),
            Noun::Entitlement => Fact::Entitlement(read(body)?),
            Noun::Order => Fact::Order(read(body)?),
            Noun::Signal => Fact::Signal(read(body)?),
            Noun::Answer => Fact::Answer(read(body)?),
            Noun::Ask => Fact::Ask(read(body)?),
            Noun::Suspicion => Fact::Suspicion(read(body)?),
            Noun::Health => Fact::Health(read(body)?),
            Noun::Incident => Fact::Incident(read(body)?),
            Noun::Notice => Fact::Notice(read(body)?),
            Noun::Delivery => Fact::Delivery(read(body)?),
            Noun::Due => Fact::Due(read(body)?),
            Noun::Cut => Fact::Cut(read(body)?),
            Noun::Repair => Fact::Repair(read(body)?),
            Noun::Plan => Fact::Plan(read(body)?),
            Noun::Enforcement => Fact::Enforcement(read(body)?),
            Noun::Sighting => Fact::Sighting(read(body)?),
            Noun::Refusal => Fact::Refusal(read(body)?),
            Noun::View => Fact::View(read(body)?),
            Noun::Timer => return Err(None),
        })
    }

    /// Which noun it is.
    pub const fn noun(&self) -> Noun {
        match self {
            Fact::Inventory(_) => Noun::Inventory,
            Fact::Part(_) => Noun::Part,
            Fact::Revision(_) => Noun::Revision,
            Fact::Access(_) => Noun::Access,
            Fact::Entitlement(_) => Noun::Entitlement,
            Fact::Order(_) => Noun::Order,
            Fact::Signal(_) => Noun::Signal,
            Fact::Answer(_) => Noun::Answer,
            Fact::Ask(_) => Noun::Ask,
            Fact::Suspicion(_) => Noun::Suspicion,
            Fact::Health(_) => Noun::Health,
            Fact::Incident(_) => Noun::Incident,
            Fact::Notice(_) => Noun::Notice,
            Fact::Delivery(_) => Noun::Delivery,
            Fact::Repair(_) => Noun::Repair,
            Fact::Plan(_) => Noun::Plan,
            Fact::Enforcement(_) => Noun::Enforcement,
            Fact::Sighting(_) => Noun::Sighting,
            Fact::Refusal(_) => Noun::Refusal,
            Fact::View(_) => Noun::View,
            Fact::Due(_) => Noun::Due,
            Fact::Cut(_) => Noun::Cut,
        }
    }

    /// The key of its subject. An ask's depends on the point of presence that is to answer it.
    pub fn key(&self, pop: &str) -> String {
        match self {
            Fact::Inventory(thing) => thing.key(),
            Fact::Part(part) => format!("{}.{}", part.digest, part.n),
            Fact::Revision(_) => "inventory".into(),
            Fact::Access(said) => said.now.key(),
            Fact::Entitlement(said) => said.now.key(),
            Fact::Order(said) => said.id.to_string(),
            Fact::Signal(signal) => signal.about.key(),
            Fact::Answer(answer) => answer.target.to_string(),
            Fact::Ask(ask) => ask.key(pop),
            Fact::Suspicion(said) => said.now.node.to_string(),
            Fact::Health(said) => said.now.node.to_string(),
            Fact::Incident(said) => said.now.id.to_string(),
            Fact::Notice(said) => said.now.id.to_string(),
            Fact::Delivery(said) => said.now.notice.to_string(),
            Fact::Repair(repair) => repair.router.to_string(),
            Fact::Plan(plan) => plan.router.to_string(),
            Fact::Enforcement(now) => now.key(),
            Fact::Sighting(sighting) => sighting.key(),
            Fact::Refusal(refusal) => refusal.key(),
            Fact::View(view) => view.key(),
            Fact::Due(due) => format!("{}.{}", due.service, due.key),
            Fact::Cut(_) => "cut".into(),
        }
    }
}

/// One fact, as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its place in the log.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When the log stored it. All windows, freshness and holds are measured by this.
    pub heard: Time,
    /// When it happened, as its source says, bounded to heard − 7 d … + 5 s. For display only.
    pub at: Time,
    /// What was said.
    pub fact: Fact,
}

/// One fact that is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Say {
    /// Its id: follows from its cause.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When it happened.
    pub at: Time,
    /// What it follows from.
    pub cause: Option<EventId>,
    /// What is said.
    pub fact: Fact,
}
