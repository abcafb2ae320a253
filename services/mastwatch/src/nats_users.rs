//! `mastwatch nats-users` and `mastwatch declare`: a log's server whose users may do only what they need.

use crate::{compose, show};
use anyhow::{Context, bail};
use events::TenantId;
use kit::{Log, LogConfig, config::Settings, permissions};
use std::{collections::BTreeSet, path::PathBuf, str::FromStr};

/// What `mastwatch nats-users` can be told.
#[derive(Debug, clap::Args)]
pub struct NatsUsersArgs {
    /// A point of presence and the tenants it watches, `north=hillside,valley`: its poller's user may speak for these
    /// only. May be given several times.
    #[arg(long = "pop", value_name = "POP=TENANT,…")]
    pops: Vec<Pop>,
    /// A process that runs several services, `edge=ingest,poller-north`, or `box=all`: one user that may do what they may,
    /// instead of one for each of them. May be given several times.
    #[arg(long = "process", value_name = "NAME=SERVICE,…")]
    processes: Vec<ManyInOne>,
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

/// A process and its services.
#[derive(Debug, Clone)]
struct ManyInOne {
    name: String,
    services: Vec<String>,
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl FromStr for ManyInOne {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, services) = text.split_once('=').context("a process is NAME=SERVICE,SERVICE")?;
        if !is_token(name) {
            bail!("`{name}` is no name of a user: letters, digits, `_` and `-`");
        }
        let services: Vec<&str> = services.split(',').map(str::trim).collect();
        let services = if services == ["all"] { compose::SERVICES.to_vec() } else { services };
        Ok(Self { name: name.to_owned(), services: services.into_iter().map(str::to_owned).collect() })
    }
}

impl FromStr for Pop {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, tenants) = text.split_once('=').context("a point of presence is POP=TENANT,TENANT")?;
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

/// The users of an installation. Services that share a process have its user and none of their own.
fn users(pops: &[Pop], processes: &[ManyInOne]) -> anyhow::Result<Vec<permissions::User>> {
    let alone: Vec<permissions::User> = compose::SERVICES
        .into_iter()
        .map(permissions::service)
        .chain(pops.iter().map(|pop| permissions::point_of_presence(&pop.name, &pop.tenants)))
        .collect();
    let mut users = Vec::new();
    for process in processes {
        let mut members = Vec::new();
        for service in &process.services {
            let known = alone.iter().find(|user| user.name == *service);
            members.push(known.cloned().with_context(|| {
                let names: Vec<&str> = alone.iter().map(|user| user.name.as_str()).collect();
                format!("`{service}` in the process `{}` is none of: {}", process.name, names.join(", "))
            })?);
        }
        users.push(permissions::together(&process.name, &members));
    }
    let is_within = |user: &permissions::User| processes.iter().any(|p| p.services.contains(&user.name));
    users.splice(0..0, alone.into_iter().filter(|user| !is_within(user)));
    users.push(permissions::setup());
    let mut variables = BTreeSet::new();
    match users.iter().find(|user| !variables.insert(user.password_variable())) {
        Some(user) => {
            bail!("two users would be `{}` with the password {}", user.name, user.password_variable())
        }
        None => Ok(users),
    }
}

/// Prints the users, to be included in nats-server's configuration; with `json` one a line.
///
/// # Errors
///
/// When a process names what is no service, or two users would have one name.
pub fn run(args: &NatsUsersArgs, json: bool) -> anyhow::Result<()> {
    let users = users(&args.pops, &args.processes)?;
    if json {
        users.iter().for_each(show::json);
    } else {
        show::line(permissions::configuration(&users).trim_end());
    }
    Ok(())
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
    use crate::reference;
    use std::fmt::Write;

    /// The page that lists every user and what is open to it.
    fn page() -> String {
        let mut page = String::from(
            "# Users of the log's server\n\n\
             What `mastwatch nats-users` gives each service; everything else is closed to it. \
             [How to use it](../how-to/nats-users.md).\n\
             Written by `MASTWATCH_WRITE=1 cargo nextest run -p mastwatch the_reference_lists` from `shared/kit/src/permissions.rs`.\n\n\
             A process of several services (`--process`) has one user that may publish what any of them may.\n\n\
             Facts are `mw.<part>.<tenant>.<noun>.<key>`; `$JS.API.…` are requests to JetStream. \
             `<part>.<tenant>` stands for each tenant of the point of presence.\n",
        );
        let tenant = TenantId::of("hillside");
        let scope = format!("{}.{tenant}", events::partition_of(tenant));
        let pops = [Pop { name: "north".into(), tenants: vec![tenant] }];
        for user in users(&pops, &[]).unwrap() {
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
        reference::is_written("nats-users.md", &page());
    }

    #[test]
    fn a_point_of_presence_is_read_with_its_tenants() {
        let pop: Pop = "north=hillside, valley".parse().unwrap();
        assert_eq!(pop.tenants, [TenantId::of("hillside"), TenantId::of("valley")]);
        for wrong in ["north", "=a", "a b=c", "north=", "north=a,,b", "north=a.b"] {
            assert!(wrong.parse::<Pop>().is_err(), "{wrong}");
        }
    }

    fn names(pops: &[&str], processes: &[&str]) -> anyhow::Result<Vec<String>> {
        let pops: Vec<Pop> = pops.iter().map(|text| text.parse().unwrap()).collect();
        let processes: Vec<ManyInOne> = processes.iter().map(|text| text.parse().unwrap()).collect();
        Ok(users(&pops, &processes)?.into_iter().map(|user| user.name).collect())
    }

    #[test]
    fn services_that_share_a_process_have_its_user_and_none_of_their_own() {
        let north = ["north=hillside"];
        let all = names(&north, &["edge=ingest,poller-north", "core=diagnostician,correlator"]).unwrap();
        let expected = ["poller", "notifier", "reconciler", "projector", "console", "edge", "core", "setup"];
        assert_eq!(all, expected);
        assert_eq!(names(&[], &["box=all"]).unwrap(), ["box", "setup"]);
    }

    #[test]
    fn a_process_of_what_is_no_service_or_with_anothers_name_is_refused() {
        let error = names(&[], &["edge=ingest,poler"]).unwrap_err().to_string();
        assert!(error.contains("`poler`") && error.contains("poller"), "{error}");
        assert!(names(&[], &["edge=poller-north"]).is_err(), "a point of presence that is not given");
        for wrong in ["setup=ingest,poller", "console=ingest,poller", "POLLER_north=ingest,console"] {
            let error = names(&["north=hillside"], &[wrong]).unwrap_err().to_string();
            assert!(error.contains("two users"), "{wrong}: {error}");
        }
        // Named as one of its own services it takes that one's place.
        assert!(names(&[], &["ingest=ingest,poller"]).is_ok());
        for wrong in ["edge", "a b=ingest", "=ingest"] {
            assert!(wrong.parse::<ManyInOne>().is_err(), "{wrong}");
        }
    }
}
