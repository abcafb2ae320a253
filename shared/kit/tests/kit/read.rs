//! Reading in order, against a real server.

use crate::nats::on_one_and_on_three;
use crate::servers::{self, On, claim, insist, server, tenant, two_tenants, wire::Wire};
use events::{Noun, Retention, TenantId};
use futures::FutureExt;
use kit::{Filter, From, Log, LogConfig, LogError, Outgoing, Reader};
use std::{sync::atomic::Ordering, time::Duration};

on_one_and_on_three![
    a_reader_goes_on_where_it_was_whatever_happens_to_its_consumer,
    what_was_lost_with_a_connection_is_read_again_though_nothing_follows,
    who_reads_together_hears_what_it_would_hear_alone_whatever_happens_to_the_connection,
];

async fn seqs(log: &Log, from: From, to: Option<u64>) -> Vec<u64> {
    let mut reader = log.read(&[Filter::noun(Noun::Signal)], from, to);
    let mut seqs = Vec::new();
    while let Some(raw) = reader.next().await.unwrap() {
        seqs.push(raw.seq);
    }
    seqs
}

fn claims(tenant: TenantId, from: u64, to: u64) -> Vec<Outgoing> {
    (from..to).map(|n| claim(tenant, &format!("n{}", n % 10), n)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_reader_ends_where_it_should() {
    let (_nats, log) = server(On::One).await;
    let (a, b) = two_tenants();
    assert_eq!(seqs(&log, From::Start, Some(0)).await, Vec::<u64>::new());
    log.publish_all(claims(a, 0, 10)).await.unwrap();
    log.publish_all(claims(b, 0, 5)).await.unwrap();
    assert_eq!(seqs(&log, From::Start, Some(15)).await, (1..=15).collect::<Vec<_>>());
    assert_eq!(seqs(&log, From::Seq(4), Some(7)).await, vec![4, 5, 6, 7]);
    assert_eq!(seqs(&log, From::Seq(8), Some(7)).await, Vec::<u64>::new());
    // Beyond what the filter lets through, and beyond the end of the log.
    let mut other = log.read(&[Filter::noun(Noun::Signal).tenant(a)], From::Seq(9), Some(15));
    assert_eq!(other.next_chunk(100).await.unwrap().len(), 2);
    assert!(other.next().await.unwrap().is_none());
    let mut none = log.read(&[Filter::noun(Noun::Health)], From::Start, Some(15));
    assert!(none.next().await.unwrap().is_none());
    let mut last = log.last_per_subject(&[Filter::noun(Noun::Signal).tenant(a)]).await.unwrap();
    let mut n = 0;
    while let Some(raw) = last.next().await.unwrap() {
        n += 1;
        assert!(raw.seq <= 10);
    }
    assert_eq!(n, 10);
    let start = log.at(11).await.unwrap().unwrap().heard;
    assert_eq!(seqs(&log, From::Time(start), Some(15)).await.first(), Some(&11));
}

/// What the server has sent and what has not come yet is on its way, not lost: whoever begins anew for it begins anew for ever
/// where the way is long or the server slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_way_to_the_server_delays_a_reader_and_no_more() {
    let (nats, log) = server(On::One).await;
    let t = tenant("hillside");
    log.publish_all(claims(t, 0, 30)).await.unwrap();
    let wire = Wire::to(&nats.url()).await;
    let far = servers::connect(&[wire.url()]).await;
    wire.hold_up(Duration::from_millis(700));
    let read = tokio::time::timeout(Duration::from_secs(30), seqs(&far, From::Start, Some(30))).await;
    assert_eq!(read.expect("it read nothing in 30 s"), (1..=30).collect::<Vec<_>>());
    let mut tail = far.read(&[Filter::noun(Noun::Signal)], From::Seq(11), None);
    let chunk = tokio::time::timeout(Duration::from_secs(30), tail.next_chunk(100)).await;
    assert_eq!(chunk.expect("it read nothing in 30 s").unwrap().len(), 20);
}

/// A decider that owes something does not wait: it looks whether anything is there and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_waiting_for_a_chunk_half_way_loses_nothing() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    for n in 0..4 {
        log.publish_all(claims(t, n * 800, (n + 1) * 800)).await.unwrap();
    }
    let mut reader = log.read(&[Filter::noun(Noun::Signal)], From::Start, None);
    let mut seqs = vec![reader.next().await.unwrap().unwrap().seq];
    // More is asked for than there is, so it waits for more; and is not waited for.
    drop(reader.next_chunk(100_000).now_or_never());
    while seqs.len() < 3_200 {
        let chunk = tokio::time::timeout(Duration::from_secs(30), reader.next_chunk(500)).await;
        seqs.extend(chunk.expect("something is lost").unwrap().iter().map(|raw| raw.seq));
    }
    assert_eq!(seqs, (1..=3_200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_it_is_waited_for_holds_nobody_up() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let brief = claims(t, 0, 1_200).into_iter().map(|out| out.kept(Retention::Seconds(1)));
    log.publish_all(brief.clone().take(600).collect()).await.unwrap();
    log.publish_all(brief.skip(600).collect()).await.unwrap();
    let mut reader = log.read(&[Filter::noun(Noun::Signal)], From::Start, Some(1_200));
    assert_eq!(reader.next().await.unwrap().unwrap().seq, 1);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let rest = async { while reader.next().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), rest).await.unwrap();
}

async fn a_reader_goes_on_where_it_was_whatever_happens_to_its_consumer(on: On) {
    let (nats, log) = server(on).await;
    let wire = Wire::to(&nats.url()).await;
    let far = servers::connect(&[wire.url()]).await;
    let t = tenant("hillside");
    log.publish_all(claims(t, 0, 100)).await.unwrap();
    let mut tail = far.tail(&[Filter::noun(Noun::Signal)]);
    // Nothing new yet: it must not begin at the beginning, nor miss what comes while it is cut off.
    assert!(tokio::time::timeout(Duration::from_millis(300), tail.next()).await.is_err());
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 60 {
            seen.push(tail.next().await.unwrap().unwrap().seq);
        }
        seen
    });
    insist(&log, claims(t, 100, 120)).await;
    wire.cut();
    insist(&log, claims(t, 120, 140)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    nats.strike_the_leader().await;
    insist(&log, claims(t, 140, 160)).await;
    let seen = tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
    assert_eq!(seen, (101..=160).collect::<Vec<_>>());
}

/// A reader without a filter's help must hand out the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_much_before_it_a_reader_hands_out_the_same() {
    let (_nats, log) = server(On::One).await;
    let (a, b) = two_tenants();
    for round in 0..6_u64 {
        log.publish_all(claims(a, round * 900, round * 900 + 900)).await.unwrap();
        log.publish_all(claims(b, round * 100, round * 100 + 100)).await.unwrap();
    }
    let nouns = [Noun::Inventory, Noun::Signal, Noun::Order];
    for (tenant, want) in [(a, 5_400), (b, 600)] {
        let filters: Vec<Filter> = nouns.iter().map(|noun| Filter::noun(*noun).tenant(tenant)).collect();
        let mut reader = log.read(&filters, From::Start, Some(6_000));
        let (mut n, mut last) = (0, 0);
        while let Some(raw) = reader.next().await.unwrap() {
            assert!(raw.seq > last && raw.decode().unwrap().tenant == tenant);
            (n, last) = (n + 1, raw.seq);
        }
        assert_eq!(n, want);
    }
    // An endless one catches up and then follows.
    let mut endless = log.read(&[Filter::noun(Noun::Signal).tenant(a)], From::Start, None);
    let mut n = 0;
    while n < 5_400 {
        n += endless.next_chunk(500).await.unwrap().len();
    }
    for round in 0..20_u64 {
        log.publish(claim(b, "other", round)).await.unwrap();
        let stored = log.publish(claim(a, "one", round)).await.unwrap();
        let heard =
            tokio::time::timeout(Duration::from_secs(2), endless.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(heard.seq, stored.seq);
    }
}

/// What was on its way when the connection broke is not sent again by the server, and nothing follows it.
async fn what_was_lost_with_a_connection_is_read_again_though_nothing_follows(on: On) {
    let (nats, log) = server(on).await;
    let wire = Wire::to(&nats.url()).await;
    let far = servers::connect(&[wire.url()]).await;
    let t = tenant("hillside");
    log.publish(claim(t, "core", 0)).await.unwrap();
    let mut reader = far.read(&[Filter::noun(Noun::Signal)], From::Start, None);
    assert_eq!(reader.next().await.unwrap().unwrap().seq, 1);
    wire.swallow(true);
    log.publish(claim(t, "core", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(wire.swallowed() > 0);
    wire.cut();
    wire.swallow(false);
    let lost = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.unwrap();
    assert_eq!(lost.unwrap().unwrap().seq, 2);
    // The same without any sign that the connection was in trouble.
    wire.swallow(true);
    log.publish(claim(t, "core", 2)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    wire.swallow(false);
    let lost = tokio::time::timeout(Duration::from_secs(15), reader.next()).await.unwrap();
    assert_eq!(lost.unwrap().unwrap().seq, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_there_is_said_to_be_missing() {
    let nats = embedded::Nats::start_temporary(|_| {}).await.unwrap();
    let log = servers::connect(&[nats.url()]).await;
    let mut reader = log.read(&[Filter::noun(Noun::Signal)], From::Start, Some(5));
    assert!(matches!(reader.next().await, Err(LogError::Read { .. })));
    // Declaring twice is the same as once.
    log.ensure().await.unwrap();
    log.ensure().await.unwrap();
    assert_eq!(log.state().await.unwrap().messages, 0);
    assert!(log.server_version().starts_with("2."));
}

/// Whoever reads beside something else stops waiting at any moment, and asks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_no_longer_waited_for_loses_nothing() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    for round in 0..6_u64 {
        log.publish_all(claims(t, round * 900, round * 900 + 900)).await.unwrap();
    }
    for to in [Some(5_400), None] {
        let mut reader = log.read(&[Filter::noun(Noun::Signal)], From::Start, to);
        let (mut seen, mut dropped) = (Vec::new(), 0);
        for turn in 0_u64..2_000 {
            if seen.len() == 5_400 {
                break;
            }
            // Short enough to strike in the middle of it, the first before anything can have come, and now and
            // then long enough to get on.
            let patience = Duration::from_micros(if turn % 8 == 4 { 60_000 } else { turn * 97 % 2_500 });
            let chunk = if turn % 2 == 0 {
                tokio::time::timeout(patience, reader.next_chunk(250)).await
            } else {
                let next = tokio::time::timeout(patience, reader.next()).await;
                next.map(|next| next.map(|raw| raw.into_iter().collect()))
            };
            match chunk {
                Ok(chunk) => seen.extend(chunk.unwrap().into_iter().map(|raw| raw.seq)),
                Err(_) => dropped += 1,
            }
        }
        assert!(dropped > 0, "nobody stopped waiting");
        assert!(seen.iter().copied().eq(1..=5_400), "out of order or lost");
    }
}

/// A log whose endless readers share one reading of its end.
async fn together(urls: &[String]) -> Log {
    Log::connect(LogConfig { reads_together: true, ..servers::config(urls) }).await.unwrap()
}

async fn some(reader: &mut Reader, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let chunk = tokio::time::timeout(Duration::from_secs(30), reader.next_chunk(300)).await;
        seqs.extend(chunk.expect("something is lost").unwrap().iter().map(|raw| raw.seq));
    }
    seqs
}

async fn who_reads_together_hears_what_it_would_hear_alone_whatever_happens_to_the_connection(on: On) {
    let (nats, log) = server(on).await;
    let wire = Wire::to(&nats.url()).await;
    let far = together(&[wire.url()]).await;
    let (a, b) = two_tenants();
    log.publish_all(claims(a, 0, 500)).await.unwrap();
    log.publish_all(claims(b, 0, 500)).await.unwrap();
    let signals = [Filter::noun(Noun::Signal)];
    let mut readers = vec![
        (far.read(&signals, From::Start, None), 1_160, 1),
        (far.read(&[Filter::noun(Noun::Signal).tenant(b)], From::Seq(600), None), 401 + 60, 600),
        (far.read(&[Filter::noun(Noun::Health), signals[0].clone()], From::Seq(1_001), None), 160, 1_001),
    ];
    let mut tail = far.tail(&signals);
    assert!(tokio::time::timeout(Duration::from_millis(300), tail.next()).await.is_err());
    readers.push((tail, 160, 1_001));
    let reading: Vec<_> = readers
        .into_iter()
        .map(|(mut reader, count, first)| {
            tokio::spawn(async move { (some(&mut reader, count).await, first) })
        })
        .collect();
    insist(&log, claims(a, 500, 550)).await;
    wire.cut();
    insist(&log, claims(b, 500, 560)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    nats.strike_the_leader().await;
    insist(&log, claims(a, 550, 600)).await;
    for (n, read) in reading.into_iter().enumerate() {
        let (seqs, first) = read.await.unwrap();
        assert_eq!(seqs[0], first, "reader {n}");
        assert!(seqs.is_sorted_by(|one, next| one < next), "reader {n}: {seqs:?}");
        let wanted: Vec<u64> = match n {
            1 => (600..=1_000).chain(1_051..=1_110).collect(),
            _ => (first..=1_160).collect(),
        };
        assert_eq!(seqs, wanted, "reader {n}");
    }
    let stats = far.tap_stats();
    assert!(stats.messages.load(Ordering::Relaxed) >= 60, "nobody read together: {stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_too_slow_for_the_others_reads_on_alone_and_misses_nothing() {
    let (nats, log) = server(On::One).await;
    let far = together(&[nats.url()]).await;
    let t = tenant("hillside");
    let (mut slow, mut quick) =
        (far.tail(&[Filter::noun(Noun::Signal)]), far.tail(&[Filter::noun(Noun::Signal)]));
    for reader in [&mut slow, &mut quick] {
        assert!(tokio::time::timeout(Duration::from_millis(200), reader.next()).await.is_err());
    }
    let reading = tokio::spawn(async move { some(&mut quick, 12_000).await });
    for n in 0..15 {
        log.publish_all(claims(t, n * 800, (n + 1) * 800)).await.unwrap();
    }
    assert_eq!(reading.await.unwrap(), (1..=12_000).collect::<Vec<_>>());
    assert_eq!(some(&mut slow, 12_000).await, (1..=12_000).collect::<Vec<_>>());
    assert_eq!(far.tap_stats().lost_seats.load(Ordering::Relaxed), 1);
    // It takes part again.
    assert_eq!(far.tap_stats().seats.load(Ordering::Relaxed), 1);
    log.publish_all(claims(t, 12_000, 12_100)).await.unwrap();
    assert_eq!(some(&mut slow, 100).await, (12_001..=12_100).collect::<Vec<_>>());
}
