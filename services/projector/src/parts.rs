//! The parts of a large import, read again when a revision names them.
//!
//! Nothing is held from the time a part is laid down until then: an import may never take effect,
//! and a projector may start anywhere between the two.

use events::{Fact, Noun, Part, Subject, TenantId};
use kit::log::{Log, LogError};
use std::future::Future;

/// Where parts are read.
pub trait Parts: Send + Sync + 'static {
    /// The `n`th part of the import `digest`.
    fn part(
        &self,
        tenant: TenantId,
        digest: &str,
        n: u32,
    ) -> impl Future<Output = Result<Part, PartError>> + Send;
}

/// Why a part cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The log is away. Asking again is safe and may help.
    #[error("reading part {n} of the import `{digest}`")]
    Away {
        /// Which import.
        digest: String,
        /// Which part.
        n: u32,
        /// What the log said.
        source: LogError,
    },
    /// It is not there, or not what it must be. It is laid down before the revision is made, and kept
    /// for ever: asking again would not help.
    #[error("part {n} of the import `{digest}` {problem}")]
    Lost {
        /// Which import.
        digest: String,
        /// Which part.
        n: u32,
        /// What is the matter with it.
        problem: String,
    },
}

impl From<PartError> for sqlx::Error {
    /// As the kit sorts failures: the first passes, the second lasts and leads to the dead letters.
    fn from(error: PartError) -> Self {
        match error {
            PartError::Away { .. } => sqlx::Error::Io(std::io::Error::other(error)),
            PartError::Lost { .. } => sqlx::Error::Decode(Box::new(error)),
        }
    }
}

impl Parts for Log {
    async fn part(&self, tenant: TenantId, digest: &str, n: u32) -> Result<Part, PartError> {
        let lost = |problem: String| PartError::Lost { digest: digest.to_owned(), n, problem };
        let subject = Subject::new(tenant, Noun::Part, format!("{digest}.{n}"))
            .map_err(|error| lost(format!("has no place in the log: {error}")))?;
        let last = self.last(&subject.to_string()).await;
        let raw = last.map_err(|source| PartError::Away { digest: digest.to_owned(), n, source })?;
        let raw = raw.ok_or_else(|| lost("is not in the log".into()))?;
        match raw.decode() {
            Ok(heard) => match heard.fact {
                Fact::Part(part) => Ok(part),
                other => Err(lost(format!("is a {}", other.noun().token()))),
            },
            Err(error) => Err(lost(format!("cannot be read: {error}"))),
        }
    }
}
