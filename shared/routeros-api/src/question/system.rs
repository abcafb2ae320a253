//! Who the router is, since when it runs, and how it fares.

use std::time::Duration;

use super::{Question, Unreadable, first, required, required_as, span, told, told_as};
use crate::command::{Command, Reply};
use crate::value::{self, BadValue};

/// What is the router called?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity;

impl Question for Identity {
    type Answer = String;

    fn command(&self) -> Command {
        Command::new("/system/identity/print").proplist(&["name"])
    }

    fn read(&self, reply: &Reply) -> Result<String, Unreadable> {
        let name = required(first(reply)?, "name")?;
        // Names may be padded with NUL.
        Ok(name.split('\0').next().unwrap_or_default().to_owned())
    }
}

/// Since when does it run? The cheapest way to see a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uptime;

impl Question for Uptime {
    type Answer = Duration;

    fn command(&self) -> Command {
        Command::new("/system/resource/print").proplist(&["uptime"])
    }

    fn read(&self, reply: &Reply) -> Result<Duration, Unreadable> {
        required_as(first(reply)?, "uptime", span)
    }
}

/// What is it, and how does it fare?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource;

/// How a router fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceNow {
    /// Time since it started.
    pub uptime: Duration,
    /// The software it runs.
    pub version: Version,
    /// The model, such as `CCR2004-16G-2S+`.
    pub board_name: Option<String>,
    /// The kind of processor, such as `arm64`.
    pub architecture_name: Option<String>,
    /// 0 to 100. A virtual router may say 0 under load.
    pub cpu_load_percent: Option<u8>,
    /// Memory that is free, in bytes.
    pub free_memory_bytes: Option<u64>,
    /// Memory that there is, in bytes.
    pub total_memory_bytes: Option<u64>,
}

impl Question for Resource {
    type Answer = ResourceNow;

    fn command(&self) -> Command {
        Command::new("/system/resource/print").proplist(&[
            "uptime",
            "version",
            "board-name",
            "architecture-name",
            "cpu-load",
            "free-memory",
            "total-memory",
        ])
    }

    fn read(&self, reply: &Reply) -> Result<ResourceNow, Unreadable> {
        let row = first(reply)?;
        Ok(ResourceNow {
            uptime: required_as(row, "uptime", span)?,
            version: required_as(row, "version", Version::read)?,
            board_name: told(row, "board-name"),
            architecture_name: told(row, "architecture-name"),
            cpu_load_percent: told_as(row, "cpu-load", value::number),
            free_memory_bytes: told_as(row, "free-memory", value::number),
            total_memory_bytes: told_as(row, "total-memory", value::number),
        })
    }
}

/// A version of RouterOS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// 6 or 7.
    pub major: u16,
    /// 16 in `7.16.2`.
    pub minor: u16,
    /// 2 in `7.16.2`; 0 when it is not written, as in `7.16` and `7.25beta5`.
    pub patch: u16,
    /// As the router writes it: `7.16.2 (stable)`.
    pub text: String,
}

impl Version {
    /// Reads `6.49.10 (long-term)`, `7.16 (stable)` or `7.25beta5 (testing)`.
    ///
    /// # Errors
    ///
    /// [`BadValue`] when it does not begin with a major and a minor number.
    pub fn read(text: &str) -> Result<Self, BadValue> {
        numbers(text)
            .map(|(major, minor, patch)| Self { major, minor, patch, text: text.to_owned() })
            .ok_or_else(|| BadValue {
                text: value::printable(text.as_bytes(), 64),
                expected: "version of RouterOS",
            })
    }

    /// Whether this is `major.minor` or later.
    pub fn is_at_least(&self, major: u16, minor: u16) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

fn numbers(text: &str) -> Option<(u16, u16, u16)> {
    let number = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        Some((text[..digits].parse::<u16>().ok()?, digits))
    };
    let (major, rest) = text.split_once('.')?;
    let (minor, digits) = number(rest)?;
    let patch = match rest[digits..].strip_prefix('.') {
        Some(patch) => number(patch)?.0,
        None => 0,
    };
    Some((major.parse().ok()?, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;

    #[test]
    fn a_router_says_its_name_without_padding() {
        assert_eq!(Identity.read(&reply(&[&["name=core-1\0\0"]])), Ok("core-1".to_owned()));
        assert_eq!(Identity.read(&reply(&[])), Err(Unreadable::NoRow));
        assert_eq!(Identity.read(&reply(&[&[]])), Err(Unreadable::Missing { property: "name" }));
    }

    #[test]
    fn resources_of_both_versions_are_read() {
        let new = reply(&[&[
            "uptime=2d3h4m5s",
            "version=7.16.2 (stable)",
            "cpu-load=7",
            "free-memory=912345678",
            "board-name=CCR2004-16G-2S+",
        ]]);
        let now = Resource.read(&new).unwrap();
        assert_eq!(now.uptime, Duration::from_secs(2 * 86_400 + 3 * 3600 + 4 * 60 + 5));
        assert_eq!((now.cpu_load_percent, now.free_memory_bytes), (Some(7), Some(912_345_678)));
        assert_eq!((now.total_memory_bytes, now.version.is_at_least(7, 10)), (None, true));
        let old = reply(&[&["uptime=1w2d03:04:05", "version=6.49.10 (long-term)", "cpu-load=x"]]);
        let then = Resource.read(&old).unwrap();
        assert_eq!(then.uptime, Duration::from_secs(9 * 86_400 + 3 * 3600 + 4 * 60 + 5));
        assert_eq!((then.cpu_load_percent, then.version.is_at_least(7, 0)), (None, false));
        assert_eq!(Uptime.read(&old), Ok(then.uptime));
    }

    #[test]
    fn an_uptime_that_cannot_be_read_is_no_uptime() {
        let never = Uptime.read(&reply(&[&["uptime=never"]]));
        assert!(matches!(never, Err(Unreadable::Value { property: "uptime", .. })), "{never:?}");
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let numbers = |text| Version::read(text).map(|v| (v.major, v.minor, v.patch));
        assert_eq!(numbers("7.16.2 (stable)"), Ok((7, 16, 2)));
        assert_eq!(numbers("7.9"), Ok((7, 9, 0)));
        assert_eq!(numbers("7.25beta5 (testing)"), Ok((7, 25, 0)));
        assert_eq!(numbers("6.49.10 (long-term)"), Ok((6, 49, 10)));
        assert!(Version::read("7.18").unwrap().is_at_least(7, 9));
        for text in ["", "7", "x.y", "7.", "7.1.x", "99999.1"] {
            assert!(Version::read(text).is_err(), "{text}");
        }
    }
}
