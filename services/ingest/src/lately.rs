//! What each sender said last: its boot and how far its sequence came.
//!
//! A sequence far below the last one heard is a replay and is refused. But senders retry, and a router that could
//! not reach us for a while sends what it kept in any order. So "the last one heard" is what was heard
//! longer ago than retries last, which is also as long as the log knows an exact repeat by its id.
//! Until then a late sequence is taken, and those who decide see by themselves that it is overtaken.
//!
//! Boots have no order but that in which they were first heard of. A late message of an earlier boot that nobody
//! remembers would look like a new boot; so a boot that was taken for over and goes on counting
//! is believed after a few refusals.

use events::NodeId;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How far a sequence may lie behind.
const BEHIND_MAX: u64 = 1_000;

/// How many boots that are over are remembered of a sender.
const PAST_MAX: usize = 4;

/// A boot that was taken for over is believed after so many new sequences without one of the other.
const INSISTS: u32 = 8;

/// How many senders are remembered; about 300 bytes each.
const SENDERS_MAX: usize = 100_000;

/// When there is no room, senders that said nothing for so long are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Why a sequence is stale, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stale {
    /// So far came that boot's sequence.
    Behind(u64),
    /// Another boot has been heard of since.
    OldBoot,
}

/// What every sender said last. Each question and each note is short and under one lock.
#[derive(Debug)]
pub(crate) struct Lately {
    settles_after: Duration,
    senders: Mutex<Senders>,
}

#[derive(Debug, Default)]
struct Senders {
    known: HashMap<NodeId, Sender>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Sender {
    boot: String,
    /// The highest sequence heard in this window, by the end of the last one, and of the one before.
    now: u64,
    last: u64,
    settled: u64,
    window_began: Instant,
    heard: Instant,
    past: VecDeque<Past>,
}

#[derive(Debug)]
struct Past {
    boot: String,
    highest: u64,
    since: Instant,
    insisted: u32,
}

impl Sender {
    fn new(boot: &str, seq: u64, at: Instant) -> Self {
        Self {
            boot: boot.to_owned(),
            now: seq,
            last: 0,
            settled: 0,
            window_began: at,
            heard: at,
            past: VecDeque::new(),
        }
    }

    /// Windows follow one another; what was heard in a window is settled when the next one is over.
    fn turn(&mut self, settles_after: Duration, at: Instant) {
        let passed = at.saturating_duration_since(self.window_began);
        if passed < settles_after {
            return;
        }
        self.settled = if passed >= settles_after * 2 { self.now } else { self.last };
        self.last = self.now;
        self.window_began = at;
    }

    fn start(&mut self, boot: &str, seq: u64, at: Instant) {
        let over = std::mem::replace(&mut self.boot, boot.to_owned());
        self.past.retain(|past| past.boot != boot);
        self.past.push_back(Past { boot: over, highest: self.now, since: at, insisted: 0 });
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
        (self.now, self.last, self.settled, self.window_began) = (seq, 0, 0, at);
    }
}

impl Lately {
    /// Nothing was heard yet; what is heard counts as settled after `settles_after`.
    pub(crate) fn new(settles_after: Duration) -> Self {
        Self { settles_after, senders: Mutex::default() }
    }

    /// Whether `seq` of `boot` may still be news.
    ///
    /// # Errors
    ///
    /// [`Stale`] when it lies too far behind what was heard long enough ago.
    pub(crate) fn check(&self, sender: NodeId, boot: &str, seq: u64, at: Instant) -> Result<(), Stale> {
        // A panic elsewhere leaves nothing half-done in here.
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = senders.known.get_mut(&sender) else { return Ok(()) };
        if known.boot == boot {
            known.turn(self.settles_after, at);
            let behind = known.settled.saturating_sub(seq);
            return if behind > BEHIND_MAX { Err(Stale::Behind(known.settled)) } else { Ok(()) };
        }
        let Some(past) = known.past.iter_mut().find(|past| past.boot == boot) else { return Ok(()) };
        if at.saturating_duration_since(past.since) < self.settles_after {
            return Ok(());
        }
        if seq > past.highest {
            past.highest = seq;
            past.insisted += 1;
            if past.insisted >= INSISTS {
                known.start(boot, seq, at);
                return Ok(());
            }
        }
        Err(Stale::OldBoot)
    }

    /// Remembers that `seq` of `boot` was heard and is stored. Returns whether there was room to: of a sender that is not
    /// remembered nothing is refused as stale.
    pub(crate) fn note(&self, sender: NodeId, boot: &str, seq: u64, at: Instant) -> bool {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = senders.known.get_mut(&sender) {
            known.heard = at;
            if known.boot == boot {
                known.turn(self.settles_after, at);
                known.now = known.now.max(seq);
                known.past.iter_mut().for_each(|past| past.insisted = 0);
            } else if let Some(past) = known.past.iter_mut().find(|past| past.boot == boot) {
                past.highest = past.highest.max(seq);
            } else {
                known.start(boot, seq, at);
            }
            return true;
        }
        if senders.known.len() >= SENDERS_MAX {
            let is_due =
                senders.swept.is_none_or(|swept| at.saturating_duration_since(swept) > FORGET_AFTER / 10);
            if is_due {
                senders.known.retain(|_, known| at.saturating_duration_since(known.heard) < FORGET_AFTER);
                senders.swept = Some(at);
            }
        }
        let has_room = senders.known.len() < SENDERS_MAX;
        if has_room {
            senders.known.insert(sender, Sender::new(boot, seq, at));
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::TenantId;

    const SETTLES: Duration = Duration::from_secs(120);

    struct Told {
        lately: Lately,
        sender: NodeId,
        began: Instant,
    }

    fn told(settles_after: Duration) -> Told {
        let sender = NodeId::of(TenantId::of("hillside"), "core-1");
        Told { lately: Lately::new(settles_after), sender, began: Instant::now() }
    }

    impl Told {
        /// Hears `seq` of `boot` after `s` seconds, as the front door does.
        fn hears(&self, boot: &str, seq: u64, s: u64) -> Result<(), Stale> {
            let at = self.began + Duration::from_secs(s);
            self.lately.check(self.sender, boot, seq, at)?;
            assert!(self.lately.note(self.sender, boot, seq, at));
            Ok(())
        }
    }

    #[test]
    fn a_sequence_far_below_one_heard_long_ago_is_stale() {
        let told = told(SETTLES);
        told.hears("a", 5_000, 0).unwrap();
        assert_eq!(told.hears("a", 10, 300), Err(Stale::Behind(5_000)));
        told.hears("a", 4_000, 300).unwrap();
        told.hears("a", 5_001, 301).unwrap();
    }

    #[test]
    fn what_a_sender_kept_may_arrive_in_any_order_for_a_while() {
        let told = told(SETTLES);
        told.hears("a", 9_000, 0).unwrap();
        told.hears("a", 1, 1).unwrap();
        told.hears("a", 5, 119).unwrap();
        assert_eq!(told.hears("a", 6, 400), Err(Stale::Behind(9_000)));
    }

    #[test]
    fn without_a_time_to_settle_it_is_stale_at_once() {
        let told = told(Duration::ZERO);
        told.hears("a", 5_000, 0).unwrap();
        assert_eq!(told.hears("a", 1, 0), Err(Stale::Behind(5_000)));
        told.hears("b", 1, 0).unwrap();
        assert_eq!(told.hears("a", 5_001, 0), Err(Stale::OldBoot));
    }

    #[test]
    fn a_boot_that_is_over_is_stale_after_a_while() {
        let told = told(SETTLES);
        told.hears("a", 5, 0).unwrap();
        told.hears("b", 1, 10).unwrap();
        told.hears("a", 4, 60).unwrap();
        assert_eq!(told.hears("a", 4, 200), Err(Stale::OldBoot));
        told.hears("b", 2, 200).unwrap();
    }

    #[test]
    fn a_late_word_of_an_unknown_boot_does_not_lock_a_router_out() {
        let told = told(SETTLES);
        told.hears("now", 100, 0).unwrap();
        told.hears("long ago", 7, 1).unwrap();
        let refused = (101..120).filter(|seq| told.hears("now", *seq, 1_000).is_err()).count();
        assert_eq!(refused as u32, INSISTS - 1);
        assert_eq!(told.hears("long ago", 7, 2_000), Err(Stale::OldBoot));
    }

    #[test]
    fn a_replay_of_an_old_boot_never_makes_it_the_present_one() {
        let told = told(SETTLES);
        told.hears("a", 50, 0).unwrap();
        told.hears("b", 1, 10).unwrap();
        for _ in 0..100 {
            assert_eq!(told.hears("a", 50, 500), Err(Stale::OldBoot));
        }
        told.hears("b", 2, 501).unwrap();
    }

    #[test]
    fn of_senders_beyond_those_that_there_is_room_for_it_is_said_that_they_are_not_remembered() {
        let told = told(SETTLES);
        let tenant = TenantId::of("hillside");
        let full = (0..SENDERS_MAX)
            .all(|n| told.lately.note(NodeId::of(tenant, &n.to_string()), "boot", 5_000, told.began));
        assert!(full);
        assert!(!told.lately.note(NodeId::of(tenant, "one more"), "boot", 5_000, told.began));
        assert!(
            told.lately.note(NodeId::of(tenant, "7"), "boot", 5_001, told.began),
            "who is known stays so"
        );
        let later = told.began + FORGET_AFTER * 2;
        assert!(
            told.lately.note(NodeId::of(tenant, "one more"), "boot", 5_001, later),
            "the silent ones make room"
        );
    }
}
