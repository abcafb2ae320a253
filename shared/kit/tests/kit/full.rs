//! A store that is full: nothing acknowledged is lost, deciders wait, and with room again everything goes on.

use crate::nats::on_one_and_on_three;
use crate::servers::{
    self, Ballast, On, all, claim, eventually,
    running::{assert_once_in_effect, count, dead_letters, run},
    server_with, tenant,
    toy::Habits,
};
use events::{EventId, Noun};
use kit::{Outgoing, PublishError};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

on_one_and_on_three![a_full_store_says_so_and_drops_nothing];

async fn a_full_store_says_so_and_drops_nothing(on: On) {
    let (_nats, log) = server_with(on, |options| options.store_bytes_max = Some(512 * 1024)).await;
    let t = tenant("hillside");
    let padding = || Some("x".repeat(1_000));
    let mut stored = 0;
    let refused = loop {
        let array: Vec<Outgoing> =
            (stored..stored + 50).map(|n| servers::claim_with(t, "core", n, padding())).collect();
        match log.publish_all(array).await {
            Ok(_) => stored += 50,
            Err(error) => break error,
        }
        assert!(stored < 10_000, "the store is never full");
    };
    // Of three, the one that leads the log takes no more part in it, and says so in its own log only (tried).
    let is_refusal = |error: &PublishError| match on {
        On::One => matches!(error, PublishError::StoreFull(_)),
        On::Three => matches!(error, PublishError::StoreFull(_) | PublishError::Unavailable(_)),
    };
    assert!(is_refusal(&refused), "{refused:?}");
    let single = log.publish(servers::claim_with(t, "core", 99_999, padding())).await;
    assert!(single.as_ref().is_err_and(is_refusal), "{single:?}");
    let there: BTreeSet<EventId> = all(&log, Noun::Signal).await.iter().map(|heard| heard.id).collect();
    assert!(
        (0..stored).all(|n| there.contains(&claim(t, "core", n).say.id)),
        "something acknowledged is gone"
    );
}

/// One nats-server looks at its limit message by message, so a full store keeps the beginning of a batch (three look
/// at it before a batch, and cut none short). The same array again, when there is room, stores the rest and nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_array_that_a_full_store_cut_short_is_completed_by_its_repetition() {
    let (nats, log) = server_with(On::One, |options| options.store_bytes_max = Some(1024 * 1024)).await;
    let ballast = Ballast::lay(&nats.url(), 800).await;
    let t = tenant("hillside");
    let array: Vec<Outgoing> =
        (0..400).map(|n| servers::claim_with(t, "core", n, Some("x".repeat(1_000)))).collect();
    let refused = log.publish_all(array.clone()).await;
    assert!(matches!(refused, Err(PublishError::StoreFull(_))), "{refused:?}");
    let kept = all(&log, Noun::Signal).await.len();
    assert!(kept > 0 && kept < 400, "{kept}");
    ballast.throw_off().await;
    let stored = log.within(Duration::from_secs(20)).publish_all(array).await.unwrap();
    assert_eq!(stored.iter().filter(|stored| stored.duplicate).count(), kept);
    assert_eq!(all(&log, Noun::Signal).await.len(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_waited_for_and_nothing_is_said_twice() {
    let (nats, log) = server_with(On::One, |options| options.store_bytes_max = Some(1536 * 1024)).await;
    let t = tenant("hillside");
    let ballast = Ballast::lay(&nats.url(), 1_000).await;
    // The claims fit, what follows from them, all in one commit, does not.
    log.publish_all((0..60).map(|n| claim(t, &format!("n{}", n % 10), n)).collect()).await.unwrap();
    let running = run(&log, Habits { echoes: 10, ..Habits::default() });
    eventually("it waits", Duration::from_secs(10), || async { running.stats.waiting() == 1 }).await;
    assert!(!running.stats.is_ready());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let kept = count(&log, Noun::Delivery).await;
    assert!(kept > 0 && kept < 600, "{kept}: a batch was to be cut short");
    ballast.throw_off().await;
    eventually("everything is counted", Duration::from_secs(20), || async {
        count(&log, Noun::Delivery).await >= 600
    })
    .await;
    eventually("it is ready", Duration::from_secs(5), || async { running.stats.is_ready() }).await;
    running.stop().await;
    assert!(dead_letters(&log).await.is_empty());
    assert_once_in_effect(&log, 10).await;
}

/// Three that are full answer nothing, no purge either, and often no reader: an operator gives them room (tried).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_full_stores_are_waited_for_until_an_operator_gives_them_room() {
    let (nats, log) = server_with(On::Three, |options| options.store_bytes_max = Some(1536 * 1024)).await;
    let t = tenant("hillside");
    log.publish_all((0..60).map(|n| claim(t, &format!("n{}", n % 10), n)).collect()).await.unwrap();
    Ballast::fill(&nats.url()).await;
    let running = run(&log, Habits { echoes: 10, ..Habits::default() });
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(!running.stats.is_ready(), "nobody gave it room");
    assert_eq!(running.stats.commits.load(Ordering::Relaxed), 0);
    nats.give_room(64 * 1024 * 1024).await;
    eventually("everything is counted", Duration::from_secs(60), || async {
        count(&log, Noun::Delivery).await >= 600
    })
    .await;
    eventually("it is ready", Duration::from_secs(30), || async { running.stats.is_ready() }).await;
    running.stop().await;
    assert!(dead_letters(&log).await.is_empty());
    assert_once_in_effect(&log, 10).await;
    let claims: BTreeSet<EventId> = all(&log, Noun::Signal).await.iter().map(|heard| heard.id).collect();
    assert_eq!(claims.len(), 60, "something acknowledged is gone");
}
