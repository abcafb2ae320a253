//! The poller's own watch.

use crate::{
    ground::{Ground, until, watch},
    router::Router,
};
use events::{Answer, NodeId, Outcome, Probe, Vantage};
use std::time::Duration;

fn of(answers: &[Answer], node: NodeId) -> Vec<Outcome> {
    let mine = answers.iter().filter(|answer| answer.target == node);
    mine.map(|answer| {
        assert_eq!((answer.ask, answer.asked_at, answer.via), (None, None, Vantage::Direct));
        match &answer.outcome {
            Outcome::Replied { .. } => Outcome::Replied { rtt_us: 0 },
            other => other.clone(),
        }
    })
    .collect()
}

const ALIVE: Outcome = Outcome::Replied { rtt_us: 0 };

fn silent(tries: u8, last: bool) -> Outcome {
    Outcome::Silent { tries, last }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_changes_are_said_and_silence_try_by_try() {
    let ground = Ground::lay().await;
    let router = Router::start("127.0.0.1").await;
    let mut core = ground.router("core-1", router.address, "s3cret");
    core.watch = watch(Probe::RouterOs, 1);
    let core_id = core.id;
    ground.put(vec![core]).await;
    let running = ground.start(&[]).await;
    let said = |outcomes: Vec<Outcome>| {
        let ground = &ground;
        async move {
            let what = format!("said: {outcomes:?}");
            ground.answers_until(&what, |all| of(all, core_id) == outcomes).await;
        }
    };
    said(vec![ALIVE]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    said(vec![ALIVE]).await;
    assert_eq!(router.state().logins, 1);

    router.state().is_silent = true;
    let gone = [silent(1, false), silent(2, false), silent(3, true)];
    said([vec![ALIVE], gone.to_vec()].concat()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    said([vec![ALIVE], gone.to_vec()].concat()).await;
    router.state().is_silent = false;
    said([vec![ALIVE], gone.to_vec(), vec![ALIVE]].concat()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_is_said_again_after_a_while() {
    let ground = Ground::lay().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut node = ground.node("server-1");
    node.address = Some("127.0.0.1".parse().unwrap());
    node.watch = watch(Probe::Tcp { port: listener.local_addr().unwrap().port() }, 1);
    let id = node.id;
    ground.put(vec![node]).await;
    let running = ground.start(&[("attest_every_s", "10")]).await;
    ground.answers_until("said for the first time", |all| of(all, id) == [ALIVE]).await;
    let begun = std::time::Instant::now();
    ground.answers_until("said again", |all| of(all, id) == [ALIVE, ALIVE]).await;
    assert!((7.0..12.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pollers_share_the_slots_and_one_takes_over_from_the_other() {
    let ground = Ground::lay().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let nodes: Vec<_> = (0..40)
        .map(|n| {
            let mut node = ground.node(&format!("server-{n}"));
            node.address = Some("127.0.0.1".parse().unwrap());
            node.watch = watch(Probe::Tcp { port }, 1);
            node
        })
        .collect();
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
    ground.put(nodes).await;
    let first = ground.start(&[]).await;
    ground.answers_until("all are seen", |all| ids.iter().all(|id| of(all, *id).contains(&ALIVE))).await;
    let second = ground.start(&[]).await;
    until("the second has its share", Duration::from_secs(20), async || {
        // What a new keeper sees first, it says.
        ids.iter().filter(|id| of(&all(&ground), **id).len() > 1).count() > 5
    })
    .await;
    first.stop().await;
    ground.answers_until("all were taken over", |all| ids.iter().all(|id| of(all, *id).len() > 1)).await;
    second.stop().await;

    fn all(ground: &Ground) -> Vec<Answer> {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ground.answers()))
    }
}
