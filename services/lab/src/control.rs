//! The lab's own HTTP interface, for people and tests. Only for loopback: whoever reaches it may break
//! the network.
//!
//! | route | what |
//! | --- | --- |
//! | `GET /healthz` | alive |
//! | `GET /api/v1/state` | [`Standing`]: routers, what is broken, faults, outage |
//! | `GET /api/v1/nodes/{id}` | [`NodeState`] |
//! | `PUT /api/v1/nodes/{id}/line` | [`LineSet`]: its latency and loss |
//! | `PATCH /api/v1/routers/{id}` | [`Temper`]: what its user and its board may do, how its clock goes and its API answers |
//! | `POST /api/v1/break`, `/mend`, `/reboot` | [`Nodes`]; `mend` without nodes mends everything |
//! | `GET`, `PUT /api/v1/faults` | [`Faults`] |
//! | `GET /api/v1/counters` | [`Counted`] |
//! | `POST`, `GET`, `DELETE /api/v1/outage` | plays one written in YAML, tells how far it is, stops it |
//! | `POST /api/v1/claims` | [`Claims`]: sends them and answers with their [`Outcome`] |
//!
//! Errors are problem+json (RFC 9457).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::claims::{Claims, Outcome};
use crate::counters::Counters;
use crate::faults::Faults;
use crate::lab::Lab;
use crate::netwatch::Belief;
use crate::network::{DeviceMode, NodeIndex, RouterIndex};
use crate::outage::{Outage, Progress};
use crate::router::Manner;

/// The largest request: half a million claims.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Nodes by id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    /// Which.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// How many of the nodes changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Those that were as asked already do not count.
    pub changed_count: usize,
}

/// A node's own line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineSet {
    /// There and back, microseconds.
    pub rtt_us: u32,
    /// The fraction that is lost, from 0 to 1.
    pub loss: f32,
}

/// How a router is from now on; what is not named stays. Answered with how it is then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temper {
    /// The group of the user that the network file names: `full`, `write`, `read` or one added since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What the board may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_mode: Option<DeviceMode>,
    /// How far its wall clock is ahead, seconds; behind when negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_s: Option<i64>,
    /// How its API answers: `well`, `trickles` (a byte a second), `breaks_off` in the middle of a reply, or `mute`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manner: Option<Manner>,
}

/// One node as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its id.
    pub id: String,
    /// Broken itself, or not up again yet.
    pub is_broken: bool,
    /// Mended, and not up again yet.
    pub is_starting: bool,
    /// Whether the server can reach it.
    pub is_reachable: bool,
    /// The router that sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<String>,
    /// What it adds to every path.
    pub line: LineSet,
}

/// One router as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterState {
    /// Its id.
    pub id: String,
    /// Where its API is.
    pub api: String,
    /// Counts its starts.
    pub boot: u32,
    /// Whether it has power.
    pub is_powered: bool,
    /// Whether the server can reach it.
    pub is_reachable: bool,
    /// By its own clock.
    pub uptime_s: u64,
    /// Customers connected.
    pub session_count: usize,
    /// Netwatch entries it believes up.
    pub up_count: usize,
    /// Down.
    pub down_count: usize,
    /// Not probed since its start.
    pub unknown_count: usize,
    /// Scripts that wait.
    pub scripts_waiting: usize,
}

/// Everything as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Every router.
    pub routers: Vec<RouterState>,
    /// Nodes that are broken themselves.
    pub broken: Vec<String>,
    /// Of them, those that are starting.
    pub starting: Vec<String>,
    /// All nodes.
    pub node_count: usize,
    /// Those the server cannot reach.
    pub unreachable_count: usize,
    /// What goes wrong with webhooks.
    pub faults: Faults,
    /// The outage that plays, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<Progress>,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// All routers together.
    pub all: Counters,
    /// Each.
    pub routers: BTreeMap<String, Counters>,
}

/// What a request that cannot be done is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem.
    pub title: String,
    /// Which.
    pub detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem").to_owned();
        Self { status: status.as_u16(), title, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(self)).into_response()
    }
}

#[derive(Debug, Clone)]
struct App {
    lab: Arc<Lab>,
    playing: Arc<Mutex<Option<(Progress, CancellationToken)>>>,
}

/// The routes.
pub fn routes(lab: Arc<Lab>) -> Router {
    let app = App { lab, playing: Arc::default() };
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/api/v1/state", get(standing))
        .route("/api/v1/nodes/{id}", get(node_state))
        .route("/api/v1/nodes/{id}/line", put(set_line))
        .route("/api/v1/routers/{id}", patch(set_temper))
        .route("/api/v1/break", post(break_nodes))
        .route("/api/v1/mend", post(mend_nodes))
        .route("/api/v1/reboot", post(reboot))
        .route("/api/v1/faults", get(faults).put(set_faults))
        .route("/api/v1/counters", get(counters))
        .route("/api/v1/outage", get(progress).post(play).delete(stop))
        .route("/api/v1/claims", post(claims))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

type Answer<T> = Result<Json<T>, Problem>;

impl App {
    fn find(&self, id: &str) -> Result<NodeIndex, Problem> {
        let found = self.lab.network().find(id);
        found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no node `{id}`")))
    }

    fn find_router(&self, id: &str) -> Result<RouterIndex, Problem> {
        let router = self.lab.router_of(self.find(id)?);
        let no_router =
            || Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`{id}` is no router that is played"));
        router.ok_or_else(no_router)
    }

    fn find_all(&self, nodes: &Nodes) -> Result<Vec<NodeIndex>, Problem> {
        nodes.nodes.iter().map(|id| self.find(id)).collect()
    }

    fn playing(&self) -> std::sync::MutexGuard<'_, Option<(Progress, CancellationToken)>> {
        self.playing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn standing(State(app): State<App>) -> Json<Standing> {
    let outage = app.playing().as_ref().map(|(progress, _)| progress.clone());
    let network = app.lab.network();
    let id = |node: NodeIndex| network.node(node).id.to_string();
    let standing = app.lab.with(|state| {
        let now = state.clock.now();
        let routers = network.router_indices().map(|index| {
            let router = &state.routers[index.at()];
            let presence = *router.presence.borrow();
            let believed = |belief| router.netwatch.values().filter(|entry| entry.belief == belief).count();
            RouterState {
                id: id(network.router(index).node),
                api: app.lab.api_address(index).to_string(),
                boot: presence.boot,
                is_powered: router.is_powered,
                is_reachable: presence.is_reachable,
                uptime_s: if router.is_powered { router.uptime(now).as_secs() } else { 0 },
                session_count: router.sessions.len(),
                up_count: believed(Belief::Up),
                down_count: believed(Belief::Down),
                unknown_count: believed(Belief::Unknown),
                scripts_waiting: router.jobs.len(),
            }
        });
        Standing {
            routers: routers.collect(),
            broken: network.indices().filter(|node| state.world.is_broken(*node)).map(id).collect(),
            starting: network.indices().filter(|node| state.is_starting(*node)).map(id).collect(),
            node_count: network.nodes().len(),
            unreachable_count: network.indices().filter(|node| !state.world.is_reachable(*node)).count(),
            faults: state.faults,
            outage,
        }
    });
    Json(standing)
}

async fn node_state(State(app): State<App>, Path(id): Path<String>) -> Answer<NodeState> {
    let node = app.find(&id)?;
    let network = app.lab.network();
    let seen_by = network.node(node).seen_by.as_ref();
    let seen_by = seen_by.map(|(router, _)| network.node(network.router(*router).node).id.to_string());
    Ok(Json(app.lab.with(|state| {
        let line = state.world.own_line(node);
        NodeState {
            id,
            is_broken: state.world.is_broken(node),
            is_starting: state.is_starting(node),
            is_reachable: state.world.is_reachable(node),
            seen_by,
            line: LineSet { rtt_us: line.rtt_us, loss: line.loss },
        }
    })))
}

async fn set_line(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(line): Json<LineSet>,
) -> Answer<LineSet> {
    let node = app.find(&id)?;
    if !(0.0..=1.0).contains(&line.loss) {
        let detail = format!("`loss` is {}: a fraction from 0 to 1 is possible", line.loss);
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    app.lab.with(|state| state.world.set_line(node, line.rtt_us, line.loss));
    Ok(Json(line))
}

async fn set_temper(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(temper): Json<Temper>,
) -> Answer<Temper> {
    let router = app.find_router(&id)?;
    let user = app.lab.network().router(router).user.clone();
    app.lab.with(|state| {
        if let Some(group) = &temper.group {
            state.regroup(router, &user, group).map_err(|refusal| {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`{group}`: {}", refusal.message))
            })?;
        }
        let this = state.router(router);
        if let Some(mode) = temper.device_mode {
            this.device_mode = mode;
        }
        if let Some(ahead_s) = temper.clock_ahead_s {
            this.clock_ahead_s = ahead_s;
        }
        if let Some(manner) = temper.manner {
            this.manner = manner;
        }
        let (device_mode, clock_ahead_s) = (Some(this.device_mode), Some(this.clock_ahead_s));
        let manner = Some(this.manner);
        Ok(Json(Temper { group: state.group(router, &user), device_mode, clock_ahead_s, manner }))
    })
}

async fn break_nodes(State(app): State<App>, Json(nodes): Json<Nodes>) -> Answer<Changed> {
    let nodes = app.find_all(&nodes)?;
    Ok(Json(Changed { changed_count: app.lab.set_broken(&nodes, true) }))
}

async fn mend_nodes(State(app): State<App>, Json(nodes): Json<Nodes>) -> Answer<Changed> {
    let nodes = if nodes.nodes.is_empty() {
        let network = app.lab.network();
        app.lab.with(|state| network.indices().filter(|node| state.world.is_broken(*node)).collect())
    } else {
        app.find_all(&nodes)?
    };
    Ok(Json(Changed { changed_count: app.lab.set_broken(&nodes, false) }))
}

async fn reboot(State(app): State<App>, Json(nodes): Json<Nodes>) -> Answer<Changed> {
    let mut routers = Vec::with_capacity(nodes.nodes.len());
    for id in &nodes.nodes {
        routers.push(app.find_router(id)?);
    }
    app.lab.with(|state| state.reboot(&routers));
    Ok(Json(Changed { changed_count: routers.len() }))
}

async fn faults(State(app): State<App>) -> Json<Faults> {
    Json(app.lab.with(|state| state.faults))
}

async fn set_faults(State(app): State<App>, Json(faults): Json<Faults>) -> Answer<Faults> {
    faults.check().map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    app.lab.with(|state| state.faults = faults);
    Ok(Json(faults))
}

async fn counters(State(app): State<App>) -> Json<Counted> {
    let (all, routers) = app.lab.counters();
    Json(Counted { all, routers })
}

async fn progress(State(app): State<App>) -> Answer<Progress> {
    let progress = app.playing().as_ref().map(|(progress, _)| progress.clone());
    progress.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no outage was played yet"))
}

async fn play(State(app): State<App>, text: String) -> Result<(StatusCode, Json<Progress>), Problem> {
    let outage = Outage::read(&text, &app.lab)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    let progress = Progress { done_count: 0, step_count: outage.len(), is_playing: true };
    let stopped = CancellationToken::new();
    {
        let mut playing = app.playing();
        if playing.as_ref().is_some_and(|(progress, _)| progress.is_playing) {
            return Err(Problem::new(StatusCode::CONFLICT, "another outage plays: stop it first"));
        }
        *playing = Some((progress.clone(), stopped.clone()));
    }
    let (lab, playing) = (Arc::clone(&app.lab), app.clone());
    app.lab.spawn(async move {
        let tell = |done_count| {
            if let Some((progress, _)) = playing.playing().as_mut() {
                progress.done_count = done_count;
            }
        };
        outage.play(lab, stopped, tell).await;
        if let Some((progress, _)) = playing.playing().as_mut() {
            progress.is_playing = false;
        }
    });
    Ok((StatusCode::ACCEPTED, Json(progress)))
}

async fn stop(State(app): State<App>) -> Answer<Progress> {
    let progress = app.playing().as_mut().map(|(progress, stopped)| {
        stopped.cancel();
        progress.clone()
    });
    progress.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no outage was played yet"))
}

async fn claims(State(app): State<App>, Json(claims): Json<Claims>) -> Answer<Outcome> {
    let sent = claims.send(&app.lab).await;
    sent.map(Json).map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}
