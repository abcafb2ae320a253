//! `/ip/dhcp-server`: who has which address leased, and what is run when that changes.
//!
//! A customer asks for an address when he can reach the router and keeps it while he does. When the way
//! breaks the router notices nothing until the lease runs out; then it is taken back and the server's
//! script runs. Whoever has no static lease is shown only while he has one.

use std::net::IpAddr;

use crate::agenda::Due;
use crate::clock::SimTime;
use crate::jobs::Job;
use crate::network::{NodeIndex, RouterIndex};
use crate::router::{Attributes, Refusal, Row};
use crate::script::Status;
use crate::state::{Change, State};
use crate::version::duration;

/// `/ip/dhcp-server/lease`.
pub const LEASES: &str = "/ip/dhcp-server/lease";
/// The server of a router that has customers for one.
pub const SERVER: &str = "dhcp1";

/// How a customer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Without a lease.
    Off,
    /// Will ask for one, unless the way breaks before.
    Asking,
    /// Has one since then.
    Bound(SimTime),
    /// Has one as far as the router knows, but will not renew it.
    Silent(SimTime),
}

/// A lease: one that lasts, or one that was given by itself.
#[derive(Debug, Clone)]
pub struct Lease {
    mac: Box<str>,
    address: IpAddr,
    server: Box<str>,
    /// Whose; one that somebody added for nobody is never bound.
    node: Option<NodeIndex>,
    is_dynamic: bool,
    is_blocked: bool,
    disabled: bool,
    rate_limit: Box<str>,
    comment: Box<str>,
    standing: Standing,
    /// Rises with every change of standing; what was due for an earlier one no longer matters.
    generation: u32,
}

impl Lease {
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    fn bound_since(&self) -> Option<SimTime> {
        match self.standing {
            Standing::Bound(since) | Standing::Silent(since) => Some(since),
            Standing::Off | Standing::Asking => None,
        }
    }

    fn is_shown(&self) -> bool {
        !self.is_dynamic || self.bound_since().is_some()
    }
}

impl State {
    /// Gives a customer his lease; he has had it for a while.
    pub(crate) fn place_lease(&mut self, router: RouterIndex, node: NodeIndex, mac: &str) {
        if !self.serves(router, SERVER) {
            let script = self.pusher(router).filter(|_| self.habits(router).reports_sessions);
            let script = script.map(|pusher| pusher.lease()).unwrap_or_default();
            let time = duration(self.habits(router).lease_time);
            self.place_dhcp_server(router, &script, &time);
        }
        let address = self.network.node(node).address;
        let this = self.router(router);
        let id = this.next_id();
        let lease = Lease {
            mac: mac.to_ascii_uppercase().into(),
            address: address.unwrap_or_else(|| pool_address(router, id)),
            server: SERVER.into(),
            node: Some(node),
            is_dynamic: true,
            is_blocked: false,
            disabled: false,
            rate_limit: Box::default(),
            comment: Box::default(),
            standing: Standing::Off,
            generation: 0,
        };
        this.leases.insert(id, lease);
        if self.world.sees(router, node) {
            let since = self.clock.now();
            self.lease_stands(router, id, Standing::Bound(since));
        }
    }

    /// Looks at every lease of a router after something changed.
    pub(crate) fn look_at_leases(&mut self, router: RouterIndex) {
        if !self.routers[router.at()].is_powered {
            return;
        }
        let ids: Vec<u32> = self.routers[router.at()].leases.keys().copied().collect();
        for id in ids {
            self.look_at_lease(router, id);
        }
    }

    fn look_at_lease(&mut self, router: RouterIndex, id: u32) {
        let Some(lease) = self.routers[router.at()].leases.get(&id) else { return };
        let Some(node) = lease.node else { return };
        let may = !lease.is_blocked && !lease.disabled && self.serves(router, &lease.server);
        let asks = may && self.world.sees(router, node);
        match (lease.standing, asks) {
            (Standing::Off, true) => {
                let generation = self.lease_stands(router, id, Standing::Asking);
                let at = self.clock.now().after(self.dice.within(self.settings.sessions_return_over));
                self.agenda.add(at, Due::Bind { router, lease: id, generation });
            }
            (Standing::Asking, false) => {
                self.lease_stands(router, id, Standing::Off);
            }
            (Standing::Bound(since), false) => {
                let generation = self.lease_stands(router, id, Standing::Silent(since));
                // It was renewed at half its time at the latest.
                let bound = self.habits(router).lease_time;
                let at = self.clock.now().after(bound / 2 + self.dice.within(bound / 2));
                self.agenda.add(at, Due::Expire { router, lease: id, generation });
            }
            (Standing::Silent(since), true) => {
                self.lease_stands(router, id, Standing::Bound(since));
            }
            (Standing::Off, false)
            | (Standing::Asking | Standing::Bound(_), true)
            | (Standing::Silent(_), false) => {}
        }
    }

    fn lease_stands(&mut self, router: RouterIndex, id: u32, standing: Standing) -> u32 {
        let lease = self.router(router).leases.get_mut(&id).expect("only known leases are looked at");
        lease.standing = standing;
        lease.generation += 1;
        lease.generation
    }

    fn lease_at(&self, router: RouterIndex, id: u32, generation: u32) -> Option<&Lease> {
        let this = &self.routers[router.at()];
        this.leases.get(&id).filter(|lease| this.is_powered && lease.generation == generation)
    }

    /// A customer asks for his address.
    pub(crate) fn bind(&mut self, router: RouterIndex, id: u32, generation: u32) {
        if self.lease_at(router, id, generation).is_none_or(|lease| lease.standing != Standing::Asking) {
            return;
        }
        let since = self.clock.now();
        self.lease_stands(router, id, Standing::Bound(since));
        self.lease_turned(router, id, Status::Up);
    }

    /// A lease that was not renewed runs out.
    pub(crate) fn expire(&mut self, router: RouterIndex, id: u32, generation: u32) {
        if let Some(Lease { standing: Standing::Silent(_), .. }) = self.lease_at(router, id, generation) {
            self.release(router, id);
        }
    }

    fn release(&mut self, router: RouterIndex, id: u32) {
        self.lease_stands(router, id, Standing::Off);
        self.lease_turned(router, id, Status::Down);
    }

    fn lease_turned(&mut self, router: RouterIndex, id: u32, status: Status) {
        let Lease { mac, address, server, is_dynamic, .. } = self.routers[router.at()].leases[&id].clone();
        let what = match status {
            Status::Up => format!("{server} assigned {address} for {mac}"),
            Status::Down => format!("{server} deassigned {address} for {mac}"),
        };
        self.log(router, "dhcp,info", what);
        if is_dynamic && status == Status::Down {
            self.router(router).tell(LEASES, |_| Some(Change::Dead(format!("*{id:X}"))));
        } else {
            self.tell_lease(router, id);
        }
        self.run_script(router, Job::Lease { mac, address, server, status });
    }

    /// The power is gone. What was given by itself is forgotten; nothing is said of it.
    pub(crate) fn forget_leases(&mut self, router: RouterIndex) {
        for lease in self.router(router).leases.values_mut() {
            lease.standing = Standing::Off;
            lease.generation += 1;
        }
    }

    fn tell_lease(&mut self, router: RouterIndex, id: u32) {
        let row = self.lease_row(router, id);
        self.router(router).tell(LEASES, |_| row.clone().map(Change::Row));
    }

    /// Every row of the menu.
    pub(crate) fn lease_rows(&self, router: RouterIndex) -> Vec<Row> {
        self.routers[router.at()].leases.keys().filter_map(|id| self.lease_row(router, *id)).collect()
    }

    fn lease_row(&self, router: RouterIndex, id: u32) -> Option<Row> {
        let lease = self.routers[router.at()].leases.get(&id).filter(|lease| lease.is_shown())?;
        let mut row = Row::of(id);
        row.put("address", lease.address.to_string());
        row.put("mac-address", &*lease.mac);
        row.put("server", &*lease.server);
        row.put_if("rate-limit", &*lease.rate_limit);
        match lease.bound_since() {
            Some(since) => {
                row.put("status", "bound");
                row.put("age", duration(self.clock.now().since(since)));
                row.put("active-address", lease.address.to_string());
                row.put("active-mac-address", &*lease.mac);
                row.put("active-server", &*lease.server);
            }
            None => row.put("status", "waiting"),
        }
        row.put("radius", "false");
        row.put("dynamic", lease.is_dynamic.to_string());
        row.put("blocked", lease.is_blocked.to_string());
        row.put("block-access", lease.is_blocked.to_string());
        row.put("disabled", lease.disabled.to_string());
        row.put_if("comment", &*lease.comment);
        Some(row)
    }

    /// Adds a static lease.
    pub(crate) fn add_lease(&mut self, router: RouterIndex, attributes: &Attributes) -> Result<u32, Refusal> {
        let missing = |name| Refusal::argument(format!("missing value(s) of argument(s) {name}"));
        let mac = attributes.get("mac-address").ok_or_else(|| missing("mac-address"))?.to_ascii_uppercase();
        attributes.get("address").ok_or_else(|| missing("address"))?;
        let known = self.routers[router.at()].leases.iter().find(|(_, lease)| *lease.mac == *mac);
        let known = known.map(|(id, lease)| (*id, lease.clone()));
        if known.as_ref().is_some_and(|(_, lease)| !lease.is_dynamic) {
            return Err(Refusal::failure("failure: already have static lease with this address/client-id"));
        }
        let mut lease = match &known {
            Some((_, lease)) => Lease { is_dynamic: false, ..lease.clone() },
            None => Lease {
                mac: mac.into(),
                address: [0, 0, 0, 0].into(),
                server: SERVER.into(),
                node: None,
                is_dynamic: false,
                is_blocked: false,
                disabled: false,
                rate_limit: Box::default(),
                comment: Box::default(),
                standing: Standing::Off,
                generation: 0,
            },
        };
        change_lease(&mut lease, attributes)?;
        let id = match known {
            Some((id, _)) => id,
            None => self.router(router).next_id(),
        };
        self.router(router).leases.insert(id, lease);
        self.after_lease(router, id);
        Ok(id)
    }

    /// Changes a static lease. Blocking it ends it when it would be renewed.
    pub(crate) fn set_lease(&mut self, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        let mut lease = self.routers[router.at()].leases.get(&id).cloned().ok_or_else(Refusal::no_item)?;
        if lease.is_dynamic {
            return Err(Refusal::failure("failure: can not change dynamic lease"));
        }
        change_lease(&mut lease, to)?;
        self.router(router).leases.insert(id, lease);
        self.after_lease(router, id);
        Ok(())
    }

    fn after_lease(&mut self, router: RouterIndex, id: u32) {
        self.look_at_lease(router, id);
        self.tell_lease(router, id);
    }

    /// Removes a lease. A customer asks again at once.
    pub(crate) fn remove_lease(&mut self, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        let lease = self.routers[router.at()].leases.get(&id).ok_or_else(Refusal::no_item)?;
        let (has_customer, is_bound) = (lease.node.is_some(), lease.bound_since().is_some());
        if is_bound {
            self.release(router, id);
        }
        self.router(router).tell(LEASES, |_| Some(Change::Dead(format!("*{id:X}"))));
        if !has_customer {
            self.router(router).leases.remove(&id);
            return Ok(());
        }
        let lease = self.router(router).leases.get_mut(&id).expect("it was there a moment ago");
        (lease.is_dynamic, lease.is_blocked, lease.disabled) = (true, false, false);
        (lease.comment, lease.rate_limit) = (Box::default(), Box::default());
        self.look_at_lease(router, id);
        Ok(())
    }

    /// Makes a lease last.
    pub(crate) fn keep_lease(&mut self, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        self.router(router).leases.get_mut(&id).ok_or_else(Refusal::no_item)?.is_dynamic = false;
        self.tell_lease(router, id);
        Ok(())
    }
}

fn change_lease(lease: &mut Lease, attributes: &Attributes) -> Result<(), Refusal> {
    for (name, value) in attributes.iter() {
        match name {
            "mac-address" => lease.mac = value.to_ascii_uppercase().into(),
            "address" => {
                lease.address =
                    value.parse().map_err(|_| Refusal::argument("invalid value for argument address"))?;
            }
            "server" => lease.server = value.into(),
            "block-access" => lease.is_blocked = crate::router::truth(name, value)?,
            "disabled" => lease.disabled = crate::router::truth(name, value)?,
            "rate-limit" => lease.rate_limit = value.into(),
            "comment" => lease.comment = value.into(),
            "client-id" | "lease-time" => {}
            _ => return Err(Refusal::unknown_parameter(name)),
        }
    }
    Ok(())
}

/// An address of 100.96.0.0/11 for a customer without one of his own.
fn pool_address(router: RouterIndex, lease: u32) -> IpAddr {
    let n = router.0.wrapping_mul(4096).wrapping_add(lease) & 0x001f_ffff;
    IpAddr::V4(std::net::Ipv4Addr::from(0x6460_0000 | n))
}
