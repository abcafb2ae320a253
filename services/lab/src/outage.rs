//! An outage written down beforehand: what happens when.
//!
//! ```yaml
//! - {at: 0s, break: [core-1]}
//! - {at: 30s, mend: [core-1]}
//! - {at: 40s, line: {node: sector-3, rtt_us: 40000, loss: 0.2}}
//! - {at: 60s, faults: {drop: 0.1, double: 0.1}}
//! ```

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::faults::Faults;
use crate::lab::Lab;
use crate::network::{NodeIndex, RouterIndex};

/// The most steps an outage has.
pub const STEPS_MAX: usize = 10_000;

/// One step as it is written. Several things in one step happen in the order of the fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, in our time since the outage began: `1m30s`, `250ms`.
    pub at: String,
    /// Nodes that break.
    #[serde(default, rename = "break", skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<String>,
    /// Nodes that are mended.
    #[serde(default, rename = "mend", skip_serializing_if = "Vec::is_empty")]
    pub mends: Vec<String>,
    /// Routers that start anew.
    #[serde(default, rename = "reboot", skip_serializing_if = "Vec::is_empty")]
    pub reboots: Vec<String>,
    /// A line that becomes another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LineOf>,
    /// What goes wrong with webhooks from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<Faults>,
}

/// The line of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineOf {
    /// Which.
    pub node: String,
    /// There and back, microseconds.
    pub rtt_us: u32,
    /// The fraction that is lost, from 0 to 1.
    #[serde(default)]
    pub loss: f32,
}

/// Why an outage cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum BadOutage {
    /// It is not a list of steps.
    #[error("reading the outage: {0}")]
    Unreadable(String),
    /// It is too long.
    #[error("the outage has {0} steps; {STEPS_MAX} are allowed")]
    TooLong(usize),
    /// A step is wrong.
    #[error("step {step}: {what}")]
    Step {
        /// From 1.
        step: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// An outage that can be played: every node is known.
#[derive(Debug, Clone)]
pub struct Outage(Vec<Checked>);

#[derive(Debug, Clone)]
struct Checked {
    at: Duration,
    breaks: Vec<NodeIndex>,
    mends: Vec<NodeIndex>,
    reboots: Vec<RouterIndex>,
    line: Option<(NodeIndex, u32, f32)>,
    faults: Option<Faults>,
}

/// How far an outage has come.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub done_count: usize,
    /// Steps in all.
    pub step_count: usize,
    /// Whether it goes on.
    pub is_playing: bool,
}

impl Outage {
    /// Reads an outage and looks up every node in it.
    ///
    /// # Errors
    ///
    /// [`BadOutage`] for the first thing that is wrong.
    pub fn read(text: &str, lab: &Lab) -> Result<Self, BadOutage> {
        let steps: Vec<Step> =
            yaml_serde::from_str(text).map_err(|error| BadOutage::Unreadable(error.to_string()))?;
        if steps.len() > STEPS_MAX {
            return Err(BadOutage::TooLong(steps.len()));
        }
        let checked = steps
            .iter()
            .zip(1..)
            .map(|(step, number)| check(step, lab).map_err(|what| BadOutage::Step { step: number, what }));
        let mut checked = checked.collect::<Result<Vec<_>, _>>()?;
        checked.sort_by_key(|step| step.at);
        Ok(Self(checked))
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing happens in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Plays it to its end, or until it is stopped; `done` is told after every step.
    pub async fn play(self, lab: Arc<Lab>, stopped: CancellationToken, mut done: impl FnMut(usize)) {
        let begun = tokio::time::Instant::now();
        for (number, step) in self.0.into_iter().enumerate() {
            tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                () = lab.ended() => return,
                () = tokio::time::sleep_until(begun + step.at) => {}
            }
            lab.with(|state| {
                state.set_broken(&step.breaks, true);
                state.set_broken(&step.mends, false);
                state.reboot(&step.reboots);
                if let Some((node, rtt_us, loss)) = step.line {
                    state.world.set_line(node, rtt_us, loss);
                }
                if let Some(faults) = step.faults {
                    state.faults = faults;
                }
            });
            done(number + 1);
        }
    }
}

fn check(step: &Step, lab: &Lab) -> Result<Checked, String> {
    let node = |id: &String| lab.network().find(id).ok_or_else(|| format!("there is no node `{id}`"));
    let router = |id: &String| {
        let index = node(id)?;
        lab.router_of(index).ok_or_else(|| format!("`{id}` is no router that is played"))
    };
    let at = match routeros_api::value::duration(&step.at) {
        Ok(Some(at)) => at,
        Ok(None) | Err(_) => return Err(format!("`{}` is no time: `1m30s` is", step.at)),
    };
    if let Some(faults) = &step.faults {
        faults.check().map_err(|error| error.to_string())?;
    }
    let line = match &step.line {
        Some(line) if (0.0..=1.0).contains(&line.loss) => Some((node(&line.node)?, line.rtt_us, line.loss)),
        Some(line) => return Err(format!("`loss` is {}: a fraction from 0 to 1 is possible", line.loss)),
        None => None,
    };
    Ok(Checked {
        at,
        breaks: step.breaks.iter().map(node).collect::<Result<_, _>>()?,
        mends: step.mends.iter().map(node).collect::<Result<_, _>>()?,
        reboots: step.reboots.iter().map(router).collect::<Result<_, _>>()?,
        line,
        faults: step.faults,
    })
}
