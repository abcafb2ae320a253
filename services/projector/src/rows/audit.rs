//! Who did what: changes of access, of the inventory and of what subscribers are entitled to, and orders; and who was turned away.
//!
//! Every message is a row of its own. Sealed keys and digests of tokens never come here.

use super::columns;
use crate::value::{Text, at, json, kept_until, number, text};
use chrono::{DateTime, Utc};
use events::{
    AUDITED, Access, AccessSaid, Entitlement, EntitlementSaid, Order, OrderSaid, Refusal, Revision,
};
use kit::projection::Told;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    rows: Audit<'a>,
}

columns! {
    Audit<'a> {
        seq: i64, event: Uuid, heard_at: DateTime<Utc>, done_by: Text<'a>, what: &'static str, subject: String,
        detail: Value, kept_until: Option<DateTime<Utc>>,
    }
    "insert into audit (tenant, seq, event, heard_at, done_by, what, subject, detail, kept_until)
     select $1, * from unnest($2::bigint[], $3::uuid[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
         $8::jsonb[], $9::timestamptz[])"
}

pub(super) const STATEMENTS: &[&str] = &[Audit::SQL];

impl<'a> Rows<'a> {
    pub(super) fn granted(&mut self, told: &'a Told, said: &'a AccessSaid) {
        let (what, subject, detail) = match &said.now {
            Access::Token(token) => (
                if token.revoked { "token_revoked" } else { "token_granted" },
                token.prefix.as_str(),
                serde_json::json!({ "name": token.name, "grant": token.grant, "networks": token.networks }),
            ),
            Access::Keys(_) => ("keys_set", "keys", serde_json::json!({})),
        };
        self.push(told, &said.by, (what, text(subject).into_owned(), detail));
    }

    pub(super) fn revised(&mut self, told: &'a Told, revision: &'a Revision) {
        let detail = serde_json::json!({ "source": revision.source });
        self.push(told, &revision.by, ("inventory_changed", revision.number.to_string(), detail));
    }

    pub(super) fn entitled(&mut self, told: &'a Told, said: &'a EntitlementSaid) {
        let (what, subject, detail) = match &said.now {
            Entitlement::Subscriber(now) => {
                let detail = serde_json::json!({
                    "state": now.state, "profile": now.profile, "rate": now.rate,
                    "has_address": now.address.is_some(), "has_password": now.password.is_some(),
                });
                ("entitlement_set", now.node.to_string(), detail)
            }
            Entitlement::Cutting(now) => {
                let detail = serde_json::json!({ "halted": now.halted, "why": now.why });
                ("cutting_set", "cutting".to_owned(), detail)
            }
        };
        self.push(told, &said.by, (what, subject, detail));
    }

    pub(super) fn ordered(&mut self, told: &'a Told, said: &'a OrderSaid) {
        let (what, subject, detail) = match &said.order {
            Order::Acknowledge { incident } => ("acknowledge", incident.to_string(), serde_json::json!({})),
            Order::CloseAsWrong { incident } => {
                ("close_as_wrong", incident.to_string(), serde_json::json!({}))
            }
            Order::DrawPlan { router } => ("draw_plan", router.to_string(), serde_json::json!({})),
            Order::Repair { router } => ("repair", router.to_string(), serde_json::json!({})),
            Order::CutHeld { router, plan } => {
                ("cut_held", router.to_string(), serde_json::json!({ "plan": plan }))
            }
            Order::Scan { router } => ("scan", router.to_string(), serde_json::json!({})),
            Order::AddSighting { sighting, node } => {
                ("add_sighting", sighting.to_string(), serde_json::json!({ "node": node }))
            }
            Order::RejectSighting { sighting } => {
                ("reject_sighting", sighting.to_string(), serde_json::json!({}))
            }
            Order::OpenSightings { count } => {
                ("open_sightings", String::new(), serde_json::json!({ "count": count }))
            }
            Order::LiveCheck { node, hops } => {
                ("live_check", node.to_string(), serde_json::json!({ "hops": hops.len() }))
            }
        };
        self.push(told, &said.by, (what, subject, detail));
    }

    pub(super) fn refused(&mut self, told: &'a Told, refusal: &'a Refusal) {
        let detail = serde_json::json!({
            "reason": refusal.reason, "count": refusal.count, "first": refusal.first, "last": refusal.last,
            "detail": refusal.detail,
        });
        let from = refusal.source.map(|source| source.to_string()).unwrap_or_default();
        self.push(told, refusal.token.as_deref().unwrap_or_default(), ("refused", from, detail));
    }

    fn push(&mut self, told: &Told, by: &'a str, done: (&'static str, String, Value)) {
        debug_assert!(AUDITED.contains(&done.0), "{} is not among what the API knows", done.0);
        let rows = &mut self.rows;
        rows.seq.push(number(told.heard.seq));
        rows.event.push(told.heard.id.0);
        rows.heard_at.push(at(told.heard.heard));
        rows.done_by.push(text(by));
        rows.what.push(done.0);
        rows.subject.push(done.1);
        rows.detail.push(json(&done.2));
        rows.kept_until.push(kept_until(told));
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        self.rows.write(tenant, tx).await
    }
}
