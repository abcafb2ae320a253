//! An hour of ordinary coming and going, with a few failures in it.

use super::{MINUTE_MS, Script};
use crate::{
    rng::Rng,
    world::{Role, World},
};

impl Script {
    /// An hour in which subscribers come and go, about one a minute and so never many together, and up to three
    /// devices fail that have nothing to do with each other. Those stay broken for three hours, or for good.
    pub fn churn(rng: &mut Rng, world: &World, for_good: bool) -> Self {
        const HOUR_MS: i64 = 60 * MINUTE_MS;
        let mut script = Self::default();
        let observable = |i: &u32| world.things[*i as usize].is_observable();
        let subscribers: Vec<u32> =
            world.numbers().filter(|i| world.things[*i as usize].role == Role::Subscriber).collect();
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
}
