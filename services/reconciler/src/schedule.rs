//! Which router is looked at when.
//!
//! Every router has turns of its own: the time between two is two thirds to four thirds of the interval, and
//! follows from its id and the number of the turn, so that a thousand routers never come together. A router
//! that could not be looked at is tried again sooner, each time twice as late; one whose session was lost is
//! looked at as soon as it is back.

use crate::visit::{Ended, Job, Why};
use events::{EventId, NodeId, TenantId};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// How much time each router of slots that were just gained adds to the time in which they are looked at first.
const FIRST_EACH: Duration = Duration::from_millis(250);
/// Within what part of the interval that is at most.
const FIRST_WITHIN: u32 = 10;
/// And within what time at most.
const FIRST_WITHIN_MAX: Duration = Duration::from_secs(300);
/// After how long a router whose session was lost is looked at, at most.
const LOST_WITHIN: Duration = Duration::from_secs(10);

/// When routers are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The mean time between two looks.
    pub(crate) every: Duration,
    /// After how long a failed look is repeated first.
    pub(crate) retry_first: Duration,
    /// The longest time it is put off.
    pub(crate) retry_most: Duration,
}

/// One router's turns.
#[derive(Debug)]
struct Turn {
    tenant: TenantId,
    due: Instant,
    why: Why,
    round: u64,
    failures: u32,
    is_running: bool,
    ordered: Option<Asked>,
    /// What the look that is under way, or was last, follows from.
    under_way: Option<Asked>,
    /// What was ordered of a look that was broken off: for the next one, when that is due.
    left: Option<Asked>,
    /// The turn that a look which may change nothing has come before: it is still to be taken.
    put_before: Option<(Instant, Why)>,
    was_connected: bool,
}

/// What somebody wants of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The order.
    pub(crate) event: EventId,
    /// Whether the router may be changed.
    pub(crate) writes: bool,
    /// Whether it is asked whom it sees.
    pub(crate) scans: bool,
}

impl Asked {
    /// The router is to be changed.
    pub(crate) fn change(event: EventId) -> Self {
        Self { event, writes: true, scans: false }
    }
}

/// All routers' turns.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    turns: HashMap<NodeId, Turn>,
}

impl Schedule {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, turns: HashMap::new() }
    }

    /// These are the routers now. Who is new is looked at soon: at once if `is_known` says that its slot was
    /// ours before, else by and by.
    pub(crate) fn keep(
        &mut self,
        routers: &HashMap<NodeId, TenantId>,
        is_known: impl Fn(NodeId) -> bool,
        now: Instant,
    ) {
        self.turns.retain(|router, turn| routers.contains_key(router) || turn.is_running);
        let count = u32::try_from(routers.len()).unwrap_or(u32::MAX);
        let first_within =
            (FIRST_EACH.saturating_mul(count)).min(self.pace.every / FIRST_WITHIN).min(FIRST_WITHIN_MAX);
        for (router, tenant) in routers {
            self.turns.entry(*router).or_insert_with(|| {
                let wait = if is_known(*router) { Duration::ZERO } else { first_within };
                Turn {
                    tenant: *tenant,
                    due: now + wait.mul_f64(share(*router, 0)),
                    why: Why::Schedule,
                    round: 0,
                    failures: 0,
                    is_running: false,
                    ordered: None,
                    under_way: None,
                    left: None,
                    put_before: None,
                    was_connected: false,
                }
            });
        }
    }

    /// Whether a router is one of ours.
    pub(crate) fn has(&self, router: NodeId) -> bool {
        self.turns.contains_key(&router)
    }

    /// How many routers there are.
    pub(crate) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Somebody wants a router to be looked at now; false when it is none of ours. An order to change something is
    /// not forgotten for one only to look.
    pub(crate) fn order(&mut self, router: NodeId, ordered: Asked) -> bool {
        let Some(turn) = self.turns.get_mut(&router) else { return false };
        let before = turn.ordered.filter(|before| before.event != ordered.event);
        turn.ordered = Some(Asked {
            writes: ordered.writes || before.is_some_and(|before| before.writes),
            scans: ordered.scans || before.is_some_and(|before| before.scans),
            ..ordered
        });
        true
    }

    /// The looks that are to be taken now, the most overdue first, at most `most`; and how late they are.
    pub(crate) fn due(&mut self, now: Instant, most: usize) -> Vec<(Job, Duration)> {
        let mut due: Vec<(Instant, NodeId)> = self
            .turns
            .iter()
            .filter(|(_, turn)| !turn.is_running && (turn.due <= now || turn.ordered.is_some()))
            .map(|(router, turn)| {
                (if turn.ordered.is_some() { turn.due.min(now) } else { turn.due }, *router)
            })
            .collect();
        due.sort();
        due.truncate(most);
        due.into_iter()
            .filter_map(|(at, router)| {
                let turn = self.turns.get_mut(&router)?;
                turn.is_running = true;
                let left = turn.left.take();
                let ordered = turn.ordered.take().or(left);
                turn.under_way = ordered;
                turn.put_before = ordered.filter(|ordered| !ordered.writes).map(|_| (turn.due, turn.why));
                let job = Job {
                    tenant: turn.tenant,
                    router,
                    why: if ordered.is_some() { Why::Order } else { turn.why },
                    cause: ordered.map(|ordered| ordered.event),
                    writes: ordered.is_none_or(|ordered| ordered.writes),
                    scans: ordered.is_some_and(|ordered| ordered.scans),
                };
                Some((job, now.saturating_duration_since(at)))
            })
            .collect()
    }

    /// A look has ended.
    pub(crate) fn ended(&mut self, router: NodeId, ended: Ended, now: Instant) {
        let pace = self.pace;
        let Some(turn) = self.turns.get_mut(&router) else { return };
        turn.is_running = false;
        turn.round += 1;
        let regular = interval(router, turn.round, pace.every);
        let put_off = |failures: u32| {
            let doubled = pace.retry_first.saturating_mul(1 << failures.min(20));
            let most = doubled.min(pace.retry_most);
            most.mul_f64(0.5 + share(router, turn.round) / 2.0).min(regular)
        };
        let (wait, why) = match ended {
            Ended::Looked { again_in } => {
                turn.failures = 0;
                // It was a moment ago; if it is not any more, the next look at all sessions tells.
                turn.was_connected = true;
                let again_in = again_in.map(|again_in| again_in + pace.retry_first.mul_f64(share(router, 0)));
                (again_in.unwrap_or(regular).min(regular), Why::Schedule)
            }
            Ended::Idle => {
                turn.failures = 0;
                (regular, Why::Schedule)
            }
            Ended::BrokenOff => {
                // What was ordered is done by the look that takes it up again.
                turn.left = turn.under_way;
                let soon = pace.retry_first.mul_f64(0.5 + share(router, turn.round) / 2.0);
                (soon.min(regular), Why::Schedule)
            }
            Ended::Failed => (put_off(turn.failures), Why::Reconnect),
            Ended::Rejected => (pace.retry_most.min(regular), Why::Reconnect),
        };
        if ended == Ended::Failed {
            turn.failures = turn.failures.saturating_add(1);
        }
        let next = (now + wait, why);
        (turn.due, turn.why) = turn.put_before.take().filter(|(due, _)| *due < next.0).unwrap_or(next);
    }

    /// Looks whether sessions were lost: those routers are looked at as soon as they are back.
    pub(crate) fn connected(&mut self, is_connected: impl Fn(NodeId) -> bool, now: Instant) {
        for (router, turn) in self.turns.iter_mut().filter(|(_, turn)| !turn.is_running) {
            let is_connected = is_connected(*router);
            if turn.was_connected && !is_connected {
                let back = now + LOST_WITHIN.min(self.pace.every / 2).mul_f64(share(*router, turn.round));
                if back < turn.due {
                    (turn.due, turn.why) = (back, Why::Reconnect);
                }
            }
            turn.was_connected = is_connected;
        }
    }
}

/// How long after turn `round` of a router the next one comes.
fn interval(router: NodeId, round: u64, every: Duration) -> Duration {
    every.mul_f64((2.0 + 2.0 * share(router, round)) / 3.0)
}

/// A share of one that follows from a router and a number; evenly spread. Constants: FNV-1a, 64 bit.
fn share(router: NodeId, round: u64) -> f64 {
    let bytes = router.0.as_bytes().iter().copied().chain(round.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    // The low bits of the last byte reach the top only by a further mixing.
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn pace() -> Pace {
        Pace {
            every: Duration::from_secs(2_700),
            retry_first: Duration::from_secs(10),
            retry_most: Duration::from_secs(600),
        }
    }

    fn router(n: usize) -> NodeId {
        NodeId::of(TenantId::of("hillside"), &format!("core-{n}"))
    }

    fn routers(count: usize) -> HashMap<NodeId, TenantId> {
        (0..count).map(|n| (router(n), TenantId::of("hillside"))).collect()
    }

    /// Requirements, R11: every 30 to 60 minutes.
    #[test]
    fn a_thousand_routers_are_looked_at_every_30_to_60_minutes_and_never_together() {
        let began = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.keep(&routers(1_000), |_| false, began);
        let mut last: HashMap<NodeId, Instant> = HashMap::new();
        let mut most = 0;
        for second in 0..6 * 3_600 {
            let now = began + Duration::from_secs(second);
            let due = schedule.due(now, usize::MAX);
            if now > began + HOUR {
                most = most.max(due.len());
            }
            for (job, _) in due {
                let before = last.insert(job.router, now);
                if let Some(before) = before {
                    let minutes = (now - before).as_secs_f64() / 60.0;
                    assert!((29.9..=60.1).contains(&minutes), "{minutes}");
                }
                schedule.ended(job.router, Ended::Looked { again_in: None }, now);
            }
        }
        assert_eq!(last.len(), 1_000);
        assert!(most <= 6, "{most} in one second");
    }

    #[test]
    fn who_could_not_be_looked_at_is_tried_again_each_time_later() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.keep(&routers(1), |_| true, now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(schedule.due(now, 9).len(), 1);
            schedule.ended(router(0), Ended::Failed, now);
            let before = now;
            while schedule.due(now, 0).is_empty() && schedule.turns[&router(0)].due > now {
                now += Duration::from_secs(1);
            }
            waits.push((now - before).as_secs());
        }
        assert!(waits[0] <= 10 && waits.iter().all(|wait| *wait <= 600), "{waits:?}");
        assert!(waits[8] >= 300, "{waits:?}");
    }

    #[test]
    fn what_was_broken_off_is_not_held_against_the_router() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.keep(&routers(1), |_| true, now);
        for _ in 0..9 {
            assert_eq!(schedule.due(now, 9).len(), 1);
            schedule.ended(router(0), Ended::BrokenOff, now);
            now += pace().retry_first;
        }
        assert_eq!(schedule.due(now, 9).len(), 1, "however often, it is looked at as soon again");
        schedule.ended(router(0), Ended::Failed, now);
        assert!(schedule.turns[&router(0)].due <= now + pace().retry_first, "its first failure is its first");
    }

    #[test]
    fn an_order_whose_look_was_broken_off_is_taken_up_by_the_next_look() {
        let now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.keep(&routers(1), |_| true, now);
        let event = EventId(uuid::Uuid::from_u128(1));
        assert!(schedule.order(router(0), Asked { event, writes: false, scans: true }));
        assert_eq!(schedule.due(now, 9).len(), 1);
        schedule.ended(router(0), Ended::BrokenOff, now);
        let jobs = schedule.due(now + pace().retry_first, 9);
        assert!(jobs[0].0.scans && !jobs[0].0.writes && jobs[0].0.cause == Some(event), "{jobs:?}");
        schedule.ended(router(0), Ended::Looked { again_in: None }, now);
        let later = schedule.due(now + Duration::from_secs(86_400), 9);
        assert!(!later[0].0.scans, "it is done once");
    }

    #[test]
    fn an_order_comes_first_and_one_to_change_something_is_not_forgotten_for_one_to_look() {
        let now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.keep(&routers(3), |_| true, now);
        for (job, _) in schedule.due(now, 9) {
            schedule.ended(job.router, Ended::Looked { again_in: None }, now);
        }
        let order = EventId::following(EventId::default(), "test", "order");
        let wants = |event, writes, scans| Asked { event, writes, scans };
        assert!(schedule.order(router(1), wants(EventId::default(), true, false)));
        assert!(schedule.order(router(1), wants(order, false, true)));
        assert!(!schedule.order(router(7), wants(order, true, false)));
        let due = schedule.due(now, 9);
        let [(job, _)] = due.as_slice() else { panic!("{due:?}") };
        assert_eq!((job.router, job.cause, job.writes, job.why), (router(1), Some(order), true, Why::Order));
        assert!(job.scans);
    }

    #[test]
    fn an_order_only_to_look_does_not_put_off_the_look_that_changes() {
        let now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.keep(&routers(1), |_| true, now);
        let order = EventId::following(EventId::default(), "test", "order");
        assert!(schedule.order(router(0), Asked { event: order, writes: false, scans: true }));
        let due = schedule.due(now, 9);
        assert_eq!((due.len(), due[0].0.writes), (1, false));
        schedule.ended(router(0), Ended::Looked { again_in: None }, now);
        let due = schedule.due(now, 9);
        assert_eq!((due.len(), due[0].0.writes, due[0].0.why), (1, true, Why::Schedule));
        schedule.ended(router(0), Ended::Looked { again_in: None }, now);
        assert!(schedule.due(now, 9).is_empty());
    }

    #[test]
    fn who_lost_its_session_is_looked_at_soon() {
        let now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.keep(&routers(2), |_| true, now);
        for (job, _) in schedule.due(now, 9) {
            schedule.ended(job.router, Ended::Looked { again_in: None }, now);
        }
        schedule.connected(|id| id != router(0), now);
        let due = schedule.due(now + LOST_WITHIN, 9);
        assert_eq!(
            due.iter().map(|(job, _)| (job.router, job.why)).collect::<Vec<_>>(),
            [(router(0), Why::Reconnect)]
        );
    }
}
