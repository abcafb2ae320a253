//! What keepers promise, against a real server.

use crate::nats::on_one_and_on_three;
use crate::servers::{On, connect, eventually, server, tenant};
use events::{Ask, AskId, DeviceClass, EventId, Fact, NodeId, NodeKind, Question, Say, Time, slot_of};
use kit::{Asked, Keeper, KeeperEvent, KeeperOptions, Log, LogConfig, Outgoing};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

fn now() -> Time {
    Time::from_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

fn ask(router: &str, lives_ms: i64) -> Outgoing {
    let t = tenant("hillside");
    let target = NodeId::of(t, router);
    let cause = EventId(target.0);
    let ask = Ask {
        id: AskId::of(cause, target, 1),
        target,
        target_kind: NodeKind::Device { class: DeviceClass::Router },
        question: Question::RollCall { whole: true },
        at: now(),
        deadline: now().plus_ms(lives_ms),
    };
    let id = EventId::following(cause, "diagnostician", "ask");
    Outgoing::new(Say { id, tenant: t, at: now(), cause: None, fact: Fact::Ask(ask) }, "diagnostician")
}

fn options(name: &str) -> KeeperOptions {
    KeeperOptions {
        replica: name.into(),
        expiry: Duration::from_millis(900),
        probe_deadline: Duration::from_millis(400),
        ..KeeperOptions::default()
    }
}

on_one_and_on_three![
    two_share_and_the_heir_of_a_dead_one_is_handed_its_asks,
    a_keeper_that_is_cut_off_stops_before_the_others_take_over,
];

/// Gathers until nothing has come for `silence`.
async fn gather(keeper: &mut Keeper, silence: Duration) -> (BTreeSet<u16>, BTreeSet<u16>, Vec<Asked>) {
    let (mut gained, mut lost, mut asked) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    while let Ok(Some(event)) = tokio::time::timeout(silence, keeper.next()).await {
        match event {
            KeeperEvent::Gained(slot) => drop(gained.insert(slot)),
            KeeperEvent::Lost(slot) => drop(lost.insert(slot)),
            KeeperEvent::Asked(one) => asked.push(*one),
        }
    }
    (gained, lost, asked)
}

async fn publish_asks(log: &Log, names: impl Iterator<Item = String>, lives_ms: i64) {
    log.publish_all(names.map(|name| ask(&name, lives_ms)).collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_alone_keeps_every_slot_and_is_handed_what_still_lives() {
    let (_nats, log) = server(On::One).await;
    publish_asks(&log, (0..5).map(|n| format!("late-{n}")), -1_000).await;
    publish_asks(&log, (0..20).map(|n| format!("early-{n}")), 10_000).await;
    let begun = tokio::time::Instant::now();
    let mut keeper = Keeper::start(&log, "poller", options("only"));
    let (gained, _, asked) = gather(&mut keeper, Duration::from_millis(800)).await;
    assert!(begun.elapsed() >= Duration::from_millis(400), "it did not wait after taking over");
    assert_eq!((gained.len(), asked.len()), (64, 20));
    publish_asks(&log, (0..20).map(|n| format!("now-{n}")), 10_000).await;
    let (_, _, asked) = gather(&mut keeper, Duration::from_millis(300)).await;
    assert_eq!(asked.len(), 20);
    assert!(asked.iter().all(|asked| asked.slot == slot_of(asked.ask.target)));
    keeper.stop().await.unwrap();
}

async fn two_share_and_the_heir_of_a_dead_one_is_handed_its_asks(on: On) {
    let (nats, log) = server(on).await;
    let mut first = Keeper::start(&log, "poller", options("first"));
    let (gained, _, _) = gather(&mut first, Duration::from_millis(700)).await;
    assert_eq!(gained.len(), 64);
    let other = connect(&nats.urls()).await;
    let mut second = Keeper::start(&other, "poller", options("second"));
    let slots = (first.slots(), second.slots());
    eventually("they share", Duration::from_secs(5), || async {
        (slots.0.borrow().count(), slots.1.borrow().count()) == (32, 32)
    })
    .await;
    assert_eq!(slots.0.borrow().without(*slots.1.borrow()).count(), 32, "no slot has two keepers");
    publish_asks(&log, (0..60).map(|n| format!("both-{n}")), 60_000).await;
    let (_, lost, mine) = gather(&mut first, Duration::from_millis(300)).await;
    let (_, _, theirs) = gather(&mut second, Duration::from_millis(300)).await;
    assert_eq!((lost.len(), mine.len() + theirs.len()), (32, 60));
    let (mine, theirs): (BTreeSet<_>, BTreeSet<_>) =
        (mine.iter().map(|a| a.ask.id).collect(), theirs.iter().map(|a| a.ask.id).collect());
    assert!(mine.is_disjoint(&theirs) && !mine.is_empty() && !theirs.is_empty());

    drop(first); // Without a word.
    let begun = tokio::time::Instant::now();
    eventually("the heir has all", Duration::from_secs(6), || async { slots.1.borrow().count() == 64 }).await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "it did not wait for the dead");
    let (gained, _, inherited) = gather(&mut second, Duration::from_millis(500)).await;
    let inherited: BTreeSet<_> = inherited.iter().map(|a| a.ask.id).collect();
    assert_eq!(gained.len(), 32);
    assert!(mine.is_subset(&inherited), "asks of the dead one are lost");
    second.stop().await.unwrap();
}

async fn a_keeper_that_is_cut_off_stops_before_the_others_take_over(on: On) {
    let (nats, log) = server(on).await;
    // Of three, whoever leads the table of leases, to which the keeper is not connected.
    let leader = nats.leader_of("KV_LEASES").await;
    let log = match on {
        On::One => log,
        On::Three => {
            let servers = nats.urls_without(leader);
            Log::connect(LogConfig { servers, ..log.config().clone() }).await.unwrap()
        }
    };
    let mut keeper = Keeper::start(&log, "poller", options("only"));
    let (gained, _, _) = gather(&mut keeper, Duration::from_millis(700)).await;
    assert_eq!(gained.len(), 64);
    let slots = keeper.slots();
    leader.freeze().unwrap();
    let begun = tokio::time::Instant::now();
    eventually("it has stopped", Duration::from_secs(3), || async { slots.borrow().count() == 0 }).await;
    assert!(begun.elapsed() < Duration::from_millis(1_300), "{:?}", begun.elapsed());
    if on == On::Three {
        // The others elect another, while it is still frozen.
        eventually("it works again", Duration::from_secs(20), || async { slots.borrow().count() == 64 })
            .await;
    }
    leader.thaw().unwrap();
    eventually("it works again", Duration::from_secs(10), || async { slots.borrow().count() == 64 }).await;
    // The bucket of leases lies in memory: a restart of the server loses it.
    nats.strike_all().await;
    gather(&mut keeper, Duration::from_millis(1_500)).await;
    eventually("it works again", Duration::from_secs(15), || async { slots.borrow().count() == 64 }).await;
    crate::servers::insist(&log, vec![ask("after", 10_000)]).await;
    let (_, _, asked) = gather(&mut keeper, Duration::from_millis(2_500)).await;
    assert_eq!(asked.len(), 1);
    // Its share is in the new table: another one that comes gets half of it, not all.
    let other = connect(&nats.urls()).await;
    let second = Keeper::start(&other, "poller", options("second"));
    let theirs = second.slots();
    eventually("they share", Duration::from_secs(5), || async {
        (slots.borrow().count(), theirs.borrow().count()) == (32, 32)
    })
    .await;
    second.stop().await.unwrap();
    eventually("it is given back at once", Duration::from_secs(3), || async { slots.borrow().count() == 64 })
        .await;
    keeper.stop().await.unwrap();
}
