//! `mastwatch up`: the whole system on one machine.

use crate::{api, compose, demo, servers::Servers, show};
use anyhow::Context;
use kit::{Log, LogConfig, config::Settings};
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;

/// What `mastwatch up` can be told.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Also simulate an ISP, and show what happens to it.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "outage", require_equals = true)]
    pub demo: Option<demo::Demo>,
    /// A configuration file (TOML).
    #[arg(long, env = "MASTWATCH_CONFIG")]
    pub config: Option<PathBuf>,
    /// The network file the demonstration simulates instead of its own.
    #[arg(long, requires = "demo")]
    pub network: Option<PathBuf>,
    /// Show the log of every service.
    #[arg(long, short)]
    pub verbose: bool,
}

/// Where the two front doors are.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    /// The API and the status page.
    pub console: SocketAddr,
    /// The webhooks.
    pub ingest: SocketAddr,
}

/// Runs until a signal. With `json` it says its addresses once, when it is ready, and else nothing to people.
///
/// # Errors
///
/// When a server does not start or a service is given up.
pub async fn run(args: &UpArgs, data: &Path, json: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(data).with_context(|| format!("making the data directory {}", data.display()))?;
    let data = data.canonicalize().context("finding the data directory")?;
    let voice = Voice::open(json);
    voice.begins("starting the private servers");
    let mut settings = Settings::load(args.config.as_deref()).context("reading the configuration")?;
    if json {
        settings = settings.with("log_format", "json", "--json");
    }
    let (servers, settings) = Servers::start(&data, settings, |line| voice.says(&line)).await?;
    let settings = match args.demo {
        // Nobody waits ten minutes to see the first of what is measured.
        Some(demo::Demo::Routers) => settings.with("poller.snapshot_every_s", 10, "the demonstration"),
        Some(demo::Demo::Outage) | None => settings,
    };
    let (settings, doors) = doors(with_keys(settings, &data)?)?;
    keep_administrator(&settings, &data).await?;
    keep_addresses(&settings, &data)?;
    voice.begins("bringing the tables up to date");
    projector::migrate(&settings.common()?).await.context("bringing the tables up to date")?;
    voice.begins("starting the services");
    let process = compose::process(&settings, &compose::SERVICES, !args.verbose).await?;
    let stop = process.stop();
    voice.says(&format!("console          http://{}", doors.console));
    voice.says(&format!("webhooks         http://{}", doors.ingest));
    voice.says(&format!("health, metrics  http://{}", process.admin_address()));
    std::fs::write(api::address_file(&data), format!("http://{}\n", doors.console))
        .context("keeping the address")?;
    let admin = process.admin_address();
    let running = tokio::spawn(process.run());
    let told = tokio::spawn({
        let (stop, data, demo, network) = (stop.clone(), data.clone(), args.demo, args.network.clone());
        async move {
            let outcome = tell(&data, doors, admin, (demo, network.as_deref()), &stop, &voice).await;
            voice.is_done();
            if outcome.is_err() {
                stop.cancel();
            }
            outcome
        }
    });
    let ended = running.await.context("running the services")?;
    stop.cancel();
    let told = told.await.context("telling what happens")?;
    servers.stop().await;
    told.and(ended.map_err(Into::into))
}

async fn tell(
    data: &Path,
    doors: Doors,
    admin: SocketAddr,
    (demo, network): (Option<demo::Demo>, Option<&Path>),
    stop: &CancellationToken,
    voice: &Voice,
) -> anyhow::Result<()> {
    voice.begins("waiting until every service is ready");
    if !ready(admin, stop).await? {
        return Ok(());
    }
    let token = api::token_file(data);
    voice.says(&format!("administrator's token in {}", token.display()));
    if voice.json {
        show::json(&serde_json::json!({
            "console": format!("http://{}", doors.console),
            "webhooks": format!("http://{}", doors.ingest),
            "health_and_metrics": format!("http://{admin}"),
            "token_file": token,
            "servers_file": crate::rebuild::servers_file(data),
        }));
    }
    if let Some(which) = demo {
        return demo::play(which, data, doors, network, stop, voice).await;
    }
    voice.is_done();
    if !voice.json {
        show::note("mastwatch is up. Next: `mastwatch import network.yaml`. Ctrl-C stops everything.");
    }
    stop.cancelled().await;
    Ok(())
}

/// Waits until everything says that it can work; false when told to stop before.
async fn ready(admin: SocketAddr, stop: &CancellationToken) -> anyhow::Result<bool> {
    kit::telemetry::use_ring();
    let http = reqwest::Client::new();
    let url = format!("http://{admin}/readyz");
    for _ in 0..1_200 {
        if stop.is_cancelled() {
            return Ok(false);
        }
        if http.get(&url).send().await.is_ok_and(|r| r.status().is_success()) {
            return Ok(true);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let why = http.get(&url).send().await?.text().await.unwrap_or_default();
    anyhow::bail!("the services were not ready within two minutes: {why}")
}

/// Keeps the servers' addresses for `mastwatch rebuild`, where only this user can read them.
fn keep_addresses(settings: &Settings, data: &Path) -> anyhow::Result<()> {
    let common = settings.common()?;
    let shown = |secret: &Option<kit::config::Secret>| secret.as_ref().map(|s| s.reveal().to_owned());
    let addresses = serde_json::json!({
        "nats_url": common.nats_url,
        "database_url": shown(&common.database_url),
        "database_owner_url": shown(&common.database_owner_url),
    });
    keep(&crate::rebuild::servers_file(data), &addresses.to_string())
}

/// Writes a file that only this user can read.
fn keep(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut kept = options.open(file).with_context(|| format!("keeping {}", file.display()))?;
    writeln!(kept, "{text}").with_context(|| format!("keeping {}", file.display()))
}

/// Makes the administrator's token at the first start and keeps it where only this user can read it.
async fn keep_administrator(settings: &Settings, data: &Path) -> anyhow::Result<()> {
    let common = settings.common()?;
    let log = Log::connect(LogConfig::new(common.nats_servers(), "mastwatch"))
        .await
        .context("connecting to the log")?;
    log.ensure().await.context("declaring the log")?;
    let file = api::token_file(data);
    let token = match console::first_administrator(&log).await.context("making the administrator's token")? {
        Some(token) => token,
        None if file.exists() => return Ok(()),
        // The log knows an administrator, the data directory has lost the token.
        None => {
            console::replace_administrator(&log).await.context("making the administrator's token anew")?
        }
    };
    keep(&file, token.as_str())
}

/// The master key of this installation, made at the first start.
fn with_keys(settings: Settings, data: &Path) -> anyhow::Result<Settings> {
    let key = |service: &&str| format!("{service}.master_keys");
    let mut keyed = ["ingest", "poller", "notifier", "reconciler", "console"].iter();
    if let Ok(keys) = std::env::var("MASTWATCH_MASTER_KEYS") {
        return Ok(
            keyed.fold(settings, |all, service| all.with(&key(service), keys.trim(), "the environment"))
        );
    }
    let file = match std::env::var_os("MASTWATCH_MASTER_KEYS_FILE") {
        Some(file) => PathBuf::from(file),
        None => crate::keys::key_file(data),
    };
    if file.starts_with(data) && !file.exists() {
        vault::MasterKeys::create_file(&file).context("making the master key")?;
    }
    let keyed = keyed.try_fold(settings, |all, service| {
        all.with_file(&key(service), &file, "the master key of this installation")
    });
    keyed.with_context(|| format!("reading the master keys from {}", file.display()))
}

/// Picks the ports: the usual ones where they are free, others where somebody has them.
fn doors(settings: Settings) -> anyhow::Result<(Settings, Doors)> {
    let console = port_for("MASTWATCH_CONSOLE__LISTEN", 8080)?;
    let ingest = port_for("MASTWATCH_INGEST__LISTEN", 8081)?;
    let admin = port_for("MASTWATCH_ADMIN_ADDRESS", 9090)?;
    let config: reconciler::Config = settings.section().context("reading the table `reconciler`")?;
    // Played routers are on this machine; real ones need an address that they can reach.
    let push_url = config.push_url.unwrap_or_else(|| format!("http://{ingest}"));
    let settings = settings
        .with("console.listen", console.to_string(), "mastwatch up")
        .with("ingest.listen", ingest.to_string(), "mastwatch up")
        .with("admin_address", admin.to_string(), "mastwatch up")
        .with("reconciler.push_url", push_url, "mastwatch up")
        // A small installation sends to its own machines; a provider's notifier keeps the default.
        .with("notifier.allow_private_targets", true, "mastwatch up");
    Ok((settings, Doors { console, ingest }))
}

fn port_for(variable: &str, usual: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(given) = std::env::var(variable) {
        return given.parse().with_context(|| format!("reading {variable}"));
    }
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let free = TcpListener::bind(loopback(usual)).or_else(|_| TcpListener::bind(loopback(0)));
    Ok(free.context("finding a free port")?.local_addr()?)
}

/// How a start is told: a progress bar where there is a terminal, lines where there is none, and to programs nothing.
#[derive(Debug)]
pub struct Voice {
    bar: indicatif::ProgressBar,
    /// Whether a program listens.
    pub json: bool,
}

impl Voice {
    fn open(json: bool) -> Self {
        let bar = if json { indicatif::ProgressBar::hidden() } else { indicatif::ProgressBar::new_spinner() };
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self { bar, json }
    }

    /// Shows what is being done.
    pub fn begins(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Says a line above the progress bar, or just says it where there is no terminal.
    pub fn says(&self, text: &str) {
        if self.bar.is_hidden() {
            self.line(&format!("  {text}"));
        } else {
            self.bar.println(format!("  {text}"));
        }
    }

    /// Takes the progress bar away.
    pub fn is_done(&self) {
        self.bar.finish_and_clear();
    }

    /// Says a line.
    pub fn line(&self, text: &str) {
        if !self.json {
            show::line(text);
        }
    }
}
