//! What the keeper is told before it starts: the table `poller`.

use crate::{sight::Reference, statics::Pace};
use kit::config::{Check, Secret, Section};
use roster::PlainApi;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vault::{KeyError, MasterKeys};

/// The table `poller`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The master keys that tenants' keys are wrapped under: base64, newest first, parted by commas.
    pub master_keys: Option<Secret>,
    /// The authorities that sign routers' certificates, PEM. They judge those that are not pinned in the inventory.
    pub router_authority: Option<String>,
    /// Where routers may be logged in to without TLS: `never`, `private` (addresses that are not routed in the
    /// Internet) or `anywhere`.
    #[schemars(with = "String")]
    pub plain_api: PlainApi,
    /// Probes and commands that one router has at once, one of them kept for its heartbeat.
    pub probes_per_router: usize,
    /// Asks that are worked on at once.
    pub asks_at_once: usize,
    /// Asks that may wait beyond those; further ones are answered "unanswered".
    pub asks_waiting_max: usize,
    /// Heartbeats that are under way at once.
    pub watches_at_once: usize,
    /// ICMP echoes that are under way at once; fewer where the receive buffer is small.
    pub echoes_at_once: usize,
    /// How often what was last said of a watched node is said again, seconds.
    pub attest_every_s: u64,
    /// How often each router is read for history, seconds.
    pub snapshot_every_s: u64,
    /// Routers that are read at once.
    pub snapshots_at_once: usize,
    /// How often each subscriber with a static address is pinged through its router, seconds.
    pub static_every_s: u64,
    /// Such pings that are under way at once; of one router's places they take no more than half.
    pub statics_at_once: usize,
    /// Hosts outside of the network that is watched, which answer whenever this one is connected to anything: `192.0.2.1`
    /// by ICMP, or `tcp:192.0.2.53:53`. While none of them answers, nobody is called silent. None: that is not looked at.
    #[schemars(with = "Vec<String>")]
    pub references: Vec<Reference>,
    /// After how long without a sign of life a replica's slots are taken over, milliseconds.
    pub takeover_after_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            master_keys: None,
            router_authority: None,
            plain_api: PlainApi::default(),
            probes_per_router: 8,
            asks_at_once: 1_000,
            asks_waiting_max: 10_000,
            watches_at_once: 4_000,
            echoes_at_once: 1_000,
            attest_every_s: 300,
            snapshot_every_s: 600,
            snapshots_at_once: 256,
            static_every_s: 60,
            statics_at_once: 256,
            references: Vec::new(),
            takeover_after_ms: 3_000,
        }
    }
}

impl Section for Config {
    const NAME: &'static str = "poller";

    fn check(&self, check: &mut Check) {
        check.reads("master_keys", self.master_keys.as_ref(), MasterKeys::parse);
        check.within("probes_per_router", self.probes_per_router as u64, 2..=64);
        check.within("asks_at_once", self.asks_at_once as u64, 1..=100_000);
        check.within("asks_waiting_max", self.asks_waiting_max as u64, 0..=1_000_000);
        check.within("watches_at_once", self.watches_at_once as u64, 1..=100_000);
        check.within("echoes_at_once", self.echoes_at_once as u64, 18..=100_000);
        check.within("attest_every_s", self.attest_every_s, 10..=800);
        check.within("snapshot_every_s", self.snapshot_every_s, 1..=86_400);
        check.within("snapshots_at_once", self.snapshots_at_once as u64, 1..=10_000);
        check.within("static_every_s", self.static_every_s, 1..=600);
        check.within("statics_at_once", self.statics_at_once as u64, 1..=10_000);
        check.within("references", self.references.len() as u64, 0..=16);
        check.within("takeover_after_ms", self.takeover_after_ms, 500..=60_000);
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut Option<Secret>)> {
        vec![("master_keys", &mut self.master_keys)]
    }
}

impl Config {
    /// The master keys.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: they are missing or malformed. Never shows them.
    pub(crate) fn keys(&self) -> Result<MasterKeys, KeyError> {
        let secret = self.master_keys.as_ref();
        MasterKeys::given(secret.map_or("", Secret::reveal), secret.and_then(Secret::file))
    }

    pub(crate) fn takeover_after(&self) -> Duration {
        Duration::from_millis(self.takeover_after_ms)
    }

    pub(crate) fn snapshot_every(&self) -> Duration {
        Duration::from_secs(self.snapshot_every_s)
    }

    /// How static subscribers are pinged.
    pub(crate) fn statics(&self) -> Pace {
        Pace {
            every: Duration::from_secs(self.static_every_s),
            attest_every: self.attest_every(),
            at_once: self.statics_at_once,
            at_once_each: self.probes_per_router / 2,
        }
    }

    pub(crate) fn attest_every(&self) -> Duration {
        Duration::from_secs(self.attest_every_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::config::Settings;
    use vault::MasterKey;

    fn given(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let key = MasterKey::random().to_base64().to_string();
        let own = [("MASTWATCH_POLLER__MASTER_KEYS", key.as_str())];
        let own = own.iter().filter(|(name, _)| pairs.iter().all(|(given, _)| given != name));
        let all = own.chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings = Settings::from_parts(None, all).map_err(|error| error.to_string())?;
        settings.section().map_err(|error| error.to_string())
    }

    #[test]
    fn a_master_key_is_all_that_must_be_given() {
        assert!(given(&[]).is_ok());
        let wrong = given(&[("MASTWATCH_POLLER__MASTER_KEYS", "hunter2")]).unwrap_err();
        assert!(wrong.contains("32 bytes") && !wrong.contains("hunter2"), "{wrong}");
        let nothing = Settings::from_parts(None, []).map(|settings| settings.section::<Config>());
        assert!(nothing.unwrap().unwrap_err().to_string().contains("is missing"));
    }

    #[test]
    fn absurd_values_are_named() {
        let bad = given(&[
            ("MASTWATCH_POLLER__PROBES_PER_ROUTER", "1"),
            ("MASTWATCH_POLLER__ATTEST_EVERY_S", "9999"),
        ]);
        let bad = bad.unwrap_err();
        assert!(bad.contains("PROBES_PER_ROUTER") && bad.contains("between 10 and 800"), "{bad}");
        assert!(given(&[("MASTWATCH_POLLER__NONSENSE", "1")]).is_err());
    }
}
