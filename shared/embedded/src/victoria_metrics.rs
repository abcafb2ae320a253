//! A private VictoriaMetrics: the time series.

use crate::error::{NotRunning, StartError};
use crate::http;
use crate::ports::Port;
use crate::process::AtParentDeath;
use crate::programs::{Program, Programs};
use crate::server::{Ends, Server, blocking};
use crate::temporary::Temporary;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How often another free port is tried when somebody is faster.
const PORT_TRIES: u32 = 5;

/// How long a port that was ours may be somebody else's before a restart gives up.
const PORT_BACK_WITHIN: Duration = Duration::from_secs(5);

/// What it has in memory is written to the disk only in good order: up to a few seconds of samples
/// are lost otherwise.
const ENDS: Ends = Ends { orderly: Signal::INT, at_once: Signal::KILL };

/// How a VictoriaMetrics is to run.
#[derive(Debug, Clone)]
pub struct VictoriaMetricsOptions {
    /// Its own directory: data and log.
    pub dir: PathBuf,
    /// Where to look for the program.
    pub programs: Programs,
    /// For everything, on 127.0.0.1.
    pub port: Port,
    /// What its caches may take, in bytes. Its own default is 60 % of the machine.
    pub memory_bytes: u64,
    /// How long samples are kept, in days.
    pub retention_days: u32,
    /// How long a sample may stay hidden from queries. Zero in tests.
    pub hidden_for: Duration,
    /// How long opening the data may take.
    pub ready_within: Duration,
    /// What becomes of it when this process dies.
    pub at_parent_death: AtParentDeath,
}

impl VictoriaMetricsOptions {
    /// Everything as usual, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> VictoriaMetricsOptions {
        let dir = dir.into();
        VictoriaMetricsOptions {
            programs: Programs::find(&dir),
            dir,
            port: Port::Free,
            memory_bytes: 128 * 1024 * 1024,
            retention_days: 30,
            hidden_for: Duration::from_secs(5),
            ready_within: Duration::from_secs(120),
            at_parent_death: AtParentDeath::ShutDown,
        }
    }
}

/// A running VictoriaMetrics; killed when dropped.
#[derive(Debug)]
pub struct VictoriaMetrics {
    options: VictoriaMetricsOptions,
    program: Program,
    server: Server,
    port: u16,
    /// One restart at a time.
    turn: tokio::sync::Mutex<()>,
}

impl VictoriaMetrics {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`StartError`]: no program, the directory is in use, a port is taken, or it did not come up.
    pub async fn start(options: VictoriaMetricsOptions) -> Result<VictoriaMetrics, StartError> {
        let find = options.programs.clone();
        let program = blocking(move || Ok(find.victoria_metrics()?)).await?;
        let server = Server::claim(&options.dir, "victoria-metrics", ENDS, options.at_parent_death).await?;
        let port = number(options.port)?;
        let turn = tokio::sync::Mutex::new(());
        let mut metrics = VictoriaMetrics { options, program, server, port, turn };
        for _ in 1..PORT_TRIES {
            match metrics.launch().await {
                Err(error) if metrics.options.port == Port::Free && error.is_taken(metrics.port) => {
                    metrics.port = number(Port::Free)?;
                }
                outcome => return outcome.map(|()| metrics),
            }
        }
        metrics.launch().await.map(|()| metrics)
    }

    /// Starts one in a temporary directory, as `change` wants it; gone when dropped. For tests.
    ///
    /// # Errors
    ///
    /// As [`VictoriaMetrics::start`].
    pub async fn start_temporary(
        change: impl FnOnce(&mut VictoriaMetricsOptions),
    ) -> Result<Temporary<VictoriaMetrics>, StartError> {
        let dir = tempfile::tempdir().map_err(StartError::io("making a temporary directory"))?;
        let mut options = VictoriaMetricsOptions::new(dir.path().join("victoria-metrics"));
        options.hidden_for = Duration::ZERO;
        options.at_parent_death = AtParentDeath::Kill;
        change(&mut options);
        Ok(Temporary::new(VictoriaMetrics::start(options).await?, dir))
    }

    /// For writing and asking: `http://127.0.0.1:<port>`. The same after a restart.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The program that was taken, its version, and how it was found.
    pub fn program(&self) -> &Program {
        &self.program
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

    /// `SIGKILL`, as when the power fails. It is gone on return.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// `SIGSTOP`: it keeps its connections and says nothing.
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

    /// Ends it in good order: what it holds in memory is written. Kills it after 30 s.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Starts it again on the same port and data, after stopping it in good order if it runs.
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
                Err(error) if error.is_taken(self.port) && begun.elapsed() < PORT_BACK_WITHIN => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Resolves when the process that runs now has ended, whoever ended it; at once when none runs.
    pub async fn ended(&self) {
        self.server.ended().await;
    }

    async fn launch(&self) -> Result<(), StartError> {
        let options = &self.options;
        let mut command = Command::new(&self.program.path);
        command.arg(format!("-httpListenAddr=127.0.0.1:{}", self.port));
        command.arg(format!("-storageDataPath={}", self.server.dir().join("data").display()));
        command.arg(format!("-memory.allowedBytes={}", options.memory_bytes));
        command.arg(format!("-retentionPeriod={}d", options.retention_days));
        // A sample that was written twice is one.
        command.arg("-dedup.minScrapeInterval=1ms");
        command.arg(format!("-search.latencyOffset={}ms", options.hidden_for.as_millis()));
        command.arg("-loggerLevel=WARN");
        let is_ready =
            |_| async { http::get(self.port, "/health").await.is_ok_and(|(status, _)| status == 200) };
        self.server.launch(command, options.ready_within, is_ready).await
    }
}

fn number(port: Port) -> Result<u16, StartError> {
    port.number().map_err(StartError::io("looking for a free port"))
}
