//! The tokens that a file brings.
//!
//! A file grants and takes back what files granted. What people granted stays, what somebody revoked stays revoked, and
//! the public part of another's token is refused.

use super::{Asked, ImportError, Importer, Ready, Wrong};
use crate::access::Held;
use events::{TenantId, Token};
use network_file::NetworkFile;
use std::{collections::BTreeSet, sync::Arc};

/// What tokens that a file brought are said by, before who imported it.
const BY_FILE: &str = "network file";

/// How the tokens differ from the file.
#[derive(Default)]
pub(super) struct TokenDifference {
    pub(super) said: Vec<Token>,
    pub(super) granted: usize,
    pub(super) revoked: usize,
    pub(super) left_revoked: Vec<String>,
}

impl Importer {
    pub(super) fn token_difference(
        &self,
        tenant: TenantId,
        ready: &Ready,
        asked: &Asked,
    ) -> Result<TokenDifference, ImportError> {
        let held = self.register.tokens(tenant);
        let mut found = TokenDifference::default();
        let mut wrong = Vec::new();
        let mut named = BTreeSet::new();
        for token in &ready.import.tokens {
            named.insert(token.prefix.as_str());
            if self.register.is_taken(&token.prefix, tenant) {
                wrong.push(taken(&ready.file, &asked.file, &token.prefix));
                continue;
            }
            match held.get(&token.prefix).map(Arc::as_ref) {
                Some(held) if held.token == *token => {}
                Some(held) if held.token.revoked && !is_from_file(held) => {
                    found.left_revoked.push(token.prefix.clone());
                }
                Some(held) if !is_from_file(held) && held.token.sha256 != token.sha256 => {
                    wrong.push(taken(&ready.file, &asked.file, &token.prefix));
                }
                Some(_) | None => {
                    found.granted += 1;
                    found.said.push(token.clone());
                }
            }
        }
        if !wrong.is_empty() {
            return Err(ImportError::Wrong { wrong, more: false });
        }
        for held in held.values() {
            let is_gone = !named.contains(held.token.prefix.as_str());
            if is_gone && is_from_file(held) && !held.token.revoked {
                found.revoked += 1;
                found.said.push(Token { revoked: true, ..held.token.clone() });
            }
        }
        Ok(found)
    }
}

pub(super) fn by_file(by: &str) -> String {
    format!("{BY_FILE}, imported by {by}")
}

fn is_from_file(held: &Held) -> bool {
    held.by.starts_with(BY_FILE)
}

fn taken(file: &NetworkFile, name: &str, prefix: &str) -> Wrong {
    let is_it = |token: &network_file::Secret| vault::prefix_of(token.reveal()) == Ok(prefix);
    let of_router = file.nodes.iter().find(|n| n.webhook.as_ref().is_some_and(|w| is_it(&w.token)));
    let other = || file.tokens.iter().find(|token| is_it(&token.token)).map(|token| token.at);
    let at = of_router.map(|node| node.at).or_else(other).unwrap_or_default();
    Wrong {
        file: name.to_owned(),
        line: at.line,
        column: at.column,
        message: format!("the public part `{prefix}` of this token is another token's"),
        hint: Some("make a new token".into()),
    }
}
