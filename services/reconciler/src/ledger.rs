//! What subscribers of a tenant are entitled to, and how far routers were last said to show it.
//!
//! A fold over the log and nothing else: whoever starts reads the same again. An entitlement without a standing at
//! a router that may hold the subscriber's session is what is left to do.

use domain::Network;
use events::{
    ClaimKey, Cutting, Enforcement, EnforcementState, Entitled, Entitlement, EventId, Fact, Group, Heard,
    Member, Node, NodeId, RouterEnforcement, RouterEnforcementState, ServiceState, SubscriberEnforcement,
    Time,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// One entitlement as it was last said.
#[derive(Debug, Clone)]
struct Said {
    entitled: Arc<Entitled>,
    event: EventId,
    heard: Time,
}

/// What one subscriber is to get at one router, and how that stands.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The subscriber.
    pub(crate) subscriber: Arc<Node>,
    /// What it is to get.
    pub(crate) entitled: Arc<Entitled>,
    /// The event that says so.
    pub(crate) event: EventId,
    /// When the log stored it.
    pub(crate) heard: Time,
    /// How it stands at the router; none: nothing was said.
    pub(crate) standing: Option<SubscriberEnforcement>,
    /// When the log stored that.
    pub(crate) standing_heard: Time,
}

/// The entitlements of one tenant and their standings.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    said: BTreeMap<NodeId, Said>,
    cutting: Option<Cutting>,
    routers: HashMap<NodeId, RouterEnforcement>,
    /// By router, then subscriber.
    standings: BTreeMap<(NodeId, NodeId), (SubscriberEnforcement, Time)>,
    /// Of whom something new was said since anybody asked.
    changed: BTreeSet<NodeId>,
}

impl Ledger {
    /// Takes in one fact; whether somebody has to be looked at for it.
    pub(crate) fn hear(&mut self, heard: &Heard) -> bool {
        match &heard.fact {
            Fact::Entitlement(said) => match &said.now {
                Entitlement::Subscriber(entitled) => {
                    let (node, entitled) = (entitled.node, Arc::new(entitled.clone()));
                    self.said.insert(node, Said { entitled, event: heard.id, heard: heard.heard });
                    self.changed.insert(node);
                    true
                }
                Entitlement::Cutting(cutting) => {
                    let before = self.cutting.replace(cutting.clone());
                    // What was held back meanwhile goes on.
                    if before.is_some_and(|before| before.halted) && !cutting.halted {
                        let held = self.standings.iter();
                        let held = held.filter(|(_, (now, _))| now.state == EnforcementState::Held);
                        self.changed.extend(held.map(|((_, node), _)| *node));
                    }
                    !self.changed.is_empty()
                }
            },
            Fact::Enforcement(Enforcement::Router(now)) => {
                self.routers.insert(now.router, now.clone());
                false
            }
            Fact::Enforcement(Enforcement::Subscriber(now)) => {
                self.standings.insert((now.router, now.node), (now.clone(), heard.heard));
                false
            }
            _ => false,
        }
    }

    /// The routers at which something new is to be done, each with the last event that said so.
    pub(crate) fn take_changed(&mut self, network: &Network) -> BTreeMap<NodeId, EventId> {
        let mut routers = BTreeMap::new();
        for node in std::mem::take(&mut self.changed) {
            let Some(said) = self.said.get(&node) else { continue };
            let Some(subscriber) = node_of(network, node) else { continue };
            for router in routers_of(&subscriber) {
                let done = self.standings.get(&(router, node)).is_some_and(|(now, _)| {
                    now.wanted == said.event
                        && matches!(now.state, EnforcementState::InForce | EnforcementState::Partly)
                });
                if !done {
                    routers.insert(router, said.event);
                }
            }
        }
        routers
    }

    /// What is to be in force at a router, in order of subscribers. Some may turn out to be none of its own: whose
    /// session it may hold is told by the user's name.
    pub(crate) fn wanted(&self, network: &Network, router: NodeId) -> Vec<Wanted> {
        let wanted = |(node, said): (&NodeId, &Said)| {
            let subscriber = node_of(network, *node)?;
            if said.entitled.state == ServiceState::Released || !routers_of(&subscriber).contains(&router) {
                return None;
            }
            let (standing, standing_heard) = self.standings.get(&(router, *node)).cloned().unzip();
            Some(Wanted {
                subscriber,
                entitled: Arc::clone(&said.entitled),
                event: said.event,
                heard: said.heard,
                standing,
                standing_heard: standing_heard.unwrap_or_default(),
            })
        };
        self.said.iter().filter_map(wanted).collect()
    }

    /// Whose session is claimed under `key`, and the routers that may hold it, if he is not to be served.
    pub(crate) fn unserved(&self, network: &Network, key: ClaimKey) -> Option<(NodeId, BTreeSet<NodeId>)> {
        let graph = &network.graph;
        let subscriber = graph.node(graph.index_of_claim(key)?)?;
        match self.said.get(&subscriber.id)?.entitled.state {
            ServiceState::Suspended | ServiceState::Ended => Some((subscriber.id, routers_of(subscriber))),
            ServiceState::Active | ServiceState::Released => None,
        }
    }

    /// Who was cut off at a router after a time.
    pub(crate) fn cut_since(&self, router: NodeId, since: Time) -> BTreeSet<NodeId> {
        let of_router = self.standings.range((router, NodeId::default())..);
        let of_router = of_router.take_while(|((of, _), _)| *of == router);
        of_router
            .filter(|(_, (now, _))| now.cut_at.is_some_and(|at| at > since))
            .map(|((_, n), _)| *n)
            .collect()
    }

    /// The switch, if somebody has halted all cutting off.
    pub(crate) fn halted(&self) -> Option<&Cutting> {
        self.cutting.as_ref().filter(|cutting| cutting.halted)
    }

    /// How many are held back at these routers.
    pub(crate) fn held_count(&self, is_ours: impl Fn(NodeId) -> bool) -> u64 {
        let held = self.routers.values();
        let held = held.filter(|now| now.state == RouterEnforcementState::Held && is_ours(now.router));
        held.map(|now| u64::from(now.held_count)).sum()
    }
}

fn node_of(network: &Network, node: NodeId) -> Option<Arc<Node>> {
    let graph = &network.graph;
    graph.node(graph.index_of(node)?).cloned()
}

/// The routers that may hold a subscriber's session: the one that sees it, and those it needs for that.
fn routers_of(subscriber: &Node) -> BTreeSet<NodeId> {
    fn collect(group: &Group, into: &mut BTreeSet<NodeId>) {
        for member in &group.members {
            match member {
                Member::Node(node) => _ = into.insert(*node),
                Member::Group(group) => collect(group, into),
            }
        }
    }
    let mut routers: BTreeSet<NodeId> = subscriber.seen_by.into_iter().collect();
    // One key for each router that may hold it; without a second one there is no second router.
    if subscriber.claims.len() > 1 {
        subscriber.needs.iter().for_each(|group| collect(group, &mut routers));
    }
    routers
}
