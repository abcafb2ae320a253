//! Identifiers: types, never bare strings, and derived from what they name.
//!
//! The same fact has the same identifier wherever and however often it is worked out. Only a
//! claim that arrives at the edge without any identity of its own gets a fresh one, there.

use crate::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr};
use uuid::Uuid;

/// Under this everything derived lives; itself derived from the project's name.
const ROOT: Uuid = Uuid::from_u128(0x6d61_7374_7761_5463_8068_6e65_742e_6d77);

fn derive(space: Uuid, parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(parts.iter().map(|p| p.len() + 1).sum());
    for part in parts {
        name.extend_from_slice(part);
        name.push(0);
    }
    Uuid::new_v5(&space, &name)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        /// As numbers: the order of the bytes, found without a call for every comparison.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.as_u128().cmp(&other.0.as_u128())
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(s).map(Self)
            }
        }
    )*};
}

ids! {
    /// One ISP. Nothing crosses from one tenant to another.
    TenantId;
    /// A physical place.
    SiteId;
    /// Anything in the dependency graph.
    NodeId;
    /// One event in the log (`ce-id`).
    EventId;
    /// A probe wanted.
    AskId;
    /// One outage.
    IncidentId;
    /// One message to one audience about one change of one incident.
    NoticeId;
    /// Something a person asked for.
    OrderId;
    /// A way to reach people.
    ChannelId;
    /// A keyed hash of (router, kind, user name or MAC): names a subscriber's service without naming the person.
    ClaimKey;
    /// Names what is to be done on a router, so that whoever says yes says it to that and nothing else.
    PlanDigest;
    /// A keyed hash of what a device that routers see is told apart by: its MAC or its software's id.
    SightingId;
}

impl TenantId {
    /// The tenant an operator calls `slug`.
    pub fn of(slug: &str) -> Self {
        Self(derive(ROOT, &[b"tenant", slug.as_bytes()]))
    }

    /// Under whom the operator's own facts are kept: a tenant that nobody can be, as its slug is empty.
    pub fn operator() -> Self {
        Self::of("")
    }
}

impl SiteId {
    /// The site a network file calls `id`.
    pub fn of(tenant: TenantId, id: &str) -> Self {
        Self(derive(tenant.0, &[b"site", id.as_bytes()]))
    }
}

impl NodeId {
    /// The device, link or other node a network file calls `id`.
    pub fn of(tenant: TenantId, id: &str) -> Self {
        Self(derive(tenant.0, &[b"node", id.as_bytes()]))
    }

    /// A point of presence, where it is named as the cause of what is not known.
    pub fn of_pop(tenant: TenantId, pop: &str) -> Self {
        Self(derive(tenant.0, &[b"pop", pop.as_bytes()]))
    }

    /// The subscriber whose service the operator's books call `account`.
    pub fn of_account(tenant: TenantId, account: &str) -> Self {
        Self(derive(tenant.0, &[b"account", account.as_bytes()]))
    }
}

impl ChannelId {
    /// The channel an operator calls `name`.
    pub fn of(tenant: TenantId, name: &str) -> Self {
        Self(derive(tenant.0, &[b"channel", name.as_bytes()]))
    }
}

impl EventId {
    /// What `service` says as consequence `what` of `cause`.
    pub fn following(cause: EventId, service: &str, what: &str) -> Self {
        Self(derive(cause.0, &[service.as_bytes(), what.as_bytes()]))
    }

    /// The fact that `sender` numbered `seq` within its `boot`.
    pub fn numbered(sender: NodeId, boot: &str, seq: u64) -> Self {
        Self(derive(sender.0, &[b"signal", boot.as_bytes(), &seq.to_be_bytes()]))
    }

    /// Message `part` of what `source` measured at `router` for the moment `due` of its schedule.
    pub fn of_samples(router: NodeId, source: &str, due: Time, part: u32) -> Self {
        Self(derive(router.0, &[b"samples", source.as_bytes(), &due.us().to_be_bytes(), &part.to_be_bytes()]))
    }

    /// The request that the holder of the token with public prefix `token` gave an idempotency key.
    pub fn idempotent(token: &str, key: &str) -> Self {
        Self(derive(ROOT, &[b"request", token.as_bytes(), key.as_bytes()]))
    }
}

impl AskId {
    /// The `n`th ask about `target` that follows from `cause`.
    pub fn of(cause: EventId, target: NodeId, n: u32) -> Self {
        Self(derive(cause.0, &[b"ask", target.0.as_bytes(), &n.to_be_bytes()]))
    }
}

impl IncidentId {
    /// The incident that the verdict `cause` opened.
    pub fn of(cause: EventId) -> Self {
        Self(derive(cause.0, &[b"incident"]))
    }
}

impl NoticeId {
    /// One notice per incident, audience, contact (channel), phase and step.
    pub fn of(incident: IncidentId, audience: &str, contact: ChannelId, phase: &str, step: u32) -> Self {
        Self(derive(
            incident.0,
            &[b"notice", audience.as_bytes(), contact.0.as_bytes(), phase.as_bytes(), &step.to_be_bytes()],
        ))
    }
}

impl OrderId {
    /// The order that arrived as request `request`.
    pub fn of(request: EventId) -> Self {
        Self(derive(request.0, &[b"order"]))
    }
}

impl PlanDigest {
    /// What it would take at `router` to bring these entitlements into force, in this order.
    pub fn of(router: NodeId, wanted: impl IntoIterator<Item = EventId>) -> Self {
        let ids: Vec<u8> = wanted.into_iter().flat_map(|id| *id.0.as_bytes()).collect();
        Self(derive(router.0, &[b"plan", &ids]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_gives_the_same_id_and_another_tenant_another() {
        let (a, b) = (TenantId::of("hillside"), TenantId::of("valley"));
        assert_eq!(NodeId::of(a, "core-1"), NodeId::of(a, "core-1"));
        assert_ne!(NodeId::of(a, "core-1"), NodeId::of(b, "core-1"));
        assert_ne!(NodeId::of(a, "1"), NodeId::of_account(a, "1"));
    }

    #[test]
    fn ids_stand_in_the_order_of_their_bytes_and_so_of_their_texts() {
        let ids: Vec<NodeId> = (0..200).map(|n| NodeId::of(TenantId::of("t"), &n.to_string())).collect();
        for (a, b) in ids.iter().zip(ids.iter().rev()) {
            assert_eq!(a.cmp(b), a.0.as_bytes().cmp(b.0.as_bytes()));
            assert_eq!(a.cmp(b), a.to_string().cmp(&b.to_string()));
        }
    }

    #[test]
    fn parts_of_a_name_do_not_run_together() {
        let s = NodeId::of(TenantId::of("t"), "r");
        assert_ne!(EventId::numbered(s, "ab", 1), EventId::numbered(s, "a", 1));
    }
}
