//! The simulated network and what its routers make of it, in virtual time.
//!
//! Truth is which things are broken; what works follows (`world`). Routers look at their children
//! every 30 s and keep session tables; what they see they claim by webhooks, which need a way out.
//! A router that was without power boots: netwatch stays silent for five minutes, sessions come back
//! one by one. The server's own heartbeats say what changed, and attest it every five minutes.
//!
//! `claims` what routers tell by themselves, `tables` what they answer, `beats` what the server sees itself,
//! `spells` when what was broken.

mod beats;
mod claims;
mod spells;
mod tables;

pub use self::spells::Spell;

use crate::{
    agenda::Agenda,
    fault::Faults,
    rng::Rng,
    run::{Ev, NetNo},
    script::{Change, Step, What},
    world::{Role, Supply, Thing, World},
};
use events::{
    Answer, AskId, ClaimKey, EventId, Fact, Inventory, NodeId, Outcome, Say, TenantId, Time, Vantage,
};
use std::collections::HashMap;
use uuid::Uuid;

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
    /// Every time a subscriber's session was not in its router's table.
    pub gone: Vec<Spell>,
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
    /// Whether everything that is asked is answered in time.
    pub answers: bool,
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
            gone: vec![],
            routers,
            seen,
            looking: vec![false; n],
            phase_us,
            quick: rng.chance(300),
            beat: vec![None; n],
            beating: vec![false; n],
            attested: vec![false; n],
            undisturbed: faults.nothing_is_lost(),
            answers: faults.everything_is_answered(),
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

    /// The numbers of its routers, in order.
    pub fn router_numbers(&self) -> Vec<u32> {
        let mut routers: Vec<u32> = self.routers.keys().copied().collect();
        routers.sort_unstable();
        routers
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
            if faults.visits_every_s > 0 {
                let delay = self.rng.between(1, 40) * SECOND_US;
                agenda.after(delay, Ev::Visit { net: self.no, thing, again: false });
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
        let id = EventId(Uuid::from_u64_pair(0xa115_0000_0000_0000 | u64::from(self.no), self.draw()));
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

    /// A number that was never drawn before, for an event's id.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// A chance number of this network, both ends included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        self.rng.between(least, most)
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
