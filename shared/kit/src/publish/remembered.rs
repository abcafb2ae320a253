//! Which facts were stored in the last two minutes, and where.

use crate::{
    log::{DUPLICATE_WINDOW, chain},
    message::MESSAGE_ID,
};
use async_nats::jetstream::{
    Context,
    consumer::{Consumer, DeliverPolicy, ReplayPolicy, pull::OrderedConfig},
    stream::Stream,
};
use events::EventId;
use futures::StreamExt;
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// How many ids are remembered, whatever the window: 200,000 are about 10 MB.
const REMEMBERED_MAX: usize = 200_000;

/// Ids as long as the server remembers them too.
#[derive(Default)]
pub(super) struct Remembered {
    seqs: HashMap<EventId, u64>,
    order: VecDeque<(Instant, EventId)>,
}

impl Remembered {
    pub(super) fn insert(&mut self, id: EventId, seq: u64) {
        if self.seqs.insert(id, seq).is_none() {
            self.order.push_back((Instant::now(), id));
        }
    }

    /// Where the fact lies.
    pub(super) fn place(&self, id: EventId) -> Option<u64> {
        self.seqs.get(&id).copied()
    }

    pub(super) fn forget_old(&mut self) {
        while let Some((stored, id)) = self.order.front()
            && (stored.elapsed() > DUPLICATE_WINDOW || self.order.len() > REMEMBERED_MAX)
        {
            self.seqs.remove(id);
            self.order.pop_front();
        }
    }

    /// Reads back from the log what was stored while the server's memory reaches: what an earlier
    /// process stored and this one does not know. Gives how many ids that were.
    ///
    /// It takes everything of the last two minutes, the newest [`REMEMBERED_MAX`] messages at most, without
    /// their bodies, and stops after `within`: what it has not read by then is told apart by the server's refusals.
    pub(super) async fn learn(&mut self, context: &Context, stream: &str, within: Duration) -> u64 {
        let before = self.seqs.len();
        match tokio::time::timeout(within, self.read_back(context, stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error, "reading back which facts were stored"),
            Err(_) => tracing::debug!(?within, "reading back which facts were stored takes too long"),
        }
        (self.seqs.len() - before) as u64
    }

    async fn read_back(&mut self, context: &Context, stream: &str) -> Result<(), String> {
        let stream = context.get_stream(stream).await.map_err(chain)?;
        // What is stored from here on is ours, or another process's: no reading catches up with that.
        let end = stream.cached_info().state.last_sequence;
        let mut consumer = consumer(&stream, since_window()).await?;
        if consumer.cached_info().num_pending > REMEMBERED_MAX as u64 {
            let start_sequence = end.saturating_sub(REMEMBERED_MAX as u64).max(1);
            consumer = self::consumer(&stream, DeliverPolicy::ByStartSequence { start_sequence }).await?;
        }
        if consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        let mut messages = consumer.messages().await.map_err(chain)?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(chain)?;
            let Ok(place) = message.info() else { continue };
            let id = message.headers.as_ref().and_then(|headers| headers.get(MESSAGE_ID));
            if let Some(id) = id.and_then(|id| id.as_str().parse().ok()) {
                self.insert(id, place.stream_sequence);
            }
            if place.pending == 0 || place.stream_sequence >= end {
                break;
            }
        }
        Ok(())
    }
}

/// Reads headers from there on, in the order of the log.
async fn consumer(stream: &Stream, deliver_policy: DeliverPolicy) -> Result<Consumer<OrderedConfig>, String> {
    let config = OrderedConfig {
        deliver_policy,
        replay_policy: ReplayPolicy::Instant,
        headers_only: true,
        ..Default::default()
    };
    stream.create_consumer(config).await.map_err(chain)
}

/// From the beginning of the server's memory.
fn since_window() -> DeliverPolicy {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let since_ns = i128::try_from(now.saturating_sub(DUPLICATE_WINDOW).as_nanos()).unwrap_or(0);
    match async_nats::datetime::from_nanos(since_ns) {
        Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
        Err(_) => DeliverPolicy::All,
    }
}
