//! What has gone through its ports?

use super::{Question, Unreadable, required, told_as};
use crate::command::{Command, Reply};
use crate::value;

/// The ports that the router was shipped with: not tunnels, VLANs, bridges, nor an interface a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports;

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortNow {
    /// The name it was shipped with, whatever it is called now: `ether1`, `sfp-sfpplus1`, `wlan1`.
    pub default_name: String,
    /// Received since the counters were reset.
    pub rx_bytes: Option<u64>,
    /// Sent since then.
    pub tx_bytes: Option<u64>,
    /// Whether it has a link.
    pub is_running: Option<bool>,
}

impl Question for Ports {
    type Answer = Vec<PortNow>;

    fn command(&self) -> Command {
        Command::new("/interface/print")
            .proplist(&["default-name", "rx-byte", "tx-byte", "running"])
            .query("default-name")
    }

    fn read(&self, reply: &Reply) -> Result<Vec<PortNow>, Unreadable> {
        let port = |row| {
            Ok(PortNow {
                default_name: required(row, "default-name")?.into_owned(),
                rx_bytes: told_as(row, "rx-byte", value::number),
                tx_bytes: told_as(row, "tx-byte", value::number),
                is_running: told_as(row, "running", value::truth),
            })
        };
        reply.rows.iter().map(port).collect()
    }
}

/// Which address belongs to which hardware, as the router has learnt it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp;

impl Question for Arp {
    type Answer = Vec<(String, String)>;

    fn command(&self) -> Command {
        Command::new("/ip/arp/print").proplist(&["address", "mac-address"])
    }

    /// Address and MAC. An entry without a MAC is one that nobody has answered for.
    fn read(&self, reply: &Reply) -> Result<Vec<(String, String)>, Unreadable> {
        let known = reply.rows.iter().filter(|row| row.text("mac-address").is_some());
        known
            .map(|row| {
                Ok((required(row, "address")?.into_owned(), required(row, "mac-address")?.into_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;

    #[test]
    fn counters_are_read_and_what_is_missing_is_not_invented() {
        let ports = Ports.read(&reply(&[
            &["default-name=ether1", "rx-byte=18446744073709551615", "tx-byte=7", "running=true"],
            &["default-name=ether2", "running=false"],
        ]));
        let ports = ports.unwrap();
        assert_eq!((ports[0].rx_bytes, ports[0].tx_bytes), (Some(u64::MAX), Some(7)));
        assert_eq!((ports[1].rx_bytes, ports[1].is_running), (None, Some(false)));
    }

    #[test]
    fn an_address_that_nobody_answers_for_has_no_hardware() {
        let arp = Arp
            .read(&reply(&[&["address=10.0.0.1", "mac-address=02:00:00:00:00:01"], &["address=10.0.0.2"]]));
        assert_eq!(arp, Ok(vec![("10.0.0.1".to_owned(), "02:00:00:00:00:01".to_owned())]));
    }
}
