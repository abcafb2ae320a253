//! Snapshots: on time whatever another router does, and of a router as it shows itself.

use crate::{
    ground::{Ground, until},
    router::Router,
};
use events::{Metric, NodeId, Samples};
use kit::{Service, Verdict, Worker, admin::Board, config::Common, samples};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Everything that comes into `METRICS`, from now on until the end of the test.
fn heard(ground: &Ground) -> Arc<Mutex<Vec<Samples>>> {
    let all: Arc<Mutex<Vec<Samples>>> = Arc::default();
    let service = Service {
        name: "test",
        common: Arc::new(Common::default()),
        log: ground.log.clone(),
        stop: CancellationToken::new(),
        readiness: Board::default().condition("test"),
        metrics: ground.metrics.under("test"),
    };
    let kept = Arc::clone(&all);
    tokio::spawn(async move {
        let worker = Worker::new("test-samples").takes(samples::STREAM, &[samples::ALL]);
        let keep = move |job: kit::Job| {
            kept.lock().unwrap().push(samples::decode(&job.raw).unwrap().1);
            async { Verdict::Done }
        };
        worker.run(&service, keep).await.unwrap();
    });
    all
}

fn of(all: &Mutex<Vec<Samples>>, router: NodeId) -> Vec<Samples> {
    let mut found: Vec<Samples> =
        all.lock().unwrap().iter().filter(|read| read.router == router).cloned().collect();
    found.sort_by_key(|read| read.due);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_says_nothing_delays_no_other_and_each_keeps_its_own_moment() {
    let ground = Ground::lay().await;
    let mut routers = Vec::new();
    let mut nodes = Vec::new();
    for n in 0..6 {
        let router = Router::start("127.0.0.1").await;
        // Two of the six take a connection and say nothing.
        router.state().is_silent = n < 2;
        router.state().sessions = ["cust-1".to_owned(), "cust-2".to_owned()].into();
        router.state().alive.insert(format!("10.0.{n}.1"));
        nodes.push(ground.router(&format!("core-{n}"), router.address, "s3cret"));
        nodes.push(ground.child(&format!("ap-{n}"), &format!("core-{n}"), Some(&format!("10.0.{n}.1"))));
        routers.push(router);
    }
    ground.put(nodes).await;
    let all = heard(&ground);
    let running = ground.start(&[("snapshot_every_s", "2"), ("snapshots_at_once", "4")]).await;
    until("every living router was read four times", Duration::from_secs(40), async || {
        (2..6).all(|n| of(&all, ground.id(&format!("core-{n}"))).len() >= 4)
    })
    .await;
    for n in 2..6 {
        let read = of(&all, ground.id(&format!("core-{n}")));
        for pair in read.windows(2) {
            assert_eq!(pair[1].due.ms() - pair[0].due.ms(), 2_000, "core-{n} keeps its moment: {read:?}");
        }
        for read in &read {
            let late_ms = read.at.ms() - read.due.ms();
            assert!((0..5_000).contains(&late_ms), "core-{n} was read {late_ms} ms after its moment");
        }
        let value = |metric, node: &str| {
            let is_it = |s: &&events::Sample| s.metric == metric && s.node == ground.id(node);
            read[0].samples.iter().find(is_it).map(|sample| sample.value)
        };
        assert_eq!(value(Metric::RttMs, &format!("ap-{n}")), Some(0.453));
        assert_eq!(value(Metric::SessionsActiveCount, &format!("core-{n}")), Some(2.0));
        assert_eq!(value(Metric::UptimeSeconds, &format!("core-{n}")), Some(183_845.0));
    }
    assert!((0..2).all(|n| of(&all, ground.id(&format!("core-{n}"))).is_empty()));
    assert_eq!(ground.figure("mastwatch_poller_snapshots_late_total"), 0.0);
    assert_eq!(ground.figure("mastwatch_poller_snapshot_routers"), 6.0);
    running.stop().await;
}
