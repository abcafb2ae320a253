//! The record of who was turned away: said into the log, where it is kept, and written to the process's own log.
//!
//! A flood of refusals must not become a flood of records. Requests that are alike (same reason, token and source)
//! are one kind. The first of a kind is said at once, with all that came until it was its turn; what follows is
//! counted, and said once a turn for as long as it goes on. So many kinds are told apart a tenant; the rest are
//! counted without their token and source. A record that the log does not take now waits, and is the same record when it
//! is tried again; while many wait none is made, and the counting goes on.

use crate::{
    book::{Holder, Prefix},
    refusal::Refusal as TurnedAway,
};
use events::{EventId, Fact, Refusal, RefusalReason, Say, TenantId, Time};
use kit::{Log, Outgoing, admin::Metrics};
use prometheus_client::metrics::counter::Counter;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often what goes on is said again.
const TURN: Duration = Duration::from_secs(60);
/// How long to wait before a log that did not take a record is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How many kinds are told apart of one tenant in a turn.
const KINDS_OF_TENANT_MAX: usize = 20;
/// How many records may wait for the log. While so many do, no more are made.
const WAITING_MAX: usize = 1_000;
/// How many kinds are held in all. Beyond them every refusal is the operator's, told apart by its reason alone.
const KINDS_MAX: usize = 10_000;

/// Who is refused, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Who {
    /// From where.
    pub(crate) source: Option<IpAddr>,
    /// Whose token it is.
    pub(crate) holder: Option<Arc<Holder>>,
    /// Whose token it would be, by its public part, when it is not.
    pub(crate) claimed: Option<(TenantId, Prefix)>,
}

/// What makes refusals alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Kind {
    tenant: TenantId,
    reason: RefusalReason,
    token: Option<Prefix>,
    source: Option<IpAddr>,
}

impl Kind {
    fn of(reason: RefusalReason, who: &Who) -> Self {
        let held = who.holder.as_ref().map(|holder| (holder.tenant, holder.prefix)).or(who.claimed);
        Self {
            tenant: held.map_or_else(TenantId::operator, |(tenant, _)| tenant),
            reason,
            token: held.map(|(_, prefix)| prefix),
            source: who.source,
        }
    }

    fn is_told_apart(&self) -> bool {
        self.token.is_some() || self.source.is_some()
    }
}

/// What was not said yet of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    count: u64,
    first: Time,
    last: Time,
    detail: Option<String>,
    /// Nothing was said of it in this turn.
    is_fresh: bool,
}

/// One record to be said.
type Record = (Kind, Counted);

/// What became of one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Noted {
    /// It is the first of its kind, to be said at once.
    is_fresh: bool,
    /// It was counted with others, because too many kinds are told apart.
    is_folded: bool,
}

/// What was refused and is not said yet.
#[derive(Debug, Default)]
struct Tally {
    kinds: BTreeMap<Kind, Counted>,
    of_tenant: HashMap<TenantId, usize>,
}

impl Tally {
    /// Counts one refusal.
    fn note(&mut self, mut kind: Kind, detail: Option<String>, at: Time) -> Noted {
        let mut is_folded = false;
        if !self.kinds.contains_key(&kind) {
            let of_tenant = self.of_tenant.get(&kind.tenant).copied().unwrap_or(0);
            if of_tenant >= KINDS_OF_TENANT_MAX {
                (kind.token, kind.source, is_folded) = (None, None, true);
            }
            if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
                kind = Kind { tenant: TenantId::operator(), reason: kind.reason, token: None, source: None };
                is_folded = true;
            }
        }
        let mut is_fresh = false;
        let counted = self.kinds.entry(kind).or_insert_with(|| {
            is_fresh = true;
            if kind.is_told_apart() {
                *self.of_tenant.entry(kind.tenant).or_default() += 1;
            }
            Counted { count: 0, first: at, last: at, detail: None, is_fresh }
        });
        if counted.count == 0 {
            counted.first = at;
            counted.detail = if is_folded { None } else { detail };
        }
        counted.count += 1;
        counted.last = counted.last.max(at);
        Noted { is_fresh, is_folded }
    }

    /// What is to be said at once.
    fn fresh(&mut self) -> Vec<Record> {
        let fresh = self.kinds.iter_mut().filter(|(_, counted)| counted.is_fresh);
        fresh.map(|(kind, counted)| (*kind, counted.taken())).collect()
    }

    /// Ends a turn: what is to be said of it. Kinds of which nothing came in it are forgotten.
    fn turn(&mut self) -> Vec<Record> {
        let mut due = vec![];
        let of_tenant = &mut self.of_tenant;
        self.kinds.retain(|kind, counted| {
            if counted.count > 0 {
                due.push((*kind, counted.taken()));
                return true;
            }
            if kind.is_told_apart()
                && let Some(held) = of_tenant.get_mut(&kind.tenant)
            {
                *held -= 1;
                if *held == 0 {
                    of_tenant.remove(&kind.tenant);
                }
            }
            false
        });
        due
    }
}

impl Counted {
    /// What there is to say, which is said with that.
    fn taken(&mut self) -> Self {
        let taken = self.clone();
        (self.count, self.is_fresh, self.detail) = (0, false, None);
        taken
    }
}

/// The record of one door.
#[derive(Debug)]
pub(crate) struct Audit {
    tally: Mutex<Tally>,
    fresh: Notify,
    folded: Counter,
    unsaid: Counter,
}

impl Audit {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            tally: Mutex::default(),
            fresh: Notify::new(),
            folded: metrics.counter(
                "refusals_folded",
                "Refusals counted without their token and source, as there were too many",
            ),
            unsaid: metrics.counter("refusals_unsaid", "Times the log did not take a record of refusals"),
        }
    }

    /// Takes note of a refusal that is a matter of security; of others nothing.
    pub(crate) fn note(&self, turned_away: &TurnedAway, who: &Who, at: Time) {
        let Some(reason) = turned_away.audited() else { return };
        let detail = turned_away.detail().map(str::to_owned);
        let Noted { is_fresh, is_folded } = self.tally().note(Kind::of(reason, who), detail, at);
        if is_folded {
            self.folded.inc();
        }
        if is_fresh {
            self.fresh.notify_one();
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what there is to say until the process is told to stop, and then the rest once.
    pub(crate) async fn keep(&self, said_by: &str, log: &Log, stop: CancellationToken) {
        let mut turns = tokio::time::interval_at(Instant::now() + TURN, TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = VecDeque::new();
        let mut again = None;
        loop {
            let is_room = waiting.len() < WAITING_MAX;
            let due = tokio::select! {
                () = stop.cancelled() => break,
                _ = turns.tick(), if is_room => self.tally().turn(),
                () = self.fresh.notified(), if is_room => self.tally().fresh(),
                () = at(again) => vec![],
            };
            waiting.extend(due.iter().map(said));
            again = (!self.say(&mut waiting, said_by, log).await).then(|| Instant::now() + AGAIN);
        }
        waiting.extend(self.tally().turn().iter().map(said));
        if !self.say(&mut waiting, said_by, log).await {
            tracing::warn!(count = waiting.len(), "records of refusals are in this process's own log alone");
        }
    }

    /// Says what waits, until the log does not take one; whether it took all.
    async fn say(&self, waiting: &mut VecDeque<Say>, said_by: &str, log: &Log) -> bool {
        while let Some(say) = waiting.front() {
            if let Err(error) = log.publish(Outgoing::new(say.clone(), said_by)).await {
                tracing::warn!(%error, "the log does not take a record of refusals now");
                self.unsaid.inc();
                return false;
            }
            waiting.pop_front();
        }
        true
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The record, which is written down here as well.
fn said((kind, counted): &Record) -> Say {
    let refusal = Refusal {
        reason: kind.reason,
        token: kind.token.map(|prefix| String::from_utf8_lossy(&prefix).into_owned()),
        source: kind.source,
        count: counted.count,
        first: counted.first,
        last: counted.last,
        detail: counted.detail.clone(),
    };
    let id = EventId(Uuid::now_v7());
    let say = Say { id, tenant: kind.tenant, at: counted.first, cause: None, fact: Fact::Refusal(refusal) };
    note_down(&say);
    say
}

/// Writes a record to the process's own log: what is there when the log of events is not.
fn note_down(say: &Say) {
    let Fact::Refusal(refusal) = &say.fact else { return };
    tracing::warn!(
        target: "audit",
        reason = refusal.reason.name(),
        count = refusal.count,
        detail = refusal.detail,
        source = refusal.source.map(tracing::field::display),
        tenant = %say.tenant,
        token = refusal.token,
        "refused at the front door"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Noted = Noted { is_fresh: true, is_folded: false };
    const KNOWN: Noted = Noted { is_fresh: false, is_folded: false };

    fn kind(tenant: &str, source: u32) -> Kind {
        Kind {
            tenant: TenantId::of(tenant),
            reason: RefusalReason::WrongSource,
            token: Some(*b"abcdefabcdef"),
            source: Some(IpAddr::from(source.to_be_bytes())),
        }
    }

    fn at(s: i64) -> Time {
        Time::from_us(s * 1_000_000)
    }

    fn counts(records: &[Record]) -> Vec<u64> {
        records.iter().map(|(_, counted)| counted.count).collect()
    }

    #[test]
    fn the_first_is_said_at_once_and_the_rest_once_a_turn() {
        let mut tally = Tally::default();
        assert_eq!(tally.note(kind("a", 1), Some("first".into()), at(1)), FRESH);
        let said = tally.fresh();
        assert_eq!((counts(&said), said[0].1.detail.as_deref()), (vec![1], Some("first")));
        for s in 2..12 {
            assert_eq!(tally.note(kind("a", 1), Some("later".into()), at(s)), KNOWN);
        }
        assert_eq!(tally.fresh(), []);
        let said = tally.turn();
        assert_eq!((counts(&said), said[0].1.first, said[0].1.last), (vec![10], at(2), at(11)));
        // It goes on: once a turn, and not at once again.
        assert_eq!(tally.note(kind("a", 1), None, at(70)), KNOWN);
        assert_eq!(counts(&tally.turn()), [1]);
        // A turn without any: what comes after it is new.
        assert_eq!(tally.turn(), []);
        assert!(tally.kinds.is_empty() && tally.of_tenant.is_empty());
        assert_eq!(tally.note(kind("a", 1), None, at(400)), FRESH);
    }

    #[test]
    fn a_flood_from_everywhere_is_few_records_and_takes_no_other_tenants() {
        let mut tally = Tally::default();
        let flood = 100_000;
        let folded = (0..flood).filter(|n| tally.note(kind("a", *n), None, at(0)).is_folded).count();
        assert_eq!(folded, flood as usize - KINDS_OF_TENANT_MAX);
        assert_eq!(tally.note(kind("b", 1), None, at(0)), FRESH);
        let said = tally.fresh();
        assert_eq!(said.len(), KINDS_OF_TENANT_MAX + 2);
        assert_eq!(counts(&said).iter().sum::<u64>(), u64::from(flood) + 1, "every one is counted");
        let others = said.iter().find(|(kind, _)| !kind.is_told_apart()).unwrap();
        assert_eq!((others.0.tenant, others.1.count), (TenantId::of("a"), folded as u64));
    }

    #[test]
    fn however_many_tenants_there_are_what_is_held_is_bounded() {
        let mut tally = Tally::default();
        let all = KINDS_MAX + 5_000;
        for n in 0..all {
            tally.note(kind(&n.to_string(), 1), None, at(0));
        }
        assert!(tally.kinds.len() <= KINDS_MAX + 1);
        assert_eq!(counts(&tally.turn()).iter().sum::<u64>(), all as u64);
        assert_eq!(tally.turn(), []);
        assert!(tally.of_tenant.is_empty());
    }
}
