//! The server's own heartbeats: they say what changed, and attest it every five minutes.

use super::{Net, SECOND_US};
use crate::{agenda::Agenda, probe::STEPS, run::Ev};
use events::{Outcome, Vantage};

/// An unchanged heartbeat is said again after at most so long (design, "the log carries changes").
const ATTEST_EVERY_US: i64 = 300_000_000;

impl Net {
    pub(super) fn plan_beat(&mut self, agenda: &mut Agenda<Ev>, thing: u32) {
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

    pub(super) fn attest_every_us(&self, thing: u32) -> i64 {
        let every_us = i64::from(self.world.things[thing as usize].watch_s.unwrap_or(60)) * SECOND_US;
        ATTEST_EVERY_US / every_us * every_us
    }

    fn say_beat(&mut self, agenda: &mut Agenda<Ev>, thing: u32, outcome: Outcome) {
        let delay = self.rng.between(1_000, 9_000);
        self.answer(agenda, None, thing, Vantage::Direct, outcome, delay);
    }
}
