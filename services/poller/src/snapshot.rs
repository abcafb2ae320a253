//! One snapshot of a router: what it shows of itself and of those around it, as samples.
//!
//! Over the session that everybody shares and within the router's places, so that asks and heartbeats go on
//! beside it. What a router does not have (radios, sensors, subscribers) is left out; what it does not tell in time
//! is left out too and makes the snapshot partial: a gap is shown, never a zero.
//!
//! Who a radio is: the one that its comment names (`nms:<file id>`), else whose address was last seen from
//! it, else whose address the router has for its MAC, else the subscriber whose lease is claimed under that MAC.
//! MACs, addresses and user names are used for that and are in no sample.

use crate::{
    known::Surroundings,
    routers::{Line, Trouble, Way},
    tables::{ActiveNames, left},
    through::rtt_of,
};
use events::{Metric, NodeId, Sample, TenantId};
use futures::StreamExt;
use roster::Roster;
use routeros_api::{
    Question,
    question::{Arp, Health, Ping, Ports, ProfileOfSecrets, Resource, Station, Stations},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    num::NonZeroU16,
    time::Duration,
};
use tokio::time::Instant;
use vault::SessionKind;

/// How long one table may take.
const TABLE_WITHIN: Duration = Duration::from_secs(20);

/// How long a router may take for its first word; one that is away is given up early.
const FIRST_WITHIN: Duration = Duration::from_secs(8);

/// How long an echo through the router is waited for.
const ECHO_WITHIN: Duration = Duration::from_secs(1);

/// What the router may take longer to say what became of it.
const GRACE: Duration = Duration::from_secs(2);

/// Echoes at once, of the router's places: asks have the others.
const ECHOES_AT_ONCE: usize = 4;

/// Ports of one router that are told; the largest chassis has fewer.
const PORTS_MAX: usize = 128;

/// Profiles that are told each by itself; the sessions of further ones are told together.
const PROFILES_MAX: usize = 50;

/// What those further ones are called.
const OTHERS: &str = "(others)";

/// The profile of those without a secret of their own.
const NONE: &str = "(none)";

/// What came of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taken {
    /// What was read.
    pub(crate) samples: Vec<Sample>,
    /// What was not, for people; none: everything was.
    pub(crate) missing: Option<String>,
}

struct Reading<'a> {
    roster: &'a Roster,
    tenant: TenantId,
    router: NodeId,
    line: &'a Line,
    by: Instant,
    taken: Taken,
}

/// Reads a router until `by` at the latest.
///
/// # Errors
///
/// Why it told nothing at all, for people.
pub(crate) async fn take(
    roster: &Roster,
    (tenant, router): (TenantId, NodeId),
    line: &Line,
    by: Instant,
) -> Result<Taken, String> {
    if let Some(why) = line.is_rejected() {
        return Err(format!("not tried again yet: {why}"));
    }
    let taken = Taken { samples: Vec::new(), missing: None };
    let mut reading = Reading { roster, tenant, router, line, by, taken };
    reading.resources().await.map_err(Trouble::why)?;
    if let Err(trouble) = reading.rest().await {
        reading.taken.missing.get_or_insert(trouble.why());
    }
    Ok(reading.taken)
}

impl Reading<'_> {
    /// Everything after the first word. Ends early only when the router is lost.
    async fn rest(&mut self) -> Result<(), Trouble> {
        self.health().await?;
        self.ports().await?;
        self.sessions().await?;
        let around = Surroundings::of(self.roster, self.tenant, self.router);
        self.signals(&around).await?;
        self.latencies(&around).await
    }

    fn say(&mut self, metric: Metric, value: f64) {
        self.taken.samples.push(Sample::new(self.router, metric, value));
    }

    fn say_if(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.say(metric, value);
        }
    }

    /// Asks in one of the router's places. None: it has no such menu, or refuses, which is noted.
    async fn ask<Q: Question>(
        &mut self,
        question: &Q,
        within: Duration,
    ) -> Result<Option<Q::Answer>, Trouble> {
        let (line, by) = (self.line, self.by);
        let _place = line
            .places()
            .asks
            .place_by(by)
            .await
            .map_err(|_| Trouble::Cannot("its time was over while others asked it".into()))?;
        match line.ask(question, left(by).min(within), Way::ByTurns).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Trouble::Trap { unknown: true, .. }) => Ok(None),
            Err(trouble @ (Trouble::Trap { .. } | Trouble::Cannot(_))) if !left(by).is_zero() => {
                self.taken.missing.get_or_insert(trouble.why());
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn resources(&mut self) -> Result<(), Trouble> {
        let (line, by) = (self.line, self.by);
        let _place = line
            .places()
            .asks
            .place_by(by)
            .await
            .map_err(|_| Trouble::Cannot("its time was over while others asked it".into()))?;
        let now = line.ask(&Resource, left(by).min(FIRST_WITHIN), Way::ByTurns).await?;
        self.say(Metric::UptimeSeconds, now.uptime.as_secs_f64());
        self.say_if(Metric::CpuLoadPercent, now.cpu_load_percent.map(f64::from));
        self.say_if(Metric::MemoryFreeBytes, now.free_memory_bytes.map(as_f64));
        self.say_if(Metric::MemoryTotalBytes, now.total_memory_bytes.map(as_f64));
        Ok(())
    }

    async fn health(&mut self) -> Result<(), Trouble> {
        if let Some(now) = self.ask(&Health, TABLE_WITHIN).await? {
            self.say_if(Metric::VoltageVolts, now.voltage);
            self.say_if(Metric::TemperatureCelsius, now.temperature);
        }
        Ok(())
    }

    async fn ports(&mut self) -> Result<(), Trouble> {
        let ports = self.ask(&Ports, TABLE_WITHIN).await?.unwrap_or_default();
        for port in ports.iter().filter(|port| is_port(&port.default_name)).take(PORTS_MAX) {
            let values = [
                (Metric::InterfaceRxBytesTotal, port.rx_bytes.map(as_f64)),
                (Metric::InterfaceTxBytesTotal, port.tx_bytes.map(as_f64)),
                (Metric::InterfaceUp, port.is_running.map(|up| f64::from(u8::from(up)))),
            ];
            for (metric, value) in values {
                let sample = value.map(|value| Sample::part(self.router, metric, &port.default_name, value));
                self.taken.samples.extend(sample);
            }
        }
        Ok(())
    }

    async fn sessions(&mut self) -> Result<(), Trouble> {
        let Some(active) = self.ask(&ActiveNames, TABLE_WITHIN).await? else { return Ok(()) };
        self.say(Metric::SessionsActiveCount, as_f64(active.len() as u64));
        if active.is_empty() {
            return Ok(());
        }
        let Some(secrets) = self.ask(&ProfileOfSecrets, TABLE_WITHIN).await? else { return Ok(()) };
        for (profile, count) in by_profile(&active, secrets) {
            let metric = Metric::SessionsOfProfileCount;
            self.taken.samples.push(Sample::part(self.router, metric, &profile, as_f64(count)));
        }
        Ok(())
    }

    async fn signals(&mut self, around: &Surroundings) -> Result<(), Trouble> {
        let mut heard = Vec::new();
        for menu in Stations::ALL {
            heard.extend(self.ask(&menu, TABLE_WITHIN).await?.unwrap_or_default());
        }
        if heard.is_empty() {
            return Ok(());
        }
        let arp = self.ask(&Arp, TABLE_WITHIN).await?.unwrap_or_default();
        let addresses: HashMap<String, IpAddr> =
            arp.iter().filter_map(|(address, mac)| Some((bare(mac), address.parse().ok()?))).collect();
        let mut signals = BTreeMap::new();
        for station in &heard {
            let Some(signal_dbm) = station.signal_dbm else { continue };
            if let Some(node) = self.who_is(station, around, &addresses) {
                // Of two entries for one node the stronger counts: the weaker is one that is going.
                let best = signals.entry(node).or_insert(signal_dbm);
                *best = signal_dbm.max(*best);
            }
        }
        let samples =
            signals.into_iter().map(|(node, dbm)| Sample::new(node, Metric::SignalDbm, f64::from(dbm)));
        self.taken.samples.extend(samples);
        Ok(())
    }

    fn who_is(
        &self,
        station: &Station,
        around: &Surroundings,
        addresses: &HashMap<String, IpAddr>,
    ) -> Option<NodeId> {
        let known = &around.children;
        let marked = station.comment.as_deref().and_then(|comment| known.marked(comment));
        let last_ip = station.last_ip.as_deref().and_then(|address| address.parse().ok());
        marked
            .or_else(|| last_ip.and_then(|address| known.at(address)))
            .or_else(|| addresses.get(&bare(&station.mac)).and_then(|address| known.at(*address)))
            .or_else(|| {
                let keys = self.roster.keys(self.tenant).ok()?;
                let key = keys.look_up(self.router, SessionKind::Mac, &station.mac);
                self.roster.of_claim(self.tenant, key)
            })
    }

    async fn latencies(&mut self, around: &Surroundings) -> Result<(), Trouble> {
        let (line, by) = (self.line, self.by);
        let addresses = around.addresses.clone();
        let echoes = addresses.into_iter().map(|(node, address)| async move {
            let question = Ping::new(address, NonZeroU16::MIN, ECHO_WITHIN);
            let question = question.map_err(|error| Trouble::Cannot(error.to_string()))?;
            let _place = line
                .places()
                .asks
                .place_by(by)
                .await
                .map_err(|_| Trouble::Cannot("its time was over before all were asked".into()))?;
            let pong = line.ask(&question, left(by).min(ECHO_WITHIN + GRACE), Way::ByTurns).await?;
            let rtt = if pong.received_count > 0 { rtt_of(&pong) } else { None };
            Ok::<_, Trouble>(rtt.map(|rtt| (node, rtt)))
        });
        let mut echoes = futures::stream::iter(echoes).buffer_unordered(ECHOES_AT_ONCE);
        while let Some(echo) = echoes.next().await {
            if let Some((node, rtt)) = echo? {
                self.taken.samples.push(Sample::new(node, Metric::RttMs, as_ms(rtt)));
            }
        }
        Ok(())
    }
}

/// Counts above 2^53 lose their last digits: 8 PiB of traffic.
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn as_ms(rtt: Duration) -> f64 {
    as_f64(u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)) / 1_000.0
}

/// Whether it is what a port is called when it is shipped: what operators write is in no label.
fn is_port(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// A MAC in one spelling.
fn bare(mac: &str) -> String {
    mac.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// How many of the active users have which profile: the largest each by itself.
fn by_profile(active: &[String], secrets: Vec<(String, String)>) -> Vec<(String, u64)> {
    let profiles: HashMap<String, String> = secrets.into_iter().collect();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for name in active {
        *counts.entry(profiles.get(name).map_or(NONE, String::as_str)).or_default() += 1;
    }
    let mut counts: Vec<(String, u64)> =
        counts.into_iter().map(|(profile, count)| (profile.to_owned(), count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let others: u64 = counts.split_off(counts.len().min(PROFILES_MAX)).iter().map(|(_, count)| count).sum();
    if others > 0 {
        counts.push((OTHERS.to_owned(), others));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_by_profile_and_their_number_is_bounded() {
        let active: Vec<String> = (0..200).map(|n| format!("cust-{n}")).collect();
        let secrets = (0..199).map(|n| (format!("cust-{n}"), format!("plan-{}", n % 99))).collect();
        let counts = by_profile(&active, secrets);
        assert_eq!(counts.len(), PROFILES_MAX + 1);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 200);
        assert_eq!(counts[0], ("plan-0".to_owned(), 3));
        assert_eq!(by_profile(&active[..1], vec![]), [(NONE.to_owned(), 1)]);
    }

    #[test]
    fn what_an_operator_wrote_is_no_label() {
        assert!(is_port("ether1") && is_port("sfp-sfpplus1") && is_port("wlan1"));
        assert!(!is_port("<pppoe-alice>") && !is_port("to Smith's roof") && !is_port(""));
    }

    #[test]
    fn a_mac_is_the_same_in_every_spelling() {
        assert_eq!(bare("4C:5E:0C:AA:00:01"), bare("4c5e.0caa.0001"));
    }
}
