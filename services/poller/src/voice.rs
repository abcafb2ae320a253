//! How answers and claims are said: in order, once, and for as long as they are any use.

use crate::figures::Figures;
use events::{Answer, EventId, Fact, Say, Signal, TenantId, Time, View};
use kit::{Log, Outgoing, PublishError};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;
use uuid::Uuid;

/// The pause before something is said again that the log has not taken.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// What an answer follows from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chain {
    /// The event that asked.
    pub(crate) cause: Option<EventId>,
    /// The first event of its chain.
    pub(crate) correlation: Option<EventId>,
    /// The trace it belongs to.
    pub(crate) traceparent: Option<String>,
}

/// One answer to be said.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    /// Its id: the same when the same is said again.
    pub(crate) id: EventId,
    /// The answer.
    pub(crate) answer: Answer,
}

/// Says answers and claims.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    log: Log,
    source: Arc<str>,
    figures: Figures,
}

impl Voice {
    /// Says them in the name of a point of presence.
    pub(crate) fn new(log: &Log, figures: Figures) -> Self {
        let source = format!("poller/{}", log.config().pop).into();
        Self { log: log.clone(), source, figures }
    }

    /// The point of presence.
    pub(crate) fn pop(&self) -> &str {
        &self.log.config().pop
    }

    /// Says all of `words` in one commit; tries until it is stored, or until `by`. Tells whether it was.
    pub(crate) async fn say(&self, tenant: TenantId, words: Vec<Word>, chain: &Chain, by: Instant) -> bool {
        let count = words.len() as u64;
        let outs = words.into_iter().map(|word| {
            let mut out = self.outgoing(tenant, word.id, chain.cause, Fact::Answer(word.answer));
            out.correlation = chain.correlation;
            out.traced(chain.traceparent.clone())
        });
        let is_stored = self.store(tenant, outs.collect(), by).await;
        if is_stored { &self.figures.answers_said } else { &self.figures.answers_lost }.inc_by(count);
        is_stored
    }

    /// Claims something that nobody asked for; tries until it is stored, or until `by`. Tells whether it was.
    pub(crate) async fn claim(&self, tenant: TenantId, signal: Signal, by: Instant) -> bool {
        let out = self.outgoing(tenant, EventId(Uuid::now_v7()), None, Fact::Signal(signal));
        let is_stored = self.store(tenant, vec![out], by).await;
        if is_stored { &self.figures.claims_said } else { &self.figures.claims_lost }.inc();
        is_stored
    }

    /// Says how this point of presence sees; tries until it is stored, or until `by`. Tells whether it was.
    pub(crate) async fn view(&self, tenant: TenantId, view: View, by: Instant) -> bool {
        let out = self.outgoing(tenant, EventId(Uuid::now_v7()), None, Fact::View(view));
        self.store(tenant, vec![out], by).await
    }

    async fn store(&self, tenant: TenantId, outs: Vec<Outgoing>, by: Instant) -> bool {
        loop {
            match self.log.publish_all(outs.clone()).await {
                Ok(_) => return true,
                Err(
                    error @ (PublishError::Encode(_)
                    | PublishError::TooMany(_)
                    | PublishError::Conflict { .. }
                    | PublishError::Refused { .. }),
                ) => {
                    tracing::error!(%tenant, %error, "what was found cannot be said");
                    return false;
                }
                Err(
                    error @ (PublishError::Busy | PublishError::Unavailable(_) | PublishError::StoreFull(_)),
                ) => {
                    if Instant::now() + AGAIN_AFTER >= by {
                        tracing::warn!(%tenant, %error, "what was found was not stored while it was any use");
                        return false;
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    fn outgoing(&self, tenant: TenantId, id: EventId, cause: Option<EventId>, fact: Fact) -> Outgoing {
        Outgoing::new(Say { id, tenant, at: now(), cause, fact }, Arc::clone(&self.source))
    }
}

/// The time by this host's clock. What a keeper does is no decision.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
