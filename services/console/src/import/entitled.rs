//! What a network file says of what subscribers are entitled to.
//!
//! It is said once: what somebody else has said since stays until the file says something new, so that importing a
//! file again serves nobody who was suspended meanwhile.

use super::{ImportError, Imported, Importer, outgoing, tokens::by_file};
use events::{Entitled, Entitlement, EntitlementSaid, EventId, Fact, NodeId, Noun, ServiceState, TenantId};
use kit::{Filter, commit::COMMIT_MESSAGES_MAX};
use network_file::Import;
use std::collections::BTreeMap;
use uuid::Uuid;

impl Importer {
    /// What the file says of subscribers that it did not say when it was imported before. What somebody else has
    /// said since stays until the file says something new.
    pub(super) async fn entitlement_difference(
        &self,
        tenant: TenantId,
        import: &Import,
    ) -> Result<Vec<Entitled>, ImportError> {
        let filter = Filter::noun(Noun::Entitlement).tenant(tenant);
        let mut reader = self.log.last_per_subject(&[filter]).await?;
        let mut there: BTreeMap<NodeId, Entitled> = BTreeMap::new();
        while let Some(raw) = reader.next().await? {
            if let Ok(Fact::Entitlement(said)) = raw.decode().map(|heard| heard.fact)
                && let Entitlement::Subscriber(entitled) = said.now
            {
                there.insert(entitled.node, entitled);
            }
        }
        let mut said = Vec::new();
        for entitled in &import.entitlements {
            let before = there.remove(&entitled.node);
            if before.is_none_or(|before| before.file != entitled.file) {
                said.push(entitled.clone());
            }
        }
        // What the file alone had said, and says no more, is nobody's business again.
        let gone = there.into_values().filter(|before| before.file.is_some());
        said.extend(gone.map(|before| Entitled { state: ServiceState::Released, file: None, ..before }));
        Ok(said)
    }

    /// Says what differs, after the revision whose subscribers it is about.
    pub(super) async fn say_entitlements(
        &self,
        tenant: TenantId,
        done: &Imported,
        entitlements: Vec<Entitled>,
        by: &str,
    ) -> Result<(), ImportError> {
        for some in entitlements.chunks(COMMIT_MESSAGES_MAX) {
            let outs = some.iter().map(|entitled| {
                let now = Entitlement::Subscriber(entitled.clone());
                let said = EntitlementSaid { now, by: by_file(by) };
                outgoing(tenant, EventId(Uuid::now_v7()), None, Fact::Entitlement(said))
            });
            self.log.publish_all(outs.collect()).await.map_err(|error| ImportError::Half {
                revision: done.revision,
                what: "entitlements",
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }
}
