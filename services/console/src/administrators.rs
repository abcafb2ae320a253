//! Administrators' tokens: how there comes to be a first one, and how it is followed by others.
//!
//! Whoever administrates makes everybody else's tokens by the API, but nobody can make the first one there. So it is
//! made beside the API, on the log, by whoever may speak as the console: at the first start on one machine, or by
//! `mastwatch administrator` and the console's configuration where there are many machines.
//!
//! The first one always has the same public part, and so the same subject: of any number that make it at the
//! same time a compare-and-set lets one through, whatever tokens they brought along.

use crate::access::{said, subject};
use events::{Access, AccessSaid, EventId, Fact, Grant, Noun, TenantId, Token};
use kit::{Filter, Log, LogError, PublishError};
use std::time::Duration;
use vault::{FreshToken, TokenError, Zeroizing};

/// The public part of the first administrator's token.
pub(crate) const FIRST: &str = "firstadmin00";
/// What the first administrator's token is called in the audit.
const FIRST_NAME: &str = "first administrator";
/// The longest name of a further one, bytes. As of every other token.
const NAME_MAX: usize = 200;
/// How often it is tried again when somebody else was faster.
const TRIES_MAX: u32 = 5;
/// How long to wait before a log that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// An administrator's token as it stands, without its secret.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// The public part.
    pub prefix: String,
    /// What it is called: stands in the audit.
    pub name: String,
    /// Whether it opens nothing any more.
    pub revoked: bool,
    /// Who said so.
    pub by: String,
    token: Token,
    seq: u64,
}

/// What became of a token that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It opens the console from now on.
    New,
    /// It did already.
    Already,
}

/// Why a token is not an administrator's now.
#[derive(Debug, thiserror::Error)]
pub enum AdministratorError {
    /// It is not the first: somebody has one that opens everything.
    #[error(
        "there is an administrator already: `{name}`, whose token begins with `mw_{prefix}_`; \
         `mastwatch administrator add` makes one more"
    )]
    Exists {
        /// The public part of theirs.
        prefix: String,
        /// What it is called.
        name: String,
    },
    /// The text is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It has a public part of its own, so of two of them both would be let through.
    #[error(
        "the first administrator's token begins with `mw_{FIRST}_`; `mastwatch administrator draw` prints one"
    )]
    NotFirst,
    /// It was an administrator's and was revoked.
    #[error("the token that begins with `mw_{prefix}_` was revoked, which stays so")]
    Revoked {
        /// Its public part.
        prefix: String,
    },
    /// A different token has the same public part.
    #[error("another administrator's token begins with `mw_{prefix}_` too")]
    Taken {
        /// The public part.
        prefix: String,
    },
    /// No administrator's token has this public part.
    #[error("no administrator's token begins with `mw_{prefix}_`")]
    Unknown {
        /// The public part that was asked for.
        prefix: String,
    },
    /// The name is empty or too long.
    #[error("an administrator's name is 1 to {NAME_MAX} bytes")]
    Name,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log cannot store it, or somebody was faster time and again.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// A fresh token that may become the first administrator's; nobody knows it yet.
pub fn draw_first() -> Zeroizing<String> {
    Zeroizing::new(FreshToken::of_prefix(FIRST).text().to_owned())
}

/// Whether `text` may be the first administrator's token.
///
/// # Errors
///
/// [`AdministratorError::Token`] and [`AdministratorError::NotFirst`], which never show it.
pub fn check_first(text: &str) -> Result<(), AdministratorError> {
    if vault::prefix_of(text)? == FIRST { Ok(()) } else { Err(AdministratorError::NotFirst) }
}

/// Every administrator's token, revoked ones too, by public part.
///
/// # Errors
///
/// [`LogError`] when the log cannot be read.
pub async fn administrators(log: &Log) -> Result<Vec<Administrator>, LogError> {
    let filter = Filter::noun(Noun::Access).tenant(TenantId::operator());
    let mut reader = log.last_per_subject(&[filter]).await?;
    let mut all = Vec::new();
    while let Some(raw) = reader.next().await? {
        let Ok(heard) = raw.decode() else { continue };
        if let Fact::Access(AccessSaid { now: Access::Token(token), by }) = heard.fact
            && token.grant == Grant::Administrator
        {
            let (prefix, name, revoked) = (token.prefix.clone(), token.name.clone(), token.revoked);
            all.push(Administrator { prefix, name, revoked, by, token, seq: heard.seq });
        }
    }
    all.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    Ok(all)
}

/// Makes `text` the first administrator's token. Only its digest is said. The same again changes nothing.
///
/// # Errors
///
/// [`AdministratorError`]; [`AdministratorError::Exists`] when somebody else administrates.
pub async fn give_first(log: &Log, text: &str) -> Result<Given, AdministratorError> {
    check_first(text)?;
    give(log, text, FIRST_NAME, true).await
}

/// Makes `text` one more administrator's token, under its own name. The same again changes nothing.
///
/// # Errors
///
/// [`AdministratorError`].
pub async fn give_another(log: &Log, text: &str, name: &str) -> Result<Given, AdministratorError> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(AdministratorError::Name);
    }
    give(log, text, name, false).await
}

async fn give(log: &Log, text: &str, name: &str, only_first: bool) -> Result<Given, AdministratorError> {
    let token = vault::kept(text, Grant::Administrator, name)?;
    let mut tries = 0;
    loop {
        let there = administrators(log).await?;
        let same = there.iter().find(|one| one.prefix == token.prefix);
        if let Some(same) = same.filter(|one| vault::token_matches(text, &one.token.sha256)) {
            let prefix = token.prefix.clone();
            return if same.revoked {
                Err(AdministratorError::Revoked { prefix })
            } else {
                Ok(Given::Already)
            };
        }
        if only_first && let Some(other) = there.iter().find(|one| !one.revoked) {
            let (prefix, name) = (other.prefix.clone(), other.name.clone());
            return Err(AdministratorError::Exists { prefix, name });
        }
        if !only_first && same.is_some() {
            return Err(AdministratorError::Taken { prefix: token.prefix.clone() });
        }
        match say(log, token.clone(), same.map_or(0, |one| one.seq)).await {
            Ok(()) => return Ok(Given::New),
            // Who was faster is there to be read now.
            Err(PublishError::Conflict { .. }) if tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Revokes the administrator's token with this public part; false when it was revoked already.
///
/// # Errors
///
/// [`AdministratorError`]; [`AdministratorError::Unknown`] when there is none.
pub async fn revoke_administrator(log: &Log, prefix: &str) -> Result<bool, AdministratorError> {
    let mut tries = 0;
    loop {
        let there = administrators(log).await?;
        let Some(one) = there.into_iter().find(|one| one.prefix == prefix) else {
            return Err(AdministratorError::Unknown { prefix: prefix.to_owned() });
        };
        if one.revoked {
            return Ok(false);
        }
        match say(log, Token { revoked: true, ..one.token }, one.seq).await {
            Ok(()) => return Ok(true),
            Err(PublishError::Conflict { .. }) if tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes the first administrator's token, unless there is an administrator already. It is known only
/// to who gets it from here: show it once, or keep it where nobody else can read it.
///
/// Of several processes that start together, one makes it.
///
/// # Errors
///
/// [`AdministratorError`] when the log cannot store it, or cannot be read.
pub async fn first_administrator(log: &Log) -> Result<Option<Zeroizing<String>>, AdministratorError> {
    let text = draw_first();
    match give_first(log, &text).await {
        Ok(_) => Ok(Some(text)),
        Err(AdministratorError::Exists { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a new token in the place of the first administrator's, for an operator who has lost it.
///
/// # Errors
///
/// [`AdministratorError`] when the log cannot store it, or cannot be read.
pub async fn replace_administrator(log: &Log) -> Result<Zeroizing<String>, AdministratorError> {
    let last = log.last(&subject(TenantId::operator(), &format!("token-{FIRST}"))).await?;
    let text = draw_first();
    let token = vault::kept(&text, Grant::Administrator, FIRST_NAME)?;
    say(log, token, last.map_or(0, |raw| raw.seq)).await?;
    Ok(text)
}

/// Makes the token of the configuration the first administrator's, if there is none. A log that is away is waited for.
///
/// One that comes too late is no fault: a replica that starts in a year finds the same configuration.
pub(crate) async fn offer_first(log: &Log, text: &str) {
    loop {
        match give_first(log, text).await {
            Ok(Given::New) => {
                return tracing::info!(
                    "the administrator's token of the configuration opens the console now"
                );
            }
            Ok(Given::Already) => return,
            Err(
                error @ (AdministratorError::Log(_)
                | AdministratorError::Publish(
                    PublishError::Busy
                    | PublishError::Unavailable(_)
                    | PublishError::StoreFull(_)
                    | PublishError::Conflict { .. },
                )),
            ) => {
                tracing::info!(%error, "the log does not take the administrator's token yet");
            }
            Err(error @ AdministratorError::Exists { .. }) => {
                return tracing::info!(%error, "the administrator's token of the configuration is not needed");
            }
            Err(error) => {
                return tracing::warn!(%error, "the administrator's token of the configuration is not taken");
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn say(log: &Log, token: Token, last_seq: u64) -> Result<(), PublishError> {
    let id = EventId(uuid::Uuid::new_v4());
    log.publish_if(said(TenantId::operator(), id, Access::Token(token), "mastwatch"), last_seq).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_for_the_first_may_be_the_first_and_nothing_else_may() {
        assert!(check_first(&draw_first()).is_ok());
        assert_ne!(draw_first(), draw_first());
        let other = FreshToken::random();
        assert!(matches!(check_first(other.text()), Err(AdministratorError::NotFirst)));
        assert!(matches!(check_first("mw_firstadmin00_short"), Err(AdministratorError::Token(_))));
    }
}
