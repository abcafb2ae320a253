//! What a process writes about itself, and how one cause is followed through all of them.
//!
//! Log lines go to standard error. Spans become traces only when a collector is configured; then the
//! W3C `traceparent` of an event links what follows from it to what it came from, through
//! the log and across processes. Without a collector a `traceparent` that was heard is still
//! handed on by whoever answers it; none is made up.

use crate::config::{Common, LogFormat};
use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use std::time::Duration;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// A collector that does not answer within this time loses what was sent to it.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// The header and field that carries a place in a trace (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// Why nothing can be written down.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The directives for what is logged cannot be read.
    #[error("reading the log level `{level}`")]
    Level {
        /// As configured.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is no client for the collector.
    #[error("making a client for the collector of traces")]
    Client(#[source] reqwest::Error),
    /// The collector's address cannot be used.
    #[error("preparing the export of traces to `{endpoint}`")]
    Export {
        /// As configured.
        endpoint: String,
        /// What the exporter says.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Somebody else writes this process's log already.
    #[error("taking charge of the log of this process")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
}

/// The end of what a process writes: [`Telemetry::finish`] sends what is not sent yet.
#[derive(Debug, Default)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Begins to write the log of this process, and to export traces when a collector is configured.
///
/// Must be called within the runtime that the process lives in.
///
/// # Errors
///
/// [`TelemetryError`]; nothing has begun then.
pub fn begin(common: &Common, version: &'static str) -> Result<Telemetry, TelemetryError> {
    let (subscriber, telemetry) = prepare(common, version, std::io::stderr)?;
    subscriber.try_init().map_err(TelemetryError::Taken)?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    Ok(telemetry)
}

fn prepare<W>(
    common: &Common,
    version: &'static str,
    writer: W,
) -> Result<(impl tracing::Subscriber + Send + Sync, Telemetry), TelemetryError>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let level = || {
        EnvFilter::try_new(&common.log_level)
            .map_err(|source| TelemetryError::Level { level: common.log_level.clone(), source })
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match common.log_format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
    };
    let provider =
        common.otlp_endpoint.as_deref().map(|endpoint| provider(common, endpoint, version)).transpose()?;
    let traces = match &provider {
        Some(provider) => Some(
            tracing_opentelemetry::layer().with_tracer(provider.tracer("mastwatch")).with_filter(level()?),
        ),
        None => None,
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(level()?)).with(traces);
    Ok((subscriber, Telemetry { provider }))
}

fn provider(
    common: &Common,
    endpoint: &str,
    version: &'static str,
) -> Result<SdkTracerProvider, TelemetryError> {
    use_ring();
    let client = reqwest::Client::builder().timeout(EXPORT_WITHIN).build().map_err(TelemetryError::Client)?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(OnRuntime { runtime: tokio::runtime::Handle::current(), client })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_WITHIN)
        .build()
        .map_err(|source| TelemetryError::Export { endpoint: endpoint.to_owned(), source })?;
    let resource = Resource::builder()
        .with_service_name("mastwatch")
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .with_attribute(opentelemetry::KeyValue::new("mastwatch.pop", common.pop.clone()))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(common.otlp_ratio))))
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build())
}

/// Makes `ring` the one source of cryptography of this process. May be called any number of times.
pub fn use_ring() {
    // An error means that it was done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Telemetry {
    /// Sends what is not sent yet; takes at most a few seconds.
    pub async fn finish(self) {
        let Some(provider) = self.provider else { return };
        // It blocks on a thread that needs this runtime.
        match tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_WITHIN)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "sending the last traces"),
            Err(error) => tracing::warn!(%error, "sending the last traces"),
        }
    }
}

/// The exporter works on a thread of its own, outside the runtime that the HTTP client needs.
#[derive(Debug, Clone)]
struct OnRuntime {
    runtime: tokio::runtime::Handle,
    client: reqwest::Client,
}

impl HttpClient for OnRuntime {
    fn send_bytes<'a: 'b, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { HttpClient::send_bytes(&client, request).await });
        Box::pin(async move { sent.await? })
    }
}

/// Where the current span lies in its trace; `None` when no trace is kept.
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// Where `span` lies in its trace; `None` when no trace is kept.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = Carrier(None);
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.0
}

/// Makes `span` a part of what `traceparent` names: for one request or one message.
///
/// What cannot be read is ignored: a sender's trace is no reason to refuse what it says.
pub fn child_of(span: &Span, traceparent: &str) {
    let context = context_of(traceparent);
    if context.span().span_context().is_valid() {
        // It fails only where no traces are kept.
        let _ = span.set_parent(context);
    }
}

/// Notes in `span` that it also follows from `traceparent`: for a chunk of messages, or a replay.
pub fn follows_from(span: &Span, traceparent: &str) {
    let context = context_of(traceparent);
    let place = context.span().span_context().clone();
    if place.is_valid() {
        span.add_link(place);
    }
}

fn context_of(traceparent: &str) -> Context {
    // Not the current context: what was said elsewhere has nothing to do with where it is heard.
    TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &Carrier(Some(traceparent.to_owned())))
}

struct Carrier(Option<String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT && !value.is_empty() {
            self.0 = Some(value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        if key == TRACEPARENT { self.0.as_deref() } else { None }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, extract::State, routing};
    use std::sync::{Arc, Mutex};

    const PLACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let lines = Lines::default();
        let common = Common { log_format: LogFormat::Json, log_level: "info".into(), ..Common::default() };
        let writer = lines.clone();
        let (subscriber, _) = prepare(&common, "0", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("not this");
            tracing::info!(incident = 7, "opened");
        });
        let line: serde_json::Value = serde_json::from_str(&lines.text()).unwrap();
        assert_eq!((&line["message"], &line["incident"]), (&"opened".into(), &7.into()));
    }

    #[test]
    fn without_a_collector_no_trace_is_made_up() {
        let (subscriber, _) = prepare(&Common::default(), "0", std::io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("work");
            child_of(&span, PLACE);
            assert_eq!(traceparent_of(&span), None);
        });
    }

    /// What was asked of the collector: path and body.
    type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_the_collector_under_the_trace_they_belong_to() {
        let asked = Asked::default();
        let routes = Router::new()
            .route(
                "/v1/traces",
                routing::post(async |State(asked): State<Asked>, body: axum::body::Bytes| {
                    asked.lock().unwrap().push(("/v1/traces".into(), body.to_vec()));
                }),
            )
            .with_state(Arc::clone(&asked));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });

        let common = Common { otlp_endpoint: Some(endpoint), ..Common::default() };
        let (subscriber, telemetry) = prepare(&common, "0", std::io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("hearing_a_webhook");
            child_of(&span, PLACE);
            let place = traceparent_of(&span).unwrap();
            assert!(place.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{place}");
            assert_ne!(place, PLACE);
            let chunk = tracing::info_span!("deciding_a_chunk");
            follows_from(&chunk, &place);
            child_of(&chunk, "nonsense");
            assert!(!traceparent_of(&chunk).unwrap().contains("4bf92f3577b34da6a3ce929d0e0e4736"));
        });
        telemetry.finish().await;
        let asked = asked.lock().unwrap();
        let all: Vec<u8> = asked.iter().flat_map(|(_, body)| body.clone()).collect();
        let holds = |bytes: &[u8]| all.windows(bytes.len()).any(|part| part == bytes);
        assert!(holds(b"hearing_a_webhook") && holds(b"deciding_a_chunk"));
        assert!(holds(&0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()));
    }
}
