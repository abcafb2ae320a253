//! Samples, written to VictoriaMetrics.
//!
//! What waits while one import is under way is the next. A message is confirmed when the import that held it
//! was taken, so each is written at least once, and twice is once: the same series, the same time. While
//! VictoriaMetrics is away everything stays in the log's stream, for its three days, and is tried again without end.
//!
//! Labels are our ids and names of hardware and profiles; never addresses, user names or MACs.

use anyhow::Context;
use events::{Samples, TenantId};
use kit::{Service, Verdict, Worker, admin::Readiness, samples};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{fmt::Write, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The consumer that all replicas share, and what dead letters lie under.
const WORKER: &str = "projector-series";

/// Messages that are taken at once: so many are one import at most, 10,000 samples.
const AT_ONCE: usize = 50;

/// How long an import may take. One that is frozen accepts and says nothing.
const IMPORT_WITHIN: Duration = Duration::from_secs(10);

/// Pauses between two tries while nobody answers: growing from the one to the other.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// When a message that was not written is handed out again.
const LATER: Duration = Duration::from_millis(500);

/// How much of a refusal is told.
const REASON_CHARS_MAX: usize = 200;

/// Samples as lines of the Prometheus text format, which VictoriaMetrics imports.
pub fn lines(tenant: TenantId, read: &Samples) -> String {
    let mut text = String::with_capacity(read.samples.len() * 180);
    let (source, at_ms) = (read.source.name(), read.at.ms());
    for sample in read.samples.iter().filter(|sample| sample.value.is_finite()) {
        let (name, node) = (sample.metric.name(), sample.node);
        let part = match (sample.metric.of().label(), &sample.of) {
            (Some(label), Some(of)) => format!(",{label}=\"{}\"", escaped(of)),
            (None, _) | (_, None) => String::new(),
        };
        let _infallible = writeln!(
            text,
            "{name}{{tenant=\"{tenant}\",node=\"{node}\",source=\"{source}\"{part}}} {} {at_ms}",
            sample.value
        );
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Why an import was not taken.
#[derive(Debug, Clone)]
enum Missed {
    /// Nobody answers, or not now.
    Away(String),
    /// It was read and is not wanted.
    Refused(String),
}

/// One message that waits to be written, and who waits for that.
struct Waiting {
    lines: String,
    answer: oneshot::Sender<Result<(), Missed>>,
}

/// Imports what waits, one import at a time.
struct Importer {
    http: reqwest::Client,
    url: String,
    queue: mpsc::Receiver<Waiting>,
    standing: Readiness,
    stop: CancellationToken,
    written: Counter,
    imports: Counter,
    failed: Counter,
    is_away: Gauge,
}

/// Writes samples until the service is told to stop; returns at once where no address is configured.
///
/// # Errors
///
/// When the consumer cannot be. VictoriaMetrics being away is none: it is waited for.
pub(crate) async fn run(service: &Service) -> anyhow::Result<()> {
    let Some(url) = service.common.vm_url.as_deref() else {
        tracing::info!("no `vm_url`: measured values are not kept beyond the log's three days");
        return Ok(());
    };
    let metrics = service.metrics.under("series");
    kit::telemetry::use_ring();
    let http = reqwest::Client::builder()
        .timeout(IMPORT_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("making the HTTP client")?;
    let (wait, queue) = mpsc::channel(AT_ONCE);
    let importer = Importer {
        http,
        url: format!("{}/api/v1/import/prometheus", url.trim_end_matches('/')),
        queue,
        standing: service.readiness.part("series"),
        stop: service.stop.clone(),
        written: metrics.counter("samples_written", "Messages of samples that VictoriaMetrics took"),
        imports: metrics.counter("imports", "Imports that VictoriaMetrics took"),
        failed: metrics.counter("imports_failed", "Imports that it did not take, and that are tried again"),
        is_away: metrics.gauge("away", "Whether VictoriaMetrics does not answer: 1 or 0"),
    };
    let importing = tokio::spawn(importer.run());
    let wait = Arc::new(wait);
    let ended = Worker::new(WORKER)
        .takes(samples::STREAM, &[samples::ALL])
        .at_a_time(AT_ONCE)
        .run(service, move |job| {
            let wait = Arc::clone(&wait);
            async move {
                match samples::decode(&job.raw) {
                    Ok((tenant, read)) => write(&wait, lines(tenant, &read)).await,
                    Err(error) => Verdict::Poison(error.to_string()),
                }
            }
        })
        .await;
    importing.await.context("importing samples")?;
    ended.context("taking samples")
}

async fn write(wait: &mpsc::Sender<Waiting>, lines: String) -> Verdict {
    let (answer, answered) = oneshot::channel();
    if wait.send(Waiting { lines, answer }).await.is_err() {
        return Verdict::Later(LATER);
    }
    match answered.await {
        Ok(Ok(())) => Verdict::Done,
        Ok(Err(Missed::Refused(reason))) => Verdict::Poison(reason),
        Ok(Err(Missed::Away(_))) | Err(_) => Verdict::Later(LATER),
    }
}

impl Importer {
    async fn run(mut self) {
        let mut pause = AGAIN_AFTER.0;
        self.standing.ready();
        while let Some(first) = self.queue.recv().await {
            let mut group = vec![first];
            while let Ok(more) = self.queue.try_recv() {
                group.push(more);
            }
            let text = group.iter().map(|waiting| waiting.lines.as_str()).collect();
            match self.import(text).await {
                Ok(()) => {
                    pause = AGAIN_AFTER.0;
                    group.into_iter().for_each(|waiting| self.answer(waiting, Ok(())));
                }
                // One of them is at fault: it alone is not to be written.
                Err(Missed::Refused(_)) if group.len() > 1 => {
                    for waiting in group {
                        let ended = self.import(waiting.lines.clone()).await;
                        self.answer(waiting, ended);
                    }
                }
                Err(missed) => {
                    if let Missed::Away(_) = &missed {
                        tokio::select! {
                            () = self.stop.cancelled() => {}
                            () = tokio::time::sleep(pause) => {}
                        }
                        pause = (pause * 2).min(AGAIN_AFTER.1);
                    }
                    group.into_iter().for_each(|waiting| self.answer(waiting, Err(missed.clone())));
                }
            }
        }
    }

    fn answer(&self, waiting: Waiting, ended: Result<(), Missed>) {
        self.written.inc_by(u64::from(ended.is_ok()));
        // Whoever waited may have been told to stop.
        let _nobody_waits = waiting.answer.send(ended);
    }

    async fn import(&self, text: String) -> Result<(), Missed> {
        let sent = self.http.post(&self.url).body(text).send();
        let ended = match tokio::select! {
            sent = sent => sent,
            () = self.stop.cancelled() => return Err(Missed::Away("told to stop".into())),
        } {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) if response.status() == reqwest::StatusCode::BAD_REQUEST => {
                let said = response.text().await.unwrap_or_default();
                Err(Missed::Refused(said.chars().take(REASON_CHARS_MAX).collect()))
            }
            Ok(response) => Err(Missed::Away(format!("it answers {}", response.status()))),
            Err(error) => Err(Missed::Away(error.without_url().to_string())),
        };
        match &ended {
            Err(Missed::Away(reason)) => {
                self.failed.inc();
                if self.is_away.set(1) == 0 {
                    tracing::warn!(reason, "VictoriaMetrics does not take samples: they wait in the log");
                }
                self.standing.not_ready(format!("VictoriaMetrics does not take samples: {reason}"));
            }
            Ok(()) | Err(Missed::Refused(_)) => {
                self.imports.inc();
                if self.is_away.set(0) == 1 {
                    tracing::info!("VictoriaMetrics takes samples again");
                }
                self.standing.ready();
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Metric, NodeId, Sample, SampleSource, Time};

    #[test]
    fn a_line_names_what_whose_and_when_and_nothing_escapes_its_quotes() {
        let tenant = TenantId::of("hillside");
        let node = NodeId::of(tenant, "core-1");
        let at = Time::from_ms(1_795_000_000_123);
        let samples = [
            Sample::new(node, Metric::SignalDbm, -61.0),
            Sample::part(node, Metric::SessionsOfProfileCount, "a\"b\\", 3.0),
            Sample::new(node, Metric::VoltageVolts, f64::NAN),
        ];
        let read = Samples::of_reading(node, (at, at), SampleSource::Routeros, &samples).remove(0);
        let who = format!("tenant=\"{tenant}\",node=\"{node}\",source=\"routeros\"");
        let wanted = format!(
            "signal_dbm{{{who}}} -61 1795000000123\n\
             sessions_of_profile_count{{{who},profile=\"a\\\"b\\\\\"}} 3 1795000000123\n"
        );
        assert_eq!(lines(tenant, &read), wanted);
    }
}
