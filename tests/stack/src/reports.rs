//! What routers report, and how: through the front door, each from its own address and with its own
//! token, in the order of its sequence, again and again until it is taken.

use anyhow::{Context, bail};
use events::EventId;
use network_file::{NetworkFile, Session};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long a router waits for an answer. (`/tool fetch` waits 10 s; here a frozen door is to be noticed.)
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// How long a router waits before it tries again, when it is not told.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest it waits because it was asked to.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a report is tried.
const INSIST: Duration = Duration::from_secs(120);
/// What fraction of the reports is lost, and what fraction sent twice.
const LOST_OR_DOUBLED: f64 = 0.1;

/// What is said of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It is down.
    Down,
    /// It is up again.
    Up,
}

/// The routers of an ISP, as far as they speak.
pub struct Routers {
    routers: BTreeMap<String, Router>,
    things: Vec<Thing>,
    to: SocketAddr,
}

struct Router {
    http: reqwest::Client,
    token: String,
    /// The last number it gave.
    seq: u64,
}

/// Something a router sees.
#[derive(Debug, Clone)]
struct Thing {
    router: String,
    /// The route, and the form without what it says.
    route: &'static str,
    form: String,
}

/// One request of the front door.
struct Report {
    due: Duration,
    http: reqwest::Client,
    url: String,
    token: String,
    body: String,
}

/// One answer to a report, or none.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When it was sent.
    pub sent: Instant,
    /// How long the answer took.
    pub took: Duration,
    /// The status; none: the connection was refused or broke, or nobody answered.
    pub status: Option<u16>,
    /// What `Retry-After` said, seconds.
    pub retry_after_s: Option<u64>,
    /// Whether it was `application/problem+json`.
    pub is_problem: bool,
}

/// Reports on their way.
pub struct Wave {
    /// How many were taken so far.
    accepted: Arc<AtomicUsize>,
    answers: Arc<Mutex<Vec<Answer>>>,
    ids: Arc<Mutex<Vec<EventId>>>,
    senders: JoinSet<anyhow::Result<()>>,
    /// How many there are.
    pub count: usize,
}

impl Routers {
    /// The routers of `network`, which report to `to`.
    ///
    /// # Errors
    ///
    /// When a client cannot be made.
    pub fn of(network: &NetworkFile, to: SocketAddr) -> anyhow::Result<Self> {
        let mut routers = BTreeMap::new();
        for node in &network.nodes {
            let (Some(webhook), Some(address)) = (&node.webhook, node.address) else { continue };
            let http = reqwest::Client::builder()
                .local_address(address)
                .no_proxy()
                .timeout(ANSWER_WITHIN)
                .build()
                .context("making a client")?;
            routers
                .insert(node.id.clone(), Router { http, token: webhook.token.reveal().to_owned(), seq: 0 });
        }
        let devices = network.nodes.iter().filter_map(|node| {
            let router = node.seen_by.router()?.to_owned();
            Some(Thing { router, route: "device-status", form: format!("id={}", node.id) })
        });
        let subscribers = network.subscribers.iter().filter_map(|one| {
            let Session::Pppoe(user) = &one.session else { return None };
            let router = network.session_routers(one).next()?.to_owned();
            Some(Thing { router, route: "ppp-status", form: format!("user={}", user.reveal()) })
        });
        let things = devices.chain(subscribers).collect();
        Ok(Self { routers, things, to })
    }

    /// Everything is reported, in random order over `spread`; a tenth is lost, a tenth sent twice.
    ///
    /// # Errors
    ///
    /// When a thing is seen by a router that says nothing.
    pub fn report(&mut self, says: Says, spread: Duration, random: &mut StdRng) -> anyhow::Result<Wave> {
        let mut due = Vec::new();
        for thing in &self.things {
            if random.random_bool(LOST_OR_DOUBLED) {
                continue;
            }
            let n = due.len();
            due.push((spread.mul_f64(random.random()), n, thing.clone()));
            if random.random_bool(LOST_OR_DOUBLED) {
                due.push((spread.mul_f64(random.random()), n, thing.clone()));
            }
        }
        due.shuffle(random);
        due.sort_by_key(|(at, _, _)| *at);
        let mut numbers: BTreeMap<usize, u64> = BTreeMap::new();
        let mut reports = Vec::with_capacity(due.len());
        for (due, n, thing) in due {
            let router = self.routers.get_mut(&thing.router).with_context(|| {
                format!("the router `{}`, which sees `{}`, has no token", thing.router, thing.form)
            })?;
            // A doubled report keeps its number.
            let seq = *numbers.entry(n).or_insert_with(|| {
                router.seq += 1;
                router.seq
            });
            let status = match (thing.route, says) {
                ("ppp-status", Says::Down) => "offline",
                ("ppp-status", Says::Up) => "online",
                (_, Says::Down) => "down",
                (_, Says::Up) => "up",
            };
            reports.push(Report {
                due,
                http: router.http.clone(),
                url: format!("http://{}/api/webhooks/mikrotik/{}", self.to, thing.route),
                token: router.token.clone(),
                body: format!("{}&status={status}&boot=storm&seq={seq}", thing.form),
            });
        }
        Ok(Wave::send(reports))
    }
}

/// The generator of chance that `seed` begins.
pub fn dice(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

impl Wave {
    fn send(reports: Vec<Report>) -> Self {
        let mut wave = Self {
            accepted: Arc::default(),
            answers: Arc::default(),
            ids: Arc::default(),
            senders: JoinSet::new(),
            count: reports.len(),
        };
        let began = Instant::now();
        for report in reports {
            let (accepted, answers, ids) =
                (Arc::clone(&wave.accepted), Arc::clone(&wave.answers), Arc::clone(&wave.ids));
            wave.senders.spawn(async move {
                tokio::time::sleep_until((began + report.due).into()).await;
                let stored = insist(&report, &answers).await?;
                ids.lock().expect("nobody panics while holding it").extend(stored);
                accepted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
        }
        wave
    }

    /// How many reports were taken so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Every answer so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.lock().expect("nobody panics while holding it").clone()
    }

    /// The ids of what was taken so far.
    pub fn ids(&self) -> Vec<EventId> {
        self.ids.lock().expect("nobody panics while holding it").clone()
    }

    /// Whether all have been taken.
    ///
    /// # Errors
    ///
    /// When a report was refused, or not taken within two minutes.
    pub fn is_over(&mut self) -> anyhow::Result<bool> {
        while let Some(sent) = self.senders.try_join_next() {
            sent.context("a sender ended")??;
        }
        Ok(self.senders.is_empty())
    }
}

/// Sends one report until it is taken, as a router's script does.
async fn insist(report: &Report, answers: &Mutex<Vec<Answer>>) -> anyhow::Result<Vec<EventId>> {
    let began = Instant::now();
    loop {
        let (answer, stored) = attempt(report).await;
        let pause = answer.retry_after_s.map_or(PAUSE, Duration::from_secs).min(PAUSE_MAX);
        let status = answer.status;
        answers.lock().expect("nobody panics while holding it").push(answer);
        match status {
            Some(202) if stored.is_empty() => bail!("`{}` was taken, and its id not said", report.body),
            Some(202) => return Ok(stored),
            None | Some(429 | 503) => {}
            Some(other) => bail!("`{}` was refused: {other}", report.body),
        }
        if began.elapsed() > INSIST {
            bail!("`{}` was not taken within {} s", report.body, INSIST.as_secs());
        }
        tokio::time::sleep(pause).await;
    }
}

async fn attempt(report: &Report) -> (Answer, Vec<EventId>) {
    let sent = Instant::now();
    let none = |took| Answer { sent, took, status: None, retry_after_s: None, is_problem: false };
    let request = report
        .http
        .post(&report.url)
        .bearer_auth(&report.token)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(report.body.clone());
    let Ok(response) = request.send().await else { return (none(sent.elapsed()), vec![]) };
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    let retry_after_s = header("retry-after").and_then(|seconds| seconds.parse().ok());
    let is_problem = header("content-type") == Some("application/problem+json");
    // A 202 whose body did not come through says nothing.
    let Ok(body) = response.text().await else { return (none(sent.elapsed()), vec![]) };
    let stored: Vec<EventId> = serde_json::from_str::<Value>(&body)
        .ok()
        .and_then(|body| body["id"].as_str()?.parse().ok())
        .into_iter()
        .collect();
    (Answer { sent, took: sent.elapsed(), status: Some(status), retry_after_s, is_problem }, stored)
}
