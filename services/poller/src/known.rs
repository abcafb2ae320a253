//! What of the inventory the poller's work hangs on: who is watched, and who is around a router.

use domain::Children;
use events::{ClaimKey, Node, NodeId, NodeKind, Probe, TenantId, slot_of};
use kit::Slots;
use roster::Roster;
use std::{collections::BTreeSet, net::IpAddr};
use vault::{SessionKind, TenantKeys};

/// A node that the keeper itself watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Whose it is.
    pub(crate) tenant: TenantId,
    /// Which node.
    pub(crate) node: NodeId,
    /// Where it answers.
    pub(crate) address: IpAddr,
    /// How to look.
    pub(crate) probe: Probe,
    /// How often, seconds; at least 1.
    pub(crate) every_s: u32,
}

/// Everybody to be watched in these slots.
pub(crate) fn watched(roster: &Roster, slots: Slots) -> Vec<Watched> {
    let mut watched = Vec::new();
    roster.each(|tenant, node| {
        let Some(watch) = node.watch.filter(|_| slots.has(slot_of(node.id))) else { return };
        match node.address {
            Some(address) => watched.push(Watched {
                tenant,
                node: node.id,
                address,
                probe: watch.probe,
                every_s: watch.every_s.max(1),
            }),
            None => tracing::debug!(node = %node.id, "to be watched, but without an address"),
        }
    });
    watched
}

/// A subscriber that is pinged through a router if it has a static address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Static {
    /// Whose it is.
    pub(crate) tenant: TenantId,
    /// The router that sees it, which can be entered.
    pub(crate) router: NodeId,
    /// Which subscriber.
    pub(crate) subscriber: NodeId,
}

/// Whether a subscriber may have a static address: no session tells of it. Whether it has one only the person behind
/// it tells.
pub(crate) fn may_be_static(node: &Node) -> bool {
    node.kind == NodeKind::Subscriber && node.address.is_none() && node.claims.is_empty()
}

/// All subscribers that may have a static address, behind routers in these slots.
pub(crate) fn statics(roster: &Roster, slots: Slots) -> Vec<Static> {
    let routers = roster.routers(slots);
    let mut statics = Vec::new();
    roster.each(|tenant, node| {
        let router = node.seen_by.filter(|router| routers.contains_key(router));
        if let Some(router) = router.filter(|_| may_be_static(node)) {
            statics.push(Static { tenant, router, subscriber: node.id });
        }
    });
    statics
}

/// Those whom a router sees, by the names under which it may know them.
pub(crate) fn children(roster: &Roster, tenant: TenantId, router: NodeId) -> Children {
    let seen = roster.seen_by(tenant, router);
    Children::of(seen.iter().map(|node| (node.id, node.file_id.as_str(), node.address)))
}

/// Those around a router: whom it may hear, and whom it can send an echo.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Those whom it sees and those that need it, by the names under which it may know them.
    pub(crate) children: Children,
    /// Those whom it sees and that answer somewhere.
    pub(crate) addresses: Vec<(NodeId, IpAddr)>,
}

impl Surroundings {
    /// Those around `router`.
    pub(crate) fn of(roster: &Roster, tenant: TenantId, router: NodeId) -> Self {
        let around = roster.look(tenant, |network| {
            let graph = &network.graph;
            let index = graph.index_of(router)?;
            let nodes = |indexes: BTreeSet<_>| indexes.into_iter().filter_map(|index| graph.node(index));
            let seen: BTreeSet<_> = graph.sees(index).iter().copied().collect();
            let around = seen.iter().chain(graph.below(index)).copied().collect();
            Some(Self {
                children: Children::of(
                    nodes(around).map(|node| (node.id, node.file_id.as_str(), node.address)),
                ),
                addresses: nodes(seen).filter_map(|node| Some((node.id, node.address?))).collect(),
            })
        });
        around.flatten().unwrap_or_default()
    }
}

/// Under which keys sessions of these users and MACs at a router are claimed.
pub(crate) fn claim_keys<'a>(
    keys: &TenantKeys,
    router: NodeId,
    kind: SessionKind,
    names: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = ClaimKey> {
    names.into_iter().map(move |name| keys.look_up(router, kind, name))
}
