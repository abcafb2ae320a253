//! What people order: one event each, with who ordered it.

use crate::desk::{Answer, Desk, Within, read, request_id};
use axum::{
    Json,
    http::{HeaderMap, StatusCode},
};
use events::{Fact, Order, OrderId, OrderSaid, Say};
use kit::{Outgoing, http::Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest name of somebody.
const NAME_MAX: usize = 200;

/// Who orders something.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ordered {
    /// The person, if the token is used by several. The token's name is noted beside it.
    by: Option<String>,
}

/// An order that was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderStored {
    /// Its id.
    pub(crate) order: Uuid,
    /// Its place in the log.
    pub(crate) seq: u64,
}

/// What an order is answered with.
pub(crate) type Stored = Answer<(StatusCode, Json<OrderStored>)>;

/// Stores an order. `body` may name the person.
pub(crate) async fn place(
    desk: &Desk,
    within: &Within,
    order: Order,
    headers: &HeaderMap,
    body: &[u8],
) -> Stored {
    place_as(desk, within, order, headers, by_whom(within, body)?).await
}

/// The same, with who ordered it.
pub(crate) async fn place_as(
    desk: &Desk,
    within: &Within,
    order: Order,
    headers: &HeaderMap,
    by: String,
) -> Stored {
    let request = request_id(&within.who, headers)?;
    let said = OrderSaid { id: OrderId::of(request), order, by };
    let id = said.id;
    let say =
        Say { id: request, tenant: within.tenant, at: crate::now(), cause: None, fact: Fact::Order(said) };
    let out = Outgoing::new(say, crate::SOURCE).traced(kit::telemetry::current_traceparent());
    let stored = desk.log.publish(out).await?;
    Ok((StatusCode::ACCEPTED, Json(OrderStored { order: id.0, seq: stored.seq })))
}

/// The person that the body names, with the token's name.
pub(crate) fn by_whom(within: &Within, body: &[u8]) -> Answer<String> {
    let ordered: Ordered = if body.is_empty() { Ordered::default() } else { read(body)? };
    by_name(within, ordered.by)
}

/// The same of a person who is named already.
pub(crate) fn by_name(within: &Within, by: Option<String>) -> Answer<String> {
    if by.as_ref().is_some_and(|by| by.is_empty() || by.len() > NAME_MAX) {
        return Err(Problem::malformed(format!("`by` is 1 to {NAME_MAX} bytes")).into());
    }
    let name = &within.who.name;
    Ok(by.map_or_else(|| name.clone(), |person| format!("{person} ({name})")))
}
