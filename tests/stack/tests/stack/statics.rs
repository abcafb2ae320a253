//! Subscribers with a static address in the whole: the same private address behind two routers, and nobody else to
//! tell of either.

use events::{About, Claim, Fact, NodeId, Noun, Probe, SignalSource, Watch};
use network_file::{Concentrators, LabHints, Session, Shape};
use serde_json::Value;
use stack::{
    Stack, free_port,
    hand::{facts, until},
};
use std::{collections::BTreeSet, fs, time::Duration};

/// The address that both have.
const SHARED: &str = "192.168.88.50";

/// The sockets of a process by which it can send or hear ICMP: those for echoes, raw ones, and those for whole packets.
fn sockets_for_echoes(pid: u32) -> usize {
    let own: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    assert!(!own.is_empty(), "it speaks to the log at least");
    // Where the number of a socket stands in a line: Linux, Documentation/networking/proc_net_tcp.rst; packet(7).
    let tables = [("icmp", 9), ("icmp6", 9), ("raw", 9), ("raw6", 9), ("packet", 8)];
    let lines = tables.iter().flat_map(|(table, column)| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let numbers =
            text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(*column).map(str::to_owned));
        numbers.collect::<Vec<_>>()
    });
    lines.filter(|number| own.contains(number)).count()
}

/// Requirements, R8: two routers own the same private address, one of the two who have it answers: each has the
/// status that is its own, and this host asks neither.
#[tokio::test(flavor = "multi_thread")]
async fn two_with_one_address_behind_two_routers_have_opposite_statuses_and_this_host_asks_neither() {
    let stack = Stack::start().await.unwrap();
    let shape = Shape {
        towers: 2,
        sectors: 1,
        clients: 1,
        heartbeat_s: 5,
        concentrators: Concentrators::Towers,
        api_port: free_port().unwrap().port(),
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    stack.tell_the_sink(&mut network);
    for subscriber in &mut network.subscribers {
        subscriber.session = Session::Static(SHARED.parse().unwrap());
    }
    // No netwatch entry tells of anybody.
    network.lab.defaults = LabHints { netwatch: Some(false), ..network.lab.defaults };
    let accounts: Vec<String> = network.subscribers.iter().map(|one| one.account.clone()).collect();
    let [one, other] = &accounts[..] else { panic!("{accounts:?}") };
    let (tenant, id) = (network.tenant.slug.clone(), network.tenant_id());

    let running =
        stack.run(&["ingest", "diagnostician", "correlator", "notifier", "projector", "console"]).unwrap();
    let often = [("MASTWATCH_POLLER__STATIC_EVERY_S", "2")];
    let poller = stack.run_as(&["poller"], None, &often).unwrap();
    let lab = stack.play(&network).await.unwrap();
    stack.import(&network).await.unwrap();
    let api = stack.api_of(&tenant);
    let is = async |account: &str, wanted: &str| {
        until(&format!("{account} is {wanted}"), &poller, async || {
            let told = api.find(&format!("/api/v1/health/{account}")).await.ok()??;
            (told["health"] == wanted).then_some(())
        })
        .await;
    };
    let place = |account: &str| lab.network().find(account).unwrap();
    is(one, "up").await;
    is(other, "up").await;
    lab.set_broken(&[place(one)], true);
    is(one, "down").await;
    is(other, "up").await;
    // And the other way round.
    lab.set_broken(&[place(other)], true);
    is(other, "down").await;
    lab.set_broken(&[place(one)], false);
    is(one, "up").await;
    is(other, "down").await;

    // What told of it were pings by the routers, and nothing that this host sent.
    let claims = async |account: &str| {
        let about = About::Node(NodeId::of_account(id, account));
        let signals = facts(&stack, Noun::Signal).await.into_iter();
        let says = signals.filter_map(|fact| match fact {
            Fact::Signal(signal) if signal.about == about => {
                assert_eq!(signal.source, SignalSource::ProxyPing);
                Some(signal.says)
            }
            _ => None,
        });
        says.collect::<Vec<_>>()
    };
    assert_eq!(claims(one).await, [Claim::Up, Claim::Down, Claim::Up]);
    assert_eq!(claims(other).await, [Claim::Up, Claim::Down]);
    let (_, routers) = lab.counters();
    for tower in ["tower-1", "tower-2"] {
        let pings = routers[tower].calls.get("/ping").copied().unwrap_or(0);
        assert!(pings > 5, "{tower}: {:?}", routers[tower].calls);
        assert!(routers[tower].echoes >= pings, "{tower}");
    }
    assert_eq!(sockets_for_echoes(poller.pid()), 0);
    assert!(stack.sink.told().is_empty(), "one subscriber wakes nobody: {:?}", stack.sink.told());

    // The address is in nothing that was said.
    for noun in [Noun::Inventory, Noun::Signal, Noun::Ask, Noun::Answer, Noun::Suspicion, Noun::Health] {
        let said = facts(&stack, noun).await;
        assert!(!said.is_empty(), "{noun:?}");
        for fact in said {
            let text = serde_json::to_value(&fact).map(|value: Value| value.to_string()).unwrap();
            assert!(!text.contains(SHARED), "{text}");
        }
    }
    for service in [&running, &poller] {
        assert!(!service.said_in_all().contains(SHARED));
    }
    // When its sector is down, the one on it is cut off and not broken.
    lab.set_broken(&[place("tower-1-sector-1")], true);
    is(one, "impacted").await;
    lab.set_broken(&[place("tower-1-sector-1")], false);
    is(one, "up").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    is(other, "down").await;
    lab.stop().await;
}

/// A router that was away is no witness of those behind it, and one again as soon as it sees: whoever is there then is up
/// although nobody but the router tells of it, and whoever has gone meanwhile is down by a ping and not by the outage.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_was_away_and_is_back_tells_who_is_there_and_who_is_not() {
    let stack = Stack::start().await.unwrap();
    let shape = Shape {
        towers: 1,
        sectors: 1,
        clients: 2,
        heartbeat_s: 5,
        concentrators: Concentrators::Towers,
        api_port: free_port().unwrap().port(),
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    for (n, subscriber) in (0..).zip(&mut network.subscribers) {
        subscriber.session = Session::Static([192, 168, 88, 50 + n].into());
    }
    network.lab.defaults = LabHints { netwatch: Some(false), ..network.lab.defaults };
    // The clocks of routers run ten times as fast here, and the log's does not: as it is, whoever is missing after the outage
    // would be walked again after five minutes of ours.
    network.policy.blind_after_boot_ms = 20_000;
    network.policy.recover_hold_ms = 15_000;
    // Nobody tells of the tower either: it is looked at.
    let tower = network.nodes.iter_mut().find(|node| node.id == "tower-1").unwrap();
    tower.watch = Some(Watch { probe: Probe::RouterOs, every_s: 5 });
    let accounts: Vec<String> = network.subscribers.iter().map(|one| one.account.clone()).collect();
    let [stays, goes] = &accounts[..] else { panic!("{accounts:?}") };
    let slug = network.tenant.slug.clone();
    let running =
        stack.run(&["ingest", "diagnostician", "correlator", "notifier", "projector", "console"]).unwrap();
    let poller = stack.run_as(&["poller"], None, &[("MASTWATCH_POLLER__STATIC_EVERY_S", "2")]).unwrap();
    let lab = stack.play(&network).await.unwrap();
    stack.import(&network).await.unwrap();
    let api = stack.api_of(&slug);
    let is = async |what: &str, wanted: &str| {
        until(&format!("{what} is {wanted}"), &running, async || {
            let told = api.find(&format!("/api/v1/health/{what}")).await.ok()??;
            (told["health"] == wanted).then_some(())
        })
        .await;
    };
    let place = |id: &str| lab.network().find(id).unwrap();
    is(stays, "up").await;
    is(goes, "up").await;
    lab.set_broken(&[place("tower-1")], true);
    is("tower-1", "down").await;
    is(stays, "impacted").await;
    is(goes, "impacted").await;
    lab.set_broken(&[place(goes)], true);
    lab.set_broken(&[place("tower-1")], false);
    is("tower-1", "up").await;
    is(stays, "up").await;
    is(goes, "down").await;
    assert!(!poller.said_in_all().contains("192.168.88."));
    lab.stop().await;
}
