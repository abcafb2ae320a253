//! `/ip/dhcp-server`, whose leases come and go: see [`crate::dhcp`].

use super::{Asked, Menu, Rights};
use crate::dhcp;
use crate::network::RouterIndex;
use crate::router::table::{Column, Form};
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&SERVERS, &Leases];

/// `/ip/dhcp-server`.
pub(crate) const SERVERS: Form = Form {
    path: "/ip/dhcp-server",
    noun: "dhcp server",
    columns: &[
        Column::text("name"),
        Column::text("interface"),
        Column::text("address-pool"),
        Column::time("lease-time"),
        Column::text("lease-script"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["interface"],
    unique: &["name"],
    taken: "failure: server with such name already exists",
    flags: &["dynamic", "invalid", "disabled"],
};

struct Leases;

impl Menu for Leases {
    fn path(&self) -> &'static str {
        dhcp::LEASES
    }

    fn noun(&self) -> &'static str {
        "dhcp lease"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        state.lease_rows(router)
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        state.add_lease(router, asked.attributes)
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        state.set_lease(router, id, to)
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        state.remove_lease(router, id)
    }

    fn deeds(&self) -> &'static [&'static str] {
        &["make-static"]
    }

    fn deed(
        &self,
        state: &mut State,
        router: RouterIndex,
        _verb: &str,
        id: u32,
        _attributes: &Attributes,
    ) -> Result<(), Refusal> {
        state.keep_lease(router, id)
    }
}

impl State {
    /// The DHCP server of a router that has customers for one.
    pub(crate) fn place_dhcp_server(&mut self, router: RouterIndex, script: &str, lease_time: &str) {
        let server = [
            ("name", dhcp::SERVER),
            ("interface", "ether1"),
            ("address-pool", "pool1"),
            ("lease-time", lease_time),
            ("lease-script", script),
        ];
        self.place(router, &SERVERS, &Attributes::from(&server));
    }

    /// The lease script of the server that a lease is of.
    pub(crate) fn lease_script(&self, router: RouterIndex, server: &str) -> Option<String> {
        let (_, row) = self.routers[router.at()].tables.get(SERVERS.path)?.find("name", server)?;
        let text = row.get("lease-script").filter(|text| !text.is_empty())?;
        Some(self.inline_or_named(router, text.to_owned()))
    }

    /// Whether a server of that name gives leases.
    pub(crate) fn serves(&self, router: RouterIndex, server: &str) -> bool {
        let table = self.routers[router.at()].tables.get(SERVERS.path);
        let row = table.and_then(|table| table.find("name", server));
        row.is_some_and(|(_, row)| row.get("disabled") != Some("true"))
    }
}
