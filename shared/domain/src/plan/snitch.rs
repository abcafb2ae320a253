//! What makes a router tell of its own children.
//!
//! Profiles tell of sessions, DHCP servers of leases, netwatch entries of what answers; what could not
//! be sent is kept in a script and said by a task of the scheduler.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::script::{PARKED, Pusher, Says};
use super::{Desired, Menu, attributes};

/// The policies our script and task have: what hooks have too, but for `reboot`. A script that
/// allows more than its caller silently does not run.
const POLICY: &str = "read,write,test";
/// How often the scheduler says what was kept.
const DRAIN_EVERY: &str = "1m";
/// The key of the script that keeps what could not be sent, and of the task that says it.
const PARKED_KEY: &str = "parked";

/// What a router is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snitches {
    /// Where to, and as whom.
    pub pusher: Pusher,
    /// Whether it tells of PPP sessions.
    pub sessions: bool,
    /// Whether it tells of DHCP leases.
    pub leases: bool,
    /// Whether it has a scheduler that runs: a device-mode may forbid it.
    pub scheduler: bool,
    /// What it watches.
    pub watched: Vec<Watched>,
    /// Seconds between two probes of a watched host; 30 is usual.
    pub interval_s: u32,
    /// How long a probe waits, milliseconds.
    pub timeout_ms: u32,
    /// Whether netwatch entries have a type: from 7.4 on. Ours is `simple`, which needs no thresholds.
    pub has_types: bool,
}

/// A host that a router watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The device's id in the network file.
    pub id: String,
    /// Where it answers.
    pub host: IpAddr,
}

impl Snitches {
    /// What the router should be.
    pub fn desired(&self) -> Desired {
        let mut desired = without_snitches();
        desired.own(Menu::Scripts, PARKED_KEY, attributes([("policy", POLICY)]));
        if self.scheduler {
            let drain = self.pusher.drain();
            let task = [
                ("interval", DRAIN_EVERY),
                ("on-event", drain.as_str()),
                ("policy", POLICY),
                ("disabled", "no"),
            ];
            desired.own(Menu::Tasks, PARKED_KEY, attributes(task));
        }
        if self.sessions {
            desired.block(Menu::Profiles, "on-up", Some(self.pusher.session(Says::Up)));
            desired.block(Menu::Profiles, "on-down", Some(self.pusher.session(Says::Down)));
        }
        if self.leases {
            desired.block(Menu::DhcpServers, "lease-script", Some(self.pusher.lease()));
        }
        for watched in &self.watched {
            let (up, down) =
                (self.pusher.netwatch(&watched.id, Says::Up), self.pusher.netwatch(&watched.id, Says::Down));
            let mut entry = attributes([
                ("host", &watched.host.to_string()),
                ("interval", &format!("{}s", self.interval_s)),
                ("timeout", &format!("{}ms", self.timeout_ms)),
                ("up-script", &up),
                ("down-script", &down),
                ("disabled", "no"),
            ]);
            if self.has_types {
                entry.extend(attributes([("type", "simple")]));
            }
            desired.own(Menu::Netwatch, &watched.id, entry);
        }
        desired
    }
}

/// A router on which nothing of ours tells anything: what uninstalling desires.
pub fn without_snitches() -> Desired {
    debug_assert_eq!(PARKED, format!("{}{PARKED_KEY}", Menu::Scripts.marker().1));
    let mut desired = Desired::default();
    desired.keep(Menu::Scripts);
    desired.keep(Menu::Tasks);
    desired.keep(Menu::Netwatch);
    desired.block(Menu::Profiles, "on-up", None);
    desired.block(Menu::Profiles, "on-down", None);
    desired.block(Menu::DhcpServers, "lease-script", None);
    desired
}

/// The menus that have to be read before snitches are planned.
pub fn snitch_menus() -> BTreeSet<Menu> {
    without_snitches().menus()
}
