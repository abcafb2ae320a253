//! `/ip` and `/queue`: what is put there is kept, and neighbours are seen.

use super::interface::hardware;
use super::{Asked, Menu, Rights};
use crate::network::{RouterIndex, Sight};
use crate::router::table::{Column, Form};
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;
use crate::version::duration;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] =
    &[&ADDRESSES, &Arp, &DNS, &ADDRESS_LISTS, &ROUTES, &QUEUES, &Neighbours];

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

impl State {
    /// Looks at who can still be heard next to a router after something changed.
    pub(crate) fn look_at_neighbours(&mut self, router: RouterIndex) {
        let network = std::sync::Arc::clone(&self.network);
        let now = self.clock.now();
        for node in network.children(router) {
            if !matches!(network.node(*node).seen_by, Some((_, Sight::Netwatch))) {
                continue;
            }
            let is_heard = self.world.sees(router, *node);
            let neighbours = &mut self.router(router).neighbours;
            match neighbours.get_mut(node) {
                Some(silent_since) if !is_heard => _ = silent_since.get_or_insert(now),
                Some(_) | None if is_heard => _ = neighbours.insert(*node, None),
                Some(_) | None => {}
            }
        }
    }
}

/// `/ip/neighbor`: the boxes a router watches tell it of themselves as long as they can be heard.
struct Neighbours;

impl Menu for Neighbours {
    fn path(&self) -> &'static str {
        "/ip/neighbor"
    }

    fn noun(&self) -> &'static str {
        "neighbor"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        /// A neighbour says that it is there every so often. Source: `discover-interval`.
        const SAID_EVERY_S: u64 = 30;
        /// And is forgotten when it has not. Source: a TTL of four times that and a second.
        const FORGOTTEN_AFTER_S: u64 = 121;
        let version = &state.routers[router.at()].version;
        let now_s = state.clock.now().0.as_secs();
        let mut rows = Vec::new();
        for (node, silent_since) in &state.routers[router.at()].neighbours {
            let said = state.network.node(*node);
            let silent_s = silent_since.map_or(0, |since| state.clock.now().since(since).as_secs());
            if silent_s > FORGOTTEN_AFTER_S {
                continue;
            }
            let played =
                state.network.router_indices().find(|other| state.network.router(*other).node == *node);
            let mut row = Row::of(node.0 + 1);
            row.put("interface", "ether1");
            row.put_if("address", said.address.map(|address| address.to_string()).unwrap_or_default());
            row.put(
                "mac-address",
                match played {
                    Some(played) => hardware(played),
                    None => format!("06:01:{:02X}:{:02X}:00:01", node.0 >> 8 & 0xff, node.0 & 0xff),
                },
            );
            row.put(
                "identity",
                match played {
                    Some(played) => state.routers[played.at()].identity.clone(),
                    None => said.id.to_string(),
                },
            );
            row.put("platform", "MikroTik");
            row.put(
                "version",
                match played {
                    Some(played) => state.routers[played.at()].version.text(),
                    None => version.text(),
                },
            );
            row.put("board", if played.is_some() { "CCR2004-16G-2S+" } else { "RBLHG-5nD" });
            let age_s =
                silent_s + now_s.saturating_sub(silent_s).wrapping_add(u64::from(node.0) * 7) % SAID_EVERY_S;
            row.put("age", duration(std::time::Duration::from_secs(age_s)));
            if !version.is_v6() {
                row.put("discovered-by", "cdp,lldp,mndp");
            }
            rows.push(row);
        }
        rows
    }
}
