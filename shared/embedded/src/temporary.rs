//! A server in a temporary directory: gone, and its files with it, when dropped.

use std::ops::Deref;
use std::path::Path;
use tempfile::TempDir;

/// Something that lives in a temporary directory of its own. For tests and benchmarks.
///
/// Dropping it kills the server, then removes the directory.
#[derive(Debug)]
pub struct Temporary<T> {
    // In this order: the directory goes last.
    server: T,
    dir: TempDir,
}

impl<T> Temporary<T> {
    pub(crate) fn new(server: T, dir: TempDir) -> Self {
        Temporary { server, dir }
    }

    /// The temporary directory, above that of the server; what is put into it is removed with it.
    pub fn temporary_dir(&self) -> &Path {
        self.dir.path()
    }
}

impl<T> Deref for Temporary<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.server
    }
}
