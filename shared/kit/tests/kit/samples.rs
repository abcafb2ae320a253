//! Samples on a real server: said twice they are one, and whoever reads them goes on where it was.

use crate::ground::{On, ground, until};
use events::{Metric, NodeId, Sample, SampleSource, Samples, TenantId, Time};
use kit::{Verdict, Worker, samples};
use std::sync::{Arc, Mutex};

fn reading(tenant: TenantId, minute: i64) -> Samples {
    let router = NodeId::of(tenant, "core-1");
    let due = Time::from_ms(1_795_000_000_000 + minute * 60_000);
    let sample = Sample::new(router, Metric::CpuLoadPercent, minute as f64 + 0.1);
    Samples::of_reading(router, (due, due.plus_ms(3)), SampleSource::Routeros, &[sample]).remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_said_twice_is_one_and_is_read_once_by_whoever_comes_later() {
    let ground = ground(On::One).await;
    let tenant = TenantId::of("hillside");
    for minute in 0..3 {
        for _again in 0..2 {
            ground.log.publish_samples(tenant, "poller/main", &reading(tenant, minute)).await.unwrap();
        }
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let read = async |count: usize| {
        let service = ground.service();
        let (stop, heard_by) = (service.stop.clone(), Arc::clone(&heard));
        let worker = Worker::new("test-samples").takes(samples::STREAM, &[samples::ALL]);
        let running = tokio::spawn(async move {
            worker
                .run(&service, move |job| {
                    heard_by.lock().unwrap().push(samples::decode(&job.raw).unwrap());
                    async { Verdict::Done }
                })
                .await
                .unwrap();
        });
        until("all are read", async || heard.lock().unwrap().len() >= count).await;
        stop.cancel();
        running.await.unwrap();
    };
    read(3).await;
    ground.log.publish_samples(tenant, "poller/main", &reading(tenant, 3)).await.unwrap();
    read(4).await;
    let mut heard = heard.lock().unwrap().clone();
    heard.sort_by_key(|(_, samples)| samples.due);
    assert_eq!(heard, (0..4).map(|minute| (tenant, reading(tenant, minute))).collect::<Vec<_>>());
}
