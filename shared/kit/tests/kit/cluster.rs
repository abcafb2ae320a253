//! The kit's promises on three nats-servers, of which one is killed or frozen.

use crate::servers::{
    On, claim, eventually, insist,
    running::{assert_once_in_effect, count, run},
    server, tenant,
    toy::Habits,
};
use events::Noun;
use kit::Log;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_killed_and_then_frozen_costs_time_and_nothing_else() {
    let (servers, log) = server(On::Three).await;
    let t = tenant("hillside");
    let mut replicas = Vec::new();
    for _ in 0..2 {
        // Two that fight, over connections of their own.
        let own = Log::connect(log.config().clone()).await.unwrap();
        replicas.push(run(&own, Habits { echoes: 2, ..Habits::default() }));
    }
    let (sender, enough) = (log.clone(), CancellationToken::new());
    let until = enough.clone();
    let sending = tokio::spawn(async move {
        let mut sent = 0_u64;
        while !until.is_cancelled() {
            insist(&sender, (sent..sent + 5).map(|n| claim(t, &format!("n{}", n % 9), n)).collect()).await;
            sent += 5;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        sent as usize
    });
    // While one is away the other two elect one, and everything goes on.
    let goes_on = async |least: usize| {
        let before = count(&log, Noun::Delivery).await;
        eventually("it goes on", Duration::from_secs(30), || async {
            count(&log, Noun::Delivery).await >= before + least
        })
        .await;
    };
    goes_on(50).await;
    let killed = servers.leader().await;
    killed.kill();
    goes_on(100).await;
    killed.restart().await.unwrap();
    let frozen = servers.leader().await;
    frozen.freeze().unwrap();
    goes_on(100).await;
    frozen.thaw().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    enough.cancel();
    let sent = sending.await.unwrap();
    eventually("everything is counted", Duration::from_secs(40), || async {
        count(&log, Noun::Delivery).await >= sent * 2
    })
    .await;
    for replica in replicas {
        replica.stop().await;
    }
    assert_once_in_effect(&log, 2).await;
    assert_eq!(count(&log, Noun::Signal).await, sent);
}
