//! What routers say by themselves, and what becomes of it on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use lab::Settings;
use lab::faults::Faults;

use crate::isp::{CORE_ADDRESS, Client, Collector, TOWER, TOWER_ADDRESS, fast, node, started};

fn sorted(hooks: &[crate::isp::Hook]) -> Vec<String> {
    let mut says: Vec<String> = hooks.iter().map(crate::isp::Hook::says).collect();
    says.sort();
    says
}

#[tokio::test]
async fn what_breaks_below_a_router_is_said_from_its_own_address_in_sequence() {
    let (collector, address) = Collector::start().await;
    let lab = started(fast(Some(address))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(collector.taken().len(), 0, "nothing is said of a network in which all is well");

    lab.set_broken(&[node(&lab, "sector-0")], true);
    let down = collector.wait_for(3).await;
    assert_eq!(sorted(&down), ["cust-00 offline", "cust-01 offline", "sector-0 down"]);
    lab.set_broken(&[node(&lab, "sector-0")], false);
    let all = collector.wait_for(6).await;
    assert_eq!(sorted(&all[3..]), ["cust-00 online", "cust-01 online", "sector-0 up"]);

    assert!(all.iter().all(|hook| hook.from == std::net::IpAddr::from(TOWER_ADDRESS)));
    assert!(all.iter().all(|hook| hook.bearer == "Bearer mwr_tower"));
    let boots: BTreeSet<&str> = all.iter().map(crate::isp::Hook::boot).collect();
    let seqs: BTreeSet<u64> = all.iter().map(crate::isp::Hook::seq).collect();
    assert_eq!((boots.len(), seqs), (1, (1..=6).collect()));
    for hook in &all {
        let part = if hook.body.get("user").is_some() { "ppp-status" } else { "device-status" };
        assert_eq!(hook.path, format!("/api/webhooks/mikrotik/{part}"));
    }
    let (counted, _) = lab.counters();
    assert_eq!((counted.webhooks_sent, counted.scripts_run, counted.scripts_failed), (6, 6, 0));
    lab.stop().await;
}

#[tokio::test]
async fn a_router_that_lost_power_says_nothing_and_comes_back_late_as_another_boot() {
    let (collector, address) = Collector::start().await;
    let lab = started(fast(Some(address))).await;
    lab.set_broken(&[node(&lab, "sector-1")], true);
    let before = collector.wait_for(3).await;
    let first_boot = before[0].boot().to_owned();
    assert!(before.iter().all(|hook| hook.boot() == first_boot));

    lab.set_broken(&[node(&lab, "tower")], true);
    let core = collector.wait_for(4).await;
    assert_eq!((core[3].says(), core[3].from), ("tower down".into(), CORE_ADDRESS.into()));
    lab.set_broken(&[node(&lab, "tower")], false);
    lab.set_broken(&[node(&lab, "sector-1")], false);
    let mended = std::time::Instant::now();
    // The core sees the tower; four customers dial in; three seconds later netwatch has its first say.
    let all = collector.wait_for(11).await;
    let expected = [
        "cust-00 online",
        "cust-01 online",
        "cust-10 online",
        "cust-11 online",
        "sector-0 up",
        "sector-1 up",
        "tower up",
    ];
    assert_eq!(sorted(&all[4..]), expected);
    assert!(mended.elapsed() >= Duration::from_secs(3), "{:?}", mended.elapsed());
    let netwatch_last = all[9..].iter().all(|hook| hook.says().starts_with("sector-"));
    assert!(netwatch_last, "{all:?}");
    let tower: Vec<_> =
        all[4..].iter().filter(|hook| hook.from == std::net::IpAddr::from(TOWER_ADDRESS)).collect();
    assert!(tower.iter().all(|hook| hook.boot() != first_boot && hook.boot() == tower[0].boot()));
    assert_eq!(tower.iter().map(|hook| hook.seq()).collect::<BTreeSet<_>>(), (1..=6).collect());
    lab.stop().await;
}

#[tokio::test]
async fn a_script_tries_again_when_it_is_not_taken_and_logs_what_it_could_not_say() {
    let (collector, address) = Collector::start().await;
    let lab = started(fast(Some(address))).await;
    *collector.refuse.lock().unwrap() = 2;
    let mut client = Client::logged_in(&lab, TOWER).await;
    assert_eq!(client.ask(&["/ppp/secret/disable", "=numbers=cust-00"]).await, ["!done"]);
    assert_eq!(client.ask(&["/ppp/active/remove", "=numbers=cust-00"]).await, ["!done"]);
    assert_eq!(collector.wait_for(1).await[0].says(), "cust-00 offline");
    let (counted, _) = lab.counters();
    assert_eq!((counted.webhooks_failed, counted.webhooks_sent), (2, 1));

    *collector.refuse.lock().unwrap() = 3;
    client.ask(&["/ppp/active/remove", "=numbers=cust-01"]).await;
    // He dials in again by himself; that is heard, his going is not.
    assert_eq!(collector.wait_for(2).await[1].says(), "cust-01 online");
    let logged = async {
        loop {
            let log = client.ask(&["/log/print", "=.proplist=topics,message"]).await;
            if log.iter().any(|line| line.contains("could not say that cust-01 is offline")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::isp::PATIENCE, logged).await.unwrap();
    lab.stop().await;
}

#[tokio::test]
async fn a_router_that_is_cut_off_cannot_say_what_it_sees() {
    let (collector, address) = Collector::start().await;
    let lab = started(Settings { fetch_timeout: Duration::from_secs(50), ..fast(Some(address)) }).await;
    lab.set_broken(&[node(&lab, "link"), node(&lab, "sector-0")], true);
    assert_eq!(collector.wait_for(1).await[0].says(), "tower down");
    // Three tries of half a second each.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(collector.taken().len(), 1);
    let (_, routers) = lab.counters();
    assert!(routers["tower"].webhooks_failed >= 9, "{:?}", routers["tower"]);
    assert_eq!(routers["tower"].webhooks_sent, 0);
    lab.stop().await;
}

#[tokio::test]
async fn webhooks_are_lost_doubled_and_held_back_as_told() {
    let (collector, address) = Collector::start().await;
    let lab = started(fast(Some(address))).await;
    let sector = [node(&lab, "sector-0")];
    lab.with(|state| state.faults = Faults { double: 1.0, ..Faults::default() });
    lab.set_broken(&sector, true);
    let hooks = collector.wait_for(6).await;
    let mut seqs: Vec<u64> = hooks.iter().map(crate::isp::Hook::seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 1, 2, 2, 3, 3]);

    lab.with(|state| state.faults = Faults { drop: 1.0, ..Faults::default() });
    lab.set_broken(&sector, false);
    let dropped = async {
        while lab.counters().0.webhooks_dropped < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::isp::PATIENCE, dropped).await.unwrap();
    assert_eq!(collector.taken().len(), 6);

    lab.with(|state| state.faults = Faults { delay: 1.0, delay_max_ms: 300, ..Faults::default() });
    lab.set_broken(&sector, true);
    collector.wait_for(9).await;
    assert_eq!(lab.counters().0.webhooks_delayed, 3);
    lab.stop().await;
}
