//! The ISP that most tests look at: imported, and a token of its own.

use super::{Ground, ground, small};
use events::{NodeId, TenantId};

pub(crate) const SLUG: &str = "hillside";

pub(crate) fn tenant() -> TenantId {
    TenantId::of(SLUG)
}

pub(crate) fn node(id: &str) -> NodeId {
    NodeId::of(tenant(), id)
}

pub(crate) async fn hillside() -> (Ground, String) {
    let g = ground().await;
    g.imported(&small(SLUG)).await;
    let token = g.token(SLUG).await;
    (g, token)
}
