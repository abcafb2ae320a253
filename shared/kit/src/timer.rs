//! Timers: messages that the server delivers later.
//!
//! An armed timer is one message on `mw.<part>.<tenant>.timer.<service>.<key>`; when its time comes, the
//! server removes it and stores its body on `…due.<service>.<key>`, in the same order as everything else. Arming
//! again replaces, disarming removes. A firing is a hint: whoever hears it looks at its state.
//!
//! The server hands the armed message's headers to the fired one, so they are already those of the
//! firing: its type, and its id, which follows from the timer's.

use crate::message::{EncodeError, Encoded, HeaderPair, envelope};
use async_nats::HeaderMap;
use bytes::Bytes;
use events::{Due, EventId, Noun, Retention, Subject, TenantId, Time, Timer};
use std::collections::BTreeMap;

/// When to fire.
const SCHEDULE: &str = "Nats-Schedule";
/// Under which subject.
const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
/// How long the fired message is kept.
const SCHEDULE_TTL: &str = "Nats-Schedule-TTL";
/// Removes everything earlier under the subject.
pub(crate) const ROLLUP: &str = "Nats-Rollup";
/// How long the message that disarms is itself kept, in seconds: the least there is.
const DISARM_TTL_S: &str = "1";

/// At most one timer per tenant and key: the last one said. The server refuses a batch with two.
pub(crate) fn one_per_key(timers: Vec<(TenantId, Timer)>) -> Vec<(TenantId, Timer)> {
    let mut last: BTreeMap<(TenantId, String), Timer> = BTreeMap::new();
    for (tenant, timer) in timers {
        last.insert((tenant, timer.key.clone()), timer);
    }
    last.into_iter().map(|((tenant, _), timer)| (tenant, timer)).collect()
}

/// The message that arms or disarms a timer of `service`.
pub(crate) fn encode(service: &str, tenant: TenantId, timer: &Timer) -> Result<Encoded, EncodeError> {
    let key = format!("{service}.{}", timer.key);
    let subject = |noun: Noun| {
        Subject::new(tenant, noun, key.clone())
            .map_err(|source| EncodeError::Subject { noun: noun.token(), source })
    };
    let armed = subject(Noun::Timer)?.to_string();
    let Some(at) = timer.at else {
        let headers: Vec<HeaderPair> =
            vec![(ROLLUP, "sub".into()), (crate::message::TTL, DISARM_TTL_S.into())];
        return Ok(Encoded { subject: armed, headers, body: Bytes::new(), read_headers: HeaderMap::new() });
    };
    let due = Due { service: service.to_owned(), key: timer.key.clone(), version: timer.version };
    let body =
        serde_json::to_vec(&due).map_err(|source| EncodeError::Json { noun: Noun::Due.token(), source })?;
    let id = due_id(service, tenant, timer, at);
    let mut headers = envelope(id, Noun::Due.event_type(), service, tenant, at);
    headers.push((SCHEDULE, format!("@at {at}")));
    headers.push((SCHEDULE_TARGET, subject(Noun::Due)?.to_string()));
    if let Retention::Seconds(seconds) = Noun::Due.retention() {
        headers.push((SCHEDULE_TTL, seconds.to_string()));
    }
    Ok(Encoded { subject: armed, headers, body: Bytes::from(body), read_headers: HeaderMap::new() })
}

/// The id of the firing: it follows from whose timer it is, what for, and for when.
fn due_id(service: &str, tenant: TenantId, timer: &Timer, at: Time) -> EventId {
    let what = format!("timer {} {} {}", timer.key, timer.version, at.us());
    EventId::following(EventId::following(EventId(tenant.0), service, &what), service, "due")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(key: &str, at_ms: Option<i64>) -> Timer {
        Timer { key: key.into(), at: at_ms.map(Time::from_ms), version: 1 }
    }

    #[test]
    fn the_last_word_about_a_timer_counts() {
        let (a, b) = (TenantId::of("a"), TenantId::of("b"));
        let said = vec![
            (a, timer("hold.1", Some(1))),
            (b, timer("hold.1", Some(2))),
            (a, timer("hold.1", Some(3))),
            (a, timer("hold.2", None)),
        ];
        let mut kept = one_per_key(said);
        kept.sort_by_key(|(tenant, timer)| (*tenant != a, timer.key.clone()));
        assert_eq!(
            kept,
            vec![(a, timer("hold.1", Some(3))), (a, timer("hold.2", None)), (b, timer("hold.1", Some(2)))]
        );
    }

    #[test]
    fn the_firing_of_a_timer_has_an_id_of_its_own() {
        let tenant = TenantId::of("a");
        let id = |t: &Timer| due_id("correlator", tenant, t, t.at.unwrap());
        assert_eq!(id(&timer("x", Some(1))), id(&timer("x", Some(1))));
        assert_ne!(id(&timer("x", Some(1))), id(&timer("x", Some(2))));
    }
}
