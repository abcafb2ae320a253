//! The reporter says what the router knows and nobody has heard of, and nothing else.

use domain::reporter::{Child, Difference, Entry, RouterTold, differences};
use events::{Claim, ClaimKey, Health, NodeId, TenantId};
use proptest::prelude::*;
use std::collections::BTreeSet;
use uuid::Uuid;

const BLIND_MS: u32 = 360_000;

fn key(n: u8) -> ClaimKey {
    ClaimKey(Uuid::from_u128(u128::from(n)))
}

fn believed() -> impl Strategy<Value = Option<Health>> {
    let all = [Health::Up, Health::Down, Health::Impacted, Health::Degraded, Health::Unknown];
    prop::option::of(prop::sample::select(all.to_vec()))
}

/// A child, whether its router says up, and whether it says so by netwatch or by a session.
fn child(n: u8) -> impl Strategy<Value = (Child, Option<bool>, bool)> {
    (believed(), any::<bool>(), any::<Option<bool>>(), any::<bool>()).prop_map(
        move |(health, is_pending, says, by_session)| {
            let file_id = format!("child-{n}");
            let child = Child {
                node: NodeId::of(TenantId::of("hillside"), &file_id),
                file_id,
                address: (!by_session).then(|| [10, 0, 0, n].into()),
                keys: if by_session { vec![key(n)] } else { vec![] },
                health,
                is_pending,
            };
            (child, says, by_session)
        },
    )
}

fn children() -> impl Strategy<Value = Vec<(Child, Option<bool>, bool)>> {
    (0_u8..9).prop_flat_map(|count| (0..count).map(child).collect::<Vec<_>>())
}

fn told(children: &[(Child, Option<bool>, bool)], uptime_ms: u64) -> RouterTold {
    let entries = children.iter().filter(|(_, _, by_session)| !by_session).map(|(child, says, _)| Entry {
        host: child.address.unwrap().to_string(),
        comment: String::new(),
        name: None,
        is_up: *says,
    });
    let present = children.iter().filter(|(_, says, by_session)| *by_session && *says == Some(true));
    RouterTold {
        uptime_ms,
        entries: entries.collect(),
        present: Some(present.flat_map(|(child, ..)| child.keys.clone()).collect()),
    }
}

fn works(health: Option<Health>) -> bool {
    matches!(health, Some(Health::Up | Health::Degraded))
}

proptest! {
    /// When every claim is believed, the router has nothing more to tell.
    #[test]
    fn what_is_claimed_makes_the_belief_the_routers(mut children in children()) {
        let told = told(&children, u64::MAX);
        let list = |all: &[(Child, Option<bool>, bool)]| all.iter().map(|(c, ..)| c.clone()).collect::<Vec<_>>();
        let found = differences(&told, &list(&children), BLIND_MS);
        for (child, says, by_session) in &mut children {
            let claim = found.iter().find(|difference| difference.node == child.node);
            let says_up = if *by_session { Some(*says == Some(true)) } else { *says };
            if child.is_pending || says_up.is_none() || child.health.is_none() {
                prop_assert_eq!(claim, None);
                continue;
            }
            let is_broken = matches!(child.health, Some(Health::Down | Health::Impacted));
            prop_assert_eq!(claim.is_none(), if says_up == Some(true) { works(child.health) } else { is_broken });
            match claim.map(|claim| claim.says) {
                Some(Claim::Up) => child.health = Some(Health::Up),
                Some(Claim::Down | Claim::Degraded) => child.health = Some(Health::Down),
                None => {}
            }
        }
        prop_assert_eq!(differences(&told, &list(&children), BLIND_MS), vec![]);
    }

    /// A router that booted less than the tenant's time ago is blind, not its children down.
    #[test]
    fn a_router_that_has_just_booted_tells_nothing(children in children(), uptime_ms in 0..u64::from(BLIND_MS)) {
        let list: Vec<Child> = children.iter().map(|(child, ..)| child.clone()).collect();
        prop_assert_eq!(differences(&told(&children, uptime_ms), &list, BLIND_MS), vec![]);
    }
}

fn watched(file_id: &str, address: [u8; 4]) -> Child {
    Child {
        node: NodeId::of(TenantId::of("hillside"), file_id),
        file_id: file_id.into(),
        address: Some(address.into()),
        keys: vec![],
        health: Some(Health::Up),
        is_pending: false,
    }
}

#[test]
fn an_entry_belongs_to_whom_it_names_and_one_that_says_up_outweighs_one_that_says_down() {
    let children = [watched("a", [10, 0, 0, 1]), watched("b", [10, 0, 0, 1]), watched("c", [10, 0, 0, 3])];
    let entry = |host: &str, comment: &str, is_up| Entry {
        host: host.into(),
        comment: comment.into(),
        name: None,
        is_up: Some(is_up),
    };
    let told = RouterTold {
        uptime_ms: u64::MAX,
        entries: vec![
            entry("10.0.0.1", "mastwatch:a", false),
            entry("10.0.0.1", "somebody's", false), // Of two children's address: nobody's.
            entry("10.0.0.3%ether1", "", false),
            entry("10.0.0.3", "his web page", true),
        ],
        present: Some(BTreeSet::new()),
    };
    let claim = Difference { node: children[0].node, says: Claim::Down, by_session: false };
    assert_eq!(differences(&told, &children, BLIND_MS), vec![claim]);
}
