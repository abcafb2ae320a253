//! Every route there is, and the document that lists them.

mod audit;
mod channels;
mod events;
mod health;
mod history;
mod import;
mod incidents;
mod inventory;
mod keys;
mod list;
mod live_check;
mod onboard;
mod orders;
mod routers;
mod sightings;
mod subscribers;
mod tenants;
mod tokens;
mod trust;

use crate::{desk::Desk, page};
use axum::{Router, extract::DefaultBodyLimit, http::header, response::IntoResponse, routing::get};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The largest body of anything but an import.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The largest body that says what several subscribers are to get: 500 of them, a KiB each.
const SERVICES_BYTES_MAX: usize = 512 * 1024;

/// The document without its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "mastwatch",
        description = "What the network is, what is wrong with it, and who was told. Send the token as \
                       `Authorization: Bearer …`. An administrator's token needs `X-Tenant: <slug>` or \
                       `?tenant=<slug>` where a request is about one tenant. Refusals are problem+json (RFC 9457)."
    ),
    modifiers(&Bearer)
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
        document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("token", [])]);
    }
}

fn api() -> OpenApiRouter<Desk> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::show))
        .routes(routes!(tokens::list, tokens::grant))
        .routes(routes!(tokens::revoke))
        .routes(routes!(channels::list))
        .routes(routes!(channels::put, channels::delete))
        .routes(routes!(inventory::sites))
        .routes(routes!(inventory::nodes))
        .routes(routes!(inventory::node, onboard::remove))
        .routes(routes!(health::list))
        .routes(routes!(health::show))
        .routes(routes!(history::show))
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::show))
        .routes(routes!(incidents::explain))
        .routes(routes!(incidents::acknowledge))
        .routes(routes!(incidents::close_as_wrong))
        .routes(routes!(live_check::live_check))
        .routes(routes!(keys::rewrap))
        .routes(routes!(routers::plan, routers::draw))
        .routes(routes!(onboard::add))
        .routes(routes!(onboard::manage))
        .routes(routes!(routers::repair))
        .routes(routes!(routers::repairs))
        .routes(routes!(subscribers::router))
        .routes(routes!(subscribers::cut_held))
        .routes(routes!(subscribers::show, subscribers::put))
        .routes(routes!(subscribers::suspend))
        .routes(routes!(subscribers::resume))
        .routes(routes!(subscribers::standings))
        .routes(routes!(subscribers::cutting, subscribers::put_cutting))
        .routes(routes!(sightings::last_scan, sightings::scan))
        .routes(routes!(sightings::list))
        .routes(routes!(sightings::add))
        .routes(routes!(sightings::reject))
        .routes(routes!(trust::list))
        .routes(routes!(audit::list))
        .routes(routes!(audit::operators))
        .routes(routes!(events::follow))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(import::import))
                .layer(DefaultBodyLimit::max(network_file::TEXT_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(subscribers::put_all))
                .layer(DefaultBodyLimit::max(SERVICES_BYTES_MAX)),
        )
}

/// The document that lists every route of the API.
pub(crate) fn document() -> Document {
    api().into_openapi()
}

/// Every route.
pub(crate) fn all(desk: Desk) -> Router {
    let (routes, document) = api().split_for_parts();
    let document = document.to_json().expect("plain data is representable as JSON");
    let openapi =
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document).into_response() });
    routes.route("/api/openapi.json", openapi).merge(page::routes()).with_state(desk)
}
