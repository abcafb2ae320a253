//! The personal data of a file's subscribers: stored sealed, and forgotten with them.

use super::{ImportError, Importer, Ready};
use events::{Entitled, NodeId, Sealed, TenantId};
use network_file::SealedPerson;
use std::collections::{BTreeMap, BTreeSet};
use vault::TenantKeys;

/// How personal data differs from the file.
#[derive(Default)]
pub(super) struct PersonDifference {
    pub(super) stored: Vec<(NodeId, Sealed)>,
    pub(super) forgotten: Vec<NodeId>,
}

impl Importer {
    pub(super) async fn person_difference(
        &self,
        tenant: TenantId,
        ready: &Ready,
        entitlements: &[Entitled],
    ) -> Result<PersonDifference, ImportError> {
        let mut there: BTreeMap<NodeId, Sealed> = self.log.personal(tenant).await?;
        let mut found = PersonDifference::default();
        let anew: BTreeSet<NodeId> = entitlements.iter().map(|entitled| entitled.node).collect();
        for person in &ready.import.persons {
            let before = there.remove(&person.node);
            if before.as_ref() == Some(&person.sealed) {
                continue;
            }
            // Where the file says something new, it says the address too.
            let kept = before.as_ref().filter(|_| !anew.contains(&person.node));
            let sealed = kept.and_then(|before| with_address(&ready.keys, person, before));
            let sealed = sealed.unwrap_or_else(|| person.sealed.clone());
            if before.as_ref() != Some(&sealed) {
                found.stored.push((person.node, sealed));
            }
        }
        found.forgotten = there.into_keys().collect();
        Ok(found)
    }

    pub(super) async fn put_persons(
        &self,
        tenant: TenantId,
        revision: u64,
        persons: PersonDifference,
    ) -> Result<(), ImportError> {
        let half = |reason: String| ImportError::Half { revision, what: "personal data", reason };
        self.log.put_personal(tenant, persons.stored).await.map_err(|e| half(e.to_string()))?;
        for node in persons.forgotten {
            self.log.purge_personal(tenant, node).await.map_err(|e| half(e.to_string()))?;
        }
        Ok(())
    }
}

/// A person of the file with the address that somebody else has given them since, if they are still the same and the
/// file says nothing of one.
fn with_address(keys: &TenantKeys, person: &SealedPerson, before: &Sealed) -> Option<Sealed> {
    let before = keys.open_person(person.node, before).ok()?;
    let mut now = keys.open_person(person.node, &person.sealed).ok()?;
    if now.user.is_none() || now.user != before.user || now.static_address.is_some() {
        return None;
    }
    now.static_address.clone_from(&before.static_address);
    Some(keys.seal_person(person.node, &now))
}
