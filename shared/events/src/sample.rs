//! What is measured: the one registry of metric names, and samples under them.
//!
//! A name carries its unit and means the same whoever measured it: interface counters read over the RouterOS
//! API and over SNMP differ in `source` and in nothing else. The name is the same in the `METRICS` stream, in
//! VictoriaMetrics, in the API and in dashboards. A name that is not here cannot be said.
//!
//! Samples are no facts of the log: nothing is decided by them, and they are kept for days.

use crate::{EventId, NodeId, TenantId, Time, subject::partition_of};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

/// How many samples one message holds: 300 bytes each at most, so that it stays below the 64 KiB of an event.
pub const SAMPLES_MAX: usize = 200;

/// The longest name of an interface or a profile, in characters. Longer ones are cut.
pub const OF_CHARS_MAX: usize = 64;

/// What is measured. The name says the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// There and back, from the router that sees the node, milliseconds. No sample where nothing came back.
    RttMs,
    /// How strongly its access point hears the node, dBm.
    SignalDbm,
    /// How busy the router's processors are, percent.
    CpuLoadPercent,
    /// Memory that is free, bytes.
    MemoryFreeBytes,
    /// Memory that there is, bytes.
    MemoryTotalBytes,
    /// Time since the router started, seconds.
    UptimeSeconds,
    /// What the board is fed with, volts.
    VoltageVolts,
    /// How warm the board is, degrees Celsius.
    TemperatureCelsius,
    /// Bytes an interface has received since it was last reset.
    InterfaceRxBytesTotal,
    /// Bytes an interface has sent since it was last reset.
    InterfaceTxBytesTotal,
    /// Whether an interface has a link: 1 or 0.
    InterfaceUp,
    /// PPP sessions of a concentrator.
    SessionsActiveCount,
    /// PPP sessions of a concentrator, of one profile.
    SessionsOfProfileCount,
}

/// Which part of a node a sample is about, besides the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The node as a whole.
    Node,
    /// One of its hardware interfaces, by the name it was shipped with.
    Interface,
    /// One of its PPP profiles.
    Profile,
}

impl Of {
    /// What the label is called that says which.
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Of::Node => None,
            Of::Interface => Some("interface"),
            Of::Profile => Some("profile"),
        }
    }
}

impl Metric {
    /// Every metric, in order.
    pub const ALL: [Metric; 13] = [
        Metric::RttMs,
        Metric::SignalDbm,
        Metric::CpuLoadPercent,
        Metric::MemoryFreeBytes,
        Metric::MemoryTotalBytes,
        Metric::UptimeSeconds,
        Metric::VoltageVolts,
        Metric::TemperatureCelsius,
        Metric::InterfaceRxBytesTotal,
        Metric::InterfaceTxBytesTotal,
        Metric::InterfaceUp,
        Metric::SessionsActiveCount,
        Metric::SessionsOfProfileCount,
    ];

    /// Its name, everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::RttMs => "rtt_ms",
            Metric::SignalDbm => "signal_dbm",
            Metric::CpuLoadPercent => "cpu_load_percent",
            Metric::MemoryFreeBytes => "memory_free_bytes",
            Metric::MemoryTotalBytes => "memory_total_bytes",
            Metric::UptimeSeconds => "uptime_seconds",
            Metric::VoltageVolts => "voltage_volts",
            Metric::TemperatureCelsius => "temperature_celsius",
            Metric::InterfaceRxBytesTotal => "interface_rx_bytes_total",
            Metric::InterfaceTxBytesTotal => "interface_tx_bytes_total",
            Metric::InterfaceUp => "interface_up",
            Metric::SessionsActiveCount => "sessions_active_count",
            Metric::SessionsOfProfileCount => "sessions_of_profile_count",
        }
    }

    /// What a value is counted in.
    pub const fn unit(self) -> &'static str {
        match self {
            Metric::RttMs => "ms",
            Metric::SignalDbm => "dBm",
            Metric::CpuLoadPercent => "%",
            Metric::MemoryFreeBytes | Metric::MemoryTotalBytes => "bytes",
            Metric::UptimeSeconds => "s",
            Metric::VoltageVolts => "V",
            Metric::TemperatureCelsius => "°C",
            Metric::InterfaceRxBytesTotal | Metric::InterfaceTxBytesTotal => "bytes",
            Metric::InterfaceUp => "1 or 0",
            Metric::SessionsActiveCount | Metric::SessionsOfProfileCount => "sessions",
        }
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Metric::RttMs => {
                "There and back, from the router that sees the node. No value where nothing came back."
            }
            Metric::SignalDbm => "How strongly its access point hears the station.",
            Metric::CpuLoadPercent => {
                "How busy the router's processors are. A virtual router may say 0 under load."
            }
            Metric::MemoryFreeBytes => "Memory that is free.",
            Metric::MemoryTotalBytes => "Memory that there is.",
            Metric::UptimeSeconds => "Time since the router started.",
            Metric::VoltageVolts => "What the board is fed with.",
            Metric::TemperatureCelsius => "How warm the board is.",
            Metric::InterfaceRxBytesTotal => "What the interface has received since it was last reset.",
            Metric::InterfaceTxBytesTotal => "What the interface has sent since it was last reset.",
            Metric::InterfaceUp => "Whether the interface has a link.",
            Metric::SessionsActiveCount => "PPP sessions of a concentrator.",
            Metric::SessionsOfProfileCount => {
                "PPP sessions of one profile; `(none)` are those without a secret of their own, as RADIUS users are."
            }
        }
    }

    /// Which part of a node its samples are about.
    pub const fn of(self) -> Of {
        match self {
            Metric::InterfaceRxBytesTotal | Metric::InterfaceTxBytesTotal | Metric::InterfaceUp => {
                Of::Interface
            }
            Metric::SessionsOfProfileCount => Of::Profile,
            Metric::RttMs
            | Metric::SignalDbm
            | Metric::CpuLoadPercent
            | Metric::MemoryFreeBytes
            | Metric::MemoryTotalBytes
            | Metric::UptimeSeconds
            | Metric::VoltageVolts
            | Metric::TemperatureCelsius
            | Metric::SessionsActiveCount => Of::Node,
        }
    }
}

/// What can be asked for: what is stored, or what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// The samples themselves.
    Stored(Metric),
    /// Bits per second, from a counter of bytes: resets and wraps are handled where the rate is taken, once.
    BitsPerSecond {
        /// Its name.
        name: &'static str,
        /// The counter.
        counter: Metric,
        /// What it means, for people.
        meaning: &'static str,
    },
}

/// Those curves that are worked out.
const RATES: [Curve; 2] = [
    Curve::BitsPerSecond {
        name: "interface_rx_bps",
        counter: Metric::InterfaceRxBytesTotal,
        meaning: "What the interface receives, from `interface_rx_bytes_total`.",
    },
    Curve::BitsPerSecond {
        name: "interface_tx_bps",
        counter: Metric::InterfaceTxBytesTotal,
        meaning: "What the interface sends, from `interface_tx_bytes_total`.",
    },
];

impl Curve {
    /// Every curve, in order.
    pub fn all() -> impl Iterator<Item = Curve> {
        Metric::ALL.into_iter().map(Curve::Stored).chain(RATES)
    }

    /// The curve of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|curve| curve.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Curve::Stored(metric) => metric.name(),
            Curve::BitsPerSecond { name, .. } => name,
        }
    }

    /// What a value is counted in.
    pub const fn unit(self) -> &'static str {
        match self {
            Curve::Stored(metric) => metric.unit(),
            Curve::BitsPerSecond { .. } => "bit/s",
        }
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Curve::Stored(metric) => metric.meaning(),
            Curve::BitsPerSecond { meaning, .. } => meaning,
        }
    }

    /// What is stored of it.
    pub const fn stored(self) -> Metric {
        match self {
            Curve::Stored(metric) => metric,
            Curve::BitsPerSecond { counter, .. } => counter,
        }
    }
}

/// Who measured it, and so how good it is: the only thing in which two measurements of one thing differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SampleSource {
    /// Read from a router over its API.
    Routeros,
    /// Read over SNMP.
    Snmp,
}

impl SampleSource {
    /// Its name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            SampleSource::Routeros => "routeros",
            SampleSource::Snmp => "snmp",
        }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Of whom.
    pub node: NodeId,
    /// What.
    pub metric: Metric,
    /// Of which interface or profile; absent where the metric is about the node as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// How much, in the unit of the metric's name.
    pub value: f64,
}

impl Sample {
    /// Of a node as a whole.
    pub fn new(node: NodeId, metric: Metric, value: f64) -> Self {
        Self { node, metric, of: None, value }
    }

    /// Of one of its parts.
    pub fn part(node: NodeId, metric: Metric, of: &str, value: f64) -> Self {
        let of = of.chars().filter(|c| !c.is_control()).take(OF_CHARS_MAX).collect();
        Self { node, metric, of: Some(of), value }
    }
}

/// What was measured at or through one router, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Samples {
    /// Which router.
    pub router: NodeId,
    /// For which moment of the schedule.
    pub due: Time,
    /// When the reading began: the time of every sample.
    pub at: Time,
    /// Who measured.
    pub source: SampleSource,
    /// Which message of the reading, from 0.
    pub part: u32,
    /// How many messages the reading has.
    pub parts: u32,
    /// At most [`SAMPLES_MAX`].
    pub samples: Vec<Sample>,
}

impl Samples {
    /// A reading as messages; none of an empty one.
    pub fn of_reading(
        router: NodeId,
        (due, at): (Time, Time),
        source: SampleSource,
        samples: &[Sample],
    ) -> Vec<Samples> {
        let parts = u32::try_from(samples.len().div_ceil(SAMPLES_MAX)).unwrap_or(u32::MAX);
        let message = |(part, samples): (u32, &[Sample])| Samples {
            router,
            due,
            at,
            source,
            part,
            parts,
            samples: samples.to_vec(),
        };
        (0..).zip(samples.chunks(SAMPLES_MAX)).map(message).collect()
    }

    /// The message's id: the same however often it is said, and whoever read the router at that moment.
    pub fn id(&self) -> EventId {
        EventId::of_samples(self.router, self.source.name(), self.due, self.part)
    }

    /// The subject that a tenant's samples of a router lie under.
    pub fn subject(tenant: TenantId, router: NodeId) -> String {
        format!("metrics.{}.{tenant}.{router}", partition_of(tenant))
    }

    /// Whose samples lie under a subject, and of which router.
    pub fn parts_of_subject(subject: &str) -> Option<(TenantId, NodeId)> {
        let rest = subject.strip_prefix("metrics.")?;
        let mut tokens = rest.split('.');
        let (part, tenant, router) = (tokens.next()?, tokens.next()?, tokens.next()?);
        let tenant: TenantId = tenant.parse().ok()?;
        let is_whole = tokens.next().is_none() && part.parse() == Ok(partition_of(tenant));
        is_whole.then_some((tenant, router.parse().ok()?))
    }

    /// The JSON Schema of the newest version.
    pub fn schema() -> Schema {
        let mut schema = schema_for!(Samples);
        schema.insert("$id".into(), "urn:mastwatch:samples.taken:1".into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn router() -> NodeId {
        NodeId::of(TenantId::of("hillside"), "core-1")
    }

    #[test]
    fn a_name_stands_for_one_thing_and_says_its_unit() {
        let names: BTreeSet<&str> = Curve::all().map(Curve::name).collect();
        assert_eq!(names.len(), Curve::all().count());
        let units = [
            "_ms", "_dbm", "_percent", "_bytes", "_seconds", "_volts", "_celsius", "_total", "_up", "_count",
            "_bps",
        ];
        for curve in Curve::all() {
            let name = curve.name();
            assert!(units.iter().any(|unit| name.ends_with(unit)), "{name} has no unit");
            assert_eq!(Curve::named(name), Some(curve));
        }
        for metric in Metric::ALL {
            let written = serde_json::to_value(metric).unwrap();
            assert_eq!(written, metric.name(), "one name in messages and everywhere else");
        }
    }

    #[test]
    fn an_unknown_name_cannot_be_said() {
        assert_eq!(Curve::named("signal_strength"), None);
        let said = format!("{{\"node\":\"{}\",\"metric\":\"signal_strength\",\"value\":1}}", router());
        assert!(serde_json::from_str::<Sample>(&said).is_err());
    }

    #[test]
    fn a_subject_says_whose_it_is_and_nothing_else_passes() {
        let tenant = TenantId::of("hillside");
        let subject = Samples::subject(tenant, router());
        assert_eq!(Samples::parts_of_subject(&subject), Some((tenant, router())));
        let elsewhere = subject.replacen(&format!("metrics.{}.", partition_of(tenant)), "metrics.64.", 1);
        for wrong in ["metrics.x", "mw.1.t.answer.x", &elsewhere, &format!("{subject}.x")] {
            assert_eq!(Samples::parts_of_subject(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_largest_message_is_smaller_than_an_event_may_be() {
        let longest = "\"".repeat(200);
        let metric = Metric::SessionsOfProfileCount;
        let samples = vec![Sample::part(router(), metric, &longest, -1.234_567_890_123_456_7e-300); 450];
        let messages =
            Samples::of_reading(router(), (Time::EPOCH, Time::EPOCH), SampleSource::Routeros, &samples);
        assert_eq!(messages.iter().map(|m| m.samples.len()).collect::<Vec<_>>(), [200, 200, 50]);
        assert!(messages.iter().all(|message| serde_json::to_vec(message).unwrap().len() <= 64 * 1024));
        let ids: BTreeSet<EventId> = messages.iter().map(Samples::id).collect();
        assert_eq!(ids.len(), 3);
        assert!(
            Samples::of_reading(router(), (Time::EPOCH, Time::EPOCH), SampleSource::Snmp, &[]).is_empty()
        );
    }

    #[test]
    fn who_measures_changes_the_source_and_nothing_else() {
        let sample = Sample::part(router(), Metric::InterfaceRxBytesTotal, "ether1", 12.0);
        let read = |source| {
            let samples = [sample.clone()];
            let mut all = Samples::of_reading(router(), (Time::EPOCH, Time::EPOCH), source, &samples);
            serde_json::to_value(all.remove(0)).unwrap()
        };
        let (api, mut snmp) = (read(SampleSource::Routeros), read(SampleSource::Snmp));
        assert_ne!(api, snmp);
        snmp["source"] = api["source"].clone();
        assert_eq!(api, snmp);
    }
}
