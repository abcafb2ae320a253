//! `/ip/neighbor`: boxes tell those who hear them what they are, as long as they can be heard.
//!
//! Who hears whom follows from who needs whom (see [`crate::network::Neighbour`]); a box that somebody has plugged in
//! elsewhere since is heard there.

use std::time::Duration;

use super::interface::hardware;
use super::{Menu, Rights};
use crate::network::{Neighbour, NodeIndex, Port, RouterIndex};
use crate::radio::{WIFI, WIRELESS};
use crate::router::Row;
use crate::state::State;
use crate::version::duration;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Neighbours];

impl State {
    /// Looks at who can still be heard next to a router after something changed.
    pub(crate) fn look_at_neighbours(&mut self, router: RouterIndex) {
        let now = self.clock.now();
        let here: Vec<NodeIndex> =
            self.plugged_in_at(router).iter().map(|neighbour| neighbour.node).collect();
        let this = self.router(router);
        // What was unplugged falls silent.
        for (node, silent_since) in &mut this.neighbours {
            if !here.contains(node) {
                silent_since.get_or_insert(now);
            }
        }
        for node in here {
            let is_heard = self.world.sees(router, node);
            let neighbours = &mut self.router(router).neighbours;
            match neighbours.get_mut(&node) {
                Some(silent_since) if !is_heard => _ = silent_since.get_or_insert(now),
                Some(_) | None if is_heard => _ = neighbours.insert(node, None),
                Some(_) | None => {}
            }
        }
    }

    /// Plugs a box in at another port, perhaps of another router. Who feeds it is not changed by it.
    pub fn plug_in(&mut self, node: NodeIndex, router: RouterIndex, port: u16) {
        self.plugged.insert(node, (router, port));
        for router in self.network.router_indices() {
            self.look_at_neighbours(router);
        }
    }

    fn plugged_in_at(&self, router: RouterIndex) -> Vec<Neighbour> {
        let built = self.network.neighbours(router).iter().copied();
        let mut here: Vec<Neighbour> = built.filter(|it| !self.plugged.contains_key(&it.node)).collect();
        let moved = self.plugged.iter().filter(|(_, (there, _))| *there == router);
        here.extend(moved.map(|(node, (_, port))| Neighbour { node: *node, port: Port::Ether(*port) }));
        here
    }

    fn port_of(&self, router: RouterIndex, node: NodeIndex) -> String {
        let here = self.plugged_in_at(router);
        let port = here.iter().find(|it| it.node == node).map_or(Port::Ether(1), |it| it.port);
        match port {
            Port::Ether(number) => format!("ether{number}"),
            Port::Air if self.routers[router.at()].version.has_wifi() => WIFI.to_owned(),
            Port::Air => WIRELESS.to_owned(),
        }
    }
}

/// `/ip/neighbor`.
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
            let played = state.network.played(*node).map(|played| &state.routers[played.at()]);
            let mut row = Row::of(node.0 + 1);
            row.put("interface", state.port_of(router, *node));
            row.put_if("address", said.address.map(|address| address.to_string()).unwrap_or_default());
            row.put(
                "mac-address",
                match state.network.played(*node) {
                    Some(played) => hardware(played),
                    None => format!("06:01:{:02X}:{:02X}:00:01", node.0 >> 8 & 0xff, node.0 & 0xff),
                },
            );
            row.put("identity", played.map_or_else(|| said.id.to_string(), |played| played.identity.clone()));
            row.put("platform", "MikroTik");
            row.put("version", played.map_or(version, |played| &played.version).text());
            row.put("board", said.board);
            row.put("software-id", format!("LAB0-{:04X}", node.0 & 0xffff));
            let age_s =
                silent_s + now_s.saturating_sub(silent_s).wrapping_add(u64::from(node.0) * 7) % SAID_EVERY_S;
            row.put("age", duration(Duration::from_secs(age_s)));
            if !version.is_v6() {
                row.put("system-caps", "bridge,wlan-ap,router");
                row.put("system-caps-enabled", "bridge,router");
                row.put("discovered-by", "cdp,lldp,mndp");
            }
            rows.push(row);
        }
        rows
    }
}
