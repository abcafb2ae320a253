//! The log, the timers and the places of the deciders, in virtual time.
//!
//! One order for everything; what is heard by a decider is a subsequence of it. A commit holds what
//! was said, the timers and the place, or nothing. What a decider may not do is noted as a violation.

use crate::{
    agenda::Agenda,
    crew::{Member, Mind},
    run::{Ev, Failure},
};
use events::{Decision, Due, EventId, Fact, Heard, Noun, RECALL_MS, Say, TenantId, Time, Timer};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
};
use uuid::Uuid;

/// The most messages a commit may hold, its cut included (design, law 8).
pub const COMMIT_MOST: usize = 900;
/// The most bytes an event may have (design, law 8).
pub const EVENT_MOST_BYTES: usize = 64 * 1024;

/// One message of the log.
#[derive(Debug)]
pub struct Entry {
    /// The fact and where it stands.
    pub heard: Heard,
    /// What it follows from.
    pub cause: Option<EventId>,
    /// Which decider said it; `None`: the world.
    pub by: Option<u8>,
    /// The last sequence whoever said it had read.
    pub knew: u64,
}

/// Where a decider stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The last sequence it decided upon.
    pub position: u64,
    /// The highest `heard` so far.
    pub now: Time,
    /// Whether something is owed.
    pub owed: bool,
}

/// A message as a start reads it: as it is, or decoded from the JSON it was encoded to.
fn read<'h>(heard: &'h Heard, through_json: bool, lost: &mut Option<String>) -> Cow<'h, Heard> {
    if !through_json {
        return Cow::Borrowed(heard);
    }
    let noun = heard.fact.noun();
    let fact = serde_json::to_vec(&heard.fact)
        .ok()
        .and_then(|body| Fact::decode(noun, noun.verb_and_version().1, &body).ok());
    match fact {
        Some(fact) if fact == heard.fact => Cow::Owned(Heard { fact, ..heard.clone() }),
        Some(_) | None => {
            *lost = Some(format!("a {} does not survive JSON: {:?}", noun.token(), heard.fact));
            Cow::Borrowed(heard)
        }
    }
}

/// The name of a subject, without its text.
type Key = (TenantId, Noun, u128);

fn key_of(tenant: TenantId, fact: &Fact) -> Option<Key> {
    let thing = match fact {
        Fact::Health(said) => said.now.node.0,
        Fact::Suspicion(said) => said.now.node.0,
        Fact::Incident(said) => said.now.id.0,
        Fact::Notice(said) => said.now.id.0,
        Fact::Delivery(said) => said.now.notice.0,
        Fact::Ask(ask) => ask.via().0,
        Fact::Order(said) => said.id.0,
        Fact::Inventory(_)
        | Fact::Part(_)
        | Fact::Revision(_)
        | Fact::Access(_)
        | Fact::Signal(_)
        | Fact::Answer(_)
        | Fact::Due(_)
        | Fact::Repair(_)
        | Fact::Plan(_)
        | Fact::Entitlement(_)
        | Fact::Enforcement(_)
        | Fact::Sighting(_)
        | Fact::Refusal(_)
        | Fact::View(_)
        | Fact::Cut(_) => return None,
    };
    Some((tenant, fact.noun(), thing.as_u128()))
}

struct Armed {
    at: Time,
    version: u32,
    turn: u32,
}

struct Consumer {
    member: Member,
    /// What it has not read yet: indexes of the log.
    queue: VecDeque<u32>,
    cut: Place,
    timers: BTreeMap<(TenantId, String), Armed>,
    turns: HashMap<u32, (TenantId, String)>,
}

/// The log and everything that is bound to it.
pub struct Bus {
    /// Every message, in order.
    pub log: Vec<Entry>,
    /// What deciders did that they may not do.
    pub violations: Vec<Failure>,
    /// The longest any decider's queue has been.
    pub longest_queue: usize,
    last: HashMap<Key, u32>,
    seq: u64,
    stored_us: i64,
    consumers: Vec<Consumer>,
    armed: u32,
    ids: BTreeSet<EventId>,
}

impl Bus {
    /// An empty log that `crew` reads.
    pub fn new(crew: &[Member]) -> Self {
        let consumer = |member: &Member| Consumer {
            member: *member,
            queue: VecDeque::new(),
            cut: Place::default(),
            timers: BTreeMap::new(),
            turns: HashMap::new(),
        };
        Self {
            log: vec![],
            violations: vec![],
            longest_queue: 0,
            last: HashMap::new(),
            seq: 0,
            stored_us: 0,
            consumers: crew.iter().map(consumer).collect(),
            armed: 0,
            ids: BTreeSet::new(),
        }
    }

    fn violated(&mut self, property: &'static str, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(Failure { property, what });
        }
    }

    /// Stores one message and hands it to everybody who hears it. Returns its index.
    pub fn store(&mut self, now_us: i64, by: Option<u8>, say: Say) -> u32 {
        self.seq += 1;
        self.stored_us = now_us.max(self.stored_us + 1);
        let heard = Time::from_us(self.stored_us);
        let index = self.log.len() as u32;
        if let Some(key) = key_of(say.tenant, &say.fact) {
            self.last.insert(key, index);
        }
        let noun = say.fact.noun();
        for consumer in &mut self.consumers {
            let its_own = match &say.fact {
                Fact::Due(due) => due.service == consumer.member.name,
                _ => true,
            };
            if its_own && consumer.member.hears(noun) {
                consumer.queue.push_back(index);
                self.longest_queue = self.longest_queue.max(consumer.queue.len());
            }
        }
        let earliest = heard.plus_ms(-7 * 24 * 3_600_000);
        let at = say.at.clamp(earliest, heard.plus_ms(5_000));
        let heard = Heard { seq: self.seq, id: say.id, tenant: say.tenant, heard, at, fact: say.fact };
        self.log.push(Entry { heard, cause: say.cause, by, knew: self.seq - 1 });
        index
    }

    /// The last message about `thing`.
    pub fn last(&self, tenant: TenantId, noun: Noun, thing: Uuid) -> Option<&Entry> {
        self.last.get(&(tenant, noun, thing.as_u128())).map(|i| &self.log[*i as usize])
    }

    /// Moves `decider`'s cut over inputs from which nothing followed.
    pub fn move_cut(&mut self, decider: u8, place: Place) {
        self.consumers[usize::from(decider)].cut = place;
    }

    /// The last message of every subject of `noun`, in the order of the log.
    pub fn standing(&self, noun: Noun) -> Vec<&Entry> {
        let mut indexes: Vec<u32> =
            self.last.iter().filter(|(key, _)| key.1 == noun).map(|(_, i)| *i).collect();
        indexes.sort_unstable();
        indexes.into_iter().map(|i| &self.log[i as usize]).collect()
    }

    /// Whether `decider` has something to read.
    pub fn has_news(&self, decider: u8) -> bool {
        !self.consumers[usize::from(decider)].queue.is_empty()
    }

    /// Takes up to `most` inputs of `decider`: indexes of the log.
    pub fn take(&mut self, decider: u8, most: usize) -> Vec<u32> {
        let queue = &mut self.consumers[usize::from(decider)].queue;
        let n = queue.len().min(most);
        queue.drain(..n).collect()
    }

    /// Where `decider`'s last commit stands.
    pub fn cut(&self, decider: u8) -> Place {
        self.consumers[usize::from(decider)].cut
    }

    /// Whether `decision` keeps to the contract of [`events::Decide`].
    pub fn examine(&mut self, decider: u8, decision: &Decision, now: Time, room: usize) {
        let member = self.consumers[usize::from(decider)].member;
        let many = decision.said.len() + decision.timers.len();
        if many > room || many >= COMMIT_MOST {
            self.violated("bounds", format!("{} said {many} with room for {room}", member.name));
        }
        let mut keys = BTreeSet::new();
        for (tenant, timer) in &decision.timers {
            if !keys.insert((*tenant, timer.key.as_str())) {
                self.violated("bounds", format!("{} armed `{}` twice in one commit", member.name, timer.key));
            }
        }
        for say in &decision.said {
            let noun = say.fact.noun();
            // Asks are no memory: they may be said without being loaded.
            if !member.says.contains(&noun) && noun != Noun::Ask {
                self.violated("bounds", format!("{} said a {}", member.name, noun.token()));
            }
            if say.cause.is_none() {
                self.violated("cause", format!("{} named no cause for a {}", member.name, noun.token()));
            }
            if let Fact::Ask(ask) = &say.fact
                && ask.deadline <= now
            {
                self.violated("bounds", format!("{} asked with a deadline that has passed", member.name));
            }
            let large = matches!(say.fact, Fact::Incident(_) | Fact::Notice(_));
            if large || say.id.0.as_u128().is_multiple_of(64) {
                let bytes = serde_json::to_vec(&say.fact).map_or(usize::MAX, |b| b.len());
                if bytes > EVENT_MOST_BYTES {
                    self.violated(
                        "bounds",
                        format!("{} said a {} of {bytes} bytes", member.name, noun.token()),
                    );
                }
            }
        }
    }

    /// Stores a whole commit. Returns the indexes of what was said.
    pub fn commit(
        &mut self,
        agenda: &mut Agenda<Ev>,
        decider: u8,
        decision: &Decision,
        place: Place,
        late_us: i64,
    ) -> std::ops::Range<u32> {
        let from = self.log.len() as u32;
        for say in &decision.said {
            if !self.ids.insert(say.id) {
                let (name, noun) = (self.consumers[usize::from(decider)].member.name, say.fact.noun());
                let what = format!("{name} gave a {} the id of another event: {}", noun.token(), say.id);
                self.violated("ids", what);
            }
            let index = self.store(agenda.now_us(), Some(decider), say.clone());
            self.log[index as usize].knew = place.position;
        }
        for (tenant, timer) in &decision.timers {
            self.seq += 1;
            self.arm(agenda, decider, *tenant, timer, late_us);
        }
        self.seq += 1;
        self.consumers[usize::from(decider)].cut = place;
        from..self.log.len() as u32
    }

    fn arm(&mut self, agenda: &mut Agenda<Ev>, decider: u8, tenant: TenantId, timer: &Timer, late_us: i64) {
        let consumer = &mut self.consumers[usize::from(decider)];
        let key = (tenant, timer.key.clone());
        if let Some(old) = consumer.timers.remove(&key) {
            consumer.turns.remove(&old.turn);
        }
        if let Some(at) = timer.at {
            self.armed += 1;
            let turn = self.armed;
            agenda.at(at.us() + late_us, Ev::Fire { decider, turn });
            consumer.turns.insert(turn, key.clone());
            consumer.timers.insert(key, Armed { at, version: timer.version, turn });
        }
    }

    /// A timer fires, unless it was replaced or disarmed.
    pub fn fire(&mut self, now_us: i64, decider: u8, turn: u32) {
        let consumer = &mut self.consumers[usize::from(decider)];
        let Some(key) = consumer.turns.remove(&turn) else { return };
        let Some(armed) = consumer.timers.remove(&key) else { return };
        let service = consumer.member.name.to_owned();
        let id = EventId(Uuid::from_u128(0xd0e_0000_0000_0000_0000_0000_0000_0000 | u128::from(turn)));
        let (tenant, key) = key;
        let fact = Fact::Due(Due { service, key, version: armed.version });
        self.store(now_us, None, Say { id, tenant, at: armed.at, cause: Some(id), fact });
    }

    /// When the next timer fires; only those of before `until` matter.
    pub fn next_timer(&self, until: Time) -> Option<(Time, &str)> {
        self.consumers
            .iter()
            .flat_map(|c| c.timers.iter())
            .filter(|(_, armed)| armed.at <= until)
            .map(|((_, key), armed)| (armed.at, key.as_str()))
            .min()
    }

    /// How many timers are armed.
    pub fn timers(&self) -> usize {
        self.consumers.iter().map(|c| c.timers.len()).sum()
    }

    /// Starts `decider` anew from its last commit, as [`events::decide`] says: the inventory up to its
    /// position, the last message of each subject that it says itself, and the inputs of the last 15
    /// minutes. Everything after its position will be read again.
    pub fn load(&mut self, decider: u8, through_json: bool) -> Box<dyn Mind> {
        let Consumer { member, cut, .. } = self.consumers[usize::from(decider)];
        let mut mind = (member.build)();
        let mut lost = None;
        let end = self.log.partition_point(|entry| entry.heard.seq <= cut.position);
        for entry in &self.log[..end] {
            if matches!(entry.heard.fact.noun(), Noun::Inventory | Noun::Part | Noun::Revision) {
                mind.recall(&read(&entry.heard, through_json, &mut lost));
            }
        }
        let mut said: Vec<u32> =
            self.last.iter().filter(|(key, _)| member.says.contains(&key.1)).map(|(_, i)| *i).collect();
        said.sort_unstable();
        for index in said {
            let entry = &self.log[index as usize];
            let Heard { id, tenant, at, fact, .. } = read(&entry.heard, through_json, &mut lost).into_owned();
            mind.apply(&Say { id, tenant, at, cause: entry.cause, fact });
        }
        let since = cut.now.plus_ms(-RECALL_MS);
        let first = self.log.partition_point(|entry| entry.heard.heard < since);
        let hears = |heard: &Heard| match &heard.fact {
            Fact::Due(due) => due.service == member.name && member.hears(Noun::Due),
            other => member.hears(other.noun()),
        };
        for entry in self.log.get(first..end).unwrap_or_default() {
            let inventory = matches!(entry.heard.fact.noun(), Noun::Inventory | Noun::Part | Noun::Revision);
            if !inventory && hears(&entry.heard) {
                mind.recall(&read(&entry.heard, through_json, &mut lost));
            }
        }
        mind.forget(cut.now);
        let queue: VecDeque<u32> =
            (end..self.log.len()).filter(|i| hears(&self.log[*i].heard)).map(|i| i as u32).collect();
        self.consumers[usize::from(decider)].queue = queue;
        if let Some(what) = lost {
            self.violated("json", what);
        }
        mind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Counting, signal};

    fn bus() -> (Bus, Agenda<Ev>) {
        (Bus::new(&[Member::of::<Counting>()]), Agenda::new(1_000_000_000))
    }

    fn due(bus: &Bus) -> Vec<u32> {
        let version = |e: &Entry| match &e.heard.fact {
            Fact::Due(due) => Some(due.version),
            _ => None,
        };
        bus.log.iter().filter_map(version).collect()
    }

    #[test]
    fn what_is_heard_has_one_order_and_strictly_rising_times() {
        let (mut bus, agenda) = bus();
        for n in 0..5 {
            bus.store(agenda.now_us(), None, signal(n));
        }
        assert!(bus.log.windows(2).all(|w| w[0].heard.heard < w[1].heard.heard));
        assert_eq!(bus.take(0, 3), [0, 1, 2]);
        assert_eq!(bus.take(0, 9), [3, 4]);
        assert!(!bus.has_news(0));
    }

    #[test]
    fn a_timer_fires_once_unless_replaced_or_disarmed() {
        let (mut bus, mut agenda) = bus();
        let tenant = TenantId::of("t");
        let timer = |key: &str, at: Option<i64>, version| {
            let at = at.map(|ms| Time::from_us(1_000_000_000).plus_ms(ms));
            (tenant, Timer { key: key.into(), at, version })
        };
        let commits = [
            vec![timer("a", Some(10), 1), timer("b", Some(20), 2), timer("c", Some(30), 3)],
            vec![timer("a", Some(40), 4), timer("b", None, 5)],
        ];
        for timers in commits {
            let decision = Decision { timers, ..Decision::default() };
            bus.commit(&mut agenda, 0, &decision, Place::default(), 0);
        }
        assert_eq!(bus.timers(), 2);
        while let Some(ev) = agenda.next(2_000_000_000) {
            if let Ev::Fire { decider, turn } = ev {
                bus.fire(agenda.now_us(), decider, turn);
            }
        }
        assert_eq!(due(&bus), [3, 4]);
        assert_eq!(bus.timers(), 0);
    }

    #[test]
    fn a_decider_that_breaks_the_contract_is_noted() {
        let (mut bus, mut agenda) = bus();
        let mut say = signal(1);
        say.cause = None;
        let decision = Decision { said: vec![say.clone(), say], ..Decision::default() };
        bus.examine(0, &decision, Time::EPOCH, 1);
        bus.commit(&mut agenda, 0, &decision, Place::default(), 0);
        let kinds: BTreeSet<&str> = bus.violations.iter().map(|v| v.property).collect();
        assert_eq!(kinds, ["bounds", "cause", "ids"].into());
    }

    #[test]
    fn a_reload_knows_what_the_one_before_it_knew() {
        let (mut bus, mut agenda) = bus();
        let mut live = bus.load(0, false);
        for n in 0..40 {
            bus.store(agenda.now_us(), None, signal(n));
            let mut place = bus.cut(0);
            for index in bus.take(0, 2) {
                let heard = &bus.log[index as usize].heard;
                live.recall(heard);
                place = Place { position: heard.seq, now: heard.heard, owed: false };
            }
            let decision = live.decide(place.now, 10);
            bus.examine(0, &decision, place.now, 10);
            bus.commit(&mut agenda, 0, &decision, place, 0);
            decision.said.iter().for_each(|say| live.apply(say));
            let loaded = bus.load(0, true);
            assert_eq!(loaded.digest(), live.digest(), "after {n}");
            agenda.next(agenda.now_us() + 60_000_000);
        }
        assert_eq!(bus.violations, []);
    }
}
