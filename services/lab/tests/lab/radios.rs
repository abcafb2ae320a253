//! Radios: the same ones in every menu that shows them, for as long as they are there, with a signal that drifts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lab::Lab;
use lab::network::Network;

use crate::isp::{Client, PATIENCE, TOWER, fast, network, node};

/// The network of the tests, whose sectors are radios of the tower's own.
async fn with_radios(version: &str) -> Arc<Lab> {
    let base = network(Some(version));
    let mut nodes = base.nodes().to_vec();
    for node in nodes.iter_mut().filter(|node| node.id.starts_with("sector-")) {
        node.is_radio = true;
    }
    Lab::start(Network::new(nodes, base.routers().to_vec()).unwrap(), fast(None)).await.unwrap()
}

/// The values of a property, a row each.
fn values(said: &[String], property: &str) -> Vec<String> {
    let start = format!("={property}=");
    let of = |row: &String| Some(row.split(' ').find_map(|word| word.strip_prefix(&start))?.to_owned());
    said.iter().filter_map(of).collect()
}

#[tokio::test]
async fn a_radio_is_the_same_in_every_menu_and_is_there_only_while_it_can_be_heard() {
    for (version, there, absent, signal) in [
        ("6.49.10", "wireless", "wifi", "signal-strength"),
        ("7.12.1", "wireless", "wifi", "signal-strength"),
        ("7.16.2", "wifi", "wireless", "signal"),
    ] {
        let lab = with_radios(version).await;
        let mut client = Client::logged_in(&lab, TOWER).await;
        let table = format!("/interface/{there}/registration-table/print");
        let said = client.ask(&[&table]).await;
        let macs: BTreeSet<String> = values(&said, "mac-address").into_iter().collect();
        assert_eq!(macs.len(), 2, "{version}: {said:?}");
        let missing = client.ask(&[&format!("/interface/{absent}/registration-table/print")]).await;
        assert!(missing[0].contains("no such command"), "{version}: {missing:?}");
        let arp = client.ask(&["/ip/arp/print"]).await;
        assert_eq!(values(&arp, "mac-address").into_iter().collect::<BTreeSet<_>>(), macs);
        assert_eq!(values(&arp, "address"), ["10.0.0.1", "10.0.1.1"]);
        let ports = client.ask(&["/interface/print", "?default-name"]).await;
        let names = values(&ports, "name");
        assert!(names.contains(&values(&said, "interface")[0]), "{version}: {names:?}");

        let first = values(&said, signal);
        let changed = async {
            loop {
                let now = client.ask(&[&table]).await;
                if values(&now, signal) != first {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, changed).await.expect("the signal drifts");
        lab.set_broken(&[node(&lab, "sector-0")], true);
        let left = client.ask(&[&table]).await;
        assert_eq!(values(&left, "mac-address").len(), 1, "{version}: {left:?}");
        assert_eq!(values(&client.ask(&["/ip/arp/print"]).await, "address"), ["10.0.1.1"]);
        lab.stop().await;
    }
}

#[tokio::test]
async fn counters_only_grow_until_the_router_starts_again() {
    let lab = with_radios("7.16.2").await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    let mut last = vec![0_u64; 2];
    for _look in 0..5 {
        let said = client.ask(&["/interface/print", "=.proplist=rx-byte", "?default-name"]).await;
        let now: Vec<u64> = values(&said, "rx-byte").iter().map(|text| text.parse().unwrap()).collect();
        assert!(now.iter().zip(&last).all(|(now, last)| now >= last), "{now:?} after {last:?}");
        last = now;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(last.iter().all(|bytes| *bytes > 0));
    lab.with(|state| state.reboot(&[TOWER]));
    let mut client = Client::logged_in(&lab, TOWER).await;
    let said = client.ask(&["/interface/print", "=.proplist=rx-byte", "?default-name"]).await;
    let now: Vec<u64> = values(&said, "rx-byte").iter().map(|text| text.parse().unwrap()).collect();
    assert!(now.iter().zip(&last).all(|(now, last)| now < last), "{now:?} after {last:?}");
    lab.stop().await;
}
