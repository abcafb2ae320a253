//! Radios: who is connected to a router by air, and how strongly each is heard.
//!
//! A radio is connected while the router sees it. Its signal drifts by a few decibels in the routers' time, each
//! around a level of its own; nothing of it is chance, so that two who look at the same moment see the same.

use std::time::Duration;

use crate::network::{NodeIndex, RouterIndex};
use crate::router::Row;
use crate::state::State;
use crate::version::duration;

/// Below the ids of sessions, above those of everything that is added.
const FIRST_ID: u32 = 0x0ffe_0000;

/// How long a signal stays the same.
const STEP: Duration = Duration::from_secs(30);

/// The interface that radios are connected to.
pub(crate) const WIRELESS: &str = "wlan1";
/// The same on version 7.13 and later.
pub(crate) const WIFI: &str = "wifi1";

impl State {
    /// Whether a router has an interface for radios.
    pub(crate) fn has_radios(&self, router: RouterIndex) -> bool {
        self.network.children(router).iter().any(|node| self.network.node(*node).is_radio)
    }

    /// The radios that are connected to a router.
    fn radios(&self, router: RouterIndex) -> Vec<NodeIndex> {
        let children = self.network.children(router).iter().copied();
        let radios: Vec<NodeIndex> = children.filter(|node| self.network.node(*node).is_radio).collect();
        self.world.seen_of(router, &radios)
    }

    /// How strongly a router hears a radio, dBm: around a level of its own between -52 and -76.
    pub(crate) fn signal_dbm(&self, node: NodeIndex) -> i32 {
        let step = self.clock.now().0.as_secs() / STEP.as_secs();
        let level = -52 - (node.0.wrapping_mul(7) % 25).cast_signed();
        level - i32::try_from(wave(step + u64::from(node.0), 4)).unwrap_or(0)
    }

    /// `/interface/wireless/registration-table`.
    pub(crate) fn wireless_rows(&self, router: RouterIndex) -> Vec<Row> {
        let row = |node: NodeIndex| {
            let (signal, known) = (self.signal_dbm(node), self.network.node(node));
            let mut row = Row::of(FIRST_ID + node.0);
            row.put("interface", WIRELESS);
            row.put("radio-name", &*known.id);
            row.put("mac-address", mac_of(node));
            row.put("ap", "false");
            row.put("rx-rate", "65Mbps-20MHz/1S");
            row.put("tx-rate", "144.4Mbps-20MHz/2S/SGI");
            row.put("uptime", self.radio_uptime(router));
            row.put("last-activity", "20ms");
            row.put("signal-strength", format!("{signal}@HT20-7"));
            row.put("signal-to-noise", (signal + 105).to_string());
            row.put("tx-ccq", "96");
            row.put_if("last-ip", known.address.map(|address| address.to_string()).unwrap_or_default());
            row
        };
        self.radios(router).into_iter().map(row).collect()
    }

    /// `/interface/wifi/registration-table`: neither address nor name of who it is.
    pub(crate) fn wifi_rows(&self, router: RouterIndex) -> Vec<Row> {
        let row = |node: NodeIndex| {
            let mut row = Row::of(FIRST_ID + node.0);
            row.put("interface", WIFI);
            row.put("ssid", "lab");
            row.put("mac-address", mac_of(node));
            row.put("uptime", self.radio_uptime(router));
            row.put("last-activity", "20ms");
            row.put("signal", self.signal_dbm(node).to_string());
            row.put("auth-type", "wpa2-psk");
            row.put("band", "5ghz-ac");
            row.put("tx-rate", "144400000");
            row.put("rx-rate", "65000000");
            row.put("authorized", "true");
            row
        };
        self.radios(router).into_iter().map(row).collect()
    }

    /// What a router has learnt of its radios' addresses.
    pub(crate) fn radio_arp_rows(&self, router: RouterIndex) -> Vec<Row> {
        let interface = if self.routers[router.at()].version.has_wifi() { WIFI } else { WIRELESS };
        let row = |node: NodeIndex| {
            let mut row = Row::of(FIRST_ID + node.0);
            row.put("address", self.network.node(node).address?.to_string());
            row.put("mac-address", mac_of(node));
            row.put("interface", interface);
            row.put("dynamic", "true");
            row.put("disabled", "false");
            Some(row)
        };
        self.radios(router).into_iter().filter_map(row).collect()
    }

    fn radio_uptime(&self, router: RouterIndex) -> String {
        duration(self.routers[router.at()].uptime(self.clock.now()))
    }
}

/// A radio's hardware address: in capitals, as registration tables show it.
pub(crate) fn mac_of(node: NodeIndex) -> String {
    let [a, b, c, d] = node.0.to_be_bytes();
    format!("06:01:{a:02X}:{b:02X}:{c:02X}:{d:02X}")
}

/// Up from 0 to `height` and down again, one a step.
pub(crate) fn wave(step: u64, height: u64) -> u64 {
    let place = step % (2 * height.max(1));
    place.min(2 * height.max(1) - place)
}
