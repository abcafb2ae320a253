//! The JSON Schemas of all events, generated from their types.

use crate::Noun;
use schemars::{Schema, schema_for};

/// The schema of the newest version of `noun`'s body; none for what has no body of its own.
pub fn of(noun: Noun) -> Option<Schema> {
    let mut schema = match noun {
        Noun::Inventory => schema_for!(crate::Inventory),
        Noun::Part => schema_for!(crate::Part),
        Noun::Revision => schema_for!(crate::Revision),
        Noun::Access => schema_for!(crate::AccessSaid),
        Noun::Entitlement => schema_for!(crate::EntitlementSaid),
        Noun::Order => schema_for!(crate::OrderSaid),
        Noun::Signal => schema_for!(crate::Signal),
        Noun::Answer => schema_for!(crate::Answer),
        Noun::Ask => schema_for!(crate::Ask),
        Noun::Suspicion => schema_for!(crate::SuspicionSaid),
        Noun::Health => schema_for!(crate::HealthSaid),
        Noun::Incident => schema_for!(crate::IncidentSaid),
        Noun::Notice => schema_for!(crate::NoticeSaid),
        Noun::Delivery => schema_for!(crate::DeliverySaid),
        Noun::Due => schema_for!(crate::Due),
        Noun::Cut => schema_for!(crate::Cut),
        Noun::Repair => schema_for!(crate::Repair),
        Noun::Plan => schema_for!(crate::Plan),
        Noun::Enforcement => schema_for!(crate::Enforcement),
        Noun::Sighting => schema_for!(crate::Sighting),
        Noun::Refusal => schema_for!(crate::Refusal),
        Noun::View => schema_for!(crate::View),
        Noun::Timer => return None,
    };
    let (verb, version) = noun.verb_and_version();
    schema.insert("$id".into(), format!("urn:mastwatch:{}.{verb}:{version}", noun.token()).into());
    Some(schema)
}
