//! What deciders promise, against a real server.

use crate::nats::on_one_and_on_three;
use crate::servers::{
    On, claim, claim_with, connect, eventually, insist,
    running::{Running, alone, assert_once_in_effect, count, dead_letters, run, run_with, with_causes},
    server, tenant,
    toy::Habits,
    two_tenants,
    wire::Wire,
};
use events::{Noun, partition_of};
use kit::{DeciderOptions, Filter, From, Leasing, Observe, Then};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

on_one_and_on_three![
    two_replicas_that_both_believe_they_are_in_charge_say_everything_once,
    with_leases_one_of_two_works_and_the_other_takes_over,
    a_server_killed_in_the_middle_of_commits_loses_and_repeats_nothing,
    a_swallowed_acknowledgement_leads_to_a_new_start_and_not_to_a_repetition,
    a_commit_that_times_out_on_a_frozen_server_is_not_repeated_blindly,
    a_timer_armed_twice_in_one_decision_is_armed_once_and_fires_in_the_log,
    a_disarmed_timer_does_not_fire_and_one_armed_again_fires_once,
    what_is_owed_is_said_without_any_further_input,
    what_is_owed_is_said_by_whoever_starts_next,
    a_poison_message_harms_itself_only_also_after_a_restart,
    killed_after_every_single_commit_it_remembers_the_same,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_and_what_comes_is_decided_upon_once() {
    let (_nats, log) = server(On::One).await;
    let (a, b) = two_tenants();
    log.publish_all((0..700).map(|n| claim(a, &format!("n{}", n % 7), n)).collect()).await.unwrap();
    let running = run(&log, Habits::default());
    for round in 0..20_u64 {
        let both = [a, b].map(|t| claim(t, "late", round));
        log.publish_all(both.to_vec()).await.unwrap();
    }
    eventually("everything is counted", Duration::from_secs(10), || async {
        count(&log, Noun::Delivery).await == 740
    })
    .await;
    running.stop().await;
    assert_once_in_effect(&log, 1).await;
    // A partition nobody speaks in costs nothing: two were loaded, 62 sleep.
    let again = run(&log, Habits::default());
    eventually("both are loaded", Duration::from_secs(5), || async {
        again.stats.loads.load(Ordering::Relaxed) == 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(again.stats.loads.load(Ordering::Relaxed), 2);
    assert_eq!(again.stats.said.load(Ordering::Relaxed), 0);
    again.stop().await;
}

async fn two_replicas_that_both_believe_they_are_in_charge_say_everything_once(on: On) {
    let (nats, log) = server(on).await;
    let t = tenant("hillside");
    let logs = [connect(&nats.urls()).await, connect(&nats.urls()).await];
    let replicas: Vec<Running> = logs.iter().map(|log| run(log, Habits::default())).collect();
    for n in 0..300 {
        log.publish(claim(t, &format!("n{}", n % 5), n)).await.unwrap();
    }
    eventually("everything is counted", Duration::from_secs(20), || async {
        count(&log, Noun::Delivery).await >= 300
    })
    .await;
    let conflicts: u64 = replicas.iter().map(|r| r.stats.conflicts.load(Ordering::Relaxed)).sum();
    for replica in replicas {
        replica.stop().await;
    }
    assert!(conflicts > 0, "they never fought");
    assert_once_in_effect(&log, 1).await;
}

async fn with_leases_one_of_two_works_and_the_other_takes_over(on: On) {
    let (nats, log) = server(on).await;
    let t = tenant("hillside");
    let shared = |name: &str| DeciderOptions {
        leasing: Leasing::Shared { replica: name.into(), expiry: Duration::from_millis(1_200) },
        ..DeciderOptions::default()
    };
    let logs = [connect(&nats.urls()).await, connect(&nats.urls()).await];
    let first = run_with(&logs[0], Habits::default(), shared("first"), None);
    let second = run_with(&logs[1], Habits::default(), shared("second"), None);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    insist(&log, (0..50).map(|n| claim(t, "core", n)).collect()).await;
    eventually("the first fifty", Duration::from_secs(10), || async {
        count(&log, Noun::Delivery).await == 50
    })
    .await;
    let conflicts = |r: &Running| r.stats.conflicts.load(Ordering::Relaxed);
    assert_eq!(conflicts(&first) + conflicts(&second), 0, "a lease saves the work of fighting");
    // Whoever has the partition dies without a word.
    let (dead, heir) =
        if first.stats.said.load(Ordering::Relaxed) > 0 { (first, second) } else { (second, first) };
    dead.task.abort();
    let begun = tokio::time::Instant::now();
    insist(&log, (50..100).map(|n| claim(t, "core", n)).collect()).await;
    eventually("the other fifty", Duration::from_secs(10), || async {
        count(&log, Noun::Delivery).await == 100
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(4), "taken over after {:?}", begun.elapsed());
    heir.stop().await;
    assert_once_in_effect(&log, 1).await;
}

async fn a_server_killed_in_the_middle_of_commits_loses_and_repeats_nothing(on: On) {
    let (nats, log) = server(on).await;
    let t = tenant("hillside");
    let running = run(&log, Habits { echoes: 3, ..Habits::default() });
    let sender = log.clone();
    let sending = tokio::spawn(async move {
        for n in 0..40_u64 {
            insist(&sender, (n * 10..n * 10 + 10).map(|n| claim(t, &format!("n{}", n % 3), n)).collect())
                .await;
        }
    });
    for pause_ms in [150, 230, 310, 170] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        // Three are long about it: there is an election each time.
        if on == On::One || pause_ms < 200 {
            nats.strike_the_leader().await;
        }
    }
    nats.strike_all().await;
    sending.await.unwrap();
    eventually("everything is counted", Duration::from_secs(30), || async {
        count(&log, Noun::Delivery).await >= 1_200
    })
    .await;
    running.stop().await;
    assert_once_in_effect(&log, 3).await;
}

async fn a_swallowed_acknowledgement_leads_to_a_new_start_and_not_to_a_repetition(on: On) {
    let (nats, log) = server(on).await;
    let wire = Wire::to(&nats.url()).await;
    let far = connect(&[wire.url()]).await;
    let t = tenant("hillside");
    let running = run(&far, Habits::default());
    log.publish(claim(t, "core", 0)).await.unwrap();
    eventually("the first", Duration::from_secs(5), || async { count(&log, Noun::Delivery).await == 1 })
        .await;
    for round in 1..=3_u64 {
        // The input arrives, the answer to the commit does not.
        let said = count(&log, Noun::Delivery).await;
        let before = running.stats.commits.load(Ordering::Relaxed);
        log.publish(claim(t, "core", round)).await.unwrap();
        tokio::time::sleep(Duration::from_micros(300 * round)).await;
        wire.swallow(true);
        tokio::time::sleep(Duration::from_millis(100)).await;
        wire.swallow(false);
        if running.stats.commits.load(Ordering::Relaxed) == before {
            wire.cut();
        }
        eventually("it is counted", Duration::from_secs(10), || async {
            count(&log, Noun::Delivery).await > said
        })
        .await;
    }
    // Certainly: nothing is heard from the server while a commit is under way.
    let said = count(&log, Noun::Delivery).await;
    let unknown = running.stats.unknown.load(Ordering::Relaxed);
    let gate = wire.swallow_after_the_next_delivery();
    log.publish(claim(t, "core", 99)).await.unwrap();
    eventually("the commit is stored", Duration::from_secs(5), || async {
        count(&log, Noun::Delivery).await == said + 1
    })
    .await;
    drop(gate);
    wire.cut();
    eventually("the outcome was unknown", Duration::from_secs(10), || async {
        running.stats.unknown.load(Ordering::Relaxed) > unknown
    })
    .await;
    log.publish(claim(t, "core", 100)).await.unwrap();
    eventually("it goes on", Duration::from_secs(10), || async {
        count(&log, Noun::Delivery).await == said + 2
    })
    .await;
    running.stop().await;
    assert_once_in_effect(&log, 1).await;
}

async fn a_commit_that_times_out_on_a_frozen_server_is_not_repeated_blindly(on: On) {
    let (nats, log) = server(on).await;
    let t = tenant("hillside");
    let running = run(&log, Habits { echoes: 2, ..Habits::default() });
    insist(&log, (0..20).map(|n| claim(t, "core", n)).collect()).await;
    for round in 1..=2_u64 {
        let sender = log.clone();
        let sending = tokio::spawn(async move {
            insist(&sender, (round * 100..round * 100 + 50).map(|n| claim(t, "core", n)).collect()).await;
        });
        tokio::time::sleep(Duration::from_millis(8 * round)).await;
        let frozen = nats.leader().await;
        frozen.freeze().unwrap();
        tokio::time::sleep(Duration::from_millis(3_000)).await;
        frozen.thaw().unwrap();
        sending.await.unwrap();
    }
    eventually("everything is counted", Duration::from_secs(20), || async {
        count(&log, Noun::Delivery).await >= 240
    })
    .await;
    running.stop().await;
    assert_once_in_effect(&log, 2).await;
}

async fn a_timer_armed_twice_in_one_decision_is_armed_once_and_fires_in_the_log(on: On) {
    let (_nats, log) = server(on).await;
    let t = tenant("hillside");
    let running = run(&log, Habits { arms_twice: true, ..Habits::default() });
    log.publish_all((0..3).map(|n| claim(t, "core", n)).collect()).await.unwrap();
    eventually("it fires", Duration::from_secs(5), || async { count(&log, Noun::Due).await == 1 }).await;
    let (due, _) = with_causes(&log, Noun::Due).await;
    let events::Fact::Due(fired) = &due[0].fact else { panic!("a firing") };
    assert_eq!((fired.service.as_str(), fired.version), ("toy", 2));
    // The decider hears its own firing.
    eventually("it is heard", Duration::from_secs(5), || async {
        running.stats.inputs.load(Ordering::Relaxed) == 4
    })
    .await;
    running.stop().await;
    assert_once_in_effect(&log, 1).await;
    assert!(dead_letters(&log).await.is_empty());
}

async fn a_disarmed_timer_does_not_fire_and_one_armed_again_fires_once(on: On) {
    let (_nats, log) = server(on).await;
    let t = tenant("hillside");
    let running = run(&log, Habits { holds: true, ..Habits::default() });
    let mut said = 0;
    for (node, word) in
        [("kept", "arm"), ("dropped", "arm"), ("again", "arm"), ("dropped", "disarm"), ("again", "arm")]
    {
        said += 1;
        log.publish(claim_with(t, node, said, Some(word.into()))).await.unwrap();
        eventually("it is counted", Duration::from_secs(5), || async {
            count(&log, Noun::Delivery).await as u64 == said
        })
        .await;
    }
    // The one that was armed last fires last: what fires at all has fired then.
    eventually("two fire", Duration::from_secs(10), || async { count(&log, Noun::Due).await >= 2 }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (due, _) = with_causes(&log, Noun::Due).await;
    let mut versions: Vec<u32> = due
        .iter()
        .filter_map(|due| if let events::Fact::Due(due) = &due.fact { Some(due.version) } else { None })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, vec![1, 2]);
    running.stop().await;
    // Nothing armed is left, and what disarmed is gone too.
    let end = log.state().await.unwrap().last_seq;
    let mut timers = log.read(&[Filter::noun(Noun::Timer)], From::Start, Some(end));
    assert!(timers.next().await.unwrap().is_none());
}

async fn what_is_owed_is_said_without_any_further_input(on: On) {
    let (_nats, log) = server(on).await;
    let t = tenant("hillside");
    // 3 claims with 40 effects each, of which 7 may be said at once.
    let habits = Habits { echoes: 40, says_max: Some(7), ..Habits::default() };
    let running = run(&log, habits);
    log.publish_all((0..3).map(|n| claim(t, "core", n)).collect()).await.unwrap();
    eventually("all of it", Duration::from_secs(10), || async { count(&log, Noun::Delivery).await == 120 })
        .await;
    let commits = running.stats.commits.load(Ordering::Relaxed);
    assert!(commits >= 18, "{commits}");
    running.stop().await;
    assert_once_in_effect(&log, 40).await;
}

async fn what_is_owed_is_said_by_whoever_starts_next(on: On) {
    let (_nats, log) = server(on).await;
    let t = tenant("hillside");
    let habits = Habits { echoes: 200, says_max: Some(3), ..Habits::default() };
    let first = run(&log, habits);
    log.publish(claim(t, "core", 0)).await.unwrap();
    eventually("a part of it", Duration::from_secs(10), || async { count(&log, Noun::Delivery).await >= 3 })
        .await;
    first.task.abort();
    drop(first.task.await);
    let before = count(&log, Noun::Delivery).await;
    assert!(before < 200, "nothing was left to say");
    let second = run(&log, habits);
    eventually("all of it", Duration::from_secs(10), || async { count(&log, Noun::Delivery).await == 200 })
        .await;
    second.stop().await;
    assert_once_in_effect(&log, 200).await;
}

async fn a_poison_message_harms_itself_only_also_after_a_restart(on: On) {
    let (_nats, log) = server(on).await;
    let t = tenant("hillside");
    let word = |n: u64| match n {
        137 => Some("panic".to_owned()),
        411 => Some("huge".to_owned()),
        _ => None,
    };
    let habits = Habits { fragile: true, verbose: true, ..Habits::default() };
    log.publish_all((0..600).map(|n| claim_with(t, &format!("n{}", n % 40), n, word(n))).collect())
        .await
        .unwrap();
    // What is no fact at all, under the subject of one.
    let client = async_nats::connect(&log.config().servers[0]).await.unwrap();
    let subject = format!("mw.{}.{t}.signal.broken", partition_of(t));
    client.publish(subject, "no JSON".into()).await.unwrap();
    client.flush().await.unwrap();
    let running = run(&log, habits);
    eventually("the others are counted", Duration::from_secs(20), || async {
        count(&log, Noun::Delivery).await == 598
    })
    .await;
    eventually("three letters", Duration::from_secs(5), || async { dead_letters(&log).await.len() == 3 })
        .await;
    assert_eq!(running.stats.stuck.load(Ordering::Relaxed), 2);
    assert_eq!(running.stats.undecodable.load(Ordering::Relaxed), 1);
    running.stop().await;
    let letters = dead_letters(&log).await;
    assert!(letters.iter().any(|(_, reason)| reason.contains("panicked: a poison claim")), "{letters:?}");
    assert!(letters.iter().any(|(_, reason)| reason.contains("larger than an event")), "{letters:?}");
    assert!(letters.iter().any(|(_, reason)| reason.contains("event id")), "{letters:?}");
    // The poison is among the inputs that a start hears again: it stays passed over.
    let again = run(&log, habits);
    log.publish(claim(t, "later", 1)).await.unwrap();
    eventually("it goes on", Duration::from_secs(10), || async { count(&log, Noun::Delivery).await == 599 })
        .await;
    assert_eq!(again.stats.stuck.load(Ordering::Relaxed), 0);
    again.stop().await;
    assert_eq!(dead_letters(&log).await.len(), 3);
}

/// Forgets everything after every commit, and compares what is loaded with what was known.
#[derive(Default)]
struct Amnesia {
    known: Mutex<BTreeMap<(u16, u64), u64>>,
    kills: AtomicUsize,
    compared: AtomicUsize,
    differing: Mutex<Vec<(u16, u64)>>,
}

impl Observe for Amnesia {
    fn loaded(&self, part: u16, position: u64, digest: u64) {
        if let Some(known) = self.known.lock().unwrap().get(&(part, position)) {
            self.compared.fetch_add(1, Ordering::SeqCst);
            if *known != digest {
                self.differing.lock().unwrap().push((part, position));
            }
        }
    }

    fn committed(&self, part: u16, position: u64, digest: u64) -> Then {
        self.known.lock().unwrap().insert((part, position), digest);
        self.kills.fetch_add(1, Ordering::SeqCst);
        Then::Forget
    }
}

async fn killed_after_every_single_commit_it_remembers_the_same(on: On) {
    let (_nats, log) = server(on).await;
    let (a, b) = two_tenants();
    let amnesia = Arc::new(Amnesia::default());
    let habits = Habits { echoes: 3, says_max: Some(10), ..Habits::default() };
    let options = DeciderOptions { chunk_max: 7, ..alone() };
    let running = run_with(&log, habits, options, Some(amnesia.clone()));
    for n in 0..15_u64 {
        let some = (0..5).map(|i| claim(if i < 3 { a } else { b }, &format!("n{}", (n + i) % 4), n * 10 + i));
        log.publish_all(some.collect()).await.unwrap();
    }
    eventually("everything is counted", Duration::from_secs(30), || async {
        count(&log, Noun::Delivery).await == 225
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop().await;
    assert_once_in_effect(&log, 3).await;
    assert_eq!(*amnesia.differing.lock().unwrap(), vec![]);
    let (kills, compared) = (amnesia.kills.load(Ordering::SeqCst), amnesia.compared.load(Ordering::SeqCst));
    assert!(kills >= 23 && compared + 2 >= kills, "{compared} of {kills}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_too_slow_catches_up_by_itself() {
    let (_nats, log) = server(On::One).await;
    let (a, b) = two_tenants();
    let options = DeciderOptions { queue_max: 16, chunk_max: 4, ..alone() };
    let running = run_with(&log, Habits::default(), options, None);
    log.publish_all([a, b].map(|t| claim(t, "first", 0)).to_vec()).await.unwrap();
    eventually("both are awake", Duration::from_secs(5), || async { count(&log, Noun::Delivery).await == 2 })
        .await;
    for round in 0..5_u64 {
        log.publish_all((0..200).map(|n| claim(a, "core", round * 200 + n)).collect()).await.unwrap();
        log.publish(claim(b, "core", round)).await.unwrap();
    }
    eventually("everything is counted", Duration::from_secs(30), || async {
        count(&log, Noun::Delivery).await == 1_007
    })
    .await;
    assert!(running.stats.left.load(Ordering::Relaxed) > 0, "it was never too slow");
    running.stop().await;
    assert_once_in_effect(&log, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_that_lead_to_nothing_move_the_cut_within_a_second() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let running = run(&log, Habits { mute: true, ..Habits::default() });
    log.publish_all((0..100).map(|n| claim(t, "core", n)).collect()).await.unwrap();
    let subject = format!("mw.{}.all.cut.toy", partition_of(t));
    eventually("the cut moves", Duration::from_secs(3), || async {
        match log.last(&subject).await.unwrap() {
            Some(raw) => serde_json::from_slice::<events::Cut>(&raw.body).unwrap().position == 100,
            None => false,
        }
    })
    .await;
    assert!(running.stats.commits.load(Ordering::Relaxed) <= 2);
    // An orderly end leaves nothing to be heard again.
    log.publish(claim(t, "core", 100)).await.unwrap();
    eventually("it is heard", Duration::from_secs(3), || async {
        running.stats.inputs.load(Ordering::Relaxed) == 101
    })
    .await;
    running.stop().await;
    let raw = log.last(&subject).await.unwrap().unwrap();
    assert!(serde_json::from_slice::<events::Cut>(&raw.body).unwrap().position > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_and_traces_go_on_in_what_is_said() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let heard = claim(t, "core", 0).traced(Some(trace.into()));
    let id = heard.say.id;
    let running = run(&log, Habits::default());
    log.publish(heard).await.unwrap();
    eventually("it is counted", Duration::from_secs(5), || async { count(&log, Noun::Delivery).await == 1 })
        .await;
    running.stop().await;
    let mut reader =
        log.read(&[Filter::noun(Noun::Delivery)], From::Start, Some(log.state().await.unwrap().last_seq));
    let said = reader.next().await.unwrap().unwrap();
    assert_eq!((said.cause(), said.correlation()), (Some(id), Some(id)));
    let parent = said.traceparent().unwrap();
    assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent != trace, "{parent}");
}

/// Standings whose time is short.
fn kept_a_second(noun: Noun) -> Option<Duration> {
    (noun == Noun::Delivery).then_some(Duration::from_secs(1))
}

fn kept_ten_seconds(noun: Noun) -> Option<Duration> {
    (noun == Noun::Delivery).then_some(Duration::from_secs(10))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_about_to_be_forgotten_is_said_again_once() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let habits = Habits { restates: true, ..Habits::default() };
    let running = run(&log, habits);
    log.publish(claim(t, "core", 0)).await.unwrap();
    eventually("it is counted", Duration::from_secs(5), || async { count(&log, Noun::Delivery).await == 1 })
        .await;
    running.stop().await;
    let first = with_causes(&log, Noun::Delivery).await.0[0].clone();

    // Looked for every 100 ms, while other things are heard: it is said again when a tenth of its time is left.
    let options =
        DeciderOptions { retention: kept_ten_seconds, restate_every: Duration::from_millis(100), ..alone() };
    let running = run_with(&log, Habits { mute: true, ..habits }, options, None);
    let mut n = 0;
    eventually("it is said again", Duration::from_secs(30), || {
        n += 1;
        let (log, other) = (&log, claim(t, "other", n));
        async move {
            log.publish(other).await.unwrap();
            count(log, Noun::Delivery).await > 1
        }
    })
    .await;
    running.stop().await;
    let (said, causes) = with_causes(&log, Noun::Delivery).await;
    assert_eq!((said.len(), causes[1], &said[1].fact), (2, Some(first.id), &first.fact));
    assert!(said[1].heard.ms_since(first.heard) >= 9_000, "not before a tenth of its time was left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_its_time_is_not_loaded() {
    let (_nats, log) = server(On::One).await;
    let t = tenant("hillside");
    let running = run(&log, Habits::default());
    log.publish(claim(t, "core", 0)).await.unwrap();
    eventually("it is counted", Duration::from_secs(5), || async { count(&log, Noun::Delivery).await == 1 })
        .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    log.publish(claim(t, "other", 1)).await.unwrap();
    eventually("so is the other", Duration::from_secs(5), || async {
        count(&log, Noun::Delivery).await == 2
    })
    .await;
    running.stop().await;

    let options = DeciderOptions { retention: kept_a_second, ..alone() };
    let running = run_with(&log, Habits::default(), options, None);
    log.publish(claim(t, "third", 2)).await.unwrap();
    eventually("what was forgotten is decided anew", Duration::from_secs(10), || async {
        count(&log, Noun::Delivery).await == 4
    })
    .await;
    assert_eq!(running.stats.expired.load(Ordering::Relaxed), 1);
    running.stop().await;
    let counts: Vec<_> = with_causes(&log, Noun::Delivery)
        .await
        .0
        .into_iter()
        .map(|heard| match heard.fact {
            events::Fact::Delivery(said) => (said.now.notice, said.now.attempts),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts.iter().filter(|count| **count == counts[0]).count(), 2, "{counts:?}");
}
