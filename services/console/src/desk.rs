//! What every route works with, who may use it, and how a refusal is told.
//!
//! A token of a tenant is for that tenant and no other. An administrator's says with each request
//! whose it is, by `X-Tenant` or `?tenant=`: the slug.

use crate::{
    access::{AccessError, Register, Shut, Who},
    import::{ImportError, Importer},
    laid::{Inventories, Laid, LaidError},
    read_models::{ReadError, ReadModels},
    series::{SeriesError, SeriesStore},
};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use events::{EventId, Node, NodeId, TenantId};
use kit::{Log, LogError, PublishError, http::Problem};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

/// How long a caller is told to wait before trying again.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// The cookie that holds the token of somebody who looks at the status page.
pub(crate) const COOKIE: &str = "mastwatch_token";

/// What every route works with.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) log: Log,
    pub(crate) register: Arc<Register>,
    pub(crate) inventories: Arc<Inventories>,
    pub(crate) importer: Importer,
    pub(crate) models: ReadModels,
    pub(crate) series: SeriesStore,
    /// One import at a time: it takes memory in proportion to its network.
    pub(crate) importing: Arc<Semaphore>,
    /// Explanations at a time: each reads a stretch of the log.
    pub(crate) explaining: Arc<Semaphore>,
    /// Live updates that are being followed.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

impl Desk {
    /// A node that a person names by its id, or by its id in the network file.
    pub(crate) async fn node_called(
        &self,
        tenant: TenantId,
        laid: &Laid,
        called: &str,
    ) -> Answer<Option<Arc<Node>>> {
        let id = called.parse().unwrap_or_else(|_| NodeId::of(tenant, called));
        Ok(self.inventories.node(laid, id).await?)
    }
}

/// A refusal. Everything that goes wrong in a route becomes one.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Problem>);

/// What a route answers.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        tracing::warn!(%error, "the log does not answer");
        Problem::unavailable("the log does not answer", COME_AGAIN).into()
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match &error {
            PublishError::Busy | PublishError::Unavailable(_) | PublishError::StoreFull(_) => {
                tracing::warn!(%error, "the log does not store");
                Problem::unavailable("the log cannot store it", COME_AGAIN).into()
            }
            PublishError::Conflict { .. } => Problem::conflict("it was changed meanwhile: look again").into(),
            PublishError::Encode(kit::EncodeError::TooLarge { .. }) => {
                Problem::impossible("too_large_for_an_event", error_chain(&error)).into()
            }
            PublishError::Encode(_) | PublishError::TooMany(_) | PublishError::Refused { .. } => {
                fault(&error)
            }
        }
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Publish(error) => error.into(),
            AccessError::Log(error) => error.into(),
            AccessError::Keys(_) | AccessError::Master(_) => fault(&error),
        }
    }
}

impl From<LaidError> for Refusal {
    fn from(error: LaidError) -> Self {
        match error {
            LaidError::Log(error) => error.into(),
            LaidError::Lost { .. } => fault(&error),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Away(_) => {
                tracing::warn!(error = error_chain(&error), "the read models do not answer");
                Problem::unavailable("the read models do not answer", COME_AGAIN).into()
            }
            ReadError::Fault(_) => fault(&error),
        }
    }
}

impl From<SeriesError> for Refusal {
    fn from(error: SeriesError) -> Self {
        match &error {
            SeriesError::None => {
                Problem::unavailable("no time series are kept here: `vm_url` is not configured", COME_AGAIN)
                    .into()
            }
            SeriesError::Away(_) => {
                tracing::warn!(error = error_chain(&error), "the time series do not answer");
                Problem::unavailable("the time series do not answer", COME_AGAIN).into()
            }
            SeriesError::TooMuch => {
                Problem::malformed("that is more than one answer holds: give a larger `step`").into()
            }
            SeriesError::Fault(_) => fault(&error),
        }
    }
}

impl From<ImportError> for Refusal {
    fn from(error: ImportError) -> Self {
        match error {
            // Told in full by the route itself.
            ImportError::Wrong { .. } => Problem::impossible("wrong_network_file", error.to_string()).into(),
            ImportError::Elsewhere { .. } => {
                Problem::forbidden(format!("{error}, and the token is another's")).into()
            }
            ImportError::Moved { .. } => {
                Problem::conflict(format!("{error}: it was made on another one")).into()
            }
            ImportError::Contended => Problem::conflict(error.to_string()).into(),
            ImportError::Access(error) => error.into(),
            ImportError::Publish(error) => error.into(),
            ImportError::Log(error) => error.into(),
            ImportError::Half { ref reason, .. } => {
                tracing::warn!(reason, "an import is not complete");
                Problem::unavailable(error.to_string(), COME_AGAIN).into()
            }
            ImportError::Laid(error) => error.into(),
            ImportError::Part { .. } => fault(&error),
        }
    }
}

/// A fault of ours: logged, and told as such.
pub(crate) fn fault(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(error = error_chain(error), "a request failed");
    Problem::internal().into()
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Somebody with a token that opens the console.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Who);

/// Somebody, and the tenant the request is about.
#[derive(Debug, Clone)]
pub(crate) struct Within {
    pub(crate) who: Who,
    pub(crate) tenant: TenantId,
}

/// The same, who may also be known by a cookie: for what changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Watching(pub(crate) Within);

impl FromRequestParts<Desk> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Answer<Self> {
        let token = bearer(&parts.headers).ok_or_else(Problem::unauthorized)?;
        Ok(Self(who(desk, parts, token)?))
    }
}

impl FromRequestParts<Desk> for Within {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Answer<Self> {
        let Caller(who) = Caller::from_request_parts(parts, desk).await?;
        within(desk, parts, who)
    }
}

impl FromRequestParts<Desk> for Watching {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Answer<Self> {
        let token = bearer(&parts.headers).or_else(|| cookie(&parts.headers));
        let who = who(desk, parts, token.ok_or_else(Problem::unauthorized)?)?;
        Ok(Self(within(desk, parts, who)?))
    }
}

/// Who holds `token`, if it opens the console from where the request came.
pub(crate) fn who(desk: &Desk, parts: &Parts, token: &str) -> Answer<Who> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let peer = peer.ok_or_else(|| fault(&std::io::Error::other("the peer's address is not known")))?;
    desk.register.who(token, peer).map_err(|shut| {
        match shut {
            Shut::Unknown => Problem::unauthorized(),
            Shut::Elsewhere => Problem::forbidden("this token may not be used from this address"),
            Shut::NotHere => Problem::forbidden("this token does not open the console"),
        }
        .into()
    })
}

fn within(desk: &Desk, parts: &Parts, who: Who) -> Answer<Within> {
    let named = named_tenant(parts)?;
    let tenant = match (who.tenant, named) {
        (Some(own), None) => own,
        (Some(own), Some(slug)) if TenantId::of(&slug) == own => own,
        (Some(_), Some(_)) => return Err(Problem::forbidden("this token is another tenant's").into()),
        (None, Some(slug)) => known(desk, &slug)?,
        (None, None) => {
            return Err(Problem::malformed("name the tenant, in `X-Tenant` or `?tenant=`").into());
        }
    };
    Ok(Within { who, tenant })
}

/// The tenant that is called `slug`, if there is one.
pub(crate) fn known(desk: &Desk, slug: &str) -> Answer<TenantId> {
    let tenant = TenantId::of(slug);
    if slug.is_empty() || !desk.register.knows(tenant) {
        return Err(Problem::not_found("there is no such tenant").into());
    }
    Ok(tenant)
}

/// The slug that the request names.
pub(crate) fn named_tenant(parts: &Parts) -> Answer<Option<String>> {
    let header = match parts.headers.get("x-tenant") {
        Some(value) => {
            let slug = value.to_str().map_err(|_| Problem::malformed("`X-Tenant` is no slug"))?;
            Some(slug.to_owned())
        }
        None => None,
    };
    let query = parts.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "tenant")
        .map(|(_, slug)| slug.into_owned());
    match (header, query) {
        (Some(a), Some(b)) if a != b => {
            Err(Problem::malformed("`X-Tenant` and `?tenant=` name different tenants").into())
        }
        (header, query) => Ok(header.or(query)),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token in the cookie, if there is one.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The id of what a request says: the same again when it is sent again with its `Idempotency-Key`.
pub(crate) fn request_id(who: &Who, headers: &HeaderMap) -> Answer<EventId> {
    match headers.get("idempotency-key") {
        None => Ok(EventId(uuid::Uuid::new_v4())),
        Some(key) => {
            let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= 128);
            let key = key.ok_or_else(|| Problem::malformed("`Idempotency-Key` is 1 to 128 characters"))?;
            Ok(EventId::idempotent(&who.prefix, key))
        }
    }
}

/// A body in JSON, whatever its content type says.
pub(crate) fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_slice(body).map_err(|error| Problem::malformed(error.to_string()).into())
}

/// 201, and what was made.
pub(crate) fn made<T: serde::Serialize>(made: T) -> Response {
    (StatusCode::CREATED, axum::Json(made)).into_response()
}
