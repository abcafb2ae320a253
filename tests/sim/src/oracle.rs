//! What must hold at the end of every story, told from the network's truth alone.
//!
//! Shares no code with the deciders. It knows what was broken and when, what that cut off (naively),
//! and reads in the log what was believed, what was opened and who was told.

mod asks;
mod beliefs;
mod causes;
mod recovering;
mod sessions;
mod telling;
#[cfg(test)]
mod tests;

use crate::{
    bus::{Bus, Entry},
    net::Net,
    run::Failure,
};
use events::{
    DeliveryKind, Fact, HealthKind, Incident, IncidentClass, IncidentId, IncidentKind, IncidentSaid,
    NodeHealth, NodeId, Notice, NoticeId, NoticeKind, Noun, Phase, TenantId, Time,
};
use std::collections::{BTreeMap, HashMap};

/// A claim takes so long at most to reach a verdict: netwatch, its script, the probes and a restart, microseconds.
const GRACE_US: i64 = 90_000_000;
/// At most so many failures of one property are listed.
const LISTED: usize = 4;
/// Roots an incident lists at most (`events::Incident::roots`).
const ROOTS_LISTED: usize = 64;

/// A notice, and who has it.
struct Told<'a> {
    notice: &'a Notice,
    /// When the other side took it; `None`: it never left.
    delivered: Option<Time>,
    addressed: usize,
}

/// One tenant's end.
struct Judge<'a> {
    net: &'a Net,
    bus: &'a Bus,
    now: Time,
    health: HashMap<NodeId, &'a NodeHealth>,
    incidents: BTreeMap<IncidentId, &'a Incident>,
    told: BTreeMap<NoticeId, Told<'a>>,
    failures: Vec<Failure>,
}

/// Everything that does not hold.
pub fn judge(nets: &[Net], bus: &Bus) -> Vec<Failure> {
    let mut failures = vec![];
    for net in nets {
        let mut judge = Judge::new(net, bus);
        judge.beliefs();
        judge.roots();
        judge.togetherness();
        judge.impacts();
        judge.announcements();
        judge.falsehoods();
        judge.holds();
        judge.stories();
        judge.flaps();
        judge.asks();
        judge.recoveries();
        judge.sessions();
        failures.append(&mut judge.failures);
    }
    failures
}

fn of_tenant(bus: &Bus, noun: Noun, tenant: TenantId) -> impl Iterator<Item = &Entry> {
    bus.standing(noun).into_iter().filter(move |entry| entry.heard.tenant == tenant)
}

fn incident(entry: &Entry) -> Option<&IncidentSaid> {
    match &entry.heard.fact {
        Fact::Incident(said) => Some(said),
        _ => None,
    }
}

impl<'a> Judge<'a> {
    fn new(net: &'a Net, bus: &'a Bus) -> Self {
        let tenant = net.tenant;
        let health = of_tenant(bus, Noun::Health, tenant)
            .filter_map(|entry| match &entry.heard.fact {
                // Of what left the inventory nothing is believed any more, nor of what came back to it.
                Fact::Health(said) if said.kind != HealthKind::Retired => Some((said.now.node, &said.now)),
                _ => None,
            })
            .collect();
        let incidents = of_tenant(bus, Noun::Incident, tenant)
            .filter_map(incident)
            .map(|said| (said.now.id, &said.now))
            .collect();
        let mut told: BTreeMap<NoticeId, Told> = BTreeMap::new();
        for entry in bus.log.iter().filter(|entry| entry.heard.tenant == tenant) {
            match &entry.heard.fact {
                Fact::Notice(said) => {
                    let told = told.entry(said.now.id).or_insert(Told {
                        notice: &said.now,
                        delivered: None,
                        addressed: 0,
                    });
                    told.addressed += usize::from(said.kind == NoticeKind::Addressed);
                }
                Fact::Delivery(said) if said.kind == DeliveryKind::Delivered => {
                    if let Some(told) = told.get_mut(&said.now.notice) {
                        told.delivered.get_or_insert(entry.heard.heard);
                    }
                }
                _ => {}
            }
        }
        let now = bus.log.last().map_or(Time::EPOCH, |entry| entry.heard.heard);
        Self { net, bus, now, health, incidents, told, failures: vec![] }
    }

    fn fail(&mut self, property: &'static str, what: String) {
        if self.failures.iter().filter(|f| f.property == property).count() < LISTED {
            self.failures.push(Failure { property, what });
        }
    }

    fn name(&self, thing: usize) -> String {
        self.net.world.name(thing as u32)
    }

    fn name_of(&self, id: NodeId) -> String {
        self.net.by_id.get(&id).map_or_else(|| format!("unknown {id}"), |t| self.name(*t as usize))
    }

    /// Broken, and nothing else explains it.
    fn is_root(&self, thing: usize) -> bool {
        self.net.broken[thing] && self.net.supply.supplied[thing] && !self.net.world.things[thing].absent
    }
}

/// A digest of how every incident stands: two readings of the same log must give the same.
pub fn incidents_digest(bus: &Bus) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for entry in bus.standing(Noun::Incident) {
        for byte in serde_json::to_vec(&entry.heard.fact).unwrap_or_default() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    digest
}

/// Who was told what: the tenant, the audience, whether it began or ended, and the causes by name.
pub type Saying = (TenantId, &'static str, Phase, Vec<String>);

/// Every beginning and end that was told, and how often.
pub fn told(nets: &[Net], bus: &Bus) -> BTreeMap<Saying, usize> {
    let mut sayings: BTreeMap<Saying, usize> = BTreeMap::new();
    for net in nets {
        let judge = Judge::new(net, bus);
        let told = judge.told.values().filter(|told| told.delivered.is_some()).map(|told| told.notice);
        for notice in told.filter(|notice| matches!(notice.phase, Phase::Opened | Phase::Resolved)) {
            let mut causes: Vec<String> =
                notice.about.roots.iter().map(|root| judge.name_of(root.node)).collect();
            causes.sort();
            let saying = (net.tenant, notice.audience.name(), notice.phase, causes);
            *sayings.entry(saying).or_default() += 1;
        }
    }
    sayings
}

/// How many incidents began as one of lost sessions.
pub fn sessions_lost(bus: &Bus) -> usize {
    let opened = bus.log.iter().filter_map(incident).filter(|said| said.kind == IncidentKind::Opened);
    opened.filter(|said| said.now.class == IncidentClass::SessionsLost).count()
}

/// Seconds from the breaking of a first root to the delivery of the notice that names it.
pub fn told_after_s(nets: &[Net], bus: &Bus) -> Vec<f64> {
    let mut after = vec![];
    for net in nets {
        let judge = Judge::new(net, bus);
        for told in judge.told.values().filter(|t| t.notice.phase == Phase::Opened) {
            let thing = told.notice.about.roots.first().and_then(|r| net.by_id.get(&r.node));
            let (Some(thing), Some(delivered)) = (thing, told.delivered) else { continue };
            let broke = net
                .roots
                .iter()
                .filter(|s| s.thing == *thing && s.from_us <= told.notice.at.us())
                .map(|s| s.from_us)
                .max();
            if let Some(broke) = broke {
                after.push((delivered.us() - broke) as f64 / 1e6);
            }
        }
    }
    after
}
