//! Outages: what each is, what caused it, and its story.
//!
//! The last thing said of an incident is its row and its causes; everything said is its story.

use super::{columns, delete};
use crate::value::{Text, at, json, number, small, some_text, text};
use crate::words;
use chrono::{DateTime, Utc};
use events::{Evidence, Incident, IncidentId, IncidentSaid};
use kit::projection::Told;
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    last: BTreeMap<IncidentId, (&'a Told, &'a Incident)>,
    story: Vec<(&'a Told, &'a IncidentSaid)>,
}

columns! {
    Incidents<'a> {
        id: Uuid, state: &'static str, class: &'static str, title: Text<'a>, urgency: &'static str,
        tier: &'static str, site: Option<Uuid>, site_name: Option<Text<'a>>, site_address: Option<Text<'a>>,
        owner_account: Option<Text<'a>>, owner_ticket_url: Option<Text<'a>>, opened_at: DateTime<Utc>,
        ended_at: Option<DateTime<Utc>>, ended_because: Option<Text<'a>>, merged_into: Option<Uuid>,
        acknowledged_by: Option<Text<'a>>, subscriber_count: i64, site_count: i64, at_risk_count: i64,
        observed_count: i64, impact: Value, site_hypothesis: Option<Value>, blind: Option<Value>, heard_at: DateTime<Utc>, seq: i64,
    }
    "insert into incident (tenant, id, state, class, title, urgency, tier, site, site_name, site_address,
         owner_account, owner_ticket_url, opened_at, ended_at, ended_because, merged_into, acknowledged_by,
         subscriber_count, site_count, at_risk_count, observed_count, impact, site_hypothesis, blind, heard_at, seq)
     select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
         $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::text[],
         $16::uuid[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::jsonb[],
         $23::jsonb[], $24::jsonb[], $25::timestamptz[], $26::bigint[])
     on conflict (tenant, id) do update set state = excluded.state, class = excluded.class,
         title = excluded.title, urgency = excluded.urgency, tier = excluded.tier, site = excluded.site,
         site_name = excluded.site_name, site_address = excluded.site_address,
         owner_account = excluded.owner_account, owner_ticket_url = excluded.owner_ticket_url,
         opened_at = excluded.opened_at, ended_at = excluded.ended_at, ended_because = excluded.ended_because,
         merged_into = excluded.merged_into, acknowledged_by = excluded.acknowledged_by,
         subscriber_count = excluded.subscriber_count, site_count = excluded.site_count,
         at_risk_count = excluded.at_risk_count, observed_count = excluded.observed_count,
         impact = excluded.impact, site_hypothesis = excluded.site_hypothesis, blind = excluded.blind, heard_at = excluded.heard_at, seq = excluded.seq"
}

columns! {
    Causes<'a> {
        incident: Uuid, ordinal: i32, node: Uuid, name: Text<'a>, tier: &'static str, is_primary: bool,
        is_down: bool, is_quiet: bool, since: DateTime<Utc>, confidence_percent: i64,
        evidence: Json<&'a [Evidence]>, seq: i64,
    }
    "insert into incident_cause (tenant, incident, ordinal, node, name, tier, is_primary, is_down, is_quiet, since,
         confidence_percent, evidence, seq)
     select $1, * from unnest($2::uuid[], $3::int[], $4::uuid[], $5::text[], $6::text[], $7::bool[], $8::bool[],
         $9::bool[], $10::timestamptz[], $11::bigint[], $12::jsonb[], $13::bigint[])"
}

columns! {
    Story<'a> {
        incident: Uuid, seq: i64, event: Uuid, cause: Option<Uuid>, kind: &'static str, state: &'static str, title: Text<'a>,
        what: Option<Text<'a>>, subscriber_count: i64, heard_at: DateTime<Utc>,
    }
    "insert into incident_event (tenant, incident, seq, event, cause, kind, state, title, what,
         subscriber_count, heard_at)
     select $1, * from unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[],
         $9::text[], $10::bigint[], $11::timestamptz[])"
}

const NO_CAUSES: &str = "delete from incident_cause where tenant = $1 and incident = any($2)";

pub(super) const STATEMENTS: &[&str] = &[Incidents::SQL, Causes::SQL, Story::SQL, NO_CAUSES];

impl<'a> Rows<'a> {
    pub(super) fn take(&mut self, told: &'a Told, said: &'a IncidentSaid) {
        self.last.insert(said.now.id, (told, &said.now));
        self.story.push((told, said));
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        let ids: Vec<Uuid> = self.last.keys().map(|id| id.0).collect();
        delete(NO_CAUSES, tenant, &ids, tx).await?;
        let (mut incidents, mut causes, mut story) =
            (Incidents::default(), Causes::default(), Story::default());
        for (told, now) in self.last.values() {
            incident_row(&mut incidents, told, now);
            cause_rows(&mut causes, told, now);
        }
        for (told, said) in self.story {
            story_row(&mut story, told, said);
        }
        incidents.write(tenant, tx).await?;
        causes.write(tenant, tx).await?;
        story.write(tenant, tx).await
    }
}

fn incident_row<'a>(rows: &mut Incidents<'a>, told: &Told, now: &'a Incident) {
    let owner = now.owner.as_ref();
    rows.id.push(now.id.0);
    rows.state.push(words::incident_state(now.state));
    rows.class.push(words::incident_class(now.class));
    rows.title.push(text(&now.title));
    rows.urgency.push(words::urgency(now.urgency));
    rows.tier.push(words::tier(now.tier));
    rows.site.push(now.site.map(|s| s.0));
    rows.site_name.push(some_text(now.site_name.as_ref()));
    rows.site_address.push(some_text(now.site_address.as_ref()));
    rows.owner_account.push(owner.map(|o| text(&o.account)));
    rows.owner_ticket_url.push(owner.and_then(|o| some_text(o.ticket_url.as_ref())));
    rows.opened_at.push(at(now.opened_at));
    rows.ended_at.push(now.ended_at.map(at));
    rows.ended_because.push(some_text(now.ended_because.as_ref()));
    rows.merged_into.push(now.merged_into.map(|i| i.0));
    rows.acknowledged_by.push(some_text(now.acknowledged_by.as_ref()));
    rows.subscriber_count.push(i64::from(now.impact.subscribers));
    rows.site_count.push(i64::from(now.impact.sites));
    rows.at_risk_count.push(i64::from(now.impact.at_risk));
    rows.observed_count.push(i64::from(now.impact.observed));
    rows.impact.push(json(&now.impact));
    rows.site_hypothesis.push(now.site_hypothesis.as_ref().map(json));
    rows.blind.push(now.blind.as_ref().map(json));
    rows.heard_at.push(at(told.heard.heard));
    rows.seq.push(number(told.heard.seq));
}

fn cause_rows<'a>(rows: &mut Causes<'a>, told: &Told, now: &'a Incident) {
    for (ordinal, root) in now.roots.iter().enumerate() {
        rows.incident.push(now.id.0);
        rows.ordinal.push(small(ordinal));
        rows.node.push(root.node.0);
        rows.name.push(text(&root.name));
        rows.tier.push(words::tier(root.tier));
        rows.is_primary.push(root.primary);
        // Where only the sessions below it are lost, it works itself.
        rows.is_down.push(root.down && root.subscribers_below.is_none());
        rows.is_quiet.push(root.quiet);
        rows.since.push(at(root.since));
        rows.confidence_percent.push(i64::from(root.confidence));
        rows.evidence.push(Json(&root.evidence));
        rows.seq.push(number(told.heard.seq));
    }
}

fn story_row<'a>(rows: &mut Story<'a>, told: &Told, said: &'a IncidentSaid) {
    rows.incident.push(said.now.id.0);
    rows.seq.push(number(told.heard.seq));
    rows.event.push(told.heard.id.0);
    rows.cause.push(told.cause.map(|c| c.0));
    rows.kind.push(words::incident_kind(said.kind));
    rows.state.push(words::incident_state(said.now.state));
    rows.title.push(text(&said.now.title));
    rows.what.push(said.now.timeline.last().map(|line| text(&line.what)));
    rows.subscriber_count.push(i64::from(said.now.impact.subscribers));
    rows.heard_at.push(at(told.heard.heard));
}
