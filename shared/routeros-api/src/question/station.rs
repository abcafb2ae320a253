//! Which radios has it heard, and how strongly?
//!
//! A box may have more than one of these menus; one that it lacks is refused as unknown.

use super::{Question, Unreadable, required, told, told_as};
use crate::command::{Command, Reply};
use crate::value::BadValue;

/// Where a router keeps the radios that are connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stations {
    /// `/interface/wifi`, since 7.13.
    Wifi,
    /// `/interface/wifiwave2`, before that.
    WifiWave2,
    /// `/interface/wireless`: version 6, and drivers of old on version 7.
    Wireless,
    /// `/caps-man`: radios at access points that this router manages.
    CapsMan,
}

/// A radio that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Its hardware address.
    pub mac: String,
    /// How strongly it is heard.
    pub signal_dbm: Option<i32>,
    /// The last address that was seen from it; may be one behind it.
    pub last_ip: Option<String>,
    /// What the operator wrote beside it.
    pub comment: Option<String>,
}

impl Stations {
    /// Every menu there may be, the newest first.
    pub const ALL: [Stations; 4] =
        [Stations::Wifi, Stations::WifiWave2, Stations::Wireless, Stations::CapsMan];

    fn path(self) -> &'static str {
        match self {
            Stations::Wifi => "/interface/wifi/registration-table/print",
            Stations::WifiWave2 => "/interface/wifiwave2/registration-table/print",
            Stations::Wireless => "/interface/wireless/registration-table/print",
            Stations::CapsMan => "/caps-man/registration-table/print",
        }
    }

    /// What holds how strongly the router hears it, not how strongly it hears the router.
    fn signal(self) -> &'static str {
        match self {
            Stations::Wifi | Stations::WifiWave2 => "signal",
            Stations::Wireless => "signal-strength",
            Stations::CapsMan => "rx-signal",
        }
    }
}

impl Question for Stations {
    type Answer = Vec<Station>;

    fn command(&self) -> Command {
        Command::new(self.path()).proplist(&["mac-address", self.signal(), "last-ip", "comment"])
    }

    fn read(&self, reply: &Reply) -> Result<Vec<Station>, Unreadable> {
        let station = |row| {
            Ok(Station {
                mac: required(row, "mac-address")?.into_owned(),
                signal_dbm: told_as(row, self.signal(), decibels),
                last_ip: told(row, "last-ip"),
                comment: told(row, "comment"),
            })
        };
        reply.rows.iter().map(station).collect()
    }
}

/// The number before whatever follows: `-51@1Mbps`, `-65dBm@1Mbps`, `-72`.
fn decibels(text: &str) -> Result<i32, BadValue> {
    let end = text.char_indices().find(|(n, c)| !(c.is_ascii_digit() || (*n == 0 && *c == '-')));
    let digits = end.map_or(text, |(end, _)| &text[..end]);
    digits.parse().map_err(|_| BadValue { text: text.chars().take(64).collect(), expected: "signal" })
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;

    #[test]
    fn a_signal_is_read_in_every_form_that_is_about() {
        let rows = reply(&[
            &["mac-address=4C:5E:0C:00:00:01", "signal-strength=-51@1Mbps", "last-ip=10.0.0.7"],
            &["mac-address=4C:5E:0C:00:00:02", "signal-strength=-65dBm@1Mbps"],
            &["mac-address=4C:5E:0C:00:00:03", "signal-strength=-66@HT20-7", "comment=nms:st-3"],
            &["mac-address=4C:5E:0C:00:00:04", "signal-strength=strong"],
        ]);
        let stations = Stations::Wireless.read(&rows).unwrap();
        let signals: Vec<Option<i32>> = stations.iter().map(|station| station.signal_dbm).collect();
        assert_eq!(signals, [Some(-51), Some(-65), Some(-66), None]);
        assert_eq!(stations[0].last_ip.as_deref(), Some("10.0.0.7"));
        assert_eq!(stations[2].comment.as_deref(), Some("nms:st-3"));
        let wifi = Stations::Wifi.read(&reply(&[&["mac-address=x", "signal=-72"]])).unwrap();
        assert_eq!(wifi[0].signal_dbm, Some(-72));
        let caps = Stations::CapsMan.read(&reply(&[&["mac-address=x", "rx-signal=-61", "tx-signal=-70"]]));
        assert_eq!(caps.unwrap()[0].signal_dbm, Some(-61));
    }

    #[test]
    fn nobody_connected_is_an_answer_and_a_station_without_an_address_is_not() {
        assert_eq!(Stations::Wifi.read(&reply(&[])), Ok(vec![]));
        let nameless = Stations::Wifi.read(&reply(&[&["signal=-72"]]));
        assert_eq!(nameless, Err(Unreadable::Missing { property: "mac-address" }));
    }
}
