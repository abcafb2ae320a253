//! What happens to the network: failures and recoveries, overlapping, in any order.
//!
//! A script is drawn before the run and is data: it can be saved, shortened and played again.

use crate::{
    rng::Rng,
    world::{Role, World},
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

/// Everything that happens to one world, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
}

const MINUTE_MS: i64 = 60_000;

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
            broken[step.thing as usize] = matches!(step.what, What::Break { .. });
        }
        broken
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

impl World {
    /// Something broken because of which a supplied thing cannot be looked at by anybody; `None` when
    /// everything supplied can be looked at.
    pub fn blinding(&self, broken: &[bool]) -> Option<u32> {
        let supply = self.supply(broken);
        let unseen = (0..self.things.len()).find(|i| {
            let thing = &self.things[*i];
            supply.supplied[*i]
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
