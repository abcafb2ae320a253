//! A private nats-server, alone or as a cluster of three.
//!
//! Ready means: it answers under its own name, and JetStream has read its store and says it is
//! healthy; in a cluster also that the three have found each other and a leader.

use crate::error::{NotRunning, StartError};
use crate::http;
use crate::ports::Port;
use crate::process::AtParentDeath;
use crate::programs::{Program, Programs, Version};
use crate::random;
use crate::server::{Ends, Server, blocking, write_private};
use crate::temporary::Temporary;
use rustix::process::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

/// Since when a stream's consumers are limited to 1,000 by default, and the limit can be set.
const CONSUMER_LIMIT_SINCE: Version = Version(2, 15, 0);

/// How often another free port is tried when somebody is faster.
const PORT_TRIES: u32 = 5;

/// How long a port that was ours may be somebody else's before a restart gives up.
const PORT_BACK_WITHIN: Duration = Duration::from_secs(5);

/// The longest first line a server sends. Source: the client protocol's control line is 4 KB; an
/// `INFO` lists the whole cluster.
const INFO_BYTES_MAX: u64 = 64 * 1024;

/// A store survives `SIGKILL`, so dropping needs nothing gentler.
const ENDS: Ends = Ends { orderly: Signal::TERM, at_once: Signal::KILL };

/// When JetStream writes its files through to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Before every acknowledgement.
    #[default]
    Always,
    /// Every second: up to a second of what was acknowledged is lost when the power fails.
    Interval,
}

impl Durability {
    fn sync_interval(self) -> &'static str {
        match self {
            Durability::Always => "always",
            Durability::Interval => "\"1s\"",
        }
    }
}

/// How a nats-server is to run.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Its own directory: configuration, log, store.
    pub dir: PathBuf,
    /// Where to look for the program.
    pub programs: Programs,
    /// Its name, unique and the same at every start. `None`: chosen at random and kept in `dir`.
    pub server_name: Option<String>,
    /// For clients.
    pub port: Port,
    /// For `/varz`, `/jsz` and the like.
    pub monitor_port: Port,
    /// When acknowledged messages reach the disk.
    pub durability: Durability,
    /// The largest message, in bytes.
    pub max_payload_bytes: u32,
    /// The most JetStream may keep on the disk, in bytes. `None`: three quarters of what is free.
    pub store_bytes_max: Option<u64>,
    /// What the program's garbage collector tries to stay below (`GOMEMLIMIT`), in bytes. Far above what it
    /// needs: near it the program does nothing but collect. Two minutes of 15,000 signals/s are 400 MB of
    /// remembered message ids alone.
    pub memory_bytes: u64,
    /// More configuration in the server's own format, such as `authorization` or `accounts`.
    pub extra_config: String,
    /// How long reading the store and finding the others may take.
    pub ready_within: Duration,
    /// What becomes of it when this process dies.
    pub at_parent_death: AtParentDeath,
}

impl NatsOptions {
    /// Everything as usual, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> NatsOptions {
        let dir = dir.into();
        NatsOptions {
            programs: Programs::find(&dir),
            dir,
            server_name: None,
            port: Port::Free,
            monitor_port: Port::Free,
            durability: Durability::Always,
            max_payload_bytes: 1024 * 1024,
            store_bytes_max: None,
            memory_bytes: 384 * 1024 * 1024,
            extra_config: String::new(),
            ready_within: Duration::from_secs(120),
            at_parent_death: AtParentDeath::ShutDown,
        }
    }
}

/// A running nats-server; killed when dropped.
#[derive(Debug)]
pub struct Nats {
    options: NatsOptions,
    program: Program,
    server: Server,
    server_name: String,
    ports: Ports,
    cluster: Option<Membership>,
    /// As the next start finds it.
    store_bytes_max: Mutex<Option<u64>>,
    /// One restart at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    monitor: u16,
}

/// What one of three must know of the others.
#[derive(Debug, Clone)]
struct Membership {
    name: String,
    own_port: u16,
    all_ports: Vec<u16>,
}

impl Nats {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`StartError`]: no program, the directory is in use, a port is taken, or it did not come up.
    pub async fn start(options: NatsOptions) -> Result<Nats, StartError> {
        let (program, server) = Nats::prepare(&options).await?;
        let mut nats = Nats::claimed(options, program, server, None)?;
        for _ in 1..PORT_TRIES {
            match nats.launch().await {
                Err(error) if nats.may_move_from(&error) => nats.ports = ports(&nats.options)?,
                outcome => return outcome.map(|()| nats),
            }
        }
        nats.launch().await.map(|()| nats)
    }

    /// Starts one in a temporary directory, as `change` wants it; gone when dropped. For tests.
    ///
    /// # Errors
    ///
    /// As [`Nats::start`].
    pub async fn start_temporary(
        change: impl FnOnce(&mut NatsOptions),
    ) -> Result<Temporary<Nats>, StartError> {
        let dir = tempfile::tempdir().map_err(StartError::io("making a temporary directory"))?;
        let mut options = NatsOptions::new(dir.path().join("nats"));
        options.at_parent_death = AtParentDeath::Kill;
        change(&mut options);
        Ok(Temporary::new(Nats::start(options).await?, dir))
    }

    async fn prepare(options: &NatsOptions) -> Result<(Program, Server), StartError> {
        let programs = options.programs.clone();
        let program = blocking(move || Ok(programs.nats_server()?)).await?;
        Ok((program, Server::claim(&options.dir, "nats", ENDS, options.at_parent_death).await?))
    }

    fn claimed(
        options: NatsOptions,
        program: Program,
        server: Server,
        cluster: Option<Membership>,
    ) -> Result<Nats, StartError> {
        let server_name = match &options.server_name {
            Some(name) => name.clone(),
            None => kept_name(server.dir())?,
        };
        let ports = ports(&options)?;
        let store_bytes_max = Mutex::new(options.store_bytes_max);
        let turn = tokio::sync::Mutex::new(());
        Ok(Nats { options, program, server, server_name, ports, cluster, store_bytes_max, turn })
    }

    /// For clients: `nats://127.0.0.1:<port>`. The same after a restart.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.client)
    }

    /// The monitoring address: `http://127.0.0.1:<port>`. The same after a restart.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.monitor)
    }

    /// Its name in a cluster and in what it tells clients.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The program that was taken, its version, and how it was found.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// When acknowledged messages reach the disk.
    pub fn durability(&self) -> Durability {
        self.options.durability
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        self.server.log()
    }

    /// The process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// `SIGKILL`, as when the power fails. It is gone on return; [`restart`](Nats::restart) brings it back.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// `SIGSTOP`: it keeps its connections and says nothing, as a machine that hangs.
    ///
    /// # Errors
    ///
    /// [`NotRunning`].
    pub fn freeze(&self) -> Result<(), NotRunning> {
        self.server.freeze()
    }

    /// `SIGCONT`: it goes on where it was.
    ///
    /// # Errors
    ///
    /// [`NotRunning`].
    pub fn thaw(&self) -> Result<(), NotRunning> {
        self.server.thaw()
    }

    /// Ends it in good order (`SIGTERM`); kills it after 30 s.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Starts it again on the same ports and data, after stopping it in good order if it runs.
    ///
    /// In a cluster this waits until this server is healthy, which needs one more to be running.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn restart(&self) -> Result<(), StartError> {
        let _turn = self.turn.lock().await;
        self.server.stop().await;
        let begun = Instant::now();
        loop {
            match self.launch().await {
                Err(error) if self.has_lost_a_port(&error) && begun.elapsed() < PORT_BACK_WITHIN => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// How much it may store from its next start on, bytes.
    pub fn give_room(&self, store_bytes_max: u64) {
        *self.store_bytes_max.lock().unwrap_or_else(PoisonError::into_inner) = Some(store_bytes_max);
    }

    /// Resolves when the process that runs now has ended, whoever ended it; at once when none runs.
    pub async fn ended(&self) {
        self.server.ended().await;
    }

    /// Whether it failed for a port that need not be that one.
    fn may_move_from(&self, error: &StartError) -> bool {
        self.options.port == Port::Free && error.is_taken(self.ports.client)
            || self.options.monitor_port == Port::Free && error.is_taken(self.ports.monitor)
    }

    fn has_lost_a_port(&self, error: &StartError) -> bool {
        error.is_taken(self.ports.client)
            || error.is_taken(self.ports.monitor)
            || self.cluster.as_ref().is_some_and(|cluster| error.is_taken(cluster.own_port))
    }

    async fn launch(&self) -> Result<(), StartError> {
        let config_path = self.server.dir().join("nats.conf");
        write_private(&config_path, &self.config())?;
        let mut command = Command::new(&self.program.path);
        command.arg("-c").arg(&config_path);
        command.env("GOMEMLIMIT", format!("{}B", self.options.memory_bytes));
        self.server.launch(command, self.options.ready_within, |_| self.is_ready()).await
    }

    /// Answers under its own name, and JetStream is healthy.
    async fn is_ready(&self) -> bool {
        let answers = tokio::time::timeout(http::ASK_TIMEOUT, name_at(self.ports.client)).await;
        if answers.ok().flatten().as_deref() != Some(self.server_name.as_str()) {
            return false;
        }
        http::get(self.ports.monitor, "/healthz").await.is_ok_and(|(status, _)| status == 200)
    }

    /// Whether it leads its cluster and sees every other member up to date.
    async fn leads_a_whole_cluster(&self, members: usize) -> bool {
        let Ok((200, body)) = http::get(self.ports.monitor, "/jsz").await else { return false };
        let Ok(answer) = serde_json::from_str::<Value>(&body) else { return false };
        let Some(cluster) = answer.get("meta_cluster") else { return false };
        let followers = cluster.get("replicas").and_then(Value::as_array);
        cluster.get("leader").and_then(Value::as_str) == Some(self.server_name.as_str())
            && followers.is_some_and(|followers| {
                followers.len() + 1 == members
                    && followers.iter().all(|follower| {
                        follower.get("current") == Some(&Value::Bool(true))
                            && follower.get("offline") != Some(&Value::Bool(true))
                    })
            })
    }

    /// The whole configuration file.
    ///
    /// Open batches: by default 50 of a stream for 10 s, so a client that dies with open batches
    /// would hold everybody up for that long.
    fn config(&self) -> String {
        let options = &self.options;
        let mut limits =
            "batch { max_inflight_per_stream: 400, max_inflight_total: 2000, timeout: \"2s\" }".to_owned();
        if self.program.version >= Some(CONSUMER_LIMIT_SINCE) {
            limits.insert_str(0, "default_max_consumers: 5000\n    ");
        }
        let store_bytes_max = *self.store_bytes_max.lock().unwrap_or_else(PoisonError::into_inner);
        let store_max =
            store_bytes_max.map(|bytes| format!("\n  max_file_store: {bytes}")).unwrap_or_default();
        let mut config = format!(
            "server_name: {name}\n\
             listen: \"127.0.0.1:{client}\"\n\
             http: \"127.0.0.1:{monitor}\"\n\
             max_payload: {payload}\n\
             jetstream {{\n  store_dir: {store}{store_max}\n  sync_interval: {sync}\n  \
             limits {{\n    {limits}\n  }}\n}}\n",
            name = quoted(&self.server_name),
            client = self.ports.client,
            monitor = self.ports.monitor,
            payload = options.max_payload_bytes,
            store = quoted(&self.server.dir().join("store").display().to_string()),
            sync = options.durability.sync_interval(),
        );
        if let Some(cluster) = &self.cluster {
            let others = cluster.all_ports.iter().filter(|port| **port != cluster.own_port);
            // Clients are given all addresses; one that was given another way to a server stays on it.
            let routes: Vec<String> = others.map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
            write!(
                config,
                "cluster {{\n  name: {}\n  listen: \"127.0.0.1:{}\"\n  routes: [{}]\n  no_advertise: true\n}}\n",
                quoted(&cluster.name),
                cluster.own_port,
                routes.join(", "),
            )
            .expect("writing to a string does not fail");
        }
        config.push_str(&options.extra_config);
        config.push('\n');
        config
    }
}

/// Three nats-servers that replicate among themselves; killed when dropped.
#[derive(Debug)]
pub struct NatsCluster {
    members: Vec<Nats>,
}

impl NatsCluster {
    /// How many: the fewest that keep a majority when one is lost.
    pub const MEMBERS: usize = 3;

    /// Starts three on free ports, in `0`, `1` and `2` below `dir`, and waits until they are one cluster.
    ///
    /// `options` hold for each of them; its ports and its server name are not used.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(options: NatsOptions) -> Result<NatsCluster, StartError> {
        let mut members = Vec::with_capacity(NatsCluster::MEMBERS);
        for number in 0..NatsCluster::MEMBERS {
            let own = NatsOptions {
                dir: options.dir.join(number.to_string()),
                server_name: None,
                port: Port::Free,
                monitor_port: Port::Free,
                ..options.clone()
            };
            let (program, server) = Nats::prepare(&own).await?;
            members.push(Nats::claimed(own, program, server, None)?);
        }
        let mut cluster = NatsCluster { members };
        for _ in 1..PORT_TRIES {
            match cluster.launch().await {
                Err(error) if cluster.members.iter().any(|member| member.has_lost_a_port(&error)) => {
                    cluster.kill();
                }
                outcome => return outcome.map(|()| cluster),
            }
        }
        cluster.launch().await.map(|()| cluster)
    }

    /// Starts three in a temporary directory, as `change` wants them; gone when dropped.
    ///
    /// # Errors
    ///
    /// As [`NatsCluster::start`].
    pub async fn start_temporary(
        change: impl FnOnce(&mut NatsOptions),
    ) -> Result<Temporary<NatsCluster>, StartError> {
        let dir = tempfile::tempdir().map_err(StartError::io("making a temporary directory"))?;
        let mut options = NatsOptions::new(dir.path().join("nats"));
        options.at_parent_death = AtParentDeath::Kill;
        change(&mut options);
        Ok(Temporary::new(NatsCluster::start(options).await?, dir))
    }

    /// Its members: each can be killed, frozen and restarted by itself.
    pub fn members(&self) -> &[Nats] {
        &self.members
    }

    /// The addresses of all, for a client's list of servers.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(Nats::url).collect()
    }

    /// Kills all three.
    pub fn kill(&self) {
        self.members.iter().for_each(Nats::kill);
    }

    /// Ends all three in good order.
    pub async fn stop(&self) {
        for member in &self.members {
            member.stop().await;
        }
    }

    /// Starts all three again on the same ports and data; returns when they are one cluster.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn restart(&self) -> Result<(), StartError> {
        let [one, two, three] = self.three();
        tokio::try_join!(one.restart(), two.restart(), three.restart())?;
        self.whole().await
    }

    /// Waits until all three are healthy, and one leads the others, which are up to date.
    ///
    /// # Errors
    ///
    /// [`StartError::NotReady`] when that takes too long.
    pub async fn whole(&self) -> Result<(), StartError> {
        let begun = Instant::now();
        loop {
            for member in &self.members {
                if member.leads_a_whole_cluster(NatsCluster::MEMBERS).await {
                    return Ok(());
                }
            }
            let first = self.three()[0];
            let within = first.options.ready_within;
            if begun.elapsed() > within {
                return Err(StartError::NotReady {
                    what: "the cluster of nats-servers",
                    within,
                    log: first.log().to_owned(),
                    said: crate::logs::tail(first.log(), 0),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn launch(&mut self) -> Result<(), StartError> {
        let mut all_ports = Vec::with_capacity(self.members.len());
        for _ in &self.members {
            all_ports.push(Port::Free.number().map_err(StartError::io("looking for free ports"))?);
        }
        for (member, own_port) in self.members.iter_mut().zip(all_ports.clone()) {
            member.ports = ports(&member.options)?;
            member.cluster =
                Some(Membership { name: "mastwatch".to_owned(), own_port, all_ports: all_ports.clone() });
        }
        let [one, two, three] = self.three();
        tokio::try_join!(one.launch(), two.launch(), three.launch())?;
        self.whole().await
    }

    fn three(&self) -> [&Nats; NatsCluster::MEMBERS] {
        self.members
            .iter()
            .collect::<Vec<_>>()
            .try_into()
            .expect("a cluster has three members from its start")
    }
}

fn ports(options: &NatsOptions) -> Result<Ports, StartError> {
    let find = || Ok(Ports { client: options.port.number()?, monitor: options.monitor_port.number()? });
    find().map_err(StartError::io("looking for free ports"))
}

/// The name that was chosen when the directory was new.
fn kept_name(dir: &Path) -> Result<String, StartError> {
    let path = dir.join("server_name");
    if let Ok(name) = fs::read_to_string(&path)
        && !name.trim().is_empty()
    {
        return Ok(name.trim().to_owned());
    }
    let name = format!("mastwatch-{}", random::hex(6).map_err(StartError::io("choosing a server name"))?);
    write_private(&path, &name)?;
    Ok(name)
}

/// A string in the server's configuration format.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The name under which a nats-server answers on a port. Source: the client protocol's `INFO`.
async fn name_at(port: u16) -> Option<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(INFO_BYTES_MAX)).read_line(&mut line).await.ok()?;
    let info: Value = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
    Some(info.get("server_name")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_in_a_path_do_not_end_the_string() {
        assert_eq!(quoted(r#"/a "b"\c"#), r#""/a \"b\"\\c""#);
    }

    #[test]
    fn a_name_is_kept_with_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let name = kept_name(dir.path()).unwrap();
        assert!(name.starts_with("mastwatch-"));
        assert_eq!(kept_name(dir.path()).unwrap(), name);
    }
}
