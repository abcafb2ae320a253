//! What a router knows and nobody here has heard of: a claim that was lost on its way.
//!
//! The router is the truth. What its netwatch entries and its session tables say of those it sees is held
//! against what is believed of them; where the two differ a claim is made, which is looked into like any
//! other. So nothing is believed because it is said here.
//!
//! A router that booted a moment ago has not looked at its children yet: it tells nothing. Nor is
//! anything said of whom it does not speak of, or of whom a claim is being looked into already.

use crate::children::Children;
use events::{Claim, ClaimKey, Health, NodeId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What a router told of itself and those it sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterTold {
    /// How long it has been up, milliseconds.
    pub uptime_ms: u64,
    /// Its netwatch entries.
    pub entries: Vec<Entry>,
    /// Sessions that are there; `None`: its tables were not read.
    pub present: Option<BTreeSet<ClaimKey>>,
}

/// One netwatch entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whom it watches: an address, perhaps with what follows `@` or `%`, or a name.
    pub host: String,
    /// What stands beside it.
    pub comment: String,
    /// What it is called, if it is.
    pub name: Option<String>,
    /// Whether it answers; `None` when it was not tested yet, or is switched off.
    pub is_up: Option<bool>,
}

/// Somebody whom a router sees, and what is believed of him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Who.
    pub node: NodeId,
    /// His id in the network file.
    pub file_id: String,
    /// Where he answers.
    pub address: Option<IpAddr>,
    /// Under which keys his sessions are claimed.
    pub keys: Vec<ClaimKey>,
    /// What is believed of him; `None`: nothing was ever said, and he is being asked about.
    pub health: Option<Health>,
    /// Whether he is being looked into: suspected, or about to come back.
    pub is_pending: bool,
}

/// One thing that is to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Of whom.
    pub node: NodeId,
    /// What the router says.
    pub says: Claim,
    /// Whether it says so by a session, and not by a netwatch entry.
    pub by_session: bool,
}

/// Where the router and what is believed differ, in order of the nodes.
pub fn differences(told: &RouterTold, children: &[Child], blind_after_boot_ms: u32) -> Vec<Difference> {
    if told.uptime_ms < u64::from(blind_after_boot_ms) {
        return Vec::new();
    }
    let watched = watched(&told.entries, children);
    let mut found: Vec<Difference> = children
        .iter()
        .filter(|child| !child.is_pending)
        .filter_map(|child| {
            let by_entry = watched.get(&child.node).map(|is_up| (*is_up, false));
            let by_session = || {
                let present = told.present.as_ref().filter(|_| !child.keys.is_empty())?;
                Some((child.keys.iter().any(|key| present.contains(key)), true))
            };
            let (is_up, by_session) = by_entry.or_else(by_session)?;
            let says = news(is_up, child.health)?;
            Some(Difference { node: child.node, says, by_session })
        })
        .collect();
    found.sort_by_key(|difference| difference.node);
    found
}

/// What is news to who believes this. Of whom nothing was ever believed is being asked already.
fn news(is_up: bool, believed: Option<Health>) -> Option<Claim> {
    match (is_up, believed?) {
        (true, Health::Up | Health::Degraded) | (false, Health::Down | Health::Impacted) => None,
        (true, Health::Down | Health::Impacted | Health::Unknown) => Some(Claim::Up),
        (false, Health::Up | Health::Degraded | Health::Unknown) => Some(Claim::Down),
    }
}

/// Of whom the entries speak. Of several entries that which says up counts: another may watch a service of his.
fn watched(entries: &[Entry], children: &[Child]) -> BTreeMap<NodeId, bool> {
    let children = Children::of(children.iter().map(|c| (c.node, c.file_id.as_str(), c.address)));
    let mut watched = BTreeMap::new();
    for entry in entries {
        let Some(is_up) = entry.is_up else { continue };
        if let Some(node) = children.of_entry(&entry.comment, &entry.host, entry.name.as_deref()) {
            watched.entry(node).and_modify(|known| *known |= is_up).or_insert(is_up);
        }
    }
    watched
}
