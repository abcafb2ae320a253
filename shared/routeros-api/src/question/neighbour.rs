//! Whom does the router hear around it?

use std::net::IpAddr;

use super::{Question, Unreadable, told};
use crate::command::{Command, Reply};

/// Every row of `/ip/neighbor`: devices that say what they are by MNDP, LLDP or CDP. A device has a row for every
/// port at which it is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbours;

/// One device at one port, as the router writes it. Nothing of it has to be there.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Heard {
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
    /// Which model it is.
    pub board: String,
    /// Which software it runs.
    pub version: String,
    /// LLDP's description of it.
    pub description: String,
    /// What of LLDP's capabilities it uses, or has where it does not say which it uses.
    pub caps: String,
    /// What its software is told apart by.
    pub software_id: String,
}

/// Names and addresses may be a customer's: they are printed nowhere.
impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Heard({}, {}, …)", self.platform, self.board)
    }
}

impl Question for Neighbours {
    type Answer = Vec<Heard>;

    fn command(&self) -> Command {
        Command::new("/ip/neighbor/print").proplist(&[
            "interface",
            "mac-address",
            "identity",
            "address",
            "address4",
            "platform",
            "board",
            "version",
            "system-description",
            "system-caps",
            "system-caps-enabled",
            "software-id",
        ])
    }

    fn read(&self, reply: &Reply) -> Result<Vec<Heard>, Unreadable> {
        let heard = |row| {
            let text = |property| told(row, property).unwrap_or_default();
            let address = |property| told(row, property).and_then(|text| text.parse::<IpAddr>().ok());
            Heard {
                interface: text("interface"),
                mac: text("mac-address"),
                identity: text("identity"),
                address: address("address4").or_else(|| address("address")),
                platform: text("platform"),
                board: text("board"),
                version: text("version"),
                description: text("system-description"),
                caps: told(row, "system-caps-enabled").unwrap_or_else(|| text("system-caps")),
                software_id: text("software-id"),
            }
        };
        Ok(reply.rows.iter().map(heard).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;

    /// A row as version 7.5 writes it, one of LLDP alone, and one that says nothing.
    #[test]
    fn a_row_is_read_whatever_protocol_it_came_by() {
        let rows = reply(&[
            &[
                "interface=ether3,bridge",
                "address=10.9.0.2",
                "address4=10.9.0.2",
                "mac-address=D4:CA:6D:00:00:01",
                "identity=Ada",
                "platform=MikroTik",
                "version=7.5 (stable) Aug/30/2022 09:25:53",
                "board=RBLHG-5nD",
                "software-id=ABCD-1234",
                "system-caps=bridge,wlan-ap,router",
                "system-caps-enabled=bridge,router",
            ],
            &["interface=ether4", "mac-address=D4:CA:6D:00:00:02", "address=fe80::1", "system-caps=bridge"],
            &["interface=ether5"],
        ]);
        let heard = Neighbours.read(&rows).unwrap();
        assert_eq!((heard[0].caps.as_str(), heard[0].address), ("bridge,router", "10.9.0.2".parse().ok()));
        assert_eq!((heard[1].caps.as_str(), heard[1].address), ("bridge", "fe80::1".parse().ok()));
        assert_eq!(heard[2], Heard { interface: "ether5".into(), ..Heard::default() });
        assert!(!format!("{heard:?}").contains("Ada"));
    }
}
