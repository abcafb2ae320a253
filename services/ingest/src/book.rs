//! Who may speak: tokens and tenants' keys, as the log says them.
//!
//! Read to its end before the door opens and followed from there, so that a token granted or revoked
//! counts within the time the log takes. Nothing is read from Postgres, ever.

use crate::refusal::Refusal;
use events::{Access, Fact, Grant, LookUpKey, Noun, TenantId, Token};
use ipnet::IpNet;
use kit::{Filter, From, Log, LogError, Raw, admin::Metrics};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use vault::{MasterKeys, PREFIX_LEN, TenantKeys};

/// How long to wait before the log is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// The public part of a token.
pub(crate) type Prefix = [u8; PREFIX_LEN];

/// Who holds a token.
#[derive(Debug)]
pub(crate) struct Holder {
    /// Whose it is.
    pub(crate) tenant: TenantId,
    /// The public part of the token.
    pub(crate) prefix: Prefix,
    /// What it opens.
    pub(crate) grant: Grant,
    sha256: String,
    /// From where; `None`: from anywhere.
    networks: Option<Vec<IpNet>>,
}

impl Holder {
    fn of(tenant: TenantId, token: Token) -> Option<Self> {
        let prefix = token.prefix.as_bytes().try_into().ok()?;
        let networks = (!token.networks.is_empty()).then(|| {
            // What cannot be read lets nobody in: a token must not open wider by a mistake.
            token.networks.iter().filter_map(|text| network(text)).collect()
        });
        Some(Self { tenant, prefix, grant: token.grant, sha256: token.sha256, networks })
    }

    /// The public part, as text.
    pub(crate) fn prefix(&self) -> &str {
        std::str::from_utf8(&self.prefix).expect("a prefix was text before")
    }

    /// Whether it may be used from `source`.
    pub(crate) fn may_come_from(&self, source: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| crate::peer::is_within(source, networks))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Every token and key that is known.
#[derive(Debug)]
pub(crate) struct Book {
    master: MasterKeys,
    shelf: RwLock<Shelf>,
    tokens: Gauge,
    unopened: Counter,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Several tenants' tokens may share a prefix by mischief; each is compared.
    holders: HashMap<Prefix, Vec<Arc<Holder>>>,
    keys: HashMap<TenantId, Arc<TenantKeys>>,
    /// Whose each public part is, revoked ones too; none: two tenants'.
    owners: HashMap<Prefix, Option<TenantId>>,
}

impl Book {
    /// An empty one, for tenants' keys that are wrapped under `master`.
    pub(crate) fn new(master: MasterKeys, metrics: &Metrics) -> Self {
        Self {
            master,
            shelf: RwLock::default(),
            tokens: metrics.gauge("tokens", "Tokens that are known"),
            unopened: metrics.counter("keys_unopened", "Tenants' keys that no master key opened"),
        }
    }

    /// How many tokens are known.
    pub(crate) fn tokens(&self) -> i64 {
        self.tokens.get()
    }

    /// Who holds `token`, if anybody does. Compared in constant time.
    pub(crate) fn holder(&self, token: &str) -> Option<Arc<Holder>> {
        let prefix: Prefix = vault::prefix_of(token).ok()?.as_bytes().try_into().ok()?;
        let digest = vault::sha256_hex(token.as_bytes());
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let candidates = shelf.holders.get(&prefix)?;
        candidates.iter().find(|holder| vault::same(digest.as_bytes(), holder.sha256.as_bytes())).cloned()
    }

    /// Whose `token` would be by its public part, which proves nothing. None where that is nobody's or two tenants'.
    pub(crate) fn owner(&self, token: &str) -> Option<(TenantId, Prefix)> {
        let prefix: Prefix = vault::prefix_of(token).ok()?.as_bytes().try_into().ok()?;
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let tenant = (*shelf.owners.get(&prefix)?)?;
        Some((tenant, prefix))
    }

    /// The keys of `tenant`.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoKeys`] while they are not known.
    pub(crate) fn keys(&self, tenant: TenantId) -> Result<Arc<TenantKeys>, Refusal> {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.keys.get(&tenant).cloned().ok_or(Refusal::NoKeys)
    }

    /// Takes in how one grant or key stands.
    pub(crate) fn apply(&self, tenant: TenantId, access: Access) {
        match access {
            Access::Token(token) => self.apply_token(tenant, token),
            Access::Keys(wrapped) => self.apply_keys(tenant, &wrapped),
        }
    }

    fn apply_token(&self, tenant: TenantId, token: Token) {
        let (name, is_revoked) = (token.name.clone(), token.revoked);
        let Some(holder) = Holder::of(tenant, token) else {
            tracing::error!(%tenant, token = name, "a token whose public part is none is passed over");
            return;
        };
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let prefix = holder.prefix;
        let owner = shelf.owners.entry(prefix).or_insert(Some(tenant));
        if *owner != Some(tenant) {
            *owner = None;
        }
        let holders = shelf.holders.entry(prefix).or_default();
        let before = holders.len();
        holders.retain(|other| other.tenant != tenant);
        self.tokens.dec_by(i64::from(holders.len() < before));
        if !is_revoked {
            holders.push(Arc::new(holder));
            self.tokens.inc();
        }
        if holders.is_empty() {
            shelf.holders.remove(&prefix);
        }
    }

    fn apply_keys(&self, tenant: TenantId, wrapped: &LookUpKey) {
        match self.master.open_tenant(tenant, wrapped) {
            Ok(keys) => {
                let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
                shelf.keys.insert(tenant, Arc::new(keys));
            }
            Err(error) => {
                self.unopened.inc();
                tracing::error!(%tenant, %error, "a tenant's keys do not open: its sessions cannot be heard");
            }
        }
    }

    async fn hear(&self, log: &Log, raw: Raw) {
        match raw.decode() {
            Ok(heard) => {
                if let Fact::Access(said) = heard.fact {
                    self.apply(heard.tenant, said.now);
                }
            }
            Err(error) => log.bury("ingest", &raw, &error.to_string()).await,
        }
    }
}

fn filter() -> [Filter; 1] {
    [Filter::noun(Noun::Access)]
}

/// Reads access as it stands now, and returns up to where. An absent log is waited for.
///
/// # Errors
///
/// [`LogError::Read`]: there is no such stream.
pub(crate) async fn read_to_end(book: &Book, log: &Log) -> Result<u64, LogError> {
    let end = loop {
        match log.state().await {
            Ok(state) => break state.last_seq,
            Err(error) => tracing::info!(%error, "the log does not say where it ends yet"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    if end > 0 {
        let mut reader = log.read(&filter(), From::LastPerSubject, Some(end));
        while let Some(raw) = reader.next().await? {
            book.hear(log, raw).await;
        }
    }
    Ok(end)
}

/// Follows access from `seq` on, without end.
///
/// # Errors
///
/// [`LogError::Read`]: there is no such stream any more.
pub(crate) async fn follow(book: &Book, log: &Log, seq: u64) -> Result<(), LogError> {
    let mut reader = log.read(&filter(), From::Seq(seq), None);
    while let Some(raw) = reader.next().await? {
        book.hear(log, raw).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::NodeId;
    use vault::{FreshToken, MasterKey};

    fn book() -> Book {
        Book::new(MasterKeys::new(MasterKey::random(), vec![]), &Metrics::default())
    }

    fn kept(fresh: &FreshToken, networks: &[&str]) -> Token {
        Token {
            prefix: fresh.prefix().to_owned(),
            sha256: fresh.sha256(),
            grant: Grant::Signals,
            networks: networks.iter().map(|n| (*n).to_owned()).collect(),
            name: "zabbix".into(),
            revoked: false,
        }
    }

    #[test]
    fn a_token_opens_until_it_is_revoked() {
        let (book, tenant, fresh) = (book(), TenantId::of("hillside"), FreshToken::random());
        assert!(book.holder(fresh.text()).is_none());
        book.apply(tenant, Access::Token(kept(&fresh, &[])));
        assert_eq!(book.holder(fresh.text()).unwrap().tenant, tenant);
        assert_eq!(book.tokens(), 1);
        let mut wrong = fresh.text().to_owned();
        wrong.replace_range(wrong.len() - 1.., if wrong.ends_with('a') { "b" } else { "a" });
        assert!(book.holder(&wrong).is_none());
        assert_eq!(book.owner(&wrong).unwrap().0, tenant);
        book.apply(tenant, Access::Token(Token { revoked: true, ..kept(&fresh, &[]) }));
        assert!(book.holder(fresh.text()).is_none());
        assert_eq!(book.owner(fresh.text()).unwrap().0, tenant, "whose it was is known");
        assert_eq!(book.tokens(), 0);
    }

    #[test]
    fn a_tenant_cannot_take_over_anothers_token_by_its_prefix() {
        let (book, fresh) = (book(), FreshToken::random());
        let (ours, theirs) = (TenantId::of("hillside"), TenantId::of("valley"));
        book.apply(ours, Access::Token(kept(&fresh, &[])));
        book.apply(theirs, Access::Token(Token { sha256: "0".repeat(64), ..kept(&fresh, &[]) }));
        assert_eq!(book.holder(fresh.text()).unwrap().tenant, ours);
        assert_eq!(book.owner(fresh.text()), None, "what is refused is not laid at either's door");
        book.apply(theirs, Access::Token(Token { revoked: true, ..kept(&fresh, &[]) }));
        assert_eq!(book.holder(fresh.text()).unwrap().tenant, ours);
    }

    #[test]
    fn a_network_that_cannot_be_read_lets_nobody_in() {
        let from = |networks: &[&str], source: &str| {
            let holder = Holder::of(TenantId::of("t"), kept(&FreshToken::random(), networks)).unwrap();
            holder.may_come_from(source.parse().unwrap())
        };
        assert!(from(&[], "192.0.2.1"));
        assert!(from(&["192.0.2.0/24"], "192.0.2.1"));
        assert!(from(&["198.51.100.1", "192.0.2.1"], "192.0.2.1"));
        assert!(!from(&["198.51.100.0/24"], "192.0.2.1"));
        assert!(!from(&["192.0.2.0/99"], "192.0.2.1"));
    }

    #[test]
    fn keys_under_another_master_key_are_not_taken() {
        let tenant = TenantId::of("hillside");
        let (_, wrapped) = MasterKeys::new(MasterKey::random(), vec![]).new_tenant(tenant);
        let book = book();
        book.apply(tenant, Access::Keys(wrapped));
        assert_eq!(book.keys(tenant).unwrap_err(), Refusal::NoKeys);
        assert_eq!(book.unopened.get(), 1);
        let (keys, wrapped) = book.master.new_tenant(tenant);
        book.apply(tenant, Access::Keys(wrapped));
        let (router, kind) = (NodeId::of(tenant, "r"), vault::SessionKind::Ppp);
        assert_eq!(book.keys(tenant).unwrap().look_up(router, kind, "u"), keys.look_up(router, kind, "u"));
    }
}
