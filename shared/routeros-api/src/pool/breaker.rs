//! When a router that fails is tried again: a circuit breaker.
//!
//! *Closed*: whoever asks has a session made; after a failure the next attempt waits a little. After several failures it is
//! *open*: whoever asks is refused at once. When that time is over, or when somebody needs evidence about now, one attempt is
//! made while it is *half-open*: a login closes it, a failure opens it for longer.
//!
//! Without clock, chance and network: times and waits are given. That only one attempt is under way at once is the
//! pool's matter.

use std::time::Duration;

use tokio::time::Instant;

/// Whether a router is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// It is, by whoever asks.
    Closed,
    /// It is not: the last attempts failed. It stays so until an attempt is made.
    Open,
    /// One attempt decides.
    HalfOpen,
}

/// What one may do who needs a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Make an attempt, or join the one that there is.
    Go,
    /// Wait until then.
    Wait(Instant),
    /// Go away, it is open until then.
    Rest(Instant),
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// One of those that may go away by themselves.
    Passing,
    /// One that trying again makes worse: it opens the circuit at once.
    Rejected,
}

/// The breaker of one router.
#[derive(Debug)]
pub(super) struct Breaker {
    circuit: Circuit,
    failures_count: u32,
    /// No attempt before then unless somebody insists.
    until: Option<Instant>,
}

impl Breaker {
    /// Closed, and nothing speaks against an attempt.
    pub(super) fn new() -> Self {
        Self { circuit: Circuit::Closed, failures_count: 0, until: None }
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Failures since the last good session.
    pub(super) fn failures_count(&self) -> u32 {
        self.failures_count
    }

    /// What one may do who `insists` or does not.
    pub(super) fn entry(&self, now: Instant, insists: bool) -> Entry {
        match (self.until.filter(|until| now < *until && !insists), self.circuit) {
            (None, _) | (Some(_), Circuit::HalfOpen) => Entry::Go,
            (Some(until), Circuit::Closed) => Entry::Wait(until),
            (Some(until), Circuit::Open) => Entry::Rest(until),
        }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        if self.circuit == Circuit::Open {
            self.circuit = Circuit::HalfOpen;
        }
    }

    /// It let us in. Its failures are forgotten only when the session has [proved](Self::proved) itself.
    pub(super) fn succeeded(&mut self) {
        self.circuit = Circuit::Closed;
        self.until = None;
    }

    /// A session has lasted.
    pub(super) fn proved(&mut self) {
        self.failures_count = 0;
    }

    /// Counts one more failure; gives how many there are in a row.
    pub(super) fn count(&mut self) -> u32 {
        self.failures_count = self.failures_count.saturating_add(1);
        self.failures_count
    }

    /// A failure that was counted keeps everybody out for `wait`; from `opens_after` failures on, or when it was the attempt
    /// that decides, the circuit is open.
    pub(super) fn failed(&mut self, now: Instant, wait: Duration, opens_after: u32, failure: Failure) {
        let opens = self.circuit != Circuit::Closed
            || self.failures_count >= opens_after
            || failure == Failure::Rejected;
        self.circuit = if opens { Circuit::Open } else { Circuit::Closed };
        self.until = now.checked_add(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const OPENS_AFTER: u32 = 3;

    fn fail(breaker: &mut Breaker, now: Instant, wait: Duration) {
        breaker.begin();
        breaker.count();
        breaker.failed(now, wait, OPENS_AFTER, Failure::Passing);
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        (0..OPENS_AFTER).for_each(|_| fail(&mut breaker, now, SECOND));
        breaker
    }

    #[test]
    fn closed_it_waits_and_after_three_failures_it_opens() {
        let (now, mut breaker) = (Instant::now(), Breaker::new());
        assert_eq!(breaker.entry(now, false), Entry::Go);
        for _ in 1..OPENS_AFTER {
            fail(&mut breaker, now, SECOND);
            assert_eq!(breaker.circuit(), Circuit::Closed);
            assert_eq!(breaker.entry(now, false), Entry::Wait(now + SECOND));
        }
        fail(&mut breaker, now, SECOND);
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.entry(now, false), Entry::Rest(now + SECOND));
        assert_eq!(breaker.entry(now, true), Entry::Go, "evidence about now is always to be had");
        assert_eq!(breaker.entry(now + SECOND, false), Entry::Go);
        assert_eq!(breaker.circuit(), Circuit::Open, "open until somebody tries");
    }

    #[test]
    fn half_open_a_login_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.begin();
        assert_eq!((breaker.circuit(), breaker.entry(now, false)), (Circuit::HalfOpen, Entry::Go));
        breaker.succeeded();
        assert_eq!((breaker.circuit(), breaker.entry(now, false)), (Circuit::Closed, Entry::Go));
        assert_eq!(breaker.failures_count(), OPENS_AFTER, "a login alone proves little");
        breaker.proved();
        assert_eq!(breaker.failures_count(), 0);
    }

    #[test]
    fn half_open_a_failure_opens_it_again() {
        let now = Instant::now();
        let mut breaker = opened(now);
        fail(&mut breaker, now + SECOND, 2 * SECOND);
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.entry(now + 2 * SECOND, false), Entry::Rest(now + 3 * SECOND));
    }

    #[test]
    fn a_rejected_login_opens_it_at_once() {
        let (now, mut breaker) = (Instant::now(), Breaker::new());
        breaker.begin();
        breaker.count();
        breaker.failed(now, 300 * SECOND, OPENS_AFTER, Failure::Rejected);
        assert_eq!(breaker.entry(now, false), Entry::Rest(now + 300 * SECOND));
        // The attempt that decides fails otherwise: it does not count as the second of three.
        fail(&mut breaker, now, SECOND);
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    proptest! {
        /// Whatever happens: nobody waits for ever, an open one was failing, and a login always closes it.
        #[test]
        fn it_always_lets_somebody_in_in_the_end(steps in prop::collection::vec(0_u8..6, 0..60)) {
            let start = Instant::now();
            let (mut now, mut breaker) = (start, Breaker::new());
            for step in steps {
                match step {
                    0 => now += SECOND,
                    1 | 2 => fail(&mut breaker, now, 2 * SECOND),
                    3 => { breaker.begin(); breaker.succeeded(); }
                    4 => breaker.proved(),
                    _ => breaker.begin(),
                }
                prop_assert_eq!(breaker.entry(now, true), Entry::Go);
                prop_assert_eq!(breaker.entry(now + 2 * SECOND, false), Entry::Go);
                if let Entry::Rest(until) = breaker.entry(now, false) {
                    prop_assert!(breaker.circuit() == Circuit::Open && until > now);
                }
            }
            breaker.begin();
            breaker.succeeded();
            prop_assert_eq!((breaker.circuit(), breaker.entry(now, false)), (Circuit::Closed, Entry::Go));
        }
    }
}
