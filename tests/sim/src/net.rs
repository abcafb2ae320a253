//! The simulated network and what its routers make of it, in virtual time.
//!
//! Truth is which things are broken; what works follows (`world`). Routers look at their children
//! every 30 s and keep session tables; what they see they claim by webhooks, which need a way out.
//! A router that was without power boots: netwatch stays silent for five minutes, sessions come back
//! one by one. The server's own heartbeats say what changed, and attest it every five minutes.

use crate::{
    agenda::Agenda,
    fault::Faults,
    probe::STEPS,
    rng::Rng,
    run::{Ev, NetNo},
    script::{Change, Step, What},
    world::{Role, Supply, Thing, World},
};
use events::{
    About, Answer, AskId, Claim, ClaimKey, EventId, Fact, Inventory, NodeId, Outcome, RollCall, Say, Signal,
    SignalSource, TenantId, Time, Vantage,
};
use std::collections::HashMap;
use uuid::Uuid;

/// Netwatch looks so often, microseconds (requirements, R9).
const NETWATCH_EVERY_US: i64 = 30_000_000;
/// Netwatch starts so long after a boot (reference/routeros.md, `startup-delay`).
const NETWATCH_START_US: i64 = 300_000_000;
/// An unchanged heartbeat is said again after at most so long (design, "the log carries changes").
const ATTEST_EVERY_US: i64 = 300_000_000;
/// One second.
pub const SECOND_US: i64 = 1_000_000;

/// What a router's table says of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Unknown,
    Up,
    Down,
}

/// One router, as far as others can tell.
#[derive(Debug, Clone)]
pub struct Router {
    /// When it booted, microseconds.
    pub boot_us: i64,
    boots: u32,
    claims: u64,
    numbered: bool,
    parking: bool,
    skew_ms: i64,
    parked: Vec<Say>,
    /// Probes through it that are under way.
    pub busy: u32,
    /// Those it sees.
    pub children: Vec<u32>,
    /// What the poller told of it last: which are up, which down.
    told: Option<HashMap<u32, bool>>,
}

/// When and as what something was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// Which thing.
    pub thing: u32,
    /// From when, microseconds.
    pub from_us: i64,
    /// Until when; `i64::MAX` while it lasts.
    pub until_us: i64,
}

/// One tenant's network.
pub struct Net {
    /// Which it is.
    pub no: NetNo,
    /// What it is made of.
    pub world: World,
    /// Whose it is.
    pub tenant: TenantId,
    /// The identifiers of its things.
    pub ids: Vec<NodeId>,
    /// Which thing has which identifier.
    pub by_id: HashMap<NodeId, u32>,
    /// Which session is whose.
    pub by_key: HashMap<ClaimKey, u32>,
    /// What is broken.
    pub broken: Vec<bool>,
    /// What follows from it.
    pub supply: Supply,
    /// Every time anything was broken, in order of their beginning.
    pub broke: Vec<Spell>,
    /// Every time anything was broken while its supply held.
    pub roots: Vec<Spell>,
    /// Every time anything did not work.
    pub dark: Vec<Spell>,
    /// Routers under the number of their thing.
    pub routers: HashMap<u32, Router>,
    unpowered: Vec<bool>,
    local: Vec<bool>,
    seen: Vec<Seen>,
    looking: Vec<bool>,
    phase_us: Vec<i64>,
    quick: bool,
    beat: Vec<Option<bool>>,
    beating: Vec<bool>,
    /// Whose next look is said whatever it finds.
    attested: Vec<bool>,
    /// Whether everything that is claimed and asked arrives in time.
    pub undisturbed: bool,
    /// The number of the inventory's last revision.
    pub revision: u64,
    start_us: i64,
    rng: Rng,
    drawn: u64,
}

impl Net {
    /// The network of `world`, everything in order for days.
    pub fn new(no: NetNo, world: World, faults: &Faults, start_us: i64, rng: &Rng) -> Self {
        let mut rng = rng.fork(0x6e65_7400 + u64::from(no));
        let ids = world.ids();
        let n = ids.len();
        let mut routers: HashMap<u32, Router> = HashMap::new();
        for (i, thing) in world.things.iter().enumerate() {
            if thing.role.is_router() {
                let mut rng = rng.fork(0x1_0000_0000 + u64::from(thing.label));
                let skewed = rng.chance(faults.routers_skewed);
                let router = Router {
                    boot_us: start_us - rng.between(86_400, 8_640_000) * SECOND_US,
                    boots: 1,
                    claims: 0,
                    numbered: !rng.chance(faults.routers_unnumbered),
                    parking: rng.chance(faults.routers_parking),
                    skew_ms: if skewed { rng.between(-7_200_000, 7_200_000) } else { 0 },
                    parked: vec![],
                    busy: 0,
                    children: vec![],
                    told: None,
                };
                routers.insert(i as u32, router);
            }
        }
        for (i, thing) in world.things.iter().enumerate().filter(|(_, thing)| !thing.absent) {
            if let Some(router) = thing.seen_by.and_then(|r| routers.get_mut(&r)) {
                router.children.push(i as u32);
            }
        }
        let broken = vec![false; n];
        let supply = world.supply(&broken);
        let phase = |t: &Thing| rng.fork(u64::from(t.label)).between(0, 60 * SECOND_US);
        let phase_us = world.things.iter().map(phase).collect();
        let seen =
            world.things.iter().map(|t| if t.seen_by.is_some() { Seen::Up } else { Seen::Unknown }).collect();
        Self {
            no,
            tenant: world.tenant(),
            by_id: ids.iter().enumerate().map(|(i, id)| (*id, i as u32)).collect(),
            by_key: ids.iter().enumerate().map(|(i, id)| (World::claim_key(*id), i as u32)).collect(),
            local: world.local(&broken),
            unpowered: broken.clone(),
            broken,
            supply,
            broke: vec![],
            roots: vec![],
            dark: vec![],
            routers,
            seen,
            looking: vec![false; n],
            phase_us,
            quick: rng.chance(300),
            beat: vec![None; n],
            beating: vec![false; n],
            attested: vec![false; n],
            undisturbed: faults.nothing_is_lost(),
            revision: 1,
            start_us,
            world,
            ids,
            rng,
            drawn: 0,
        }
    }

    /// The poller begins: heartbeats, and roll calls if it takes any by itself.
    pub fn begin(&mut self, agenda: &mut Agenda<Ev>, faults: &Faults) {
        let net = self.no;
        for (i, thing) in self.world.things.iter().enumerate() {
            let thing_no = i as u32;
            let every_s = thing.watch_s.filter(|_| !thing.absent);
            if let Some(every_s) = every_s {
                self.beating[i] = true;
                let phase = self.phase_us[i] % (i64::from(every_s) * SECOND_US);
                let first = (phase - agenda.now_us()).rem_euclid(i64::from(every_s) * SECOND_US);
                agenda.after(first, Ev::Beat { net, thing: thing_no, n: 0 });
                let attest = first + self.attest_every_us(thing_no);
                agenda.after(attest, Ev::Attest { net, thing: thing_no });
            }
            if thing.role.is_router() {
                if faults.first_roll_calls {
                    let delay = self.rng.between(2, 60) * SECOND_US;
                    agenda.after(delay, Ev::RollCall { net, thing: thing_no, again: false });
                }
                if faults.roll_calls_every_s > 0 {
                    let delay = self.phase_us[i] + i64::from(faults.roll_calls_every_s) * SECOND_US;
                    agenda.after(delay, Ev::RollCall { net, thing: thing_no, again: true });
                }
            }
        }
    }

    /// A step of the script. Returns what the console lays down because of it.
    pub fn step(&mut self, agenda: &mut Agenda<Ev>, step: Step, faults: &Faults) -> Vec<Inventory> {
        let now = agenda.now_us();
        let i = step.thing as usize;
        let mut change = Change::default();
        match step.what {
            What::Break { power } if !self.broken[i] => {
                self.broken[i] = true;
                self.unpowered[i] = power;
            }
            What::Mend if self.broken[i] => {
                self.broken[i] = false;
                if self.unpowered[i] && self.routers.contains_key(&step.thing) {
                    self.boot(agenda, step.thing);
                }
                self.unpowered[i] = false;
            }
            What::Break { .. } | What::Mend => return vec![], // As it was.
            What::Remove | What::Add | What::Move { .. } => {
                change = self.world.change(step.thing, step.what);
                self.take_up(agenda, &change);
            }
        }
        let before = std::mem::take(&mut self.supply);
        self.supply = self.world.supply(&self.broken);
        self.local = self.world.local(&self.broken);
        self.note_spells(&before, now, &change);
        let back: Vec<u32> = (0..self.ids.len() as u32)
            .filter(|t| self.world.things[*t as usize].role.is_router())
            .filter(|t| !before.works[*t as usize] && self.supply.works[*t as usize])
            .collect();
        for thing in back {
            let delay = self.rng.between(5, 60) * SECOND_US;
            agenda.after(delay, Ev::Unpark { net: self.no, thing });
            if faults.roll_calls_on_return {
                let delay = self.rng.between(1, 90) * SECOND_US;
                agenda.after(delay, Ev::RollCall { net: self.no, thing, again: false });
            }
        }
        self.look_around(agenda);
        let start = Time::from_us(self.start_us);
        let put = change.put.iter().map(|i| self.world.node(*i as usize, &self.ids, start));
        let taken = change.taken.iter().map(|i| Inventory::NodeRemoved { id: self.ids[*i as usize] });
        put.chain(taken).collect()
    }

    /// Routers and poller do as the inventory says from here on.
    fn take_up(&mut self, agenda: &mut Agenda<Ev>, change: &Change) {
        for router in self.routers.values_mut() {
            router.children.retain(|c| !change.taken.contains(c) && !change.seen_anew.contains(c));
        }
        for &thing in &change.seen_anew {
            let i = thing as usize;
            let it = &self.world.things[i];
            let session = it.role == Role::Subscriber;
            self.seen[i] = if session { Seen::Down } else { Seen::Unknown };
            if !it.absent
                && let Some(router) = it.seen_by.and_then(|r| self.routers.get_mut(&r))
            {
                router.children.push(thing);
                router.children.sort_unstable();
            }
        }
        for &thing in change.put.iter().filter(|i| change.seen_anew.contains(i)) {
            let i = thing as usize;
            if self.world.things[i].watch_s.is_some() && self.beat[i].is_none() && !self.beating[i] {
                self.attest(agenda, thing);
            }
        }
        for &thing in &change.taken {
            self.beat[thing as usize] = None;
        }
    }

    fn note_spells(&mut self, before: &Supply, now_us: i64, change: &Change) {
        fn note(spells: &mut Vec<Spell>, thing: u32, is: bool, now_us: i64) {
            let open = spells.iter_mut().rev().find(|s| s.thing == thing && s.until_us == i64::MAX);
            match (open, is) {
                (None, true) => spells.push(Spell { thing, from_us: now_us, until_us: i64::MAX }),
                (Some(spell), false) => spell.until_us = now_us,
                (Some(_), true) | (None, false) => {}
            }
        }
        for i in 0..self.ids.len() {
            let thing = i as u32;
            if self.world.things[i].absent {
                if change.taken.contains(&thing) {
                    note(&mut self.dark, thing, false, now_us);
                    note(&mut self.roots, thing, false, now_us);
                    note(&mut self.broke, thing, false, now_us);
                }
                continue;
            }
            let changed = change.put.contains(&thing)
                || before.works.get(i) != self.supply.works.get(i)
                || before.supplied.get(i) != self.supply.supplied.get(i);
            if changed {
                note(&mut self.dark, thing, !self.supply.works[i], now_us);
            }
            note(&mut self.roots, thing, self.broken[i] && self.supply.supplied[i], now_us);
            note(&mut self.broke, thing, self.broken[i], now_us);
        }
    }

    fn boot(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
        let Some(router) = self.routers.get_mut(&thing) else { return };
        router.boot_us = agenda.now_us();
        router.boots += 1;
        router.claims = 0;
        for child in router.children.clone() {
            let session = self.world.things[child as usize].role == Role::Subscriber;
            self.seen[child as usize] = if session { Seen::Down } else { Seen::Unknown };
        }
        agenda.after(NETWATCH_START_US, Ev::NetwatchStarts { net: self.no, thing });
    }

    /// What `thing`'s router would find if it looked now; `None` when it cannot look.
    fn view(&self, thing: u32) -> Option<bool> {
        let router = self.world.things[thing as usize].seen_by?;
        if self.broken[router as usize] || self.world.things[thing as usize].absent {
            return None;
        }
        Some(if self.supply.works[router as usize] {
            self.supply.works[thing as usize]
        } else {
            let needs = &self.world.things[thing as usize].needs;
            !self.broken[thing as usize] && needs.iter().all(|need| need.holds(&self.local))
        })
    }

    /// Everybody who would see something new plans to look.
    fn look_around(&mut self, agenda: &mut Agenda<Ev>) {
        for thing in 0..self.ids.len() as u32 {
            self.plan_look(agenda, thing);
            self.plan_beat(agenda, thing);
        }
    }

    fn plan_look(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
        let i = thing as usize;
        if self.looking[i] {
            return;
        }
        let Some(view) = self.view(thing) else { return };
        if self.seen[i] == if view { Seen::Up } else { Seen::Down } {
            return;
        }
        let now = agenda.now_us();
        let at = if self.world.things[i].role == Role::Subscriber {
            now + match (view, self.quick) {
                (true, _) => self.rng.between(2, 90) * SECOND_US,
                (false, true) => self.rng.between(100_000, 2 * SECOND_US),
                (false, false) => self.rng.between(10, 60) * SECOND_US,
            }
        } else {
            let Some(router) = self.world.things[i].seen_by.and_then(|r| self.routers.get(&r)) else {
                return;
            };
            if now < router.boot_us + NETWATCH_START_US {
                return; // It will look when netwatch starts.
            }
            let phase = self.phase_us[i] % NETWATCH_EVERY_US;
            let tick = (now - phase).div_euclid(NETWATCH_EVERY_US) + 1;
            tick * NETWATCH_EVERY_US + phase + if view { 10_000 } else { SECOND_US }
        };
        self.looking[i] = true;
        agenda.at(at, Ev::Look { net: self.no, thing });
    }

    /// A router starts to look at its children.
    pub fn netwatch_starts(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
        let Some(router) = self.routers.get(&thing) else { return };
        if agenda.now_us() < router.boot_us + NETWATCH_START_US || self.broken[thing as usize] {
            return;
        }
        for child in router.children.clone() {
            self.plan_look(agenda, child);
        }
    }

    /// A router looks at one child, or a session ends or begins.
    pub fn look(&mut self, agenda: &mut Agenda<Ev>, thing: u32, faults: &Faults) {
        let i = thing as usize;
        self.looking[i] = false;
        let Some(view) = self.view(thing) else { return };
        let Some(router) = self.world.things[i].seen_by.and_then(|r| self.routers.get(&r)) else { return };
        let session = self.world.things[i].role == Role::Subscriber;
        if !session && agenda.now_us() < router.boot_us + NETWATCH_START_US {
            return;
        }
        let sees = if view { Seen::Up } else { Seen::Down };
        if self.seen[i] == sees {
            return;
        }
        self.seen[i] = sees;
        self.claim(agenda, thing, view, faults);
        if session && view && self.rng.chance(faults.sessions_crossed) {
            self.claim(agenda, thing, false, faults);
        }
    }

    /// The router of `thing` sends a webhook about it.
    fn claim(&mut self, agenda: &mut Agenda<Ev>, thing: u32, up: bool, faults: &Faults) {
        let now = agenda.now_us();
        let i = thing as usize;
        let Some(router_no) = self.world.things[i].seen_by else { return };
        let Some(router) = self.routers.get_mut(&router_no) else { return };
        router.claims += 1;
        let sender = self.ids[router_no as usize];
        let session = self.world.things[i].role == Role::Subscriber;
        let says = match up {
            true if self.rng.chance(faults.claims_degraded) => Claim::Degraded,
            true => Claim::Up,
            false => Claim::Down,
        };
        let boot = router.numbered.then(|| format!("boot-{}", router.boots));
        self.drawn += 1;
        let id = match &boot {
            Some(boot) => EventId::numbered(sender, boot, router.claims),
            None => EventId(Uuid::from_u64_pair(0xc1a1_0000_0000_0000 | u64::from(self.no), self.drawn)),
        };
        let signal = Signal {
            about: if session {
                About::Session(World::claim_key(self.ids[i]))
            } else {
                About::Node(self.ids[i])
            },
            says,
            source: if session { SignalSource::Ppp } else { SignalSource::Netwatch },
            sender: Some(sender),
            seq: boot.as_ref().map(|_| router.claims),
            boot,
            sealed_name: None,
            detail: None,
        };
        let say = Say {
            id,
            tenant: self.tenant,
            at: Time::from_us(now).plus_ms(router.skew_ms),
            cause: None,
            fact: Fact::Signal(signal),
        };
        if !self.supply.works[router_no as usize] {
            if router.parking {
                router.parked.push(say);
            }
            return;
        }
        self.send(agenda, say, faults);
    }

    fn send(&mut self, agenda: &mut Agenda<Ev>, mut say: Say, faults: &Faults) {
        let copies = 1 + u32::from(self.rng.chance(faults.claims_doubled));
        let numbered = matches!(&say.fact, Fact::Signal(s) if s.seq.is_some());
        for copy in 0..copies {
            if self.rng.chance(faults.claims_lost) {
                continue;
            }
            let mut delay = self.rng.between(20_000, 300_000);
            if self.rng.chance(faults.claims_delayed) {
                delay += self.rng.between(0, faults.claims_delay_ms * 1_000);
            }
            if copy > 0 && !numbered {
                // Without a sequence the front door cannot tell that it is the same.
                self.drawn += 1;
                say.id = EventId(Uuid::from_u64_pair(0xc1a1_0000_0000_0000 | u64::from(self.no), self.drawn));
            }
            agenda.after(delay, Ev::Publish(Box::new(say.clone())));
        }
    }

    /// A router that has a way out again sends what it kept.
    pub fn unpark(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
        if !self.supply.works[thing as usize] {
            return;
        }
        let Some(router) = self.routers.get_mut(&thing) else { return };
        for say in std::mem::take(&mut router.parked) {
            let delay = self.rng.between(20_000, 5 * SECOND_US);
            agenda.after(delay, Ev::Publish(Box::new(say)));
        }
    }

    fn plan_beat(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
        let i = thing as usize;
        let Some(every_s) = self.world.things[i].watch_s else { return };
        if self.world.things[i].absent
            || self.beating[i]
            || self.beat[i] == Some(self.supply.works[i])
            || self.beat[i].is_none()
        {
            return;
        }
        self.beating[i] = true;
        let every = i64::from(every_s) * SECOND_US;
        let phase = self.phase_us[i] % every;
        let tick = (agenda.now_us() - phase).div_euclid(every) + 1;
        agenda.at(tick * every + phase, Ev::Beat { net: self.no, thing, n: 0 });
    }

    /// A step of the server's own look at something: tries at once, after 0.4 s and after 1.0 s, and what
    /// became of them. That a thing falls silent is said try by try.
    pub fn beat(&mut self, agenda: &mut Agenda<Ev>, thing: u32, n: u8) {
        let i = thing as usize;
        if self.world.things[i].absent {
            self.beating[i] = false;
            return;
        }
        let step = STEPS[usize::from(n)];
        let works = step.sends && self.supply.works[i];
        let fell_silent = self.beat[i] != Some(false);
        let ends = usize::from(n) + 1 == STEPS.len();
        if let Some(tries) = step.unanswered.filter(|_| fell_silent && !ends) {
            self.say_beat(agenda, thing, Outcome::Silent { tries, last: false });
        }
        if !works && !ends {
            let wait_us = STEPS[usize::from(n) + 1].at_us - step.at_us;
            agenda.after(wait_us, Ev::Beat { net: self.no, thing, n: n + 1 });
            return;
        }
        self.beating[i] = false;
        let due = std::mem::take(&mut self.attested[i]);
        if due || self.beat[i] != Some(works) {
            self.beat[i] = Some(works);
            let outcome = if works {
                Outcome::Replied { rtt_us: self.rng.between(300, 40_000) as u32 }
            } else {
                Outcome::Silent { tries: 3, last: true }
            };
            self.say_beat(agenda, thing, outcome);
        }
        self.plan_beat(agenda, thing);
    }

    /// The next look at `thing` is said even if it finds what was said last.
    pub fn attest(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
        let i = thing as usize;
        if self.world.things[i].absent {
            return;
        }
        self.attested[i] = true;
        if !self.beating[i] {
            self.beating[i] = true;
            agenda.after(0, Ev::Beat { net: self.no, thing, n: 0 });
        }
        agenda.after(self.attest_every_us(thing), Ev::Attest { net: self.no, thing });
    }

    fn attest_every_us(&self, thing: u32) -> i64 {
        let every_us = i64::from(self.world.things[thing as usize].watch_s.unwrap_or(60)) * SECOND_US;
        ATTEST_EVERY_US / every_us * every_us
    }

    fn say_beat(&mut self, agenda: &mut Agenda<Ev>, thing: u32, outcome: Outcome) {
        let delay = self.rng.between(1_000, 9_000);
        self.answer(agenda, None, thing, Vantage::Direct, outcome, delay);
    }

    /// The poller says something about `thing`.
    pub fn answer(
        &mut self,
        agenda: &mut Agenda<Ev>,
        ask: Option<(AskId, Time)>,
        thing: u32,
        via: Vantage,
        outcome: Outcome,
        delay_us: i64,
    ) {
        self.drawn += 1;
        let id = EventId(Uuid::from_u64_pair(0xa115_0000_0000_0000 | u64::from(self.no), self.drawn));
        let (ask, asked_at) = ask.unzip();
        let target = self.ids[thing as usize];
        let answer = Answer { ask, asked_at, target, via, outcome, pop: "main".into() };
        let say = Say {
            id,
            tenant: self.tenant,
            at: Time::from_us(agenda.now_us()),
            cause: None,
            fact: Fact::Answer(answer),
        };
        agenda.after(delay_us, Ev::Publish(Box::new(say)));
    }

    /// The tables of router `thing` as roll-call chunks; changes only when `whole` is not wanted and the
    /// poller remembers its previous roll call.
    pub fn roll_call(&mut self, now_us: i64, thing: u32, whole: bool) -> Vec<RollCall> {
        let Some(router) = self.routers.get_mut(&thing) else { return vec![] };
        let whole = whole || router.told.is_none();
        let mut now: HashMap<u32, bool> = HashMap::new();
        let mut lines: Vec<(u32, bool)> = vec![];
        for child in &router.children {
            let up = match self.seen[*child as usize] {
                Seen::Up => true,
                Seen::Down => false,
                Seen::Unknown => continue,
            };
            now.insert(*child, up);
            let same = router.told.as_ref().and_then(|told| told.get(child)) == Some(&up);
            if whole || !same {
                lines.push((*child, up));
            }
        }
        router.told = Some(now);
        let uptime_ms = ((now_us - router.boot_us) / 1_000).max(0) as u64;
        let size = self.rng.between(20, 800) as usize;
        let pieces: Vec<&[(u32, bool)]> =
            if lines.is_empty() { vec![&[]] } else { lines.chunks(size).collect() };
        let chunks = pieces.len() as u32;
        let piece = |(chunk, lines): (usize, &&[(u32, bool)])| {
            let chunk = chunk as u32;
            let mut call = RollCall {
                chunk,
                chunks,
                whole,
                uptime_ms,
                up: vec![],
                down: vec![],
                present: vec![],
                gone: vec![],
            };
            for (child, up) in *lines {
                let id = self.ids[*child as usize];
                match (self.world.things[*child as usize].role == Role::Subscriber, up) {
                    (true, true) => call.present.push(World::claim_key(id)),
                    (true, false) if !whole => call.gone.push(World::claim_key(id)),
                    (true, false) => {}
                    (false, true) => call.up.push(id),
                    (false, false) => call.down.push(id),
                }
            }
            call
        };
        pieces.iter().enumerate().map(piece).collect()
    }

    /// The poller lost what it remembered of `router`'s last roll call.
    pub fn forget_roll_call(&mut self, router: u32) {
        if let Some(router) = self.routers.get_mut(&router) {
            router.told = None;
        }
    }

    /// Whether `router`'s table holds the session of `thing`.
    pub fn has_session(&self, thing: u32, router: u32) -> bool {
        self.world.things[thing as usize].seen_by == Some(router) && self.seen[thing as usize] == Seen::Up
    }

    /// Whether every router that runs shows what is so, and every heartbeat has found it.
    pub fn is_settled(&self) -> bool {
        (0..self.ids.len()).all(|i| {
            let table = self
                .view(i as u32)
                .is_none_or(|view| self.seen[i] == if view { Seen::Up } else { Seen::Down });
            let absent = self.world.things[i].absent;
            let beat = absent
                || self.world.things[i].watch_s.is_none()
                || self.beat[i] == Some(self.supply.works[i]);
            table && beat
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Need;
    use events::Policy;

    /// A core that is watched, a tower it sees, a sector the tower sees, and a subscriber whose session the
    /// tower holds.
    fn net() -> (Net, Agenda<Ev>) {
        let thing = |role, needs: Vec<Need>, seen_by, watch_s| Thing {
            label: 0,
            role,
            site: None,
            needs,
            seen_by,
            watch_s,
            maintenance: None,
            absent: false,
        };
        let mut things = vec![
            thing(Role::Core, vec![], None, Some(60)),
            thing(Role::Tower, vec![Need::all(&[0])], Some(0), None),
            thing(Role::Sector, vec![Need::all(&[1])], Some(1), None),
            thing(Role::Subscriber, vec![Need::all(&[2])], Some(1), None),
        ];
        things.iter_mut().zip(0..).for_each(|(thing, label)| thing.label = label);
        let world = World {
            slug: "t".into(),
            sites: 0,
            things,
            policy: Policy::default(),
            channels: vec![],
            in_parts: false,
        };
        let start = 1_000_000 * SECOND_US;
        let mut agenda = Agenda::new(start);
        let mut net = Net::new(0, world, &Faults::default(), start, &Rng::new(1));
        net.begin(&mut agenda, &Faults { first_roll_calls: false, ..Faults::default() });
        (net, agenda)
    }

    /// What reaches the log within `seconds`, in words.
    fn told(net: &mut Net, agenda: &mut Agenda<Ev>, seconds: i64) -> Vec<String> {
        let none = Faults::default();
        let until = agenda.now_us() + seconds * SECOND_US;
        let mut told = vec![];
        while let Some(ev) = agenda.next(until) {
            match ev {
                Ev::Look { thing, .. } => net.look(agenda, thing, &none),
                Ev::Beat { thing, n, .. } => net.beat(agenda, thing, n),
                Ev::NetwatchStarts { thing, .. } => net.netwatch_starts(agenda, thing),
                Ev::Unpark { thing, .. } => net.unpark(agenda, thing),
                Ev::Publish(say) => match say.fact {
                    Fact::Signal(s) => told.push(format!("{:?} {:?}", s.source, s.says)),
                    Fact::Answer(a) => told.push(match a.outcome {
                        Outcome::Replied { .. } => "beat".into(),
                        other => format!("{other:?}"),
                    }),
                    other => told.push(format!("{other:?}")),
                },
                _ => {}
            }
        }
        told
    }

    fn step(net: &mut Net, agenda: &mut Agenda<Ev>, thing: u32, what: What) {
        net.step(agenda, Step { at_ms: 0, thing, what }, &Faults::default());
    }

    #[test]
    fn a_dead_sector_is_claimed_by_its_router_and_so_are_its_sessions() {
        let (mut net, mut agenda) = net();
        assert_eq!(told(&mut net, &mut agenda, 120), ["beat"]);
        step(&mut net, &mut agenda, 2, What::Break { power: true });
        let mut claims = told(&mut net, &mut agenda, 62);
        claims.sort();
        assert_eq!(claims, ["Netwatch Down", "Ppp Down"]);
        assert!(net.is_settled());
        step(&mut net, &mut agenda, 2, What::Mend);
        let mut claims = told(&mut net, &mut agenda, 95);
        claims.sort();
        assert_eq!(claims, ["Netwatch Up", "Ppp Up"]);
    }

    #[test]
    fn a_router_that_is_cut_off_claims_nothing() {
        let (mut net, mut agenda) = net();
        told(&mut net, &mut agenda, 70);
        step(&mut net, &mut agenda, 0, What::Break { power: false });
        step(&mut net, &mut agenda, 2, What::Break { power: true });
        let silent = told(&mut net, &mut agenda, 120);
        let tries = ["1, last: false", "2, last: false", "3, last: true"];
        assert_eq!(silent, tries.map(|t| format!("Silent {{ tries: {t} }}")));
        assert_eq!(net.supply.works, [false, false, false, false]);
        assert_eq!(net.roots.iter().filter(|s| s.until_us == i64::MAX).count(), 1);
    }

    #[test]
    fn a_booted_router_is_blind_for_five_minutes() {
        let (mut net, mut agenda) = net();
        told(&mut net, &mut agenda, 70);
        step(&mut net, &mut agenda, 1, What::Break { power: true });
        assert_eq!(told(&mut net, &mut agenda, 62), ["Netwatch Down"]);
        step(&mut net, &mut agenda, 1, What::Mend);
        let calls = net.roll_call(agenda.now_us(), 1, true);
        assert_eq!((calls.len(), calls[0].up.len(), calls[0].down.len(), calls[0].uptime_ms), (1, 0, 0, 0));
        let mut first = told(&mut net, &mut agenda, 95);
        first.sort();
        assert_eq!(first, ["Netwatch Up", "Ppp Up"], "the core sees the tower, the session comes back");
        let mut later = told(&mut net, &mut agenda, 270);
        later.retain(|t| t != "beat");
        assert_eq!(later, ["Netwatch Up"], "the tower's own netwatch starts late");
        let calls = net.roll_call(agenda.now_us(), 1, false);
        assert_eq!((calls[0].whole, calls[0].up.len(), calls[0].present.len()), (false, 1, 1));
    }
}
