//! A place that takes notices, as somebody's webhook does.

use anyhow::{Context, bail};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// What people were told, and when.
#[derive(Clone)]
pub struct Sink {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Call>>>,
    /// How long it thinks before it answers.
    slow: Arc<Mutex<Duration>>,
}

/// One call of a webhook.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it came in.
    pub at: Instant,
    /// To whom: the last part of the address it was sent to, empty when it had none.
    pub whom: String,
    /// The notice's id: by it a receiver knows a repetition.
    pub id: String,
    /// What it says.
    pub body: Value,
}

impl Call {
    /// Its type, such as `incident.opened`.
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }

    /// The first line people read.
    pub fn title(&self) -> &str {
        self.body["data"]["title"].as_str().unwrap_or_default()
    }
}

impl Sink {
    /// Opens one on a free port.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("opening the sink")?;
        let sink = Self { address: listener.local_addr()?, told: Arc::default(), slow: Arc::default() };
        let routes = Router::new()
            .route("/notices", post(receive))
            .route("/notices/{whom}", post(receive_for))
            .with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(sink)
    }

    /// Its address, for a channel.
    pub fn url(&self) -> String {
        format!("http://{}/notices", self.address)
    }

    /// Its address for the notices to one receiver among several.
    pub fn url_of(&self, whom: &str) -> String {
        format!("{}/{whom}", self.url())
    }

    /// From now on each call is answered only after this time; it counts as told when it comes in.
    pub fn answer_after(&self, slow: Duration) {
        *self.slow.lock().expect("nobody panics while holding it") = slow;
    }

    /// Every call so far, repetitions too.
    pub fn every_call(&self) -> Vec<Call> {
        self.told.lock().expect("nobody panics while holding it").clone()
    }

    /// Every call so far: when, the notice's id, the body.
    pub fn calls(&self) -> Vec<(Instant, String, Value)> {
        self.every_call().into_iter().map(|call| (call.at, call.id, call.body)).collect()
    }

    /// The calls for one receiver, repetitions too.
    pub fn calls_to(&self, whom: &str) -> Vec<Call> {
        let mut calls = self.every_call();
        calls.retain(|call| call.whom == whom);
        calls
    }

    /// What people were told, repetitions under one id taken as one, as a receiver does: type and title.
    pub fn told(&self) -> Vec<(String, String)> {
        distinct(&self.every_call())
    }

    /// The same for one receiver.
    pub fn told_to(&self, whom: &str) -> Vec<(String, String)> {
        distinct(&self.calls_to(whom))
    }

    /// Waits until so many different notices have come.
    ///
    /// # Errors
    ///
    /// When they do not come in time; says what came.
    pub async fn wait_for(&self, count: usize, within: Duration) -> anyhow::Result<Vec<(String, String)>> {
        let began = Instant::now();
        loop {
            let told = self.told();
            if told.len() >= count {
                return Ok(told);
            }
            if began.elapsed() > within {
                bail!("{count} notices did not come within {} s: {told:?}", within.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn take(&self, whom: String, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let id = headers.get("webhook-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let Ok(body) = serde_json::from_slice(body) else { return StatusCode::BAD_REQUEST };
        let call = Call { at: Instant::now(), whom, id, body };
        self.told.lock().expect("nobody panics while holding it").push(call);
        let slow = *self.slow.lock().expect("nobody panics while holding it");
        tokio::time::sleep(slow).await;
        StatusCode::NO_CONTENT
    }
}

fn distinct(calls: &[Call]) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let first = calls.iter().filter(|call| seen.insert(call.id.as_str()));
    first.map(|call| (call.kind().to_owned(), call.title().to_owned())).collect()
}

async fn receive(State(sink): State<Sink>, headers: HeaderMap, body: Bytes) -> StatusCode {
    sink.take(String::new(), &headers, &body).await
}

async fn receive_for(
    State(sink): State<Sink>,
    Path(whom): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    sink.take(whom, &headers, &body).await
}
