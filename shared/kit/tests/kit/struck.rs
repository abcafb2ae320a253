//! What deciders promise while they themselves, or whoever leads the log, are killed and frozen in the middle.

use crate::nats::on_one_and_on_three;
use crate::servers::{
    On, claim, claim_with, config, eventually, insist,
    process::{Replica, be_a_replica_if_told},
    running::{assert_once_in_effect, count, run, with_causes},
    server, tenant,
    toy::Habits,
};
use events::{Fact, Noun};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

on_one_and_on_three![
    replicas_that_are_killed_and_frozen_say_everything_once,
    a_timer_fires_once_though_the_leader_is_killed_or_frozen_meanwhile,
    what_is_owed_is_said_though_the_leader_is_killed_and_frozen_in_the_middle,
];

/// After how long without a sign of life a replica's partitions are taken over.
const EXPIRY: Duration = Duration::from_millis(1_200);

async fn replicas_that_are_killed_and_frozen_say_everything_once(on: On) {
    let habits = Habits { echoes: 3, ..Habits::default() };
    be_a_replica_if_told(config, habits, EXPIRY).await;
    let (nats, log) = server(on).await;
    let module = if on == On::One { "on_one_server" } else { "on_three_servers" };
    let test = format!("struck::{module}::replicas_that_are_killed_and_frozen_say_everything_once");
    let start = |name: &str| Replica::start(&test, name, &nats.urls());
    let t = tenant("hillside");
    let sent = AtomicU64::new(0);
    let send = async || {
        let first = sent.fetch_add(60, Ordering::SeqCst);
        for n in (first..first + 60).step_by(10) {
            insist(&log, (n..n + 10).map(|n| claim(t, &format!("n{}", n % 7), n)).collect()).await;
        }
    };
    let all_counted = async || {
        let wanted = sent.load(Ordering::SeqCst) as usize * 3;
        eventually("everything is counted", Duration::from_secs(20), || async {
            count(&log, Noun::Delivery).await >= wanted
        })
        .await;
    };
    let mut first = start("first");
    send().await;
    all_counted().await;
    let mut second = start("second");
    // In the middle of what it says, and for longer than its lease lives: the other says the rest.
    send().await;
    first.freeze();
    send().await;
    all_counted().await;
    // It wakes up, and goes on with what it believes.
    first.thaw();
    send().await;
    second.kill();
    send().await;
    all_counted().await;
    // Whoever is left is killed in the middle of what it says.
    send().await;
    first.kill();
    let unsaid = sent.load(Ordering::SeqCst) as usize * 3 - count(&log, Noun::Delivery).await;
    let _third = start("third");
    all_counted().await;
    assert!(unsaid > 0, "nothing was left to say");
    assert_once_in_effect(&log, 3).await;
}

async fn a_timer_fires_once_though_the_leader_is_killed_or_frozen_meanwhile(on: On) {
    let (nats, log) = server(on).await;
    let t = tenant("hillside");
    let running = run(&log, Habits { holds: true, ..Habits::default() });
    // Armed for three seconds from then.
    for (node, n) in [("core", 1), ("tower", 2)] {
        insist(&log, vec![claim_with(t, node, n, Some("arm".into()))]).await;
    }
    eventually("both are armed", Duration::from_secs(10), || async {
        count(&log, Noun::Delivery).await == 2
    })
    .await;
    nats.strike_the_leader().await;
    let frozen = nats.leader().await;
    frozen.freeze().unwrap();
    // When it wakes up it is late for what it was to let fire; of three, another has taken its place.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    frozen.thaw().unwrap();
    eventually("both have fired", Duration::from_secs(20), || async { count(&log, Noun::Due).await >= 2 })
        .await;
    // Fires what was to fire again?
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let mut fired: BTreeMap<String, usize> = BTreeMap::new();
    for due in with_causes(&log, Noun::Due).await.0 {
        let Fact::Due(due) = due.fact else { panic!("a firing") };
        *fired.entry(due.key).or_default() += 1;
    }
    assert_eq!(fired.values().copied().collect::<Vec<_>>(), [1, 1], "{fired:?}");
    eventually("it has heard both", Duration::from_secs(10), || async {
        running.stats.inputs.load(Ordering::Relaxed) >= 4
    })
    .await;
    running.stop().await;
    assert_once_in_effect(&log, 1).await;
}

async fn what_is_owed_is_said_though_the_leader_is_killed_and_frozen_in_the_middle(on: On) {
    let (nats, log) = server(on).await;
    let t = tenant("hillside");
    // One claim with 400 effects, of which 3 may be said at once; after it there is no input.
    let running = run(&log, Habits { echoes: 400, says_max: Some(3), ..Habits::default() });
    log.publish(claim(t, "core", 0)).await.unwrap();
    let said = async |least: usize| {
        eventually("some of it", Duration::from_secs(20), || async {
            count(&log, Noun::Delivery).await > least
        })
        .await;
        let said = count(&log, Noun::Delivery).await;
        assert!(said < 400, "nothing is left to say");
        said
    };
    let before = said(0).await;
    nats.strike_the_leader().await;
    said(before).await;
    let frozen = nats.leader().await;
    frozen.freeze().unwrap();
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    frozen.thaw().unwrap();
    eventually("all of it", Duration::from_secs(40), || async { count(&log, Noun::Delivery).await >= 400 })
        .await;
    running.stop().await;
    assert_once_in_effect(&log, 400).await;
}
