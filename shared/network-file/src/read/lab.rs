//! The `lab` section.

use super::{
    Reader, Wanted,
    field::{Fields, NAME_MAX, short},
};
use crate::{
    lab::{Lab, LabDeviceMode, LabHints, LabRights},
    yaml::{Value, Yaml},
};
use std::collections::BTreeMap;

const HINTS: [&str; 16] = [
    "version",
    "latency",
    "loss",
    "netwatch",
    "netwatch_every",
    "netwatch_delay",
    "ppp_scripts",
    "session_timeout",
    "boot",
    "lease_time",
    "rights",
    "device_mode",
    "radius",
    "lived_in",
    "clock_behind",
    "bridges",
];

impl Reader<'_> {
    pub(super) fn lab(&mut self, file: &Fields<'_, '_>) -> Lab {
        let Some(entry) = file.get("lab") else { return Lab::default() };
        let mut keys = HINTS.to_vec();
        keys.extend(["reports_to", "nodes"]);
        let Some(fields) = self.fields(&entry.value, "the lab", &keys) else { return Lab::default() };
        let defaults = self.hints(&fields);
        let reports_to = self.url(&fields, "reports_to", &["http"], false);
        let nodes = fields.get("nodes").map(|entry| self.lab_nodes(&entry.value)).unwrap_or_default();
        Lab { defaults, nodes, reports_to }
    }

    fn lab_nodes(&mut self, yaml: &Yaml<'_>) -> BTreeMap<String, LabHints> {
        let mut nodes = BTreeMap::new();
        let Value::Map(entries) = &yaml.value else {
            let what = format!("`nodes` is a mapping from ids to hints, found {}", yaml.what());
            self.note(yaml.at, what, Some("write it like `core-1: {latency: 5ms}`"));
            return nodes;
        };
        for entry in entries {
            self.reference(&entry.key, entry.at, Wanted::Node);
            let Some(fields) = self.fields(&entry.value, "a lab node", &HINTS) else { continue };
            let hints = self.hints(&fields);
            if nodes.insert(entry.key.clone().into_owned(), hints).is_some() {
                let what = format!("`{}` stands twice under `nodes`", short(&entry.key));
                self.note(entry.at, what, Some("remove one of them"));
            }
        }
        nodes
    }

    fn hints(&mut self, fields: &Fields<'_, '_>) -> LabHints {
        /// A router without a battery begins in 1970.
        const DECADES_S: u64 = 60 * 365 * 86_400;
        let behind_ms = self.span_ms(fields, "clock_behind", 0, DECADES_S * 1_000);
        let mut ms = |key, least_ms, most_ms| {
            let ms = self.span_ms(fields, key, least_ms, most_ms)?;
            Some(u32::try_from(ms).expect("a day of milliseconds fits into 32 bits"))
        };
        LabHints {
            netwatch_every_ms: ms("netwatch_every", 1_000, 3_600_000),
            netwatch_delay_ms: ms("netwatch_delay", 0, 3_600_000),
            session_timeout_ms: ms("session_timeout", 0, 3_600_000),
            boot_ms: ms("boot", 0, 3_600_000),
            lease_time_ms: ms("lease_time", 10_000, 86_400_000),
            clock_behind_s: behind_ms.and_then(|ms| u32::try_from(ms / 1_000).ok()),
            latency_us: ms("latency", 0, 60_000).map(|ms| ms * 1_000),
            loss_ppm: self.loss_ppm(fields),
            netwatch: self.switch(fields, "netwatch"),
            ppp_scripts: self.switch(fields, "ppp_scripts"),
            rights: self.choice(fields, "rights", &LabRights::ALL),
            device_mode: self.choice(fields, "device_mode", &LabDeviceMode::ALL),
            radius: self.switch(fields, "radius"),
            lived_in: self.switch(fields, "lived_in"),
            bridges: self.switch(fields, "bridges"),
            version: self.optional_text(fields, "version", 40).map(|(_, version)| version.to_owned()),
        }
    }

    /// The share of lost packets under `loss`, such as `0.5%`, as parts of a million.
    fn loss_ppm(&mut self, fields: &Fields<'_, '_>) -> Option<u32> {
        let (at, text) = self.optional_text(fields, "loss", NAME_MAX)?;
        let ppm = text.strip_suffix('%').and_then(|number| {
            let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
            let digits = |t: &str| (1..=4).contains(&t.len()) && t.bytes().all(|c| c.is_ascii_digit());
            if !digits(whole) || !digits(part) {
                return None;
            }
            let ten_thousandths = format!("{part:0<4}").parse::<u32>().ok()?;
            let ppm = whole.parse::<u32>().ok()? * 10_000 + ten_thousandths;
            (ppm <= 1_000_000).then_some(ppm)
        });
        if ppm.is_none() {
            let what = format!("`loss` is a share from 0% to 100%, found `{}`", short(text));
            self.note(at, what, Some("write it like `0.5%`"));
        }
        ppm
    }
}
