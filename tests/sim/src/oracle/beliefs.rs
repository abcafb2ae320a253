//! Whether what is believed of each thing is so.

use super::{Judge, of_tenant};
use events::{Fact, Flag, Health, HealthKind, Noun, SuspicionKind};

impl Judge<'_> {
    /// Nobody reachable is called down or cut off; nobody broken or cut off is called anything else.
    pub(super) fn beliefs(&mut self) {
        for i in 0..self.net.ids.len() {
            if self.net.world.things[i].absent {
                self.retired(i);
                continue;
            }
            let believed = self.health.get(&self.net.ids[i]).map(|h| h.health);
            let supplied = self.net.supply.supplied[i];
            let wrong = match (self.net.supply.works[i], supplied, believed) {
                (true, _, None | Some(Health::Up | Health::Degraded)) => None,
                (true, _, Some(Health::Unknown)) => Some(("belief-unknown", "works")),
                (true, _, Some(Health::Down | Health::Impacted)) => Some(("belief", "works")),
                (false, true, Some(Health::Down)) | (false, false, Some(Health::Impacted)) => None,
                (false, true, _) => Some(("belief", "is broken")),
                (false, false, _) => Some(("belief", "is cut off")),
            };
            if let Some((property, truth)) = wrong {
                let flags = self.health.get(&self.net.ids[i]).map(|h| &h.flags);
                let what = format!("{} {truth} and is believed {believed:?} {flags:?}", self.name(i));
                self.fail(property, what);
            }
            let left: Vec<Flag> = self
                .health
                .get(&self.net.ids[i])
                .map(|h| &h.flags)
                .into_iter()
                .flatten()
                .filter(|flag| matches!(flag, Flag::Suspect | Flag::Recovering))
                .copied()
                .collect();
            if !left.is_empty() {
                self.fail("unsettled", format!("{} is still {left:?}", self.name(i)));
            }
        }
        for entry in of_tenant(self.bus, Noun::Suspicion, self.net.tenant) {
            let Fact::Suspicion(said) = &entry.heard.fact else { continue };
            // A later word about its health settles a suspicion too.
            let health = self.bus.last(self.net.tenant, Noun::Health, said.now.node.0);
            let settled = said.kind == SuspicionKind::Settled
                || health.is_some_and(|health| health.heard.seq > entry.heard.seq);
            if !settled {
                let name = self.name_of(said.now.node);
                self.fail("unsettled", format!("the suspicion of {name} was never settled"));
            }
        }
    }

    /// What the inventory has no longer is believed nothing of: that was said once.
    pub(super) fn retired(&mut self, thing: usize) {
        let last = self.bus.last(self.net.tenant, Noun::Health, self.net.ids[thing].0);
        let Some(Fact::Health(said)) = last.map(|entry| &entry.heard.fact) else { return };
        if said.kind != HealthKind::Retired {
            let what =
                format!("{} is not in the inventory and is said to be {:?}", self.name(thing), said.kind);
            self.fail("retired", what);
        }
    }
}
