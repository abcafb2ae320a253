//! How answers are said: in order, once, and for as long as they are any use.

use crate::figures::Figures;
use events::{Answer, EventId, Fact, Say, TenantId, Time};
use kit::{Log, Outgoing, PublishError};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// The pause before an answer is said again that the log has not taken.
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

/// Says answers.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    log: Log,
    source: Arc<str>,
    figures: Figures,
}

impl Voice {
    /// Says answers in the name of a point of presence.
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
        let outs: Vec<Outgoing> = words.into_iter().map(|word| self.outgoing(tenant, word, chain)).collect();
        loop {
            match self.log.publish_all(outs.clone()).await {
                Ok(_) => {
                    self.figures.answers_said.inc_by(count);
                    return true;
                }
                Err(
                    error @ (PublishError::Encode(_)
                    | PublishError::TooMany(_)
                    | PublishError::Conflict { .. }
                    | PublishError::Refused { .. }),
                ) => {
                    tracing::error!(%tenant, %error, "an answer cannot be said");
                    break;
                }
                Err(
                    error @ (PublishError::Busy | PublishError::Unavailable(_) | PublishError::StoreFull(_)),
                ) => {
                    if Instant::now() + AGAIN_AFTER >= by {
                        tracing::warn!(%tenant, %error, "an answer was not stored while it was any use");
                        break;
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
        self.figures.answers_lost.inc_by(count);
        false
    }

    fn outgoing(&self, tenant: TenantId, word: Word, chain: &Chain) -> Outgoing {
        let fact = Fact::Answer(word.answer);
        let say = Say { id: word.id, tenant, at: now(), cause: chain.cause, fact };
        let mut out = Outgoing::new(say, Arc::clone(&self.source)).traced(chain.traceparent.clone());
        out.correlation = chain.correlation;
        out
    }
}

/// The time by this host's clock. What a keeper does is no decision.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
