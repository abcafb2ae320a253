//! The import of a network file.

use crate::{
    desk::{Answer, Caller, Desk, Refusal},
    import::{Asked, ImportError, Imported, Wrong},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use kit::http::{PROBLEM_JSON, Problem};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// How long an import waits for the one before it.
const WAIT: Duration = Duration::from_secs(60);

/// How to import.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
    /// Refuse unless the inventory is at this revision.
    base_revision: Option<u64>,
    /// What the file is called in messages.
    file: Option<String>,
}

/// Everything that is wrong with a file: a problem (RFC 9457) with a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WrongFile {
    /// `urn:mastwatch:problem:wrong_network_file`.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// 422.
    status: u16,
    /// What is wrong, in one sentence.
    detail: String,
    /// `wrong_network_file`.
    code: String,
    /// What is wrong, in the order of the file; at most 50.
    errors: Vec<Wrong>,
    /// Whether there is more that is not told.
    more: bool,
}

/// Imports a network file: all of it or nothing. The same file again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/import", tag = "import", params(How),
    request_body(content = String, content_type = "application/yaml", description = "The network file."),
    responses((status = 200, body = Imported), (status = 403), (status = 409), (status = 422, body = WrongFile))
)]
pub(crate) async fn import(
    State(desk): State<Desk>,
    Caller(who): Caller,
    Query(how): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Response> {
    let text =
        String::from_utf8(body.into()).map_err(|_| Problem::malformed("a network file is text in UTF-8"))?;
    let turn = desk.importing.acquire();
    let Ok(turn) = tokio::time::timeout(WAIT, turn).await else {
        return Err(Problem::unavailable("another import is under way", Duration::from_secs(10)).into());
    };
    let _turn = turn.expect("this semaphore is never closed");
    let only = match (who.tenant, headers.get("x-tenant").and_then(|slug| slug.to_str().ok())) {
        (Some(own), _) => Some(own),
        (None, named) => named.map(events::TenantId::of),
    };
    let file = how.file.filter(|name| !name.is_empty() && name.len() <= 200);
    let asked = Asked {
        file: file.unwrap_or_else(|| "network.yaml".into()),
        only,
        by: who.name,
        dry_run: how.dry_run,
        base: how.base_revision,
    };
    match desk.importer.import(text, &asked).await {
        Ok(done) => Ok(Json::<Imported>(done).into_response()),
        Err(ImportError::Wrong { wrong, more }) => Ok(told(wrong, more)),
        Err(error) => Err(Refusal::from(error)),
    }
}

fn told(errors: Vec<Wrong>, more: bool) -> Response {
    let count = if more { "many things are".into() } else { counted(errors.len()) };
    let problem = Problem::impossible("wrong_network_file", format!("{count} wrong with the network file"));
    let told = WrongFile {
        kind: problem.kind,
        title: problem.title,
        status: problem.status,
        detail: problem.detail.unwrap_or_default(),
        code: problem.code,
        errors,
        more,
    };
    let body = serde_json::to_vec(&told).expect("plain data is representable as JSON");
    (StatusCode::UNPROCESSABLE_ENTITY, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response()
}

fn counted(n: usize) -> String {
    if n == 1 { "one thing is".into() } else { format!("{n} things are") }
}
