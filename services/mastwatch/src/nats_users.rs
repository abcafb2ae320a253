//! `mastwatch nats-users` and `mastwatch declare`: a log's server whose users may do only what they need.

use crate::{compose, show};
use anyhow::{Context, bail};
use events::TenantId;
use kit::{Log, LogConfig, config::Settings, permissions};
use std::{path::PathBuf, str::FromStr};

/// What `mastwatch nats-users` can be told.
#[derive(Debug, clap::Args)]
pub struct NatsUsersArgs {
    /// A point of presence and the tenants it watches, `north=hillside,valley`: its poller's user may speak for these
    /// only. May be given several times.
    #[arg(long = "pop", value_name = "POP=TENANT,…")]
    pops: Vec<Pop>,
}

/// What `mastwatch declare` can be told.
#[derive(Debug, clap::Args)]
pub struct DeclareArgs {
    /// A configuration file (TOML).
    #[arg(long, env = "MASTWATCH_CONFIG")]
    config: Option<PathBuf>,
}

/// A point of presence and its tenants.
#[derive(Debug, Clone)]
struct Pop {
    name: String,
    tenants: Vec<TenantId>,
}

impl FromStr for Pop {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, tenants) = text.split_once('=').context("a point of presence is POP=TENANT,TENANT")?;
        let is_token = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if !is_token(name) {
            bail!("`{name}` is no point of presence: letters, digits, `_` and `-`");
        }
        let tenants: Vec<&str> = tenants.split(',').map(str::trim).collect();
        if let Some(wrong) = tenants.iter().find(|tenant| !is_token(tenant)) {
            bail!("`{wrong}` is no tenant: its slug, as in its network file");
        }
        Ok(Self { name: name.to_owned(), tenants: tenants.into_iter().map(TenantId::of).collect() })
    }
}

fn users(pops: &[Pop]) -> Vec<permissions::User> {
    compose::SERVICES
        .into_iter()
        .map(permissions::service)
        .chain(pops.iter().map(|pop| permissions::point_of_presence(&pop.name, &pop.tenants)))
        .chain([permissions::setup()])
        .collect()
}

/// Prints the users, to be included in nats-server's configuration; with `json` one a line.
pub fn run(args: &NatsUsersArgs, json: bool) {
    let users = users(&args.pops);
    if json {
        users.iter().for_each(show::json);
    } else {
        show::line(permissions::configuration(&users).trim_end());
    }
}

/// Declares the streams, for services whose users may not.
///
/// # Errors
///
/// When the configuration is wrong, or the server refuses.
pub async fn declare(args: &DeclareArgs, json: bool) -> anyhow::Result<()> {
    kit::telemetry::use_ring();
    let settings = Settings::load(args.config.as_deref()).context("reading the configuration")?;
    let common = settings.common().context("reading the configuration")?;
    let log =
        Log::connect(LogConfig::of(&common, permissions::SETUP)).await.context("connecting to the log")?;
    log.ensure().await.context("declaring the log")?;
    if json {
        show::json(&serde_json::json!({ "declared": true, "replicas": common.nats_replicas }));
    } else {
        show::line(format!(
            "the streams are declared, {} of the servers keep each message",
            common.nats_replicas
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fmt::Write, path::Path};

    /// The page that lists every user and what is open to it.
    fn page() -> String {
        let mut page = String::from(
            "# Users of the log's server\n\n\
             What `mastwatch nats-users` gives each service; everything else is closed to it. \
             [How to use it](../how-to/nats-users.md).\n\
             Written by `MASTWATCH_WRITE=1 cargo nextest run -p mastwatch the_reference_lists` from `shared/kit/src/permissions.rs`.\n\n\
             Facts are `mw.<part>.<tenant>.<noun>.<key>`; `$JS.API.…` are requests to JetStream. \
             `<part>.<tenant>` stands for each tenant of the point of presence.\n",
        );
        let tenant = TenantId::of("hillside");
        let scope = format!("{}.{tenant}", events::partition_of(tenant));
        let pops = [Pop { name: "north".into(), tenants: vec![tenant] }];
        for user in users(&pops) {
            let name = user.name.replace("poller-north", "poller-<pop>");
            let subscribes = user.subscribe.join("`, `").replace("poller-north", "poller-<pop>");
            write!(page, "\n## `{name}`\n\nSubscribes `{subscribes}`; publishes:\n\n```\n").unwrap();
            for subject in &user.publish {
                let subject =
                    subject.replace(&scope, "<part>.<tenant>").replace("poller.north", "poller.<pop>");
                let subject = subject.replace(&tenant.to_string(), "<tenant>");
                writeln!(page, "{subject}").unwrap();
            }
            page.push_str("```\n");
        }
        page
    }

    #[test]
    fn the_reference_lists_what_every_user_may_do() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/nats-users.md");
        if std::env::var_os("MASTWATCH_WRITE").is_some_and(|v| v == "1") {
            std::fs::write(&path, page()).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == page(),
            "`MASTWATCH_WRITE=1 cargo nextest run -p mastwatch` writes {}",
            path.display()
        );
    }

    #[test]
    fn a_point_of_presence_is_read_with_its_tenants() {
        let pop: Pop = "north=hillside, valley".parse().unwrap();
        assert_eq!(pop.tenants, [TenantId::of("hillside"), TenantId::of("valley")]);
        for wrong in ["north", "=a", "a b=c", "north=", "north=a,,b", "north=a.b"] {
            assert!(wrong.parse::<Pop>().is_err(), "{wrong}");
        }
    }
}
