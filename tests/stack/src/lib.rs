//! The real parts together: private servers, the real binary as child processes, the lab, and a sink
//! for notices.
//!
//! Services run as processes of their own, so that killing and freezing them is what it would be on a
//! machine of an operator.

use anyhow::{Context, bail};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use embedded::{Nats, Postgres, Temporary};
use events::Audience;
use kit::{Log, LogConfig};
use mastwatch::api::Api;
use network_file::{ChannelEntry, NetworkFile, Position, Secret, Via};
use reqwest::Method;
use serde_json::Value;
use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
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
}

/// A place that takes notices, as somebody's webhook does.
#[derive(Clone)]
pub struct Sink {
    address: SocketAddr,
    told: Arc<Mutex<Vec<(Instant, String, Value)>>>,
}

/// A running process of ours.
pub struct Running {
    child: Child,
    log: PathBuf,
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").context("finding a free port")?.local_addr()?)
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

impl Sink {
    async fn open() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("opening the sink")?;
        let sink = Self { address: listener.local_addr()?, told: Arc::default() };
        let routes = Router::new().route("/notices", post(receive)).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(sink)
    }

    /// Its address, for a channel.
    pub fn url(&self) -> String {
        format!("http://{}/notices", self.address)
    }

    /// Every call so far: when, the notice's id, the body.
    pub fn calls(&self) -> Vec<(Instant, String, Value)> {
        self.told.lock().expect("nobody panics while holding it").clone()
    }

    /// What people were told, repetitions under one id taken as one, as a receiver does: type and title.
    pub fn told(&self) -> Vec<(String, String)> {
        let mut seen = std::collections::BTreeSet::new();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let calls = self.calls().into_iter().filter(|(_, id, _)| seen.insert(id.clone()));
        calls.map(|(_, _, body)| (text(&body["type"]), text(&body["data"]["title"]))).collect()
    }

    /// Waits until so many different notices have come.
    ///
    /// # Errors
    ///
    /// When they do not come in time; says what came.
    pub async fn wait_for(&self, count: usize, within: Duration) -> anyhow::Result<Vec<(String, String)>> {
        let began = Instant::now();
        loop {
            let told = self.told();
            if told.len() >= count {
                return Ok(told);
            }
            if began.elapsed() > within {
                bail!("{count} notices did not come within {} s: {told:?}", within.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive(State(sink): State<Sink>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let id = headers.get("webhook-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(body) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    sink.told.lock().expect("nobody panics while holding it").push((Instant::now(), id, body));
    StatusCode::NO_CONTENT
}

impl Stack {
    /// Private servers, configuration and an administrator; no service runs yet.
    ///
    /// # Errors
    ///
    /// When a server does not start.
    pub async fn start() -> anyhow::Result<Self> {
        kit::telemetry::use_ring();
        let nats = Nats::start_temporary(|_| {}).await.context("starting nats-server")?;
        let postgres = Postgres::start_temporary(|_| {}).await.context("starting Postgres")?;
        let dir = TempDir::new().context("making a directory")?;
        let (console, ingest) = (free_port()?, free_port()?);
        let keys = dir.path().join("master.key");
        vault::MasterKeys::create_file(&keys).context("making a master key")?;
        let keys = std::fs::read_to_string(&keys)?;
        let tables = ["ingest", "poller", "notifier", "console"]
            .map(|table| {
                let more = match table {
                    "ingest" => format!("listen = \"{ingest}\"\n"),
                    "console" => format!("listen = \"{console}\"\n"),
                    "notifier" => "allow_private_targets = true\n".to_owned(),
                    _ => String::new(),
                };
                format!("[{table}]\nmaster_keys = \"{}\"\n{more}", keys.trim())
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
        let log =
            Log::connect(LogConfig::new([nats.url()], "stack")).await.context("connecting to the log")?;
        log.ensure().await.context("declaring the log")?;
        let token = console::first_administrator(&log).await?.context("making an administrator")?;
        let api = Api::new(format!("http://{console}"), token.to_string(), None);
        let sink = Sink::open().await?;
        Ok(Self { nats, postgres, log, api, ingest, console, sink, dir, config })
    }

    /// Starts a process with these services.
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn run(&self, services: &[&str]) -> anyhow::Result<Running> {
        let log = self.dir.path().join(format!("{}-{}.log", services.join("-"), std::process::id()));
        let out = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(binary()?)
            .arg("run")
            .args(services)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("starting mastwatch")?;
        Ok(Running { child, log })
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

    /// Makes a network's notices go to the sink, and its incidents resolve within seconds.
    pub fn tell_the_sink(&self, network: &mut NetworkFile) {
        network.policy.resolve_hold_ms = 3_000;
        network.channels.clear();
        for (name, audience) in [("noc", Audience::Engineers), ("field", Audience::Technicians)] {
            network.channels.push(ChannelEntry {
                name: name.into(),
                audience,
                via: Via::Webhook { url: self.sink.url(), secret: Secret::new(SIGNING_SECRET) },
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
                bail!("not settled within {} s: {settled:?}", within.as_secs());
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

    /// What it wrote so far, the last lines.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
