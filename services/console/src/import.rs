//! A network file becomes what the network is: all of it or nothing, and the same file once.
//!
//! The file is read whole, checked as a graph, and held against the inventory as the log has it now. What
//! differs is said in one commit that ends with the next revision, and that commit fails when anybody
//! changed the inventory meanwhile; then all is begun again. What is more than a commit holds is laid
//! down as parts first, which mean nothing until a revision names them: whoever tries again lays
//! down only what is missing.
//!
//! The file is the whole truth about sites, nodes and tokens it brought: what it no longer names is
//! said to be no more. Channels are left alone by a file that names none, and nodes that people added one by one
//! by a file that does not name them; one that would take away what such a node needs is refused.

mod change;
mod difference;
mod entitled;
mod parts;
mod persons;
mod reading;
mod tokens;

pub(crate) use self::change::Change;

use self::{
    difference::difference,
    reading::{Ready, read},
};
use crate::{
    access::{AccessError, Register},
    laid::{Inventories, LaidError},
};
use events::{EventId, Fact, Say, TenantId, Time};
use kit::{Log, LogError, Outgoing, PublishError};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;

/// How often an import is begun again because somebody else changed the inventory meanwhile.
const ATTEMPTS: u32 = 4;
/// How long storing may take, each time.
const STORE_WITHIN: Duration = Duration::from_secs(30);
/// Parts that no revision has named for this long are forgotten.
const PARTS_KEPT_MS: i64 = 24 * 3_600_000;

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Imported {
    /// The tenant's slug.
    pub tenant: String,
    /// The number of the revision that is in force after it.
    pub revision: u64,
    /// Whether a new revision was made.
    pub committed: bool,
    /// Whether it was only asked what would happen.
    pub dry_run: bool,
    /// Sites, nodes and channels that are new.
    pub created: usize,
    /// Those that are other than before.
    pub changed: usize,
    /// Those that are no more.
    pub removed: usize,
    /// Those that are as before.
    pub unchanged: usize,
    /// Nodes that people added one by one and that the file does not name: they stay.
    pub left_alone: usize,
    /// Tokens that open something now, or something else than before.
    pub tokens_granted: usize,
    /// Tokens that the file no longer names.
    pub tokens_revoked: usize,
    /// Public parts of tokens that the file names and that somebody revoked: they stay revoked.
    pub tokens_left_revoked: Vec<String>,
    /// Subscribers whose personal data was stored.
    pub persons_stored: usize,
    /// Subscribers whose personal data was forgotten.
    pub persons_forgotten: usize,
    /// Subscribers who are entitled to something else than before.
    pub entitlements_set: usize,
    /// In how many parts it was laid down; 0: in one commit.
    pub parts: usize,
}

/// One thing that is wrong with a network file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Wrong {
    /// The file, as it was named.
    pub file: String,
    /// Which line, from 1.
    pub line: u32,
    /// Which character of the line, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What would be right, when that can be said.
    pub hint: Option<String>,
}

/// Why a file was not imported. Nothing of it is in force then, but where it says otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("the network file is wrong")]
    Wrong { wrong: Vec<Wrong>, more: bool },
    /// The caller's token is of another tenant than the file.
    #[error("the file is of the tenant `{file}`")]
    Elsewhere { file: String },
    /// It was made on a revision that is not the last one any more.
    #[error("the inventory is at revision {now}")]
    Moved { now: u64 },
    /// Others change the inventory all the time.
    #[error("the inventory changed {ATTEMPTS} times meanwhile")]
    Contended,
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Log(#[from] LogError),
    /// The revision is in force, but what follows it is not complete.
    #[error("revision {revision} is in force, but {what} were not all stored: import the file again")]
    Half { revision: u64, what: &'static str, reason: String },
    /// A thing is not where it lay.
    #[error(transparent)]
    Laid(#[from] LaidError),
    /// A part is not what was laid down.
    #[error("part {n} of the import `{digest}` is not what was laid down")]
    Part { digest: String, n: u32 },
}

/// Who imports, and how.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// What the file is called in messages.
    pub(crate) file: String,
    /// The one tenant that the caller may change; none: any.
    pub(crate) only: Option<TenantId>,
    /// Who it is.
    pub(crate) by: String,
    /// Whether nothing is to be changed.
    pub(crate) dry_run: bool,
    /// The revision it was made on, if the caller cares.
    pub(crate) base: Option<u64>,
}

/// Imports files.
#[derive(Debug, Clone)]
pub(crate) struct Importer {
    log: Log,
    register: Arc<Register>,
    inventories: Arc<Inventories>,
}

impl Importer {
    pub(crate) fn new(log: &Log, register: Arc<Register>, inventories: Arc<Inventories>) -> Self {
        Self { log: log.within(STORE_WITHIN), register, inventories }
    }

    /// Imports `text`, or says what importing it would do.
    pub(crate) async fn import(&self, text: String, asked: &Asked) -> Result<Imported, ImportError> {
        let (file, text_digest) = read(text, asked.file.clone()).await?;
        let tenant = file.tenant_id();
        if asked.only.is_some_and(|only| only != tenant) {
            return Err(ImportError::Elsewhere { file: file.tenant.slug });
        }
        let mut file = Some(file);
        let mut ready: Option<Ready> = None;
        for _ in 0..ATTEMPTS {
            if ready.as_ref().is_none_or(|ready| ready.drawn.is_some()) {
                let file = file.take().or_else(|| ready.take().map(|ready| ready.file));
                let file = file.expect("the file is here or in what was made of it");
                ready = Some(self.prepare(file, text_digest.clone(), asked).await?);
            }
            let ready = ready.as_ref().expect("it was made just now or before");
            match self.attempt(tenant, ready, asked).await {
                Err(
                    ImportError::Publish(PublishError::Conflict { .. })
                    | ImportError::Access(AccessError::Publish(PublishError::Conflict { .. })),
                ) => {}
                settled => return settled,
            }
        }
        Err(ImportError::Contended)
    }

    async fn attempt(&self, tenant: TenantId, ready: &Ready, asked: &Asked) -> Result<Imported, ImportError> {
        // Let go before anything is said: the commit is fenced by the place of this revision.
        let laid = self.inventories.now(tenant).await?;
        let (number, after_seq) = (laid.number(), laid.revision_seq);
        if let Some(base) = asked.base
            && base != number
        {
            return Err(ImportError::Moved { now: number });
        }
        let difference = difference(ready, &laid);
        let wrong = self.orphaned(tenant, &laid, &difference, &asked.file).await?;
        if !wrong.is_empty() {
            return Err(ImportError::Wrong { wrong, more: false });
        }
        let forsaken = laid.forsaken(crate::now().plus_ms(-PARTS_KEPT_MS));
        drop(laid);
        let tokens = self.token_difference(tenant, ready, asked)?;
        let entitlements = self.entitlement_difference(tenant, &ready.import).await?;
        let persons = self.person_difference(tenant, ready, &entitlements).await?;
        let is_change = !difference.things.is_empty() || !tokens.said.is_empty();
        let mut done = Imported {
            tenant: ready.file.tenant.slug.clone(),
            revision: number,
            committed: false,
            dry_run: asked.dry_run,
            created: difference.created,
            changed: difference.changed,
            removed: difference.removed,
            unchanged: difference.unchanged,
            left_alone: difference.left_alone.len(),
            tokens_granted: tokens.granted,
            tokens_revoked: tokens.revoked,
            tokens_left_revoked: tokens.left_revoked,
            persons_stored: persons.stored.len(),
            persons_forgotten: persons.forgotten.len(),
            entitlements_set: entitlements.len(),
            parts: 0,
        };
        if asked.dry_run {
            return Ok(done);
        }
        if let Some(drawn) = &ready.drawn {
            self.register.say_keys(tenant, drawn.clone(), &asked.by).await?;
        }
        if is_change {
            let change = Change {
                tenant,
                number: number + 1,
                after_seq,
                file_digest: Some(ready.text_digest.clone()),
                by: asked.by.clone(),
            };
            done.parts = self.commit(&change, difference.things, tokens.said, None).await?;
            done.revision = change.number;
            done.committed = true;
        }
        self.put_persons(tenant, done.revision, persons).await?;
        self.say_entitlements(tenant, &done, entitlements, &asked.by).await?;
        if done.committed {
            self.forget_forsaken(tenant, forsaken).await;
        }
        Ok(done)
    }
}

fn following(tenant: TenantId, what: &str) -> EventId {
    EventId::following(EventId(tenant.0), crate::SOURCE, what)
}

fn outgoing(tenant: TenantId, id: EventId, cause: Option<EventId>, fact: Fact) -> Outgoing {
    let at: Time = crate::now();
    Outgoing::new(Say { id, tenant, at, cause, fact }, crate::SOURCE)
}
