//! `mastwatch lab …`: starts a lab, or speaks with one that runs.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::control::{LineSet, Nodes, Problem};
use crate::faults::Faults;
use crate::run::Config;
use crate::settings::Settings;

/// Where a lab's control interface is unless somebody says otherwise.
pub const CONTROL: &str = "127.0.0.1:8090";

/// The simulated ISP.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// The lab's control interface.
    #[arg(long, env = "MASTWATCH_LAB", default_value = CONTROL, global = true)]
    pub control: SocketAddr,
    /// Print the answer as JSON, in one line.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: LabCommand,
}

/// What to do with a lab.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Play the network of a file until interrupted.
    Run(RunArgs),
    /// Show routers, what is broken and what goes wrong.
    State,
    /// Show one node.
    Node {
        /// Its id in the network file.
        id: String,
    },
    /// Break nodes or links: a router loses its power, a link its light.
    Break {
        /// Their ids.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Mend nodes or links; all that are broken when none is named.
    Mend {
        /// Their ids.
        nodes: Vec<String>,
    },
    /// Start routers anew.
    Reboot {
        /// Their ids.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Set what a node adds to every path through it.
    Line {
        /// Its id.
        id: String,
        /// There and back, milliseconds.
        #[arg(long)]
        rtt_ms: f64,
        /// The fraction that is lost, from 0 to 1.
        #[arg(long, default_value_t = 0.0)]
        loss: f32,
    },
    /// Set which fraction of the webhooks is lost, doubled or delayed; none when nothing is given.
    Faults {
        /// The fraction that never arrives.
        #[arg(long, default_value_t = 0.0)]
        drop: f64,
        /// The fraction that arrives twice.
        #[arg(long, default_value_t = 0.0)]
        double: f64,
        /// The fraction that arrives late.
        #[arg(long, default_value_t = 0.0)]
        delay: f64,
        /// How late at most, milliseconds.
        #[arg(long, default_value_t = 5_000)]
        delay_max_ms: u32,
    },
    /// Play an outage written in YAML.
    Play {
        /// The file.
        file: PathBuf,
    },
    /// Stop the outage that plays.
    Stop,
    /// Show what was counted.
    Counters,
    /// Send webhooks for nothing, from a JSON file as `POST /api/v1/claims` takes it.
    Claims {
        /// The file.
        file: PathBuf,
    },
}

/// How to play a network.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The network file.
    pub network: PathBuf,
    /// Where webhooks go, such as http://127.0.0.1:8081. Default: what the file says.
    #[arg(long)]
    pub ingest: Option<Url>,
    /// How many times as fast as ours the routers' clock runs.
    #[arg(long, default_value_t = 1.0)]
    pub time_scale: f64,
    /// Over how many seconds of the routers' time customers dial in again.
    #[arg(long, default_value_t = 60.0)]
    pub return_over_s: f64,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Answer echo requests on this TUN device, as in a network namespace.
    #[arg(long)]
    pub icmp_device: Option<String>,
}

impl LabArgs {
    /// Does what was asked. `shutdown` ends a lab that is run.
    ///
    /// # Errors
    ///
    /// When it cannot be done, with the lab's own words.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
        let (method, path, sent) = match &self.command {
            LabCommand::Run(run) => return crate::run::run(run.config(self.control)?, shutdown).await,
            LabCommand::State => (Method::GET, "state".to_owned(), None),
            LabCommand::Counters => (Method::GET, "counters".to_owned(), None),
            LabCommand::Node { id } => (Method::GET, format!("nodes/{id}"), None),
            LabCommand::Break { nodes } => {
                (Method::POST, "break".into(), Some(Sent::json(&Nodes { nodes: nodes.clone() })?))
            }
            LabCommand::Mend { nodes } => {
                (Method::POST, "mend".into(), Some(Sent::json(&Nodes { nodes: nodes.clone() })?))
            }
            LabCommand::Reboot { nodes } => {
                (Method::POST, "reboot".into(), Some(Sent::json(&Nodes { nodes: nodes.clone() })?))
            }
            LabCommand::Line { id, rtt_ms, loss } => {
                if !(0.0..=60_000.0).contains(rtt_ms) {
                    bail!("--rtt-ms is {rtt_ms}: 0 to 60000 is possible");
                }
                let line = LineSet { rtt_us: (rtt_ms * 1e3) as u32, loss: *loss };
                (Method::PUT, format!("nodes/{id}/line"), Some(Sent::json(&line)?))
            }
            LabCommand::Faults { drop, double, delay, delay_max_ms } => {
                let faults =
                    Faults { drop: *drop, double: *double, delay: *delay, delay_max_ms: *delay_max_ms };
                (Method::PUT, "faults".into(), Some(Sent::json(&faults)?))
            }
            LabCommand::Play { file } => (Method::POST, "outage".into(), Some(Sent::text(file).await?)),
            LabCommand::Stop => (Method::DELETE, "outage".into(), None),
            LabCommand::Claims { file } => {
                let text =
                    tokio::fs::read(file).await.with_context(|| format!("reading {}", file.display()))?;
                (Method::POST, "claims".into(), Some(Sent { kind: "application/json", bytes: text }))
            }
        };
        let answer = ask(self.control, method, &path, sent).await?;
        let text = if self.json { format!("{answer}\n") } else { shown(&answer) };
        std::io::stdout().lock().write_all(text.as_bytes()).context("writing the answer")
    }
}

impl RunArgs {
    fn config(&self, control: SocketAddr) -> anyhow::Result<Config> {
        if !(0.01..=10_000.0).contains(&self.time_scale) {
            bail!("--time-scale is {}: 0.01 to 10000 is possible", self.time_scale);
        }
        if !(0.0..=86_400.0).contains(&self.return_over_s) {
            bail!("--return-over-s is {}: 0 to 86400 is possible", self.return_over_s);
        }
        Ok(Config {
            network: self.network.clone(),
            control,
            settings: Settings {
                time_scale: self.time_scale,
                sessions_return_over: Duration::from_secs_f64(self.return_over_s),
                ingest: self.ingest.clone(),
                seed: self.seed,
                ..Settings::default()
            },
            icmp_device: self.icmp_device.clone(),
        })
    }
}

/// The body of a request.
struct Sent {
    kind: &'static str,
    bytes: Vec<u8>,
}

impl Sent {
    fn json(value: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self {
            kind: "application/json",
            bytes: serde_json::to_vec(value).context("writing the request")?,
        })
    }

    async fn text(file: &PathBuf) -> anyhow::Result<Self> {
        let bytes = tokio::fs::read(file).await.with_context(|| format!("reading {}", file.display()))?;
        Ok(Self { kind: "application/yaml", bytes })
    }
}

/// Asks a lab; `path` is what stands after `/api/v1/`.
async fn ask(control: SocketAddr, method: Method, path: &str, sent: Option<Sent>) -> anyhow::Result<Value> {
    // Whoever came first has the same provider; a second installation says so and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut url: Url = format!("http://{control}/api/v1/").parse().context("making the lab's address")?;
    url.path_segments_mut()
        .map_err(|()| anyhow::anyhow!("the lab's address takes no path"))?
        .pop_if_empty()
        .extend(path.split('/'));
    let client = reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?;
    let mut request = client.request(method, url);
    if let Some(Sent { kind, bytes }) = sent {
        request = request.header("content-type", kind).body(bytes);
    }
    let answer =
        request.send().await.with_context(|| format!("asking the lab at {control}: does it run?"))?;
    let status = answer.status();
    let body = answer.bytes().await.context("reading the lab's answer")?;
    if !status.is_success() {
        let said = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.detail,
            Err(_) => String::from_utf8_lossy(&body).chars().take(500).collect(),
        };
        bail!("the lab says {status}: {said}");
    }
    serde_json::from_slice(&body).context("reading the lab's answer")
}

/// An answer for people: one line a fact, tables for lists of things.
fn shown(answer: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(fields) = answer {
        for (name, value) in fields {
            match value {
                Value::Array(rows) if rows.iter().all(Value::is_object) && !rows.is_empty() => {
                    text.push_str(&format!("{name}:\n"));
                    rows.iter().for_each(|row| text.push_str(&format!("  {}\n", line(row))));
                }
                Value::Object(inner) if inner.values().all(Value::is_object) && !inner.is_empty() => {
                    text.push_str(&format!("{name}:\n"));
                    inner.iter().for_each(|(id, row)| text.push_str(&format!("  {id}: {}\n", line(row))));
                }
                value => text.push_str(&format!("{name}: {}\n", line(value))),
            }
        }
    } else {
        text.push_str(&format!("{}\n", line(answer)));
    }
    text
}

fn line(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let told = fields.iter().filter(|(_, value)| **value != json!(0) && **value != json!({}));
            told.map(|(name, value)| format!("{name}={}", line(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(line).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        lab: LabArgs,
    }

    #[test]
    fn the_command_line_is_understood() {
        let read = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.lab);
        assert!(matches!(read("lab mend").unwrap().command, LabCommand::Mend { nodes } if nodes.is_empty()));
        assert!(read("lab break").is_err(), "to break everything is no default");
        let run =
            read("lab --control 127.0.0.1:1 run net.yaml --time-scale 60 --ingest http://127.0.0.1:8081")
                .unwrap();
        let LabCommand::Run(args) = &run.command else { panic!("{run:?}") };
        let config = args.config(run.control).unwrap();
        assert_eq!((config.settings.time_scale, config.control.port()), (60.0, 1));
        let LabCommand::Run(args) = read("lab run net.yaml --time-scale 0").unwrap().command else {
            panic!()
        };
        assert!(args.config(([127, 0, 0, 1], 1).into()).unwrap_err().to_string().contains("--time-scale"));
    }

    #[test]
    fn an_answer_is_shown_without_what_is_nothing() {
        let answer = json!({"broken": [], "routers": [{"id": "core", "down_count": 0, "up_count": 3}]});
        assert_eq!(shown(&answer), "broken: none\nrouters:\n  id=core up_count=3\n");
    }
}
