//! What a router's neighbour table says, one device a value.
//!
//! A router has a row for every port at which it hears a device, and for every protocol peer: the rows of one
//! device are one [`Neighbour`]. They are told apart by the id of their software where they have one
//! (only MikroTik's discovery carries it), else by the hardware address that spoke.

use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// The most characters of a text that a device says of itself.
const TEXT_CHARS_MAX: usize = 100;

/// One row of `/ip/neighbor`, as the router writes it. Absent is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The port, then perhaps the bridge or bond it belongs to, parted by commas.
    pub interface: String,
    /// The hardware address that spoke.
    pub mac: String,
    /// What it is called; may be padded with zero characters.
    pub identity: String,
    /// Where it answers.
    pub address: Option<IpAddr>,
    /// Who made it.
    pub platform: String,
    /// Which model it is. MikroTik's discovery alone.
    pub board: String,
    /// Which software it runs.
    pub version: String,
    /// LLDP's description of it.
    pub description: String,
    /// What it can do and does, parted by commas (LLDP): `bridge`, `router`, `wlan-ap`, `station-only`.
    pub caps: String,
    /// What its software is told apart by. MikroTik's discovery alone.
    pub software_id: String,
}

/// What a device is called and where it answers: what may name a person. Sealed before it is said.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// What it says it is called.
    pub name: String,
    /// The hardware address that spoke, lower case; the first of several.
    pub mac: String,
    /// Where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen(…)")
    }
}

/// One device that a router hears.
#[derive(Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// What it is told apart by, wherever it is seen. To be hashed under a key.
    pub key: String,
    /// What it is called and where it answers.
    pub seen: Seen,
    /// At which ports it is heard. A customer's session is none.
    pub ports: BTreeSet<String>,
    /// Who made it.
    pub platform: Option<String>,
    /// Which model it is.
    pub board: Option<String>,
    /// Which software it runs.
    pub version: Option<String>,
    /// What LLDP says of it.
    pub description: Option<String>,
    /// What it does.
    pub caps: BTreeSet<String>,
}

// What may name a person is printed nowhere.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({}, {}, …)", self.platform, self.board)
    }
}

impl fmt::Debug for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Neighbour({:?}, {:?}, …)", self.platform, self.board)
    }
}

/// The devices that rows speak of, by what they are told apart by. The order of the rows does not matter.
/// A row without a hardware address speaks of nobody.
pub fn neighbours(rows: &[Row]) -> BTreeMap<String, Neighbour> {
    // Which software speaks from a hardware address, so that a row of another protocol joins it.
    let mut software: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let (mac, id) = (hardware(&row.mac), clean(&row.software_id));
        if let (Some(mac), Some(id)) = (mac, id) {
            software.entry(mac).or_default().insert(id);
        }
    }
    let mut devices: BTreeMap<String, Vec<(&Row, String)>> = BTreeMap::new();
    for row in rows {
        let Some(mac) = hardware(&row.mac) else { continue };
        let key = match software.get(&mac).and_then(BTreeSet::first) {
            Some(id) => format!("software {id}"),
            None => format!("mac {mac}"),
        };
        devices.entry(key).or_default().push((row, mac));
    }
    devices.into_iter().map(|(key, rows)| (key.clone(), merged(key, &rows))).collect()
}

fn merged(key: String, rows: &[(&Row, String)]) -> Neighbour {
    // Of several that differ the first in order of the alphabet: any rule serves that no order of rows changes.
    let first = |of: fn(&Row) -> &str| rows.iter().filter_map(|(row, _)| clean(of(row))).min();
    let caps = rows.iter().flat_map(|(row, _)| row.caps.split(',')).filter_map(clean);
    Neighbour {
        key,
        seen: Seen {
            name: first(|row| &row.identity).unwrap_or_default(),
            mac: rows.iter().map(|(_, mac)| mac.clone()).min().unwrap_or_default(),
            // One that can be reached from elsewhere before one that cannot.
            address: rows.iter().filter_map(|(row, _)| row.address).min_by_key(|a| (is_local(a), *a)),
        },
        ports: rows.iter().filter_map(|(row, _)| port(&row.interface)).collect(),
        platform: first(|row| &row.platform),
        board: first(|row| &row.board),
        version: first(|row| &row.version),
        description: first(|row| &row.description),
        caps: caps.collect(),
    }
}

/// Whether an address is good on its own link only, and so for no watch.
pub(super) fn is_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

/// A hardware address, lower case with colons; none when it is no such.
fn hardware(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let is_hardware = digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = digits.to_ascii_lowercase();
    is_hardware.then(|| {
        let pairs: Vec<&str> = (0..6).filter_map(|n| digits.get(2 * n..2 * n + 2)).collect();
        pairs.join(":")
    })
}

/// The port itself: an interface of the list `port,bridge`. `<pppoe-…>` names a customer's session.
fn port(interface: &str) -> Option<String> {
    let port = interface.split(',').next().and_then(clean)?;
    (!port.starts_with('<')).then_some(port)
}

/// A text up to its first zero character, not longer than people read; none when nothing is left.
fn clean(text: &str) -> Option<String> {
    let text = text.split('\0').next().unwrap_or_default().trim();
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mac: &str, interface: &str) -> Row {
        Row { mac: mac.into(), interface: interface.into(), ..Row::default() }
    }

    #[test]
    fn the_rows_of_one_device_are_one_and_a_padded_name_is_cut() {
        let rows = [
            Row {
                identity: "sector-1\0\0\0".into(),
                software_id: "ABCD-1234".into(),
                address: "fe80::1".parse().ok(),
                ..row("D4:CA:6D:00:00:01", "ether3,bridge1")
            },
            Row { caps: "bridge,wlan-ap".into(), ..row("d4ca.6d00.0001", "ether3") },
            Row {
                software_id: "ABCD-1234".into(),
                address: "10.0.0.7".parse().ok(),
                ..row("D4:CA:6D:00:00:02", "ether4")
            },
            row("", "ether9"),
            row("no address", "ether9"),
        ];
        let found = neighbours(&rows);
        let [device] = found.values().collect::<Vec<_>>()[..] else { panic!("{found:?}") };
        assert_eq!((device.seen.name.as_str(), device.seen.mac.as_str()), ("sector-1", "d4:ca:6d:00:00:01"));
        assert_eq!(device.seen.address, "10.0.0.7".parse().ok());
        assert_eq!(device.ports, BTreeSet::from(["ether3".to_owned(), "ether4".to_owned()]));
        assert!(device.caps.contains("wlan-ap"));
    }

    #[test]
    fn a_customers_session_is_no_port_and_nothing_prints_a_name() {
        let rows = [Row { identity: "Ada Smith".into(), ..row("02:00:00:00:00:01", "<pppoe-ada>") }];
        let found = neighbours(&rows);
        let device = &found["mac 02:00:00:00:00:01"];
        assert!(device.ports.is_empty());
        let printed = format!("{rows:?} {device:?} {:?}", device.seen);
        assert!(!printed.contains("Ada") && !printed.contains("02:00"), "{printed}");
    }
}
