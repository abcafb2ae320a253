//! `/ip` and `/queue`: what is put there is kept.

use super::{Asked, Menu, Rights};
use crate::network::RouterIndex;
use crate::router::table::{Column, Form};
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&ADDRESSES, &Arp, &DNS, &ADDRESS_LISTS, &ROUTES, &QUEUES];

const ADDRESSES: Form = Form {
    path: "/ip/address",
    noun: "address",
    columns: &[
        Column::text("address"),
        Column::text("network"),
        Column::text("interface"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["address", "interface"],
    unique: &["address", "interface"],
    taken: "failure: already have such address",
    flags: &["dynamic", "disabled"],
};

const ARP: Form = Form {
    path: "/ip/arp",
    noun: "arp entry",
    columns: &[
        Column::text("address"),
        Column::text("mac-address"),
        Column::text("interface"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["address"],
    unique: &["address"],
    taken: "failure: already have such entry",
    flags: &["dynamic", "disabled"],
};

/// What was put there, and what was learnt of radios.
struct Arp;

impl Menu for Arp {
    fn path(&self) -> &'static str {
        ARP.path
    }

    fn noun(&self) -> &'static str {
        ARP.noun
    }

    fn rows(&self, state: &State, router: RouterIndex, rights: Rights) -> Vec<Row> {
        let mut rows = ARP.rows(state, router, rights);
        rows.extend(state.radio_arp_rows(router));
        rows
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        ARP.add(state, router, asked)
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        ARP.set(state, router, id, to)
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        ARP.remove(state, router, id)
    }
}

const DNS: Form = Form {
    path: "/ip/dns/static",
    noun: "static dns entry",
    columns: &[
        Column::text("name"),
        Column::text("address"),
        Column::text("type"),
        Column::text("ttl"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &[],
    unique: &[],
    taken: "",
    flags: &["dynamic", "disabled"],
};

const ADDRESS_LISTS: Form = Form {
    path: "/ip/firewall/address-list",
    noun: "address list entry",
    columns: &[
        Column::text("list"),
        Column::text("address"),
        Column::text("timeout"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["list", "address"],
    unique: &["list", "address"],
    taken: "failure: already have such entry",
    flags: &["dynamic", "disabled"],
};

const ROUTES: Form = Form {
    path: "/ip/route",
    noun: "route",
    columns: &[
        Column::text("dst-address"),
        Column::text("gateway"),
        Column::text("distance"),
        Column::text("scope"),
        Column::text("routing-table"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["gateway"],
    unique: &[],
    taken: "",
    flags: &["dynamic", "disabled"],
};

const QUEUES: Form = Form {
    path: "/queue/simple",
    noun: "simple queue",
    columns: &[
        Column::text("name"),
        Column::hosts("target"),
        Column::text("parent"),
        Column::text("priority"),
        Column::rates("limit-at"),
        Column::rates("max-limit"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["name", "target"],
    unique: &["name"],
    taken: "failure: already have such name",
    flags: &["dynamic", "invalid", "disabled"],
};
