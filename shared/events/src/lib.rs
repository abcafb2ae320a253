//! What may be said: every event, its subject, its identifier and its versions.
//!
//! One log holds everything that happens. This crate is its vocabulary: types without
//! behaviour that every service shares, the subjects under which they are stored, and the
//! translation of old versions. Who decides what to say is `domain`; how it is said is `kit`.
//!
//! Every fact that changes a thing carries the whole standing of that thing (`now`) beside
//! what happened to it (`kind`), so that the last message of a subject is its memory.

pub mod access;
pub mod answer;
pub mod ask;
pub mod audit;
pub mod certificate;
pub mod decide;
pub mod delivery;
pub mod enforcement;
pub mod entitlement;
pub mod fact;
pub mod header;
pub mod health;
pub mod id;
pub mod incident;
pub mod inventory;
pub mod log;
pub mod notice;
pub mod order;
pub mod refusal;
pub mod repair;
pub mod sample;
pub mod schema;
pub mod sighting;
pub mod signal;
pub mod subject;
pub mod time;
pub mod timer;
pub mod upcast;
pub mod view;

pub use access::{Access, AccessSaid, Grant, LookUpKey, Token};
pub use answer::{Answer, Outcome, RollCall, SessionState};
pub use ask::{Ask, Question, Vantage};
pub use audit::AUDITED;
pub use certificate::{Fingerprint, NoFingerprint};
pub use decide::{Decide, Decision, RECALL_MS};
pub use delivery::{Delivery, DeliveryKind, DeliverySaid};
pub use enforcement::{
    Enforcement, EnforcementState, RouterEnforcement, RouterEnforcementState, SubscriberEnforcement,
};
pub use entitlement::{Cutting, Entitled, Entitlement, EntitlementSaid, Rate, ServiceState};
pub use fact::{Fact, Heard, Say};
pub use header::Header;
pub use health::{
    Asked, Evidence, EvidenceKind, Flag, Health, HealthKind, HealthSaid, NodeHealth, SessionsLost, Suspicion,
    SuspicionKind, SuspicionSaid,
};
pub use id::{
    AskId, ChannelId, ClaimKey, EventId, IncidentId, NodeId, NoticeId, OrderId, PlanDigest, SightingId,
    SiteId, TenantId,
};
pub use incident::{
    BlindPop, Impact, Incident, IncidentClass, IncidentKind, IncidentSaid, IncidentState, RootCause,
    SiteHypothesis, SiteImpact, TimelineEntry, Urgency,
};
pub use inventory::{
    Channel, ChannelKind, DeviceClass, Group, GroupMode, Inventory, Login, Member, Node, NodeKind, Origin,
    Owner, Part, Policy, Probe, Revision, RevisionSource, Sealed, Site, Tenant, Tier, Watch, Window,
};
pub use log::{Noun, Retention};
pub use notice::{Audience, Notice, NoticeKind, NoticeSaid, Phase};
pub use order::{Order, OrderSaid};
pub use refusal::{Refusal, RefusalReason};
pub use repair::{ChangeKind, Plan, PlanState, Property, Repair, RepairOutcome, RouterChange};
pub use sample::{Curve, Metric, Of, Sample, SampleSource, Samples};
pub use sighting::{Above, Scan, SeenDevice, Sighting, SightingState, Spot};
pub use signal::{About, Claim, Learned, Signal, SignalSource};
pub use subject::{PARTITIONS, SLOTS, Subject, SubjectError, partition_of, slot_of};
pub use time::Time;
pub use timer::{Cut, Due, Timer};
pub use view::{SEEN_AGAIN_MS, View};
