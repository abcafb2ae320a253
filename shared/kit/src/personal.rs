//! What may be forgotten: sealed personal data beside the log, and parts that never took effect.
//!
//! Of a person there is one message, `personal.<tenant>.<node>`: a newer one takes the older one's place,
//! and erasure purges it. None of it is a fact of the log.

use crate::{
    commit::{COMMIT_MESSAGES_MAX, Member, Outcome, write},
    log::{Log, LogError},
    message::Encoded,
    publish::PublishError,
    read::{Filter, From},
};
use async_nats::{HeaderMap, jetstream::stream::DirectGetErrorKind};
use events::{NodeId, Noun, Sealed, TenantId};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// The stream of personal data.
pub(crate) const STREAM: &str = "PERSONAL";

/// How long to wait before what was not stored is tried again.
const AGAIN: Duration = Duration::from_millis(100);

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
        let stream =
            self.inner.context.get_stream(STREAM).await.map_err(|e| self.unread("personal data", e))?;
        let end = stream.cached_info().state.last_sequence;
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

    /// What is kept about one person, sealed; none when nothing is, or it was forgotten.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn person(&self, tenant: TenantId, node: NodeId) -> Result<Option<Sealed>, LogError> {
        let raw = self.last_in(STREAM, &subject(tenant, node)).await?;
        Ok(raw.and_then(|raw| String::from_utf8(raw.body.to_vec()).ok()).map(Sealed))
    }

    /// The same, as any replica of the stream knows it: for a moment that may be what was kept before. The subject of
    /// the request names the person, so that a user of the log's server can be confined to persons of its tenants.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn person_at_any_replica(
        &self,
        tenant: TenantId,
        node: NodeId,
    ) -> Result<Option<Sealed>, LogError> {
        let subject = subject(tenant, node);
        let stream = self.stream_handle(STREAM).await?;
        match stream.direct_get_last_for_subject(subject.as_str()).await {
            Ok(message) => Ok(String::from_utf8(message.payload.to_vec()).ok().map(Sealed)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unread(format!("the last message of `{subject}`"), error)),
        }
    }

    /// Stores what is known about persons, each in the place of what was known before.
    /// Trying again is safe.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; some of them may be stored then.
    pub async fn put_personal(
        &self,
        tenant: TenantId,
        persons: Vec<(NodeId, Sealed)>,
    ) -> Result<(), PublishError> {
        let messages: Vec<Encoded> = persons
            .into_iter()
            .map(|(node, sealed)| Encoded {
                subject: subject(tenant, node),
                headers: vec![],
                body: sealed.0.into(),
                read_headers: HeaderMap::new(),
            })
            .collect();
        for messages in messages.chunks(COMMIT_MESSAGES_MAX) {
            self.put_batch(messages).await?;
        }
        Ok(())
    }

    async fn put_batch(&self, messages: &[Encoded]) -> Result<(), PublishError> {
        let members: Vec<_> = messages.iter().map(|message| Member { message, more: vec![] }).collect();
        let deadline = Instant::now() + self.within;
        loop {
            let timeout = self.inner.config.ack_timeout;
            let reason = match write(&self.inner.connection, timeout, &members).await {
                Outcome::Stored { .. } => return Ok(()),
                Outcome::Full(text) => return Err(PublishError::StoreFull(text)),
                Outcome::Refused { code, text } => return Err(PublishError::Refused { code, text }),
                // Nothing here is conditional or numbered, and storing it twice changes nothing.
                Outcome::Conflict | Outcome::Known => "refused as a conflict that cannot be".into(),
                Outcome::Away(reason) | Outcome::Unknown(reason) => reason,
            };
            if Instant::now() + AGAIN > deadline {
                return Err(PublishError::Unavailable(reason));
            }
            tokio::time::sleep(AGAIN).await;
        }
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
        let what = || format!("to purge `{filter}`");
        let stream = self.inner.context.get_stream(stream).await.map_err(|e| self.unread(what(), e))?;
        stream.purge().filter(filter.clone()).await.map(|_| ()).map_err(|e| self.unread(what(), e))
    }
}
