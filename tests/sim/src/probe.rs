//! The poller's answers to asks: three tries within two seconds, and what goes wrong with them.
//!
//! A try that goes unanswered is told 0.4 s after it left, and at the end (2.0 s) that no more will
//! follow. Through a router at most eight are under way at once.

use crate::{
    agenda::Agenda,
    fault::Faults,
    net::{Net, SECOND_US},
    rng::Rng,
    run::Ev,
};
use events::{Ask, AskId, Outcome, Question, SessionState, Time, Vantage};

/// At most so many probes through one router at once (design, "The walk").
const AT_ONCE: u32 = 8;

/// A step of a probe.
#[derive(Debug, Clone, Copy)]
pub struct ProbeStep {
    /// When, microseconds after the start.
    pub at_us: i64,
    /// Whether a try leaves.
    pub sends: bool,
    /// How many tries have gone unanswered by then, where that is told.
    pub unanswered: Option<u8>,
}

const fn step(at_us: i64, sends: bool, unanswered: Option<u8>) -> ProbeStep {
    ProbeStep { at_us, sends, unanswered }
}

/// The rhythm of a probe: three tries, what is told of them, and the end.
pub const STEPS: [ProbeStep; 5] = [
    step(0, true, None),
    step(400_000, true, Some(1)),
    step(800_000, false, Some(2)),
    step(1_000_000, true, None),
    step(2 * SECOND_US, false, Some(3)),
];

/// One probe under way.
#[derive(Debug)]
pub struct Probe {
    net: u8,
    ask: Ask,
    target: u32,
    through: Option<u32>,
    lost_first: bool,
    over: bool,
    counted: bool,
    /// Whether the router answered the try before.
    router_answered: bool,
}

/// Every probe there was.
#[derive(Debug, Default)]
pub struct Poller {
    probes: Vec<Probe>,
}

impl Poller {
    /// An ask reaches the poller.
    pub fn hear(
        &mut self,
        agenda: &mut Agenda<Ev>,
        net: &mut Net,
        ask: &Ask,
        faults: &Faults,
        rng: &mut Rng,
    ) {
        if rng.chance(faults.asks_lost) {
            return;
        }
        let known = net.by_id.get(&ask.target).copied();
        let Some(target) = known.filter(|t| !net.world.things[*t as usize].absent) else {
            return self.unanswered(agenda, net, ask, 0, "no such thing", 10_000);
        };
        if rng.chance(faults.asks_unanswered) {
            return self.unanswered(agenda, net, ask, target, "out of sockets", 500_000);
        }
        let through = match &ask.question {
            Question::PingThrough { router } | Question::Session { router, .. } => {
                match net.by_id.get(router).copied().filter(|r| net.routers.contains_key(r)) {
                    Some(router) => Some(router),
                    None => return self.unanswered(agenda, net, ask, target, "no such router", 10_000),
                }
            }
            Question::Reach { .. } => {
                let thing = &net.world.things[target as usize];
                if thing.watch_s.is_none() && !thing.role.is_router() {
                    return self.unanswered(agenda, net, ask, target, "no way to it from here", 10_000);
                }
                None
            }
            Question::RollCall { .. } if net.routers.contains_key(&target) => None,
            Question::RollCall { .. } => {
                return self.unanswered(agenda, net, ask, target, "no router", 10_000);
            }
        };
        let probe = self.probes.len() as u32;
        let lost_first = rng.chance(faults.tries_lost);
        self.probes.push(Probe {
            net: net.no,
            ask: ask.clone(),
            target,
            through,
            lost_first,
            over: false,
            counted: false,
            router_answered: true,
        });
        agenda.after(rng.between(1_000, 30_000), Ev::Try { probe, n: 0 });
    }

    fn unanswered(&self, agenda: &mut Agenda<Ev>, net: &mut Net, ask: &Ask, about: u32, why: &str, us: i64) {
        let outcome = Outcome::Unanswered { why: why.into() };
        net.answer(agenda, Some((ask.id, ask.at)), about, Vantage::Direct, outcome, us);
    }

    /// Which network a probe belongs to.
    pub fn net_of(&self, probe: u32) -> usize {
        usize::from(self.probes[probe as usize].net)
    }

    /// A step of a probe: a try leaves, or what became of those before is told.
    pub fn attempt(
        &mut self,
        agenda: &mut Agenda<Ev>,
        net: &mut Net,
        no: u32,
        n: u8,
        faults: &Faults,
        rng: &mut Rng,
    ) {
        let probe = &mut self.probes[no as usize];
        if probe.over {
            return;
        }
        let now = agenda.now_us();
        let deadline = probe.ask.deadline.us();
        if n == 0 {
            if now + 1_500_000 > deadline {
                // Too late to be of use to anybody.
                probe.over = true;
                let ask = probe.ask.clone();
                let target = probe.target;
                return self.unanswered(agenda, net, &ask, target, "no time left", (deadline - now).max(0));
            }
            if let Some(router) = probe.through.and_then(|r| net.routers.get_mut(&r)) {
                if router.busy >= AT_ONCE {
                    agenda.after(50_000, Ev::Try { probe: no, n: 0 });
                    return;
                }
                router.busy += 1;
                probe.counted = true;
            }
        }
        let lost = n == 0 && probe.lost_first || !STEPS[usize::from(n)].sends;
        let router_works = probe.through.is_none_or(|r| net.supply.works[r as usize]);
        let works = router_works && net.supply.works[probe.target as usize];
        let via = probe.through.map_or(Vantage::Direct, |r| Vantage::Through(net.ids[r as usize]));
        let (id, target) = ((probe.ask.id, probe.ask.at), probe.target);
        let step = STEPS[usize::from(n)];
        let last = usize::from(n) + 1 == STEPS.len();
        let answered = probe.router_answered;
        if step.sends {
            probe.router_answered = router_works;
        }
        if let Some(tries) = step.unanswered {
            let outcome = if answered {
                Outcome::Silent { tries, last }
            } else {
                Outcome::RouterSilent { tries, last }
            };
            Self::say(agenda, net, id, target, via, &outcome, 0, deadline, faults, rng);
        }
        let probe = &self.probes[no as usize];
        let settled = match &probe.ask.question {
            Question::Reach { .. } | Question::PingThrough { .. } if works && !lost => {
                let rtt_us = rng.between(300, 60_000);
                Some((Outcome::Replied { rtt_us: rtt_us as u32 }, rtt_us + 5_000))
            }
            Question::Session { router, keys } if router_works && !lost => {
                let router = net.by_id.get(router).copied().unwrap_or(u32::MAX);
                let present = keys
                    .iter()
                    .any(|key| net.by_key.get(key).is_some_and(|thing| net.has_session(*thing, router)));
                let state = if present { SessionState::Present } else { SessionState::Absent };
                Some((Outcome::Session { state }, rng.between(6_000, 80_000)))
            }
            Question::RollCall { whole } if works && !lost => {
                let whole = *whole;
                self.finish(net, no);
                return Self::roll_call(agenda, net, Some(id), target, whole, faults, rng);
            }
            Question::Reach { .. }
            | Question::PingThrough { .. }
            | Question::Session { .. }
            | Question::RollCall { .. } => None,
        };
        if let Some((outcome, took_us)) = settled {
            self.finish(net, no);
            Self::say(agenda, net, id, target, via, &outcome, took_us, deadline, faults, rng);
            return;
        }
        if last {
            self.finish(net, no);
        } else {
            let wait = STEPS[usize::from(n) + 1].at_us - step.at_us;
            let at = (now + wait).min((deadline - 50_000).max(now + 1));
            agenda.at(at, Ev::Try { probe: no, n: n + 1 });
        }
    }

    fn finish(&mut self, net: &mut Net, no: u32) {
        let probe = &mut self.probes[no as usize];
        probe.over = true;
        if std::mem::take(&mut probe.counted)
            && let Some(router) = probe.through.and_then(|r| net.routers.get_mut(&r))
        {
            router.busy -= 1;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one answer has so many sides")]
    fn say(
        agenda: &mut Agenda<Ev>,
        net: &mut Net,
        id: (AskId, Time),
        target: u32,
        via: Vantage,
        outcome: &Outcome,
        took_us: i64,
        deadline_us: i64,
        faults: &Faults,
        rng: &mut Rng,
    ) {
        let mut delay = took_us + rng.between(500, 5_000);
        if rng.chance(faults.answers_late) {
            delay = (deadline_us - agenda.now_us()).max(0) + rng.between(1_000, 5 * SECOND_US);
        }
        net.answer(agenda, Some(id), target, via, outcome.clone(), delay);
        if rng.chance(faults.answers_doubled) {
            let later = delay + rng.between(1_000, SECOND_US);
            net.answer(agenda, Some(id), target, via, outcome.clone(), later);
        }
    }

    /// The poller says what a router knows.
    pub fn roll_call(
        agenda: &mut Agenda<Ev>,
        net: &mut Net,
        ask: Option<(AskId, Time)>,
        router: u32,
        whole: bool,
        faults: &Faults,
        rng: &mut Rng,
    ) {
        let chunks = net.roll_call(agenda.now_us(), router, whole);
        let missing = rng.chance(faults.chunks_lost).then(|| rng.below(chunks.len() as u64) as usize);
        if missing.is_some() {
            net.forget_roll_call(router);
        }
        let mut delay = rng.between(20_000, 500_000);
        for (i, chunk) in chunks.into_iter().enumerate() {
            delay += rng.between(0, 20_000);
            if missing != Some(i) {
                net.answer(agenda, ask, router, Vantage::Direct, Outcome::RollCall(chunk), delay);
            }
        }
    }
}
