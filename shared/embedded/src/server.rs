//! What the three servers have in common: a claimed directory, a log, a process that comes and goes.

use crate::claim::Claim;
use crate::error::{NotRunning, StartError};
use crate::logs;
use crate::process::{AtParentDeath, Process};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a server that is starting is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// How long an orderly end may take before the server is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How long a server that is dropped may take to end at once.
const AT_ONCE_PATIENCE: Duration = Duration::from_secs(5);

/// The signals that end a kind of server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// In good order: what it holds is written down first.
    pub(crate) orderly: Signal,
    /// Now, leaving nothing behind that its next start does not clean up.
    pub(crate) at_once: Signal,
}

impl Ends {
    fn at(self, death: AtParentDeath) -> Signal {
        match death {
            AtParentDeath::ShutDown => self.orderly,
            AtParentDeath::Kill => self.at_once,
        }
    }
}

/// One server of ours, running or not.
#[derive(Debug)]
pub(crate) struct Server {
    what: &'static str,
    claim: Claim,
    log: PathBuf,
    ends: Ends,
    at_parent_death: AtParentDeath,
    process: Mutex<Option<Process>>,
}

impl Server {
    /// Claims a directory for a server that is not running yet.
    pub(crate) async fn claim(
        dir: &Path,
        what: &'static str,
        ends: Ends,
        at_parent_death: AtParentDeath,
    ) -> Result<Server, StartError> {
        let dir = dir.to_owned();
        let claim = blocking(move || Claim::of(&dir, what)).await?;
        let log = claim.dir().join(format!("{what}.log"));
        Ok(Server { what, claim, log, ends, at_parent_death, process: Mutex::new(None) })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.claim.dir()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The signal it receives when this process dies.
    pub(crate) fn at_parent_death(&self) -> Signal {
        self.ends.at(self.at_parent_death)
    }

    /// Starts the program and waits until `is_ready`. What was running before must have ended.
    ///
    /// On an error nothing is left running.
    pub(crate) async fn launch<Asked: Future<Output = bool>>(
        &self,
        mut command: Command,
        within: Duration,
        is_ready: impl Fn(u32) -> Asked,
    ) -> Result<(), StartError> {
        let logging = || StartError::io(format!("writing the log {}", self.log.display()));
        let log = logs::open(&self.log).map_err(logging())?;
        let log_from = log.metadata().map_err(logging())?.len();
        let again = log.try_clone().map_err(logging())?;
        command.stdin(Stdio::null()).stdout(log).stderr(again);

        let program = PathBuf::from(command.get_program());
        let process = Process::start(command, self.at_parent_death())
            .map_err(StartError::io(format!("starting {}", program.display())))?;
        let pid = process.pid();
        let guard = Unready(Some(process));
        // An error here means that it has ended already, which the loop below tells.
        if let Err(error) = self.claim.note(pid) {
            tracing::debug!(what = self.what, pid, %error, "no pid file");
        }

        let begun = Instant::now();
        loop {
            if let Some(status) = guard.process().status() {
                self.claim.forget();
                let said = logs::tail(&self.log, log_from);
                return Err(StartError::Ended { what: self.what, status, log: self.log.clone(), said });
            }
            if is_ready(pid).await && guard.process().status().is_none() {
                break;
            }
            if begun.elapsed() > within {
                drop(guard);
                self.claim.forget();
                let said = logs::tail(&self.log, log_from);
                return Err(StartError::NotReady { what: self.what, within, log: self.log.clone(), said });
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        *self.process.lock().expect("no holder of this lock panics") = Some(guard.keep());
        Ok(())
    }

    /// The process, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.with_running(Process::pid)
    }

    pub(crate) fn freeze(&self) -> Result<(), NotRunning> {
        self.with_running(Process::freeze).filter(|done| *done).map(|_| ()).ok_or(NotRunning(self.what))
    }

    pub(crate) fn thaw(&self) -> Result<(), NotRunning> {
        self.with_running(Process::thaw).filter(|done| *done).map(|_| ()).ok_or(NotRunning(self.what))
    }

    /// `SIGKILL` to all of it; on return it is gone.
    pub(crate) fn kill(&self) {
        let process = self.process.lock().expect("no holder of this lock panics").take();
        if let Some(process) = process {
            process.kill();
            self.claim.forget();
        }
    }

    /// Asks it to end and waits; kills it when it takes too long.
    pub(crate) async fn stop(&self) {
        let process = self.process.lock().expect("no holder of this lock panics").take();
        let Some(process) = process else { return };
        let guard = Unready(Some(process));
        // A frozen server could not hear it.
        guard.process().signal(self.ends.orderly);
        guard.process().thaw();
        if tokio::time::timeout(STOP_PATIENCE, guard.process().ended()).await.is_err() {
            tracing::warn!(what = self.what, "did not stop within {} s: killing it", STOP_PATIENCE.as_secs());
        }
        drop(guard);
        self.claim.forget();
    }

    /// Resolves when the process that runs now has ended; at once when none does.
    pub(crate) async fn ended(&self) {
        if let Some(ended) = self.with_running(Process::ended) {
            ended.await;
        }
    }

    fn with_running<T>(&self, act: impl Fn(&Process) -> T) -> Option<T> {
        let process = self.process.lock().expect("no holder of this lock panics");
        process.as_ref().filter(|process| process.status().is_none()).map(act)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ends.at_once != Signal::KILL
            && let Some(process) = &*self.process.lock().expect("no holder of this lock panics")
        {
            process.signal(self.ends.at_once);
            process.thaw(); // A frozen server could not hear it.
            process.wait(AT_ONCE_PATIENCE);
        }
        self.kill();
    }
}

/// A process that is killed unless it is kept: also when a start is given up half-way.
struct Unready(Option<Process>);

impl Unready {
    fn process(&self) -> &Process {
        self.0.as_ref().expect("it is there until it is kept")
    }

    fn keep(mut self) -> Process {
        self.0.take().expect("it is kept once")
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            process.kill();
        }
    }
}

/// Runs what blocks away from the async runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.expect("blocking work of this crate does not panic")
}

/// Writes a file that only we may read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), StartError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut file =
            fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(part, path)
    };
    write().map_err(StartError::io(format!("writing {}", path.display())))
}
