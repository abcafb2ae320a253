//! What looks at one node showed, and what follows from that: when it was alive, and when silent.

use super::NodeRecent;
use events::{EventId, Time};
use serde::Serialize;

/// When the tries of a probe are sent, milliseconds after it begins (design, "The walk").
const TRIES_AT_MS: [i64; 3] = [0, 400, 1_000];
/// How long each of them is waited for, milliseconds: the second counts as unanswered before the third leaves.
const TRY_WAITS_MS: [i64; 3] = [400, 400, 1_000];
/// How long a try is waited for at least before it counts as unanswered, milliseconds.
const TRY_MS: i64 = 400;
/// What a look at a node showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Seen {
    /// It is alive.
    Up,
    /// So many tries went unanswered; whether the probe has ended.
    Silent(u8, bool),
    /// Its router's session table says that it is not there.
    RouterSaysDown,
    /// Its router's netwatch says up: as of its last test, which may be a whole interval ago.
    NetwatchUp,
    /// Its router's netwatch says down: as of its last test, which may be a whole interval ago.
    NetwatchDown,
    /// The look ended without a word about it.
    Nothing,
    /// It is alive and told all it knows of those it sees.
    Told,
}

impl Seen {
    /// Whether it shows that the node was alive at the moment the look tells of.
    const fn is_alive(self) -> bool {
        match self {
            Seen::Up | Seen::NetwatchUp | Seen::Told => true,
            Seen::Silent(..) | Seen::RouterSaysDown | Seen::NetwatchDown | Seen::Nothing => false,
        }
    }
}

/// A look at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Look {
    /// When the answer was heard.
    pub heard: Time,
    /// What it proves, it proves for after this.
    pub asked_at: Time,
    /// Whether it was asked for.
    pub asked: bool,
    /// What it showed.
    pub seen: Seen,
    /// The event.
    pub event: EventId,
}

/// When the last of so many tries was sent of a probe that began at `began`.
pub(crate) fn try_sent_at(began: Time, tries: u8) -> Time {
    began.plus_ms(TRIES_AT_MS[usize::from(tries).clamp(1, TRIES_AT_MS.len()) - 1])
}

/// Which try (from 0) an answer is to that came when so many had gone unanswered: the first that can have caused it.
fn answered_try(unanswered: usize, rtt_us: Option<u32>) -> usize {
    let Some(last_over) = unanswered.checked_sub(1).map(|n| n.min(TRIES_AT_MS.len() - 2)) else { return 0 };
    let Some(rtt_us) = rtt_us else { return 1 };
    let came_after_ms = TRIES_AT_MS[last_over] + TRY_WAITS_MS[last_over];
    let can_have = |at_ms: &i64| at_ms * 1_000 + i64::from(rtt_us) >= came_after_ms * 1_000;
    TRIES_AT_MS.iter().position(can_have).unwrap_or(last_over + 1).min(last_over + 1)
}

impl Look {
    /// When the last unanswered try was sent, of a probe of our own.
    pub fn unanswered_at(&self) -> Option<Time> {
        match self.seen {
            Seen::Silent(tries, _) if self.asked => Some(try_sent_at(self.asked_at, tries)),
            Seen::Silent(..) => Some(self.heard.plus_ms(-TRY_MS)),
            Seen::Up
            | Seen::NetwatchUp
            | Seen::NetwatchDown
            | Seen::RouterSaysDown
            | Seen::Nothing
            | Seen::Told => None,
        }
    }
}

impl NodeRecent {
    /// The latest moment for which a look proves it alive.
    pub fn alive_at(&self) -> Option<(Time, EventId)> {
        self.looks.iter().filter(|l| l.seen.is_alive()).map(|l| (l.asked_at, l.event)).max()
    }

    /// Whether a look asked for at `from` or later, and not after `until`, proves it alive, and no try
    /// that was sent after that went unanswered.
    pub fn is_alive_between(&self, from: Time, until: Option<Time>) -> bool {
        let proof = |l: &&Look| {
            l.seen.is_alive() && l.asked_at >= from && until.is_none_or(|until| l.asked_at <= until)
        };
        let Some(proven) = self.looks.iter().filter(proof).map(|l| l.heard).max() else { return false };
        let silent = self.looks.iter().filter_map(Look::unanswered_at).max();
        silent
            .is_none_or(|at| at <= proven || self.looks.iter().any(|l| l.seen.is_alive() && l.asked_at >= at))
    }

    /// From when on an answer to a probe asked for at `asked_at` proves it alive: since the first of its tries was
    /// sent that can have caused it, when those before went unanswered. `rtt_us`: how long the answer was under
    /// way; without that it is not known whether the third try had left.
    pub fn answered_from(&self, asked_at: Time, rtt_us: Option<u32>) -> Time {
        let of_that = |l: &&Look| l.asked && l.asked_at == asked_at;
        let unanswered = |l: &Look| match l.seen {
            Seen::Silent(tries, false) => Some(usize::from(tries)),
            _ => None,
        };
        let tries = self.looks.iter().filter(of_that).filter_map(unanswered).max().unwrap_or(0);
        asked_at.plus_ms(TRIES_AT_MS[answered_try(tries, rtt_us)])
    }

    /// The latest moment for which an unanswered try shows it silent. A probe may have waited for its turn, so
    /// its tries are dated by when their silence was heard of.
    pub fn silent_at(&self) -> Option<Time> {
        let sent_at = |l: &Look| match l.seen {
            Seen::Silent(tries, _) if l.asked => {
                let waited_ms = TRY_WAITS_MS[usize::from(tries).clamp(1, TRY_WAITS_MS.len()) - 1];
                Some(l.heard.plus_ms(-waited_ms))
            }
            _ => None,
        };
        self.looks.iter().filter_map(sent_at).max()
    }

    /// The newest look that was not answered, if none later proves it alive.
    ///
    /// Who is asked all the time always has a look that has only begun. It takes nothing from one that found
    /// more silence and ended after it began: between the two there was no sign of life.
    pub fn silence(&self) -> Option<Look> {
        // A silence is ended by a sign of life heard after it was asked for, whoever asked for that.
        let lives = self.looks.iter().filter(|l| l.seen.is_alive());
        let dated = |l: &Look| l.asked || l.seen == Seen::NetwatchUp;
        let alive = lives.map(|l| if dated(l) { l.asked_at } else { l.heard }).max();
        let unanswered = || {
            self.looks.iter().filter(|l| match l.seen {
                Seen::Silent(..) | Seen::RouterSaysDown | Seen::NetwatchDown => {
                    alive.is_none_or(|at| l.asked_at > at)
                }
                Seen::Up | Seen::NetwatchUp | Seen::Nothing | Seen::Told => false,
            })
        };
        let newest = *unanswered().max_by_key(|l| (l.asked_at, l.heard, strength(l.seen)))?;
        let is_begun = matches!(newest.seen, Seen::Silent(_, false));
        let beside = |l: &&Look| {
            is_begun && l.asked && matches!(l.seen, Seen::Silent(..)) && l.heard >= newest.asked_at
        };
        let strongest = unanswered().filter(beside).max_by_key(|l| (strength(l.seen), l.asked_at));
        Some(strongest.map_or(newest, |l| Look { seen: l.seen, event: l.event, ..newest }))
    }

    /// The newest look asked for at `from` or later that found it silent to the end, if none since proves it alive.
    pub fn asked_silence(&self, from: Time) -> Option<&Look> {
        let alive = self.alive_at().map(|(at, _)| at);
        let silent = |l: &&Look| match l.seen {
            Seen::Silent(_, true) | Seen::RouterSaysDown => {
                l.asked && l.asked_at >= from && alive.is_none_or(|at| l.asked_at > at)
            }
            Seen::Silent(_, false)
            | Seen::NetwatchDown
            | Seen::Up
            | Seen::NetwatchUp
            | Seen::Nothing
            | Seen::Told => false,
        };
        self.looks.iter().filter(silent).max_by_key(|l| l.asked_at)
    }

    /// Whether a look at `from` or later found it silent for more than one try, whatever was seen of it since, and
    /// be it by the last try of the same look. One try alone may have been lost.
    pub fn was_silent_since(&self, from: Time) -> bool {
        let is_silent = |seen: Seen| matches!(seen, Seen::Silent(tries, ended) if ended || tries > 1);
        self.looks.iter().any(|l| is_silent(l.seen) && l.asked_at >= from)
    }

    /// Whether a look found it silent for more than one try, one of them sent between `from` and `until`.
    pub fn was_silent_between(&self, from: Time, until: Time) -> bool {
        let is_silent = |seen: Seen| matches!(seen, Seen::Silent(tries, _) if tries > 1);
        let overlaps = |l: &Look| l.asked_at <= until && l.unanswered_at().is_some_and(|last| last >= from);
        self.looks.iter().any(|l| l.asked && is_silent(l.seen) && overlaps(l))
    }

    /// What a look asked for at `at` or later ended with, if one has. A roll call ends when all is told.
    pub fn ended_since(&self, at: Time, roll_call: bool) -> Option<Seen> {
        let asked = self.looks.iter().rev().filter(|l| l.asked && l.asked_at >= at).map(|l| l.seen);
        asked.into_iter().find(|seen| match seen {
            Seen::Told | Seen::Silent(_, true) | Seen::Nothing => true,
            Seen::Up | Seen::RouterSaysDown | Seen::NetwatchDown => !roll_call,
            Seen::NetwatchUp | Seen::Silent(_, false) => false,
        })
    }
}

fn strength(seen: Seen) -> u8 {
    match seen {
        Seen::Up | Seen::NetwatchUp | Seen::Nothing | Seen::Told => 0,
        Seen::NetwatchDown => 1,
        Seen::Silent(tries, _) => tries,
        Seen::RouterSaysDown => u8::MAX,
    }
}
