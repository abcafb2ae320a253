//! What becomes of the servers when the process that started them is killed.
//!
//! The test starts itself once more as that process, so it is a process of its own from the beginning.

#![allow(clippy::unwrap_used)] // Of the helpers of these tests: clippy excuses only the tests themselves.

use embedded::{
    AtParentDeath, Nats, NatsOptions, Postgres, PostgresOptions, StartError, VictoriaMetrics,
    VictoriaMetricsOptions,
};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the directory to the second process.
const DIR: &str = "EMBEDDED_TEST_DIR";

fn options(
    dir: &Path,
    at_parent_death: AtParentDeath,
) -> (NatsOptions, PostgresOptions, VictoriaMetricsOptions) {
    (
        NatsOptions { at_parent_death, ..NatsOptions::new(dir.join("nats")) },
        PostgresOptions { at_parent_death, fsync: false, ..PostgresOptions::new(dir.join("postgres")) },
        VictoriaMetricsOptions {
            at_parent_death,
            ..VictoriaMetricsOptions::new(dir.join("victoria-metrics"))
        },
    )
}

/// The second process: starts all, says so, and waits to be killed.
async fn start_and_wait(dir: &Path, at_parent_death: AtParentDeath) {
    let (nats, postgres, metrics) = options(dir, at_parent_death);
    let _nats = Nats::start(nats).await.unwrap();
    let _postgres = Postgres::start(postgres).await.unwrap();
    let _metrics = VictoriaMetrics::start(metrics).await.unwrap();
    std::fs::write(dir.join("started"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
}

/// Starts the named test of this file as a second process, and waits until its servers run.
fn second_process(test: &str, dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(DIR, dir)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !dir.join("started").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the second process ended before its servers ran");
        assert!(begun.elapsed() < Duration::from_secs(60), "no servers within 60 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

async fn kill_and_start_again(test: &str, at_parent_death: AtParentDeath) {
    if let Some(dir) = std::env::var_os(DIR) {
        return start_and_wait(Path::new(&dir), at_parent_death).await;
    }
    let dir = tempfile::tempdir().unwrap();
    // As root in a container Postgres may have to run as nobody, who must get through.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let mut holder = second_process(test, dir.path());
    let servers: Vec<u32> = embedded::tree(holder.id()).into_iter().skip(1).collect();
    assert!(servers.len() > 5, "three servers and the helpers of Postgres: {servers:?}");

    let (nats, postgres, _) = options(dir.path(), at_parent_death);
    let refused = Nats::start(nats).await.unwrap_err();
    assert!(matches!(refused, StartError::InUse { pid, .. } if pid == holder.id()), "{refused}");
    let refused = Postgres::start(postgres).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("in use by process {}", holder.id())), "{refused}");

    holder.kill().unwrap();
    holder.wait().unwrap();
    // At once: what is about to end is waited for.
    let (nats, postgres, metrics) = options(dir.path(), at_parent_death);
    let started =
        tokio::try_join!(Nats::start(nats), Postgres::start(postgres), VictoriaMetrics::start(metrics))
            .unwrap();
    // Where nobody waits for orphans they stay as zombies: ended all the same.
    let lives = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|line| !line.contains(") Z ") && !line.contains(") X "))
    };
    let left: Vec<&u32> = servers.iter().filter(|pid| lives(pid)).collect();
    assert!(left.is_empty(), "{left:?} of {servers:?} still run");
    drop(started);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_shut_down_with_a_killed_parent_and_the_next_one_takes_over() {
    let test = "servers_shut_down_with_a_killed_parent_and_the_next_one_takes_over";
    kill_and_start_again(test, AtParentDeath::ShutDown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_tests_go_at_once_with_a_killed_parent() {
    kill_and_start_again("servers_of_tests_go_at_once_with_a_killed_parent", AtParentDeath::Kill).await;
}
