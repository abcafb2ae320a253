//! How this point of presence sees is said: to every tenant that it watches something for.
//!
//! What the log says last is what is believed of it; it is held against how it is, and the difference is said. So whoever
//! takes slots over says that they see again, although another had said that they do not; also one that has no references
//! any more. While it is blind that is said again every minute, for those who have just begun to listen.

use crate::{known, reach::Reach, voice::Voice};
use events::{Fact, Heard, NodeId, Noun, SLOTS, TenantId, View, slot_of};
use kit::{Filter, From, Log, Slots};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether there is something to say.
const TICK: Duration = Duration::from_secs(1);
/// How often blindness is said again.
const AGAIN: Duration = Duration::from_secs(60);
/// For how long storing is tried, of all tenants together. The next tick says what is left.
const SAY_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait before a log that cannot be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Which slots the log says are blind, of each tenant, and when that was said last.
#[derive(Debug, Default)]
struct Told {
    blind: HashMap<TenantId, BTreeMap<u16, Instant>>,
    /// Of whom anything was heard.
    known: BTreeSet<TenantId>,
}

impl Told {
    fn hear(&mut self, tenant: TenantId, view: &View, at: Instant) {
        let blind = self.blind.entry(tenant).or_default();
        // The last word of a point of presence names the slots of one replica; others may have been as blind.
        if self.known.insert(tenant) && !view.sees {
            blind.extend((0..SLOTS).map(|slot| (slot, at)));
        }
        for slot in &view.slots {
            if view.sees {
                blind.remove(slot);
            } else {
                blind.insert(*slot, at);
            }
        }
        if blind.is_empty() {
            self.blind.remove(&tenant);
        }
    }

    /// What is to be said of a tenant: none, or how these slots see.
    fn due(&self, tenant: TenantId, held: &BTreeSet<u16>, sees: bool, now: Instant) -> Option<Vec<u16>> {
        let blind = self.blind.get(&tenant);
        if sees {
            let back: Vec<u16> =
                held.iter().copied().filter(|s| blind.is_some_and(|b| b.contains_key(s))).collect();
            return (!back.is_empty()).then_some(back);
        }
        let is_stale = |slot: &u16| {
            blind
                .and_then(|blind| blind.get(slot))
                .is_none_or(|at| now.saturating_duration_since(*at) >= AGAIN)
        };
        held.iter().any(is_stale).then(|| held.iter().copied().collect())
    }
}

/// Says how this point of presence sees.
pub(crate) struct Views {
    pub(crate) reach: Reach,
    pub(crate) voice: Voice,
    pub(crate) log: Log,
    pub(crate) slots: watch::Receiver<Slots>,
}

impl Views {
    /// Says it until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut told = Told::default();
        let mut reader = self.log.read(&[Filter::noun(Noun::View)], From::LastPerSubject, None);
        let mut standing = self.reach.sight.standing();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                raw = reader.next() => {
                    match raw {
                        // Whoever decides by them buries those that cannot be read.
                        Ok(Some(raw)) => if let Ok(heard) = raw.decode() {
                            self.hear(&heard, &mut told);
                        },
                        Ok(None) => return,
                        Err(error) => {
                            tracing::warn!(%error, "how points of presence see cannot be read");
                            tokio::time::sleep(READ_AGAIN).await;
                        }
                    }
                    continue;
                }
                changed = standing.changed() => if changed.is_err() { return },
                _ = ticks.tick() => {}
            }
            // What is not said before it ends is said by whoever has the slots next.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.settle(&mut told) => {}
            }
        }
    }

    fn hear(&self, heard: &Heard, told: &mut Told) {
        if let Fact::View(view) = &heard.fact
            && view.pop == self.voice.pop()
        {
            told.hear(heard.tenant, view, Instant::now());
        }
    }

    /// Says what is not said yet, and is said within a while; the next tick goes on.
    async fn settle(&self, told: &mut Told) {
        let standing = self.reach.sight.standing();
        let sees = standing.borrow().sees;
        if sees && told.blind.is_empty() {
            return;
        }
        let slots = *self.slots.borrow();
        let by = Instant::now() + SAY_WITHIN;
        for (tenant, held) in self.held(slots, told, sees) {
            let now = Instant::now();
            let is_so_still = standing.borrow().sees == sees;
            if !is_so_still || now >= by {
                return;
            }
            let Some(slots) = told.due(tenant, &held, sees, now) else { continue };
            let view = View {
                pop: self.voice.pop().to_owned(),
                sees,
                slots,
                since: standing.borrow().since,
                references: self.reach.sight.references(),
            };
            if self.voice.view(tenant, view.clone(), by).await {
                told.known.insert(tenant);
                told.hear(tenant, &view, now);
            }
        }
    }

    /// Of which slots that are ours there is something to say, tenant by tenant: those of watched nodes while it is
    /// blind; all of those that were said to be, when it sees.
    fn held(&self, slots: Slots, told: &Told, sees: bool) -> BTreeMap<TenantId, BTreeSet<u16>> {
        if sees {
            let ours: BTreeSet<u16> = (0..SLOTS).filter(|slot| slots.has(*slot)).collect();
            return told.blind.keys().map(|tenant| (*tenant, ours.clone())).collect();
        }
        let mut held: BTreeMap<TenantId, BTreeSet<u16>> = BTreeMap::new();
        let watched = known::watched(&self.reach.roster, slots);
        let routers = self.reach.roster.routers(slots);
        let all = watched.iter().map(|watched| (watched.tenant, watched.node));
        for (tenant, node) in
            all.chain(routers.iter().map(|(node, tenant): (&NodeId, &TenantId)| (*tenant, *node)))
        {
            held.entry(tenant).or_default().insert(slot_of(node));
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(sees: bool, slots: &[u16]) -> View {
        let since = events::Time::EPOCH;
        View { pop: "main".into(), sees, slots: slots.to_vec(), since, references: 2 }
    }

    #[test]
    fn blindness_is_said_once_a_minute_and_its_end_once() {
        let (tenant, now) = (TenantId::of("hillside"), Instant::now());
        let held = BTreeSet::from([3, 7]);
        let mut told = Told::default();
        assert_eq!(
            told.due(tenant, &held, true, now),
            None,
            "there is nothing to say of what was never said"
        );
        assert_eq!(told.due(tenant, &held, false, now), Some(vec![3, 7]));
        told.known.insert(tenant);
        told.hear(tenant, &view(false, &[3, 7]), now);
        assert_eq!(told.due(tenant, &held, false, now + AGAIN / 2), None);
        assert_eq!(told.due(tenant, &held, false, now + AGAIN), Some(vec![3, 7]));
        // A slot that was gained meanwhile is blind as well.
        assert_eq!(told.due(tenant, &BTreeSet::from([3, 7, 9]), false, now), Some(vec![3, 7, 9]));
        assert_eq!(told.due(tenant, &held, true, now), Some(vec![3, 7]));
        told.hear(tenant, &view(true, &[3, 7]), now);
        assert_eq!(told.due(tenant, &held, true, now), None);
        assert!(told.blind.is_empty());
    }

    #[test]
    fn who_takes_over_says_of_all_its_slots_that_they_see() {
        let (tenant, now) = (TenantId::of("hillside"), Instant::now());
        let mut told = Told::default();
        // Of two that were blind only the last one's word is found.
        told.hear(tenant, &view(false, &[40]), now);
        assert_eq!(told.due(tenant, &BTreeSet::from([3, 7, 40]), true, now), Some(vec![3, 7, 40]));
        told.hear(tenant, &view(true, &[3, 7, 40]), now);
        assert_eq!(told.due(tenant, &BTreeSet::from([3, 7, 40]), true, now), None);
    }
}
