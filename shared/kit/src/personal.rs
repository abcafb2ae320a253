//! What may be forgotten: sealed personal data beside the log, and parts that never took effect.
//!
//! Of a person there is one message, `personal.<tenant>.<node>`: a newer one takes the older one's place,
//! and erasure purges it. None of it is a fact of the log.

use crate::{
    log::{Log, LogError, chain},
    publish::PublishError,
    read::{Filter, From},
};
use events::{NodeId, Noun, Sealed, TenantId};
use futures::{StreamExt, stream};
use std::collections::BTreeMap;

/// The stream of personal data.
const STREAM: &str = "PERSONAL";

/// How many messages are on their way at once.
const PIPELINE: usize = 256;

fn subject(tenant: TenantId, node: NodeId) -> String {
    format!("personal.{tenant}.{node}")
}

impl Log {
    /// What is kept about the persons of a tenant, sealed.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn personal(&self, tenant: TenantId) -> Result<BTreeMap<NodeId, Sealed>, LogError> {
        let fail = |reason: String| LogError::Read { what: "personal data".into(), reason };
        let stream = self.inner.context.get_stream(STREAM).await.map_err(|e| fail(chain(e)))?;
        let end = stream.get_info().await.map_err(|e| fail(chain(e)))?.state.last_sequence;
        let filter = format!("personal.{tenant}.>");
        let mut reader = self.read_stream(STREAM, vec![filter], From::LastPerSubject, Some(end));
        let mut found = BTreeMap::new();
        while let Some(raw) = reader.next().await? {
            let node = raw.subject.rsplit('.').next().and_then(|node| node.parse().ok());
            if let (Some(node), Ok(sealed)) = (node, String::from_utf8(raw.body.to_vec())) {
                found.insert(node, Sealed(sealed));
            }
        }
        Ok(found)
    }

    /// Stores what is known about persons, each in the place of what was known before.
    /// Trying again is safe.
    ///
    /// # Errors
    ///
    /// [`PublishError::Unavailable`]; some of them may be stored then.
    pub async fn put_personal(
        &self,
        tenant: TenantId,
        persons: Vec<(NodeId, Sealed)>,
    ) -> Result<(), PublishError> {
        let context = &self.inner.context;
        let mut stored = stream::iter(persons)
            .map(|(node, sealed)| async move {
                let away = |reason: String| PublishError::Unavailable(reason);
                let sent = context.publish(subject(tenant, node), sealed.0.into()).await;
                sent.map_err(|e| away(chain(e)))?.await.map_err(|e| away(chain(e)))
            })
            .buffer_unordered(PIPELINE);
        while let Some(ack) = stored.next().await {
            ack?;
        }
        Ok(())
    }

    /// Forgets a person for ever.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn purge_personal(&self, tenant: TenantId, node: NodeId) -> Result<(), LogError> {
        self.purge(STREAM, subject(tenant, node)).await
    }

    /// Forgets the parts of an import that no revision names.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn purge_parts(&self, tenant: TenantId, digest: &str) -> Result<(), LogError> {
        let filter = Filter::noun(Noun::Part).tenant(tenant).below(digest).to_string();
        self.purge(&self.inner.config.stream, filter).await
    }

    async fn purge(&self, stream: &str, filter: String) -> Result<(), LogError> {
        let fail = |reason: String| LogError::Read { what: format!("to purge `{filter}`"), reason };
        let stream = self.inner.context.get_stream(stream).await.map_err(|e| fail(chain(e)))?;
        stream.purge().filter(filter.clone()).await.map(|_| ()).map_err(|e| fail(chain(e)))
    }
}
