//! What the keeper is told before it starts: the table `reconciler`.

use domain::enforce::Bound;
use kit::config::{Check, Secret, Section};
use roster::PlainApi;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vault::{KeyError, MasterKeys};

/// The table `reconciler`.
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
    /// Where routers reach ingest: `http://…` or `https://…`, without a slash at its end. Without it nothing is
    /// installed on them.
    pub push_url: Option<String>,
    /// Whether routers look at ingest's certificate: their trust store must hold its issuer.
    pub check_certificate: bool,
    /// How often each router is looked at, seconds: the time between two looks is two thirds to four thirds
    /// of it. The default makes that 30 to 60 minutes.
    pub every_s: u64,
    /// How often each router is held against what its subscribers are entitled to, seconds: the time between two
    /// looks is two thirds to four thirds of it.
    pub enforce_every_s: u64,
    /// For how long after a look that was ordered because a subscriber dialled in who is not to be served no further one
    /// is ordered for him, seconds.
    pub dialled_in_every_s: u64,
    /// Whether subscribers may be cut off at all: the switch of this installation. Everything else goes on.
    pub cutting: bool,
    /// The most subscribers that are cut off at one router within `enforce_every_s` unless somebody confirms it.
    pub cut_most: usize,
    /// And not more than this share of the router's active subscribers, percent; at least one.
    pub cut_most_percent: usize,
    /// How often a router probes those it watches, seconds.
    pub netwatch_every_s: u32,
    /// Routers that are looked at or changed at once.
    pub routers_at_once: usize,
    /// After how long a router that could not be looked at is tried again, seconds; doubled each time.
    pub retry_first_s: u64,
    /// The most it is doubled to.
    pub retry_most_s: u64,
    /// After how long each router is asked again whom it sees around it, seconds.
    pub scan_every_s: u64,
    /// How many devices of one router are told of at most.
    pub scan_devices_max: usize,
    /// How often a session that is not used is tried, so that a reboot is noticed, and for how long a router may
    /// owe a word until its session is replaced; seconds.
    pub keep_alive_s: u64,
    /// How long one command may take, seconds.
    pub command_within_s: u64,
    /// After how long without a sign of life a replica's slots are taken over, milliseconds.
    pub takeover_after_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            master_keys: None,
            router_authority: None,
            plain_api: PlainApi::default(),
            push_url: None,
            check_certificate: false,
            every_s: 2_700,
            enforce_every_s: 900,
            dialled_in_every_s: 60,
            cutting: true,
            cut_most: Bound::default().count_max,
            cut_most_percent: Bound::default().percent_max,
            netwatch_every_s: 30,
            routers_at_once: 64,
            retry_first_s: 10,
            retry_most_s: 600,
            scan_every_s: 86_400,
            scan_devices_max: 512,
            keep_alive_s: 30,
            command_within_s: 30,
            takeover_after_ms: 3_000,
        }
    }
}

impl Section for Config {
    const NAME: &'static str = "reconciler";

    fn check(&self, check: &mut Check) {
        check.reads("master_keys", self.master_keys.as_ref(), MasterKeys::parse);
        let is_url = |url: &String| {
            (url.starts_with("http://") || url.starts_with("https://"))
                && !url.ends_with('/')
                && url.len() <= 200
                && url.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\' | b'$'))
        };
        let is_good = self.push_url.as_ref().is_none_or(is_url);
        check.holds(is_good, "push_url", "is like `http://10.0.0.5:8081`, without a slash at its end");
        check.within("every_s", self.every_s, 1..=86_400);
        check.within("enforce_every_s", self.enforce_every_s, 1..=86_400);
        check.within("dialled_in_every_s", self.dialled_in_every_s, 1..=86_400);
        check.within("cut_most", self.cut_most as u64, 0..=100_000);
        check.within("cut_most_percent", self.cut_most_percent as u64, 0..=100);
        check.within("netwatch_every_s", u64::from(self.netwatch_every_s), 1..=3_600);
        check.within("routers_at_once", self.routers_at_once as u64, 1..=64);
        check.within("retry_first_s", self.retry_first_s, 1..=3_600);
        check.within("retry_most_s", self.retry_most_s, self.retry_first_s..=86_400);
        check.within("scan_every_s", self.scan_every_s, 60..=31_536_000);
        check.within("scan_devices_max", self.scan_devices_max as u64, 1..=4_096);
        check.within("keep_alive_s", self.keep_alive_s, 1..=300);
        check.within("command_within_s", self.command_within_s, 1..=600);
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

    /// How many subscribers may be cut off without somebody's yes.
    pub(crate) fn bound(&self) -> Bound {
        Bound { count_max: self.cut_most, percent_max: self.cut_most_percent }
    }

    pub(crate) fn command_within(&self) -> Duration {
        Duration::from_secs(self.command_within_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::config::Settings;
    use vault::MasterKey;

    fn given(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let key = MasterKey::random().to_base64().to_string();
        let own = [("MASTWATCH_RECONCILER__MASTER_KEYS", key.as_str())];
        let all = own.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings = Settings::from_parts(None, all).map_err(|error| error.to_string())?;
        settings.section().map_err(|error| error.to_string())
    }

    #[test]
    fn what_would_not_serve_is_named() {
        assert!(given(&[]).is_ok());
        for (key, value) in [
            ("PUSH_URL", "10.0.0.5:8081"),
            ("PUSH_URL", "http://10.0.0.5:8081/"),
            ("PUSH_URL", "http://x\"$y"),
            ("EVERY_S", "0"),
            ("ROUTERS_AT_ONCE", "65"),
            ("SCAN_DEVICES_MAX", "0"),
            ("RETRY_MOST_S", "1"),
            ("ENFORCE_EVERY_S", "0"),
            ("DIALLED_IN_EVERY_S", "0"),
            ("CUT_MOST_PERCENT", "101"),
        ] {
            let wrong = given(&[(&format!("MASTWATCH_RECONCILER__{key}"), value)]).unwrap_err();
            assert!(wrong.contains(key), "{wrong}");
        }
        assert!(given(&[("MASTWATCH_RECONCILER__PUSH_URL", "https://push.example.net")]).is_ok());
    }
}
