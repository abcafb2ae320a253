//! `/interface`: the uplink, one for radios where there are any, and one for every session.

use super::{Menu, Rights};
use crate::network::RouterIndex;
use crate::radio::{WIFI, WIRELESS};
use crate::router::Row;
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Interfaces, &Wireless, &Wifi];

struct Interfaces;
struct Wireless;
struct Wifi;

impl Menu for Interfaces {
    fn path(&self) -> &'static str {
        "/interface"
    }

    fn noun(&self) -> &'static str {
        "interface"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let mut rows = vec![uplink(state, router)];
        rows.extend(state.has_radios(router).then(|| air(state, router)));
        rows.extend(state.session_interface_rows(router));
        rows
    }
}

impl Menu for Wireless {
    fn path(&self) -> &'static str {
        "/interface/wireless/registration-table"
    }

    fn noun(&self) -> &'static str {
        "registration"
    }

    fn is_on(&self, state: &State, router: RouterIndex) -> bool {
        state.has_radios(router) && !state.routers[router.at()].version.has_wifi()
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        state.wireless_rows(router)
    }
}

impl Menu for Wifi {
    fn path(&self) -> &'static str {
        "/interface/wifi/registration-table"
    }

    fn noun(&self) -> &'static str {
        "registration"
    }

    fn is_on(&self, state: &State, router: RouterIndex) -> bool {
        state.has_radios(router) && state.routers[router.at()].version.has_wifi()
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        state.wifi_rows(router)
    }
}

/// What has gone through an interface since the router started: so much a second, each router another amount.
fn count(row: &mut Row, state: &State, router: RouterIndex, rx_bytes_s: u64, tx_bytes_s: u64) {
    let up_s = state.routers[router.at()].uptime(state.clock.now()).as_secs();
    let own = 1_000 * u64::from(router.0 % 100);
    for (name, bytes_s) in [("rx-byte", rx_bytes_s + own), ("tx-byte", tx_bytes_s + own)] {
        row.put(name, (bytes_s * up_s).to_string());
    }
}

fn air(state: &State, router: RouterIndex) -> Row {
    const AIR_ID: u32 = 0x0fff_ff02;
    let this = &state.routers[router.at()];
    let (name, kind) = if this.version.has_wifi() { (WIFI, "wifi") } else { (WIRELESS, "wlan") };
    let mut row = Row::of(AIR_ID);
    row.put("name", name);
    row.put("default-name", name);
    row.put("type", kind);
    row.put("mtu", "1500");
    row.put("actual-mtu", "1500");
    row.put("mac-address", hardware(router).replace(":00:01", ":00:02"));
    row.put("last-link-up-time", state.stamp(router, this.booted_at));
    row.put("link-downs", "0");
    count(&mut row, state, router, 120_000, 900_000);
    row.put("running", "true");
    row.put("disabled", "false");
    row
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
    count(&mut row, state, router, 1_250_000, 160_000);
    row.put("running", "true");
    row.put("disabled", "false");
    row
}

/// The hardware address of a router's uplink.
pub(super) fn hardware(router: RouterIndex) -> String {
    format!("06:00:{:02X}:{:02X}:00:01", router.0 >> 8 & 0xff, router.0 & 0xff)
}
