//! Who was told: notices, and what became of sending them.

use super::columns;
use crate::value::{Text, at, number, some_text, text};
use crate::words;
use chrono::{DateTime, Utc};
use events::{DeliverySaid, NoticeId, NoticeSaid};
use kit::projection::Told;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    notices: BTreeMap<NoticeId, (&'a Told, &'a NoticeSaid)>,
    deliveries: BTreeMap<NoticeId, (&'a Told, &'a DeliverySaid)>,
}

columns! {
    Notices<'a> {
        id: Uuid, incident: Uuid, audience: &'static str, channel: Uuid, phase: &'static str, step: i64,
        urgency: &'static str, title: Text<'a>, text: Text<'a>, state: &'static str, decided_at: DateTime<Utc>,
        expires_at: DateTime<Utc>, heard_at: DateTime<Utc>, seq: i64,
    }
    "insert into notice (tenant, id, incident, audience, channel, phase, step, urgency, title, text, state,
         decided_at, expires_at, heard_at, seq)
     select $1, * from unnest($2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::bigint[], $8::text[],
         $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[],
         $15::bigint[])
     on conflict (tenant, id) do update set incident = excluded.incident, audience = excluded.audience,
         channel = excluded.channel, phase = excluded.phase, step = excluded.step, urgency = excluded.urgency,
         title = excluded.title, text = excluded.text, state = excluded.state, decided_at = excluded.decided_at,
         expires_at = excluded.expires_at, heard_at = excluded.heard_at, seq = excluded.seq"
}

columns! {
    Deliveries<'a> {
        notice: Uuid, state: &'static str, attempt_count: i64, answer: Option<Text<'a>>,
        is_possibly_repeated: bool, heard_at: DateTime<Utc>, seq: i64,
    }
    "insert into delivery (tenant, notice, state, attempt_count, answer, is_possibly_repeated, heard_at, seq)
     select $1, * from unnest($2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::bool[], $7::timestamptz[],
         $8::bigint[])
     on conflict (tenant, notice) do update set state = excluded.state, attempt_count = excluded.attempt_count,
         answer = excluded.answer, is_possibly_repeated = excluded.is_possibly_repeated,
         heard_at = excluded.heard_at, seq = excluded.seq"
}

pub(super) const STATEMENTS: &[&str] = &[Notices::SQL, Deliveries::SQL];

impl<'a> Rows<'a> {
    pub(super) fn address(&mut self, told: &'a Told, said: &'a NoticeSaid) {
        self.notices.insert(said.now.id, (told, said));
    }

    pub(super) fn deliver(&mut self, told: &'a Told, said: &'a DeliverySaid) {
        self.deliveries.insert(said.now.notice, (told, said));
    }

    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<()> {
        let mut notices = Notices::default();
        for (told, said) in self.notices.values() {
            let now = &said.now;
            notices.id.push(now.id.0);
            notices.incident.push(now.incident.0);
            notices.audience.push(now.audience.name());
            notices.channel.push(now.channel.0);
            notices.phase.push(now.phase.name());
            notices.step.push(i64::from(now.step));
            notices.urgency.push(words::urgency(now.urgency));
            notices.title.push(text(&now.title));
            notices.text.push(text(&now.text));
            notices.state.push(words::notice(said.kind));
            notices.decided_at.push(at(now.at));
            notices.expires_at.push(at(now.expires));
            notices.heard_at.push(at(told.heard.heard));
            notices.seq.push(number(told.heard.seq));
        }
        notices.write(tenant, tx).await?;
        let mut deliveries = Deliveries::default();
        for (told, said) in self.deliveries.values() {
            deliveries.notice.push(said.now.notice.0);
            deliveries.state.push(words::delivery(said.kind));
            deliveries.attempt_count.push(i64::from(said.now.attempts));
            deliveries.answer.push(some_text(said.now.answer.as_ref()));
            deliveries.is_possibly_repeated.push(said.now.possibly_repeated);
            deliveries.heard_at.push(at(told.heard.heard));
            deliveries.seq.push(number(told.heard.seq));
        }
        deliveries.write(tenant, tx).await
    }
}
