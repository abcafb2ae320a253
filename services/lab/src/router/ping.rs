//! `/ping`: one row a probe, in real time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use routeros_api::value;
use routeros_api::wire::Sentence;
use tokio::time::Instant;

use super::{Refusal, Row};
use crate::lab::Lab;
use crate::network::RouterIndex;

/// What is measured, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ping {
    address: IpAddr,
    /// `None`: until it is cancelled.
    count: Option<u32>,
    /// Between probes, and how long each waits for its answer.
    interval: Duration,
    size: u32,
}

impl Ping {
    /// Reads the attributes of the command.
    pub(super) fn read(said: &Sentence) -> Result<Self, Refusal> {
        let mut address = None;
        let mut ping = Self {
            address: IpAddr::from([0, 0, 0, 0]),
            count: None,
            interval: Duration::from_secs(1),
            size: 56,
        };
        for (name, text) in said.attributes() {
            let text = value::text(text);
            let number = |least: u32, most: u32| match text.parse::<u32>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(Refusal::argument(format!(
                    "value of {} out of range ({least}..{most})",
                    value::printable(name, 32)
                ))),
            };
            match name {
                b"address" => {
                    let parsed = text.parse::<IpAddr>();
                    address = Some(parsed.map_err(|_| Refusal::failure("failure: dns name does not exist"))?);
                }
                b"count" => ping.count = Some(number(0, u32::MAX)?).filter(|count| *count > 0),
                b"interval" => match value::duration(&text) {
                    Ok(Some(interval))
                        if (Duration::from_millis(10)..=Duration::from_secs(5)).contains(&interval) =>
                    {
                        ping.interval = interval;
                    }
                    Ok(_) | Err(_) => {
                        return Err(Refusal::argument(
                            "value of interval out of range (00:00:00.010..00:00:05)",
                        ));
                    }
                },
                b"size" => ping.size = number(28, 65_535)?,
                b"ttl" | b"dscp" => {
                    number(0, 255)?;
                }
                b"do-not-fragment" | b"src-address" | b"interface" | b"vrf" | b"routing-table"
                | b".proplist" => {}
                _ => return Err(Refusal::unknown_parameter(&value::text(name))),
            }
        }
        ping.address = address.ok_or_else(|| Refusal::argument("missing value(s) of argument(s) address"))?;
        Ok(ping)
    }

    /// Measures, and hands over each row as it comes; ends when the count is reached or nobody listens.
    pub(super) async fn run<F: Future<Output = bool>>(
        self,
        lab: Arc<Lab>,
        router: RouterIndex,
        mut tell: impl FnMut(Row) -> F,
    ) {
        let mut seen = Seen::default();
        let begun = Instant::now();
        let v6 = lab.with(|state| state.router(router).version.clone());
        for seq in 0.. {
            if self.count.is_some_and(|count| seq >= count) {
                return;
            }
            let sent_at = begun + self.interval * seq;
            tokio::time::sleep_until(sent_at).await;
            let rtt_us = lab.with(|state| {
                state.router(router).counters.echoes += 1;
                let own = state.network.router(router).address == self.address;
                let node = state.at_address(router, self.address);
                let line = if own {
                    Some(crate::world::Line { rtt_us: 60, loss: 0.0 })
                } else {
                    node.and_then(|node| state.world.line(router, node))
                };
                let line = line.filter(|line| !state.dice.chance(line.loss.into()))?;
                // A tenth of jitter around the line's own time.
                let factor = 0.95 + state.dice.fraction() / 10.0;
                Some((f64::from(line.rtt_us) * factor) as u64)
            });
            let rtt_us = rtt_us.filter(|rtt_us| Duration::from_micros(*rtt_us) < self.interval);
            let heard_at = sent_at + rtt_us.map_or(self.interval, Duration::from_micros);
            tokio::time::sleep_until(heard_at).await;
            seen.add(rtt_us);
            if !tell(self.row(seq, rtt_us, &seen, &v6)).await {
                return;
            }
        }
    }

    fn row(&self, seq: u32, rtt_us: Option<u64>, seen: &Seen, version: &crate::version::Version) -> Row {
        let mut row = Row::default();
        row.put("seq", seq.to_string());
        row.put("host", self.address.to_string());
        match rtt_us {
            Some(rtt_us) => {
                row.put("size", self.size.to_string());
                row.put("ttl", "63");
                row.put("time", version.round_trip(rtt_us));
            }
            None => row.put("status", "timeout"),
        }
        row.put("sent", seen.sent_count.to_string());
        row.put("received", seen.received_count.to_string());
        let lost_count = seen.sent_count - seen.received_count;
        row.put("packet-loss", (u64::from(lost_count) * 100 / u64::from(seen.sent_count)).to_string());
        if seen.received_count > 0 {
            row.put("min-rtt", version.round_trip(seen.min_us));
            row.put("avg-rtt", version.round_trip(seen.sum_us / u64::from(seen.received_count)));
            row.put("max-rtt", version.round_trip(seen.max_us));
        }
        row
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    sent_count: u32,
    received_count: u32,
    min_us: u64,
    max_us: u64,
    sum_us: u64,
}

impl Seen {
    fn add(&mut self, rtt_us: Option<u64>) {
        self.sent_count += 1;
        if let Some(rtt_us) = rtt_us {
            self.min_us = if self.received_count == 0 { rtt_us } else { self.min_us.min(rtt_us) };
            self.max_us = self.max_us.max(rtt_us);
            self.sum_us += rtt_us;
            self.received_count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_without_an_address_or_with_a_wrong_interval_is_refused() {
        let said = || Sentence::new("/ping");
        assert!(Ping::read(&said()).unwrap_err().message.contains("address"));
        let at = || said().with("address", "10.0.0.1");
        for interval in ["9ms", "6s", "x"] {
            assert!(Ping::read(&at().with("interval", interval)).unwrap_err().message.contains("interval"));
        }
        assert!(Ping::read(&at().with("once", "")).unwrap_err().message.contains("unknown parameter once"));
        let ping = Ping::read(&at().with("count", "3").with("interval", "200ms").with("size", "64")).unwrap();
        assert_eq!((ping.count, ping.interval, ping.size), (Some(3), Duration::from_millis(200), 64));
        assert_eq!(Ping::read(&at()).unwrap().count, None);
    }
}
