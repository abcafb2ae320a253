//! How people are reached: channels of every tenant, and the keys their secrets are sealed with.
//!
//! Of the inventory only channels are kept. They are in force from the revision that names them, like
//! everything else of it.

use events::{Access, Channel, ChannelId, Fact, Heard, Inventory, Noun, RevisionSource, TenantId};
use kit::{Filter, From, Log, LogError, Raw};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use vault::{MasterKeys, TenantKeys};

/// How long to wait before the log is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// Channels and keys.
#[derive(Debug)]
pub(crate) struct Directory {
    master: MasterKeys,
    tenants: RwLock<HashMap<TenantId, Tenant>>,
}

#[derive(Debug, Default)]
struct Tenant {
    channels: HashMap<ChannelId, Arc<Channel>>,
    keys: Option<Arc<TenantKeys>>,
    staged: Vec<Change>,
    /// By the digest of their import.
    parts: BTreeMap<String, BTreeMap<u32, Vec<Change>>>,
}

/// What concerns channels.
#[derive(Debug)]
enum Change {
    Put(Channel),
    Take(ChannelId),
}

impl Change {
    fn of(thing: Inventory) -> Option<Self> {
        match thing {
            Inventory::Channel(channel) => Some(Change::Put(channel)),
            Inventory::ChannelRemoved { id } => Some(Change::Take(id)),
            Inventory::Tenant(_)
            | Inventory::Site(_)
            | Inventory::Node(_)
            | Inventory::Policy(_)
            | Inventory::SiteRemoved { .. }
            | Inventory::NodeRemoved { .. } => None,
        }
    }
}

impl Directory {
    /// An empty one, for tenants' keys that are wrapped under `master`.
    pub(crate) fn new(master: MasterKeys) -> Self {
        Self { master, tenants: RwLock::default() }
    }

    /// A channel, and the keys of its tenant if they are known.
    pub(crate) fn channel(
        &self,
        tenant: TenantId,
        id: ChannelId,
    ) -> Option<(Arc<Channel>, Option<Arc<TenantKeys>>)> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let tenant = tenants.get(&tenant)?;
        Some((tenant.channels.get(&id)?.clone(), tenant.keys.clone()))
    }

    /// Takes in one fact, in the order of the log.
    pub(crate) fn hear(&self, heard: Heard) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let tenant = tenants.entry(heard.tenant).or_default();
        match heard.fact {
            Fact::Inventory(thing) => tenant.staged.extend(Change::of(thing)),
            Fact::Part(part) => {
                let changes = part.things.into_iter().filter_map(Change::of).collect();
                tenant.parts.entry(part.digest).or_default().insert(part.n, changes);
            }
            Fact::Revision(revision) => {
                let mut changes = match revision.source {
                    RevisionSource::Commit { .. } => Vec::new(),
                    RevisionSource::Parts { digest, .. } => {
                        tenant.parts.remove(&digest).unwrap_or_default().into_values().flatten().collect()
                    }
                };
                changes.append(&mut tenant.staged);
                for change in changes {
                    match change {
                        Change::Put(channel) => {
                            tenant.channels.insert(channel.id, Arc::new(channel));
                        }
                        Change::Take(id) => drop(tenant.channels.remove(&id)),
                    }
                }
            }
            Fact::Access(said) => match said.now {
                Access::Keys(wrapped) => match self.master.open_tenant(heard.tenant, &wrapped) {
                    Ok(keys) => tenant.keys = Some(Arc::new(keys)),
                    Err(error) => {
                        tracing::error!(tenant = %heard.tenant, %error, "a tenant's keys do not open");
                    }
                },
                Access::Token(_) => {}
            },
            Fact::Order(_)
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

    fn take_in(&self, raw: &Raw) {
        match raw.decode() {
            Ok(heard) => self.hear(heard),
            // The deciding half hears the same and buries it.
            Err(error) => tracing::error!(seq = raw.seq, %error, "a message that is no fact is passed over"),
        }
    }
}

fn filters() -> [Filter; 4] {
    [Noun::Inventory, Noun::Part, Noun::Revision, Noun::Access].map(Filter::noun)
}

/// Reads everything up to the end of the log, and returns up to where. An absent log is waited for.
///
/// # Errors
///
/// [`LogError::Read`]: there is no such stream.
pub(crate) async fn read_to_end(directory: &Directory, log: &Log) -> Result<u64, LogError> {
    let end = loop {
        match log.state().await {
            Ok(state) => break state.last_seq,
            Err(error) => tracing::info!(%error, "the log does not say where it ends yet"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    let mut reader = log.read(&filters(), From::Start, Some(end));
    while let Some(raw) = reader.next().await? {
        directory.take_in(&raw);
    }
    Ok(end)
}

/// Follows from `seq` on, without end.
///
/// # Errors
///
/// [`LogError::Read`]: there is no such stream any more.
pub(crate) async fn follow(directory: &Directory, log: &Log, seq: u64) -> Result<(), LogError> {
    let mut reader = log.read(&filters(), From::Seq(seq), None);
    while let Some(raw) = reader.next().await? {
        directory.take_in(&raw);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Audience, ChannelKind, EventId, Part, Revision, Time};
    use vault::MasterKey;

    fn channel(tenant: TenantId, name: &str) -> Channel {
        let kind =
            ChannelKind::Email { server: "smtp://m".into(), from: "f".into(), to: vec![], login: None };
        Channel { id: ChannelId::of(tenant, name), name: name.into(), audience: Audience::Engineers, kind }
    }

    #[test]
    fn a_channel_is_in_force_from_its_revision_on() {
        let directory = Directory::new(MasterKeys::new(MasterKey::random(), vec![]));
        let tenant = TenantId::of("hillside");
        let hear = |fact| {
            let (id, at) = (EventId::default(), Time::EPOCH);
            directory.hear(Heard { seq: 1, id, tenant, heard: at, at, fact });
        };
        let revision = |number, source| {
            Fact::Revision(Revision { number, source, file_digest: None, by: "a test".into() })
        };
        let (noc, field) = (channel(tenant, "noc"), channel(tenant, "field"));
        let knows = |c: &Channel| directory.channel(tenant, c.id).is_some();
        hear(Fact::Inventory(Inventory::Channel(noc.clone())));
        assert!(!knows(&noc));
        hear(revision(1, RevisionSource::Commit { count: 1 }));
        assert!(knows(&noc));
        let things = vec![Inventory::Channel(field.clone()), Inventory::ChannelRemoved { id: noc.id }];
        hear(Fact::Part(Part { digest: "d".into(), n: 0, things }));
        assert!(!knows(&field));
        hear(revision(2, RevisionSource::Parts { digest: "d".into(), count: 1 }));
        assert!(knows(&field) && !knows(&noc));
    }
}
