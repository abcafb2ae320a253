//! What the front door is told before it starts: the table `ingest`.

use ipnet::IpNet;
use kit::{
    config::{Check, Secret, Section},
    http::Limits,
    quota::Rate,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};
use vault::{KeyError, MasterKeys};

/// The largest body of an array: 1,000 signals, each with the longest detail.
const ARRAY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The table `ingest`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where routers send their webhooks to.
    pub listen: SocketAddr,
    /// The master keys that tenants' keys are wrapped under: base64, newest first, parted by commas.
    pub master_keys: Option<Secret>,
    /// Whether the short forms may be used by GET, with the token in the address.
    pub get_forms: bool,
    /// The reverse proxies, as `address/bits`, whose word about where a request came from counts.
    #[schemars(with = "Vec<String>")]
    pub proxies: Vec<IpNet>,
    /// The header in which they say it; its last address counts.
    pub proxy_header: String,
    /// Requests being handled at once; further ones get 503.
    pub requests_max: usize,
    /// Open connections; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// How long storing is tried before the sender is told to come again, milliseconds.
    pub store_within_ms: u64,
    /// Signals a second that one token may send in the long run.
    pub token_per_second: f64,
    /// Signals that one token may send at once after a rest.
    pub token_burst: u32,
    /// Signals a second that one tenant may send in the long run.
    pub tenant_per_second: f64,
    /// Signals that one tenant may send at once after a rest.
    pub tenant_burst: u32,
    /// For how long after a newer one an older sequence may still arrive, seconds. 120 is as long as
    /// the log knows an exact repeat by its id.
    pub stale_after_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8081)),
            master_keys: None,
            get_forms: true,
            proxies: Vec::new(),
            proxy_header: "x-forwarded-for".into(),
            requests_max: 4_096,
            connections_max: 8_192,
            store_within_ms: 5_000,
            token_per_second: 10_000.0,
            token_burst: 50_000,
            tenant_per_second: 20_000.0,
            tenant_burst: 100_000,
            stale_after_s: 120,
        }
    }
}

impl Section for Config {
    const NAME: &'static str = "ingest";

    fn check(&self, check: &mut Check) {
        check.reads("master_keys", self.master_keys.as_ref(), MasterKeys::parse);
        let is_header = axum::http::HeaderName::try_from(&self.proxy_header).is_ok();
        check.holds(is_header, "proxy_header", "must be the name of a header");
        check.holds(
            self.proxies.is_empty() || !self.proxy_header.is_empty(),
            "proxy_header",
            "is needed with `proxies`",
        );
        check.holds(
            (1..=100_000).contains(&self.requests_max),
            "requests_max",
            "must lie between 1 and 100000",
        );
        check.holds(
            (1..=100_000).contains(&self.connections_max),
            "connections_max",
            "must lie between 1 and 100000",
        );
        check.holds(
            (100..=60_000).contains(&self.store_within_ms),
            "store_within_ms",
            "must lie between 100 and 60000",
        );
        for (key, rate) in
            [("token_per_second", self.token_per_second), ("tenant_per_second", self.tenant_per_second)]
        {
            check.holds(rate > 0.0 && rate <= 1e9, key, "must be more than 0 and at most 1000000000");
        }
        check.holds(self.token_burst > 0, "token_burst", "must be more than 0");
        check.holds(self.tenant_burst > 0, "tenant_burst", "must be more than 0");
        check.holds(self.stale_after_s <= 86_400, "stale_after_s", "must be at most 86400");
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

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections: self.connections_max,
            requests: self.requests_max,
            body_bytes: ARRAY_BYTES_MAX,
            // Storing is given up earlier, so that a sender hears why.
            answer_within: Duration::from_millis(self.store_within_ms) + Duration::from_secs(5),
            ..Limits::default()
        }
    }

    pub(crate) fn per_token(&self) -> Rate {
        Rate { per_second: self.token_per_second, burst: self.token_burst }
    }

    pub(crate) fn per_tenant(&self) -> Rate {
        Rate { per_second: self.tenant_per_second, burst: self.tenant_burst }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::config::Settings;

    fn given(pairs: &[(&str, &str)]) -> Result<Config, kit::config::ConfigError> {
        let variables = pairs.iter().map(|(k, v)| (format!("MASTWATCH_INGEST__{k}"), (*v).to_owned()));
        Settings::from_parts(None, variables).unwrap().section()
    }

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn a_master_key_is_all_that_must_be_given() {
        let config = given(&[("MASTER_KEYS", KEY)]).unwrap();
        assert_eq!(config.listen.port(), 8081);
        assert!(given(&[]).unwrap_err().to_string().contains("master_keys"));
    }

    #[test]
    fn every_fault_is_named_and_no_key_is_shown() {
        let error = given(&[("MASTER_KEYS", "c2hvcnQ="), ("TOKEN_BURST", "0"), ("PROXY_HEADER", "a b")])
            .unwrap_err()
            .to_string();
        for part in ["MASTER_KEYS", "TOKEN_BURST", "PROXY_HEADER"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("c2hvcnQ="), "{error}");
    }
}
