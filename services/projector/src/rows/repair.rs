//! What is to be changed on routers, and what was.
//!
//! A router has one plan, the last; every repair is a row of its own.

use super::columns;
use crate::value::{Text, at, json, kept_until, number, some_text, text};
use chrono::{DateTime, Utc};
use events::{NodeId, Plan, Repair};
use kit::projection::Told;
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    plans: BTreeMap<NodeId, (&'a Told, &'a Plan)>,
    repairs: Repairs<'a>,
}

columns! {
    Plans<'a> {
        router: Uuid, state: &'static str, is_managed: bool, since: DateTime<Utc>, version: Option<Text<'a>>,
        findings: Value, obstacles: Value, changes: Value, change_count: i64, error: Option<Text<'a>>, event: Uuid,
        heard_at: DateTime<Utc>, kept_until: Option<DateTime<Utc>>, seq: i64, identity: Option<Text<'a>>,
        board: Option<Text<'a>>, certificate_shown: Option<String>,
    }
    "insert into router_plan (tenant, router, state, is_managed, since, version, findings, obstacles, changes,
         change_count, error, event, heard_at, kept_until, seq, identity, board,
         certificate_shown)
     select $1, * from unnest($2::uuid[], $3::text[], $4::bool[], $5::timestamptz[], $6::text[], $7::jsonb[],
         $8::jsonb[], $9::jsonb[], $10::bigint[], $11::text[], $12::uuid[], $13::timestamptz[], $14::timestamptz[],
         $15::bigint[], $16::text[], $17::text[], $18::text[])
     on conflict (tenant, router) do update set state = excluded.state, is_managed = excluded.is_managed,
         since = excluded.since, version = excluded.version, findings = excluded.findings,
         obstacles = excluded.obstacles, changes = excluded.changes, change_count = excluded.change_count,
         error = excluded.error, event = excluded.event, heard_at = excluded.heard_at,
         kept_until = excluded.kept_until, seq = excluded.seq, identity = excluded.identity, board = excluded.board,
         certificate_shown = excluded.certificate_shown"
}

columns! {
    Repairs<'a> {
        seq: i64, event: Uuid, router: Uuid, plan_event: Uuid, number: i64, outcome: &'static str, menu: Text<'a>,
        change: &'static str, called: Text<'a>, before: Value, after: Value, row_id: Option<Text<'a>>,
        subscriber: Option<Uuid>, error: Option<Text<'a>>, heard_at: DateTime<Utc>, kept_until: Option<DateTime<Utc>>,
    }
    "insert into repair (tenant, seq, event, router, plan_event, number, outcome, menu, change, called, before,
         after, row_id, subscriber, error, heard_at, kept_until)
     select $1, * from unnest($2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::bigint[], $7::text[], $8::text[],
         $9::text[], $10::text[], $11::jsonb[], $12::jsonb[], $13::text[], $14::uuid[], $15::text[],
         $16::timestamptz[], $17::timestamptz[])"
}

pub(super) const STATEMENTS: &[&str] = &[Plans::SQL, Repairs::SQL];

impl<'a> Rows<'a> {
    pub(super) fn planned(&mut self, told: &'a Told, plan: &'a Plan) {
        self.plans.insert(plan.router, (told, plan));
    }

    pub(super) fn repaired(&mut self, told: &'a Told, repair: &'a Repair) {
        let (rows, change) = (&mut self.repairs, &repair.change);
        rows.seq.push(number(told.heard.seq));
        rows.event.push(told.heard.id.0);
        rows.router.push(repair.router.0);
        rows.plan_event.push(repair.plan.0);
        rows.number.push(i64::from(repair.number));
        rows.outcome.push(repair.outcome.name());
        rows.menu.push(text(&change.menu));
        rows.change.push(change.change.name());
        rows.called.push(text(&change.called));
        rows.before.push(json(&change.before));
        rows.after.push(json(&change.after));
        rows.row_id.push(some_text(change.row.as_ref()));
        rows.subscriber.push(repair.subscriber.map(|node| node.0));
        rows.error.push(some_text(repair.error.as_ref()));
        rows.heard_at.push(at(told.heard.heard));
        rows.kept_until.push(kept_until(told));
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        let mut plans = Plans::default();
        for (told, plan) in self.plans.values() {
            plans.router.push(plan.router.0);
            plans.state.push(plan.state.name());
            plans.is_managed.push(plan.managed);
            plans.since.push(at(plan.since));
            plans.version.push(some_text(plan.version.as_ref()));
            plans.findings.push(json(&plan.findings));
            plans.obstacles.push(json(&plan.obstacles));
            plans.changes.push(json(&plan.changes));
            plans.change_count.push(i64::from(plan.change_count));
            plans.error.push(some_text(plan.error.as_ref()));
            plans.event.push(told.heard.id.0);
            plans.heard_at.push(at(told.heard.heard));
            plans.kept_until.push(kept_until(told));
            plans.seq.push(number(told.heard.seq));
            plans.identity.push(some_text(plan.identity.as_ref()));
            plans.board.push(some_text(plan.board.as_ref()));
            plans.certificate_shown.push(plan.certificate_shown.map(|shown| shown.to_string()));
        }
        plans.write(tenant, tx).await?;
        self.repairs.write(tenant, tx).await
    }
}
