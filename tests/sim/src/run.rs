//! One story from beginning to end.
//!
//! Import, script, until nothing more is said; then one undisturbed roll call of every router that
//! answers, and again until nothing more is said. Then the oracle judges.
//!
//! `seat` the deciders and their crashes, `people` who acts on what they say, `inventory` what the console lays down.

mod inventory;
mod people;
mod refold;
mod seat;

use self::seat::{Doing, Seat};
use crate::{
    agenda::Agenda,
    bus::{Bus, Entry, Place},
    crew::Member,
    fault::Faults,
    net::{Net, SECOND_US},
    oracle,
    probe::Poller,
    rng::Rng,
    script::Script,
    story::{Part, Story},
    trace, visit,
    world::World,
};
use events::{
    EventId, Fact, IncidentId, IncidentState, NoticeId, Noun, Order, OrderId, OrderSaid, Say, TenantId, Time,
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};
use uuid::Uuid;

/// Which network of a run.
pub type NetNo = u8;

/// When every run begins: 2026-11-20T09:46:40Z.
const START_US: i64 = 1_795_168_000_000_000;
/// Nothing said for so long, and no timer due so soon: quiet. More than escalation and recall take.
const QUIET_US: i64 = 17 * 60 * SECOND_US;
/// Nothing said for so long: quiet, although a timer is due. What is down may be looked at again every hour.
const LONG_QUIET_US: i64 = 70 * 60 * SECOND_US;
/// Quiet must come within so long.
const QUIET_WITHIN_US: i64 = 8 * 3_600 * SECOND_US;
/// Stories, of a thousand, in which the inventory changes meanwhile.
const CHANGED_INVENTORIES: u32 = 250;
/// What can happen next.
#[allow(missing_docs, reason = "the fields are named after what they number")]
#[derive(Debug)]
pub enum Ev {
    /// A step of a script.
    Step { net: NetNo, step: usize },
    /// Something reaches the log.
    Publish(Box<Say>),
    /// A router looks at a child, or a session ends or begins.
    Look { net: NetNo, thing: u32 },
    /// A router's netwatch begins after its boot.
    NetwatchStarts { net: NetNo, thing: u32 },
    /// A try of a heartbeat, or its end.
    Beat { net: NetNo, thing: u32, n: u8 },
    /// A heartbeat's next result is said whatever it is.
    Attest { net: NetNo, thing: u32 },
    /// A router sends what it kept.
    Unpark { net: NetNo, thing: u32 },
    /// The poller takes a roll call by itself.
    RollCall { net: NetNo, thing: u32, again: bool },
    /// The reconciler looks at a router; `again`: and will again.
    Visit { net: NetNo, thing: u32, again: bool },
    /// A try of a probe leaves.
    Try { probe: u32, n: u8 },
    /// A decider reads and decides.
    Turn { decider: u8 },
    /// What it decided is stored.
    Commit { decider: u8 },
    /// It dies before that.
    Crash { decider: u8 },
    /// It starts again.
    Restart { decider: u8 },
    /// One of its timers fires.
    Fire { decider: u8, turn: u32 },
    /// A notice is about to leave.
    Deliver { tenant: TenantId, notice: NoticeId, attempts: u32 },
    /// The other side answered.
    Delivered { tenant: TenantId, notice: NoticeId, attempts: u32, took: bool },
    /// Somebody acknowledges, or closes as wrong.
    Order { tenant: TenantId, incident: IncidentId, wrong: bool },
}

/// One thing that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which property.
    pub property: &'static str,
    /// How.
    pub what: String,
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What did not hold; empty when all is well.
    pub failures: Vec<Failure>,
    /// Messages in the log.
    pub messages: usize,
    /// Things in the worlds.
    pub things: usize,
    /// Reloads of deciders.
    pub reloads: usize,
    /// Incidents opened.
    pub incidents: usize,
    /// Those of them that were ever about lost sessions.
    pub sessions_lost: usize,
    /// Notices delivered.
    pub notices: usize,
    /// Asks.
    pub asks: usize,
    /// A digest of everything the log holds about incidents.
    pub incidents_digest: u64,
    /// Seconds from the breaking of a root to the delivery of the first notice that names it.
    pub told_after_s: Vec<f64>,
    /// Who was told of which beginnings and ends: each audience, what, and the causes by name; how often.
    pub told: BTreeMap<oracle::Saying, usize>,
    /// The story told line by line, if that was wanted.
    pub trace: Vec<String>,
}

/// A run under way.
pub struct Run {
    pub(crate) agenda: Agenda<Ev>,
    pub(crate) nets: Vec<Net>,
    pub(crate) bus: Bus,
    scripts: Vec<Script>,
    seats: Vec<Seat>,
    poller: Poller,
    faults: Faults,
    rng: Rng,
    failures: Vec<Failure>,
    said_us: i64,
    said: usize,
    reloads: usize,
    drawn: u64,
    said_most: usize,
    /// Something failed after which going on means nothing.
    hopeless: bool,
}

/// The story of `seed`.
pub fn story_of(seed: u64, size: fn(&mut Rng) -> usize) -> Story {
    let rng = Rng::new(seed);
    let mut world_rng = rng.fork(1);
    let mut size = size(&mut world_rng);
    let faults = Faults::any(&mut rng.fork(3), seed);
    if faults.crashes >= 1_000 {
        size = size.min(300);
    }
    let tenants = if rng.fork(4).chance(50) && size < 300 { 2 } else { 1 };
    let parts = (0..tenants)
        .map(|i| {
            let mut world = World::any(&mut world_rng, ["hillside", "valley"][i], size);
            let mut script = Script::any(&mut rng.fork(20 + i as u64), &world);
            let mut changes = rng.fork(40 + i as u64);
            if changes.chance(CHANGED_INVENTORIES) {
                script.change_inventory(&mut changes, &mut world);
            }
            Part { world, script }
        })
        .collect();
    Story { why: String::new(), seed, parts, faults }
}

/// Plays `story` with `crew`; with a trace when `telling`.
pub fn play(story: &Story, crew: &[Member], telling: bool) -> Outcome {
    let mut run = Run::new(story, crew);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run.play())) {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "with no message".into());
        run.failures.push(Failure { property: "panic", what });
    }
    run.outcome(telling)
}

impl Run {
    fn new(story: &Story, crew: &[Member]) -> Self {
        let rng = Rng::new(story.seed).fork(5);
        let nets: Vec<Net> = story
            .parts
            .iter()
            .enumerate()
            .map(|(no, part)| Net::new(no as NetNo, part.world.clone(), &story.faults, START_US, &rng))
            .collect();
        let seat = |member: &Member| Seat {
            member: *member,
            mind: Some((member.build)()),
            place: Place::default(),
            doing: Doing::Nothing,
            held: None,
            expected: None,
            turns: vec![],
            has_died: false,
        };
        let things: usize = nets.iter().map(|n| n.ids.len()).sum();
        Self {
            agenda: Agenda::new(START_US),
            nets,
            bus: Bus::new(crew),
            scripts: story.parts.iter().map(|p| p.script.clone()).collect(),
            seats: crew.iter().map(seat).collect(),
            poller: Poller::default(),
            faults: story.faults.clone(),
            rng,
            failures: vec![],
            said_us: START_US,
            said: 0,
            reloads: 0,
            drawn: 0,
            said_most: 3_000 + things * 50,
            hopeless: false,
        }
    }

    fn play(&mut self) {
        for no in 0..self.nets.len() {
            self.import(no);
            self.nets[no].begin(&mut self.agenda, &self.faults);
            for router in self.nets[no].router_numbers() {
                visit::plan_next(&mut self.agenda, &mut self.nets[no], router, self.faults.visits_every_s);
            }
            for (step, s) in self.scripts[no].steps.iter().enumerate() {
                let net = no as NetNo;
                self.agenda.at(START_US + s.at_ms * 1_000, Ev::Step { net, step });
            }
        }
        let end = self.scripts.iter().map(Script::ends_ms).max().unwrap_or(0);
        self.until(START_US + end * 1_000);
        if self.hopeless || !self.until_quiet() {
            return;
        }
        let visits = self.faults.visits_every_s > 0;
        self.faults = Faults {
            crashes: self.faults.crashes,
            commits_lost: self.faults.commits_lost,
            rooms_small: self.faults.rooms_small,
            deliveries_slow: self.faults.deliveries_slow,
            through_json: self.faults.through_json,
            chunk: self.faults.chunk,
            ..Faults::default()
        };
        if visits {
            self.visit_all();
        } else {
            self.call_the_roll();
        }
        if !self.until_quiet() {
            return;
        }
        self.end();
    }

    fn as_the_world(&mut self, tenant: TenantId, fact: Fact) -> Say {
        self.drawn += 1;
        let id = EventId(Uuid::from_u64_pair(0x0017_d000_0000_0000, self.drawn));
        Say { id, tenant, at: Time::from_us(self.agenda.now_us()), cause: None, fact }
    }

    /// Lets everything happen that is planned up to `until_us`.
    fn until(&mut self, until_us: i64) {
        self.wake();
        while let Some(ev) = self.agenda.next(until_us) {
            self.happen(ev);
            self.wake();
            if self.said > self.said_most {
                self.fail("bounds", format!("{} things said for {} in the world", self.said, self.things()));
                self.hopeless = true;
            }
            if self.hopeless {
                return;
            }
        }
    }

    fn things(&self) -> usize {
        self.nets.iter().map(|n| n.ids.len()).sum()
    }

    /// Lets time run until nothing is said any more; `false` when that does not come to pass.
    fn until_quiet(&mut self) -> bool {
        let began = self.agenda.now_us();
        loop {
            self.until(self.agenda.now_us() + 60 * SECOND_US);
            let now = self.agenda.now_us();
            if self.hopeless {
                return false;
            }
            let soon = self.bus.next_timer(Time::from_us(now + QUIET_US));
            let settled = self.nets.iter().all(Net::is_settled);
            let idle = (0..self.seats.len())
                .all(|d| self.seats[d].doing == Doing::Nothing && !self.bus.has_news(d as u8));
            let silent_us = now - self.said_us.max(began);
            let nothing_due = soon.is_none() && silent_us > QUIET_US;
            if idle && settled && (nothing_due || silent_us > LONG_QUIET_US) && !self.recovers() {
                return true;
            }
            if now - began > QUIET_WITHIN_US {
                let why = match soon {
                    Some((at, key)) => format!("timer `{key}` is due at {at}"),
                    None if self.recovers() => "an incident recovers without end".to_owned(),
                    None if !settled => "the network itself is not settled".to_owned(),
                    None if !idle => "a decider is never done".to_owned(),
                    None => "something is said again and again".to_owned(),
                };
                self.fail("quiet", format!("not quiet within 8 hours: {why}"));
                return false;
            }
        }
    }

    /// Whether anything is about to be over. What flapped is awaited for an hour.
    fn recovers(&self) -> bool {
        let recovering = |entry: &&Entry| match &entry.heard.fact {
            Fact::Incident(said) => said.now.state == IncidentState::Recovering,
            _ => false,
        };
        self.bus.standing(Noun::Incident).iter().any(recovering)
    }

    fn fail(&mut self, property: &'static str, what: String) {
        self.failures.push(Failure { property, what });
    }

    /// Every router that answers tells everything it knows, and the heartbeats are said again.
    fn call_the_roll(&mut self) {
        for net in &mut self.nets {
            for router in net.router_numbers() {
                if net.supply.works[router as usize] {
                    Poller::roll_call(&mut self.agenda, net, None, router, true, &self.faults, &mut self.rng);
                }
            }
        }
    }

    /// The reconciler looks at every router that answers.
    fn visit_all(&mut self) {
        for net in &self.nets {
            for thing in net.router_numbers() {
                self.agenda.after(0, Ev::Visit { net: net.no, thing, again: false });
            }
        }
    }

    fn happen(&mut self, ev: Ev) {
        let agenda = &mut self.agenda;
        match ev {
            Ev::Step { net, step } => {
                let step = self.scripts[usize::from(net)].steps[step];
                let things = self.nets[usize::from(net)].step(agenda, step, &self.faults);
                self.revise(usize::from(net), things);
            }
            Ev::Publish(say) => {
                self.bus.store(agenda.now_us(), None, *say);
            }
            Ev::Look { net, thing } => self.nets[usize::from(net)].look(agenda, thing, &self.faults),
            Ev::NetwatchStarts { net, thing } => self.nets[usize::from(net)].netwatch_starts(agenda, thing),
            Ev::Beat { net, thing, n } => self.nets[usize::from(net)].beat(agenda, thing, n),
            Ev::Attest { net, thing } => self.nets[usize::from(net)].attest(agenda, thing),
            Ev::Unpark { net, thing } => self.nets[usize::from(net)].unpark(agenda, thing),
            Ev::RollCall { net, thing, again } => {
                let in_net = &mut self.nets[usize::from(net)];
                if in_net.supply.works[thing as usize] {
                    Poller::roll_call(agenda, in_net, None, thing, !again, &self.faults, &mut self.rng);
                }
                if again && self.faults.roll_calls_every_s > 0 {
                    let every = i64::from(self.faults.roll_calls_every_s) * SECOND_US;
                    agenda.after(every, Ev::RollCall { net, thing, again });
                }
            }
            Ev::Visit { net, thing, again } => {
                let net = &mut self.nets[usize::from(net)];
                visit::visit(agenda, net, &self.bus, thing);
                if again {
                    visit::plan_next(agenda, net, thing, self.faults.visits_every_s);
                }
            }
            Ev::Try { probe, n } => {
                let net = self.poller.net_of(probe);
                let net = &mut self.nets[net];
                self.poller.attempt(agenda, net, probe, n, &self.faults, &mut self.rng);
            }
            Ev::Turn { decider } => self.turn(decider),
            Ev::Commit { decider } => self.commit(decider),
            Ev::Crash { decider } => self.crash(decider),
            Ev::Restart { decider } => self.restart(decider),
            Ev::Fire { decider, turn } => self.bus.fire(agenda.now_us(), decider, turn),
            Ev::Deliver { tenant, notice, attempts } => self.deliver(tenant, notice, attempts),
            Ev::Delivered { tenant, notice, attempts, took } => {
                self.delivered(tenant, notice, attempts, took);
            }
            Ev::Order { tenant, incident, wrong } => {
                let id = OrderId::of(EventId(Uuid::from_u128(incident.0.as_u128() ^ u128::from(wrong))));
                let order =
                    if wrong { Order::CloseAsWrong { incident } } else { Order::Acknowledge { incident } };
                let fact = Fact::Order(OrderSaid { id, order, by: "someone".into() });
                let say = self.as_the_world(tenant, fact);
                self.bus.store(self.agenda.now_us(), None, say);
            }
        }
    }

    /// Everything is said: nobody may owe anything, and a start now must know what is known.
    fn end(&mut self) {
        for decider in 0..self.seats.len() as u8 {
            let seat = &mut self.seats[usize::from(decider)];
            let name = seat.member.name;
            let Some(mind) = seat.mind.as_mut() else { continue };
            let digest = mind.digest();
            let decision = mind.decide(seat.place.now, 899);
            // A timer may be armed again after a start: nobody remembers those.
            if decision.owed || !decision.said.is_empty() {
                let what = format!("{name} has more to say when asked again: {decision:?}");
                self.fail("idle", what.chars().take(600).collect());
            }
            if self.bus.has_news(decider) {
                self.fail("idle", format!("{name} has not read everything"));
            }
            let place = self.seats[usize::from(decider)].place;
            self.bus.move_cut(decider, place);
            let loaded = self.bus.load(decider, self.faults.through_json);
            if loaded.digest() != digest {
                self.fail("digest", format!("{name}, loaded at the end, remembers otherwise than it does"));
            }
        }
        // Of one run in four: which, follows from the run.
        if self.bus.log.len().is_multiple_of(4) {
            self.refold();
        }
        self.failures.extend(oracle::judge(&self.nets, &self.bus));
    }

    fn outcome(mut self, telling: bool) -> Outcome {
        let trace =
            if telling { trace::tell(&self.nets, &self.bus, &self.scripts, START_US) } else { vec![] };
        self.failures.append(&mut self.bus.violations);
        let count = |noun: Noun| self.bus.log.iter().filter(|e| e.heard.fact.noun() == noun).count();
        Outcome {
            messages: self.bus.log.len(),
            things: self.things(),
            reloads: self.reloads,
            incidents: self.bus.standing(Noun::Incident).len(),
            sessions_lost: oracle::sessions_lost(&self.bus),
            notices: count(Noun::Notice),
            asks: count(Noun::Ask),
            incidents_digest: oracle::incidents_digest(&self.bus),
            told_after_s: oracle::told_after_s(&self.nets, &self.bus),
            told: oracle::told(&self.nets, &self.bus),
            failures: self.failures,
            trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        script::{Step, What},
        toy::{Counting, Opening, Telling, flat},
        world::ordinary_size,
    };
    use events::Decision;

    fn toys() -> [Member; 3] {
        [Member::of::<Counting>(), Member::of::<Opening>(), Member::of::<Telling>()]
    }

    fn flat_story(seed: u64) -> Story {
        let rng = Rng::new(seed);
        let world = flat(3 + seed as usize % 9);
        let script = Script::any(&mut rng.fork(1), &world);
        let faults = Faults { crashes: 200, commits_lost: 200, ..Faults::any(&mut rng.fork(2), seed) };
        Story { why: String::new(), seed, parts: vec![Part { world, script }], faults }
    }

    #[test]
    fn simple_deciders_are_right_where_nothing_needs_anything() {
        let mut reloads = 0;
        let mut notices = 0;
        for seed in 0..150 {
            let outcome = play(&flat_story(seed), &toys(), true);
            // They resolve on a fixed minute and say nothing of impact; everything else must hold.
            assert_eq!(outcome.failures, [], "seed {seed}:\n{}", outcome.trace.join("\n"));
            reloads += outcome.reloads;
            notices += outcome.notices;
        }
        assert!(reloads > 1_000 && notices > 200, "{reloads} reloads, {notices} notices");
    }

    #[test]
    fn and_wrong_where_something_does() {
        let wrong = (0..60)
            .filter(|seed| {
                let story = story_of(*seed, ordinary_size);
                story.parts[0].script.left_broken(&story.parts[0].world).contains(&true)
            })
            .filter(|seed| !play(&story_of(*seed, ordinary_size), &toys(), false).failures.is_empty())
            .count();
        assert!(wrong >= 10, "{wrong}");
    }

    #[test]
    fn the_same_story_gives_the_same_log() {
        for seed in 0..20 {
            let (a, b) = (play(&flat_story(seed), &toys(), true), play(&flat_story(seed), &toys(), true));
            assert_eq!(a.trace, b.trace);
            assert_eq!(a.incidents_digest, b.incidents_digest);
        }
    }

    /// What a decider says must follow from the log alone: one that counts something else is found out.
    #[test]
    fn who_decides_by_anything_beside_the_log_is_found_by_reading_it_again() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static DECIDED: AtomicU32 = AtomicU32::new(0);
        #[derive(Default)]
        struct Moody(Counting);
        impl events::Decide for Moody {
            const NAME: &'static str = Counting::NAME;
            const HEARS: &'static [Noun] = Counting::HEARS;
            const SAYS: &'static [Noun] = Counting::SAYS;
            fn recall(&mut self, heard: &events::Heard) {
                self.0.recall(heard);
            }
            fn apply(&mut self, said: &Say) {
                self.0.apply(said);
            }
            fn decide(&mut self, now: Time, room: usize) -> Decision {
                let mut decision = self.0.decide(now, room);
                let mood = DECIDED.fetch_add(1, Ordering::Relaxed) as i64;
                for say in &mut decision.said {
                    if let Fact::Health(said) = &mut say.fact {
                        said.now.since = said.now.since.plus_ms(mood);
                    }
                }
                decision
            }
            fn digest(&self) -> u64 {
                self.0.digest()
            }
        }
        let crew = [Member::of::<Moody>(), Member::of::<Opening>(), Member::of::<Telling>()];
        let found = (0..40).filter(|seed| {
            let mut story = flat_story(*seed);
            (story.faults.crashes, story.faults.commits_lost) = (0, 0);
            play(&story, &crew, false).failures.iter().any(|failure| failure.property == "refold")
        });
        let found = found.count();
        assert!(found >= 5, "{found} of about ten that are read again");
    }

    #[test]
    fn a_panic_in_a_decider_fails_its_story_alone() {
        #[derive(Default)]
        struct Panicking;
        impl events::Decide for Panicking {
            const NAME: &'static str = "panicking";
            const HEARS: &'static [Noun] = &[Noun::Answer];
            const SAYS: &'static [Noun] = &[];
            fn recall(&mut self, heard: &events::Heard) {
                assert!(heard.fact.noun() != Noun::Answer, "an answer");
            }
            fn apply(&mut self, _: &Say) {}
            fn decide(&mut self, _: Time, _: usize) -> Decision {
                Decision::default()
            }
            fn digest(&self) -> u64 {
                0
            }
        }
        let mut story = flat_story(1);
        story.parts[0].script.steps = vec![Step { at_ms: 1, thing: 0, what: What::Break { power: true } }];
        let outcome = play(&story, &[Member::of::<Panicking>()], false);
        assert_eq!(outcome.failures.len(), 1);
        assert_eq!((outcome.failures[0].property, &*outcome.failures[0].what), ("panic", "an answer"));
    }
}
