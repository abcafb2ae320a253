//! A router as it is to be looked at: how it is entered, whether it may be changed, and whom it sees.

use domain::plan::Watched;
use events::{ClaimKey, Node, NodeId, Sealed, TenantId};
use roster::Roster;
use routeros_api::Target;
use std::{collections::BTreeSet, sync::Arc};
use vault::{Field, SessionKind, TenantKeys, Zeroizing};

/// A router as it is to be looked at.
pub(crate) struct Known {
    /// Where it is and how it is entered.
    pub(crate) target: Target,
    /// Whether the operator allows it to be changed.
    pub(crate) managed: bool,
    /// What its scripts carry; of managed routers.
    pub(crate) token: Option<Zeroizing<String>>,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// Those it sees.
    pub(crate) children: Vec<Arc<Node>>,
    /// A router up for less than this is blind, milliseconds.
    pub(crate) blind_after_boot_ms: u32,
    /// The tenant's keys.
    pub(crate) keys: Arc<TenantKeys>,
}

impl Known {
    /// A router as the roster has it.
    ///
    /// # Errors
    ///
    /// Why it cannot be looked at, for people.
    pub(crate) fn of(roster: &Roster, tenant: TenantId, router: NodeId) -> Result<Self, String> {
        let target = roster.router(tenant, router)?;
        let keys = roster.keys(tenant)?;
        let node = roster.node(tenant, router).ok_or("the router is not in the inventory")?;
        let login = node.login.as_ref();
        let sealed = login.and_then(|login| login.token.as_ref());
        let policy = roster.look(tenant, |network| network.policy.clone()).unwrap_or_default();
        Ok(Self {
            target,
            managed: login.is_some_and(|login| login.manage),
            token: sealed.map(|sealed| opened(&keys, router, sealed)).transpose()?,
            file_id: node.file_id.clone(),
            children: roster.seen_by(tenant, router),
            blind_after_boot_ms: policy.blind_after_boot_ms,
            keys,
        })
    }

    /// Whom it is to watch.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let watched = |node: &Arc<Node>| Some(Watched { id: node.file_id.clone(), host: node.address? });
        self.children.iter().filter_map(watched).collect()
    }

    /// Under which keys sessions of these users and MAC addresses at `router` are claimed.
    pub(crate) fn claims(&self, router: NodeId, users: &[String], macs: &[String]) -> BTreeSet<ClaimKey> {
        let ppp = users.iter().map(|user| self.keys.look_up(router, SessionKind::Ppp, user));
        let mac = macs.iter().map(|mac| self.keys.look_up(router, SessionKind::Mac, mac));
        ppp.chain(mac).collect()
    }
}

/// Whether a router may be changed, if it is known.
pub(crate) fn is_managed(roster: &Roster, tenant: TenantId, router: NodeId) -> Option<bool> {
    Some(roster.node(tenant, router)?.login.as_ref()?.manage)
}

fn opened(keys: &TenantKeys, router: NodeId, sealed: &Sealed) -> Result<Zeroizing<String>, String> {
    let plain = keys
        .open(Field::RouterToken(router), sealed)
        .map_err(|error| format!("opening the router's token: {error}"))?;
    let text = std::str::from_utf8(&plain).map_err(|_| "the router's token is no text".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}
