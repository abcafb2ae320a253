//! Tenants: create, list, show.

use crate::{
    desk::{Answer, Caller, Desk, made},
    import::Change,
    read_models::TenantRow,
};
use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use events::{Inventory, Policy, Tenant, TenantId};
use kit::http::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

/// The longest slug. As in network files.
const SLUG_MAX: usize = 40;
/// The longest name.
const NAME_MAX: usize = 200;

/// A tenant that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// What operators type: `a-z`, `0-9` and `-`, at most 40.
    slug: String,
    /// What people read. The slug if absent.
    name: Option<String>,
}

/// The tenants that the token is for.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", responses((status = 200, body = Vec<TenantRow>)))]
pub(crate) async fn list(State(desk): State<Desk>, Caller(who): Caller) -> Answer<Json<Vec<TenantRow>>> {
    Ok(Json(match who.tenant {
        None => desk.models.every_tenant().await?,
        Some(own) => desk.models.tenant(own).await?.into_iter().collect(),
    }))
}

/// Makes a tenant. For administrators. Importing a network file of a tenant that is not there makes it too.
#[utoipa::path(
    post, path = "/api/v1/tenants", tag = "tenants", request_body = NewTenant,
    responses((status = 201, body = TenantRow), (status = 403), (status = 409))
)]
pub(crate) async fn create(
    State(desk): State<Desk>,
    Caller(who): Caller,
    Json(new): Json<NewTenant>,
) -> Answer<Response> {
    if who.tenant.is_some() {
        return Err(Problem::forbidden("only an administrator makes tenants").into());
    }
    let of_slug = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if new.slug.is_empty() || new.slug.len() > SLUG_MAX || !new.slug.bytes().all(of_slug) {
        let detail = format!("`slug` is 1 to {SLUG_MAX} characters `a-z`, `0-9` and `-`");
        return Err(Problem::impossible("slug", detail).into());
    }
    let name = new.name.unwrap_or_else(|| new.slug.clone());
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Problem::impossible("name", format!("`name` is 1 to {NAME_MAX} bytes")).into());
    }
    let id = TenantId::of(&new.slug);
    let laid = desk.inventories.now(id).await?;
    if laid.number() > 0 {
        return Err(Problem::conflict("there is such a tenant already").into());
    }
    if desk.register.keys(id).await?.is_none() {
        let (_, keys) = desk.register.draw_keys(id);
        desk.register.say_keys(id, keys, &who.name).await?;
    }
    let tenant = Tenant { id, slug: new.slug.clone(), name: name.clone() };
    let things = vec![Inventory::Tenant(tenant), Inventory::Policy(Policy::default())];
    let change = Change { tenant: id, number: 1, after_seq: 0, file_digest: None, by: who.name };
    desk.importer.change(&change, things, vec![], vec![]).await?;
    Ok(made(TenantRow { id: id.0, slug: new.slug, name }))
}

/// One tenant.
#[utoipa::path(
    get, path = "/api/v1/tenants/{slug}", tag = "tenants", params(("slug" = String, Path)),
    responses((status = 200, body = TenantRow), (status = 404))
)]
pub(crate) async fn show(
    State(desk): State<Desk>,
    Caller(who): Caller,
    Path(slug): Path<String>,
) -> Answer<Json<TenantRow>> {
    let id = TenantId::of(&slug);
    let none = || Problem::not_found("there is no such tenant");
    if who.tenant.is_some_and(|own| own != id) {
        return Err(none().into());
    }
    Ok(Json(desk.models.tenant(id).await?.ok_or_else(none)?))
}
