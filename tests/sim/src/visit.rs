//! The reconciler's visits: what a router knows and nobody has heard of is claimed.
//!
//! What differs is found as the service finds it, by `domain::reporter`; the tables are the simulated router's, and
//! what is believed is what stands in the log.

use crate::{
    agenda::Agenda,
    bus::Bus,
    net::{Net, SECOND_US},
    run::Ev,
    world::Role,
};
use domain::reporter::{Child, differences};
use events::{About, EventId, Fact, Flag, HealthKind, Noun, Say, Signal, SignalSource, Time};
use uuid::Uuid;

/// Looks at a router, if it answers. One that has just booted is looked at again when it is blind no more.
pub fn visit(agenda: &mut Agenda<Ev>, net: &mut Net, bus: &Bus, router: u32) {
    let now = agenda.now_us();
    if !net.supply.works[router as usize] || net.world.things[router as usize].absent {
        return;
    }
    let Some(told) = net.read(now, router) else { return };
    let blind_ms = net.world.policy.blind_after_boot_ms;
    let left_ms = i64::from(blind_ms) - i64::try_from(told.uptime_ms).unwrap_or(i64::MAX);
    if left_ms > 0 {
        agenda.after(left_ms * 1_000, Ev::Visit { net: net.no, thing: router, again: false });
        return;
    }
    let children: Vec<Child> = net.routers[&router].children.iter().map(|c| believed(net, bus, *c)).collect();
    for difference in differences(&told, &children, blind_ms) {
        let detail = if difference.by_session { "session" } else { "netwatch" };
        let signal = Signal {
            about: About::Node(difference.node),
            says: difference.says,
            source: SignalSource::Reconcile,
            sender: Some(net.ids[router as usize]),
            boot: None,
            seq: None,
            sealed_name: None,
            detail: Some(detail.into()),
        };
        let id = EventId(Uuid::from_u64_pair(0x4ec0_0000_0000_0000 | u64::from(net.no), net.draw()));
        let at = Time::from_us(now);
        let say = Say { id, tenant: net.tenant, at, cause: None, fact: Fact::Signal(signal) };
        agenda.after(net.between(5_000, 2 * SECOND_US), Ev::Publish(Box::new(say)));
    }
}

/// The next visit of its turn comes after two thirds to four thirds of `every_s`.
pub fn plan_next(agenda: &mut Agenda<Ev>, net: &mut Net, router: u32, every_s: u32) {
    if every_s > 0 {
        let every_us = i64::from(every_s) * SECOND_US;
        let wait_us = net.between(every_us * 2 / 3, every_us * 4 / 3);
        agenda.after(wait_us, Ev::Visit { net: net.no, thing: router, again: true });
    }
}

fn believed(net: &Net, bus: &Bus, child: u32) -> Child {
    let i = child as usize;
    let said = bus.last(net.tenant, Noun::Health, net.ids[i].0).and_then(|entry| match &entry.heard.fact {
        Fact::Health(said) if said.kind != HealthKind::Retired => Some(&said.now),
        _ => None,
    });
    let is_pending = |flags: &[Flag]| flags.contains(&Flag::Suspect) || flags.contains(&Flag::Recovering);
    let is_session = net.world.things[i].role == Role::Subscriber;
    Child {
        node: net.ids[i],
        file_id: net.world.name(child),
        address: None,
        keys: if is_session { vec![crate::world::World::claim_key(net.ids[i])] } else { vec![] },
        health: said.map(|now| now.health),
        is_pending: said.is_some_and(|now| is_pending(&now.flags)),
    }
}
