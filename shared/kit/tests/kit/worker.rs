//! The promises of a worker, against a real log.

use crate::ground::{On, ground, until};
use crate::nats::on_one_and_on_three;
use events::{Fact, Noun, TenantId};
use kit::worker::{Job, Verdict, Worker};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// How often each sequence was handed out.
type Seen = Arc<Mutex<BTreeMap<u64, u32>>>;

fn worker() -> Worker {
    Worker::new("hands").hears(&[Noun::Signal]).ack_wait(Duration::from_secs(1))
}

async fn replicas_share_the_work_and_each_job_is_done_once(on: On) {
    let ground = ground(on).await;
    let tenant = TenantId::of("a");
    ground.say_all(tenant, 0..500, "x").await;
    let seen = Seen::default();
    let mut runs = vec![];
    for _ in 0..3 {
        let (service, seen) = (ground.service(), Arc::clone(&seen));
        let stop = service.stop.clone();
        let run = tokio::spawn(async move {
            let work = move |job: Job| {
                *seen.lock().unwrap().entry(job.raw.seq).or_default() += 1;
                async { Verdict::Done }
            };
            worker().run(&service, work).await
        });
        runs.push((stop, run));
    }
    until("all are confirmed", async || ground.figure("mastwatch_hands_done_total") == Some(500.0)).await;
    for (stop, run) in runs {
        stop.cancel();
        run.await.unwrap().unwrap();
    }
    assert!(seen.lock().unwrap().values().all(|times| *times == 1));
    assert_eq!(ground.figure("mastwatch_hands_unconfirmed_total"), Some(0.0));
}

on_one_and_on_three![
    replicas_share_the_work_and_each_job_is_done_once,
    a_replica_that_dies_loses_nothing_and_a_server_that_dies_neither,
    a_server_that_is_frozen_while_jobs_are_confirmed_loses_none,
    what_is_put_off_comes_again_then_and_long_work_is_not_handed_out_twice,
    poison_and_what_is_no_fact_go_whole_to_the_dead_letters_and_the_rest_flows_on,
];

#[tokio::test]
async fn no_more_jobs_run_at_once_than_there_are_places() {
    let ground = ground(On::One).await;
    ground.say_all(TenantId::of("a"), 0..40, "x").await;
    let service = ground.service();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let stop = service.stop.clone();
    let run = tokio::spawn(async move {
        let work = move |_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Verdict::Done
            }
        };
        worker().at_a_time(4).run(&service, work).await
    });
    until("all are done", async || ground.figure("mastwatch_hands_done_total") == Some(40.0)).await;
    stop.cancel();
    run.await.unwrap().unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

/// What waits is counted with each job that is taken, and every few seconds: others take it too, and there may be no place
/// for one more.
#[tokio::test]
async fn jobs_that_nobody_has_taken_are_counted_until_none_is_left() {
    let ground = ground(On::One).await;
    ground.say_all(TenantId::of("a"), 0..40, "x").await;
    let (service, gate) = (ground.service(), Arc::new(Semaphore::new(0)));
    let (stop, held) = (service.stop.clone(), Arc::clone(&gate));
    let run = tokio::spawn(async move {
        let work = move |_| {
            let gate = Arc::clone(&held);
            async move {
                gate.acquire().await.unwrap().forget();
                Verdict::Done
            }
        };
        worker().at_a_time(4).run(&service, work).await
    });
    let waiting = || ground.figure("mastwatch_hands_backlog");
    until("four are taken", async || waiting() == Some(36.0)).await;
    gate.add_permits(4);
    until("eight are taken", async || waiting() == Some(32.0)).await;
    let stream = ground.log.config().stream.clone();
    let context =
        async_nats::jetstream::new(async_nats::connect(&ground.log.config().servers[0]).await.unwrap());
    context.get_stream(stream).await.unwrap().purge().await.unwrap();
    until("none waits, while all places are taken", async || waiting() == Some(0.0)).await;
    gate.add_permits(40);
    stop.cancel();
    run.await.unwrap().unwrap();
}

async fn what_is_put_off_comes_again_then_and_long_work_is_not_handed_out_twice(on: On) {
    let ground = ground(on).await;
    ground.say_all(TenantId::of("a"), 0..2, "x").await;
    let service = ground.service();
    let (seen, began) = (Seen::default(), std::time::Instant::now());
    let stop = service.stop.clone();
    let counted = Arc::clone(&seen);
    let run = tokio::spawn(async move {
        let work = move |job: Job| {
            *counted.lock().unwrap().entry(job.raw.seq).or_default() += 1;
            async move {
                match (job.raw.seq, job.attempt) {
                    (1, 1) => Verdict::Later(Duration::from_millis(300)),
                    (1, _) => Verdict::Done,
                    _ => {
                        // Two and a half times as long as a confirmation may take.
                        tokio::time::sleep(Duration::from_millis(2_500)).await;
                        Verdict::Done
                    }
                }
            }
        };
        worker().run(&service, work).await
    });
    until("the first is done", async || ground.figure("mastwatch_hands_done_total") >= Some(1.0)).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    until("both are done", async || ground.figure("mastwatch_hands_done_total") == Some(2.0)).await;
    stop.cancel();
    run.await.unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), BTreeMap::from([(1, 2), (2, 1)]));
}

async fn poison_and_what_is_no_fact_go_whole_to_the_dead_letters_and_the_rest_flows_on(on: On) {
    let ground = ground(on).await;
    let tenant = TenantId::of("a");
    ground.say_all(tenant, 0..3, "x").await;
    ground.lay_nonsense(tenant).await;
    ground.say_all(tenant, 3..5, "x").await;
    let service = ground.service();
    let stop = service.stop.clone();
    let run = tokio::spawn(async move {
        let work = async |heard: events::Heard, _| match heard.fact {
            Fact::Signal(signal) if signal.seq == Some(1) => Verdict::Poison("nobody can do this".into()),
            _ => Verdict::Done,
        };
        worker().run_facts(&service, work).await
    });
    until("the others are done", async || ground.figure("mastwatch_hands_done_total") == Some(4.0)).await;
    until("two are buried", async || ground.figure("mastwatch_hands_dead_total") == Some(2.0)).await;
    stop.cancel();
    run.await.unwrap().unwrap();
    let dead: BTreeMap<String, String> = ground.dead().await.into_iter().collect();
    let part = events::partition_of(tenant);
    assert_eq!(dead[&format!("dead.hands.{part}.2")], "nobody can do this");
    assert!(dead.contains_key(&format!("dead.hands.{part}.4")), "{dead:?}");
    assert_eq!(dead.len(), 2);
}

#[tokio::test]
async fn a_job_that_panics_is_tried_again() {
    let ground = ground(On::One).await;
    ground.say(TenantId::of("a"), 0, "x").await;
    let service = ground.service();
    let stop = service.stop.clone();
    let run = tokio::spawn(async move {
        let work = |job: Job| async move {
            assert!(job.attempt > 1, "on purpose");
            Verdict::Done
        };
        worker().run(&service, work).await
    });
    until("it is done after all", async || ground.figure("mastwatch_hands_done_total") == Some(1.0)).await;
    assert_eq!(ground.figure("mastwatch_hands_failed_total"), Some(1.0));
    stop.cancel();
    run.await.unwrap().unwrap();
}

async fn a_replica_that_dies_loses_nothing_and_a_server_that_dies_neither(on: On) {
    let ground = ground(on).await;
    let tenant = TenantId::of("a");
    ground.say_all(tenant, 0..20, "x").await;
    // The first takes all of it and dies with it.
    let service = ground.service();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let dying = tokio::spawn(async move {
        let work = move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Verdict>()
        };
        worker().run(&service, work).await
    });
    until("all are taken", async || taken.load(Ordering::SeqCst) == 20).await;
    dying.abort();

    let service = ground.service();
    let stop = service.stop.clone();
    let done: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    let kept = Arc::clone(&done);
    let run = tokio::spawn(async move {
        let work = move |job: Job| {
            kept.lock().unwrap().insert(job.raw.seq);
            async { Verdict::Done }
        };
        worker().run(&service, work).await
    });
    until("some are done", async || !done.lock().unwrap().is_empty()).await;
    ground.nats.strike_the_leader().await;
    ground.say_all(tenant, 20..40, "x").await;
    until("all are done", async || done.lock().unwrap().len() == 40).await;
    stop.cancel();
    run.await.unwrap().unwrap();
}

async fn a_server_that_is_frozen_while_jobs_are_confirmed_loses_none(on: On) {
    let ground = ground(on).await;
    let tenant = TenantId::of("a");
    ground.say_all(tenant, 0..200, "x").await;
    let service = ground.service();
    let (seen, stop) = (Seen::default(), service.stop.clone());
    let counted = Arc::clone(&seen);
    let run = tokio::spawn(async move {
        let work = move |job: Job| {
            *counted.lock().unwrap().entry(job.raw.seq).or_default() += 1;
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Verdict::Done
            }
        };
        worker().at_a_time(2).run(&service, work).await
    });
    until("one is done", async || ground.figure("mastwatch_hands_done_total") > Some(0.0)).await;
    let leader = ground.nats.leader_of_consumer("LOG", "hands").await;
    leader.freeze().unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    leader.thaw().unwrap();
    let done = seen.lock().unwrap().len();
    assert!(done < 200, "nothing was left to do");
    until("all are done", async || seen.lock().unwrap().len() == 200).await;
    // What was taken and could not be confirmed comes again, nothing else: two hands, a few each time.
    let again = seen.lock().unwrap().values().filter(|times| **times > 1).count();
    assert!(again <= 20, "{again} were handed out again");
    stop.cancel();
    run.await.unwrap().unwrap();
}
