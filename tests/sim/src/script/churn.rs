//! An hour of ordinary coming and going, with a few failures in it.

use super::{MINUTE_MS, Script};
use crate::{
    rng::Rng,
    world::{Role, World},
};

const HOUR_MS: i64 = 60 * MINUTE_MS;
/// With so many at least, whoever goes in turn has been back for minutes before it goes again.
const TURN_AGAIN: usize = 8;

impl Script {
    /// An hour in which subscribers come and go, about one a minute and so never many together, and up to three
    /// devices fail that have nothing to do with each other. Those stay broken for three hours, or for good.
    pub fn churn(rng: &mut Rng, world: &World, for_good: bool) -> Self {
        let mut script = Self::default();
        let observable = |i: &u32| world.things[*i as usize].is_observable();
        let subscribers: Vec<u32> = subscribers(world).collect();
        let mut at = 0;
        while at < HOUR_MS && !subscribers.is_empty() {
            let for_ms = rng.log_between(5_000, 10 * MINUTE_MS);
            let thing = *rng.pick(&subscribers);
            script.fail(rng, thing, at, Some(for_ms));
            at += rng.between(50_000, 70_000);
        }
        let roles = [Role::Tower, Role::Sector, Role::Sector, Role::Station];
        let mut taken: Vec<u32> = vec![];
        for _ in 0..rng.between(1, 3) {
            let role = *rng.pick(&roles);
            let alone: Vec<u32> = world
                .numbers()
                .filter(|i| world.things[*i as usize].role == role && observable(i))
                .filter(|i| world.with_dependents(*i).iter().all(|below| !taken.contains(below)))
                .collect();
            if alone.is_empty() {
                continue;
            }
            let thing = *rng.pick(&alone);
            taken.extend(world.with_dependents(thing));
            let at = rng.between(5 * MINUTE_MS, HOUR_MS);
            script.fail(rng, thing, at, (!for_good).then_some(3 * HOUR_MS));
        }
        script.steps.sort_by_key(|step| step.at_ms);
        script.end(rng, world, !for_good);
        script
    }

    /// An hour in which the subscribers of one sector go in turn, three a minute and each for seconds: within two
    /// minutes many of them go, and few are away together. After ten minutes it is another sector.
    pub fn taking_turns(rng: &mut Rng, world: &World) -> Self {
        const TURNS: usize = 30;
        let mut script = Self::default();
        let sectors = world.numbers().filter(|i| world.things[*i as usize].role == Role::Sector);
        let crowded: Vec<Vec<u32>> =
            sectors.map(|i| world.subscribers_below(i)).filter(|below| below.len() >= TURN_AGAIN).collect();
        let mut at = MINUTE_MS;
        while at < HOUR_MS && !crowded.is_empty() {
            let below = rng.pick(&crowded).clone();
            let first = rng.between(0, below.len() as i64 - 1) as usize;
            for n in 0..TURNS {
                let for_ms = rng.between(15_000, 30_000);
                script.fail(rng, below[(first + n) % below.len()], at, Some(for_ms));
                at += rng.between(18_000, 22_000);
            }
        }
        script.steps.sort_by_key(|step| step.at_ms);
        script.end(rng, world, true);
        script
    }
}

fn subscribers(world: &World) -> impl Iterator<Item = u32> + '_ {
    world.numbers().filter(|i| world.things[*i as usize].role == Role::Subscriber)
}
