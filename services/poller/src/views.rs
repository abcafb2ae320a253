//! How this point of presence sees is said: to every tenant that it watches something for.
//!
//! What the log says last is what is believed of it; it is held against how it is, and the difference is said. So whoever
//! takes slots over says that they see again, although another had said that they do not; also one that has no references
//! any more. While it is blind that is said again every minute, for those who have just begun to listen.
//!
//! That it sees is said again every few minutes, of every slot in which something is watched: whoever hears nothing of a slot
//! for long knows that nobody works there.

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
/// How often it is said again that a slot is worked on (`domain::correlation` waits for two and a half of these).
const SEEN_AGAIN: Duration = Duration::from_millis(events::SEEN_AGAIN_MS);
/// For how long storing is tried, of all tenants together. The next tick says what is left.
const SAY_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait before a log that cannot be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Which slots the log says are blind, of each tenant, and when that was said last.
#[derive(Debug, Default)]
struct Told {
    blind: HashMap<TenantId, BTreeMap<u16, Instant>>,
    /// Which it says see, and when that was said last.
    seeing: HashMap<TenantId, BTreeMap<u16, Instant>>,
    /// When it is looked again whether that must be said again.
    look_again: Option<Instant>,
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
        let seeing = self.seeing.entry(tenant).or_default();
        for slot in &view.slots {
            let (to, from) =
                if view.sees { (&mut *seeing, &mut *blind) } else { (&mut *blind, &mut *seeing) };
            from.remove(slot);
            to.insert(*slot, at);
        }
        if blind.is_empty() {
            self.blind.remove(&tenant);
        }
    }

    /// What is to be said of a tenant: none, or how these slots see.
    fn due(&self, tenant: TenantId, held: &Held, sees: bool, now: Instant) -> Option<Vec<u16>> {
        let (blind, seeing) = (self.blind.get(&tenant), self.seeing.get(&tenant));
        let is_stale = |said: Option<&BTreeMap<u16, Instant>>, slot: &u16, after: Duration| {
            let at = said.and_then(|said| said.get(slot));
            at.is_none_or(|at| now.saturating_duration_since(*at) >= after)
        };
        if sees {
            let is_back = |slot: &&u16| blind.is_some_and(|blind| blind.contains_key(*slot));
            let mut due: BTreeSet<u16> = held.ours.iter().filter(is_back).copied().collect();
            due.extend(held.watched.iter().filter(|slot| is_stale(seeing, slot, SEEN_AGAIN)));
            return (!due.is_empty()).then(|| due.into_iter().collect());
        }
        held.watched
            .iter()
            .any(|slot| is_stale(blind, slot, AGAIN))
            .then(|| held.watched.iter().copied().collect())
    }
}

/// The slots of one tenant that this replica works on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Held {
    /// Those in which something is watched; while it is blind, also those with routers.
    watched: BTreeSet<u16>,
    /// All of them, where some were said to be blind.
    ours: BTreeSet<u16>,
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
        let now = Instant::now();
        if sees && told.blind.is_empty() && told.look_again.is_some_and(|at| now < at) {
            return;
        }
        let held = self.held(*self.slots.borrow(), told, sees);
        // Until anything is known to watch, that is looked for all the time.
        told.look_again = Some(now + AGAIN).filter(|_| !held.is_empty());
        let by = now + SAY_WITHIN;
        for (tenant, held) in held {
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

    /// Of which slots that are ours there may be something to say, tenant by tenant.
    fn held(&self, slots: Slots, told: &Told, sees: bool) -> BTreeMap<TenantId, Held> {
        let mut held: BTreeMap<TenantId, Held> = BTreeMap::new();
        for watched in known::watched(&self.reach.roster, slots) {
            held.entry(watched.tenant).or_default().watched.insert(slot_of(watched.node));
        }
        if sees {
            let ours: BTreeSet<u16> = (0..SLOTS).filter(|slot| slots.has(*slot)).collect();
            for tenant in told.blind.keys() {
                held.entry(*tenant).or_default().ours.clone_from(&ours);
            }
        } else {
            let routers = self.reach.roster.routers(slots);
            for (node, tenant) in routers.iter().map(|(node, tenant): (&NodeId, &TenantId)| (*node, *tenant))
            {
                held.entry(tenant).or_default().watched.insert(slot_of(node));
            }
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

    /// Slots in which something is watched, all of them ours.
    fn held(slots: &[u16]) -> Held {
        let slots = BTreeSet::from_iter(slots.iter().copied());
        Held { watched: slots.clone(), ours: slots }
    }

    #[test]
    fn blindness_is_said_once_a_minute_and_its_end_once() {
        let (tenant, now) = (TenantId::of("hillside"), Instant::now());
        let two = held(&[3, 7]);
        let mut told = Told::default();
        assert_eq!(told.due(tenant, &two, false, now), Some(vec![3, 7]));
        told.known.insert(tenant);
        told.hear(tenant, &view(false, &[3, 7]), now);
        assert_eq!(told.due(tenant, &two, false, now + AGAIN / 2), None);
        assert_eq!(told.due(tenant, &two, false, now + AGAIN), Some(vec![3, 7]));
        // A slot that was gained meanwhile is blind as well.
        assert_eq!(told.due(tenant, &held(&[3, 7, 9]), false, now), Some(vec![3, 7, 9]));
        assert_eq!(told.due(tenant, &two, true, now), Some(vec![3, 7]));
        told.hear(tenant, &view(true, &[3, 7]), now);
        assert_eq!(told.due(tenant, &two, true, now), None);
        assert!(told.blind.is_empty());
    }

    #[test]
    fn that_a_slot_is_worked_on_is_said_every_few_minutes_whoever_said_it_last() {
        let (tenant, now) = (TenantId::of("hillside"), Instant::now());
        let (two, mut told) = (held(&[3, 7]), Told::default());
        assert_eq!(told.due(tenant, &two, true, now), Some(vec![3, 7]), "nobody has heard of them yet");
        told.hear(tenant, &view(true, &[3, 7]), now);
        assert_eq!(told.due(tenant, &two, true, now + SEEN_AGAIN / 2), None);
        told.hear(tenant, &view(true, &[7]), now + SEEN_AGAIN / 2);
        assert_eq!(told.due(tenant, &two, true, now + SEEN_AGAIN), Some(vec![3]));
        // Of a slot in which nothing is watched nothing is said.
        assert_eq!(told.due(tenant, &Held { ours: (0..9).collect(), ..Held::default() }, true, now), None);
    }

    #[test]
    fn who_takes_over_says_of_all_its_slots_that_they_see() {
        let (tenant, now) = (TenantId::of("hillside"), Instant::now());
        let mut told = Told::default();
        // Of two that were blind only the last one's word is found.
        told.hear(tenant, &view(false, &[40]), now);
        assert_eq!(told.due(tenant, &held(&[3, 7, 40]), true, now), Some(vec![3, 7, 40]));
        told.hear(tenant, &view(true, &[3, 7, 40]), now);
        assert_eq!(told.due(tenant, &held(&[3, 7, 40]), true, now), None);
    }
}
