//! Demonstrations: a simulated ISP whose routers are played, and what happens to it.

mod outage;
mod routers;

use crate::{
    api::{self, Api},
    show, status,
    up::{Doors, Voice},
};
use anyhow::{Context, bail};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use reqwest::Method;
use serde_json::Value;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where its first router lives, and at which port of their addresses its routers are spoken to.
const FIRST_ROUTER: &str = "127.20.0.1";
const USUAL_API_PORT: u16 = 18_728;
/// How long anything may take before the demonstration says that it went wrong.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Demo {
    /// A core router dies, and comes back.
    Outage,
    /// A router is added, installed, scanned and put right again; a subscriber is suspended.
    Routers,
}

/// Plays what is to be shown, then goes on simulating until told to stop.
///
/// # Errors
///
/// When something does not happen that should.
pub async fn play(
    which: Demo,
    data: &Path,
    doors: Doors,
    network: Option<&Path>,
    stop: &CancellationToken,
    voice: &Voice,
) -> anyhow::Result<()> {
    let (inbox, mut notices) = mpsc::channel(64);
    let sink =
        kit::http::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.context("opening the notice sink")?;
    let notices_to = format!("http://{}/notices", sink.local_addr()?);
    let routes = Router::new().route("/notices", post(receive)).with_state(inbox);
    tokio::spawn(async move { axum::serve(sink, routes).await });

    let reports_to = format!("http://{}", doors.ingest);
    let token =
        std::fs::read_to_string(api::token_file(data)).context("reading the administrator's token")?;
    let api = Api::new(format!("http://{}", doors.console), token.trim().to_owned(), None);
    let stage = Stage { data, api, reports_to, notices_to, stop, voice };
    let lab = match which {
        Demo::Outage => stage.outage(network, &mut notices).await?,
        Demo::Routers => routers::play(&stage, &mut notices).await?,
    };
    let Some(lab) = lab else { return Ok(()) };
    let (control, serving) = lab::control_at(&lab, control_address()?).await?;
    let at = if control.to_string() == lab::cli::CONTROL {
        String::new()
    } else {
        format!(" --control {control}")
    };
    voice.line(&format!(
        "The simulated ISP goes on. Break and mend things by `mastwatch lab{at} break <id>` (and `mend`, `state`, `--help`); \
         Ctrl-C stops everything."
    ));
    tokio::pin!(serving);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            served = &mut serving => served?,
            Some(notice) = notices.recv() => tell(&notice, voice),
        }
    }
    lab.stop().await;
    Ok(())
}

/// What every demonstration stands on.
struct Stage<'a> {
    data: &'a Path,
    /// For every tenant: a demonstration says which it speaks of.
    api: Api,
    reports_to: String,
    notices_to: String,
    stop: &'a CancellationToken,
    voice: &'a Voice,
}

impl Stage<'_> {
    /// Plays a network, or the demonstration's own with its outage; none when told to stop before.
    async fn outage(
        &self,
        network: Option<&Path>,
        notices: &mut mpsc::Receiver<Value>,
    ) -> anyhow::Result<Option<Arc<lab::Lab>>> {
        let voice = self.voice;
        let text = match network {
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
            }
            None => network_file::demo(api_port()?, &self.reports_to, &self.notices_to).to_yaml(),
        };
        let name = network.map_or_else(|| "demo.yaml".into(), |p| p.display().to_string());
        let base = network.and_then(Path::parent).map(PathBuf::from).unwrap_or_default();
        let file = network_file::parse(&name, &text, &network_file::SecretsHere { base })?;
        let settings = lab::Settings {
            ingest: Some(self.reports_to.parse().context("reading our own address")?),
            ..lab::Settings::default()
        };
        voice.begins("starting the simulated ISP");
        let lab = lab::Lab::start(lab::network::Network::from_file(&file)?, settings).await?;
        let api = self.api.as_tenant(&file.tenant.slug);
        voice.begins("importing its network");
        api.call(Method::POST, "/api/v1/import", Some(file.to_yaml().into_bytes())).await?;
        voice.says(&format!("simulated ISP    {}: {} subscribers", file.tenant.name, file.subscribers.len()));
        voice.begins("waiting until every router has told what it sees");
        if !settled(&api, self.stop).await? {
            return Ok(None);
        }
        voice.is_done();
        voice.line("");
        if network.is_none() {
            outage::play(&lab, notices, self.stop, voice).await?;
        }
        Ok(Some(lab))
    }
}

/// Where `mastwatch lab` speaks to the simulated ISP: where it looks for one, or at a free port when somebody plays one
/// already.
fn control_address() -> anyhow::Result<SocketAddr> {
    let usual: SocketAddr = lab::cli::CONTROL.parse().context("reading the lab's usual address")?;
    let free = TcpListener::bind(usual).or_else(|_| TcpListener::bind((usual.ip(), 0)));
    free.context("finding a free port for `mastwatch lab`")?.local_addr().context("asking for that port")
}

/// Where the played routers are spoken to: the usual port, or a free one when somebody plays an ISP already.
fn api_port() -> anyhow::Result<u16> {
    let on_the_first = |port| TcpListener::bind((FIRST_ROUTER, port));
    let free = on_the_first(USUAL_API_PORT).or_else(|_| on_the_first(0));
    Ok(free.context("finding a free port for the simulated routers")?.local_addr()?.port())
}

async fn receive(State(inbox): State<mpsc::Sender<Value>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signed = headers.contains_key("webhook-signature") && headers.contains_key("webhook-id");
    match serde_json::from_slice(&body) {
        Ok(notice) if signed => match inbox.try_send(notice) {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(_) => StatusCode::TOO_MANY_REQUESTS,
        },
        Ok(_) | Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// Waits until no node of the network is unknown any more; false when told to stop before.
async fn settled(api: &Api, stop: &CancellationToken) -> anyhow::Result<bool> {
    let began = Instant::now();
    loop {
        if status::is_settled(api).await? {
            return Ok(true);
        }
        if began.elapsed() > PATIENCE {
            bail!("after {} s there are still nodes of which nothing is known", PATIENCE.as_secs());
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
    }
}

/// The next notice of a kind; none when told to stop. Others that come before it are shown: a demonstration tells what
/// happens, not what should.
async fn next(
    kind: &str,
    notices: &mut mpsc::Receiver<Value>,
    stop: &CancellationToken,
    voice: &Voice,
) -> anyhow::Result<Option<Value>> {
    let patience = tokio::time::sleep(PATIENCE * 4);
    tokio::pin!(patience);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            notice = notices.recv() => match notice {
                Some(other) if other["type"] != kind => tell(&other, voice),
                notice => return Ok(notice),
            },
            () = &mut patience => bail!("no `{kind}` came; the log is in the data directory"),
        }
    }
}

/// Shows a notice as people get it, to programs as it came.
fn tell(notice: &Value, voice: &Voice) {
    if voice.json {
        return show::json(notice);
    }
    let data = &notice["data"];
    show::line(format!(
        "  [{}] {}",
        notice["type"].as_str().unwrap_or_default(),
        data["title"].as_str().unwrap_or_default()
    ));
    for line in data["text"].as_str().unwrap_or_default().lines() {
        show::line(format!("      {line}"));
    }
    show::line("");
}
