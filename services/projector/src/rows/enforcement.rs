//! What subscribers are entitled to, and how far routers show it.
//!
//! Of each thing the last message is the row. Of what is sealed only that it is there is told.

use super::columns;
use crate::value::{Text, at, kept_until, number, some_text, text};
use chrono::{DateTime, Utc};
use events::{
    Cutting, Enforcement, Entitled, Entitlement, EntitlementSaid, NodeId, RouterEnforcement,
    SubscriberEnforcement,
};
use kit::projection::Told;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    entitled: BTreeMap<NodeId, (&'a Told, &'a Entitled, &'a str)>,
    cutting: Option<(&'a Told, &'a Cutting, &'a str)>,
    routers: BTreeMap<NodeId, (&'a Told, &'a RouterEnforcement)>,
    subscribers: BTreeMap<(NodeId, NodeId), (&'a Told, &'a SubscriberEnforcement)>,
}

columns! {
    Entitlements<'a> {
        node: Uuid, state: &'static str, profile: Option<Text<'a>>, up_bps: Option<i64>, down_bps: Option<i64>,
        has_address: bool, has_password: bool, set_by: Text<'a>, event: Uuid, heard_at: DateTime<Utc>,
        kept_until: Option<DateTime<Utc>>, seq: i64,
    }
    "insert into entitlement (tenant, node, state, profile, up_bps, down_bps, has_address, has_password, set_by, event,
         heard_at, kept_until, seq)
     select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bool[], $8::bool[],
         $9::text[], $10::uuid[], $11::timestamptz[], $12::timestamptz[], $13::bigint[])
     on conflict (tenant, node) do update set state = excluded.state, profile = excluded.profile,
         up_bps = excluded.up_bps, down_bps = excluded.down_bps, has_address = excluded.has_address,
         has_password = excluded.has_password, set_by = excluded.set_by, event = excluded.event,
         heard_at = excluded.heard_at, kept_until = excluded.kept_until, seq = excluded.seq"
}

columns! {
    Switches<'a> {
        is_halted: bool, why: Option<Text<'a>>, set_by: Text<'a>, event: Uuid, heard_at: DateTime<Utc>, seq: i64,
    }
    "insert into cutting (tenant, is_halted, why, set_by, event, heard_at, seq)
     select $1, * from unnest($2::bool[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[], $7::bigint[])
     on conflict (tenant) do update set is_halted = excluded.is_halted, why = excluded.why,
         set_by = excluded.set_by, event = excluded.event, heard_at = excluded.heard_at, seq = excluded.seq"
}

columns! {
    Routers<'a> {
        router: Uuid, state: &'static str, since: DateTime<Utc>, entitled_count: i64, active_count: i64,
        held_count: i64, held_plan: Option<Uuid>, error: Option<Text<'a>>, event: Uuid, heard_at: DateTime<Utc>,
        kept_until: Option<DateTime<Utc>>, seq: i64,
    }
    "insert into router_enforcement (tenant, router, state, since, entitled_count, active_count, held_count, held_plan,
         error, event, heard_at, kept_until, seq)
     select $1, * from unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::uuid[], $9::text[], $10::uuid[], $11::timestamptz[], $12::timestamptz[], $13::bigint[])
     on conflict (tenant, router) do update set state = excluded.state, since = excluded.since,
         entitled_count = excluded.entitled_count, active_count = excluded.active_count,
         held_count = excluded.held_count, held_plan = excluded.held_plan, error = excluded.error,
         event = excluded.event, heard_at = excluded.heard_at, kept_until = excluded.kept_until, seq = excluded.seq"
}

columns! {
    Subscribers<'a> {
        node: Uuid, router: Uuid, state: &'static str, since: DateTime<Utc>, wanted: Uuid,
        wanted_since: DateTime<Utc>, in_force_since: Option<DateTime<Utc>>, attempt_count: i64,
        cut_at: Option<DateTime<Utc>>, not_ours: Option<Text<'a>>, error: Option<Text<'a>>, event: Uuid,
        heard_at: DateTime<Utc>, kept_until: Option<DateTime<Utc>>, seq: i64,
    }
    "insert into enforcement (tenant, node, router, state, since, wanted, wanted_since, in_force_since, attempt_count,
         cut_at, not_ours, error, event, heard_at, kept_until, seq)
     select $1, * from unnest($2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::uuid[], $7::timestamptz[],
         $8::timestamptz[], $9::bigint[], $10::timestamptz[], $11::text[], $12::text[], $13::uuid[],
         $14::timestamptz[], $15::timestamptz[], $16::bigint[])
     on conflict (tenant, node, router) do update set state = excluded.state, since = excluded.since,
         wanted = excluded.wanted, wanted_since = excluded.wanted_since, in_force_since = excluded.in_force_since,
         attempt_count = excluded.attempt_count, cut_at = excluded.cut_at, not_ours = excluded.not_ours,
         error = excluded.error, event = excluded.event, heard_at = excluded.heard_at,
         kept_until = excluded.kept_until, seq = excluded.seq"
}

pub(super) const STATEMENTS: &[&str] = &[Entitlements::SQL, Switches::SQL, Routers::SQL, Subscribers::SQL];

impl<'a> Rows<'a> {
    pub(super) fn entitle(&mut self, told: &'a Told, said: &'a EntitlementSaid) {
        match &said.now {
            Entitlement::Subscriber(entitled) => {
                self.entitled.insert(entitled.node, (told, entitled, &said.by));
            }
            Entitlement::Cutting(cutting) => self.cutting = Some((told, cutting, &said.by)),
        }
    }

    pub(super) fn enforce(&mut self, told: &'a Told, now: &'a Enforcement) {
        match now {
            Enforcement::Router(now) => _ = self.routers.insert(now.router, (told, now)),
            Enforcement::Subscriber(now) => _ = self.subscribers.insert((now.node, now.router), (told, now)),
        }
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        let mut rows = Entitlements::default();
        for (told, now, by) in self.entitled.into_values() {
            rows.node.push(now.node.0);
            rows.state.push(now.state.name());
            rows.profile.push(some_text(now.profile.as_ref()));
            rows.up_bps.push(now.rate.map(|rate| number(rate.up_bps)));
            rows.down_bps.push(now.rate.map(|rate| number(rate.down_bps)));
            rows.has_address.push(now.address.is_some());
            rows.has_password.push(now.password.is_some());
            rows.set_by.push(text(by));
            rows.event.push(told.heard.id.0);
            rows.heard_at.push(at(told.heard.heard));
            rows.kept_until.push(kept_until(told));
            rows.seq.push(number(told.heard.seq));
        }
        rows.write(tenant, tx).await?;
        let mut rows = Switches::default();
        if let Some((told, now, by)) = self.cutting {
            rows.is_halted.push(now.halted);
            rows.why.push(some_text(now.why.as_ref()));
            rows.set_by.push(text(by));
            rows.event.push(told.heard.id.0);
            rows.heard_at.push(at(told.heard.heard));
            rows.seq.push(number(told.heard.seq));
        }
        rows.write(tenant, tx).await?;
        let mut rows = Routers::default();
        for (told, now) in self.routers.into_values() {
            rows.router.push(now.router.0);
            rows.state.push(now.state.name());
            rows.since.push(at(now.since));
            rows.entitled_count.push(now.entitled_count.into());
            rows.active_count.push(now.active_count.into());
            rows.held_count.push(now.held_count.into());
            rows.held_plan.push(now.held.map(|plan| plan.0));
            rows.error.push(some_text(now.error.as_ref()));
            rows.event.push(told.heard.id.0);
            rows.heard_at.push(at(told.heard.heard));
            rows.kept_until.push(kept_until(told));
            rows.seq.push(number(told.heard.seq));
        }
        rows.write(tenant, tx).await?;
        let mut rows = Subscribers::default();
        for (told, now) in self.subscribers.into_values() {
            rows.node.push(now.node.0);
            rows.router.push(now.router.0);
            rows.state.push(now.state.name());
            rows.since.push(at(now.since));
            rows.wanted.push(now.wanted.0);
            rows.wanted_since.push(at(now.wanted_since));
            rows.in_force_since.push(now.in_force_since.map(at));
            rows.attempt_count.push(now.attempts.into());
            rows.cut_at.push(now.cut_at.map(at));
            rows.not_ours.push(some_text(now.not_ours.as_ref()));
            rows.error.push(some_text(now.error.as_ref()));
            rows.event.push(told.heard.id.0);
            rows.heard_at.push(at(told.heard.heard));
            rows.kept_until.push(kept_until(told));
            rows.seq.push(number(told.heard.seq));
        }
        rows.write(tenant, tx).await
    }
}
