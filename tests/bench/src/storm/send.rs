//! Sends a wave of reports, as often as it takes, and remembers what was acknowledged.

use super::plan::Step;
use crate::client::Connection;
use anyhow::{Context, bail};
use events::EventId;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How long one request is tried: longer than any restart takes.
const INSIST: Duration = Duration::from_secs(120);
/// How long a sender waits that got no answer.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest it waits because it was asked to.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// How far a wave has come.
#[derive(Debug, Default)]
pub(crate) struct Wave {
    next: AtomicUsize,
    /// Reports that were acknowledged, doubles counted.
    pub(crate) accepted: AtomicUsize,
    /// Requests that had to be sent again.
    pub(crate) retries: AtomicUsize,
    /// Nothing more is sent.
    pub(crate) over: AtomicBool,
    sent: Mutex<Sent>,
}

/// What became of a wave.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sent {
    /// When the first byte of the first report was sent.
    pub(crate) first: Option<Instant>,
    /// When the first byte of the last report was sent for the first time.
    pub(crate) last: Option<Instant>,
    /// When the last acknowledgement came.
    pub(crate) done: Option<Instant>,
    /// What was acknowledged.
    pub(crate) ids: Vec<EventId>,
    /// From sending to the acknowledgement, retries included.
    pub(crate) took_us: Vec<u64>,
}

impl Wave {
    /// What has become of it so far.
    pub(crate) fn sent(&self) -> Sent {
        self.sent.lock().expect("nobody panics while holding it").clone()
    }

    /// Sends all of it over `connections` connections.
    ///
    /// # Errors
    ///
    /// When a report is refused, or not taken within two minutes.
    pub(crate) async fn send(
        self: Arc<Self>,
        steps: Vec<Step>,
        to: SocketAddr,
        connections: usize,
    ) -> anyhow::Result<()> {
        let (steps, began) = (Arc::new(steps), Instant::now());
        let senders: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(Arc::clone(&self).sender(Arc::clone(&steps), to, began)))
            .collect();
        for sender in senders {
            sender.await.context("a sender ended")??;
        }
        self.over.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn sender(
        self: Arc<Self>,
        steps: Arc<Vec<Step>>,
        to: SocketAddr,
        began: Instant,
    ) -> anyhow::Result<()> {
        let mut connection = None;
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(step) = steps.get(n) else { return Ok(()) };
            tokio::time::sleep_until((began + step.due).into()).await;
            let sent_at = Instant::now();
            {
                let mut sent = self.sent.lock().expect("nobody panics while holding it");
                sent.first.get_or_insert(sent_at);
                sent.last = sent.last.max(Some(sent_at));
            }
            let ids = self.insist(step, to, &mut connection).await?;
            self.accepted.fetch_add(step.reports, Ordering::Relaxed);
            let now = Instant::now();
            let mut sent = self.sent.lock().expect("nobody panics while holding it");
            sent.ids.extend(ids);
            sent.took_us.push((now - sent_at).as_micros() as u64);
            sent.done = Some(now);
        }
    }

    /// Sends one request until it is taken, as a router's script does.
    async fn insist(
        &self,
        step: &Step,
        to: SocketAddr,
        connection: &mut Option<Connection>,
    ) -> anyhow::Result<Vec<EventId>> {
        let began = Instant::now();
        loop {
            let pause = match attempt(step, to, connection).await {
                Ok(Taken::Stored(ids)) => return Ok(ids),
                Ok(Taken::Later(pause)) => pause,
                Ok(Taken::Refused(status, body)) => bail!("a report was refused: {status} {body}"),
                Err(_) => {
                    *connection = None;
                    PAUSE
                }
            };
            if began.elapsed() > INSIST {
                bail!("a report was not taken within {} s", INSIST.as_secs());
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
        }
    }
}

/// What a request came to.
enum Taken {
    Stored(Vec<EventId>),
    Later(Duration),
    Refused(u16, String),
}

async fn attempt(step: &Step, to: SocketAddr, connection: &mut Option<Connection>) -> anyhow::Result<Taken> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(to).await?),
    };
    let answer = open.ask(&step.text).await?;
    Ok(match answer.status {
        202 => Taken::Stored(ids(answer.body)?),
        429 | 503 => Taken::Later(answer.retry_after_s.map_or(PAUSE, Duration::from_secs).min(PAUSE_MAX)),
        status => Taken::Refused(status, answer.body.to_owned()),
    })
}

/// The ids in the body of a 202.
fn ids(body: &str) -> anyhow::Result<Vec<EventId>> {
    #[derive(serde::Deserialize)]
    struct Stored {
        id: Option<EventId>,
        #[serde(default)]
        ids: Vec<EventId>,
    }
    let stored: Stored = serde_json::from_str(body).with_context(|| format!("reading `{body}`"))?;
    Ok(stored.ids.into_iter().chain(stored.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_either_form() {
        let id = "0190a3c4-0000-7000-8000-000000000001";
        assert_eq!(ids(&format!(r#"{{"id":"{id}"}}"#)).unwrap().len(), 1);
        assert_eq!(ids(&format!(r#"{{"ids":["{id}","{id}"]}}"#)).unwrap().len(), 2);
        assert!(ids("{").is_err());
    }
}
