//! Who may do what: tokens and keys, as the log says them.
//!
//! Everything is read from the log's `access` at the start and followed from there, so that tokens
//! work while Postgres is down. What this replica grants or revokes itself holds at once.
//!
//! A prefix is public and chosen by whoever writes a network file, so two tenants may share one. Each
//! is compared; only the digest decides.

use crate::administrators;
use events::{Access, AccessSaid, EventId, Fact, Grant, LookUpKey, Noun, Say, Subject, TenantId, Token};
use ipnet::IpNet;
use kit::{Filter, From, Log, LogError, Outgoing, PublishError, Raw};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use vault::{KeyError, MasterKeys, OpenError, TenantKeys};

/// How long to wait before a log that is away is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// Who calls, as their token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// What operators call the token: stands in the audit.
    pub(crate) name: String,
    /// The token's public part.
    pub(crate) prefix: String,
    /// The one tenant it is for; none: every tenant.
    pub(crate) tenant: Option<TenantId>,
}

/// Why a token opens nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    /// There is no such token, or it was revoked.
    Unknown,
    /// It may not be used from that address.
    Elsewhere,
    /// It is a router's or another system's.
    NotHere,
}

/// A token as it stands, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) tenant: TenantId,
    pub(crate) token: Token,
    pub(crate) by: String,
    /// The place of the message that said so.
    pub(crate) seq: u64,
}

/// Why something about access could not be said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Log(#[from] LogError),
    /// The tenant's keys are wrapped under a master key that is not here.
    #[error("opening the tenant's keys")]
    Keys(#[from] OpenError),
    /// The master keys cannot be read again.
    #[error("reading the master keys again")]
    Master(#[from] KeyError),
}

/// What became of tenants' keys when all were to be wrapped again.
#[derive(Debug, Default)]
pub(crate) struct Rewrapped {
    /// How many were.
    pub(crate) rewrapped: usize,
    /// How many were wrapped under the newest master key already.
    pub(crate) already: usize,
    /// Whose keys no master key opens that is held.
    pub(crate) unopened: Vec<TenantId>,
}

/// Every token and key that is known.
#[derive(Debug)]
pub(crate) struct Register {
    log: Log,
    master: MasterKeys,
    shelf: RwLock<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    tokens: HashMap<String, Vec<Arc<Held>>>,
    keys: HashMap<TenantId, (LookUpKey, u64)>,
}

impl Register {
    /// An empty one, for tenants' keys that are wrapped under `master`.
    pub(crate) fn new(log: Log, master: MasterKeys) -> Self {
        Self { log, master, shelf: RwLock::default() }
    }

    /// Reads access as it stands now, and returns up to where. An absent log is waited for.
    pub(crate) async fn read_to_end(&self) -> Result<u64, LogError> {
        let end = loop {
            match self.log.state().await {
                Ok(state) => break state.last_seq,
                Err(error) => tracing::info!(%error, "the log does not say where it ends yet"),
            }
            tokio::time::sleep(AGAIN).await;
        };
        if end > 0 {
            let mut reader = self.log.read(&[Filter::noun(Noun::Access)], From::LastPerSubject, Some(end));
            while let Some(raw) = reader.next().await? {
                self.hear(&raw).await;
            }
        }
        Ok(end)
    }

    /// Follows access from `seq` on, without end.
    pub(crate) async fn follow(&self, seq: u64) -> Result<(), LogError> {
        let mut reader = self.log.read(&[Filter::noun(Noun::Access)], From::Seq(seq), None);
        while let Some(raw) = reader.next().await? {
            self.hear(&raw).await;
        }
        Ok(())
    }

    async fn hear(&self, raw: &Raw) {
        match raw.decode() {
            Ok(heard) => {
                if let Fact::Access(said) = heard.fact {
                    self.apply(heard.tenant, said, heard.seq);
                }
            }
            Err(error) => self.log.bury("console", raw, &error.to_string()).await,
        }
    }

    /// Takes in how one grant or key stands, unless something newer is known.
    fn apply(&self, tenant: TenantId, said: AccessSaid, seq: u64) {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        match said.now {
            Access::Token(token) => {
                let held = shelf.tokens.entry(token.prefix.clone()).or_default();
                if held.iter().any(|other| other.tenant == tenant && other.seq >= seq) {
                    return;
                }
                held.retain(|other| other.tenant != tenant);
                held.push(Arc::new(Held { tenant, token, by: said.by, seq }));
            }
            Access::Keys(keys) => {
                if shelf.keys.get(&tenant).is_none_or(|(_, known)| *known < seq) {
                    shelf.keys.insert(tenant, (keys, seq));
                }
            }
        }
    }

    /// Who holds `token`, when it opens the console from `peer`. Compared in constant time.
    pub(crate) fn who(&self, token: &str, peer: IpAddr) -> Result<Who, Shut> {
        let prefix = vault::prefix_of(token).map_err(|_| Shut::Unknown)?;
        let candidates = {
            let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
            shelf.tokens.get(prefix).cloned().unwrap_or_default()
        };
        let held = candidates
            .into_iter()
            .find(|held| vault::token_matches(token, &held.token.sha256) && !held.token.revoked)
            .ok_or(Shut::Unknown)?;
        let tenant = match held.token.grant {
            Grant::Console => Some(held.tenant),
            Grant::Administrator if held.tenant == TenantId::operator() => None,
            // Said under a tenant it would open every other: nobody may say that.
            Grant::Administrator => return Err(Shut::Unknown),
            Grant::Router { .. } | Grant::Signals => return Err(Shut::NotHere),
        };
        if !is_within(&held.token.networks, peer) {
            return Err(Shut::Elsewhere);
        }
        Ok(Who { name: held.token.name.clone(), prefix: held.token.prefix.clone(), tenant })
    }

    /// The tokens of `tenant`, by prefix; revoked ones too.
    pub(crate) fn tokens(&self, tenant: TenantId) -> BTreeMap<String, Arc<Held>> {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = shelf.tokens.values().flatten().filter(|held| held.tenant == tenant);
        of_tenant.map(|held| (held.token.prefix.clone(), Arc::clone(held))).collect()
    }

    /// Whether somebody other than `tenant` has a token with this public part.
    pub(crate) fn is_taken(&self, prefix: &str, tenant: TenantId) -> bool {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        prefix == administrators::FIRST
            || shelf.tokens.get(prefix).is_some_and(|held| held.iter().any(|held| held.tenant != tenant))
    }

    /// Whether there is such a tenant. It has keys from its first moment on.
    pub(crate) fn knows(&self, tenant: TenantId) -> bool {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.keys.contains_key(&tenant)
    }

    /// The keys of `tenant`, if it has any.
    pub(crate) async fn keys(&self, tenant: TenantId) -> Result<Option<TenantKeys>, AccessError> {
        let known = {
            let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
            shelf.keys.get(&tenant).map(|(keys, _)| keys.clone())
        };
        if let Some(wrapped) = known {
            return Ok(Some(self.master.open_tenant(tenant, &wrapped)?));
        }
        // Another replica may have drawn them a moment ago.
        if let Some(raw) = self.log.last(&subject(tenant, "keys")).await? {
            self.hear(&raw).await;
        }
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let wrapped = shelf.keys.get(&tenant).map(|(keys, _)| keys);
        Ok(wrapped.map(|wrapped| self.master.open_tenant(tenant, wrapped)).transpose()?)
    }

    /// Keys for a tenant that has none, not said yet.
    pub(crate) fn draw_keys(&self, tenant: TenantId) -> (TenantKeys, LookUpKey) {
        self.master.new_tenant(tenant)
    }

    /// Says the first keys of a tenant. [`PublishError::Conflict`]: somebody else was faster.
    pub(crate) async fn say_keys(
        &self,
        tenant: TenantId,
        keys: LookUpKey,
        by: &str,
    ) -> Result<(), AccessError> {
        self.say(tenant, Access::Keys(keys), by, 0).await
    }

    /// Wraps every tenant's keys under the newest master key, which is read again before.
    ///
    /// Whoever says a tenant's keys in between is right too: they are looked at again.
    pub(crate) async fn rewrap(&self, by: &str) -> Result<Rewrapped, AccessError> {
        self.master.reread()?;
        let known: Vec<(TenantId, LookUpKey, u64)> = {
            let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
            shelf.keys.iter().map(|(tenant, (keys, seq))| (*tenant, keys.clone(), *seq)).collect()
        };
        let mut done = Rewrapped::default();
        for (tenant, mut keys, mut seq) in known {
            loop {
                let now = match self.master.rewrapped(tenant, &keys) {
                    Ok(Some(now)) => now,
                    Ok(None) => break done.already += 1,
                    Err(error) => {
                        tracing::error!(%tenant, %error, "a tenant's keys do not open, so they are left as they are");
                        break done.unopened.push(tenant);
                    }
                };
                match self.say(tenant, Access::Keys(now), by, seq).await {
                    Ok(()) => break done.rewrapped += 1,
                    Err(AccessError::Publish(PublishError::Conflict { .. })) => {
                        let last = self.log.last(&subject(tenant, "keys")).await?;
                        let heard = last.and_then(|raw| raw.decode().ok());
                        let Some(Fact::Access(AccessSaid { now: Access::Keys(said), .. })) =
                            heard.as_ref().map(|heard| &heard.fact)
                        else {
                            break done.unopened.push(tenant);
                        };
                        (keys, seq) = (said.clone(), heard.as_ref().map_or(0, |heard| heard.seq));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(done)
    }

    /// Says how a token stands, if the last that was said of it lies at `last_seq`.
    pub(crate) async fn say_token(
        &self,
        tenant: TenantId,
        token: Token,
        by: &str,
        last_seq: u64,
    ) -> Result<(), AccessError> {
        self.say(tenant, Access::Token(token), by, last_seq).await
    }

    /// What a message about a token is, to be said within a larger commit.
    pub(crate) fn token_said(tenant: TenantId, id: EventId, token: Token, by: &str) -> Outgoing {
        said(tenant, id, Access::Token(token), by)
    }

    /// Remembers a token that was said within a larger commit, at `seq`.
    pub(crate) fn remember_token(&self, tenant: TenantId, token: Token, by: &str, seq: u64) {
        self.apply(tenant, AccessSaid { now: Access::Token(token), by: by.to_owned() }, seq);
    }

    async fn say(&self, tenant: TenantId, now: Access, by: &str, last_seq: u64) -> Result<(), AccessError> {
        let out = said(tenant, EventId(uuid::Uuid::new_v4()), now.clone(), by);
        let stored = self.log.publish_if(out, last_seq).await?;
        self.apply(tenant, AccessSaid { now, by: by.to_owned() }, stored.seq);
        Ok(())
    }
}

pub(crate) fn said(tenant: TenantId, id: EventId, now: Access, by: &str) -> Outgoing {
    let fact = Fact::Access(AccessSaid { now, by: by.to_owned() });
    Outgoing::new(Say { id, tenant, at: crate::now(), cause: None, fact }, crate::SOURCE)
}

pub(crate) fn subject(tenant: TenantId, key: &str) -> String {
    let subject = Subject::new(tenant, Noun::Access, key);
    subject.expect("a key of ours holds token characters alone").to_string()
}

/// Whether `peer` lies in one of `networks`; none of them: anywhere. What cannot be read lets nobody in.
fn is_within(networks: &[String], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    networks.is_empty()
        || networks.iter().any(|text| {
            let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.is_some_and(|network: IpNet| network.contains(&peer))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_let_in_from_its_networks_alone() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(is_within(&[], at("203.0.113.9")));
        let networks = ["10.0.3.0/24".to_owned(), "2001:db8::1".to_owned()];
        assert!(is_within(&networks, at("10.0.3.7")));
        assert!(is_within(&networks, at("::ffff:10.0.3.7")));
        assert!(is_within(&networks, at("2001:db8::1")));
        assert!(!is_within(&networks, at("10.0.4.7")));
        assert!(!is_within(&["nonsense".to_owned()], at("10.0.4.7")));
    }
}
