//! What does the router itself hold for up and down?

use std::time::Duration;

use super::{Question, Unreadable, required, span, told, told_as};
use crate::command::{Command, Reply};
use crate::value::{self, WallClock};

/// Every entry of `/tool/netwatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Netwatch;

/// One thing that a router watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// What is watched: an address, perhaps with `@vrf` or `%interface`, or a name.
    pub host: String,
    /// What the router holds of it.
    pub status: WatchStatus,
    /// Since when, by the router's own clock.
    pub since: Option<WallClock>,
    /// The item's id.
    pub id: Option<String>,
    /// Its name; version 6 has none.
    pub name: Option<String>,
    /// `simple`, `icmp`, `tcp-conn` and so on; version 6 has none and is `simple`.
    pub kind: Option<String>,
    /// What the operator wrote beside it.
    pub comment: Option<String>,
    /// Whether it is switched off, and then says nothing.
    pub is_disabled: bool,
    /// Time between two tests.
    pub interval: Option<Duration>,
    /// How long a test waits.
    pub timeout: Option<Duration>,
}

/// What a router holds of a thing that it watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchStatus {
    /// It answered.
    Up,
    /// It did not.
    Down,
    /// It has not been tested yet, or the router uses a word that we do not know.
    Unknown,
}

impl Question for Netwatch {
    type Answer = Vec<Watch>;

    fn command(&self) -> Command {
        Command::new("/tool/netwatch/print").proplist(&[
            ".id", "name", "host", "type", "status", "since", "disabled", "comment", "interval", "timeout",
        ])
    }

    fn read(&self, reply: &Reply) -> Result<Vec<Watch>, Unreadable> {
        let watch = |row| {
            Ok(Watch {
                host: required(row, "host")?.into_owned(),
                status: match told(row, "status").as_deref() {
                    Some("up") => WatchStatus::Up,
                    Some("down") => WatchStatus::Down,
                    Some(_) | None => WatchStatus::Unknown,
                },
                since: told_as(row, "since", value::wall_clock),
                id: told(row, ".id"),
                name: told(row, "name"),
                kind: told(row, "type"),
                comment: told(row, "comment"),
                is_disabled: told_as(row, "disabled", value::truth).unwrap_or(false),
                interval: told_as(row, "interval", span),
                timeout: told_as(row, "timeout", span),
            })
        };
        reply.rows.iter().map(watch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;

    #[test]
    fn entries_of_both_versions_are_read() {
        let rows = reply(&[
            &[
                ".id=*1",
                "name=sector-3",
                "host=10.9.0.2",
                "type=icmp",
                "status=down",
                "interval=10s",
                "timeout=3s",
                "since=2025-06-02 11:32:45",
                "disabled=false",
                "comment=mw",
            ],
            &[".id=*2", "host=10.9.0.3", "status=up", "since=jan/02/1970 00:00:05", "interval=00:01:00"],
            &["host=10.9.0.4", "disabled=yes"],
            &["host=10.9.0.5", "status=flapping", "since=soon"],
        ]);
        let watches = Netwatch.read(&rows).unwrap();
        let statuses: Vec<WatchStatus> = watches.iter().map(|watch| watch.status).collect();
        use WatchStatus::{Down, Unknown, Up};
        assert_eq!(statuses, [Down, Up, Unknown, Unknown]);
        assert_eq!(watches[0].since.unwrap().to_string(), "2025-06-02 11:32:45");
        assert_eq!(watches[1].since.unwrap().year, 1970);
        assert_eq!(watches[1].interval, Some(Duration::from_secs(60)));
        assert!(watches[2].is_disabled && !watches[1].is_disabled);
        assert_eq!((watches[3].since, watches[0].kind.as_deref()), (None, Some("icmp")));
    }

    #[test]
    fn an_entry_that_watches_nothing_is_no_entry() {
        let hostless = Netwatch.read(&reply(&[&["status=up"]]));
        assert_eq!(hostless, Err(Unreadable::Missing { property: "host" }));
    }
}
