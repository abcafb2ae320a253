//! What lies in the log of a tenant's inventory: which things, where each is said, and what it is like.
//!
//! For an import it is enough to know whether a thing is as it was, so a thing is kept as a
//! digest and a place: a network of 100,000 nodes takes about 10 MB. Who needs the thing itself
//! reads it at its place.
//!
//! What was read is kept and read on from; the log is asked every time, so nobody decides on an old
//! revision unknowingly: the commit is fenced by its place.

use events::{
    ChannelId, Fact, Group, Inventory, Member, Node, NodeId, Noun, Part, Revision, RevisionSource, SiteId,
    Subject, TenantId, Time,
};
use kit::{Filter, From, Log, LogError, Raw};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Mutex as AsyncMutex;

/// How many things are kept of all tenants together; beyond it the tenants not asked about for longest go.
const THINGS_MAX: usize = 500_000;

/// Which thing of an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Tenant,
    Policy,
    Site(SiteId),
    Node(NodeId),
    Channel(ChannelId),
}

impl Key {
    pub(crate) fn of(thing: &Inventory) -> Self {
        match thing {
            Inventory::Tenant(_) => Key::Tenant,
            Inventory::Policy(_) => Key::Policy,
            Inventory::Site(site) => Key::Site(site.id),
            Inventory::SiteRemoved { id } => Key::Site(*id),
            Inventory::Node(node) => Key::Node(node.id),
            Inventory::NodeRemoved { id } => Key::Node(*id),
            Inventory::Channel(channel) => Key::Channel(channel.id),
            Inventory::ChannelRemoved { id } => Key::Channel(*id),
        }
    }
}

/// What a thing is like: equal things have equal digests.
pub(crate) type Like = [u8; 16];

/// The digest of a thing; none when it says that the thing is no more.
pub(crate) fn like(thing: &Inventory) -> Option<Like> {
    match thing {
        Inventory::SiteRemoved { .. } | Inventory::NodeRemoved { .. } | Inventory::ChannelRemoved { .. } => {
            None
        }
        Inventory::Tenant(_)
        | Inventory::Policy(_)
        | Inventory::Site(_)
        | Inventory::Node(_)
        | Inventory::Channel(_) => {
            let json = serde_json::to_vec(thing).expect("what an event holds has a JSON form");
            let digest: [u8; 32] = Sha256::digest(json).into();
            Some(digest[..16].try_into().expect("half of a digest has 16 bytes"))
        }
    }
}

/// Whether a thing is a network file's; what people added one by one is not.
fn is_file(thing: &Inventory) -> bool {
    match thing {
        Inventory::Node(node) => node.origin.is_file(),
        Inventory::Tenant(_)
        | Inventory::Policy(_)
        | Inventory::Site(_)
        | Inventory::Channel(_)
        | Inventory::SiteRemoved { .. }
        | Inventory::NodeRemoved { .. }
        | Inventory::ChannelRemoved { .. } => true,
    }
}

/// What a message says of one thing.
#[derive(Debug, Clone, Copy)]
struct Told {
    key: Key,
    /// None: it is no more.
    like: Option<Like>,
    is_file: bool,
}

impl Told {
    fn of(thing: &Inventory) -> Self {
        Self { key: Key::of(thing), like: like(thing), is_file: is_file(thing) }
    }
}

/// One thing: what it is like, and where it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lies {
    pub(crate) like: Like,
    /// Whether it is a network file's.
    pub(crate) is_file: bool,
    seq: u64,
    /// Which thing of a part; 0 of a message of its own.
    nth: u32,
}

/// A part that was laid down.
#[derive(Debug)]
struct LaidPart {
    seq: u64,
    heard: Time,
    things: Vec<Told>,
}

/// One tenant's inventory as of its last revision.
#[derive(Debug, Default)]
pub(crate) struct Laid {
    /// What is there.
    pub(crate) things: HashMap<Key, Lies>,
    /// The last revision, if there is one.
    pub(crate) revision: Option<Revision>,
    /// Its place; 0 when there is none.
    pub(crate) revision_seq: u64,
    staged: Vec<(Told, u64)>,
    parts: BTreeMap<String, BTreeMap<u32, LaidPart>>,
    read_to: u64,
}

impl Laid {
    /// The number of the last revision; 0 when there is none.
    pub(crate) fn number(&self) -> u64 {
        self.revision.as_ref().map_or(0, |revision| revision.number)
    }

    /// Imports of which parts lie about and that no revision has named, all laid down before `before`.
    pub(crate) fn forsaken(&self, before: Time) -> Vec<String> {
        let old = |parts: &BTreeMap<u32, LaidPart>| parts.values().all(|part| part.heard < before);
        self.parts.iter().filter(|(_, parts)| old(parts)).map(|(digest, _)| digest.clone()).collect()
    }

    fn hear(&mut self, raw: &Raw) {
        self.read_to = raw.seq;
        let heard = match raw.decode() {
            Ok(heard) => heard,
            Err(error) => {
                tracing::error!(subject = &*raw.subject, seq = raw.seq, %error, "an inventory message is passed over");
                return;
            }
        };
        match heard.fact {
            Fact::Inventory(thing) => self.staged.push((Told::of(&thing), heard.seq)),
            Fact::Part(Part { digest, n, things }) => {
                let things = things.iter().map(Told::of).collect();
                let part = LaidPart { seq: heard.seq, heard: heard.heard, things };
                self.parts.entry(digest).or_default().insert(n, part);
            }
            Fact::Revision(revision) => self.revise(revision, heard.seq),
            Fact::Access(_)
            | Fact::Order(_)
            | Fact::Signal(_)
            | Fact::Answer(_)
            | Fact::Ask(_)
            | Fact::Suspicion(_)
            | Fact::Health(_)
            | Fact::Incident(_)
            | Fact::Notice(_)
            | Fact::Delivery(_)
            | Fact::Due(_)
            | Fact::Repair(_)
            | Fact::Plan(_)
            | Fact::Entitlement(_)
            | Fact::Enforcement(_)
            | Fact::Sighting(_)
            | Fact::Refusal(_)
            | Fact::View(_)
            | Fact::Cut(_) => {}
        }
    }

    fn revise(&mut self, revision: Revision, seq: u64) {
        if let RevisionSource::Parts { digest, .. } = &revision.source {
            for part in self.parts.remove(digest).unwrap_or_default().into_values() {
                for (nth, told) in (0..).zip(part.things) {
                    self.lay(told, part.seq, nth);
                }
            }
        }
        for (told, seq) in std::mem::take(&mut self.staged) {
            self.lay(told, seq, 0);
        }
        self.revision = Some(revision);
        self.revision_seq = seq;
    }

    fn lay(&mut self, told: Told, seq: u64, nth: u32) {
        match told.like {
            Some(like) => self.things.insert(told.key, Lies { like, is_file: told.is_file, seq, nth }),
            None => self.things.remove(&told.key),
        };
    }
}

/// Why a thing of the inventory cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaidError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// The message is not where it was, or not what it was.
    #[error("message {seq} does not hold the thing that lay there")]
    Lost { seq: u64 },
}

/// The inventories of all tenants that were asked about lately.
#[derive(Debug)]
pub(crate) struct Inventories {
    log: Log,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    clock: u64,
    of: HashMap<TenantId, (u64, Arc<AsyncMutex<Laid>>)>,
}

impl Inventories {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, kept: Mutex::default() }
    }

    /// The inventory of `tenant` as the log has it now. Others wait while it is held.
    pub(crate) async fn now(&self, tenant: TenantId) -> Result<tokio::sync::OwnedMutexGuard<Laid>, LogError> {
        let held = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.make_room(tenant);
            kept.clock += 1;
            let clock = kept.clock;
            let entry = kept.of.entry(tenant).or_default();
            entry.0 = clock;
            Arc::clone(&entry.1)
        };
        let mut laid = held.lock_owned().await;
        let end = self.log.state().await?.last_seq;
        let filters = [Noun::Inventory, Noun::Part, Noun::Revision];
        let filters = filters.map(|noun| Filter::noun(noun).tenant(tenant));
        let mut reader = self.log.read(&filters, From::Seq(laid.read_to + 1), Some(end));
        while let Some(raw) = reader.next().await? {
            laid.hear(&raw);
        }
        // Nothing below the end needs to be looked at again.
        laid.read_to = laid.read_to.max(end);
        Ok(laid)
    }

    /// The parts of the import `digest` were purged from the log.
    pub(crate) async fn purged(&self, tenant: TenantId, digest: &str) {
        let held = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.of.get(&tenant).map(|(_, laid)| Arc::clone(laid))
        };
        if let Some(held) = held {
            held.lock().await.parts.remove(digest);
        }
    }

    /// The thing `key` of an inventory, read where it lies.
    pub(crate) async fn thing(&self, laid: &Laid, key: Key) -> Result<Option<Inventory>, LaidError> {
        let Some(lies) = laid.things.get(&key) else { return Ok(None) };
        let lost = LaidError::Lost { seq: lies.seq };
        let Some(raw) = self.log.at(lies.seq).await? else { return Err(lost) };
        let found = match raw.decode().map(|heard| heard.fact) {
            Ok(Fact::Inventory(thing)) => Some(thing),
            Ok(Fact::Part(mut part)) if (lies.nth as usize) < part.things.len() => {
                Some(part.things.swap_remove(lies.nth as usize))
            }
            Ok(_) | Err(_) => None,
        };
        match found.filter(|thing| Key::of(thing) == key) {
            Some(thing) => Ok(Some(thing)),
            None => Err(lost),
        }
    }

    /// The node `id` of an inventory, read where it lies.
    pub(crate) async fn node(&self, laid: &Laid, id: NodeId) -> Result<Option<Arc<Node>>, LaidError> {
        Ok(match self.thing(laid, Key::Node(id)).await? {
            Some(Inventory::Node(node)) => Some(node),
            Some(_) | None => None,
        })
    }
}

/// Calls `each` for every node in a group and in the groups in it.
pub(crate) fn members_of(group: &Group, each: &mut impl FnMut(NodeId)) {
    for member in &group.members {
        match member {
            Member::Node(id) => each(*id),
            Member::Group(group) => members_of(group, each),
        }
    }
}

impl Kept {
    /// Forgets what was not asked about for longest, until there is room.
    fn make_room(&mut self, wanted: TenantId) {
        let size = |laid: &Arc<AsyncMutex<Laid>>| laid.try_lock().map_or(0, |laid| laid.things.len());
        let mut total: usize = self.of.values().map(|(_, laid)| size(laid)).sum();
        while total > THINGS_MAX {
            let others = self.of.iter().filter(|(tenant, _)| **tenant != wanted);
            let Some(oldest) = others.min_by_key(|(_, (clock, _))| *clock).map(|(tenant, _)| *tenant) else {
                return;
            };
            if let Some((_, laid)) = self.of.remove(&oldest) {
                total = total.saturating_sub(size(&laid));
            }
        }
    }
}

/// The subject of the one order of a tenant's inventory.
pub(crate) fn revision_subject(tenant: TenantId) -> String {
    let subject = Subject::new(tenant, Noun::Revision, "inventory");
    subject.expect("a key of ours holds token characters alone").to_string()
}
