//! A change of the inventory is said: by a file or by hand, all of it or nothing.
//!
//! It is one commit that ends with the next revision and is refused when somebody else was faster. Tokens that have no
//! room in it follow.

use super::{
    ImportError, Importer, following, outgoing,
    parts::{bytes_of, digest_of, split},
    tokens::by_file,
};
use crate::{
    access::Register,
    laid::{Laid, revision_subject},
};
use events::{EventId, Fact, Inventory, Revision, RevisionSource, TenantId, Token};
use kit::{Outgoing, commit::COMMIT_MESSAGES_MAX};

/// The most that is said in one commit without parts, bytes.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A change of the inventory, and what it is made on.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) tenant: TenantId,
    /// The number of the revision it makes.
    pub(crate) number: u64,
    /// The place of the revision it was made on; 0: there was none.
    pub(crate) after_seq: u64,
    pub(crate) file_digest: Option<String>,
    pub(crate) by: String,
}

impl Change {
    /// The next change of an inventory, made by hand.
    pub(crate) fn by_hand(tenant: TenantId, laid: &Laid, by: &str) -> Self {
        Self {
            tenant,
            number: laid.number() + 1,
            after_seq: laid.revision_seq,
            file_digest: None,
            by: by.to_owned(),
        }
    }

    /// By whom tokens are said that come with it: a file's go with the file.
    fn token_by(&self) -> String {
        if self.file_digest.is_some() { by_file(&self.by) } else { self.by.clone() }
    }
}

/// What is said together with a small change, and where that came to lie.
pub(super) struct Small {
    beside: Vec<Outgoing>,
    places: Vec<u64>,
}

impl Importer {
    /// Says a change that is small: one that a person made by hand, with its tokens and what belongs to it. All of it
    /// or nothing. Gives the places of `beside`.
    pub(crate) async fn change(
        &self,
        change: &Change,
        things: Vec<Inventory>,
        tokens: Vec<Token>,
        beside: Vec<Outgoing>,
    ) -> Result<Vec<u64>, ImportError> {
        let mut laid = Small { beside, places: vec![] };
        self.commit(change, things, tokens, Some(&mut laid)).await?;
        Ok(laid.places)
    }

    /// Says everything that differs; returns in how many parts.
    pub(super) async fn commit(
        &self,
        change: &Change,
        things: Vec<Inventory>,
        mut tokens: Vec<Token>,
        small: Option<&mut Small>,
    ) -> Result<usize, ImportError> {
        let tenant = change.tenant;
        let sizes: Vec<usize> = things.iter().map(bytes_of).collect();
        let fits = things.len() < COMMIT_MESSAGES_MAX && sizes.iter().sum::<usize>() <= COMMIT_BYTES_MAX;
        let digest = digest_of(change.number, &things);
        let revision_id = following(tenant, &format!("revision-{}-{digest}", change.number));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (source, said, parts) = if fits {
            let source = RevisionSource::Commit { count: count(things.len()) };
            let said = things.into_iter().map(|thing| {
                let id = EventId::following(revision_id, crate::SOURCE, &thing.key());
                outgoing(tenant, id, Some(revision_id), Fact::Inventory(thing))
            });
            (source, said.collect::<Vec<_>>(), 0)
        } else {
            let parts = split(&digest, things, &sizes);
            let number = parts.len();
            self.lay(tenant, &digest, parts).await?;
            (RevisionSource::Parts { digest: digest.clone(), count: count(number) }, vec![], number)
        };
        let room = COMMIT_MESSAGES_MAX - 1 - said.len();
        let later = tokens.split_off(tokens.len().min(room));
        let first_token = said.len();
        let mut outs = said;
        outs.extend(tokens.iter().map(|token| token_out(change, revision_id, token)));
        let first_beside = outs.len();
        let beside_count = small.as_ref().map_or(0, |small| small.beside.len());
        outs.extend(small.iter().flat_map(|small| small.beside.iter().cloned()));
        let revision = Revision {
            number: change.number,
            source,
            file_digest: change.file_digest.clone(),
            by: change.by.clone(),
        };
        outs.push(outgoing(tenant, revision_id, None, Fact::Revision(revision)));
        let stored = self.log.commit(outs, Some((&revision_subject(tenant), change.after_seq))).await?;
        for (token, at) in tokens.into_iter().zip(stored.iter().skip(first_token)) {
            self.register.remember_token(tenant, token, &change.token_by(), at.seq);
        }
        if let Some(small) = small {
            small.places = stored.iter().skip(first_beside).take(beside_count).map(|at| at.seq).collect();
        }
        self.say_tokens(change, revision_id, later).await?;
        Ok(parts)
    }

    /// Says the tokens that had no room in the commit: a token for a network that is in force already.
    async fn say_tokens(
        &self,
        change: &Change,
        revision_id: EventId,
        tokens: Vec<Token>,
    ) -> Result<(), ImportError> {
        for tokens in tokens.chunks(COMMIT_MESSAGES_MAX) {
            let outs = tokens.iter().map(|token| token_out(change, revision_id, token)).collect();
            let stored = self.log.publish_all(outs).await.map_err(|error| ImportError::Half {
                revision: change.number,
                what: "tokens",
                reason: error.to_string(),
            })?;
            for (token, at) in tokens.iter().zip(stored) {
                self.register.remember_token(change.tenant, token.clone(), &change.token_by(), at.seq);
            }
        }
        Ok(())
    }
}

fn token_out(change: &Change, revision_id: EventId, token: &Token) -> Outgoing {
    let id = EventId::following(revision_id, crate::SOURCE, &format!("token-{}", token.prefix));
    Register::token_said(change.tenant, id, token.clone(), &change.token_by())
}
