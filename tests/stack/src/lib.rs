//! The real parts together: private servers, the real binary as child processes, the lab, and a sink
//! for notices.
//!
//! Services run as processes of their own, so that killing and freezing them is what it would be on a
//! machine of an operator.

pub mod fleet;
pub mod hand;
pub mod isp;
pub mod ledger;
pub mod outage;
pub mod reports;
mod sink;

pub use sink::{Call, Sink};

use anyhow::{Context, bail};
use embedded::{Nats, Postgres, Temporary};
use events::Audience;
use kit::{
    Credentials, Log, LogConfig,
    permissions::{self, User},
};
use mastwatch::api::Api;
use network_file::{ChannelEntry, NetworkFile, Position, Secret, Via};
use reqwest::Method;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What the sink's channels sign with.
const SIGNING_SECRET: &str = "whsec_c3RhY2sgdGVzdHMgc2lnbmluZyBzZWNyZXQhISEhISE=";

/// Where everything of one test stands.
pub struct Stack {
    /// The log's server.
    pub nats: Temporary<Nats>,
    /// The read models' server.
    pub postgres: Temporary<Postgres>,
    /// The log.
    pub log: Log,
    /// The console's API, as administrator.
    pub api: Api,
    /// Where webhooks go.
    pub ingest: SocketAddr,
    /// Where the console is.
    pub console: SocketAddr,
    /// What people were told.
    pub sink: Sink,
    dir: TempDir,
    config: PathBuf,
    administrator: String,
    /// As which user of the log's server each service connects; nobody is asked where there is none.
    users: BTreeMap<&'static str, String>,
}

/// The user of the log's server that may do everything, where there are users: the test itself.
pub const TESTER: &str = "tester";

/// The password of a user of the log's server.
pub fn password_of(user: &str) -> String {
    format!("of-{user}-alone")
}

/// A running process of ours.
pub struct Running {
    child: Child,
    log: PathBuf,
}

/// Says how far a test is: shown when it fails, and by `--no-capture`.
#[allow(clippy::print_stdout, reason = "the test's own output is where a person looks")]
pub fn narrate(line: impl std::fmt::Display) {
    println!("{line}");
}

/// A log of one's own, as a user.
pub fn as_user(nats: &Nats, user: &str) -> LogConfig {
    let credentials = Credentials { user: user.to_owned(), password: password_of(user) };
    LogConfig { credentials: Some(credentials), ..LogConfig::new([nats.url()], "stack") }
}

fn as_user_of<'a>(command: &'a mut Command, user: &str) -> &'a mut Command {
    let is_setup = user == permissions::SETUP;
    command
        .env("MASTWATCH_NATS_USER", user)
        .env("MASTWATCH_NATS_PASSWORD", password_of(user))
        .env("MASTWATCH_DECLARE_STREAMS", is_setup.to_string())
}

/// The users as an operator would have them, and the tester. The passwords stand where the server would look
/// for its own variables, which it does not have here.
fn with_passwords(users: &[User]) -> String {
    let everything = vec![">".to_owned()];
    let tester = User { name: TESTER.into(), publish: everything.clone(), subscribe: everything };
    let all: Vec<User> = users.iter().cloned().chain([tester]).collect();
    all.iter().fold(permissions::configuration(&all), |text, user| {
        let variable = format!("password: ${}\n", user.password_variable());
        text.replace(&variable, &format!("password: \"{}\"\n", password_of(&user.name)))
    })
}

/// A port of this machine that is free now, at every address: simulated routers have one each.
///
/// # Errors
///
/// When there is none.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    let port = embedded::free_port().context("finding a free port")?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The binary that `cargo build -p mastwatch` made beside this test.
///
/// # Errors
///
/// When it was not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    let mut path = std::env::current_exe().context("finding this test's own program")?;
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("mastwatch");
    if path.exists() {
        Ok(path)
    } else {
        bail!("{} is missing: run `cargo build -p mastwatch`", path.display())
    }
}

impl Stack {
    /// Private servers, configuration and an administrator; no service runs yet.
    ///
    /// # Errors
    ///
    /// When a server does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::begin(&[], BTreeMap::new()).await
    }

    /// The same where the log's server asks who it is: it knows `users` and the [`TESTER`], and each service
    /// connects as its user of `services`. The streams are declared by the program, as the user for that.
    ///
    /// # Errors
    ///
    /// As [`Stack::start`].
    pub async fn start_with_users(
        users: &[User],
        services: impl IntoIterator<Item = (&'static str, String)>,
    ) -> anyhow::Result<Self> {
        Self::begin(users, services.into_iter().collect()).await
    }

    async fn begin(users: &[User], services: BTreeMap<&'static str, String>) -> anyhow::Result<Self> {
        kit::telemetry::use_ring();
        let nats = Nats::start_temporary(|options| {
            if !users.is_empty() {
                options.extra_config = with_passwords(users);
            }
        })
        .await
        .context("starting nats-server")?;
        let postgres = Postgres::start_temporary(|_| {}).await.context("starting Postgres")?;
        let dir = TempDir::new().context("making a directory")?;
        let (console, ingest) = (free_port()?, free_port()?);
        let keys = dir.path().join("master.key");
        vault::MasterKeys::create_file(&keys).context("making a master key")?;
        let tables = ["ingest", "poller", "notifier", "reconciler", "console"]
            .map(|table| {
                let more = match table {
                    "ingest" => format!("listen = \"{ingest}\"\n"),
                    "console" => format!("listen = \"{console}\"\n"),
                    "notifier" => "allow_private_targets = true\n".to_owned(),
                    "reconciler" => format!(
                        "push_url = \"http://{ingest}\"\ntakeover_after_ms = 1000\nretry_first_s = 1\n"
                    ),
                    _ => String::new(),
                };
                format!("[{table}]\nmaster_keys_file = \"{}\"\n{more}", keys.display())
            })
            .join("\n");
        let config = dir.path().join("mastwatch.toml");
        let common = format!(
            "nats_url = \"{}\"\ndatabase_url = \"{}\"\ndatabase_owner_url = \"{}\"\nadmin_address = \"127.0.0.1:0\"\n",
            nats.url(),
            postgres.url(),
            postgres.superuser_url()
        );
        std::fs::write(&config, format!("{common}\n{tables}"))?;
        let own = match users {
            [] => LogConfig::new([nats.url()], "stack"),
            [..] => as_user(&nats, TESTER),
        };
        if users.is_empty() {
            let log = Log::connect(own.clone()).await.context("connecting to the log")?;
            log.ensure().await.context("declaring the log")?;
        } else {
            let mut declare = Command::new(binary()?);
            declare.args(["declare", "--config"]).arg(&config);
            let declared =
                as_user_of(&mut declare, permissions::SETUP).output().context("declaring the log")?;
            if !declared.status.success() {
                bail!("declaring the log: {}", String::from_utf8_lossy(&declared.stderr));
            }
        }
        let log = Log::connect(own).await.context("connecting to the log")?;
        let token = console::first_administrator(&log).await?.context("making an administrator")?;
        let administrator = token.to_string();
        let api = Api::new(format!("http://{console}"), administrator.clone(), None);
        let sink = Sink::open().await?;
        Ok(Self {
            nats,
            postgres,
            log,
            api,
            ingest,
            console,
            sink,
            dir,
            config,
            administrator,
            users: services,
        })
    }

    /// Starts a process with these services.
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn run(&self, services: &[&str]) -> anyhow::Result<Running> {
        let user = services.first().and_then(|service| self.users.get(service));
        self.run_as(services, user.map(String::as_str), &[])
    }

    /// The same as a certain user of the log's server, and with more variables.
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn run_as(
        &self,
        services: &[&str],
        user: Option<&str>,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Running> {
        let log = self.dir.path().join(format!("{}-{}.log", services.join("-"), std::process::id()));
        let out = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary()?);
        if let Some(user) = user {
            as_user_of(&mut command, user);
        }
        let child = command
            .arg("run")
            .args(services)
            .arg("--config")
            .arg(&self.config)
            // What the tests are told is nothing to the program.
            .env_remove("MASTWATCH_SEED")
            .env_remove("MASTWATCH_ONLY")
            .env_remove("MASTWATCH_SOAK")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("starting mastwatch")?;
        Ok(Running { child, log })
    }

    /// The administrator's token.
    pub fn administrator(&self) -> &str {
        &self.administrator
    }

    /// The configuration that every process reads.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Sets a key of the configuration, for what is started from here on.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.config)?;
        Ok(std::fs::write(&self.config, format!("{key} = \"{value}\"\n{text}"))?)
    }

    /// A place for a file of the test's, gone with the stack.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Imports a network, waiting until the console is there.
    ///
    /// # Errors
    ///
    /// When the console refuses it, or does not come up.
    pub async fn import(&self, network: &NetworkFile) -> anyhow::Result<Value> {
        let began = Instant::now();
        loop {
            let body = network.to_yaml().into_bytes();
            match self.api.call(Method::POST, "/api/v1/import", Some(body)).await {
                Ok(answer) => return Ok(answer),
                Err(error) if began.elapsed() > Duration::from_secs(60) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Makes a network's notices go to the sink, under the name of its tenant, and its incidents resolve within
    /// seconds.
    pub fn tell_the_sink(&self, network: &mut NetworkFile) {
        network.policy.resolve_hold_ms = 3_000;
        network.channels.clear();
        for (name, audience) in [("noc", Audience::Engineers), ("field", Audience::Technicians)] {
            network.channels.push(ChannelEntry {
                name: name.into(),
                audience,
                via: Via::Webhook {
                    url: self.sink.url_of(&network.tenant.slug),
                    secret: Secret::new(SIGNING_SECRET),
                },
                at: Position::default(),
            });
        }
    }

    /// Plays a network; its scripts report to our front door.
    ///
    /// # Errors
    ///
    /// When the lab cannot play it.
    pub async fn play(&self, network: &NetworkFile) -> anyhow::Result<Arc<lab::Lab>> {
        let settings = lab::Settings {
            ingest: Some(format!("http://{}", self.ingest).parse()?),
            // A router that boots for a minute boots for six seconds here.
            time_scale: 10.0,
            ..lab::Settings::default()
        };
        lab::Lab::start(lab::network::Network::from_file(network)?, settings).await
    }

    /// The API as one tenant.
    pub fn api_of(&self, tenant: &str) -> Api {
        self.api.as_tenant(tenant)
    }

    /// Waits until nothing of a tenant is unknown.
    ///
    /// # Errors
    ///
    /// When something stays unknown.
    pub async fn settled(&self, tenant: &str, within: Duration) -> anyhow::Result<()> {
        let (api, began) = (self.api_of(tenant), Instant::now());
        loop {
            let settled = mastwatch::status::is_settled(&api).await;
            if matches!(settled, Ok(true)) {
                return Ok(());
            }
            if began.elapsed() > within {
                let unknown = api.get("/api/v1/health?state=unknown&limit=5").await;
                bail!("not settled within {} s: {settled:?}, {unknown:?}", within.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name, such as `STOP` and `CONT`.
    ///
    /// # Errors
    ///
    /// When there is no `kill` program.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status()?;
        if done.success() { Ok(()) } else { bail!("sending SIG{name} to {}", self.pid()) }
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Everything that it, and whoever ran before with the same services, wrote so far.
    pub fn said_in_all(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it wrote so far, the last lines.
    pub fn said(&self) -> String {
        let text = self.said_in_all();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
