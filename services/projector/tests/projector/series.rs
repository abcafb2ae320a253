//! Samples reach a real VictoriaMetrics, whole and exactly, whatever becomes of it meanwhile.

use embedded::{Nats, Postgres, Temporary, VictoriaMetrics};
use events::{Metric, NodeId, Sample, SampleSource, Samples, TenantId, Time};
use futures::StreamExt;
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
use tokio::task::JoinHandle;
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
    held_of(url, metric, router()).await
}

/// The same of any node.
async fn held_of(url: &str, metric: &str, node: NodeId) -> (BTreeMap<i64, f64>, usize) {
    let http = reqwest::Client::new();
    let _hidden_no_more = http.get(format!("{url}/internal/force_flush")).send().await;
    let query = [("match[]", format!("{metric}{{tenant=\"{}\",node=\"{}\"}}", tenant(), node))];
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

/// A projector that runs, with all that it needs.
struct Ground {
    series: Temporary<VictoriaMetrics>,
    log: Log,
    board: Board,
    metrics: Metrics,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    _servers: (Temporary<Nats>, Temporary<Postgres>),
}

impl Ground {
    async fn lay() -> Self {
        kit::telemetry::use_ring();
        let (nats, postgres, series) = tokio::join!(
            Nats::start_temporary(|_| {}),
            Postgres::start_temporary(|_| {}),
            VictoriaMetrics::start_temporary(|_| {})
        );
        let (nats, postgres, series) = (nats.unwrap(), postgres.unwrap(), series.unwrap());
        let log = Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap();
        log.ensure().await.unwrap();
        let board = Board::default();
        let metrics = Metrics::of_process(Build { version: "0", revision: "test" });
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
        Self { series, log, board, metrics, stop, running, _servers: (nats, postgres) }
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_victoria_metrics_is_away_and_what_is_no_sample_harms_itself_only() {
    let ground = Ground::lay().await;
    let Ground { series, log, board, metrics, .. } = &ground;
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
    ground.end().await;
}

/// A month and a day: what a device's history holds then, and what it takes.
const DAYS: i64 = 31;
/// How many readings a day has.
const DAILY: i64 = 144;
/// How many devices one router tells of.
const DEVICES: u32 = 20;
/// What the latency and the signal of one device may take on the disk in 30 days, bytes (docs/how-to/history.md).
const DEVICE_BYTES_MAX: f64 = 64.0 * 1_024.0;

fn device(n: u32) -> NodeId {
    NodeId::of(tenant(), &format!("station-{n}"))
}

/// A number below `below` that follows from others, as noise.
fn noise(n: i64, device: u32, below: u64) -> f64 {
    let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(device).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as f64 % below as f64
}

/// Requirements, R15: latency and signal of each device every ten minutes, for 31 days: 144 a day, one more or less, the
/// oldest no older than 30 days, and no more on the disk than is documented.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_readings_is_144_a_day_none_older_than_thirty_days_and_within_the_documented_bound() {
    let ground = Ground::lay().await;
    let Ground { series, log, .. } = &ground;

    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let (day_ms, step_ms) = (86_400_000, 86_400_000 / DAILY);
    let began_ms = now_ms - DAYS * day_ms;
    let readings = (0..DAYS * DAILY).map(|n| {
        let due = Time::from_ms(began_ms + n * step_ms);
        let samples: Vec<Sample> = (0..DEVICES)
            .flat_map(|one| {
                let rtt_ms = (5_000.0 + noise(n, one, 4_000)) / 1_000.0;
                let signal_dbm = -60.0 - noise(n, one + DEVICES, 12);
                [
                    Sample::new(device(one), Metric::RttMs, rtt_ms),
                    Sample::new(device(one), Metric::SignalDbm, signal_dbm),
                ]
            })
            .collect();
        Samples::of_reading(router(), (due, due.plus_ms(7)), SampleSource::Routeros, &samples)
    });
    futures::stream::iter(readings.flatten().collect::<Vec<_>>())
        .for_each_concurrent(64, |part| async move {
            log.publish_samples(tenant(), "poller/main", &part).await.unwrap();
        })
        .await;

    let last = DAYS * DAILY - 1;
    let (first_ms, last_ms) = (now_ms - 30 * day_ms, began_ms + last * step_ms + 7);
    for one in [0, DEVICES - 1] {
        for metric in ["rtt_ms", "signal_dbm"] {
            let of = device(one);
            until("the last reading is there", async || {
                held_of(&series.url(), metric, of).await.0.contains_key(&last_ms)
            })
            .await;
            let (values, count) = held_of(&series.url(), metric, of).await;
            assert_eq!(values.len(), count, "{metric}: none twice");
            let oldest_ms = *values.keys().next().unwrap();
            // What was a moment too young when it was written may be a moment too old by now.
            assert!(oldest_ms >= first_ms - 60_000, "{metric}: {} s too old", (first_ms - oldest_ms) / 1_000);
            for day in 1..30 {
                let (from, until) = (now_ms - (day + 1) * day_ms, now_ms - day * day_ms);
                let taken = i64::try_from(values.range(from..until).count()).unwrap();
                assert!((DAILY - 1..=DAILY + 1).contains(&taken), "{metric}, {day} days ago: {taken}");
            }
        }
    }
    let stored = bytes_stored(&series.url()).await / f64::from(DEVICES);
    println!("{stored:.0} bytes a device");
    assert!(stored > 1_000.0 && stored < DEVICE_BYTES_MAX, "{stored:.0} bytes a device");
    ground.end().await;
}

/// What VictoriaMetrics says that its values take on the disk, without their index.
async fn bytes_stored(url: &str) -> f64 {
    let http = reqwest::Client::new();
    http.get(format!("{url}/internal/force_flush")).send().await.unwrap();
    let text = http.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    let of = |line: &&str| line.starts_with("vm_data_size_bytes{type=\"storage/");
    text.lines().filter(of).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}
