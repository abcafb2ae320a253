//! The status page: what is wrong now, readable on a phone, made here and loading nothing from elsewhere.
//!
//! A browser holds its token in a cookie that scripts cannot read and that is never sent from
//! another site. The cookie opens this page and the live updates, both of which change nothing.

use crate::{
    desk::{Answer, COOKIE, Desk, Refusal, cookie, fault, known, named_tenant, who},
    read_models::{CountRow, IncidentRow, NoticeRow, ReadError, TenantRow},
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::fmt;

/// How many incidents and notices are shown.
const SHOWN: i64 = 50;
/// How long a browser holds the cookie, seconds: a working day.
const COOKIE_S: u32 = 12 * 3_600;

/// Only what we serve ourselves, and nothing written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "status.html")]
struct Status {
    tenant: TenantRow,
    counts: Vec<CountRow>,
    incidents: Vec<IncidentRow>,
    notices: Vec<NoticeRow>,
    as_of: Option<DateTime<Utc>>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    wrong: bool,
}

#[derive(Template)]
#[template(path = "choose.html")]
struct Choose {
    tenants: Vec<TenantRow>,
}

#[derive(Template)]
#[template(path = "away.html")]
struct Away;

/// The page, its log-in, and what it is made of.
pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/", get(status))
        .route("/login", get(log_in_form).post(log_in))
        .route("/logout", axum::routing::post(log_out))
        .route(
            "/assets/status.js",
            get(async || asset("text/javascript", include_str!("../assets/status.js"))),
        )
        .route("/assets/status.css", get(async || asset("text/css", include_str!("../assets/status.css"))))
        .layer(middleware::from_fn(strict))
}

/// What every page says to the browser.
async fn strict(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, text).into_response()
}

fn html(page: &(impl Template + fmt::Debug + ?Sized)) -> Answer<Response> {
    Ok(Html(page.render().map_err(|error| fault(&error))?).into_response())
}

async fn status(State(desk): State<Desk>, request: Request) -> Answer<Response> {
    let (parts, _) = request.into_parts();
    let Some(token) = cookie(&parts.headers) else {
        return Ok(Redirect::to("/login").into_response());
    };
    let Ok(who) = who(&desk, &parts, token) else {
        return Ok(Redirect::to("/login").into_response());
    };
    let page = match (who.tenant, named_tenant(&parts)?) {
        (Some(own), _) => shown(&desk, own).await,
        (None, Some(slug)) => shown(&desk, known(&desk, &slug)?).await,
        (None, None) => match desk.models.every_tenant().await {
            Ok(tenants) => return html(&Choose { tenants }),
            Err(error) => Err(error),
        },
    };
    match page {
        Ok(Some(page)) => html(&page),
        Ok(None) => Err(kit::http::Problem::not_found("nothing is known of this tenant yet").into()),
        Err(ReadError::Away(_)) => {
            let mut response = html(&Away)?;
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(response)
        }
        Err(error @ ReadError::Fault(_)) => Err(Refusal::from(error)),
    }
}

async fn shown(desk: &Desk, tenant: events::TenantId) -> Result<Option<Status>, ReadError> {
    let models = &desk.models;
    let open = crate::read_models::IncidentFilter { open: true, limit: SHOWN, ..Default::default() };
    let (row, counts, incidents, notices, as_of) = tokio::try_join!(
        models.tenant(tenant),
        models.counts(tenant),
        models.incidents(tenant, open),
        models.last_notices(tenant, SHOWN),
        models.written_to(tenant),
    )?;
    Ok(row.map(|tenant| Status { tenant, counts, incidents, notices, as_of }))
}

async fn log_in_form() -> Answer<Response> {
    html(&Login { wrong: false })
}

#[derive(Deserialize)]
struct Given {
    token: String,
}

/// Takes the token from the form's body, never from the address: addresses end up in logs.
async fn log_in(
    State(desk): State<Desk>,
    headers: HeaderMap,
    parts: Parts,
    Form(given): Form<Given>,
) -> Answer<Response> {
    let token = given.token.trim();
    if who(&desk, &parts, token).is_err() {
        let mut response = html(&Login { wrong: true })?;
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    let is_tls = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if is_tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_S}{secure}");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

async fn log_out() -> Response {
    let cookie = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

impl Status {
    /// Whether anything of a tier is not well.
    fn is_well(&self) -> bool {
        self.incidents.is_empty() && self.counts.iter().all(|count| count.down + count.impacted == 0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("tenant", &self.tenant.slug).finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl fmt::Debug for Choose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Choose")
    }
}

impl fmt::Debug for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Away")
    }
}
