//! The console of a run: it lays down what the network is, and what becomes of it.

use super::{Run, START_US};
use events::{Fact, Inventory, Part as ImportPart, Revision, RevisionSource, Time};

/// Things of an import that go into one part: about half of 64 KiB.
const THINGS_PER_PART: usize = 50;
/// What fits into one commit of the console.
const THINGS_PER_COMMIT: usize = 890;

impl Run {
    pub(super) fn import(&mut self, no: usize) {
        let net = &self.nets[no];
        let tenant = net.tenant;
        let things = net.world.inventory(Time::from_us(START_US));
        let now = self.agenda.now_us();
        let mut facts: Vec<Fact> = vec![];
        let source = if things.len() <= THINGS_PER_COMMIT && !net.world.in_parts {
            let count = things.len() as u32;
            facts.extend(things.into_iter().map(Fact::Inventory));
            RevisionSource::Commit { count }
        } else {
            let digest = format!("{:064x}", tenant.0.as_u128());
            let parts = things.chunks(THINGS_PER_PART).enumerate();
            facts.extend(parts.map(|(n, things)| {
                Fact::Part(ImportPart { digest: digest.clone(), n: n as u32, things: things.to_vec() })
            }));
            RevisionSource::Parts { count: facts.len() as u32, digest }
        };
        facts.push(Fact::Revision(Revision { number: 1, source, file_digest: None, by: "sim".into() }));
        for fact in facts {
            let say = self.as_the_world(tenant, fact);
            self.bus.store(now, None, say);
        }
    }

    /// The console lays down a change of the inventory.
    pub(super) fn revise(&mut self, no: usize, things: Vec<Inventory>) {
        if things.is_empty() {
            return;
        }
        self.nets[no].revision += 1;
        let (tenant, number) = (self.nets[no].tenant, self.nets[no].revision);
        let source = RevisionSource::Commit { count: things.len() as u32 };
        let revision = Fact::Revision(Revision { number, source, file_digest: None, by: "sim".into() });
        for fact in things.into_iter().map(Fact::Inventory).chain([revision]) {
            let say = self.as_the_world(tenant, fact);
            self.bus.store(self.agenda.now_us(), None, say);
        }
    }
}
