//! Asks: what deciders want to know, found out and answered.
//!
//! Every ask is worked on by itself, within bounds: so many at once, so many at one router, so many that
//! wait. What cannot be found out before its deadline is answered as just that, which is evidence against
//! the keeper and never against the network. An ask that is heard again is not answered again; and
//! because an answer's id follows from its ask, two keepers that both answer it say most of it once.

use crate::{
    figures::{Figures, kind_of, name_of},
    known,
    reach::{Purpose, Reach},
    roll::Told,
    room::Room,
    routers::Trouble,
    sight::UNSEEN,
    tables::{self, Failed, left},
    through,
    tries::{Ended, TRIES, ThroughEnded, ThroughSoFar},
    voice::{Chain, Voice, Word, now},
};
use events::{
    Answer, Ask, AskId, EventId, NodeId, Outcome, Question, RollCall, SessionState, TenantId, Time, Vantage,
};
use kit::Asked;
use routeros_api::question::Netwatch;
use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::task::TaskTracker;

/// For how long after its deadline an answer may still be stored.
const SAY_AFTER_DEADLINE: Duration = Duration::from_secs(2);

/// How long an ask waits for the inventory it is about.
const INVENTORY_WITHIN: Duration = Duration::from_secs(1);

/// How many "unanswered" for asks that found no place may be on their way.
const OVERFLOWS_MAX: usize = 1_000;

/// How many asks are remembered, so that none is answered twice.
const REMEMBERED_MAX: usize = 50_000;

/// How long an ask may have waited at most when its deadline lies absurdly far ahead.
const DEADLINE_MAX: Duration = Duration::from_secs(120);

/// Works on asks.
pub(crate) struct Desk {
    reach: Reach,
    voice: Voice,
    figures: Figures,
    waiting: Arc<Semaphore>,
    overflowing: Arc<Semaphore>,
    at_once: Room,
    seen: Mutex<Seen>,
    tasks: TaskTracker,
}

impl Desk {
    /// Works on `at_once` asks at once, while `waiting_max` others wait.
    pub(crate) fn new(
        reach: Reach,
        voice: Voice,
        figures: Figures,
        at_once: usize,
        waiting_max: usize,
    ) -> Self {
        Self {
            reach,
            voice,
            figures,
            waiting: Arc::new(Semaphore::new(at_once + waiting_max)),
            overflowing: Arc::new(Semaphore::new(OVERFLOWS_MAX)),
            at_once: Room::new(at_once),
            seen: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Takes an ask in. Returns at once.
    pub(crate) fn take(self: &Arc<Self>, asked: Asked) {
        if !self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_new(asked.ask.id) {
            self.figures.asks_repeated.inc();
            return;
        }
        let desk = Arc::clone(self);
        match Arc::clone(&self.waiting).try_acquire_owned() {
            Ok(place) => drop(self.tasks.spawn(async move { desk.work(asked, place).await })),
            Err(_) => {
                self.figures.asks_overflown.inc();
                // Beyond even that nothing is said: the deadline says it.
                let Ok(place) = Arc::clone(&self.overflowing).try_acquire_owned() else { return };
                drop(self.tasks.spawn(async move {
                    let why = "too many asks wait at this point of presence".to_owned();
                    desk.answer(&asked, place, |_, _| async move { unanswered(why) }).await;
                }));
            }
        }
    }

    /// Waits until everything that was taken in is answered.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn work(self: Arc<Self>, asked: Asked, place: OwnedSemaphorePermit) {
        self.figures.asks.inc();
        let (desk, about) = (&*self, &asked);
        self.answer(&asked, place, |mouth, by| async move { desk.find_out(about, &mouth, by).await }).await;
        self.figures.asks.dec();
    }

    /// Has an answer found out, and says it and everything on the way to it.
    async fn answer<F: Future<Output = Outcome>>(
        &self,
        asked: &Asked,
        _place: OwnedSemaphorePermit,
        find_out: impl FnOnce(Mouth, Instant) -> F,
    ) {
        let ask = &asked.ask;
        let (begun, by) = (Instant::now(), deadline(ask.deadline, now()));
        let (mouth, words) = Mouth::new(ask, self.voice.pop());
        let finding = async {
            let last = mouth.clone();
            let outcome = if by <= Instant::now() {
                drop(mouth);
                unanswered("its deadline had passed before it could be begun".into())
            } else {
                match tokio::time::timeout_at(by, find_out(mouth, by)).await {
                    Ok(outcome) => outcome,
                    Err(_) => unanswered("it was not finished before its deadline".into()),
                }
            };
            let outcome = match self.reach.sight.stands_behind(&outcome, last.answer.via, begun).await {
                true => outcome,
                false => unanswered(UNSEEN.into()),
            };
            if by <= Instant::now() {
                self.figures.asks_late.inc();
            }
            self.figures.ended(kind_of(&ask.question), Purpose::Ask.name(), name_of(&outcome));
            // The last chunk of a roll call has been said by whoever wants to know that it was.
            if !matches!(outcome, Outcome::RollCall(_)) {
                last.say(outcome);
            }
        };
        tokio::join!(finding, self.speak(asked, words, begun, by + SAY_AFTER_DEADLINE));
        let since_us = u64::try_from(now().us().saturating_sub(ask.at.us())).unwrap_or(0);
        self.figures.ask_answered.observe(Duration::from_micros(since_us).as_secs_f64());
    }

    async fn speak(
        &self,
        asked: &Asked,
        mut words: mpsc::UnboundedReceiver<Spoken>,
        begun: Instant,
        by: Instant,
    ) {
        let chain = Chain {
            cause: Some(asked.id),
            correlation: asked.correlation,
            traceparent: asked.traceparent.clone(),
        };
        let mut in_the_dark = false;
        while let Some(Spoken { words, stored }) = words.recv().await {
            // Whether the last one may be said was looked at before. Where one was not, the ones after it are not either.
            if let [word] = &*words
                && is_on_the_way(&word.answer.outcome)
            {
                let Answer { outcome, via, .. } = &word.answer;
                in_the_dark = in_the_dark || !self.reach.sight.stands_behind(outcome, *via, begun).await;
                if in_the_dark {
                    continue;
                }
            }
            let said = self.voice.say(asked.tenant, words, &chain, by).await;
            if let Some(stored) = stored {
                // Whoever wanted to know may have been cut off by the deadline.
                let _nobody_waits = stored.send(said);
            }
        }
    }

    async fn find_out(&self, asked: &Asked, mouth: &Mouth, by: Instant) -> Outcome {
        let (tenant, ask) = (asked.tenant, &asked.ask);
        self.reach.roster.wait_for(tenant, ask.via(), INVENTORY_WITHIN).await;
        let found = match &ask.question {
            Question::Reach { probe } => {
                let _work = self.at_once.place().await;
                let silent = |tries| mouth.say(Outcome::Silent { tries, last: false });
                let ended = self.reach.probe(tenant, ask.target, *probe, Purpose::Ask, silent).await;
                Ok(outcome_of(ended))
            }
            Question::PingThrough { router } => self.ping_through(tenant, *router, ask, mouth).await,
            Question::Session { router, keys } => {
                let asked_at = Instant::now();
                match self.reach.line(tenant, *router) {
                    Ok(line) => {
                        let silent = |tries| mouth.say(Outcome::RouterSilent { tries, last: false });
                        let roster = &self.reach.roster;
                        let when = (asked_at, by);
                        let read =
                            tables::sessions(roster, tenant, *router, &line, when, &self.at_once, silent);
                        Ok(match read.await {
                            Ok(present) => Outcome::Session {
                                state: if keys.iter().any(|key| present.contains(key)) {
                                    SessionState::Present
                                } else {
                                    SessionState::Absent
                                },
                            },
                            Err(Failed::Silent) => Outcome::RouterSilent { tries: TRIES, last: true },
                            Err(Failed::Unanswered(why)) => unanswered(why),
                        })
                    }
                    Err(why) => Err(why),
                }
            }
            Question::RollCall { whole } => self.roll_call(tenant, ask.target, *whole, mouth, by).await,
        };
        found.unwrap_or_else(unanswered)
    }

    async fn ping_through(
        &self,
        tenant: TenantId,
        router: NodeId,
        ask: &Ask,
        mouth: &Mouth,
    ) -> Result<Outcome, String> {
        let line = self.reach.line(tenant, router)?;
        if let Some(why) = line.is_rejected() {
            return Err(format!("not tried again yet: {why}"));
        }
        let whom = self.reach.through(tenant, router, ask.target).await?;
        let _place = line.places().asks.place().await;
        let _work = self.at_once.place().await;
        let ended = through::ping(&line, whom.address(), |so_far| {
            mouth.say(match so_far {
                ThroughSoFar::Silent(tries) => Outcome::Silent { tries, last: false },
                ThroughSoFar::RouterSilent(tries) => Outcome::RouterSilent { tries, last: false },
            });
        });
        Ok(match ended.await {
            ThroughEnded::Replied(rtt) => Outcome::Replied { rtt_us: rtt_us(rtt) },
            ThroughEnded::Silent => Outcome::Silent { tries: TRIES, last: true },
            ThroughEnded::RouterSilent(tries) => Outcome::RouterSilent { tries, last: true },
            ThroughEnded::Unanswered(why) => unanswered(whom.hidden_in(why)),
        })
    }

    async fn roll_call(
        &self,
        tenant: TenantId,
        router: NodeId,
        whole: bool,
        mouth: &Mouth,
        by: Instant,
    ) -> Result<Outcome, String> {
        let line = self.reach.line(tenant, router)?;
        // One after the other: what has changed is told against what was said last.
        let mut before = line.places().told.lock().await;
        let _place = line.places().asks.place().await;
        let _work = self.at_once.place().await;
        let silent = |tries| mouth.say(Outcome::Silent { tries, last: false });
        let uptime = match tables::uptime(&line, silent).await {
            Ok(uptime) => uptime,
            Err(Failed::Silent) => return Ok(Outcome::Silent { tries: TRIES, last: true }),
            Err(Failed::Unanswered(why)) => return Err(why),
        };
        let watches = match line.ask(&Netwatch, left(by), line.way(0, true)).await {
            Ok(watches) => watches,
            Err(Trouble::Trap { unknown: true, .. }) => Vec::new(),
            Err(trouble) => return Err(trouble.why()),
        };
        let present = match tables::read(&self.reach.roster, tenant, router, &line, by).await {
            Ok(present) => present,
            Err(Failed::Silent) => return Ok(Outcome::Silent { tries: TRIES, last: true }),
            Err(Failed::Unanswered(why)) => return Err(why),
        };
        let told = Told::of(&watches, &known::children(&self.reach.roster, tenant, router), present);
        let chunks = match &*before {
            Some(before) if !whole => told.since(before, uptime),
            Some(_) | None => told.whole(uptime),
        };
        let last = chunks.last().cloned().ok_or("a roll call without a chunk")?;
        if !mouth.say_chunks(chunks).await {
            return Err("the roll call could not be stored".into());
        }
        *before = Some(told);
        Ok(Outcome::RollCall(last))
    }
}

/// The deadline of an ask, by the clock that nobody sets.
fn deadline(deadline: Time, now: Time) -> Instant {
    let left_us = u64::try_from(deadline.us().saturating_sub(now.us())).unwrap_or(0);
    Instant::now() + Duration::from_micros(left_us).min(DEADLINE_MAX)
}

/// Whether more will be said of the same probe.
fn is_on_the_way(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Silent { last: false, .. } | Outcome::RouterSilent { last: false, .. })
}

fn unanswered(why: String) -> Outcome {
    Outcome::Unanswered { why }
}

/// What a direct probe's end means.
pub(crate) fn outcome_of(ended: Ended) -> Outcome {
    match ended {
        Ended::Replied(rtt) => Outcome::Replied { rtt_us: rtt_us(rtt) },
        Ended::Silent => Outcome::Silent { tries: TRIES, last: true },
        Ended::Unanswered(why) => unanswered(why),
    }
}

fn rtt_us(rtt: Duration) -> u32 {
    u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)
}

/// Asks that were taken in lately.
#[derive(Debug, Default)]
struct Seen {
    known: HashSet<AskId>,
    order: VecDeque<AskId>,
}

impl Seen {
    fn is_new(&mut self, ask: AskId) -> bool {
        if !self.known.insert(ask) {
            return false;
        }
        self.order.push_back(ask);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// What one ask has to say, in order.
#[derive(Clone)]
struct Mouth {
    words: mpsc::UnboundedSender<Spoken>,
    answer: Answer,
    ask: AskId,
}

/// Words for one commit, and whoever wants to know whether they were stored.
struct Spoken {
    words: Vec<Word>,
    stored: Option<oneshot::Sender<bool>>,
}

impl Mouth {
    /// For the answers of one ask. No more than a few are ever said, so their queue needs no bound.
    fn new(ask: &Ask, pop: &str) -> (Self, mpsc::UnboundedReceiver<Spoken>) {
        let (words, heard) = mpsc::unbounded_channel();
        let via = match &ask.question {
            Question::Reach { .. } | Question::RollCall { .. } => Vantage::Direct,
            Question::PingThrough { router } | Question::Session { router, .. } => Vantage::Through(*router),
        };
        let answer = Answer {
            ask: Some(ask.id),
            asked_at: Some(ask.at),
            target: ask.target,
            via,
            outcome: Outcome::Silent { tries: 0, last: false },
            pop: pop.to_owned(),
        };
        (Self { words, answer, ask: ask.id }, heard)
    }

    fn word(&self, outcome: Outcome) -> Word {
        let id = EventId::following(EventId(self.ask.0), "poller", &what(&outcome));
        Word { id, answer: Answer { outcome, ..self.answer.clone() } }
    }

    fn say(&self, outcome: Outcome) {
        let spoken = Spoken { words: vec![self.word(outcome)], stored: None };
        // The one who listens goes on until every mouth is gone.
        let _listening = self.words.send(spoken);
    }

    /// Says the chunks of a roll call in one commit; tells whether they were stored.
    async fn say_chunks(&self, chunks: Vec<RollCall>) -> bool {
        let words = chunks.into_iter().map(|chunk| self.word(Outcome::RollCall(chunk))).collect();
        let (stored, is_stored) = oneshot::channel();
        self.words.send(Spoken { words, stored: Some(stored) }).is_ok() && is_stored.await.unwrap_or(false)
    }
}

/// Which of an ask's answers it is: the same answer has the same id whenever it is worked out.
fn what(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Silent { tries, last } => format!("silent {tries} {last}"),
        Outcome::RouterSilent { tries, last } => format!("router_silent {tries} {last}"),
        Outcome::RollCall(roll) => format!("roll_call {} {} {}", roll.whole, roll.chunk, roll.chunks),
        Outcome::Replied { .. } | Outcome::Unanswered { .. } | Outcome::Session { .. } => {
            name_of(outcome).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_ask_is_new_once_and_memory_is_bounded() {
        let mut seen = Seen::default();
        let id = |n: usize| AskId(Uuid::from_u128(n as u128));
        assert!(seen.is_new(id(0)) && !seen.is_new(id(0)));
        for n in 1..=REMEMBERED_MAX {
            assert!(seen.is_new(id(n)));
        }
        assert_eq!((seen.known.len(), seen.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(seen.is_new(id(0)), "the oldest is forgotten");
    }

    #[test]
    fn the_same_answer_has_the_same_id_and_another_has_another() {
        let silent = |tries, last| what(&Outcome::Silent { tries, last });
        assert_eq!(what(&Outcome::Replied { rtt_us: 1 }), what(&Outcome::Replied { rtt_us: 2 }));
        assert_ne!(silent(1, false), silent(2, false));
        assert_ne!(silent(3, false), silent(3, true));
        assert_ne!(silent(3, true), what(&Outcome::RouterSilent { tries: 3, last: true }));
    }
}
