//! What routers tell by themselves: they look at their children, and claim what they see by webhooks.
//!
//! A webhook needs a way out. A router that was booted is blind until its netwatch starts.

use super::{Net, SECOND_US, Seen};
use crate::{
    agenda::Agenda,
    fault::Faults,
    run::Ev,
    world::{Role, World},
};
use events::{About, Claim, EventId, Fact, Say, Signal, SignalSource, Time};
use uuid::Uuid;

/// Netwatch looks so often, microseconds (requirements, R9).
const NETWATCH_EVERY_US: i64 = 30_000_000;
/// Netwatch starts so long after a boot (reference/routeros.md, `startup-delay`).
const NETWATCH_START_US: i64 = 300_000_000;

impl Net {
    pub(super) fn boot(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
        let Some(router) = self.routers.get_mut(&thing) else { return };
        router.boot_us = agenda.now_us();
        router.boots += 1;
        router.claims = 0;
        for child in router.children.clone() {
            let session = self.world.things[child as usize].role == Role::Subscriber;
            self.seen[child as usize] = if session { Seen::Down } else { Seen::Unknown };
            self.note_seen(child, agenda.now_us());
        }
        agenda.after(NETWATCH_START_US, Ev::NetwatchStarts { net: self.no, thing });
    }

    pub(super) fn plan_look(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
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
        self.note_seen(thing, agenda.now_us());
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
                say.id =
                    EventId(Uuid::from_u64_pair(0xc1a1_0000_0000_0000 | u64::from(self.no), self.draw()));
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
}
