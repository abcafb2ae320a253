//! The demonstration of `mastwatch up --demo`: a core router dies, one alert comes, one "resolved".

use super::{next, tell};
use crate::up::Voice;
use anyhow::Context;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Who dies in the demonstration's own network.
const VICTIM: &str = "core-3";

/// Plays the outage and tells of it.
///
/// # Errors
///
/// When no notice comes.
pub(super) async fn play(
    lab: &lab::Lab,
    notices: &mut mpsc::Receiver<Value>,
    stop: &CancellationToken,
    voice: &Voice,
) -> anyhow::Result<()> {
    let victim = lab.network().find(VICTIM).context("finding the core router to kill")?;
    voice.line(&format!("Now {VICTIM} loses its power. Nobody tells us: a dead router sends no webhook."));
    let began = Instant::now();
    lab.set_broken(&[victim], true);
    let Some(notice) = next("incident.opened", notices, stop, voice).await? else { return Ok(()) };
    voice.line(&format!("After {:.1} s, one alert:", began.elapsed().as_secs_f64()));
    tell(&notice, voice);
    tokio::time::sleep(Duration::from_secs(3)).await;
    voice.line(&format!("Now {VICTIM} gets its power back."));
    let began = Instant::now();
    lab.set_broken(&[victim], false);
    let Some(notice) = next("incident.resolved", notices, stop, voice).await? else { return Ok(()) };
    voice.line(&format!("After {:.1} s, one \"resolved\":", began.elapsed().as_secs_f64()));
    tell(&notice, voice);
    Ok(())
}
