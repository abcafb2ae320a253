//! Whether this point of presence sees anything beyond itself.
//!
//! Silence says something about the network only from a place that hears others. So references are looked at, hosts that
//! have nothing to do with the network that is watched: every second, and at once when somebody is about to be called
//! silent. A probe stands behind its silence only if a reference answers at its end, and none of the sweeps that were sent
//! since it began has gone unanswered; otherwise it has found nothing out. After a few seconds in which no sweep was
//! answered the point of presence is blind.
//!
//! Without references it is believed to see.

use crate::{
    dial::dial,
    echo::{Pinger, Turn},
    figures::Figures,
    tries::Heard,
};
use events::{Outcome, Time, Vantage};
use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
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
/// So many sweeps in a row without an answer, each a good second after the other: blind.
const BLIND_AFTER: u32 = 3;
/// Sweeps that were sent closer together than this went into the same darkness: they count once.
const APART: Duration = Duration::from_millis(900);

/// Why a silence is not said.
pub(crate) const UNSEEN: &str = "no reference answers this point of presence: its silence proves nothing";

/// A host that answers whenever this one is connected to anything: `192.0.2.1` by ICMP, `tcp:192.0.2.53:53`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
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

/// What came of the sweeps so far: when those were sent that a reference has answered last, and that none has.
#[derive(Debug, Clone, Copy, Default)]
struct Swept {
    answered: Option<Instant>,
    unanswered: Option<Instant>,
}

/// Sweeps that nobody answered, since one was.
#[derive(Debug, Default)]
struct Darkness {
    count: u32,
    /// When the last one that counts was sent.
    last: Option<Instant>,
}

/// Looks at references.
pub(crate) struct Sight {
    references: Vec<Reference>,
    pinger: Arc<dyn Pinger>,
    swept: watch::Sender<Swept>,
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
            swept: watch::Sender::new(Swept::default()),
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

    /// Whether what a probe that began then has found may be said: anything but a silence for which there is no proof
    /// that we hear at all. What a router says of another it has found out by itself.
    pub(crate) async fn stands_behind(&self, outcome: &Outcome, via: Vantage, begun: Instant) -> bool {
        match (outcome, via) {
            (Outcome::Silent { .. }, Vantage::Direct) | (Outcome::RouterSilent { .. }, _) => {
                self.proves(begun).await
            }
            (Outcome::Silent { .. }, Vantage::Through(_))
            | (
                Outcome::Replied { .. }
                | Outcome::Unanswered { .. }
                | Outcome::Session { .. }
                | Outcome::RollCall(_),
                _,
            ) => true,
        }
    }

    /// Whether a probe that began then, and ends now, would have heard somebody: a reference answers, and no sweep since
    /// went unanswered.
    pub(crate) async fn proves(&self, begun: Instant) -> bool {
        if self.references.is_empty() {
            return true;
        }
        let since = Instant::now().checked_sub(PROOF_AGE);
        let mut swept = self.swept.subscribe();
        let answers = |swept: &Swept| swept.answered > since;
        let mut is_proven = answers(&swept.borrow_and_update());
        if !is_proven && self.standing.borrow().sees {
            self.wanted.notify_one();
            is_proven =
                matches!(tokio::time::timeout(PROOF_WITHIN, swept.wait_for(answers)).await, Ok(Ok(_)));
        }
        let was_dark = self.swept.borrow().unanswered.is_some_and(|sent| sent >= begun);
        is_proven &= !was_dark && self.standing.borrow().sees;
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
        let mut darkness = Darkness::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.wanted.notified() => {}
                Some(swept) = sweeps.join_next() => {
                    if let Ok((sent, is_answered)) = swept {
                        self.note(sent, is_answered, &mut darkness);
                    }
                    continue;
                }
            }
            if sweeps.len() < SWEEPS_MAX {
                let sight = Arc::clone(&self);
                sweeps.spawn(async move { (Instant::now(), sight.sweep().await) });
            }
        }
    }

    /// Asks every reference once; whether one answered. The first answer suffices.
    async fn sweep(&self) -> bool {
        let mut asked: FuturesUnordered<_> =
            self.references.iter().map(|reference| self.ask(*reference)).collect();
        while let Some(heard) = asked.next().await {
            match heard {
                Heard::Reply(_) => return true,
                Heard::Nothing => {}
                Heard::Cannot(why) => tracing::debug!(why, "a reference cannot be asked"),
            }
        }
        false
    }

    async fn ask(&self, reference: Reference) -> Heard {
        let asked = async {
            match reference {
                // Not in the queue of the probes: when thousands are silent at once it is long.
                Reference::Icmp(address) => self.pinger.echo(address, WITHIN, Some(Turn::FREE)).await,
                Reference::Tcp(address) => dial(address).await,
            }
        };
        tokio::time::timeout(WITHIN, asked).await.unwrap_or(Heard::Nothing)
    }

    fn note(&self, sent: Instant, is_answered: bool, darkness: &mut Darkness) {
        let Swept { answered, .. } = *self.swept.borrow();
        if is_answered {
            *darkness = Darkness::default();
            self.swept.send_modify(|swept| swept.answered = swept.answered.max(Some(sent)));
        } else {
            self.swept.send_modify(|swept| swept.unanswered = swept.unanswered.max(Some(sent)));
            // One that was sent before another was answered tells of a darkness that is over; ones that were sent together
            // tell of the same.
            let is_over = answered.is_some_and(|answered| sent <= answered);
            if !is_over && darkness.last.is_none_or(|last| sent >= last + APART) {
                (darkness.count, darkness.last) = (darkness.count + 1, Some(sent));
            }
        }
        let sees = darkness.count < BLIND_AFTER;
        if sees == self.standing.borrow().sees {
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

    const SILENT: Outcome = Outcome::Silent { tries: 3, last: true };
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn silence_counts_only_while_a_reference_answers() {
        let world = Arc::new(World::default());
        world.answers.store(true, Ordering::Relaxed);
        let (sight, _stop) = sight(&world, &["192.0.2.1", "192.0.2.2"]);
        let direct =
            async |outcome: &Outcome| sight.stands_behind(outcome, Vantage::Direct, Instant::now()).await;
        assert!(direct(&SILENT).await);
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(direct(&SILENT).await, "it asks when the last answer is too old");
        assert!(began.elapsed() < Duration::from_millis(800));

        // The way out breaks: what was answered a moment before is no proof of now.
        world.answers.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(450)).await;
        assert!(!direct(&SILENT).await);
        assert!(!direct(&Outcome::RouterSilent { tries: 1, last: false }).await);
        assert!(direct(&Outcome::Replied { rtt_us: 1 }).await, "a sign of life is one");
        let through = Vantage::Through(events::NodeId::default());
        assert!(sight.stands_behind(&SILENT, through, Instant::now()).await, "its router has found that out");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_probed_in_the_dark_is_not_silent_when_the_light_comes_back() {
        let world = Arc::new(World::default());
        world.answers.store(true, Ordering::Relaxed);
        let (sight, _stop) = sight(&world, &["192.0.2.1"]);
        tokio::time::sleep(SECOND * 5).await;
        world.answers.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        tokio::time::sleep(SECOND * 2 - Duration::from_millis(50)).await;
        world.answers.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!sight.stands_behind(&SILENT, Vantage::Direct, begun).await);
        // What began after it stands.
        tokio::time::sleep(SECOND * 2).await;
        let begun = Instant::now();
        tokio::time::sleep(SECOND * 2).await;
        assert!(sight.stands_behind(&SILENT, Vantage::Direct, begun).await);
        assert!(sight.standing().borrow().sees, "so short a darkness is no blindness");
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_want_proof_in_one_dark_second_make_nobody_blind() {
        let world = Arc::new(World::default());
        world.answers.store(true, Ordering::Relaxed);
        let (sight, _stop) = sight(&world, &["192.0.2.1"]);
        tokio::time::sleep(SECOND * 5).await;
        let mut standing = sight.standing();
        standing.mark_unchanged();
        world.answers.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..20 {
            let sight = Arc::clone(&sight);
            tokio::spawn(async move { sight.proves(Instant::now()).await });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.answers.store(true, Ordering::Relaxed);
        tokio::time::sleep(SECOND * 10).await;
        assert!(!standing.has_changed().unwrap());
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
        assert!(sight.standing().borrow().sees && sight.proves(Instant::now()).await);
    }
}
