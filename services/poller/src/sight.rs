//! Whether this point of presence sees anything beyond itself.
//!
//! Silence says something about the network only from a place that hears others. So references are looked at, hosts that
//! have nothing to do with the network that is watched: every second, and at once when somebody is about to be called
//! silent. A probe stands behind its silence only if a reference has answered since; otherwise it has found nothing out.
//! After a few sweeps in a row without any answer the point of presence is blind.
//!
//! Without references it is believed to see.

use crate::{dial::dial, echo::Pinger, figures::Figures, tries::Heard};
use events::{Outcome, Time};
use futures::{StreamExt, stream::FuturesUnordered};
use serde::Deserialize;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// How often references are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long one is waited for.
const WITHIN: Duration = Duration::from_millis(1_000);
/// How long somebody who is about to call another silent waits for proof.
const PROOF_WITHIN: Duration = Duration::from_millis(1_200);
/// How old the answer of a reference may be that is proof: no older than the try that went unanswered last.
const PROOF_AGE: Duration = Duration::from_millis(400);
/// Sweeps that are under way at once. One that nobody answers lasts as long as is waited for it.
const SWEEPS_MAX: usize = 8;
/// So many sweeps in a row without an answer: blind.
const BLIND_AFTER: u32 = 3;

/// Why a silence is not said.
pub(crate) const UNSEEN: &str = "no reference answers this point of presence: its silence proves nothing";

/// A host that answers whenever this one is connected to anything: `192.0.2.1` by ICMP, `tcp:192.0.2.53:53`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Reference {
    /// Echoes.
    Icmp(IpAddr),
    /// A connection, accepted or refused.
    Tcp(SocketAddr),
}

/// A text that names no reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no reference: an address as `192.0.2.1`, or `tcp:192.0.2.53:53`")]
pub struct NoReference(String);

impl FromStr for Reference {
    type Err = NoReference;

    fn from_str(text: &str) -> Result<Self, NoReference> {
        let found = match text.strip_prefix("tcp:") {
            Some(address) => address.parse().ok().filter(|a: &SocketAddr| a.port() != 0).map(Reference::Tcp),
            None => text.parse().ok().map(Reference::Icmp),
        };
        found.ok_or_else(|| NoReference(text.to_owned()))
    }
}

impl TryFrom<String> for Reference {
    type Error = NoReference;

    fn try_from(text: String) -> Result<Self, NoReference> {
        text.parse()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Icmp(address) => write!(f, "{address}"),
            Reference::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// How this point of presence sees, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) sees: bool,
    pub(crate) since: Time,
}

/// Looks at references.
pub(crate) struct Sight {
    references: Vec<Reference>,
    pinger: Arc<dyn Pinger>,
    /// When the question was sent that a reference has answered last.
    answered: watch::Sender<Option<Instant>>,
    standing: watch::Sender<Standing>,
    wanted: Notify,
    figures: Figures,
}

impl Sight {
    pub(crate) fn new(references: Vec<Reference>, pinger: Arc<dyn Pinger>, figures: Figures) -> Self {
        figures.sees.set(1);
        Self {
            references,
            pinger,
            answered: watch::Sender::new(None),
            standing: watch::Sender::new(Standing { sees: true, since: crate::voice::now() }),
            wanted: Notify::new(),
            figures,
        }
    }

    /// How many references there are.
    pub(crate) fn references(&self) -> u32 {
        u32::try_from(self.references.len()).unwrap_or(u32::MAX)
    }

    /// How it sees, now and from here on.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether what was found may be said: anything but a silence for which there is no proof that we hear at all.
    pub(crate) async fn stands_behind(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Silent { .. } | Outcome::RouterSilent { .. } => self.proves().await,
            Outcome::Replied { .. }
            | Outcome::Unanswered { .. }
            | Outcome::Session { .. }
            | Outcome::RollCall(_) => true,
        }
    }

    /// Whether a reference has answered what it was asked a moment ago, or answers now.
    pub(crate) async fn proves(&self) -> bool {
        if self.references.is_empty() {
            return true;
        }
        let since = Instant::now().checked_sub(PROOF_AGE);
        let mut answered = self.answered.subscribe();
        let is_proof = |at: &Option<Instant>| *at > since;
        if is_proof(&answered.borrow_and_update()) {
            return true;
        }
        self.wanted.notify_one();
        let proof = tokio::time::timeout(PROOF_WITHIN, answered.wait_for(is_proof)).await;
        let is_proven = matches!(proof, Ok(Ok(_)));
        if !is_proven {
            self.figures.unproven.inc();
        }
        is_proven
    }

    /// Looks at them until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        if self.references.is_empty() {
            return stop.cancelled().await;
        }
        let mut sweeps = JoinSet::new();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.wanted.notified() => {}
                Some(swept) = sweeps.join_next() => {
                    self.note(matches!(swept, Ok(true)), &mut unanswered);
                    continue;
                }
            }
            if sweeps.len() < SWEEPS_MAX {
                let sight = Arc::clone(&self);
                sweeps.spawn(async move { sight.sweep().await });
            }
        }
    }

    /// Asks every reference once; whether one answered. The first answer suffices.
    async fn sweep(&self) -> bool {
        let sent = Instant::now();
        let mut asked: FuturesUnordered<_> =
            self.references.iter().map(|reference| self.ask(*reference)).collect();
        while let Some(heard) = asked.next().await {
            if matches!(heard, Heard::Reply(_)) {
                self.answered.send_modify(|at| *at = (*at).max(Some(sent)));
                return true;
            }
        }
        false
    }

    async fn ask(&self, reference: Reference) -> Heard {
        let asked = async {
            match reference {
                Reference::Icmp(address) => match self.pinger.turn(address).await {
                    Ok(turn) => self.pinger.echo(address, WITHIN, Some(turn)).await,
                    Err(why) => Heard::Cannot(why),
                },
                Reference::Tcp(address) => dial(address).await,
            }
        };
        tokio::time::timeout(WITHIN, asked).await.unwrap_or(Heard::Nothing)
    }

    fn note(&self, is_answered: bool, unanswered: &mut u32) {
        *unanswered = if is_answered { 0 } else { unanswered.saturating_add(1) };
        let sees = *unanswered < BLIND_AFTER;
        let was = self.standing.borrow().sees;
        if sees == was {
            return;
        }
        self.figures.sees.set(i64::from(sees));
        self.standing.send_replace(Standing { sees, since: crate::voice::now() });
        if sees {
            tracing::info!("a reference answers again: this point of presence sees");
        } else {
            let references: Vec<String> = self.references.iter().map(ToString::to_string).collect();
            tracing::error!(
                references = references.join(", "),
                "no reference answers: this point of presence is blind, and calls nobody silent"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Turn;
    use futures::future::BoxFuture;
    use kit::admin::Metrics;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Hosts that all answer, or all do not.
    #[derive(Default)]
    struct World {
        answers: AtomicBool,
    }

    impl Pinger for World {
        fn turn(&self, _host: IpAddr) -> BoxFuture<'_, Result<Turn, String>> {
            Box::pin(async { Ok(Turn::FREE) })
        }

        fn echo(&self, _host: IpAddr, within: Duration, _turn: Option<Turn>) -> BoxFuture<'_, Heard> {
            let answers = self.answers.load(Ordering::Relaxed);
            Box::pin(async move {
                let rtt = Duration::from_millis(20);
                tokio::time::sleep(if answers { rtt } else { within }).await;
                if answers { Heard::Reply(rtt) } else { Heard::Nothing }
            })
        }
    }

    fn sight(world: &Arc<World>, references: &[&str]) -> (Arc<Sight>, CancellationToken) {
        let references = references.iter().map(|text| text.parse().unwrap()).collect();
        let pinger = Arc::clone(world) as Arc<dyn Pinger>;
        let sight = Arc::new(Sight::new(references, pinger, Figures::new(&Metrics::default())));
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&sight).run(stop.clone()));
        (sight, stop)
    }

    #[test]
    fn a_reference_is_an_address_or_a_port_of_one() {
        for good in ["192.0.2.1", "2001:db8::1", "tcp:192.0.2.53:53", "tcp:[2001:db8::1]:443"] {
            assert_eq!(good.parse::<Reference>().unwrap().to_string(), good);
        }
        for bad in ["", "example.net", "tcp:192.0.2.1", "tcp:192.0.2.1:0", "udp:192.0.2.1:53"] {
            assert_eq!(bad.parse::<Reference>(), Err(NoReference(bad.into())));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_only_while_a_reference_answers() {
        let world = Arc::new(World::default());
        world.answers.store(true, Ordering::Relaxed);
        let (sight, _stop) = sight(&world, &["192.0.2.1", "192.0.2.2"]);
        let silent = Outcome::Silent { tries: 3, last: true };
        assert!(sight.stands_behind(&silent).await);
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(sight.stands_behind(&silent).await, "it asks when the last answer is too old");
        assert!(began.elapsed() < Duration::from_millis(800));

        // The way out breaks: what was answered a moment before is no proof of now.
        world.answers.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(450)).await;
        assert!(!sight.stands_behind(&silent).await);
        assert!(!sight.stands_behind(&Outcome::RouterSilent { tries: 1, last: false }).await);
        assert!(sight.stands_behind(&Outcome::Replied { rtt_us: 1 }).await, "a sign of life is one");
        world.answers.store(true, Ordering::Relaxed);
        assert!(sight.stands_behind(&silent).await);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_blind_after_a_few_sweeps_and_sees_at_the_first_answer() {
        let world = Arc::new(World::default());
        world.answers.store(true, Ordering::Relaxed);
        let (sight, _stop) = sight(&world, &["192.0.2.1"]);
        let mut standing = sight.standing();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(standing.borrow_and_update().sees && !standing.has_changed().unwrap());
        world.answers.store(false, Ordering::Relaxed);
        let began = Instant::now();
        standing.changed().await.unwrap();
        assert!(!standing.borrow_and_update().sees);
        let took = began.elapsed();
        assert!(took > Duration::from_secs(2) && took < Duration::from_secs(6), "{took:?}");
        world.answers.store(true, Ordering::Relaxed);
        standing.changed().await.unwrap();
        assert!(standing.borrow().sees);
    }

    #[tokio::test(start_paused = true)]
    async fn without_references_it_is_believed_to_see() {
        let world = Arc::new(World::default());
        let (sight, _stop) = sight(&world, &[]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(sight.standing().borrow().sees && sight.proves().await);
    }
}
