//! What goes wrong on the way: with claims, with asks, with services.
//!
//! Everything is given in so many of a thousand, so that a story can be shortened one fault at a time.

use crate::rng::Rng;
use serde::{Deserialize, Serialize};

/// How often what goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// Claims that never arrive.
    pub claims_lost: u32,
    /// Claims that arrive twice.
    pub claims_doubled: u32,
    /// Claims that arrive late, and so in another order.
    pub claims_delayed: u32,
    /// How late at most, milliseconds.
    pub claims_delay_ms: i64,
    /// Routers whose scripts send neither boot nor sequence.
    pub routers_unnumbered: u32,
    /// Routers that keep what they could not send until they can.
    pub routers_parking: u32,
    /// Routers whose clock is wrong.
    pub routers_skewed: u32,
    /// Sessions whose old on-down script runs after the new on-up.
    pub sessions_crossed: u32,
    /// Asks that nobody ever answers.
    pub asks_lost: u32,
    /// Asks the poller says it could not finish.
    pub asks_unanswered: u32,
    /// Answers that come after the deadline.
    pub answers_late: u32,
    /// Answers that come twice.
    pub answers_doubled: u32,
    /// Roll calls of which a chunk is missing.
    pub chunks_lost: u32,
    /// First tries of probes that get lost although the target works.
    pub tries_lost: u32,
    /// Commits after which a service crashes.
    pub crashes: u32,
    /// Decisions that are lost because the service crashes before they are stored.
    pub commits_lost: u32,
    /// Decisions for which there is little room.
    pub rooms_small: u32,
    /// Deliveries that take up to two minutes.
    pub deliveries_slow: u32,
    /// Notices that somebody acknowledges.
    pub acknowledged: u32,
    /// Notices that somebody answers by closing the incident as wrong.
    pub closed_as_wrong: u32,
    /// Claims that it works that say that it works badly.
    pub claims_degraded: u32,
    /// Whether what a reload reads went through JSON.
    pub through_json: bool,
    /// Whether the poller takes a roll call when it first reaches a router.
    pub first_roll_calls: bool,
    /// Whether the poller takes a roll call when a router is back.
    pub roll_calls_on_return: bool,
    /// How often the poller takes roll calls by itself, seconds; 0 never.
    pub roll_calls_every_s: u32,
    /// How often the reconciler looks at each router, seconds: after two thirds to four thirds of it, and when a
    /// router is back. Then it has the last word, and no roll call. 0 never.
    pub visits_every_s: u32,
    /// At most so many inputs are decided upon at once.
    pub chunk: u32,
}

impl Default for Faults {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            claims_lost: 0,
            claims_doubled: 0,
            claims_delayed: 0,
            claims_delay_ms: 0,
            routers_unnumbered: 0,
            routers_parking: 0,
            routers_skewed: 0,
            sessions_crossed: 0,
            asks_lost: 0,
            asks_unanswered: 0,
            answers_late: 0,
            answers_doubled: 0,
            chunks_lost: 0,
            tries_lost: 0,
            crashes: 0,
            commits_lost: 0,
            rooms_small: 0,
            deliveries_slow: 0,
            acknowledged: 0,
            closed_as_wrong: 0,
            claims_degraded: 0,
            through_json: false,
            first_roll_calls: true,
            roll_calls_on_return: false,
            roll_calls_every_s: 0,
            visits_every_s: 0,
            chunk: 200,
        }
    }
}

impl Faults {
    /// Whether everything that is claimed, asked and answered arrives, and in time.
    pub fn nothing_is_lost(&self) -> bool {
        let claims = [self.claims_lost, self.claims_delayed, self.sessions_crossed];
        claims.iter().all(|often| *often == 0) && self.everything_is_answered()
    }

    /// Whether everything that is asked is answered, and in time.
    pub fn everything_is_answered(&self) -> bool {
        let asks =
            [self.asks_lost, self.asks_unanswered, self.answers_late, self.chunks_lost, self.tries_lost];
        asks.iter().all(|often| *often == 0)
    }

    /// The faults of `seed`: none in one of ten, a crash after every commit in one of a hundred.
    pub fn any(rng: &mut Rng, seed: u64) -> Self {
        let mut some = |most: i64, otherwise: u32| {
            if rng.chance(500) { rng.between(0, most) as u32 } else { otherwise }
        };
        let mut faults = Self {
            claims_lost: some(300, 100),
            claims_doubled: some(300, 100),
            claims_delayed: some(300, 50),
            claims_delay_ms: 0,
            routers_unnumbered: some(1_000, 0),
            routers_parking: some(1_000, 0),
            routers_skewed: some(100, 0),
            sessions_crossed: some(100, 0),
            asks_lost: some(150, 10),
            asks_unanswered: some(150, 10),
            answers_late: some(100, 5),
            answers_doubled: some(100, 20),
            chunks_lost: some(100, 0),
            tries_lost: some(30, 0),
            crashes: 20,
            commits_lost: 10,
            rooms_small: some(300, 0),
            deliveries_slow: some(200, 50),
            acknowledged: some(500, 0),
            ..Self::default()
        };
        faults.claims_delay_ms = rng.log_between(1_000, 300_000);
        faults.through_json = rng.chance(50);
        faults.first_roll_calls = rng.chance(700);
        faults.roll_calls_on_return = rng.chance(300);
        faults.roll_calls_every_s = if rng.chance(300) { rng.between(120, 900) as u32 } else { 0 };
        faults.chunk = *rng.pick(&[1, 3, 20, 200, 1_000]);
        let mut more = rng.fork(6);
        faults.closed_as_wrong = if more.chance(250) { more.between(0, 400) as u32 } else { 0 };
        faults.claims_degraded = if more.chance(250) { more.between(0, 500) as u32 } else { 0 };
        if seed % 10 == 5 {
            faults =
                Self { chunk: faults.chunk, first_roll_calls: faults.first_roll_calls, ..Self::default() };
        }
        faults.visits_every_s = if more.chance(200) { more.between(600, 3_600) as u32 } else { 0 };
        if seed.is_multiple_of(100) {
            faults.crashes = 1_000;
            faults.chunk = faults.chunk.max(20);
        }
        faults
    }
}
