//! What routers answer when the poller asks for their tables.

use super::{Net, Seen};
use crate::world::{Role, World};
use domain::reporter::{Entry, RouterTold};
use events::RollCall;
use std::collections::{BTreeSet, HashMap};

impl Net {
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

    /// The tables of router `thing` as the reconciler reads them.
    pub fn read(&self, now_us: i64, thing: u32) -> Option<RouterTold> {
        let router = self.routers.get(&thing)?;
        let mut told = RouterTold {
            uptime_ms: ((now_us - router.boot_us) / 1_000).max(0) as u64,
            present: Some(BTreeSet::new()),
            ..RouterTold::default()
        };
        for child in &router.children {
            let seen = self.seen[*child as usize];
            if self.world.things[*child as usize].role == Role::Subscriber {
                if seen == Seen::Up {
                    told.present.get_or_insert_default().insert(World::claim_key(self.ids[*child as usize]));
                }
                continue;
            }
            told.entries.push(Entry {
                host: String::new(),
                comment: format!("mastwatch:{}", self.world.name(*child)),
                name: None,
                is_up: match seen {
                    Seen::Unknown => None,
                    Seen::Up => Some(true),
                    Seen::Down => Some(false),
                },
            });
        }
        Some(told)
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
}
