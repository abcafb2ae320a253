//! The reconciler as a process of its own, which can be killed as an operator's machine would.

use super::Ground;
use std::process::{Child, Command, Stdio};

/// A running `mastwatch run reconciler`. Dropped, it is killed.
pub(crate) struct Process(Child);

impl Process {
    /// Ends it wherever it is (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Ground {
    /// Starts the program that `cargo build -p mastwatch` made beside this test.
    pub(crate) fn run(&self, push_url: &str) -> Process {
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        if path.ends_with("deps") {
            path.pop();
        }
        path.push("mastwatch");
        assert!(path.exists(), "{} is missing: run `cargo build -p mastwatch`", path.display());
        let child = Command::new(path)
            .args(["run", "reconciler"])
            .envs(self.told(push_url, "500"))
            .env("MASTWATCH_NATS_URL", self.nats.url())
            .env("MASTWATCH_ADMIN_ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        Process(child.unwrap())
    }
}
