//! Samples reach a real VictoriaMetrics, whole and exactly, whatever becomes of it meanwhile.

use embedded::{Nats, Postgres, VictoriaMetrics};
use events::{Metric, NodeId, Sample, SampleSource, Samples, TenantId, Time};
use kit::{
    Log, LogConfig, Service,
    admin::{Board, Build, Metrics},
    config::{Common, Durability, Secret},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

fn tenant() -> TenantId {
    TenantId::of("hillside")
}

fn router() -> NodeId {
    NodeId::of(tenant(), "core-1")
}

/// The `n`th reading, ten minutes after the one before, the last a moment ago.
fn reading(n: i64) -> Samples {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let hour_ms = i64::try_from(now / 3_600 * 3_600).unwrap() * 1_000;
    let due = Time::from_ms(hour_ms - 86_400_000 + n * 600_000);
    let samples = [
        // As a router writes them: VictoriaMetrics keeps fifteen decimal digits.
        Sample::new(router(), Metric::VoltageVolts, (241 + n) as f64 / 10.0),
        Sample::part(router(), Metric::InterfaceRxBytesTotal, "ether1", 123_456_789_012_000.0 + n as f64),
        Sample::part(router(), Metric::SessionsOfProfileCount, "10M \"gold\"", n as f64),
    ];
    Samples::of_reading(router(), (due, due.plus_ms(7)), SampleSource::Routeros, &samples).remove(0)
}

/// What VictoriaMetrics holds of a metric: value by time, and how many there are altogether.
async fn held(url: &str, metric: &str) -> (BTreeMap<i64, f64>, usize) {
    let http = reqwest::Client::new();
    let _hidden_no_more = http.get(format!("{url}/internal/force_flush")).send().await;
    let query = [("match[]", format!("{metric}{{tenant=\"{}\",node=\"{}\"}}", tenant(), router()))];
    let asked = http.get(format!("{url}/api/v1/export")).query(&query).send().await;
    let Ok(answer) = asked else { return (BTreeMap::new(), 0) };
    let text = answer.text().await.unwrap_or_default();
    let (mut values, mut count) = (BTreeMap::new(), 0);
    for line in text.lines() {
        let series: serde_json::Value = serde_json::from_str(line).unwrap();
        let list = |key: &str| series[key].as_array().unwrap().clone();
        for (at, value) in list("timestamps").iter().zip(list("values")) {
            values.insert(at.as_i64().unwrap(), value.as_f64().unwrap());
            count += 1;
        }
    }
    (values, count)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_victoria_metrics_is_away_and_what_is_no_sample_harms_itself_only() {
    kit::telemetry::use_ring();
    let (nats, postgres, series) = tokio::join!(
        Nats::start_temporary(|_| {}),
        Postgres::start_temporary(|_| {}),
        VictoriaMetrics::start_temporary(|_| {})
    );
    let (nats, postgres, series) = (nats.unwrap(), postgres.unwrap(), series.unwrap());
    let log = Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap();
    log.ensure().await.unwrap();
    let (board, metrics) = (Board::default(), Metrics::of_process(Build { version: "0", revision: "test" }));
    let service = Service {
        name: "projector",
        common: Arc::new(Common {
            database_url: Some(Secret::new(postgres.url())),
            database_owner_url: Some(Secret::new(postgres.superuser_url())),
            vm_url: Some(series.url()),
            ..Common::default()
        }),
        log: log.clone(),
        stop: CancellationToken::new(),
        readiness: board.condition("projector"),
        metrics: metrics.under("projector"),
    };
    let stop = service.stop.clone();
    let running = tokio::spawn(projector::run(projector::Config::default(), service));
    let why = |name: &str| board.report(Durability::Always).conditions.get(name).cloned().flatten();
    let say = async |numbers: std::ops::Range<i64>| {
        for n in numbers {
            log.publish_samples(tenant(), "poller/main", &reading(n)).await.unwrap();
        }
    };

    say(0..20).await;
    until("the first are there", async || held(&series.url(), "voltage_volts").await.0.len() == 20).await;

    series.stop().await;
    say(20..40).await;
    until("it is said that they wait", async || {
        why("projector/series").is_some_and(|why| why.contains("VictoriaMetrics does not take samples"))
    })
    .await;
    // A value that is none, in the midst of them.
    let mut nonsense = reading(99);
    nonsense.samples[0].value = f64::NAN;
    log.publish_samples(tenant(), "poller/main", &nonsense).await.unwrap();
    say(40..60).await;
    series.restart().await.unwrap();

    until("all are there", async || held(&series.url(), "voltage_volts").await.0.len() == 60).await;
    for metric in ["voltage_volts", "interface_rx_bytes_total", "sessions_of_profile_count"] {
        let (values, count) = held(&series.url(), metric).await;
        let said: BTreeMap<i64, f64> = (0..60)
            .map(|n| {
                let read = reading(n);
                let sample = read.samples.iter().find(|sample| sample.metric.name() == metric).unwrap();
                (read.at.ms(), sample.value)
            })
            .collect();
        assert_eq!(values, said, "{metric}");
        assert_eq!(count, 60, "{metric}: none twice");
    }
    until("it is said that all is well", async || why("projector/series").is_none()).await;
    let text = metrics.text().unwrap();
    let dead = text.lines().find(|line| line.contains("series_dead_total")).unwrap();
    assert!(
        dead.ends_with(" 1"),
        "what cannot be read is with the dead letters, and nothing else is: {dead}"
    );
    stop.cancel();
    running.await.unwrap().unwrap();
}
