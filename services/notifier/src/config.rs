//! What the notifier is told before it starts: the table `notifier`.

use kit::config::{Check, Secret, Section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use url::Url;
use vault::{KeyError, MasterKeys};

const S: u64 = 1_000;
const MIN: u64 = 60 * S;
const H: u64 = 60 * MIN;

/// The table `notifier`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The master keys that tenants' keys are wrapped under: base64, newest first, parted by commas.
    pub master_keys: Option<Secret>,
    /// Whether channels may point at loopback, private and link-local addresses.
    pub allow_private_targets: bool,
    /// Where people find the console: links in notices begin with it.
    #[schemars(with = "Option<String>")]
    pub console_url: Option<Url>,
    /// How long one call of a webhook may take, milliseconds.
    pub webhook_within_ms: u64,
    /// How long handing over one e-mail may take, milliseconds.
    pub email_within_ms: u64,
    /// How many calls of one channel are under way at once.
    pub at_once_per_channel: usize,
    /// A notice that has not left by then is dropped if the incident is over: the notice that says so
    /// tells the whole story. Milliseconds.
    pub stale_after_ms: u64,
    /// The pauses before the second, third, … try, milliseconds. After the last one a notice is given up.
    pub retries_ms: Vec<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            master_keys: None,
            allow_private_targets: false,
            console_url: None,
            // Source: Standard Webhooks, "Timeouts" and "Retry schedule".
            webhook_within_ms: 15 * S,
            email_within_ms: 30 * S,
            at_once_per_channel: 4,
            stale_after_ms: 2 * MIN,
            retries_ms: vec![5 * S, 5 * MIN, 30 * MIN, 2 * H, 5 * H, 10 * H, 14 * H, 20 * H, 24 * H],
        }
    }
}

impl Section for Config {
    const NAME: &'static str = "notifier";

    fn check(&self, check: &mut Check) {
        check.reads("master_keys", self.master_keys.as_ref(), MasterKeys::parse);
        let is_web = self.console_url.as_ref().is_none_or(|url| matches!(url.scheme(), "http" | "https"));
        check.holds(is_web, "console_url", "must begin with http:// or https://");
        for (key, ms) in
            [("webhook_within_ms", self.webhook_within_ms), ("email_within_ms", self.email_within_ms)]
        {
            check.holds((100..=120_000).contains(&ms), key, "must lie between 100 and 120000");
        }
        check.holds(
            (1..=64).contains(&self.at_once_per_channel),
            "at_once_per_channel",
            "must lie between 1 and 64",
        );
        check.holds(
            self.retries_ms.len() <= 32 && self.retries_ms.iter().all(|ms| (1..=48 * H).contains(ms)),
            "retries_ms",
            "must be at most 32 pauses of 1 ms to 48 h",
        );
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

    /// The longest a call of any kind may take.
    pub(crate) fn call_max(&self) -> Duration {
        Duration::from_millis(self.webhook_within_ms.max(self.email_within_ms))
    }
}
