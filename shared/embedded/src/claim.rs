//! One directory, one process.
//!
//! A directory is claimed by locking a file in it; the kernel gives the lock back when the
//! claimant dies, however it dies. A server that is still running in a directory nobody holds is
//! the leftover of a claimant that died: it is given a moment to end, then ended. A pid file that
//! names a zombie, or a number that belongs to another process by now, means nothing.

use crate::error::StartError;
use crate::process::{self, Identity};
use rustix::process::Signal;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The locked file; it holds the number of the process that holds the lock.
const OWNER: &str = "owner";

/// How long a leftover may take to end by itself before it is killed. It was told to when its
/// parent died; Postgres writes a checkpoint first.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(10);

/// A directory that belongs to this process until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
    pid_file: PathBuf,
    /// Locked for as long as it is open.
    _owner: File,
}

impl Claim {
    /// Makes the directory (readable by us alone), claims it and ends a leftover server in it.
    ///
    /// `what` names the server and its pid file. Blocks for up to [`LEFTOVER_PATIENCE`].
    pub(crate) fn of(dir: &Path, what: &'static str) -> Result<Claim, StartError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(StartError::io(format!("making the directory {}", dir.display())))?;
        // Servers are started with this path from wherever they like to be.
        let dir = dir.canonicalize().map_err(StartError::io(format!("finding {}", dir.display())))?;
        let owner = lock(&dir)?;
        let claim = Claim { pid_file: dir.join(format!("{what}.pid")), dir, _owner: owner };
        claim.end_leftover(what)?;
        Ok(claim)
    }

    /// The directory, as an absolute path.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes down which process serves this directory.
    pub(crate) fn note(&self, pid: u32) -> io::Result<()> {
        let part = self.pid_file.with_extension("pid.part");
        fs::write(&part, Identity::of(pid)?.to_lines())?;
        fs::rename(part, &self.pid_file)
    }

    /// Nothing runs here any more.
    pub(crate) fn forget(&self) {
        if let Err(error) = fs::remove_file(&self.pid_file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.pid_file.display(), %error, "a pid file could not be removed");
        }
    }

    fn end_leftover(&self, what: &'static str) -> Result<(), StartError> {
        let Ok(text) = fs::read_to_string(&self.pid_file) else { return Ok(()) };
        let Some(left) = Identity::from_lines(&text).filter(Identity::is_alive) else {
            self.forget();
            return Ok(());
        };
        tracing::info!(what, pid = left.pid, "waiting for the server of an earlier process to end");
        if !ends_within(&left, LEFTOVER_PATIENCE) {
            tracing::warn!(what, pid = left.pid, "killing the server of an earlier process");
            process::send(left.pid, Signal::KILL);
            if !ends_within(&left, LEFTOVER_PATIENCE) {
                return Err(StartError::InUse { dir: self.dir.clone(), pid: left.pid });
            }
        }
        self.forget();
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.forget();
    }
}

fn lock(dir: &Path) -> Result<File, StartError> {
    let path = dir.join(OWNER);
    let doing = || StartError::io(format!("claiming {}", path.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(doing())?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(doing())?;
            writeln!(file, "{}", std::process::id()).map_err(doing())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(doing())?;
            // Zero only in the instant between its lock and its writing.
            Err(StartError::InUse { dir: dir.to_owned(), pid: text.trim().parse().unwrap_or(0) })
        }
        Err(TryLockError::Error(source)) => Err(doing()(source)),
    }
}

fn ends_within(process: &Identity, patience: Duration) -> bool {
    let begun = Instant::now();
    while process.is_alive() {
        if begun.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_second_claim_is_refused_and_names_the_first_holder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Claim::of(dir.path(), "thing").unwrap();
        let refused = Claim::of(dir.path(), "thing").unwrap_err();
        assert!(matches!(refused, StartError::InUse { pid, .. } if pid == std::process::id()));
        drop(first);
        Claim::of(dir.path(), "thing").unwrap();
    }

    #[test]
    fn a_pid_file_that_means_nothing_any_more_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("thing.pid");
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let other = Identity::of(child.id()).unwrap().to_lines().replace('-', "+"); // Of another boot.
        for content in ["", "no number\n", "1\n0\nboot\n", other.as_str()] {
            fs::write(&pid_file, content).unwrap();
            drop(Claim::of(dir.path(), "thing").unwrap());
            assert!(!pid_file.exists(), "{content:?} was kept");
        }
        assert!(child.try_wait().unwrap().is_none(), "a process that is not ours was ended");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_leftover_that_is_about_to_end_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("0.3").stdin(Stdio::null()).spawn().unwrap();
        let left = Identity::of(child.id()).unwrap();
        fs::write(dir.path().join("thing.pid"), left.to_lines()).unwrap();
        Claim::of(dir.path(), "thing").unwrap();
        assert!(!left.is_alive());
        assert!(child.wait().unwrap().success(), "it was to end by itself");
    }
}
