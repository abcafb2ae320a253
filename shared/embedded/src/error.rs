//! Why a private server did not start, or did not obey.

use crate::programs::FindError;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a private server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its program is not on this machine, or too old. The message says what to do.
    #[error(transparent)]
    Program(#[from] FindError),

    /// The directory is in use. One directory, one process.
    #[error("{} is in use by process {pid}: stop that one first, or choose another directory", dir.display())]
    InUse {
        /// The directory of the server.
        dir: PathBuf,
        /// The process that holds it.
        pid: u32,
    },

    /// The files below the directory are not what this program can use.
    #[error("{} {what}", dir.display())]
    Unusable {
        /// The directory of the server.
        dir: PathBuf,
        /// What is the matter, and what to do.
        what: String,
    },

    /// A file or a process could not be had.
    #[error("{doing}")]
    Io {
        /// What was attempted, on what.
        doing: String,
        /// What the system said.
        source: io::Error,
    },

    /// The server ended before it was ready.
    #[error("{what} ended ({status}) before it was ready; {} ends with:\n{said}", log.display())]
    Ended {
        /// Which server.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        said: String,
    },

    /// The server runs, but did not become ready in time. It has been stopped again.
    #[error("{what} was not ready within {} s; {} ends with:\n{said}", within.as_secs(), log.display())]
    NotReady {
        /// Which server.
        what: &'static str,
        /// How long was waited.
        within: Duration,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        said: String,
    },
}

impl StartError {
    /// Turns what the system said into "could not do this".
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
        let doing = doing.into();
        move |source| StartError::Io { doing, source }
    }

    /// Whether it ended because somebody listens on this port already.
    pub(crate) fn is_taken(&self, port: u16) -> bool {
        match self {
            StartError::Ended { said, .. } => said.lines().any(|line| {
                let line = line.to_ascii_lowercase();
                line.contains("address already in use") && line.contains(&port.to_string())
            }),
            StartError::Program(_)
            | StartError::InUse { .. }
            | StartError::Unusable { .. }
            | StartError::Io { .. }
            | StartError::NotReady { .. } => false,
        }
    }
}

/// The server is not running: it ended, was killed or was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not running")]
pub struct NotRunning(
    /// Which server.
    pub &'static str,
);
