//! How HTTP is served: every refusal in one form, and everything bounded.
//!
//! [`Problem`] is the one form of an error (RFC 9457, `application/problem+json`); what axum or a
//! handler refuses in another form is put into it on the way out. [`serve`] bounds connections,
//! requests at a time, header and handler time and body size, catches panics, numbers requests, and
//! on a stop lets what was begun end.

use crate::admin::Metrics;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use serde::Serialize;
use std::{
    any::Any,
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;

/// What a request is called in the answer and in every log line about it.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// No explanation in a problem is longer.
const DETAIL_BYTES_MAX: usize = 1024;

/// Whoever opens a connection sends the head of a request within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// When the process has no file for a connection it waits this long before the next try.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why a request was refused, in the form of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable name of what is wrong: `urn:mastwatch:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this very request, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The same short name, for a program.
    pub code: String,
    /// What the request is called in our log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    /// Any refusal. `code` is a short name of `[a-z_]`.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            let end = (0..=DETAIL_BYTES_MAX).rev().find(|at| detail.is_char_boundary(*at));
            detail.truncate(end.unwrap_or(0));
        }
        Self {
            kind: format!("urn:mastwatch:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: (!detail.is_empty()).then_some(detail),
            code: code.to_owned(),
            request_id: None,
            retry_after: None,
        }
    }

    /// 400 `malformed`: it cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 401 `unauthorized`: no credentials, or unknown ones. Never says which.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "a valid token is needed")
    }

    /// 403 `forbidden`: known, but not allowed this, or not from there.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404 `not_found`: there is no such thing, or not for this caller.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 409 `conflict`: it was made on something that has changed since.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 413 `too_large`.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 422 with a `code` of the caller's: understood, but impossible.
    pub fn impossible(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 429 `over_quota`: granted again after `wait`.
    pub fn over_quota(wait: Duration) -> Self {
        let problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "over_quota", "more requests than the quota grants");
        Self { retry_after: Some(wait), ..problem }
    }

    /// 503 `unavailable`: nothing was done; trying again after `wait` is safe.
    pub fn unavailable(detail: impl Into<String>, wait: Duration) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self { retry_after: Some(wait), ..problem }
    }

    /// 500 `internal`: a fault of ours. The log knows more than the caller is told.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a fault of the server; it has been logged")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("plain data is representable as JSON");
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: never too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// How much a front door takes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Requests being handled; further ones get 503.
    pub requests: usize,
    /// The size of a body; larger ones get 413.
    pub body_bytes: usize,
    /// How long a handler may take to begin its answer, body included; then 503.
    pub answer_within: Duration,
    /// How long what was begun may take to end after a stop.
    pub drain_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            requests: 2048,
            body_bytes: 1024 * 1024,
            answer_within: Duration::from_secs(10),
            drain_within: Duration::from_secs(10),
        }
    }
}

/// Which answer to what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    /// The route's pattern, never the path itself: labels are bounded.
    route: String,
    status: u16,
}

#[derive(Debug, Clone)]
struct Desk {
    limits: Limits,
    places: Arc<Semaphore>,
    answers: Family<Answered, Counter>,
    seconds: Histogram,
    in_flight: Gauge,
    panics: Counter,
}

/// Serves `routes` on `listener` until `stop`, then lets what was begun end.
///
/// Handlers may extract `ConnectInfo<SocketAddr>`: the peer's address.
///
/// # Errors
///
/// When the listening socket itself fails for good. What a single connection does is no error.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: Limits,
    metrics: &Metrics,
    stop: CancellationToken,
) -> io::Result<()> {
    let metrics = metrics.under("http");
    let connections = metrics.gauge("connections", "Open connections");
    let routes = guarded(routes, limits, &metrics);
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();

    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(256);

    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = async {
            let place = place.await.expect("this semaphore is never closed");
            (listener.accept().await, place)
        };
        let ((stream, peer), place) = tokio::select! {
            () = stop.cancelled() => break,
            (accepted, place) = accepted => match accepted {
                Ok(accepted) => (accepted, place),
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    // Out of files or memory: those that are open go on, and will end.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "a connection was gone at once");
            continue;
        }
        let routes = routes.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.clone().oneshot(request)
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        connections.inc();
        let connections = connections.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection ended early");
            }
            connections.dec();
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_within, graceful.shutdown()).await.is_err() {
        tracing::warn!(open = connections.get(), "connections that did not end in time are closed");
    }
    Ok(())
}

/// Whether an accept failed because of the one connection it would have been.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// `routes` behind the bounds; [`serve`] does this itself. For handlers under test without a socket.
pub fn guarded(routes: Router, limits: Limits, metrics: &Metrics) -> Router {
    let desk = Desk {
        limits,
        places: Arc::new(Semaphore::new(limits.requests)),
        answers: metrics.counters("answers", "Answers given"),
        seconds: metrics.seconds("answer", "Time until an answer begins"),
        in_flight: metrics.gauge("requests_in_flight", "Requests being handled"),
        panics: metrics.counter("panics", "Handlers that panicked"),
    };
    routes
        .fallback(async || Problem::not_found("there is nothing at this address"))
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(middleware::from_fn_with_state(desk, guard))
}

async fn guard(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&request);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", method, route, request_id = %id);
    if let Some(parent) = request.headers().get("traceparent").and_then(|value| value.to_str().ok()) {
        crate::telemetry::child_of(&span, parent);
    }
    desk.in_flight.inc();
    let response = answer(&desk, request, next).instrument(span.clone()).await;
    desk.in_flight.dec();
    let response = as_problem(response, &id).instrument(span).await;
    desk.seconds.observe(began.elapsed().as_secs_f64());
    desk.answers.get_or_create(&Answered { method, route, status: response.status().as_u16() }).inc();
    response
}

async fn answer(desk: &Desk, request: Request, next: Next) -> Response {
    let Ok(_place) = desk.places.try_acquire() else {
        return Problem::unavailable("too many requests at a time", Duration::from_secs(1)).into_response();
    };
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if declared
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|n| n > desk.limits.body_bytes as u64)
    {
        // Before a byte of it is read, and also where a handler never looks at the body.
        return Problem::too_large(format!("no body may exceed {} bytes", desk.limits.body_bytes))
            .into_response();
    }
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(desk.limits.answer_within, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            desk.panics.inc();
            tracing::error!(panic = panic_text(&*panic), "a handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => {
            let within = desk.limits.answer_within.as_secs_f64();
            Problem::unavailable(format!("no answer within {within} s"), Duration::from_secs(1))
                .into_response()
        }
    }
}

/// Numbers the answer, and puts a refusal in whatever form into ours.
async fn as_problem(mut response: Response, id: &str) -> Response {
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if refused {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_problem = kind.is_some_and(|kind| kind.starts_with(PROBLEM_JSON));
        let is_words = kind.is_none_or(|kind| kind.starts_with("text/plain"));
        if is_problem || is_words {
            let (mut parts, body) = response.into_parts();
            let body = to_bytes(body, 16 * DETAIL_BYTES_MAX).await.unwrap_or_default();
            let body = if is_problem {
                numbered(&body, id)
            } else {
                let detail = String::from_utf8_lossy(&body).into_owned();
                let problem = Problem::new(parts.status, code_of(parts.status), detail);
                parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
                serde_json::to_vec(&Problem { request_id: Some(id.to_owned()), ..problem })
                    .expect("plain data is representable as JSON")
            };
            parts.headers.remove(header::CONTENT_LENGTH);
            response = Response::from_parts(parts, Body::from(body));
        }
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response
}

/// A problem's body with the request's id in it.
fn numbered(body: &[u8], id: &str) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body) {
        Ok(mut problem) => {
            problem.insert("request_id".into(), id.into());
            serde_json::to_vec(&problem).expect("a map read from JSON is representable as JSON")
        }
        Err(_) => body.to_vec(),
    }
}

/// What a refusal that came without a code is called.
fn code_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "malformed",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        409 => "conflict",
        413 => "too_large",
        415 => "unsupported_media_type",
        422 => "impossible",
        429 => "over_quota",
        503 => "unavailable",
        _ if status.is_client_error() => "refused",
        _ => "internal",
    }
}

/// What the sender calls it, if that is a short plain word; else a number of ours.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    given.filter(plain).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// One of a few words: labels are bounded.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// What somebody who panicked said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

/// Listens at `address`.
///
/// # Errors
///
/// When it is not ours to listen at, or taken; the message names it.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("listening at {address}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Json, routing};
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn limits() -> Limits {
        Limits {
            body_bytes: 100,
            answer_within: Duration::from_millis(200),
            requests: 2,
            ..Limits::default()
        }
    }

    fn routes() -> Router {
        Router::new()
            .route("/echo", routing::post(async |Json(body): Json<Value>| Json(body)))
            .route("/slow", routing::get(async || tokio::time::sleep(Duration::from_millis(100)).await))
            .route("/never", routing::get(async || std::future::pending::<()>().await))
            .route("/panic", routing::get(panics))
            .route("/full", routing::get(async || Problem::over_quota(Duration::from_millis(1_200))))
            .route(
                "/who",
                routing::get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
            )
    }

    async fn panics() -> StatusCode {
        panic!("on purpose")
    }

    async fn ask(router: &Router, request: Request) -> (StatusCode, Value, axum::http::HeaderMap) {
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (parts.status, serde_json::from_slice(&body).unwrap_or(Value::Null), parts.headers)
    }

    fn get(path: &str) -> Request {
        Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn every_refusal_is_a_problem_with_a_code_and_an_id() {
        let router = guarded(routes(), limits(), &Metrics::default());
        let post = |body: &str| {
            Request::post("/echo")
                .header("content-type", "application/json")
                .header("x-request-id", "mine-1")
                .body(Body::from(body.to_owned()))
                .unwrap()
        };
        for (request, status, code) in [
            (get("/nowhere"), 404, "not_found"),
            (get("/echo"), 405, "method_not_allowed"),
            (post("{"), 400, "malformed"),
            (Request::post("/echo").body(Body::from("{}")).unwrap(), 415, "unsupported_media_type"),
            (post(&"9".repeat(101)), 413, "too_large"),
            (get("/panic"), 500, "internal"),
            (get("/never"), 503, "unavailable"),
            (get("/full"), 429, "over_quota"),
        ] {
            let (got, body, headers) = ask(&router, request).await;
            assert_eq!((got.as_u16(), body["code"].as_str()), (status, Some(code)), "{body}");
            assert_eq!(body["type"], format!("urn:mastwatch:problem:{code}"));
            assert_eq!(body["status"], status);
            assert_eq!(headers["content-type"], PROBLEM_JSON);
            assert_eq!(headers["x-request-id"].to_str().unwrap(), body["request_id"].as_str().unwrap());
        }
        let (_, body, headers) = ask(&router, post("{")).await;
        assert_eq!(body["request_id"], "mine-1");
        assert!(headers.get("retry-after").is_none());
        let (_, _, headers) = ask(&router, get("/full")).await;
        assert_eq!(headers["retry-after"], "2");
    }

    #[tokio::test]
    async fn what_is_well_passes_untouched() {
        let router = guarded(routes(), limits(), &Metrics::default());
        let request = Request::post("/echo")
            .header("content-type", "application/json")
            .body(Body::from("[1]"))
            .unwrap();
        let (status, body, _) = ask(&router, request).await;
        assert_eq!((status, body), (StatusCode::OK, serde_json::json!([1])));
    }

    #[tokio::test]
    async fn more_requests_than_places_are_turned_away() {
        let metrics = Metrics::default();
        let router = guarded(routes(), limits(), &metrics);
        let asked = futures::future::join_all((0..5).map(|_| ask(&router, get("/slow")))).await;
        let served = asked.iter().filter(|(status, ..)| *status == StatusCode::OK).count();
        assert_eq!(served, 2);
        assert!(
            metrics
                .text()
                .unwrap()
                .contains("answers_total{method=\"GET\",route=\"/slow\",status=\"503\"} 3")
        );
    }

    #[tokio::test]
    async fn a_long_detail_is_cut_at_a_character() {
        let problem = Problem::malformed("ä".repeat(DETAIL_BYTES_MAX));
        assert_eq!(problem.detail.unwrap().len(), DETAIL_BYTES_MAX);
    }

    async fn raw(address: SocketAddr, text: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn on_a_stop_what_was_begun_ends_and_nothing_new_begins() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let metrics = Metrics::default();
        let serving = tokio::spawn({
            let stop = stop.clone();
            async move { serve(listener, routes(), limits(), &metrics, stop).await }
        });
        let who = raw(address, "GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(who.ends_with("127.0.0.1"), "{who}");
        let slow = tokio::spawn(raw(address, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"));
        // An idle connection must not hold up the end.
        let idle = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        stop.cancel();
        assert!(slow.await.unwrap().starts_with("HTTP/1.1 200"));
        tokio::time::timeout(Duration::from_secs(2), serving).await.unwrap().unwrap().unwrap();
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        drop(idle);
    }
}
