//! When nodes did not work: what follows from their health over time.
//!
//! Nobody says a downtime; it is the time from the word that a node is down or impacted to the
//! next word that it is something else. Down and then impacted by something above are two,
//! one after the other, because they have two causes. A node of which nothing is known any more is
//! not counted on: its downtime ends there.
//!
//! A row follows from the last word within its time and the word that ended it, and is kept as long as the
//! first of the two. So a log that has forgotten what lies before gives the same rows.

use super::{belief, columns};
use crate::value::{at, kept_until, number};
use crate::words;
use chrono::{DateTime, Utc};
use events::{Health, HealthKind, HealthSaid, Learned, NodeHealth, NodeId, Time};
use kit::projection::Told;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    /// What ended that which ran before these rows, and which beginning it does not end.
    ended: BTreeMap<NodeId, (End<'a>, Option<Time>)>,
    /// By node and since when it was believed.
    times: BTreeMap<(NodeId, Time), Lost<'a>>,
    /// The one that runs at the end of what was heard.
    running: BTreeMap<NodeId, Option<Time>>,
}

#[derive(Debug, Clone, Copy)]
struct End<'a> {
    at: Time,
    told: &'a Told,
    learned: Option<Learned>,
}

#[derive(Debug)]
struct Lost<'a> {
    told: &'a Told,
    now: &'a NodeHealth,
    end: Option<End<'a>>,
}

columns! {
    /// `offset 0` has what runs looked up node by node. Left to itself, Postgres may instead go through everything of the
    /// tenant that runs, for each chunk again: in an outage that is all of it.
    Ended {
        node: Uuid, until_at: DateTime<Utc>, goes_on: Option<DateTime<Utc>>, ended_by: Option<&'static str>,
        heard_at: DateTime<Utc>, seq: i64,
    }
    "update downtime d set until_at = greatest(d.from_at, e.until_at),
         duration_ms = floor(extract(epoch from greatest(d.from_at, e.until_at) - d.from_at) * 1000)::bigint,
         ended_by = e.ended_by, heard_at = e.heard_at, seq = e.seq
     from unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::timestamptz[], $7::bigint[])
         as e (node, until_at, goes_on, ended_by, heard_at, seq)
     cross join lateral (select o.ctid as place from downtime o
         where o.tenant = $1 and o.node = e.node and o.until_at is null and o.believed_at is distinct from e.goes_on
         offset 0) o
     where d.tenant = $1 and d.ctid = o.place"
}

columns! {
    Downtimes {
        node: Uuid, believed_at: DateTime<Utc>, from_at: DateTime<Utc>, until_at: Option<DateTime<Utc>>,
        duration_ms: Option<i64>, health: &'static str, roots: String, began_by: Option<&'static str>,
        ended_by: Option<&'static str>, event: Uuid, heard_at: DateTime<Utc>, kept_until: Option<DateTime<Utc>>,
        seq: i64,
    }
    "insert into downtime (tenant, node, believed_at, from_at, until_at, duration_ms, health, roots, began_by,
         ended_by, event, heard_at, kept_until, seq)
     select $1, k.node, k.believed_at, k.from_at, k.until_at, k.duration_ms, k.health,
         string_to_array(k.roots, ',')::uuid[], k.began_by, k.ended_by, k.event, k.heard_at, k.kept_until, k.seq
     from unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], $7::text[],
         $8::text[], $9::text[], $10::text[], $11::uuid[], $12::timestamptz[], $13::timestamptz[], $14::bigint[])
         as k (node, believed_at, from_at, until_at, duration_ms, health, roots, began_by, ended_by, event, heard_at,
         kept_until, seq)
     on conflict (tenant, node, believed_at) do update set from_at = excluded.from_at,
         until_at = excluded.until_at, duration_ms = excluded.duration_ms, health = excluded.health,
         roots = excluded.roots, began_by = excluded.began_by, ended_by = excluded.ended_by, event = excluded.event, heard_at = excluded.heard_at,
         kept_until = excluded.kept_until, seq = excluded.seq"
}

pub(super) const STATEMENTS: &[&str] = &[Ended::SQL, Downtimes::SQL];

impl<'a> Rows<'a> {
    /// Takes in what is believed next of a node.
    pub(super) fn hear(&mut self, told: &'a Told, said: &'a HealthSaid) {
        let now = &said.now;
        let since = is_lost(said).then_some(now.since);
        let running = self.running.insert(now.node, since);
        if running == Some(since) && since.is_none() {
            return; // It worked, and still does.
        }
        let end =
            End { at: began(said), told, learned: now.learned.filter(|_| said.kind != HealthKind::Retired) };
        match running {
            None => {
                self.ended.insert(now.node, (end, since));
            }
            Some(Some(before)) if since != Some(before) => {
                let lost = self.times.get_mut(&(now.node, before)).expect("what runs is among the times");
                lost.end = Some(end);
            }
            Some(_) => {}
        }
        if let Some(since) = since {
            self.times.insert((now.node, since), Lost { told, now, end: None });
        }
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        let mut ended = Ended::default();
        for (node, (end, goes_on)) in &self.ended {
            ended.node.push(node.0);
            ended.until_at.push(at(end.at));
            ended.goes_on.push(goes_on.map(at));
            ended.ended_by.push(end.learned.map(words::learned));
            ended.heard_at.push(at(end.told.heard.heard));
            ended.seq.push(number(end.told.heard.seq));
        }
        ended.write(tenant, tx).await?;
        let mut rows = Downtimes::default();
        for ((node, since), lost) in &self.times {
            let from = lost.now.at.unwrap_or(*since);
            let until = lost.end.map(|end| end.at.max(from));
            let last = lost.end.map_or(lost.told, |end| end.told);
            rows.node.push(node.0);
            rows.believed_at.push(at(*since));
            rows.from_at.push(at(from));
            rows.until_at.push(until.map(at));
            rows.duration_ms.push(until.map(|u| u.ms_since(from)));
            rows.health.push(words::health(lost.now.health));
            rows.roots.push(match lost.now.health {
                Health::Down => belief::ids(&[*node]),
                Health::Up | Health::Impacted | Health::Degraded | Health::Unknown => {
                    belief::ids(&lost.now.roots)
                }
            });
            rows.began_by.push(lost.now.learned.map(words::learned));
            rows.ended_by.push(lost.end.and_then(|end| end.learned).map(words::learned));
            rows.event.push(lost.told.heard.id.0);
            rows.heard_at.push(at(last.heard.heard));
            rows.kept_until.push(kept_until(lost.told));
            rows.seq.push(number(last.heard.seq));
        }
        rows.write(tenant, tx).await
    }
}

/// Whether the node does not work, after this.
fn is_lost(said: &HealthSaid) -> bool {
    match (said.kind, said.now.health) {
        (HealthKind::Retired, _) => false,
        (_, Health::Down | Health::Impacted) => true,
        (_, Health::Up | Health::Degraded | Health::Unknown) => false,
    }
}

/// When what is believed after this began to be so.
fn began(said: &HealthSaid) -> Time {
    match said.kind {
        HealthKind::Retired => said.now.since,
        HealthKind::Changed | HealthKind::Noted | HealthKind::Restated => {
            said.now.at.unwrap_or(said.now.since)
        }
    }
}
