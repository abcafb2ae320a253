//! What the front desk is told before it starts: the table `console`.

use crate::check_first;
use kit::{
    config::{Check, Secret, Section},
    http::Limits,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};
use vault::{KeyError, MasterKeys};

/// The table `console`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the API and the status page are served.
    pub listen: SocketAddr,
    /// The master keys that tenants' keys are wrapped under: base64, newest first, parted by commas.
    pub master_keys: Option<Secret>,
    /// The first administrator's token, for an installation that has none yet; later it means nothing.
    pub administrator_token: Option<Secret>,
    /// Requests being handled at once; further ones get 503.
    pub requests_max: usize,
    /// Open connections; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Live updates being followed at once; further ones get 503.
    pub streams_max: usize,
    /// Connections to Postgres.
    pub database_connections: u32,
    /// How long storing is tried before the caller is told to come again, milliseconds.
    pub store_within_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            master_keys: None,
            administrator_token: None,
            requests_max: 1_024,
            connections_max: 4_096,
            streams_max: 256,
            database_connections: 8,
            store_within_ms: 5_000,
        }
    }
}

impl Section for Config {
    const NAME: &'static str = "console";

    fn check(&self, check: &mut Check) {
        check.reads("master_keys", self.master_keys.as_ref(), MasterKeys::parse);
        if let Some(Err(error)) = self.administrator_token.as_ref().map(|t| check_first(t.reveal())) {
            check.holds(false, "administrator_token", error.to_string());
        }
        for (key, value) in [
            ("requests_max", self.requests_max),
            ("connections_max", self.connections_max),
            ("streams_max", self.streams_max),
        ] {
            check.holds((1..=100_000).contains(&value), key, "must lie between 1 and 100000");
        }
        check.holds(
            (1..=200).contains(&self.database_connections),
            "database_connections",
            "must lie between 1 and 200",
        );
        check.holds(
            (100..=60_000).contains(&self.store_within_ms),
            "store_within_ms",
            "must lie between 100 and 60000",
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

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections: self.connections_max,
            requests: self.requests_max,
            // Of an import; every other body is held to far less where it is read.
            body_bytes: network_file::TEXT_MAX,
            // Of an import of the largest network; everything else ends long before.
            answer_within: Duration::from_secs(300),
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::config::Settings;

    fn given(pairs: &[(&str, &str)]) -> Result<Config, kit::config::ConfigError> {
        let variables = pairs.iter().map(|(k, v)| (format!("MASTWATCH_CONSOLE__{k}"), (*v).to_owned()));
        Settings::from_parts(None, variables).unwrap().section()
    }

    #[test]
    fn a_master_key_is_all_that_must_be_given() {
        let config = given(&[("MASTER_KEYS", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")]).unwrap();
        assert_eq!(config.listen.port(), 8080);
        assert!(given(&[]).unwrap_err().to_string().contains("master_keys"));
    }

    #[test]
    fn every_fault_is_named_and_no_key_is_shown() {
        let error = given(&[("MASTER_KEYS", "c2hvcnQ="), ("STREAMS_MAX", "0")]).unwrap_err().to_string();
        assert!(error.contains("MASTER_KEYS") && error.contains("STREAMS_MAX"), "{error}");
        assert!(!error.contains("c2hvcnQ="), "{error}");
    }

    #[test]
    fn an_administrators_token_must_be_one_that_may_be_the_first() {
        let key = ("MASTER_KEYS", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let token = crate::draw_first();
        assert!(given(&[key, ("ADMINISTRATOR_TOKEN", &token)]).is_ok());
        let wrong = token.replace("firstadmin00", "abcdefghijkl");
        let error = given(&[key, ("ADMINISTRATOR_TOKEN", &wrong)]).unwrap_err().to_string();
        assert!(error.contains("ADMINISTRATOR_TOKEN") && !error.contains(&wrong), "{error}");
    }
}
