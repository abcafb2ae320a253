//! When what was broken, cut off or gone: the truth that the oracle holds beliefs against.

use super::{Change, Net, Seen};
use crate::world::{Role, Supply};

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

fn note(spells: &mut Vec<Spell>, thing: u32, is: bool, now_us: i64) {
    let open = spells.iter_mut().rev().find(|s| s.thing == thing && s.until_us == i64::MAX);
    match (open, is) {
        (None, true) => spells.push(Spell { thing, from_us: now_us, until_us: i64::MAX }),
        (Some(spell), false) => spell.until_us = now_us,
        (Some(_), true) | (None, false) => {}
    }
}

impl Net {
    pub(super) fn note_spells(&mut self, before: &Supply, now_us: i64, change: &Change) {
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

    /// Notes whether the session of `thing` is in its router's table, after that has changed.
    pub(super) fn note_seen(&mut self, thing: u32, now_us: i64) {
        let i = thing as usize;
        if self.world.things[i].role == Role::Subscriber {
            note(&mut self.gone, thing, self.seen[i] != Seen::Up, now_us);
        }
    }
}
