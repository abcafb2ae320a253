//! `/interface`: the uplink, and one for every session.

use super::{Menu, Rights};
use crate::network::RouterIndex;
use crate::router::Row;
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Interfaces];

struct Interfaces;

impl Menu for Interfaces {
    fn path(&self) -> &'static str {
        "/interface"
    }

    fn noun(&self) -> &'static str {
        "interface"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let mut rows = vec![uplink(state, router)];
        rows.extend(state.session_interface_rows(router));
        rows
    }
}

fn uplink(state: &State, router: RouterIndex) -> Row {
    /// Above the ids of everything that is added, below those of sessions.
    const UPLINK_ID: u32 = 0x0fff_ff01;
    let this = &state.routers[router.at()];
    let mut row = Row::of(UPLINK_ID);
    row.put("name", "ether1");
    row.put("default-name", "ether1");
    row.put("type", "ether");
    row.put("mtu", "1500");
    row.put("actual-mtu", "1500");
    row.put("mac-address", hardware(router));
    row.put("last-link-up-time", state.stamp(router, this.booted_at));
    row.put("link-downs", "0");
    row.put("running", "true");
    row.put("disabled", "false");
    row
}

/// The hardware address of a router's uplink.
pub(super) fn hardware(router: RouterIndex) -> String {
    format!("06:00:{:02X}:{:02X}:00:01", router.0 >> 8 & 0xff, router.0 & 0xff)
}
