//! The routes: who asks, what is said, may it be, and then into the log.
//!
//! A request is looked at in this order: is the token known, may it come from there, can the rest be read, is
//! there quota left, is it news. Only then is it stored, and only when it is stored is it answered.

use crate::{
    Config, Hook,
    audit::{Audit, Who},
    book::{Book, Holder},
    claim::{Claimed, Given, Number},
    fields::{Batch, Fields, Unreadable},
    figures::Figures,
    lately::{Lately, Stale},
    peer::Proxies,
    refusal::Refusal,
};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use events::{EventId, Fact, Grant, Say, TenantId, Time};
use kit::{
    ARRAY_MAX, Log, Outgoing, Service, Stored,
    quota::{Quota, Refused},
    telemetry::current_traceparent,
};
use std::{
    error::Error as _,
    fmt::Write as _,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// The largest body of a webhook: a few short texts.
const HOOK_BYTES_MAX: usize = 16 * 1024;

/// The longest `Idempotency-Key`.
const IDEMPOTENCY_BYTES_MAX: usize = 255;

/// How many tokens' quotas are remembered.
const TOKENS_MAX: usize = 200_000;
/// How many tenants' quotas are remembered.
const TENANTS_MAX: usize = 20_000;

/// Chosen by the sender, so that it may send again what it is not sure of.
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Door {
    log: Log,
    /// Who says what is said here.
    said_by: Arc<str>,
    book: Arc<Book>,
    lately: Lately,
    proxies: Proxies,
    get_forms: bool,
    array_bytes_max: usize,
    per_token: Quota<(TenantId, crate::book::Prefix)>,
    per_tenant: Quota<TenantId>,
    audit: Arc<Audit>,
    figures: Figures,
}

impl Door {
    pub(crate) fn new(config: &Config, service: &Service, book: Arc<Book>, audit: Arc<Audit>) -> Self {
        let metrics = &service.metrics;
        Self {
            log: service.log.within(Duration::from_millis(config.store_within_ms)),
            said_by: Arc::from(service.name),
            book,
            lately: Lately::new(Duration::from_secs(config.stale_after_s)),
            proxies: Proxies {
                networks: config.proxies.clone(),
                header: HeaderName::try_from(&config.proxy_header)
                    .expect("the configuration was checked before"),
            },
            get_forms: config.get_forms,
            array_bytes_max: config.limits().body_bytes,
            per_token: Quota::new("token_quota", config.per_token(), TOKENS_MAX, metrics),
            per_tenant: Quota::new("tenant_quota", config.per_tenant(), TENANTS_MAX, metrics),
            audit,
            figures: Figures::new(metrics),
        }
    }
}

/// Every route.
pub(crate) fn routes(door: Arc<Door>) -> Router {
    let hook = |hook: Hook| {
        async move |State(door): State<Arc<Door>>, request: Request| {
            let answer = door.hooked(hook, request).await;
            door.answered(answer)
        }
    };
    let with_get = |kind: Hook| get(hook(kind)).post(hook(kind));
    Router::new()
        .route("/api/webhooks/mikrotik/ppp-status", post(hook(Hook::Ppp)))
        .route("/api/webhooks/mikrotik/device-status", post(hook(Hook::Device)))
        .route("/api/webhooks/mikrotik/dhcp-status", post(hook(Hook::Dhcp)))
        .route("/api/webhooks/ppp-status", with_get(Hook::Ppp))
        .route("/api/webhooks/device-status", with_get(Hook::Device))
        .route("/api/v1/signals", post(signals))
        .with_state(door)
}

async fn signals(State(door): State<Arc<Door>>, request: Request) -> Response {
    let answer = door.listed(request).await;
    door.answered(answer)
}

/// The body of a 202.
enum Accepted {
    One(EventId),
    Many(Vec<Stored>),
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let json = match self {
            Accepted::One(id) => format!(r#"{{"id":"{id}"}}"#),
            Accepted::Many(stored) => {
                let mut json = String::with_capacity(10 + stored.len() * 39);
                json.push_str(r#"{"ids":["#);
                for (n, stored) in stored.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    write!(json, "{comma}\"{}\"", stored.id).expect("a string takes everything");
                }
                json.push_str("]}");
                json
            }
        };
        (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], json).into_response()
    }
}

type Answer = Result<Accepted, (Refusal, Who)>;

impl Door {
    async fn hooked(&self, hook: Hook, request: Request) -> Answer {
        let (parts, body) = request.into_parts();
        let mut who = Who::default();
        match self.hook(hook, &parts, body, &mut who).await {
            Ok(accepted) => Ok(accepted),
            Err(refusal) => Err((refusal, who)),
        }
    }

    async fn hook(&self, hook: Hook, parts: &Parts, body: Body, who: &mut Who) -> Result<Accepted, Refusal> {
        if parts.method != Method::POST && !self.get_forms {
            return Err(Refusal::NoGet);
        }
        who.source = Some(self.source(parts));
        let query = Fields::of_form(parts.uri.query().unwrap_or_default().as_bytes())?;
        // A token in the header or the address is looked at before a byte of the body is read.
        if let Some(token) = bearer(&parts.headers)?.or(query.token.as_deref()) {
            self.admit(token, who)?;
        }
        let body = read(body, HOOK_BYTES_MAX).await?;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let fields = query.and(Fields::of_body(content_type, &body)?)?;
        let holder = match &who.holder {
            Some(holder) => Arc::clone(holder),
            None => self.admit(fields.token.as_deref().ok_or(Refusal::Unauthorized)?, who)?,
        };
        self.grant(&holder, 1)?;
        let given = self.given(&holder);
        let claimed = given.hooked(hook, &fields)?;
        drop(fields);
        let heard = Instant::now();
        self.is_news(&claimed, heard)?;
        let id = match &claimed.number {
            Some(number) => number.id(),
            None => idempotency(&parts.headers, &holder)?.unwrap_or_else(|| EventId(Uuid::now_v7())),
        };
        let number = claimed.number.clone();
        let stored = self.log.publish(self.outgoing(&holder, id, claimed)).await;
        self.figures.publish.observe(heard.elapsed().as_secs_f64());
        let stored = stored?;
        if let Some(number) = number {
            self.remember(&number, heard);
        }
        self.count(&[stored]);
        Ok(Accepted::One(stored.id))
    }

    async fn listed(&self, request: Request) -> Answer {
        let (parts, body) = request.into_parts();
        let mut who = Who::default();
        match self.list(&parts, body, &mut who).await {
            Ok(accepted) => Ok(accepted),
            Err(refusal) => Err((refusal, who)),
        }
    }

    async fn list(&self, parts: &Parts, body: Body, who: &mut Who) -> Result<Accepted, Refusal> {
        who.source = Some(self.source(parts));
        let query = Fields::of_form(parts.uri.query().unwrap_or_default().as_bytes())?;
        let token = bearer(&parts.headers)?.or(query.token.as_deref()).ok_or(Refusal::Unauthorized)?;
        let holder = self.admit(token, who)?;
        let body = read(body, self.array_bytes_max).await?;
        let Batch(batch) = Batch::of_json(&body)?;
        self.grant(&holder, u32::try_from(batch.len()).unwrap_or(u32::MAX))?;
        let key = idempotency(&parts.headers, &holder)?;
        let (given, heard) = (self.given(&holder), Instant::now());
        let mut outs = Vec::with_capacity(batch.len());
        let mut numbers = Vec::new();
        for (n, fields) in batch.iter().enumerate() {
            let claimed = given.listed(fields).and_then(|claimed| {
                self.is_news(&claimed, heard)?;
                Ok(claimed)
            });
            let mut claimed = claimed.map_err(|refusal| Refusal::Element(n, Box::new(refusal)))?;
            let id = match (claimed.number.take(), key) {
                (Some(number), _) => {
                    let id = number.id();
                    numbers.push(number);
                    id
                }
                (None, Some(key)) => EventId::following(key, &self.said_by, &n.to_string()),
                (None, None) => EventId(Uuid::now_v7()),
            };
            outs.push(self.outgoing(&holder, id, claimed));
        }
        drop(batch);
        let stored = self.log.publish_all(outs).await;
        self.figures.publish.observe(heard.elapsed().as_secs_f64());
        let stored = stored?;
        for number in numbers {
            self.remember(&number, heard);
        }
        self.count(&stored);
        Ok(Accepted::Many(stored))
    }

    fn source(&self, parts: &Parts) -> std::net::IpAddr {
        let ConnectInfo(peer) =
            parts.extensions.get::<ConnectInfo<SocketAddr>>().expect("who serves says who asks");
        self.proxies.source(*peer, &parts.headers)
    }

    /// The holder of `token`, if it may come from there.
    fn admit(&self, token: &str, who: &mut Who) -> Result<Arc<Holder>, Refusal> {
        let Some(holder) = self.book.holder(token) else {
            who.claimed = self.book.owner(token);
            return Err(Refusal::Unauthorized);
        };
        who.holder = Some(Arc::clone(&holder));
        match holder.grant {
            Grant::Router { .. } | Grant::Signals => {}
            Grant::Console | Grant::Administrator => return Err(Refusal::OtherGrant),
        }
        if who.source.is_none_or(|source| !holder.may_come_from(source)) {
            return Err(Refusal::WrongSource);
        }
        Ok(holder)
    }

    /// Takes `signals` out of the token's and the tenant's quota.
    fn grant(&self, holder: &Holder, signals: u32) -> Result<(), Refusal> {
        self.per_token.take(&(holder.tenant, holder.prefix), signals)?;
        Ok(self.per_tenant.take(&holder.tenant, signals)?)
    }

    fn given<'a>(
        &'a self,
        holder: &'a Holder,
    ) -> Given<'a, impl Fn() -> Result<Arc<vault::TenantKeys>, Refusal> + 'a> {
        Given { holder, keys: || self.book.keys(holder.tenant), now: now() }
    }

    fn is_news(&self, claimed: &Claimed, at: Instant) -> Result<(), Refusal> {
        let Some(number) = &claimed.number else { return Ok(()) };
        self.lately.check(number.sender, &number.boot, number.seq, at).map_err(|stale| {
            Refusal::Stale(match stale {
                Stale::Behind(last) => format!("sequence {} lies far below {last}", number.seq),
                Stale::OldBoot => "this boot of the sender is over: another has been heard of since".into(),
            })
        })
    }

    fn remember(&self, number: &Number, heard: Instant) {
        if !self.lately.note(number.sender, &number.boot, number.seq, heard) {
            self.figures.unremembered.inc();
        }
    }

    fn outgoing(&self, holder: &Holder, id: EventId, claimed: Claimed) -> Outgoing {
        let Claimed { signal, at, number: _ } = claimed;
        let say = Say { id, tenant: holder.tenant, at, cause: None, fact: Fact::Signal(signal) };
        Outgoing::new(say, Arc::clone(&self.said_by)).traced(current_traceparent())
    }

    fn count(&self, stored: &[Stored]) {
        let repeated = stored.iter().filter(|stored| stored.duplicate).count() as u64;
        self.figures.accepted.inc_by(stored.len() as u64 - repeated);
        self.figures.duplicates.inc_by(repeated);
    }

    fn answered(&self, answer: Answer) -> Response {
        match answer {
            Ok(accepted) => accepted.into_response(),
            Err((refusal, who)) => {
                self.figures.refused(refusal.reason());
                self.audit.note(&refusal, &who, now());
                refusal.into_response()
            }
        }
    }
}

fn now() -> Time {
    Time::from_us(chrono::Utc::now().timestamp_micros())
}

/// The token of an `Authorization: Bearer` header, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let words = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
    match words {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        Some(_) | None => Err(Refusal::Unauthorized),
    }
}

/// The id that follows from the sender's `Idempotency-Key`, if it gave one.
fn idempotency(headers: &HeaderMap, holder: &Holder) -> Result<Option<EventId>, Refusal> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=IDEMPOTENCY_BYTES_MAX).contains(&key.len()) => {
            // The tenant in it, because prefixes are public and ids are known to the whole log.
            Ok(Some(EventId::idempotent(holder.prefix(), &format!("{}/{key}", holder.tenant))))
        }
        Ok(_) | Err(_) => Err(Refusal::malformed("`Idempotency-Key` must be 1 to 255 printable characters")),
    }
}

async fn read(body: Body, max: usize) -> Result<Bytes, Refusal> {
    to_bytes(body, max).await.map_err(|error| {
        let is_too_large =
            error.source().is_some_and(|source| source.to_string().contains("length limit exceeded"));
        if is_too_large {
            Refusal::TooLarge(format!("no body of this kind may exceed {max} bytes"))
        } else {
            Refusal::malformed("the body ended early")
        }
    })
}
impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::TooMany => Refusal::TooLarge(format!("more than {ARRAY_MAX} signals in one array")),
            Unreadable::NotUtf8(_) | Unreadable::Twice(_) | Unreadable::Json(_) => {
                Refusal::Malformed(unreadable.to_string())
            }
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Wait(wait) => Refusal::OverQuota(wait),
            Refused::TooMany => Refusal::TooLarge("more signals at once than the quota ever grants".into()),
        }
    }
}
