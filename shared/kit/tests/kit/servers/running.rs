//! Toys that run, and what the log says of them afterwards.

use super::toy::{Habits, Toy, faults};
use events::{EventId, Heard, Noun};
use kit::{Decider, DeciderOptions, DeciderStats, Filter, From, Leasing, Log, Observe};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A toy that runs in this process.
pub(crate) struct Running {
    pub(crate) stats: Arc<DeciderStats>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    /// In good order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Believing in charge of everything, whoever else does.
pub(crate) fn alone() -> DeciderOptions {
    DeciderOptions { leasing: Leasing::Alone, ..DeciderOptions::default() }
}

pub(crate) fn run(log: &Log, habits: Habits) -> Running {
    run_with(log, habits, alone(), None)
}

pub(crate) fn run_with(
    log: &Log,
    habits: Habits,
    options: DeciderOptions,
    observer: Option<Arc<dyn Observe>>,
) -> Running {
    let mut decider = Decider::new(log.clone(), move |_| Toy::new(habits)).with(options);
    if let Some(observer) = observer {
        decider = decider.observed(observer);
    }
    let (stats, stop) = (decider.stats(), CancellationToken::new());
    let until = stop.clone();
    let task = tokio::spawn(async move { decider.run(until).await.unwrap() });
    Running { stats, stop, task }
}

/// Every fact of a noun, with its cause.
pub(crate) async fn with_causes(log: &Log, noun: Noun) -> (Vec<Heard>, Vec<Option<EventId>>) {
    let Ok(state) = log.state().await else { return (vec![], vec![]) };
    let mut reader = log.read(&[Filter::noun(noun)], From::Start, Some(state.last_seq));
    let (mut heard, mut causes) = (Vec::new(), Vec::new());
    loop {
        let chunk = reader.next_chunk(500).await.unwrap();
        if chunk.is_empty() {
            return (heard, causes);
        }
        for raw in chunk {
            heard.push(raw.decode().unwrap());
            causes.push(raw.cause());
        }
    }
}

/// How many facts of a noun there are.
pub(crate) async fn count(log: &Log, noun: Noun) -> usize {
    with_causes(log, noun).await.0.len()
}

/// Every claim has had its effect, once, in order.
pub(crate) async fn assert_once_in_effect(log: &Log, echoes: u32) {
    let (claims, _) = with_causes(log, Noun::Signal).await;
    let (counts, causes) = with_causes(log, Noun::Delivery).await;
    let faults = faults(&claims, &counts, &causes, echoes);
    assert!(faults.is_empty(), "{} faults: {:#?}", faults.len(), &faults[..faults.len().min(5)]);
}

/// What was given up: under which subject, and why.
pub(crate) async fn dead_letters(log: &Log) -> Vec<(String, String)> {
    let client = async_nats::connect(&log.config().servers[0]).await.unwrap();
    let context = async_nats::jetstream::new(client);
    // Three that were all started anew may have nobody yet who leads this stream, and say nothing.
    let begun = tokio::time::Instant::now();
    let stream = loop {
        match context.get_stream("DEAD").await {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut letters = Vec::new();
    for seq in 1..=stream.cached_info().state.last_sequence {
        let letter = stream.get_raw_message(seq).await.unwrap();
        let reason = letter.headers.get(kit::dead::REASON).unwrap().as_str().to_owned();
        letters.push((letter.subject.to_string(), reason));
    }
    letters
}
