//! `/system`: what a router is and how it stands.

use super::{Menu, Rights, single};
use crate::network::RouterIndex;
use crate::radio::wave;
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;
use crate::version::duration;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] =
    &[&Identity, &Resource, &Clock, &Routerboard, &Packages, &DeviceMode, &Health];

struct Identity;
struct Resource;
struct Clock;
struct Routerboard;
struct Packages;
struct DeviceMode;
struct Health;

impl Menu for Identity {
    fn path(&self) -> &'static str {
        "/system/identity"
    }

    fn noun(&self) -> &'static str {
        "system identity"
    }

    fn is_single(&self) -> bool {
        true
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        single(&[("name", &state.routers[router.at()].identity)])
    }

    fn set_all(
        &self,
        state: &mut State,
        router: RouterIndex,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        let name = attributes.get("name");
        let name = name.ok_or_else(|| Refusal::argument("missing value(s) of argument(s) name"))?;
        state.router(router).identity = name.to_owned();
        Ok(())
    }
}

impl Menu for Resource {
    fn path(&self) -> &'static str {
        "/system/resource"
    }

    fn noun(&self) -> &'static str {
        "system resource"
    }

    fn is_single(&self) -> bool {
        true
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let this = &state.routers[router.at()];
        let now = state.clock.now();
        single(&[
            ("uptime", &duration(this.uptime(now))),
            ("version", this.version.text()),
            ("free-memory", &(1_811_939_328 - 65_536 * wave(now.0.as_secs() / 20, 50)).to_string()),
            ("total-memory", "2147483648"),
            ("cpu", "ARM64"),
            ("cpu-count", "4"),
            ("cpu-load", &(3 + (now.0.as_secs() / 7 + u64::from(router.0)) % 9).to_string()),
            ("free-hdd-space", "98000000"),
            ("total-hdd-space", "134217728"),
            ("architecture-name", "arm64"),
            ("board-name", "CCR2004-16G-2S+"),
            ("platform", "MikroTik"),
        ])
    }
}

impl Menu for Clock {
    fn path(&self) -> &'static str {
        "/system/clock"
    }

    fn noun(&self) -> &'static str {
        "system clock"
    }

    fn is_single(&self) -> bool {
        true
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let (date, time) = state.date_and_time(router);
        single(&[("time", &time), ("date", &date), ("time-zone-name", "UTC"), ("gmt-offset", "+00:00")])
    }
}

impl Menu for Routerboard {
    fn path(&self) -> &'static str {
        "/system/routerboard"
    }

    fn noun(&self) -> &'static str {
        "routerboard"
    }

    fn is_single(&self) -> bool {
        true
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        single(&[
            ("routerboard", "true"),
            ("model", "CCR2004-16G-2S+"),
            ("serial-number", &format!("LAB{:08X}", router.0)),
            ("current-firmware", state.routers[router.at()].version.number()),
        ])
    }
}

impl Menu for Packages {
    fn path(&self) -> &'static str {
        "/system/package"
    }

    fn noun(&self) -> &'static str {
        "package"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let version = &state.routers[router.at()].version;
        // Version 6 comes as a bundle of many, version 7 as one and what was added.
        let names: &[&str] = if version.is_v6() {
            &["routeros-arm64", "system", "ppp", "dhcp", "security", "wireless", "advanced-tools", "routing"]
        } else {
            &["routeros", "wireless"]
        };
        let row = |(n, name): (usize, &&str)| {
            let mut row = Row::of(n as u32 + 1);
            row.put("name", *name);
            row.put("version", version.number());
            row.put("scheduled", "");
            row.put("disabled", "false");
            row
        };
        names.iter().enumerate().map(row).collect()
    }
}

impl Menu for DeviceMode {
    fn path(&self) -> &'static str {
        "/system/device-mode"
    }

    fn noun(&self) -> &'static str {
        "device-mode"
    }

    fn is_single(&self) -> bool {
        true
    }

    fn is_on(&self, state: &State, router: RouterIndex) -> bool {
        !state.routers[router.at()].version.is_v6()
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let mode = state.routers[router.at()].device_mode;
        let allowed = mode.allows_push().to_string();
        single(&[
            ("mode", mode.text()),
            ("flagged", "false"),
            ("scheduler", &allowed),
            ("fetch", &allowed),
            ("email", &allowed),
            ("pptp", "true"),
            ("l2tp", "true"),
        ])
    }
}

impl Menu for Health {
    fn path(&self) -> &'static str {
        "/system/health"
    }

    fn noun(&self) -> &'static str {
        "system health"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        // Slowly up and down again: a degree in five minutes, a tenth of a volt in one.
        let minutes = state.clock.now().0.as_secs() / 60;
        let warmth = (38 + u64::from(router.0 % 7) + wave(minutes / 5, 3)).to_string();
        let volts = format!("24.{}", 1 + wave(minutes, 2));
        if state.routers[router.at()].version.is_v6() {
            return single(&[("voltage", &volts), ("temperature", &warmth), ("cpu-temperature", &warmth)]);
        }
        let sensors =
            [("voltage", &*volts, "V"), ("temperature", &*warmth, "C"), ("cpu-temperature", &*warmth, "C")];
        let row = |(n, (name, value, kind)): (usize, (&str, &str, &str))| {
            let mut row = Row::of(n as u32 + 13);
            row.put("name", name);
            row.put("value", value);
            row.put("type", kind);
            row
        };
        sensors.into_iter().enumerate().map(row).collect()
    }
}
