//! Rows of read models, beside a bare insert: the projector's own benchmark, with the facts of the machine.

use crate::limits::{self, Limit};
use crate::{machine, progress};
use anyhow::{Context, bail};
use serde_json::Value;
use std::process::Stdio;
use tokio::process::Command;

/// Runs it.
///
/// # Errors
///
/// When it cannot be built or fails.
pub(crate) async fn run() -> anyhow::Result<Value> {
    let load = machine::load();
    progress("project: building and running the projector's benchmark");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .args(["bench", "-p", "projector", "--bench", "project"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("starting cargo")?;
    if !out.status.success() {
        bail!("the projector's benchmark failed: {}", out.status);
    }
    let said = String::from_utf8(out.stdout).context("reading what it said")?;
    let line = said.lines().rev().find(|line| line.starts_with('{')).context("it printed no line of JSON")?;
    let mut line: Value = serde_json::from_str(line).context("reading its line")?;
    limits::hold(&mut line, &[("ratio", Limit::AtLeast(0.5))]);
    machine::lay(&mut line, machine::facts(load));
    Ok(line)
}
