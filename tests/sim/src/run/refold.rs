//! Reading the log again: what was decided follows from what was heard, byte for byte.
//!
//! A decider that remembers nothing hears the same inputs in the same stretches, decides at the same times with the same room, and
//! must say what stands in the log.

use super::Run;
use crate::bus::{Bus, Place};
use crate::crew::Member;
use events::{Fact, Heard};
use std::ops::Range;

/// One decision of the run.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// What it was decided upon, and when.
    pub(super) place: Place,
    /// How much might be said.
    pub(super) room: usize,
    /// What was said: indexes of the log.
    pub(super) said: Range<u32>,
}

impl Run {
    /// Decides again whatever deciders that never died have decided.
    pub(super) fn refold(&mut self) {
        for decider in 0..self.seats.len() {
            let seat = &self.seats[decider];
            if seat.has_died {
                continue;
            }
            if let Err(what) = decided_again(&self.bus, seat.member, &seat.turns) {
                let name = seat.member.name;
                self.fail("refold", format!("{name}, told the log again, {what}"));
            }
        }
    }
}

fn hears(member: Member, heard: &Heard) -> bool {
    match &heard.fact {
        Fact::Due(due) => due.service == member.name && member.hears(heard.fact.noun()),
        other => member.hears(other.noun()),
    }
}

fn decided_again(bus: &Bus, member: Member, turns: &[Turn]) -> Result<(), String> {
    let mut mind = (member.build)();
    let mut read = 0;
    for turn in turns {
        let end = bus.log.partition_point(|entry| entry.heard.seq <= turn.place.position);
        for entry in &bus.log[read..end.max(read)] {
            if hears(member, &entry.heard) {
                mind.recall(&entry.heard);
            }
        }
        read = end.max(read);
        let decision = mind.decide(turn.place.now, turn.room);
        let stored = &bus.log[turn.said.start as usize..turn.said.end as usize];
        for (n, say) in decision.said.iter().enumerate() {
            let known = stored.get(n).map(|entry| (entry.heard.id, &entry.heard.fact));
            if known != Some((say.id, &say.fact)) {
                let at = turn.place.position;
                let (says, said) = (format!("{:?}", say.fact), format!("{:?}", known.map(|(_, fact)| fact)));
                return Err(format!("says at {at} {says:.300}, and had said {said:.300}"));
            }
            mind.apply(say);
        }
        if decision.said.len() < stored.len() {
            return Err(format!("says less at {} than it had said", turn.place.position));
        }
    }
    Ok(())
}
