//! Does something answer, seen from the router?

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use super::{Question, Unreadable, milliseconds, required_as, span, told, told_as};
use crate::command::{Command, Reply, Row, Trap};
use crate::value;

/// Sends echoes from the router and waits for each `interval` long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    address: IpAddr,
    count: NonZeroU16,
    interval: Duration,
    source: Option<IpAddr>,
    size_bytes: Option<u16>,
}

/// A ping that no router would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ping waits 10 ms to 5 s for each echo, not {interval:?}")]
pub struct BadPing {
    /// What was asked for.
    pub interval: Duration,
}

impl Ping {
    /// `count` echoes to `address`, one every `interval`.
    ///
    /// The interval is also how long each echo may take, so it has to be longer than the round
    /// trip. Source of its bounds: the command schema of RouterOS 7.20.8.
    ///
    /// # Errors
    ///
    /// [`BadPing`] when the interval is not 10 ms to 5 s.
    pub fn new(address: IpAddr, count: NonZeroU16, interval: Duration) -> Result<Self, BadPing> {
        if !(Duration::from_millis(10)..=Duration::from_secs(5)).contains(&interval) {
            return Err(BadPing { interval });
        }
        Ok(Self { address, count, interval, source: None, size_bytes: None })
    }

    /// From this address of the router.
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// With packets of this size, headers included. Routers send 56 bytes when not told.
    pub fn of_size(mut self, bytes: u16) -> Self {
        self.size_bytes = Some(bytes);
        self
    }

    /// How long the router works on it when nothing answers. Allow the command some seconds more.
    pub fn lasts_max(&self) -> Duration {
        self.interval * u32::from(self.count.get())
    }

    fn at(&self, path: &str) -> Command {
        let mut command = Command::new(path)
            .repeatable()
            .with("address", self.address.to_string())
            .with("count", self.count.to_string())
            .with("interval", milliseconds(self.interval));
        if let Some(source) = self.source {
            command = command.with("src-address", source.to_string());
        }
        if let Some(bytes) = self.size_bytes {
            command = command.with("size", bytes.to_string());
        }
        command
    }
}

/// What came back of a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// Echoes sent.
    pub sent_count: u32,
    /// Replies received. For a group address there may be more than were sent.
    pub received_count: u32,
    /// The shortest round trip; whole milliseconds on version 6.
    pub rtt_min: Option<Duration>,
    /// The mean round trip.
    pub rtt_avg: Option<Duration>,
    /// The longest round trip.
    pub rtt_max: Option<Duration>,
    /// Each echo in order.
    pub echoes: Vec<Echo>,
}

/// What became of one echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Who replied: the target, or a router that could not reach it.
    pub host: Option<String>,
    /// How it ended.
    pub status: EchoStatus,
}

/// How one echo ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EchoStatus {
    /// The target answered, after this time if the router says it.
    Answered {
        /// The round trip.
        rtt: Option<Duration>,
    },
    /// Nothing came within the interval.
    TimedOut,
    /// Somebody said why not, such as `host unreachable` or `TTL exceeded`.
    Failed(String),
}

impl Question for Ping {
    type Answer = Pong;

    fn command(&self) -> Command {
        self.at("/ping")
    }

    /// The short path is missing from the newest command schema, the long one from version 6.
    fn otherwise(&self, trap: &Trap) -> Option<Command> {
        trap.is_no_such_command().then(|| self.at("/tool/ping"))
    }

    /// The counters are cumulative: the last row has the sum.
    fn read(&self, reply: &Reply) -> Result<Pong, Unreadable> {
        let last = reply.rows.last().ok_or(Unreadable::NoRow)?;
        let round_trip = |name| told_as(last, name, span);
        Ok(Pong {
            sent_count: required_as(last, "sent", value::number)?,
            received_count: required_as(last, "received", value::number)?,
            rtt_min: round_trip("min-rtt"),
            rtt_avg: round_trip("avg-rtt"),
            rtt_max: round_trip("max-rtt"),
            echoes: reply.rows.iter().map(echo).collect(),
        })
    }
}

fn echo(row: &Row) -> Echo {
    let rtt = told_as(row, "time", span);
    let status = match told(row, "status") {
        None => EchoStatus::Answered { rtt },
        // Group and MAC addresses say so in words.
        Some(status) if status == "echo reply" => EchoStatus::Answered { rtt },
        Some(status) if status == "timeout" => EchoStatus::TimedOut,
        Some(status) => EchoStatus::Failed(value::printable(status.as_bytes(), 64)),
    };
    Echo { host: told(row, "host"), status }
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;
    use crate::wire::Sentence;

    fn three() -> Ping {
        let count = NonZeroU16::new(3).unwrap();
        Ping::new("10.20.0.7".parse().unwrap(), count, Duration::from_millis(200)).unwrap()
    }

    #[test]
    fn a_ping_says_how_often_and_how_fast() {
        let command = three().of_size(64).from("10.0.0.1".parse().unwrap()).command();
        let expected = Sentence::new("/ping").with("address", "10.20.0.7").with("count", "3");
        let expected = expected.with("interval", "200ms").with("src-address", "10.0.0.1").with("size", "64");
        assert_eq!(command.sentence(), &expected);
        assert_eq!(three().lasts_max(), Duration::from_millis(600));
        for interval in [Duration::from_millis(9), Duration::from_secs(6)] {
            let bad = Ping::new("10.20.0.7".parse().unwrap(), NonZeroU16::MIN, interval);
            assert_eq!(bad, Err(BadPing { interval }));
        }
    }

    #[test]
    fn the_other_path_is_tried_only_when_the_first_does_not_exist() {
        let unknown = Trap::read(&Sentence::trap(Some(0), "no such command prefix"));
        assert_eq!(three().otherwise(&unknown).unwrap().path(), "/tool/ping");
        let refused = Trap::read(&Sentence::trap(None, "not enough permissions (9)"));
        assert_eq!(three().otherwise(&refused), None);
    }

    #[test]
    fn the_last_row_has_the_sum_in_version_7() {
        let rows = reply(&[
            &[
                "seq=0",
                "host=10.20.0.7",
                "size=64",
                "ttl=63",
                "time=4ms812us",
                "sent=1",
                "received=1",
                "packet-loss=0",
            ],
            &["seq=1", "host=10.20.0.7", "status=timeout", "sent=2", "received=1", "packet-loss=50"],
            &[
                "seq=2",
                "host=10.20.0.7",
                "size=64",
                "ttl=63",
                "time=5ms20us",
                "sent=3",
                "received=2",
                "packet-loss=33",
                "min-rtt=4ms812us",
                "avg-rtt=4ms916us",
                "max-rtt=5ms20us",
            ],
        ]);
        let pong = three().read(&rows).unwrap();
        assert_eq!((pong.sent_count, pong.received_count), (3, 2));
        assert_eq!(pong.rtt_avg, Some(Duration::from_micros(4916)));
        assert_eq!(pong.echoes[0].status, EchoStatus::Answered { rtt: Some(Duration::from_micros(4812)) });
        assert_eq!(pong.echoes[1].status, EchoStatus::TimedOut);
    }

    #[test]
    fn version_6_counts_whole_milliseconds_and_names_who_refused() {
        let rows = reply(&[
            &["seq=0", "host=10.1.0.1", "status=host unreachable", "sent=1", "received=0", "packet-loss=100"],
            &[
                "seq=1",
                "host=10.20.0.7",
                "time=12ms",
                "sent=2",
                "received=1",
                "packet-loss=50",
                "avg-rtt=12ms",
            ],
        ]);
        let pong = three().read(&rows).unwrap();
        assert_eq!(pong.echoes[0].host.as_deref(), Some("10.1.0.1"));
        assert_eq!(pong.echoes[0].status, EchoStatus::Failed("host unreachable".to_owned()));
        assert_eq!((pong.rtt_avg, pong.rtt_min), (Some(Duration::from_millis(12)), None));
    }

    #[test]
    fn a_reply_without_counters_proves_nothing() {
        assert_eq!(three().read(&reply(&[])), Err(Unreadable::NoRow));
        let bare = three().read(&reply(&[&["seq=0", "host=10.20.0.7"]]));
        assert_eq!(bare, Err(Unreadable::Missing { property: "sent" }));
        let absurd = three().read(&reply(&[&["sent=1", "received=-1"]]));
        assert!(matches!(absurd, Err(Unreadable::Value { property: "received", .. })));
    }
}
