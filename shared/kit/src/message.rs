//! How a fact is put into a message of the log, and taken out again.
//!
//! The envelope is CloudEvents in headers, the body is JSON. A message that is no fact stays
//! whole ([`Raw`]), so that it can go to the dead letters as it came.

use crate::nodes;
use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use events::{
    EventId, Fact, Heard, Noun, Retention, Say, Subject, SubjectError, TenantId, Time, fact::DecodeError,
    header,
};
use std::sync::{Arc, OnceLock};

/// The largest event, in bytes of its body (design: no event grows with the network).
pub const EVENT_BYTES_MAX: usize = 64 * 1024;

/// How far `at` may lie before `heard`: 7 days.
const AT_BEFORE_MS: i64 = 7 * 24 * 3_600_000;
/// How far `at` may lie after `heard`: 5 s.
const AT_AFTER_MS: i64 = 5_000;

/// A fact on its way into the log.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// What is said. Its id is the message id: the same fact is stored once, however often it is sent.
    pub say: Say,
    /// Who says it: `ingest`, or `poller/north` for a point of presence.
    pub source: Arc<str>,
    /// The first event of the chain; without one, the cause is taken for it.
    pub correlation: Option<EventId>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Kept as long as this instead of as long as its noun.
    pub kept: Option<Retention>,
}

impl Outgoing {
    /// `say`, said by the service `source`.
    pub fn new(say: Say, source: impl Into<Arc<str>>) -> Self {
        Self { say, source: source.into(), correlation: None, traceparent: None, kept: None }
    }

    /// With the trace it belongs to.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }

    /// Kept for `retention` instead of what its noun says.
    #[must_use]
    pub fn kept(mut self, retention: Retention) -> Self {
        self.kept = Some(retention);
        self
    }
}

/// Why a fact cannot be put into a message: a fault of ours, or of what somebody imported.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Its key holds what a subject may not hold.
    #[error("naming the subject of a `{noun}`")]
    Subject {
        /// Of which noun.
        noun: &'static str,
        /// Why.
        source: SubjectError,
    },
    /// It cannot be written as JSON.
    #[error("writing a `{noun}` as JSON")]
    Json {
        /// Of which noun.
        noun: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// It is larger than [`EVENT_BYTES_MAX`].
    #[error("a `{noun}` of {bytes} bytes is larger than an event may be ({EVENT_BYTES_MAX})")]
    TooLarge {
        /// Of which noun.
        noun: &'static str,
        /// How large.
        bytes: usize,
    },
}

/// A header of ours or of the server's. The name is static, so no header can be made of input.
pub(crate) type HeaderPair = (&'static str, String);

/// A message as it will be written, but for what a batch adds.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) subject: String,
    pub(crate) headers: Vec<HeaderPair>,
    pub(crate) body: Bytes,
    /// Headers that were read, not written by us: a dead letter's own.
    pub(crate) read_headers: HeaderMap,
}

impl Encoded {
    /// Bytes on the wire, roughly: for bounds.
    pub(crate) fn bytes(&self) -> usize {
        self.subject.len()
            + self.body.len()
            + self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>()
    }

    pub(crate) fn header_map(&self, more: &[HeaderPair]) -> HeaderMap {
        let mut map = self.read_headers.clone();
        for (name, value) in self.headers.iter().chain(more) {
            map.insert(HeaderName::from_static(name), value.as_str());
        }
        map
    }
}

/// The envelope's headers, without a message id.
pub(crate) fn envelope(
    id: EventId,
    event_type: String,
    source: &str,
    tenant: TenantId,
    at: Time,
) -> Vec<HeaderPair> {
    let mut headers = Vec::with_capacity(12);
    headers.push((header::name::SPEC_VERSION, "1.0".to_owned()));
    headers.push((header::name::ID, id.to_string()));
    headers.push((header::name::TYPE, event_type));
    headers.push((header::name::SOURCE, format!("/mastwatch/{source}")));
    headers.push((header::name::TENANT, tenant.to_string()));
    headers.push((header::name::TIME, at.to_string()));
    headers
}

/// `Nats-TTL`, as whole seconds.
pub(crate) const TTL: &str = "Nats-TTL";
/// The server's own memory of what it has stored.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";

impl Outgoing {
    /// As a message, without its message id: deciders' batches carry none.
    pub(crate) fn encode(&self, pop: &str) -> Result<Encoded, EncodeError> {
        let retention = self.kept.unwrap_or(self.say.fact.noun().retention());
        encode(&self.say, &self.source, self.correlation, self.traceparent.clone(), retention, pop)
    }
}

/// What is said as a message, without a message id.
pub(crate) fn encode(
    say: &Say,
    source: &str,
    correlation: Option<EventId>,
    traceparent: Option<String>,
    retention: Retention,
    pop: &str,
) -> Result<Encoded, EncodeError> {
    let noun = say.fact.noun();
    let subject = Subject::new(say.tenant, noun, say.fact.key(pop))
        .map_err(|source| EncodeError::Subject { noun: noun.token(), source })?;
    let body =
        serde_json::to_vec(&say.fact).map_err(|source| EncodeError::Json { noun: noun.token(), source })?;
    if body.len() > EVENT_BYTES_MAX {
        return Err(EncodeError::TooLarge { noun: noun.token(), bytes: body.len() });
    }
    let mut headers = envelope(say.id, noun.event_type(), source, say.tenant, say.at);
    if let Some(cause) = say.cause {
        headers.push((header::name::CAUSE, cause.to_string()));
    }
    if let Some(first) = correlation.or(say.cause) {
        headers.push((header::name::CORRELATION, first.to_string()));
    }
    if let Some(trace) = traceparent {
        headers.push((header::name::TRACEPARENT, trace));
    }
    if let Retention::Seconds(seconds) = retention {
        headers.push((TTL, seconds.max(1).to_string()));
    }
    Ok(Encoded {
        subject: subject.to_string(),
        headers,
        body: Bytes::from(body),
        read_headers: HeaderMap::new(),
    })
}

/// A stored message, as it lies in the log.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Its subject.
    pub subject: Arc<str>,
    /// Its place in the log.
    pub seq: u64,
    /// When the log stored it.
    pub heard: Time,
    /// How many messages the reader that brought it had still before it then.
    pub pending: u64,
    /// The body as it was written.
    pub body: Bytes,
    pub(crate) headers: Arc<HeaderMap>,
    /// What it says, once somebody has read it, for all who share it.
    read: Option<Arc<OnceLock<Arc<Heard>>>>,
}

/// Why a message is no fact: it belongs, whole, to the dead letters.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// Its subject is none of the log's.
    #[error("reading its subject")]
    Subject(#[from] SubjectError),
    /// It has no id, or one that is none.
    #[error("it carries no event id")]
    Id,
    /// Envelope and subject name different tenants.
    #[error("its envelope names another tenant than its subject")]
    Tenant,
    /// Its body is not what its type promises.
    #[error("reading its body")]
    Body(#[from] DecodeError),
}

impl Raw {
    /// A header, if it is there.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.get(HeaderName::from_static(name)).map(async_nats::HeaderValue::as_str)
    }

    /// The first event of the chain it belongs to, as its envelope says.
    pub fn correlation(&self) -> Option<EventId> {
        self.header(header::name::CORRELATION)?.parse().ok()
    }

    /// The trace it belongs to.
    pub fn traceparent(&self) -> Option<&str> {
        self.header(header::name::TRACEPARENT)
    }

    /// The event it follows from.
    pub fn cause(&self) -> Option<EventId> {
        self.header(header::name::CAUSE)?.parse().ok()
    }

    /// Its partition, as its subject says.
    pub fn part(&self) -> Option<u16> {
        self.subject.split('.').nth(1)?.parse().ok().filter(|part| *part < events::PARTITIONS)
    }

    /// Its noun, as its subject says.
    pub fn noun(&self) -> Option<Noun> {
        Noun::from_token(self.subject.split('.').nth(3)?)
    }

    /// For several readers: what one of them reads of it, the others need not read again.
    pub(crate) fn shared(mut self) -> Self {
        self.read.get_or_insert_default();
        self
    }

    /// [`Raw::decode`], once for all who share it.
    ///
    /// # Errors
    ///
    /// As [`Raw::decode`].
    pub fn hear(&self) -> Result<Arc<Heard>, Undecodable> {
        let Some(read) = &self.read else { return self.decode().map(Arc::new) };
        if let Some(heard) = read.get() {
            return Ok(Arc::clone(heard));
        }
        let heard = Arc::new(self.decode()?);
        Ok(Arc::clone(read.get_or_init(|| heard)))
    }

    /// The fact it carries, in its newest version.
    ///
    /// `at` is bounded to 7 days before and 5 s after `heard`.
    ///
    /// # Errors
    ///
    /// [`Undecodable`]: it belongs, whole, to the dead letters.
    pub fn decode(&self) -> Result<Heard, Undecodable> {
        let (tenant, noun, _) = Subject::parts(&self.subject)?;
        let id: EventId =
            self.header(header::name::ID).and_then(|id| id.parse().ok()).ok_or(Undecodable::Id)?;
        if let Some(named) = self.header(header::name::TENANT)
            && named.parse() != Ok(tenant)
        {
            return Err(Undecodable::Tenant);
        }
        let version = match self.header(header::name::TYPE) {
            Some(event_type) => header::version_of(event_type),
            None => noun.verb_and_version().1,
        };
        let at = self.header(header::name::TIME).and_then(|at| at.parse().ok()).unwrap_or(self.heard);
        let mut fact = Fact::decode(noun, version, &self.body)?;
        nodes::share(&mut fact);
        Ok(Heard { seq: self.seq, id, tenant, heard: self.heard, at: bounded(at, self.heard), fact })
    }

    pub(crate) fn from_stream(message: async_nats::Message, seq: u64, pending: u64, heard: Time) -> Self {
        Self {
            subject: message.subject.as_str().into(),
            seq,
            heard,
            pending,
            body: message.payload,
            headers: Arc::new(message.headers.unwrap_or_default()),
            read: None,
        }
    }

    pub(crate) fn from_read(message: async_nats::jetstream::message::StreamMessage) -> Self {
        Self {
            subject: message.subject.as_str().into(),
            seq: message.sequence,
            heard: time_of(message.time),
            pending: 0,
            body: message.payload,
            headers: Arc::new(message.headers),
            read: None,
        }
    }
}

/// What is said, again, as [`events::Decide::apply`] wants it when memory is loaded.
pub(crate) fn said_again(heard: Heard, cause: Option<EventId>) -> Say {
    Say { id: heard.id, tenant: heard.tenant, at: heard.at, cause, fact: heard.fact }
}

fn bounded(at: Time, heard: Time) -> Time {
    at.clamp(heard.plus_ms(-AT_BEFORE_MS), heard.plus_ms(AT_AFTER_MS))
}

pub(crate) fn time_of(stored: async_nats::datetime::DateTime) -> Time {
    Time::from_us(i64::try_from(stored.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_said_by_a_source_is_bounded_by_when_it_was_heard() {
        let heard = Time::from_ms(1_795_000_000_000);
        assert_eq!(bounded(heard.plus_ms(-1), heard), heard.plus_ms(-1));
        assert_eq!(bounded(heard.plus_ms(60_000), heard), heard.plus_ms(AT_AFTER_MS));
        assert_eq!(bounded(Time::EPOCH, heard), heard.plus_ms(-AT_BEFORE_MS));
    }
}
