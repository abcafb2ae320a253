//! Every benchmark in turn, each in a process of its own so that none pays for another's memory.
//!
//! One line a run; a run that fails says why in its line, and the next one follows.

use crate::{limits, machine, progress, write_line};
use serde_json::{Value, json};
use std::{
    process::{ExitCode, Stdio},
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// No run may take longer.
const RUN_WITHIN: Duration = Duration::from_secs(300);
/// After a run the machine gets so long to become quiet.
const BREATH: Duration = Duration::from_secs(2);

/// Which runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those whose words hold this, such as `storm` or `--kill`.
    #[arg(long, allow_hyphen_values = true)]
    only: Option<String>,
    /// Small sizes: shows within two minutes that everything runs, and measures nothing.
    #[arg(long)]
    small: bool,
}

/// What is run, in this order.
const RUNS: &[&str] = &[
    "rest",
    "replay",
    "ingest",
    "ingest --sync interval --turns 2",
    "project",
    "probe",
    "suspicion",
    "storm --scenario A --root last --loss 0 --dup 0",
    "storm --scenario A --root never",
    "storm --scenario A --root last --array 64",
    "storm --scenario B",
    "storm --scenario C",
    "storm --scenario A --root last --spread 60 --recovery root-first --recovery-spread 60",
    "storm --scenario A --root last --kill half",
    "storm --scenario A --root last --kill told",
    "storm --scenario A --root last --towers 99 --array 64",
];

/// The same, small.
const SMALL: &[&str] = &[
    "rest --towers 2 --clients 5 --seconds 3",
    "routers --routers 5 --children 3 --sessions 1 --black-holed 1 --snapshot-every 10",
    "replay --claims 5000 --towers 1",
    "ingest --turn 1 --turns 1",
    "ingest --turn 1 --turns 1 --sync interval",
    "probe --targets 500",
    "suspicion --rate 50 --seconds 2",
    "storm --towers 2 --sectors 3 --clients 10 --scenario A --root never",
    "storm --towers 2 --sectors 3 --clients 10 --scenario B",
    "storm --towers 10 --sectors 6 --clients 2 --scenario C",
    "storm --towers 2 --sectors 3 --clients 10 --spread 3 --recovery root-first --recovery-spread 3",
    "storm --towers 2 --sectors 3 --clients 10 --kill half",
    "storm --towers 2 --sectors 3 --clients 10 --kill told",
];

/// Runs them.
pub(crate) async fn run(args: &Args) -> ExitCode {
    let mut worst = ExitCode::SUCCESS;
    let runs = if args.small { SMALL } else { RUNS };
    for words in runs.iter().filter(|words| args.only.as_ref().is_none_or(|only| words.contains(only))) {
        progress(format_args!("== {words}"));
        let mut line = one(words).await;
        machine::lay(&mut line, json!({ "run": words }));
        // A small run is too small for limits.
        if line["ok"] == false || !args.small && !limits::passed(&line) {
            worst = ExitCode::FAILURE;
        }
        write_line(&line);
        tokio::time::sleep(BREATH).await;
    }
    worst
}

/// One run's line; what went wrong stands in it.
async fn one(words: &str) -> Value {
    let load = machine::load();
    let failed = |why: String| {
        let bench = words.split(' ').next().unwrap_or_default();
        let mut line = json!({ "bench": bench, "ok": false, "error": why });
        machine::lay(&mut line, machine::facts(load));
        line
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(format!("finding this program: {error}")),
    };
    let mut command = Command::new(program);
    command.args(words.split(' ')).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(format!("starting it: {error}")),
    };
    let group = child.id();
    let out = match timeout(RUN_WITHIN, child.wait_with_output()).await {
        Ok(Ok(out)) => out,
        Ok(Err(error)) => return failed(format!("waiting for it: {error}")),
        Err(_) => {
            // With everything it has started.
            if let Some(group) = group {
                drop(Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status().await);
            }
            return failed(format!("it was not over after {} s", RUN_WITHIN.as_secs()));
        }
    };
    let said = String::from_utf8_lossy(&out.stdout);
    let line = said.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    line.unwrap_or_else(|| failed(format!("it ended without a line: {}", out.status)))
}
