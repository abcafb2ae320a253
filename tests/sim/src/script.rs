//! What happens to the network: failures and recoveries, overlapping, in any order.
//!
//! A script is drawn before the run and is data: it can be saved, shortened and played again.

mod churn;

use crate::{
    rng::Rng,
    world::{Mode, Need, Of, Role, World},
};
use serde::{Deserialize, Serialize};

/// What becomes of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It stops working. A router that loses its power boots when it is mended; otherwise it runs on unseen.
    Break {
        /// Whether it loses its power.
        power: bool,
    },
    /// It works again.
    Mend,
    /// It leaves the inventory, with everything that speaks of it.
    Remove,
    /// It comes into the inventory, with everything below it that is not there.
    Add,
    /// It hangs on another than before, and so is seen by another.
    Move {
        /// On which.
        to: u32,
    },
}

/// One step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When: milliseconds since the import.
    pub at_ms: i64,
    /// To which thing.
    pub thing: u32,
    /// What.
    pub what: What,
}

impl Step {
    /// The things it speaks of.
    pub fn things(&self) -> impl Iterator<Item = u32> + use<> {
        let other = match self.what {
            What::Move { to } => Some(to),
            What::Break { .. } | What::Mend | What::Remove | What::Add => None,
        };
        [self.thing].into_iter().chain(other)
    }
}

/// Everything that happens to one world, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
}

const MINUTE_MS: i64 = 60_000;
/// With so many things at most one is taken out or put in.
const MOST_CHANGED: usize = 40;
/// Scripts, of a thousand, in which many subscribers of one thing lose their sessions.
const MANY_SESSIONS: u32 = 250;

impl Script {
    /// Any script for `world`. It ends in a state that routers and heartbeats together can tell.
    pub fn any(rng: &mut Rng, world: &World) -> Self {
        let mut script = Self::default();
        let breakable: Vec<u32> =
            (0..world.things.len() as u32).filter(|i| world.things[*i as usize].is_observable()).collect();
        let window = rng.log_between(MINUTE_MS, 40 * MINUTE_MS);
        let from = if rng.chance(60) { 0 } else { rng.between(30_000, 8 * MINUTE_MS) };
        let all_mended = rng.chance(450);
        for _ in 0..rng.log_between(1, 7) {
            let at = from + rng.between(0, window);
            script.episode(rng, world, &breakable, at, all_mended);
        }
        let mut more = rng.fork(7);
        if more.chance(MANY_SESSIONS) {
            for _ in 0..more.between(1, 2) {
                let at = from + more.between(0, window);
                script.many_sessions(&mut more, world, &breakable, at, all_mended);
            }
        }
        script.steps.sort_by_key(|s| s.at_ms);
        script.end(rng, world, all_mended);
        script
    }

    /// When the last step is done: milliseconds since the import.
    pub fn ends_ms(&self) -> i64 {
        self.steps.last().map_or(0, |s| s.at_ms)
    }

    /// What is broken at the end.
    pub fn left_broken(&self, world: &World) -> Vec<bool> {
        let mut broken = vec![false; world.things.len()];
        for step in &self.steps {
            match step.what {
                What::Break { .. } => broken[step.thing as usize] = true,
                What::Mend => broken[step.thing as usize] = false,
                What::Remove | What::Add | What::Move { .. } => {}
            }
        }
        broken
    }

    /// The network as it is at the end.
    pub fn leaves(&self, world: &World) -> World {
        let mut world = world.clone();
        for step in &self.steps {
            world.change(step.thing, step.what);
        }
        world
    }

    /// Adds changes of the inventory, while other things happen. What is added later is absent from `world`.
    pub fn change_inventory(&mut self, rng: &mut Rng, world: &mut World) {
        let until = self.ends_ms() + MINUTE_MS;
        let roles = [Role::Tower, Role::Sector, Role::Sector, Role::Station, Role::Station, Role::Subscriber];
        for _ in 0..rng.between(1, 4) {
            let role = *rng.pick(&roles);
            let these: Vec<u32> =
                world.numbers().filter(|i| world.things[*i as usize].role == role).collect();
            if these.is_empty() {
                continue;
            }
            // Often what is about to fail, or has failed: that is where a change can go wrong.
            let failing: Vec<u32> =
                self.steps.iter().map(|s| s.thing).filter(|t| these.contains(t)).collect();
            let thing =
                if !failing.is_empty() && rng.chance(600) { *rng.pick(&failing) } else { *rng.pick(&these) };
            let at_ms = rng.between(0, until);
            let with_it = world.with_dependents(thing);
            let few = with_it.len() <= MOST_CHANGED && with_it.len() * 2 < world.things.len();
            match rng.below(4) {
                0 if few => self.steps.push(Step { at_ms, thing, what: What::Remove }),
                1 if few => {
                    with_it.iter().for_each(|i| world.things[*i as usize].absent = true);
                    self.steps.push(Step { at_ms, thing, what: What::Add });
                }
                2 if few => {
                    self.steps.push(Step { at_ms, thing, what: What::Remove });
                    let back = at_ms + rng.log_between(1_000, 10 * MINUTE_MS);
                    self.steps.push(Step { at_ms: back, thing, what: What::Add });
                }
                _ => {
                    let Some(above) = world.hangs_on(thing) else { continue };
                    let role = world.things[above as usize].role;
                    let like: Vec<u32> =
                        world.numbers().filter(|i| world.things[*i as usize].role == role).collect();
                    self.steps.push(Step { at_ms, thing, what: What::Move { to: *rng.pick(&like) } });
                }
            }
        }
        self.steps.sort_by_key(|s| s.at_ms);
        let nothing_left = !self.left_broken(world).contains(&true);
        self.end(rng, &self.leaves(world), nothing_left);
    }

    fn fail(&mut self, rng: &mut Rng, thing: u32, at_ms: i64, for_ms: Option<i64>) {
        let power = rng.chance(700);
        self.steps.push(Step { at_ms, thing, what: What::Break { power } });
        if let Some(for_ms) = for_ms {
            self.steps.push(Step { at_ms: at_ms + for_ms, thing, what: What::Mend });
        }
    }

    fn how_long(rng: &mut Rng, all_mended: bool) -> Option<i64> {
        let for_ms = rng.log_between(2_000, 20 * MINUTE_MS);
        (all_mended || rng.chance(450)).then_some(for_ms)
    }

    fn episode(&mut self, rng: &mut Rng, world: &World, breakable: &[u32], at: i64, all_mended: bool) {
        if breakable.is_empty() {
            return;
        }
        let of = |rng: &mut Rng, roles: &[Role]| {
            let these: Vec<u32> = breakable
                .iter()
                .copied()
                .filter(|b| roles.contains(&world.things[*b as usize].role))
                .collect();
            if these.is_empty() { *rng.pick(breakable) } else { *rng.pick(&these) }
        };
        let weighed = |rng: &mut Rng| match rng.below(100) {
            0..20 => of(rng, &[Role::Core, Role::Upstream]),
            20..45 => of(rng, &[Role::Tower, Role::Switch]),
            45..70 => of(rng, &[Role::Sector, Role::Backhaul, Role::Link]),
            70..85 => of(rng, &[Role::Station, Role::Service]),
            _ => of(rng, &[Role::Subscriber]),
        };
        let long = Self::how_long(rng, all_mended);
        match rng.below(100) {
            // One thing.
            0..30 => {
                let thing = weighed(rng);
                self.fail(rng, thing, at, long);
            }
            // Several at about the same time, back at about the same time or never.
            30..45 => {
                for _ in 0..rng.between(2, 6) {
                    let thing = weighed(rng);
                    let at = at + rng.between(0, 5_000);
                    let more = rng.between(0, 60_000);
                    self.fail(rng, thing, at, long.map(|l| l + more));
                }
            }
            // Something, and something above it; one of them is back first.
            45..62 => {
                let below = weighed(rng);
                let mut above = vec![];
                let mut edge = vec![below];
                while let Some(thing) = edge.pop() {
                    for need in &world.things[thing as usize].needs {
                        need.things(&mut |t| {
                            if !above.contains(&t) {
                                above.push(t);
                                edge.push(t);
                            }
                        });
                    }
                }
                above.retain(|t| breakable.contains(t));
                let for_ms = rng.log_between(5_000, 15 * MINUTE_MS);
                self.fail(rng, below, at, long);
                if !above.is_empty() {
                    let higher = *rng.pick(&above);
                    let later = at + rng.between(-60_000, 300_000);
                    self.fail(rng, higher, later.max(0), Some(for_ms));
                }
            }
            // On and off and on.
            62..70 => {
                let thing = weighed(rng);
                let mut at = at;
                for _ in 0..rng.between(2, 8) {
                    let down = rng.log_between(1_000, 60_000);
                    self.fail(rng, thing, at, Some(down));
                    at += down + rng.log_between(1_000, 90_000);
                }
            }
            // A router boots.
            70..78 => {
                let thing = of(rng, &[Role::Core, Role::Tower]);
                let for_ms = rng.between(15_000, 180_000);
                self.steps.push(Step { at_ms: at, thing, what: What::Break { power: true } });
                self.steps.push(Step { at_ms: at + for_ms, thing, what: What::Mend });
            }
            // One leg, then the other, of what has two.
            78..88 => {
                let many: Vec<u32> = (0..world.things.len() as u32)
                    .filter(|i| {
                        let mut n = 0;
                        for need in &world.things[*i as usize].needs {
                            need.things(&mut |_| n += 1);
                        }
                        n > 1
                    })
                    .collect();
                if many.is_empty() {
                    let thing = weighed(rng);
                    self.fail(rng, thing, at, long);
                    return;
                }
                let mut legs = vec![];
                for need in &world.things[*rng.pick(&many) as usize].needs {
                    need.things(&mut |t| legs.push(t));
                }
                legs.retain(|t| breakable.contains(t));
                rng.shuffle(&mut legs);
                let mut at = at;
                for leg in legs {
                    self.fail(rng, leg, at, long);
                    at += rng.log_between(500, 5 * MINUTE_MS);
                }
            }
            // Many unrelated sectors.
            88..93 => {
                let share = rng.between(50, 500) as u32;
                for thing in breakable {
                    if world.things[*thing as usize].role == Role::Sector && rng.chance(share) {
                        let at = at + rng.between(0, 2_000);
                        let more = rng.between(0, 30_000);
                        self.fail(rng, *thing, at, long.map(|l| l + more));
                    }
                }
            }
            // A place loses its power.
            _ => {
                let place = world.things[weighed(rng) as usize].site;
                for thing in breakable {
                    if place.is_some() && world.things[*thing as usize].site == place {
                        self.steps.push(Step { at_ms: at, thing: *thing, what: What::Break { power: true } });
                        if let Some(l) = long {
                            let back = at + l + rng.between(0, 20_000);
                            self.steps.push(Step { at_ms: back, thing: *thing, what: What::Mend });
                        }
                    }
                }
            }
        }
    }

    /// Many subscribers below one thing break by themselves, about as many as are told of; often it breaks too.
    fn many_sessions(&mut self, rng: &mut Rng, world: &World, breakable: &[u32], at: i64, all_mended: bool) {
        let parents: Vec<u32> =
            world.numbers().filter(|i| world.things[*i as usize].role != Role::Subscriber).collect();
        // Mostly a place of few: there it takes few.
        let picked = (0..8).map(|_| *rng.pick(&parents)).map(|p| (p, world.subscribers_below(p)));
        let Some((parent, mut below)) = picked.into_iter().find(|(_, below)| below.len() >= 5) else {
            return;
        };
        let enough = below.len().div_ceil(5).max(5);
        let many = match rng.below(10) {
            0..4 => enough,
            4..6 => enough - 1,
            _ => rng.between(enough as i64, below.len() as i64) as usize,
        };
        let spread = *rng.pick(&[0, 5_000, 20_000, 60_000, 120_000, 300_000]);
        let long = rng.chance(600).then(|| rng.log_between(10_000, 20 * MINUTE_MS));
        let long = if all_mended { Some(long.unwrap_or(10 * MINUTE_MS)) } else { long };
        let back_within = *rng.pick(&[1_000, 30_000, 10 * MINUTE_MS]);
        rng.shuffle(&mut below);
        for thing in below.into_iter().take(many) {
            let at = at + rng.between(0, spread);
            let more = rng.between(0, back_within);
            self.fail(rng, thing, at, long.map(|l| l + more));
        }
        if rng.chance(350) {
            let mut way = vec![parent];
            let mut n = 0;
            while n < way.len() {
                for need in &world.things[way[n] as usize].needs {
                    need.things(&mut |t| {
                        if !way.contains(&t) {
                            way.push(t);
                        }
                    });
                }
                n += 1;
            }
            way.retain(|t| breakable.contains(t));
            if !way.is_empty() {
                let thing = *rng.pick(&way);
                let at = (at + rng.between(-60_000, 240_000)).max(0);
                let for_ms = rng.log_between(5_000, 15 * MINUTE_MS);
                self.fail(rng, thing, at, Some(for_ms));
            }
        }
    }

    /// Mends everything, or at least what would leave something working or broken that nobody can look at.
    fn end(&mut self, rng: &mut Rng, world: &World, all_mended: bool) {
        let mut broken = self.left_broken(world);
        let mut at_ms = self.ends_ms() + rng.between(1_000, 60_000);
        let spread = if rng.chance(500) { 60_000 } else { 0 };
        let left = (0..broken.len() as u32).filter(|i| broken[*i as usize]).collect::<Vec<_>>();
        if all_mended {
            for thing in left {
                broken[thing as usize] = false;
                self.steps.push(Step { at_ms, thing, what: What::Mend });
                at_ms += rng.between(0, spread / 4);
            }
            return;
        }
        while let Some(thing) = world.blinding(&broken) {
            broken[thing as usize] = false;
            self.steps.push(Step { at_ms, thing, what: What::Mend });
            at_ms += rng.between(0, spread / 4);
        }
    }
}

/// What a change of the inventory changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// What is laid down: new or other than before.
    pub put: Vec<u32>,
    /// What is gone.
    pub taken: Vec<u32>,
    /// Whom another router sees than before, or one at all.
    pub seen_anew: Vec<u32>,
}

impl World {
    /// The numbers of what the inventory has.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.things.len() as u32).filter(|i| !self.things[*i as usize].absent)
    }

    /// The one thing that `thing` hangs on, if it is one.
    pub fn hangs_on(&self, thing: u32) -> Option<u32> {
        match self.things[thing as usize].needs.as_slice() {
            [need] if need.mode == Mode::All => match need.of.as_slice() {
                [Of::Thing(above)] => Some(*above),
                _ => None,
            },
            _ => None,
        }
    }

    /// Puts a change of the inventory in force; nothing when it cannot be, or is none.
    pub fn change(&mut self, thing: u32, what: What) -> Change {
        let mut change = Change::default();
        let absent = self.things[thing as usize].absent;
        match what {
            What::Remove if !absent => {
                change.taken = self.with_dependents(thing);
                change.taken.retain(|i| !self.things[*i as usize].absent);
                change.taken.iter().for_each(|i| self.things[*i as usize].absent = true);
            }
            What::Add if absent => {
                let mut left = self.with_dependents(thing);
                left.retain(|i| self.things[*i as usize].absent);
                while let Some(at) = left.iter().position(|i| self.can_come(*i)) {
                    let next = left.remove(at);
                    self.things[next as usize].absent = false;
                    change.put.push(next);
                }
                change.put.sort_unstable();
                change.seen_anew = change.put.clone();
            }
            What::Move { to } if !absent && !self.things[to as usize].absent => {
                let with_it = self.with_dependents(thing);
                let Some(from) = self.hangs_on(thing).filter(|from| *from != to && !with_it.contains(&to))
                else {
                    return change;
                };
                if self.things[from as usize].role != self.things[to as usize].role {
                    return change;
                }
                self.things[thing as usize].needs = vec![Need::all(&[to])];
                for i in with_it {
                    let it = &mut self.things[i as usize];
                    if it.seen_by == Some(from) {
                        it.seen_by = Some(to);
                        change.seen_anew.push(i);
                    }
                }
                change.put = change.seen_anew.clone();
                change.put.push(thing);
                change.put.sort_unstable();
                change.put.dedup();
                change.put.retain(|i| !self.things[*i as usize].absent);
            }
            What::Remove | What::Add | What::Move { .. } | What::Break { .. } | What::Mend => {}
        }
        change
    }

    /// Whether everything that a thing speaks of is there.
    fn can_come(&self, thing: u32) -> bool {
        let thing = &self.things[thing as usize];
        let mut there = thing.seen_by.is_none_or(|router| !self.things[router as usize].absent);
        let mut each = |t: u32| there &= !self.things[t as usize].absent;
        thing.needs.iter().for_each(|need| need.things(&mut each));
        there
    }

    /// Something broken because of which a supplied thing cannot be looked at by anybody; `None` when
    /// everything supplied can be looked at.
    pub fn blinding(&self, broken: &[bool]) -> Option<u32> {
        let supply = self.supply(broken);
        let unseen = (0..self.things.len()).find(|i| {
            let thing = &self.things[*i];
            supply.supplied[*i]
                && !thing.absent
                && thing.watch_s.is_none()
                && thing.seen_by.is_some_and(|router| !supply.works[router as usize])
        })?;
        let mut edge = vec![self.things[unseen].seen_by?];
        let mut visited = vec![];
        while let Some(thing) = edge.pop() {
            if broken[thing as usize] {
                return Some(thing);
            }
            visited.push(thing);
            for need in &self.things[thing as usize].needs {
                need.missing(&supply.works, &mut |t| {
                    if !visited.contains(&t) {
                        edge.push(t);
                    }
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::ordinary_size;

    #[test]
    fn with_changes_of_the_inventory_it_ends_there_too() {
        let mut changed = 0;
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let size = ordinary_size(&mut rng).min(300);
            let mut world = World::any(&mut rng, "t", size);
            let mut script = Script::any(&mut rng, &world);
            script.change_inventory(&mut rng, &mut world);
            let end = script.leaves(&world);
            assert_eq!(end.blinding(&script.left_broken(&world)), None, "seed {seed}");
            assert!(script.steps.is_sorted_by_key(|s| s.at_ms), "seed {seed}");
            // Nothing that is there speaks of anything that is not.
            for thing in end.numbers() {
                assert!(end.can_come(thing), "seed {seed}: {thing}");
            }
            let works = end.supply(&vec![false; end.things.len()]).works;
            assert!(end.numbers().all(|i| works[i as usize]), "seed {seed}");
            changed += usize::from(end != world);
        }
        assert!(changed > 200, "{changed}");
    }

    #[test]
    fn a_script_ends_where_everything_supplied_can_be_looked_at() {
        let mut left_something = 0;
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let size = ordinary_size(&mut rng);
            let world = World::any(&mut rng, "t", size);
            let script = Script::any(&mut rng, &world);
            let broken = script.left_broken(&world);
            assert_eq!(world.blinding(&broken), None, "seed {seed}");
            assert!(script.steps.is_sorted_by_key(|s| s.at_ms), "seed {seed}");
            assert!(script.steps.iter().all(|s| world.things[s.thing as usize].is_observable()));
            left_something += usize::from(broken.contains(&true));
        }
        assert!((100..300).contains(&left_something), "{left_something}");
    }
}
