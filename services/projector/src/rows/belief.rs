//! What is claimed and believed: session claims, suspicions, health.

use super::{columns, delete};
use crate::value::{Text, at, kept_until, number, small, some_text, text};
use crate::words;
use chrono::{DateTime, Utc};
use events::{
    About, ClaimKey, Evidence, Flag, HealthKind, HealthSaid, NodeHealth, NodeId, Signal, Suspicion,
    SuspicionKind, SuspicionSaid,
};
use kit::projection::Told;
use sqlx::{PgConnection, types::Json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// How long a sealed name and what was said of it stays (design, section 7): 7 days.
const CLAIM_MS: i64 = 7 * 24 * 3_600_000;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    claims: BTreeMap<ClaimKey, (&'a Told, &'a Signal)>,
    suspicions: BTreeMap<NodeId, (&'a Told, Option<&'a Suspicion>)>,
    health: BTreeMap<NodeId, (&'a Told, Option<&'a NodeHealth>)>,
}

columns! {
    Claims<'a> {
        claim: Uuid, says: &'static str, source: &'static str, sender: Option<Uuid>, sealed_name: Option<Text<'a>>,
        detail: Option<Text<'a>>, claimed_at: DateTime<Utc>, heard_at: DateTime<Utc>, kept_until: DateTime<Utc>,
        seq: i64,
    }
    "insert into session_claim (tenant, claim, says, source, sender, sealed_name, detail, claimed_at, heard_at,
         kept_until, seq)
     select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[],
         $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::bigint[])
     on conflict (tenant, claim) do update set says = excluded.says, source = excluded.source,
         sender = excluded.sender, sealed_name = excluded.sealed_name, detail = excluded.detail,
         claimed_at = excluded.claimed_at, heard_at = excluded.heard_at, kept_until = excluded.kept_until,
         seq = excluded.seq"
}

columns! {
    Suspicions {
        node: Uuid, since: DateTime<Utc>, source: &'static str, sender: Option<Uuid>, claim_event: Uuid,
        asked_count: i32, held_until: Option<DateTime<Utc>>, heard_at: DateTime<Utc>, kept_until: Option<DateTime<Utc>>, seq: i64,
    }
    "insert into suspicion (tenant, node, since, source, sender, claim_event, asked_count, held_until,
         heard_at, kept_until, seq)
     select $1, * from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::uuid[], $6::uuid[], $7::int[],
         $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::bigint[])
     on conflict (tenant, node) do update set since = excluded.since, source = excluded.source,
         sender = excluded.sender, claim_event = excluded.claim_event, asked_count = excluded.asked_count, held_until = excluded.held_until,
         heard_at = excluded.heard_at, kept_until = excluded.kept_until, seq = excluded.seq"
}

columns! {
    Beliefs<'a> {
        node: Uuid, health: &'static str, flags: String, since: DateTime<Utc>, claimed_at: Option<DateTime<Utc>>,
        roots: String, confidence_percent: i32, evidence: Json<&'a [Evidence]>, event: Uuid, cause: Option<Uuid>,
        heard_at: DateTime<Utc>, kept_until: Option<DateTime<Utc>>, seq: i64,
    }
    "insert into health (tenant, node, health, flags, since, claimed_at, roots, confidence_percent, evidence, event,
         cause, heard_at, kept_until, seq)
     select $1, k.node, k.health, string_to_array(k.flags, ','), k.since, k.claimed_at,
         string_to_array(k.roots, ',')::uuid[], k.confidence, k.evidence, k.event, k.cause, k.heard_at, k.kept_until, k.seq
     from unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::int[],
         $9::jsonb[], $10::uuid[], $11::uuid[], $12::timestamptz[], $13::timestamptz[], $14::bigint[])
         as k (node, health, flags, since, claimed_at, roots, confidence, evidence, event, cause, heard_at, kept_until, seq)
     on conflict (tenant, node) do update set health = excluded.health, flags = excluded.flags,
         since = excluded.since, claimed_at = excluded.claimed_at, roots = excluded.roots,
         confidence_percent = excluded.confidence_percent, evidence = excluded.evidence, event = excluded.event,
         cause = excluded.cause, heard_at = excluded.heard_at, kept_until = excluded.kept_until, seq = excluded.seq"
}

const NO_SUSPICION: &str = "delete from suspicion where tenant = $1 and node = any($2)";
const NO_HEALTH: &str = "delete from health where tenant = $1 and node = any($2)";

pub(super) const STATEMENTS: &[&str] = &[Claims::SQL, Suspicions::SQL, Beliefs::SQL, NO_SUSPICION, NO_HEALTH];

impl<'a> Rows<'a> {
    pub(super) fn claim(&mut self, told: &'a Told, signal: &'a Signal) {
        match signal.about {
            About::Session(key) => {
                self.claims.insert(key, (told, signal));
            }
            About::Node(_) => {} // Seen in what it leads to: a suspicion, a change of health.
        }
    }

    pub(super) fn suspect(&mut self, told: &'a Told, said: &'a SuspicionSaid) {
        let open = match said.kind {
            SuspicionKind::Raised | SuspicionKind::Pursued => Some(&said.now),
            SuspicionKind::Settled => None,
        };
        self.checked(said.now.node, told, open);
    }

    /// What is being checked of a node after this was said, unless something later was. Facts come in the order of
    /// their subjects.
    fn checked(&mut self, node: NodeId, told: &'a Told, open: Option<&'a Suspicion>) {
        if self.suspicions.get(&node).is_none_or(|(last, _)| last.heard.seq < told.heard.seq) {
            self.suspicions.insert(node, (told, open));
        }
    }

    pub(super) fn believe(&mut self, told: &'a Told, said: &'a HealthSaid) {
        let now = match said.kind {
            HealthKind::Changed | HealthKind::Noted | HealthKind::Restated => Some(&said.now),
            HealthKind::Retired => None,
        };
        self.health.insert(said.now.node, (told, now));
        // A word about its health is how a suspicion ends; `Settled` is said only where that stays as it was.
        self.checked(said.now.node, told, None);
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        claims(&self.claims).write(tenant, tx).await?;
        delete(NO_SUSPICION, tenant, &gone(&self.suspicions), tx).await?;
        suspicions(&self.suspicions).write(tenant, tx).await?;
        delete(NO_HEALTH, tenant, &gone(&self.health), tx).await?;
        beliefs(&self.health).write(tenant, tx).await
    }
}

fn gone<V>(last: &BTreeMap<NodeId, (&Told, Option<&V>)>) -> Vec<Uuid> {
    last.iter().filter(|(_, (_, now))| now.is_none()).map(|(id, _)| id.0).collect()
}

fn claims<'a>(last: &BTreeMap<ClaimKey, (&'a Told, &'a Signal)>) -> Claims<'a> {
    let mut rows = Claims::default();
    for (key, (told, signal)) in last {
        rows.claim.push(key.0);
        rows.says.push(words::claim(signal.says));
        rows.source.push(words::source(signal.source));
        rows.sender.push(signal.sender.map(|n| n.0));
        rows.sealed_name.push(signal.sealed_name.as_ref().map(|s| text(&s.0)));
        rows.detail.push(some_text(signal.detail.as_ref()));
        rows.claimed_at.push(at(told.heard.at));
        rows.heard_at.push(at(told.heard.heard));
        rows.kept_until.push(claim_kept_until(told));
        rows.seq.push(number(told.heard.seq));
    }
    rows
}

/// Seven days, or as long as the log keeps the claim if that is less.
fn claim_kept_until(told: &Told) -> DateTime<Utc> {
    let own = at(told.heard.heard.plus_ms(CLAIM_MS));
    kept_until(told).map_or(own, |log| log.min(own))
}

fn suspicions(last: &BTreeMap<NodeId, (&Told, Option<&Suspicion>)>) -> Suspicions {
    let mut rows = Suspicions::default();
    for (told, now) in last.values() {
        let Some(now) = now else { continue };
        rows.node.push(now.node.0);
        rows.since.push(at(now.since));
        rows.source.push(words::source(now.source));
        rows.sender.push(now.sender.map(|n| n.0));
        rows.claim_event.push(now.claim.0);
        rows.asked_count.push(small(now.asked.len()));
        rows.held_until.push(now.held_until.map(at));
        rows.heard_at.push(at(told.heard.heard));
        rows.kept_until.push(kept_until(told));
        rows.seq.push(number(told.heard.seq));
    }
    rows
}

fn beliefs<'a>(last: &BTreeMap<NodeId, (&'a Told, Option<&'a NodeHealth>)>) -> Beliefs<'a> {
    let mut rows = Beliefs::default();
    for (told, now) in last.values() {
        let Some(now) = now else { continue };
        rows.node.push(now.node.0);
        rows.health.push(words::health(now.health));
        rows.flags.push(flags(&now.flags));
        rows.since.push(at(now.since));
        rows.claimed_at.push(now.at.map(at));
        rows.roots.push(ids(&now.roots));
        rows.confidence_percent.push(confidence(&now.evidence));
        rows.evidence.push(Json(&now.evidence));
        rows.event.push(told.heard.id.0);
        rows.cause.push(told.cause.map(|c| c.0));
        rows.heard_at.push(at(told.heard.heard));
        rows.kept_until.push(kept_until(told));
        rows.seq.push(number(told.heard.seq));
    }
    rows
}

/// How sure it is, percent.
fn confidence(evidence: &[Evidence]) -> i32 {
    i32::try_from(Evidence::confidence(evidence)).unwrap_or(100)
}

fn flags(flags: &[Flag]) -> String {
    flags.iter().map(|f| words::flag(*f)).collect::<Vec<_>>().join(",")
}

pub(super) fn ids(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}
