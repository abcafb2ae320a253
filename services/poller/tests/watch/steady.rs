//! The poller day in, day out: on schedule, and over one session per router.
//!
//! The long versions run by `./dev soak`, which sets `MASTWATCH_SOAK`.

use crate::ground::{Ground, until, watch};
use events::{Answer, Fact, Noun, Outcome, Probe, Question};
use kit::{Filter, From};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

fn is_soak() -> bool {
    std::env::var_os("MASTWATCH_SOAK").is_some()
}

/// How many cores are watched.
const CORES: u8 = 200;

/// Requirements, R10: each of 200 cores gets one probe per interval, at the address that is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_cores_are_each_probed_once_an_interval() {
    // An interval less than a minute keeps the test short; being late by a busy machine does not shrink with it.
    let (every_s, off_s, lasts) =
        if is_soak() { (60, 5.0, Duration::from_secs(660)) } else { (6, 2.0, Duration::from_secs(21)) };
    // All of 127/8 is here: one door for all cores, which sees at which address it was knocked.
    let door = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    let knocks: Arc<Mutex<BTreeMap<IpAddr, Vec<Instant>>>> = Arc::default();
    let noted = Arc::clone(&knocks);
    let watching = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = door.accept().await else { return };
            let Ok(at) = stream.local_addr() else { continue };
            noted.lock().unwrap().entry(at.ip()).or_default().push(Instant::now());
        }
    });

    let ground = Ground::lay().await;
    let address = |n: u8| IpAddr::from([127, 9, 0, n]);
    let cores = (1..=CORES).map(|n| {
        let mut core = ground.node(&format!("core-{n}"));
        core.address = Some(address(n));
        core.watch = watch(Probe::Tcp { port }, every_s);
        core
    });
    ground.put(cores.collect()).await;
    let running = ground.start(&[]).await;
    until("every core was probed", Duration::from_secs(u64::from(every_s) * 2 + 20), async || {
        knocks.lock().unwrap().len() == usize::from(CORES)
    })
    .await;
    let began = Instant::now();
    tokio::time::sleep(lasts).await;
    running.stop().await;
    watching.abort();

    let knocks = knocks.lock().unwrap();
    assert_eq!(knocks.len(), usize::from(CORES), "and nobody else");
    let least = (lasts.as_secs_f64() / f64::from(every_s)) as usize;
    for n in 1..=CORES {
        // Those before may belong to an earlier plan, with fewer cores in it.
        let times: Vec<Instant> = knocks[&address(n)].iter().copied().filter(|at| *at >= began).collect();
        assert!((least..=least + 1).contains(&times.len()), "core-{n}: {} probes", times.len());
        for pair in times.windows(2) {
            let apart = (pair[1] - pair[0]).as_secs_f64();
            assert!((apart - f64::from(every_s)).abs() <= off_s, "core-{n}: {apart} s between two probes");
        }
    }
}

/// Requirements, R19: a hundred reads of status a second over one login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reads_a_second_take_one_login() {
    let lasts = if is_soak() { Duration::from_secs(3_600) } else { Duration::from_secs(4) };
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_router().await;
    router.state().alive.insert("10.0.0.1".into());
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let began = Instant::now();
    let mut asked_count = 0;
    // Each answer is read once: those of an hour are too many to begin anew for each look.
    let mut reader = ground.log.read(&[Filter::noun(Noun::Answer)], From::Start, None);
    let (all_asked, total) = tokio::sync::watch::channel(usize::MAX);
    let reading = tokio::spawn(async move {
        let (mut replied, mut other, mut silent_s) = (0, vec![], 0);
        while replied + other.len() < *total.borrow() && silent_s < 20 {
            let Ok(chunk) = tokio::time::timeout(Duration::from_secs(1), reader.next_chunk(1_000)).await
            else {
                silent_s += 1;
                continue;
            };
            silent_s = 0;
            for raw in chunk.unwrap() {
                match raw.decode().unwrap().fact {
                    Fact::Answer(Answer { outcome: Outcome::Replied { rtt_us: 453 }, .. }) => replied += 1,
                    fact => other.push(fact),
                }
            }
        }
        (replied, other)
    });
    while began.elapsed() < lasts {
        ticks.tick().await;
        let asks: Vec<_> = (0..10)
            .map(|_| {
                let question = Question::PingThrough { router: ground.id("core-1") };
                Fact::Ask(ground.question("ap-1", question, Duration::from_secs(10)))
            })
            .collect();
        asked_count += asks.len();
        ground.say(asks).await;
    }
    all_asked.send_replace(asked_count);
    let (replied, other) = reading.await.unwrap();
    assert_eq!((replied, other.len()), (asked_count, 0), "each was answered, and by the router: {other:?}");
    assert_eq!(router.state().logins, 1);
    running.stop().await;
}

/// Requirements, R19: killing a session in the middle of a call costs one reconnect and no job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_killed_in_the_middle_of_a_call_costs_one_reconnect_and_no_answer() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_router().await;
    router.state().alive.insert("10.0.0.1".into());
    let ping = || Question::PingThrough { router: ground.id("core-1") };
    assert_eq!(ground.ask("ap-1", ping()).await, [Outcome::Replied { rtt_us: 453 }]);
    assert_eq!(router.state().logins, 1);

    // The one that is asked now does not answer: its ping is under way until it runs out.
    router.state().alive.clear();
    let (outcomes, ()) = tokio::join!(ground.ask("ap-1", ping()), async {
        until("the ping is under way", Duration::from_secs(10), async || router.state().pings.0 > 0).await;
        router.state().alive.insert("10.0.0.1".into());
        router.cut();
    });
    assert_eq!(outcomes.last(), Some(&Outcome::Replied { rtt_us: 453 }), "{outcomes:?}");
    assert_eq!(router.state().logins, 2, "one reconnect");
    running.stop().await;
}
