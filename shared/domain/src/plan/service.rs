//! What subscribers have paid for, as the routers they dial into should enforce it.
//!
//! A PPPoE customer who is suspended has a disabled secret and no session: disabling alone ends none.
//! A customer with a fixed address is put on an address list, for which the operator has a rule. A user
//! who lives in RADIUS has no secret here: his session is ended, and that the rest is not ours is told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Change, Desired, Menu, Plan, attributes};

/// One subscriber's service on one router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The account in the operator's books.
    pub account: String,
    /// How he is connected.
    pub standing: Standing,
    /// Whether he is cut off.
    pub is_suspended: bool,
    /// Upload and download of his queue, bits per second; `None`: he has no queue of ours.
    pub rate_bps: Option<(u64, u64)>,
}

/// How a subscriber is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// He dials in.
    Pppoe {
        /// With this user name.
        user: String,
        /// By this profile; `None`: whatever the router says.
        profile: Option<String>,
    },
    /// He has a fixed address.
    Static(IpAddr),
}

/// What `services` desire of a router whose rules cut off who is on the address list `suspended`.
pub fn services(services: &[Service], suspended: &str) -> Desired {
    let mut desired = Desired::default();
    desired.keep(Menu::AddressLists);
    desired.keep(Menu::Queues);
    for service in services {
        let disabled = if service.is_suspended { "yes" } else { "no" };
        match &service.standing {
            Standing::Pppoe { user, profile } => {
                let mut held = attributes([("disabled", disabled)]);
                if let Some(profile) = profile {
                    held.extend(attributes([("profile", profile)]));
                }
                desired.hold(Menu::Secrets, user, held);
                if service.is_suspended {
                    desired.end(user);
                }
            }
            Standing::Static(address) => {
                let address = address.to_string();
                if service.is_suspended {
                    let row = [("list", suspended), ("address", address.as_str()), ("disabled", "no")];
                    desired.own(Menu::AddressLists, &service.account, attributes(row));
                }
                if let Some((up, down)) = service.rate_bps {
                    let limit = format!("{up}/{down}");
                    let row = [
                        ("name", service.account.as_str()),
                        ("target", address.as_str()),
                        ("max-limit", limit.as_str()),
                        ("disabled", "no"),
                    ];
                    desired.own(Menu::Queues, &service.account, attributes(row));
                }
            }
        }
    }
    desired
}

/// The menus that have to be read before services are planned.
pub fn services_menus() -> BTreeSet<Menu> {
    [Menu::Secrets, Menu::AddressLists, Menu::Queues, Menu::Sessions].into()
}

/// How many subscribers one run may cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// So many at any rate.
    pub count_max: usize,
    /// And beyond that this share of the router's active subscribers, percent.
    pub percent_max: usize,
}

impl Cut {
    /// Whether a plan may be applied without somebody's confirmation, on a router with so many active
    /// subscribers.
    pub fn allows(self, plan: &Plan, active_count: usize) -> bool {
        plan.cut_count() <= self.count_max.max(active_count.saturating_mul(self.percent_max) / 100)
    }
}

impl Plan {
    /// How many subscribers this cuts off: who is disabled, loses his session or comes on a list.
    pub fn cut_count(&self) -> usize {
        let is_disabled = |(name, value): &(String, String)| name == "disabled" && value == "yes";
        let cut = |change: &'_ Change| match change {
            Change::Remove { menu: Menu::Sessions, called, .. } => Some(called.clone()),
            Change::Set { menu: Menu::Secrets, called, attributes, .. } => {
                attributes.iter().any(is_disabled).then(|| called.clone())
            }
            Change::Add { menu: Menu::AddressLists, attributes } => {
                attributes.iter().find_map(|(name, value)| (name == "address").then(|| value.clone()))
            }
            Change::Add { .. } | Change::Set { .. } | Change::Remove { .. } => None,
        };
        self.changes.iter().filter_map(cut).collect::<BTreeSet<_>>().len()
    }
}
