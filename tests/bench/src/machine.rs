//! What was measured on: machine, load, versions, build.

use embedded::Durability;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, time::Duration};

/// The load averages over one and five minutes, as the kernel says them.
pub(crate) fn load() -> [f64; 2] {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut figures = text.split_whitespace().map_while(|word| word.parse().ok());
    [figures.next().unwrap_or(f64::NAN), figures.next().unwrap_or(f64::NAN)]
}

/// What every line says beside its figures. `load_before` was read before anything began.
pub(crate) fn facts(load_before: [f64; 2]) -> Value {
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "load_before": load_before,
        "load_after": load(),
        "version": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

/// Lays what `more` says into `line`.
pub(crate) fn lay(line: &mut Value, more: Value) {
    if let (Value::Object(line), Value::Object(more)) = (line, more) {
        line.extend(more);
    }
}

/// The value below which `share` of the sorted figures lie.
pub(crate) fn quantile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Rounded to three places: more would be noise.
pub(crate) fn round(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

/// How durable an acknowledgement is, as the operator calls it.
pub(crate) fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Always => "always",
        Durability::Interval => "interval",
    }
}

/// What time it is, microseconds since 1970: the same clock as the log's, which is on this machine.
pub(crate) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Processor time of this process alone and of the servers it has started, user and system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    ours: Duration,
    servers: Duration,
}

impl Cpu {
    /// Spent so far.
    pub(crate) fn now(server: Option<u32>) -> Self {
        let ours = embedded::cpu_time_of_one(std::process::id()).unwrap_or_default();
        let servers = server.and_then(|pid| embedded::cpu_time(pid).ok()).unwrap_or_default();
        Self { ours, servers }
    }

    /// Spent since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            ours: self.ours.saturating_sub(earlier.ours),
            servers: self.servers.saturating_sub(earlier.servers),
        }
    }

    /// Both.
    pub(crate) fn add(&mut self, other: Self) {
        self.ours += other.ours;
        self.servers += other.servers;
    }

    /// Microseconds for each of so many things.
    pub(crate) fn us_per(self, things: u64) -> Value {
        let each = |spent: Duration| round(spent.as_micros() as f64 / things.max(1) as f64);
        json!({ "ours": each(self.ours), "servers": each(self.servers), "all": each(self.ours + self.servers) })
    }
}

/// Processor time and memory of groups of processes, each a process with all its descendants.
///
/// A group that dies keeps what it had cost when it was last looked at, and goes on under another
/// process.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<&'static str, Group>,
    /// The most that all had at one time.
    pss_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Group {
    pid: Option<u32>,
    /// Of processes that have ended.
    past: Duration,
    now: Duration,
    pss_bytes_max: u64,
}

impl Groups {
    /// From here on `name` is the tree below `pid`.
    pub(crate) fn is(&mut self, name: &'static str, pid: Option<u32>) {
        let group = self.groups.entry(name).or_default();
        group.past += std::mem::take(&mut group.now);
        group.pid = pid;
    }

    /// Processor time of each so far.
    pub(crate) fn cpu(&mut self) -> BTreeMap<&'static str, Duration> {
        let each = self.groups.iter_mut().map(|(name, group)| {
            if let Some(spent) = group.pid.and_then(|pid| embedded::cpu_time(pid).ok()) {
                group.now = group.now.max(spent);
            }
            (*name, group.past + group.now)
        });
        each.collect()
    }

    /// Looks how much memory each has.
    pub(crate) fn look_at_memory(&mut self) {
        let mut together = 0;
        for group in self.groups.values_mut() {
            if let Some(bytes) = group.pid.and_then(|pid| embedded::pss_bytes(pid).ok()) {
                group.pss_bytes_max = group.pss_bytes_max.max(bytes);
                together += bytes;
            }
        }
        self.pss_bytes_max = self.pss_bytes_max.max(together);
    }

    /// The most memory each was seen with, and `all` of them at one time, in megabytes of 10^6 bytes.
    pub(crate) fn pss_mb_max(&self) -> BTreeMap<&'static str, u64> {
        let each = self.groups.iter().map(|(name, group)| (*name, group.pss_bytes_max));
        each.chain([("all", self.pss_bytes_max)]).map(|(name, bytes)| (name, bytes / 1_000_000)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_members_of_what_was_measured() {
        let figures: Vec<u64> = (1..=100).collect();
        assert_eq!(
            (quantile(&figures, 0.5), quantile(&figures, 0.99), quantile(&figures, 1.0)),
            (51, 100, 100)
        );
        assert_eq!(quantile(&[], 0.5), 0);
    }

    #[test]
    fn a_group_goes_on_counting_under_another_process() {
        let mut groups = Groups::default();
        groups.is("ours", Some(std::process::id()));
        let before = groups.cpu()["ours"];
        groups.is("ours", None);
        assert_eq!(groups.cpu()["ours"], before);
        groups.is("ours", Some(std::process::id()));
        assert!(groups.cpu()["ours"] >= before * 2);
        groups.look_at_memory();
        assert!(groups.pss_mb_max()["ours"] > 0);
    }
}
