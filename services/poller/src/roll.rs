//! Roll calls: what a router knows of those it sees, told whole or as what has changed.
//!
//! Of whom a netwatch entry speaks: [`Children`]. An entry that has not been tested yet says nothing,
//! neither up nor down. Of two entries for one child the one that says up counts: another may
//! watch a service that is down on a host that is not.

use domain::Children;
use events::{ClaimKey, NodeId, RollCall};
use routeros_api::question::{Watch, WatchStatus};
use std::{collections::BTreeSet, time::Duration};

/// How many ids one chunk holds: 40 bytes each, so that it stays far below the 64 KiB of an event.
pub(crate) const CHUNK_IDS_MAX: usize = 700;

/// What a router said of those it sees, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Children whose netwatch entry says up.
    pub(crate) up: BTreeSet<NodeId>,
    /// Children whose netwatch entry says down.
    pub(crate) down: BTreeSet<NodeId>,
    /// Sessions that are there.
    pub(crate) present: BTreeSet<ClaimKey>,
}

impl Told {
    /// What netwatch entries and sessions say of these children.
    pub(crate) fn of(watches: &[Watch], children: &Children, present: BTreeSet<ClaimKey>) -> Self {
        let mut told = Self { present, ..Self::default() };
        for watch in watches.iter().filter(|watch| !watch.is_disabled) {
            let comment = watch.comment.as_deref().unwrap_or_default();
            let Some(child) = children.of_entry(comment, &watch.host, watch.name.as_deref()) else {
                continue;
            };
            match watch.status {
                WatchStatus::Up => told.up.insert(child),
                WatchStatus::Down => told.down.insert(child),
                WatchStatus::Unknown => false,
            };
        }
        told.down.retain(|child| !told.up.contains(child));
        told
    }

    /// All of it, in chunks; at least one.
    pub(crate) fn whole(&self, uptime: Duration) -> Vec<RollCall> {
        let ids = self.up.iter().map(|id| Id::Up(*id));
        let ids = ids.chain(self.down.iter().map(|id| Id::Down(*id)));
        let ids = ids.chain(self.present.iter().map(|key| Id::Present(*key)));
        chunks(true, uptime, &ids.collect::<Vec<_>>())
    }

    /// What is other than `before`, in chunks; at least one, perhaps with nothing in it.
    pub(crate) fn since(&self, before: &Told, uptime: Duration) -> Vec<RollCall> {
        let ids = self.up.difference(&before.up).map(|id| Id::Up(*id));
        let ids = ids.chain(self.down.difference(&before.down).map(|id| Id::Down(*id)));
        let ids = ids.chain(self.present.difference(&before.present).map(|key| Id::Present(*key)));
        let ids = ids.chain(before.present.difference(&self.present).map(|key| Id::Gone(*key)));
        chunks(false, uptime, &ids.collect::<Vec<_>>())
    }
}

#[derive(Clone, Copy)]
enum Id {
    Up(NodeId),
    Down(NodeId),
    Present(ClaimKey),
    Gone(ClaimKey),
}

fn chunks(whole: bool, uptime: Duration, ids: &[Id]) -> Vec<RollCall> {
    let uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
    let count = ids.len().div_ceil(CHUNK_IDS_MAX).max(1);
    let mut all: Vec<RollCall> = (0..count)
        .map(|n| RollCall {
            chunk: u32::try_from(n).unwrap_or(u32::MAX),
            chunks: u32::try_from(count).unwrap_or(u32::MAX),
            whole,
            uptime_ms,
            up: Vec::new(),
            down: Vec::new(),
            present: Vec::new(),
            gone: Vec::new(),
        })
        .collect();
    for (chunk, ids) in all.iter_mut().zip(ids.chunks(CHUNK_IDS_MAX)) {
        for id in ids {
            match *id {
                Id::Up(id) => chunk.up.push(id),
                Id::Down(id) => chunk.down.push(id),
                Id::Present(key) => chunk.present.push(key),
                Id::Gone(key) => chunk.gone.push(key),
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{DeviceClass, Fact, Node, NodeKind, TenantId, Tier};
    use uuid::Uuid;

    fn node(file_id: &str, address: Option<&str>) -> Node {
        let tenant = TenantId::of("hillside");
        Node {
            id: NodeId::of(tenant, file_id),
            file_id: file_id.into(),
            name: file_id.into(),
            kind: NodeKind::Device { class: DeviceClass::SectorAp },
            tier: Tier::Sector,
            site: None,
            needs: Vec::new(),
            address: address.map(|address| address.parse().unwrap()),
            watch: None,
            seen_by: Some(NodeId::of(tenant, "core-1")),
            claims: Vec::new(),
            login: None,
            plan: None,
            owner: None,
            maintenance: Vec::new(),
            origin: events::Origin::default(),
        }
    }

    fn children(nodes: &[Node]) -> Children {
        Children::of(nodes.iter().map(|node| (node.id, node.file_id.as_str(), node.address)))
    }

    fn id(file_id: &str) -> NodeId {
        NodeId::of(TenantId::of("hillside"), file_id)
    }

    fn entry(host: &str, status: WatchStatus) -> Watch {
        Watch {
            host: host.into(),
            status,
            since: None,
            id: None,
            name: None,
            kind: None,
            comment: None,
            is_disabled: false,
            interval: None,
            timeout: None,
        }
    }

    #[test]
    fn an_entry_belongs_to_whom_its_comment_address_or_name_says() {
        let nodes = [node("ap-1", Some("10.0.0.1")), node("ap-2", None), node("ap-3", None)];
        let children = children(&nodes);
        let marked = Watch {
            comment: Some("mastwatch:ap-2 do not touch".into()),
            ..entry("10.0.0.1", WatchStatus::Down)
        };
        let addressed = entry("10.0.0.1@vrf-main", WatchStatus::Up);
        let named = Watch { name: Some("ap-3".into()), ..entry("ap3.example", WatchStatus::Down) };
        let foreign = entry("8.8.8.8", WatchStatus::Down);
        let told = Told::of(&[marked, addressed, named, foreign], &children, BTreeSet::new());
        assert_eq!(told.up, BTreeSet::from([id("ap-1")]));
        assert_eq!(told.down, BTreeSet::from([id("ap-2"), id("ap-3")]));
    }

    #[test]
    fn an_entry_that_was_not_tested_or_is_switched_off_says_nothing() {
        let nodes = [node("ap-1", Some("10.0.0.1")), node("ap-2", Some("10.0.0.2"))];
        let off = Watch { is_disabled: true, ..entry("10.0.0.2", WatchStatus::Down) };
        let told =
            Told::of(&[entry("10.0.0.1", WatchStatus::Unknown), off], &children(&nodes), BTreeSet::new());
        assert_eq!(told, Told::default());
    }

    #[test]
    fn an_address_that_two_have_names_neither_and_up_outweighs_down() {
        let nodes = [node("a", Some("10.0.0.1")), node("b", Some("10.0.0.1")), node("c", Some("10.0.0.3"))];
        let told = Told::of(
            &[
                entry("10.0.0.1", WatchStatus::Down),
                entry("10.0.0.3", WatchStatus::Down),
                entry("10.0.0.3", WatchStatus::Up),
            ],
            &children(&nodes),
            BTreeSet::new(),
        );
        assert_eq!(told, Told { up: BTreeSet::from([id("c")]), ..Told::default() });
    }

    fn keys(range: std::ops::Range<u128>) -> BTreeSet<ClaimKey> {
        range.map(|n| ClaimKey(Uuid::from_u128(n))).collect()
    }

    #[test]
    fn everything_is_told_once_in_chunks_that_stay_small() {
        let told = Told {
            up: (0..300).map(|n| id(&format!("up-{n}"))).collect(),
            down: (0..500).map(|n| id(&format!("down-{n}"))).collect(),
            present: keys(0..2_000),
        };
        let chunks = told.whole(Duration::from_secs(7));
        assert_eq!(chunks.len(), 4);
        let mut again = Told::default();
        for (n, chunk) in chunks.iter().enumerate() {
            assert_eq!(
                (chunk.chunk as usize, chunk.chunks, chunk.whole, chunk.uptime_ms),
                (n, 4, true, 7_000)
            );
            let answer = events::Answer {
                ask: None,
                asked_at: None,
                target: id("core-1"),
                via: events::Vantage::Direct,
                outcome: events::Outcome::RollCall(chunk.clone()),
                pop: "main".into(),
            };
            assert!(serde_json::to_vec(&Fact::Answer(answer)).unwrap().len() < 48 * 1024);
            again.up.extend(&chunk.up);
            again.down.extend(&chunk.down);
            again.present.extend(&chunk.present);
        }
        assert_eq!(again, told);
    }

    #[test]
    fn only_what_has_changed_is_told_and_nothing_is_a_chunk_too() {
        let before = Told { up: BTreeSet::from([id("a")]), down: BTreeSet::new(), present: keys(0..10) };
        let after = Told { up: BTreeSet::new(), down: BTreeSet::from([id("a")]), present: keys(3..11) };
        let [chunk] = after.since(&before, Duration::ZERO).try_into().unwrap();
        assert_eq!((chunk.up, chunk.down), (vec![], vec![id("a")]));
        assert_eq!(chunk.present, keys(10..11).into_iter().collect::<Vec<_>>());
        assert_eq!(chunk.gone, keys(0..3).into_iter().collect::<Vec<_>>());
        let [same] = after.since(&after, Duration::ZERO).try_into().unwrap();
        assert_eq!(
            (same.chunks, same.up.len() + same.down.len() + same.present.len() + same.gone.len()),
            (1, 0)
        );
    }
}
