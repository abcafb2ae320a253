//! Replicas that are processes of their own, so that they can be killed and frozen as on a machine.
//!
//! Such a process is the test's own program, which runs the same test again: with a name in its environment the
//! test is a replica and does nothing else.

use super::toy::{Habits, Toy};
use kit::{Decider, DeciderOptions, Leasing, Log};
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long a replica lives at most: one that nobody is left to kill must not go on for ever.
const LIVES_AT_MOST: Duration = Duration::from_secs(180);
/// The replica's name, and where its log is.
const NAME: &str = "TEST_REPLICA";
const SERVERS: &str = "TEST_REPLICA_SERVERS";

/// A replica of the toy.
pub(crate) struct Replica(Child);

impl Replica {
    /// Starts one in a process, by running the test of this name again.
    pub(crate) fn start(test: &str, name: &str, servers: &[String]) -> Replica {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(NAME, name)
            .env(SERVERS, servers.join(","))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Replica(child)
    }

    /// `SIGSTOP`: it keeps its connections and its beliefs, and says nothing.
    pub(crate) fn freeze(&mut self) {
        self.signal("STOP");
    }

    /// `SIGCONT`.
    pub(crate) fn thaw(&mut self) {
        self.signal("CONT");
    }

    /// `SIGKILL`; it is gone on return.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&mut self, name: &str) {
        assert_eq!(self.0.try_wait().unwrap(), None, "a replica has ended by itself");
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(pid).status().unwrap().success());
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// In a process that is a replica: is one, until it is killed. Elsewhere nothing.
pub(crate) async fn be_a_replica_if_told(
    config: impl FnOnce(&[String]) -> kit::LogConfig,
    habits: Habits,
    expiry: Duration,
) {
    let (Ok(replica), Ok(servers)) = (std::env::var(NAME), std::env::var(SERVERS)) else { return };
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    let log = Log::connect(config(&servers)).await.unwrap();
    let options =
        DeciderOptions { leasing: Leasing::Shared { replica, expiry }, ..DeciderOptions::default() };
    let decider = Decider::new(log, move |_| Toy::new(habits)).with(options);
    let ended = tokio::time::timeout(LIVES_AT_MOST, decider.run(CancellationToken::new())).await;
    panic!("nobody killed the replica: {ended:?}");
}
