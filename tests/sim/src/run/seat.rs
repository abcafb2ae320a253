//! The deciders of a run: when they read, decide and store, and when they die of it.
//!
//! A crash forgets everything that was not stored; who starts again must remember the same as before.

use super::{Ev, Run, refold::Turn};
use crate::{
    bus::Place,
    crew::{Member, Mind},
    net::SECOND_US,
};
use events::{Decision, Fact, HealthKind, SuspicionKind};

/// What a decider is doing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    TurnPlanned,
    Committing,
    Dead,
}

/// One decider of the crew: how far it has read, and what it is about to store.
pub(super) struct Seat {
    pub(super) member: Member,
    pub(super) mind: Option<Box<dyn Mind>>,
    pub(super) place: Place,
    pub(super) doing: Doing,
    pub(super) held: Option<(Decision, Place, usize)>,
    pub(super) expected: Option<(Place, u64)>,
    /// Every decision, as long as it did not die.
    pub(super) turns: Vec<Turn>,
    pub(super) has_died: bool,
}

/// Whether anything is another than before, and not only looked at again.
fn is_news(fact: &Fact) -> bool {
    match fact {
        Fact::Health(said) => match said.kind {
            HealthKind::Changed | HealthKind::Retired => true,
            HealthKind::Noted | HealthKind::Restated => false,
        },
        Fact::Suspicion(said) => said.kind == SuspicionKind::Raised,
        Fact::Incident(_) | Fact::Notice(_) => true,
        Fact::Inventory(_)
        | Fact::Part(_)
        | Fact::Revision(_)
        | Fact::Access(_)
        | Fact::Order(_)
        | Fact::Signal(_)
        | Fact::Answer(_)
        | Fact::Ask(_)
        | Fact::Delivery(_)
        | Fact::Due(_)
        | Fact::Repair(_)
        | Fact::Plan(_)
        | Fact::Entitlement(_)
        | Fact::Enforcement(_)
        | Fact::Sighting(_)
        | Fact::Refusal(_)
        | Fact::View(_)
        | Fact::Cut(_) => false,
    }
}

impl Run {
    /// Every decider that has something to read and does nothing plans to.
    pub(super) fn wake(&mut self) {
        for decider in 0..self.seats.len() as u8 {
            if self.seats[usize::from(decider)].doing == Doing::Nothing && self.bus.has_news(decider) {
                self.seats[usize::from(decider)].doing = Doing::TurnPlanned;
                let delay = self.rng.between(500, 15_000);
                self.agenda.after(delay, Ev::Turn { decider });
            }
        }
    }

    pub(super) fn turn(&mut self, decider: u8) {
        let seat = &mut self.seats[usize::from(decider)];
        if seat.doing == Doing::Dead {
            return;
        }
        let Some(mind) = seat.mind.as_mut() else { return };
        let dies = self.rng.chance(self.faults.commits_lost);
        if dies && seat.place == self.bus.cut(decider) {
            seat.expected = Some((seat.place, mind.digest()));
        }
        // Inputs and owed commits take turns, in no fixed order.
        let most = if seat.place.owed && self.rng.chance(500) {
            0
        } else {
            self.rng.between(1, i64::from(self.faults.chunk.max(1))) as usize
        };
        let mut place = seat.place;
        for index in self.bus.take(decider, most) {
            let heard = &self.bus.log[index as usize].heard;
            mind.recall(heard);
            place.position = heard.seq;
            place.now = place.now.max(heard.heard);
        }
        let room =
            if self.rng.chance(self.faults.rooms_small) { self.rng.between(32, 100) as usize } else { 899 };
        let decision = mind.decide(place.now, room);
        place.owed = decision.owed;
        self.bus.examine(decider, &decision, place.now, room);
        if dies {
            seat.doing = Doing::Dead;
            self.agenda.after(1_000, Ev::Crash { decider });
            return;
        }
        let nothing = decision.said.is_empty() && decision.timers.is_empty();
        if nothing && place.owed {
            let name = seat.member.name;
            self.fail("idle", format!("{name} owes something but says nothing with room for {room}"));
            self.hopeless = true;
            return;
        }
        if nothing && self.rng.chance(500) {
            // Nothing to store: the cut follows with the next commit.
            seat.turns.push(Turn { place, room, said: 0..0 });
            seat.place = place;
            seat.doing = Doing::Nothing;
            return;
        }
        seat.held = Some((decision, place, room));
        seat.doing = Doing::Committing;
        self.agenda.after(self.rng.between(300, 8_000), Ev::Commit { decider });
    }

    pub(super) fn commit(&mut self, decider: u8) {
        let seat = &mut self.seats[usize::from(decider)];
        let Some((decision, place, room)) = seat.held.take() else { return };
        let late_us = self.rng.between(0, SECOND_US);
        let stored = self.bus.commit(&mut self.agenda, decider, &decision, place, late_us);
        if let Some(mind) = seat.mind.as_mut() {
            for say in &decision.said {
                mind.apply(say);
            }
        }
        seat.turns.push(Turn { place, room, said: stored.clone() });
        seat.place = place;
        seat.doing = Doing::Nothing;
        if decision.said.iter().any(|say| is_news(&say.fact)) {
            self.said_us = self.agenda.now_us();
        }
        self.said += decision.said.len() + decision.timers.len();
        let crashes = self.faults.crashes;
        let large = self.nets.iter().any(|net| net.ids.len() > 400);
        if self.rng.chance(crashes) {
            // A digest of a large memory takes long; one crash of four is enough there.
            let compare = !large || self.rng.chance(250);
            seat.expected = seat.mind.as_ref().filter(|_| compare).map(|mind| (place, mind.digest()));
            seat.doing = Doing::Dead;
            self.agenda.after(100, Ev::Crash { decider });
        } else if place.owed {
            seat.doing = Doing::TurnPlanned;
            self.agenda.after(self.rng.between(300, 2_000), Ev::Turn { decider });
        }
        for index in stored {
            self.answer_to(index);
        }
    }

    pub(super) fn crash(&mut self, decider: u8) {
        let always = self.faults.crashes >= 1_000;
        let seat = &mut self.seats[usize::from(decider)];
        seat.mind = None;
        seat.turns.clear();
        seat.has_died = true;
        seat.held = None;
        seat.doing = Doing::Dead;
        // Who dies after every commit is up again at once: what counts is what it remembers, not how it lags.
        let delay = if always { 100 } else { self.rng.log_between(10_000, 5 * SECOND_US) };
        self.agenda.after(delay, Ev::Restart { decider });
    }

    pub(super) fn restart(&mut self, decider: u8) {
        self.reloads += 1;
        let mind = self.bus.load(decider, self.faults.through_json);
        let seat = &mut self.seats[usize::from(decider)];
        seat.place = self.bus.cut(decider);
        if let Some((place, digest)) = seat.expected.take()
            && place == seat.place
            && digest != mind.digest()
        {
            let name = seat.member.name;
            let seq = place.position;
            self.fail("digest", format!("{name}, loaded at {seq}, remembers otherwise than it did"));
        }
        let seat = &mut self.seats[usize::from(decider)];
        seat.mind = Some(mind);
        seat.doing = Doing::Nothing;
        if seat.place.owed {
            seat.doing = Doing::TurnPlanned;
            self.agenda.after(1_000, Ev::Turn { decider });
        }
    }
}
