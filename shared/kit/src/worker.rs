//! Work that anybody may do: taken, done, confirmed.
//!
//! A worker remembers nothing. All replicas share one durable consumer; what one of them takes is
//! handed to another when its confirmation does not come in time. So work is done at least once, in no
//! particular order, and must bear repetition: ids that follow from the message make it once in effect.
//!
//! A confirmation counts only when the server has confirmed it in turn; even so, a server that is killed
//! in the same moment may have forgotten it, and hands the job out once more. While a job runs its
//! time is extended; what runs longer than a job may is cut off and tried again later.

use crate::{
    log::{Log, chain},
    message::Raw,
    run::Service,
};
use async_nats::jetstream::{
    self, AckKind,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, ReplayPolicy, pull},
};
use events::{Heard, Noun};
use futures::{FutureExt, StreamExt};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};

/// What was taken and not confirmed for this long is handed to another.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// What may be taken and unconfirmed, over all replicas.
const UNCONFIRMED_MAX: i64 = 5_000;

/// How often the server says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often it is asked how many jobs wait: others take them too, and there may be no place for one more.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// A job that panicked or was cut off so many times goes to the dead letters.
const TRIES_MAX: i64 = 5;

/// What is done with a job that panicked or was cut off.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, durably.
    Done,
    /// It cannot be done now. For more than a minute a timer in the log is the better choice.
    Later(Duration),
    /// It can never be done, for this reason: it goes to the dead letters.
    Poison(String),
}

/// One message that was taken.
#[derive(Debug, Clone)]
pub struct Job {
    /// The message.
    pub raw: Raw,
    /// How often it has been handed out, this time included.
    pub attempt: u32,
}

/// Why a worker ended although nobody told it to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its consumer cannot be: the stream is not there, or the filters are wrong.
    #[error("making the consumer `{name}`: {reason}")]
    Consumer {
        /// Which one.
        name: &'static str,
        /// What the server said.
        reason: String,
    },
}

/// A worker: one durable consumer under a name that all replicas share.
#[derive(Debug, Clone)]
pub struct Worker {
    name: &'static str,
    stream: Option<&'static str>,
    filters: Vec<String>,
    at_a_time: usize,
    at_most: Duration,
    ack_wait: Duration,
    only_new: bool,
}

impl Worker {
    /// The worker `name`: letters, digits, `_`, `-`.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            stream: None,
            filters: vec![],
            at_a_time: 64,
            at_most: Duration::from_secs(120),
            ack_wait: ACK_WAIT,
            only_new: false,
        }
    }

    /// Takes facts of these nouns from the log.
    #[must_use]
    pub fn hears(mut self, nouns: &[Noun]) -> Self {
        self.filters = nouns.iter().map(|noun| crate::read::Filter::noun(*noun).to_string()).collect();
        self
    }

    /// Takes what lies under `filters` in another stream, such as `METRICS`.
    #[must_use]
    pub fn takes(mut self, stream: &'static str, filters: &[&str]) -> Self {
        self.stream = Some(stream);
        self.filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        self
    }

    /// At most `jobs` at once in this process; 64 unless said.
    #[must_use]
    pub fn at_a_time(mut self, jobs: usize) -> Self {
        self.at_a_time = jobs.max(1);
        self
    }

    /// A job may take so long; two minutes unless said.
    #[must_use]
    pub fn at_most(mut self, at_most: Duration) -> Self {
        self.at_most = at_most;
        self
    }

    /// What a dead replica had taken is handed to another after this time; 30 s unless said.
    #[must_use]
    pub fn ack_wait(mut self, ack_wait: Duration) -> Self {
        self.ack_wait = ack_wait;
        self
    }

    /// When the consumer is made for the first time, it begins with what is stored from then on.
    #[must_use]
    pub fn only_new(mut self) -> Self {
        self.only_new = true;
        self
    }

    /// Takes facts until the service is told to stop; what is no fact goes to the dead letters.
    ///
    /// # Errors
    ///
    /// [`WorkerError`]. The log being away is none: it is waited for.
    pub async fn run_facts<F, Fut>(self, service: &Service, work: F) -> Result<(), WorkerError>
    where
        F: Fn(Heard, Job) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        let work = Arc::new(work);
        self.run(service, move |job| {
            let work = Arc::clone(&work);
            async move {
                match job.raw.decode() {
                    Ok(heard) => work(heard, job).await,
                    Err(error) => Verdict::Poison(chain(error)),
                }
            }
        })
        .await
    }

    /// Takes messages until the service is told to stop; then finishes what was begun and hands back
    /// what was not.
    ///
    /// # Errors
    ///
    /// [`WorkerError`]. The log being away is none: it is waited for.
    pub async fn run<F, Fut>(self, service: &Service, work: F) -> Result<(), WorkerError>
    where
        F: Fn(Job) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        let metrics = service.metrics.under(self.name);
        let readiness = service.readiness.part(self.name);
        let desk = Arc::new(Desk {
            log: service.log.clone(),
            work,
            name: self.name,
            at_most: self.at_most,
            ack_wait: self.ack_wait,
            stats: Stats {
                done: metrics.counter("done", "Jobs done and confirmed"),
                later: metrics.counter("later", "Jobs put off"),
                dead: metrics.counter("dead", "Jobs that went to the dead letters"),
                unconfirmed: metrics
                    .counter("unconfirmed", "Jobs that ended without a confirmation, and will be repeated"),
                failed: metrics.counter("failed", "Jobs that panicked or were cut off"),
                running: metrics.gauge("running", "Jobs being done"),
                backlog: metrics.gauge(
                    "backlog",
                    "Jobs that no replica has taken yet: each replica tells of all, so do not sum",
                ),
                seconds: metrics.seconds("job", "Time a job takes"),
            },
        });
        let places = Arc::new(Semaphore::new(self.at_a_time));
        let mut jobs = JoinSet::new();
        let mut wait = Duration::from_millis(50);
        while !service.stop.is_cancelled() {
            let opened = tokio::select! {
                () = service.stop.cancelled() => break,
                opened = self.open(&service.log) => opened,
            };
            let (consumer, mut messages) = match opened {
                Ok(opened) => opened,
                Err(reason) if is_final(&reason) => {
                    return Err(WorkerError::Consumer { name: self.name, reason });
                }
                Err(reason) => {
                    readiness.not_ready(format!("no consumer: {reason}"));
                    tokio::select! {
                        () = service.stop.cancelled() => break,
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(Duration::from_secs(2));
                    continue;
                }
            };
            wait = Duration::from_millis(50);
            readiness.ready();
            tokio::select! {
                () = take(&self, service, &desk, &places, &mut jobs, &mut messages) => {}
                () = count_forever(&consumer, &desk.stats.backlog) => {}
            }
            while let Some(Some(Ok(message))) = messages.next().now_or_never() {
                // Not begun: somebody else may have it at once.
                drop(message.ack_with(AckKind::Nak(None)).await);
            }
        }
        while let Some(joined) = jobs.join_next().await {
            forward_panic(joined);
        }
        Ok(())
    }

    /// The consumer as it is to be, and a stream of its messages.
    async fn open(&self, log: &Log) -> Result<(PullConsumer, pull::Stream), String> {
        let consumer: PullConsumer = log
            .inner
            .context
            .create_consumer_on_stream(
                pull::Config {
                    durable_name: Some(self.name.to_owned()),
                    deliver_policy: if self.only_new { DeliverPolicy::New } else { DeliverPolicy::All },
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: self.ack_wait,
                    // Never given up by the server: what is to be given up goes to the dead letters.
                    max_deliver: -1,
                    max_ack_pending: UNCONFIRMED_MAX,
                    replay_policy: ReplayPolicy::Instant,
                    filter_subjects: self.filters.clone(),
                    ..Default::default()
                },
                self.stream.unwrap_or(&log.config().stream),
            )
            .await
            .map_err(chain)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(self.at_a_time)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(chain)?;
        Ok((consumer, messages))
    }
}

/// Takes jobs until the stream of messages breaks or the service is told to stop.
async fn take<F, Fut>(
    worker: &Worker,
    service: &Service,
    desk: &Arc<Desk<F>>,
    places: &Arc<Semaphore>,
    jobs: &mut JoinSet<()>,
    messages: &mut pull::Stream,
) where
    F: Fn(Job) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    loop {
        let place = tokio::select! {
            () = service.stop.cancelled() => return,
            place = Arc::clone(places).acquire_owned() => place.expect("this semaphore is never closed"),
        };
        let next = loop {
            tokio::select! {
                () = service.stop.cancelled() => return,
                Some(joined) = jobs.join_next() => forward_panic(joined),
                next = messages.next() => break next,
            }
        };
        match next {
            Some(Ok(message)) => {
                let desk = Arc::clone(desk);
                jobs.spawn(async move { desk.handle(message, place).await });
            }
            Some(Err(error)) => {
                tracing::debug!(%error, worker = worker.name, "the consumer was lost, taking it up again");
                return;
            }
            None => return,
        }
    }
}

fn count(pending: u64) -> i64 {
    i64::try_from(pending).unwrap_or(i64::MAX)
}

/// Keeps the count of jobs that wait; does not end.
async fn count_forever(consumer: &PullConsumer, backlog: &Gauge) {
    backlog.set(count(consumer.cached_info().num_pending));
    loop {
        tokio::time::sleep(COUNT_EVERY).await;
        // While the log is away the last count stands.
        if let Ok(info) = consumer.get_info().await {
            backlog.set(count(info.num_pending));
        }
    }
}

fn forward_panic(joined: Result<(), tokio::task::JoinError>) {
    if let Err(error) = joined
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn is_final(reason: &str) -> bool {
    // Stream not found (also said while it has no leader, but then by another way), no valid filter, overlap,
    // a durable of that name that is of another kind.
    ["10093", "10136", "10138", "10012", "10013"].iter().any(|code| reason.contains(code))
}

struct Stats {
    done: Counter,
    later: Counter,
    dead: Counter,
    unconfirmed: Counter,
    failed: Counter,
    running: Gauge,
    backlog: Gauge,
    seconds: Histogram,
}

struct Desk<F> {
    log: Log,
    work: F,
    name: &'static str,
    at_most: Duration,
    ack_wait: Duration,
    stats: Stats,
}

impl<F, Fut> Desk<F>
where
    F: Fn(Job) -> Fut,
    Fut: Future<Output = Verdict>,
{
    async fn handle(&self, message: jetstream::Message, _place: OwnedSemaphorePermit) {
        let Ok(info) = message.info() else {
            tracing::warn!(worker = self.name, "a message without a place in a stream");
            return;
        };
        let (delivered, seq, pending) = (info.delivered, info.stream_sequence, info.pending);
        self.stats.backlog.set(count(pending));
        let heard = crate::message::time_of(info.published);
        let raw = Raw::from_stream(message.message.clone(), seq, pending, heard);
        self.stats.running.inc();
        let began = Instant::now();
        let job = Job { raw: raw.clone(), attempt: u32::try_from(delivered).unwrap_or(u32::MAX) };
        let verdict = self.verdict(&message, job, delivered).await;
        self.stats.seconds.observe(began.elapsed().as_secs_f64());
        let (counter, confirmed) = match verdict {
            Verdict::Done => {
                (&self.stats.done, message.double_ack().await.map_err(|error| error.to_string()))
            }
            Verdict::Later(wait) => {
                let put_off = message.ack_with(AckKind::Nak(Some(wait))).await;
                (&self.stats.later, put_off.map_err(|error| error.to_string()))
            }
            Verdict::Poison(reason) => {
                self.log.bury(self.name, &raw, &reason).await;
                let ended = message.double_ack_with(AckKind::Term).await;
                (&self.stats.dead, ended.map_err(|error| error.to_string()))
            }
        };
        match confirmed {
            Ok(()) => counter.inc(),
            Err(error) => {
                tracing::debug!(error, worker = self.name, seq = raw.seq, "unconfirmed, it will be repeated");
                self.stats.unconfirmed.inc()
            }
        };
        self.stats.running.dec();
    }

    /// Does the job, extending its time while it lasts.
    async fn verdict(&self, message: &jetstream::Message, job: Job, delivered: i64) -> Verdict {
        let work = AssertUnwindSafe(async { (self.work)(job).await }).catch_unwind();
        let work = tokio::time::timeout(self.at_most, work);
        tokio::pin!(work);
        let mut extend = tokio::time::interval(self.ack_wait / 3);
        extend.tick().await;
        let failure = loop {
            tokio::select! {
                outcome = &mut work => match outcome {
                    Ok(Ok(verdict)) => return verdict,
                    Ok(Err(panic)) => break format!("panicked: {}", crate::http::panic_text(&*panic)),
                    Err(_) => break format!("took longer than {} s", self.at_most.as_secs_f64()),
                },
                _ = extend.tick() => drop(message.ack_with(AckKind::Progress).await),
            }
        };
        self.stats.failed.inc();
        if delivered >= TRIES_MAX {
            return Verdict::Poison(failure);
        }
        tracing::warn!(
            worker = self.name,
            error = failure,
            attempt = delivered,
            "a job failed, it is tried again"
        );
        Verdict::Later(AGAIN_AFTER)
    }
}
