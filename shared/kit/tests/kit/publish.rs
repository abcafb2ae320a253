//! Group commit, against a real server.

use crate::nats::on_one_and_on_three;
use crate::servers::{self, On, all, claim, config, connect, server, tenant, wire::Wire};
use events::{Delivery, DeliveryKind, DeliverySaid, EventId};
use events::{Fact, NoticeId, Noun, Say, Time};
use kit::{Log, Outgoing, PublishError, PublishLimits};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

on_one_and_on_three![
    a_lost_acknowledgement_stores_nothing_twice,
    of_two_writers_of_a_subject_one_wins_and_a_repetition_is_no_conflict,
    a_conditional_commit_is_stored_whole_or_not_at_all,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_are_stored_once_each_in_few_commits() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let mut callers = Vec::new();
    for n in 0..2_000_u64 {
        let log = log.clone();
        // Every fact is sent by two callers.
        callers.push(tokio::spawn(async move { log.publish(claim(t, "core", n / 2)).await.unwrap() }));
    }
    let mut places = BTreeSet::new();
    let mut fresh = 0;
    for caller in callers {
        let stored = caller.await.unwrap();
        places.insert((stored.id, stored.seq));
        fresh += u32::from(!stored.duplicate);
    }
    assert_eq!((places.len(), fresh), (1_000, 1_000));
    let stored = all(&log, Noun::Signal).await;
    assert_eq!(stored.len(), 1_000);
    assert!(stored.iter().all(|heard| places.contains(&(heard.id, heard.seq))));
    let commits = log.publish_stats().commits.load(Ordering::Relaxed);
    assert!(commits < 200, "{commits} commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_array_is_answered_in_order_and_refused_when_too_large() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let array: Vec<Outgoing> = (0..1_000).map(|n| claim(t, "core", n)).collect();
    let stored = log.publish_all(array.clone()).await.unwrap();
    assert!(stored.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    assert!(stored.iter().zip(&array).all(|(stored, out)| stored.id == out.say.id && !stored.duplicate));
    let again = log.publish_all(array).await.unwrap();
    assert!(again.iter().zip(&stored).all(|(again, first)| again.duplicate && again.seq == first.seq));
    let huge = (0..1_001).map(|n| claim(t, "other", n)).collect();
    assert!(matches!(log.publish_all(huge).await, Err(PublishError::TooMany(1_001))));
}

/// A restart forgets which ids were stored; the server remembers and refuses the group. What an earlier
/// process stored is then read back, and the group comes again without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_process_stored_is_read_back() {
    let (nats, first) = server(On::One).await;
    let t = tenant("hillside");
    first.publish_all((0..64).map(|n| claim(t, "core", n)).collect()).await.unwrap();

    let second = connect(&nats.urls()).await;
    let mut callers = Vec::new();
    for n in 0..128 {
        let second = second.clone();
        callers.push(tokio::spawn(async move { second.publish(claim(t, "core", n)).await.unwrap() }));
    }
    let mut duplicates = 0;
    for caller in callers {
        duplicates += u32::from(caller.await.unwrap().duplicate);
    }
    assert_eq!(duplicates, 64);
    assert_eq!(all(&second, Noun::Signal).await.len(), 128);
    let stats = second.publish_stats();
    let figures = (stats.learned.load(Ordering::Relaxed), stats.halved.load(Ordering::Relaxed));
    // The first ones went alone, as plain messages, which the server answers with their places.
    assert!(figures.0 >= 32 && figures.1 == 0, "{figures:?}");
}

/// What another process stored meanwhile is known to the server alone: the group is halved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_stores_is_told_apart() {
    let (nats, first) = server(On::One).await;
    let t = tenant("hillside");
    let second = connect(&nats.urls()).await;
    first.publish(claim(t, "warm", 0)).await.unwrap();
    assert!(second.publish(claim(t, "warm", 0)).await.unwrap().duplicate);

    let known: Vec<Outgoing> = [3, 40, 41, 63].into_iter().map(|n| claim(t, "core", n)).collect();
    let places = first.publish_all(known).await.unwrap();
    let before = first.state().await.unwrap().last_seq;
    let array: Vec<Outgoing> = (0..64).map(|n| claim(t, "core", n)).collect();
    let stored = second.publish_all(array).await.unwrap();
    for (n, place) in [(3, places[0]), (40, places[1]), (41, places[2]), (63, places[3])] {
        assert_eq!((stored[n].seq, stored[n].duplicate), (place.seq, true));
    }
    let fresh: Vec<u64> = stored.iter().filter(|s| !s.duplicate).map(|s| s.seq).collect();
    // All or nothing: the new ones lie beside each other.
    assert_eq!(fresh, (before + 1..=before + 60).collect::<Vec<_>>());
    assert_eq!(all(&second, Noun::Signal).await.len(), 65);

    // In a group of many, those that are known harm nobody else.
    first.publish_all((64..96).map(|n| claim(t, "core", n)).collect()).await.unwrap();
    let mut callers = Vec::new();
    for n in 64..192 {
        let second = second.clone();
        callers.push(tokio::spawn(async move { second.publish(claim(t, "core", n)).await.unwrap() }));
    }
    let mut duplicates = 0;
    for caller in callers {
        duplicates += u32::from(caller.await.unwrap().duplicate);
    }
    assert_eq!(duplicates, 32);
    assert_eq!(all(&second, Noun::Signal).await.len(), 193);
    assert!(second.publish_stats().halved.load(Ordering::Relaxed) > 0);
}

/// So much waits that a second group leaves while the first is stored; what is in both is stored once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_groups_on_their_way_store_nothing_twice() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let mut callers = Vec::new();
    for k in 0..60_u64 {
        let log = log.clone();
        // Each array shares half of its facts with the next one.
        let array: Vec<Outgoing> = (k * 50..k * 50 + 100).map(|n| claim(t, "core", n)).collect();
        callers.push(tokio::spawn(async move { log.publish_all(array).await.unwrap() }));
    }
    let (mut places, mut fresh) = (std::collections::BTreeMap::new(), 0);
    for caller in callers {
        for stored in caller.await.unwrap() {
            assert_eq!(*places.entry(stored.id).or_insert(stored.seq), stored.seq);
            fresh += u32::from(!stored.duplicate);
        }
    }
    assert_eq!((places.len(), fresh), (3_050, 3_050));
    assert_eq!(all(&log, Noun::Signal).await.len(), 3_050);
}

async fn a_lost_acknowledgement_stores_nothing_twice(on: On) {
    let (nats, log) = server(on).await;
    let wire = Wire::to(&nats.url()).await;
    let far = Log::connect(config(&[wire.url()])).await.unwrap();
    let t = tenant("hillside");
    far.publish(claim(t, "warm", 0)).await.unwrap();

    wire.swallow(true);
    let array: Vec<Outgoing> = (0..64).map(|n| claim(t, "core", n)).collect();
    let sender = far.clone();
    let answer = tokio::spawn(async move { sender.within(Duration::from_secs(20)).publish_all(array).await });
    servers::eventually("it is stored", Duration::from_secs(5), || async {
        all(&log, Noun::Signal).await.len() == 65
    })
    .await;
    wire.swallow(false);
    wire.cut();
    let stored = answer.await.unwrap().unwrap();
    assert!(stored.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    assert_eq!(all(&log, Noun::Signal).await.len(), 65);
    assert!(far.publish_stats().retries.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_answers_at_once_and_a_log_that_is_away_in_time() {
    let (nats, _log) = server(On::One).await;
    let limits = PublishLimits { messages_max: 8, kib_max: 1_024 };
    let log = Log::connect(kit::LogConfig { limits, ..config(&[nats.url()]) }).await.unwrap();
    let t = tenant("hillside");
    nats.leader().await.freeze().unwrap();
    let waiting = log.within(Duration::from_secs(1));
    let eight: Vec<Outgoing> = (0..8).map(|n| claim(t, "core", n)).collect();
    let sender = waiting.clone();
    let stuck = tokio::spawn(async move { sender.publish_all(eight).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = std::time::Instant::now();
    assert!(matches!(waiting.publish(claim(t, "core", 9)).await, Err(PublishError::Busy)));
    assert!(begun.elapsed() < Duration::from_millis(50));
    assert!(matches!(stuck.await.unwrap(), Err(PublishError::Unavailable(_))));
    nats.leader().await.thaw().unwrap();
    servers::insist(&log, vec![claim(t, "core", 0)]).await;
}

fn attempt(n: u32) -> Outgoing {
    let t = tenant("hillside");
    let notice = NoticeId(t.0);
    let now = Delivery { notice, attempts: n, answer: None, possibly_repeated: false };
    let fact = Fact::Delivery(DeliverySaid { kind: DeliveryKind::Attempted, now });
    let id = EventId::following(EventId(notice.0), "notifier", &format!("attempt {n}"));
    Outgoing::new(Say { id, tenant: t, at: Time::EPOCH, cause: None, fact }, "notifier")
}

async fn of_two_writers_of_a_subject_one_wins_and_a_repetition_is_no_conflict(on: On) {
    let (_nats, log) = server(on).await;
    let first = log.publish_if(attempt(1), 0).await.unwrap();
    // The acknowledgement was lost, so it is said again: the server calls that a wrong sequence.
    let again = log.publish_if(attempt(1), 0).await.unwrap();
    assert_eq!((again.seq, again.duplicate), (first.seq, true));
    let other = log.publish_if(attempt(7), 0).await;
    assert!(
        matches!(other, Err(PublishError::Conflict { last_seq, .. }) if last_seq == first.seq),
        "{other:?}"
    );
    let (a, b) = tokio::join!(log.publish_if(attempt(2), first.seq), log.publish_if(attempt(3), first.seq));
    assert_eq!(u32::from(a.is_ok()) + u32::from(b.is_ok()), 1, "{a:?} {b:?}");
}

async fn a_conditional_commit_is_stored_whole_or_not_at_all(on: On) {
    let (_nats, log) = server(on).await;
    let t = tenant("hillside");
    let batch = |n: u32| vec![claim(t, "a", n.into()), claim(t, "b", n.into()), attempt(n)];
    let subject = format!("mw.{}.{t}.delivery.{}", events::partition_of(t), NoticeId(t.0));
    let first = log.commit(batch(1), Some((&subject, 0))).await.unwrap();
    assert_eq!(first.iter().map(|s| s.seq).collect::<Vec<_>>(), vec![1, 2, 3]);
    let again = log.commit(batch(1), Some((&subject, 0))).await.unwrap();
    assert_eq!(
        again.iter().map(|s| (s.seq, s.duplicate)).collect::<Vec<_>>(),
        vec![(1, true), (2, true), (3, true)]
    );
    let late = log.commit(batch(2), Some((&subject, 0))).await;
    assert!(matches!(late, Err(PublishError::Conflict { last_seq: 3, .. })), "{late:?}");
    assert_eq!(log.state().await.unwrap().last_seq, 3);
    log.commit(batch(2), Some((&subject, 3))).await.unwrap();
}
