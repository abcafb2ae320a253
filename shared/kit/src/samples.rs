//! Samples: measured values beside the log, on their way to where time series are kept.
//!
//! They lie in `METRICS` for three days, one message per part of a reading. A message's id follows from router and
//! moment of the schedule, so that a reading said twice, or by two pollers during a takeover, is one. They are read
//! by a [`Worker`](crate::Worker), at least once: a sample written twice has the same series and the same time.

use crate::{
    commit::{Member, Outcome, write},
    log::Log,
    message::{EVENT_BYTES_MAX, EncodeError, Encoded, MESSAGE_ID, Raw, envelope},
    publish::{Pause, PublishError},
};
use async_nats::HeaderMap;
use bytes::Bytes;
use events::{Samples, TenantId};
use tokio::time::Instant;

/// The stream they lie in.
pub const STREAM: &str = "METRICS";

/// Everything in it.
pub const ALL: &str = "metrics.>";

/// What an envelope says that they are.
const TYPE: &str = "mastwatch.samples.taken.v1";

/// Why a message holds no samples: it belongs, whole, to the dead letters.
#[derive(Debug, thiserror::Error)]
pub enum NoSamples {
    /// Its subject is none of theirs.
    #[error("its subject is not of the form metrics.<part>.<tenant>.<router>")]
    Subject,
    /// Its body is about another router than its subject.
    #[error("its body is about another router than its subject")]
    Router,
    /// Its body is not what it should be: an unknown metric, say.
    #[error("reading its body: {0}")]
    Body(#[from] serde_json::Error),
}

impl Log {
    /// Stores one message of samples; the same again is stored once. Tries as long as publishing is tried.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; never [`PublishError::Conflict`].
    pub async fn publish_samples(
        &self,
        tenant: TenantId,
        source: &str,
        samples: &Samples,
    ) -> Result<(), PublishError> {
        let message = encode(tenant, source, samples)?;
        let deadline = Instant::now() + self.within;
        let mut pause = Pause::default();
        loop {
            let member = Member { message: &message, more: Vec::new() };
            let outcome = write(&self.inner.connection, self.inner.config.ack_timeout, &[member]).await;
            let reason = match outcome {
                Outcome::Stored { .. } | Outcome::Known => return Ok(()),
                Outcome::Full(text) => return Err(PublishError::StoreFull(text)),
                Outcome::Refused { code, text } => return Err(PublishError::Refused { code, text }),
                Outcome::Conflict => "refused as a conflict that cannot be".into(),
                Outcome::Away(reason) | Outcome::Unknown(reason) => reason,
            };
            if !pause.before(deadline).await {
                return Err(PublishError::Unavailable(reason));
            }
        }
    }
}

/// Whose samples a message holds, and which.
///
/// # Errors
///
/// [`NoSamples`]: it belongs, whole, to the dead letters.
pub fn decode(raw: &Raw) -> Result<(TenantId, Samples), NoSamples> {
    let (tenant, router) = Samples::parts_of_subject(&raw.subject).ok_or(NoSamples::Subject)?;
    let samples: Samples = serde_json::from_slice(&raw.body)?;
    if samples.router == router { Ok((tenant, samples)) } else { Err(NoSamples::Router) }
}

fn encode(tenant: TenantId, source: &str, samples: &Samples) -> Result<Encoded, EncodeError> {
    const NOUN: &str = "samples";
    let body = serde_json::to_vec(samples).map_err(|source| EncodeError::Json { noun: NOUN, source })?;
    if body.len() > EVENT_BYTES_MAX {
        return Err(EncodeError::TooLarge { noun: NOUN, bytes: body.len() });
    }
    let id = samples.id();
    let mut headers = envelope(id, TYPE.into(), source, tenant, samples.at);
    headers.push((MESSAGE_ID, id.0.simple().to_string()));
    Ok(Encoded {
        subject: Samples::subject(tenant, samples.router),
        headers,
        body: Bytes::from(body),
        read_headers: HeaderMap::new(),
    })
}
