//! What happened to each router, counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most different commands that are counted by name.
const CALLS_MAX: usize = 256;

/// Counted since the lab began, except what ends in `_now`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// API logins that went well.
    pub logins: u64,
    /// API logins with a wrong name or password.
    pub logins_refused: u64,
    /// API connections beyond the number of sessions a router takes.
    pub sessions_refused: u64,
    /// API connections that are open.
    pub sessions_now: u64,
    /// API commands by path.
    pub calls: BTreeMap<String, u64>,
    /// API commands that name one customer: the user name, or the address of a session or lease.
    pub calls_about_one: u64,
    /// Pings a client waits for.
    pub pings_now: u64,
    /// The most of them at the same time.
    pub pings_at_once_max: u64,
    /// Echo requests sent.
    pub echoes: u64,
    /// Webhooks that ingest took, each counted once however often it was sent.
    pub webhooks_sent: u64,
    /// Tries that ended without a 2xx.
    pub webhooks_failed: u64,
    /// Webhooks that were made to vanish.
    pub webhooks_dropped: u64,
    /// Webhooks that were sent a second time.
    pub webhooks_doubled: u64,
    /// Webhooks that were held back.
    pub webhooks_delayed: u64,
    /// Scripts that ran to their end.
    pub scripts_run: u64,
    /// Scripts that stopped with an error.
    pub scripts_failed: u64,
    /// Scripts that never ran because too many were waiting.
    pub scripts_skipped: u64,
    /// Netwatch probes.
    pub probes: u64,
}

impl Counters {
    /// Counts one API command.
    pub fn called(&mut self, path: &str) {
        if let Some(count) = self.calls.get_mut(path) {
            *count += 1;
        } else {
            let name = if self.calls.len() < CALLS_MAX { path } else { "(other)" };
            *self.calls.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// Adds another router's.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            logins,
            logins_refused,
            sessions_refused,
            sessions_now,
            calls,
            calls_about_one,
            pings_now,
            pings_at_once_max,
            echoes,
            webhooks_sent,
            webhooks_failed,
            webhooks_dropped,
            webhooks_doubled,
            webhooks_delayed,
            scripts_run,
            scripts_failed,
            scripts_skipped,
            probes,
        } = other;
        self.logins += logins;
        self.logins_refused += logins_refused;
        self.sessions_refused += sessions_refused;
        self.sessions_now += sessions_now;
        for (path, count) in calls {
            *self.calls.entry(path.clone()).or_default() += count;
        }
        self.calls_about_one += calls_about_one;
        self.pings_now += pings_now;
        self.pings_at_once_max = self.pings_at_once_max.max(*pings_at_once_max);
        self.echoes += echoes;
        self.webhooks_sent += webhooks_sent;
        self.webhooks_failed += webhooks_failed;
        self.webhooks_dropped += webhooks_dropped;
        self.webhooks_doubled += webhooks_doubled;
        self.webhooks_delayed += webhooks_delayed;
        self.scripts_run += scripts_run;
        self.scripts_failed += scripts_failed;
        self.scripts_skipped += scripts_skipped;
        self.probes += probes;
    }
}
