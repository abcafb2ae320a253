//! A toy that decides: it counts the claims about each node, and says every count as a delivery.
//!
//! So the log itself shows whether each input had its effect once: the counts of a node are 1, 2, 3, …
//! without a gap and without a repetition, and each names the claim it follows from.

use events::{
    About, Decide, Decision, Delivery, DeliveryKind, DeliverySaid, EventId, Fact, Heard, NoticeId, Noun,
    RECALL_MS, Say, TenantId, Time, Timer,
};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How the toy is to behave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Habits {
    /// How much it says at once at most, whatever the room.
    pub(crate) says_max: Option<usize>,
    /// How many counts one claim leads to.
    pub(crate) echoes: u32,
    /// It panics at a claim that says `panic`.
    pub(crate) fragile: bool,
    /// It arms a timer twice, in one decision, for every claim.
    pub(crate) arms_twice: bool,
    /// It arms a timer for 3 s at a claim that says `arm`, and disarms it at one that says `disarm`.
    pub(crate) holds: bool,
    /// It says its counts again when they grow old.
    pub(crate) restates: bool,
    /// It says nothing.
    pub(crate) mute: bool,
    /// It says something that is too large at a claim that says `huge`.
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pending {
    tenant: TenantId,
    key: NoticeId,
    cause: EventId,
    at: Time,
    detail: Option<String>,
}

/// The memory: the counts said, and the claims of the last 15 minutes.
pub(crate) struct Toy {
    habits: Habits,
    /// Said: how many, and after which claim.
    counts: BTreeMap<NoticeId, u32>,
    answered: BTreeMap<EventId, u32>,
    /// Heard lately.
    recent: VecDeque<(Time, Pending)>,
    now: Time,
    timers_due: u32,
}

impl Toy {
    pub(crate) fn new(habits: Habits) -> Self {
        Self {
            habits,
            counts: BTreeMap::new(),
            answered: BTreeMap::new(),
            recent: VecDeque::new(),
            now: Time::EPOCH,
            timers_due: 0,
        }
    }

    fn echoes(&self) -> u32 {
        self.habits.echoes.max(1)
    }
}

impl Decide for Toy {
    const NAME: &'static str = "toy";
    const HEARS: &'static [Noun] = &[Noun::Signal];
    const SAYS: &'static [Noun] = &[Noun::Delivery];

    fn recall(&mut self, heard: &Heard) {
        self.now = self.now.max(heard.heard);
        let Fact::Signal(signal) = &heard.fact else {
            if matches!(heard.fact, Fact::Due(_)) {
                self.timers_due += 1;
            }
            return;
        };
        let About::Node(node) = signal.about else { return };
        let pending = Pending {
            tenant: heard.tenant,
            key: NoticeId(node.0),
            cause: heard.id,
            at: heard.at,
            detail: signal.detail.clone(),
        };
        self.recent.push_back((heard.heard, pending));
        while let Some((at, _)) = self.recent.front()
            && self.now.ms_since(*at) > RECALL_MS
        {
            self.recent.pop_front();
        }
    }

    fn apply(&mut self, said: &Say) {
        let Fact::Delivery(delivery) = &said.fact else { return };
        self.counts.insert(delivery.now.notice, delivery.now.attempts);
        // The answer names every claim that was counted: the last message of a subject is the memory.
        for cause in delivery.now.answer.iter().flat_map(|answer| answer.split(' ')) {
            if let Some((id, times)) = cause.split_once('*') {
                self.answered.insert(id.parse().unwrap(), times.parse().unwrap());
            }
        }
    }

    fn decide(&mut self, _now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        if self.habits.mute {
            return decision;
        }
        let room = self.habits.says_max.unwrap_or(room).min(room);
        let mut counts = self.counts.clone();
        let mut answers: BTreeMap<NoticeId, String> = BTreeMap::new();
        for (id, times) in &self.answered {
            if let Some((_, pending)) = self.recent.iter().find(|(_, p)| p.cause == *id) {
                let text = answers.entry(pending.key).or_default();
                text.push_str(&format!("{id}*{times} "));
            }
        }
        for (_, pending) in &self.recent {
            assert!(!(self.habits.fragile && pending.detail.as_deref() == Some("panic")), "a poison claim");
            let done = self.answered.get(&pending.cause).copied().unwrap_or(0);
            for time in done..self.echoes() {
                let per_claim = if self.habits.arms_twice || self.habits.holds { 3 } else { 1 };
                if decision.said.len() + decision.timers.len() + per_claim > room {
                    decision.owed = true;
                    return decision;
                }
                let count = counts.entry(pending.key).or_default();
                *count += 1;
                let answer = answers.entry(pending.key).or_default();
                answer.push_str(&format!("{}*{} ", pending.cause, time + 1));
                let kept: Vec<&str> = answer.split(' ').rev().take(400).collect();
                let huge = self.habits.verbose && pending.detail.as_deref() == Some("huge");
                let answer = if huge {
                    "x".repeat(100_000)
                } else {
                    kept.into_iter().rev().collect::<Vec<_>>().join(" ")
                };
                let now = Delivery {
                    notice: pending.key,
                    attempts: *count,
                    answer: Some(answer),
                    possibly_repeated: false,
                };
                decision.said.push(Say {
                    id: EventId::following(pending.cause, Self::NAME, &format!("count {time}")),
                    tenant: pending.tenant,
                    at: pending.at,
                    cause: Some(pending.cause),
                    fact: Fact::Delivery(DeliverySaid { kind: DeliveryKind::Attempted, now }),
                });
                if self.habits.holds {
                    let at = match pending.detail.as_deref() {
                        Some("arm") => Some(self.now.plus_ms(3_000)),
                        _ => None,
                    };
                    let timer = Timer { key: format!("hold.{}", pending.key), at, version: *count };
                    decision.timers.push((pending.tenant, timer));
                }
                if self.habits.arms_twice {
                    let key = format!("again.{}", pending.key);
                    for version in [1, 2] {
                        let at = Some(self.now.plus_ms(200));
                        decision.timers.push((pending.tenant, Timer { key: key.clone(), at, version }));
                    }
                }
            }
        }
        decision
    }

    fn restate(&self, said: &Say) -> Option<Fact> {
        self.habits.restates.then(|| said.fact.clone())
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.counts.hash(&mut hasher);
        self.answered
            .iter()
            .filter(|(id, _)| self.recent.iter().any(|(_, p)| p.cause == **id))
            .for_each(|a| a.hash(&mut hasher));
        self.recent.hash(&mut hasher);
        self.timers_due.hash(&mut hasher);
        hasher.finish()
    }
}

/// What is wrong with the counts in the log: every claim must have its effect `echoes` times, in order.
pub(crate) fn faults(
    claims: &[Heard],
    counts: &[Heard],
    causes: &[Option<EventId>],
    echoes: u32,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut last: BTreeMap<NoticeId, u32> = BTreeMap::new();
    let mut effects: BTreeMap<EventId, u32> = BTreeMap::new();
    for (count, cause) in counts.iter().zip(causes) {
        let Fact::Delivery(said) = &count.fact else { continue };
        let before = last.insert(said.now.notice, said.now.attempts).unwrap_or(0);
        if said.now.attempts != before + 1 {
            faults
                .push(format!("{}: {} after {before} at {}", said.now.notice, said.now.attempts, count.seq));
        }
        *effects.entry(cause.unwrap()).or_default() += 1;
    }
    for claim in claims {
        match effects.remove(&claim.id) {
            Some(n) if n == echoes => {}
            other => faults.push(format!("claim {} at {} had {other:?} effects", claim.id, claim.seq)),
        }
    }
    faults.extend(effects.into_iter().map(|(id, n)| format!("{n} effects of {id}, which nobody claimed")));
    faults
}
