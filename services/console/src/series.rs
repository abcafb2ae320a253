//! Time series: the only place of this crate that speaks to VictoriaMetrics.
//!
//! The tenant is named twice with every question: in the series that is asked for and by `extra_label`, which the
//! server puts into whatever is asked. What is asked for is a name of the registry and an id of ours, never text of
//! the caller's.

use chrono::{DateTime, Utc};
use events::{Curve, NodeId, TenantId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(10);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Questions at once; further ones wait for their turn.
const AT_ONCE: usize = 8;

/// A rate is taken over at least so long: two and a half intervals of snapshots.
const RATE_OVER_S: i64 = 1_500;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeriesError {
    /// No address is configured.
    #[error("no VictoriaMetrics is configured")]
    None,
    /// Asking again is safe and may help.
    #[error("VictoriaMetrics does not answer: {0}")]
    Away(String),
    /// More than is read of one answer.
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooMuch,
    /// It does not understand us, or we do not understand it.
    #[error("VictoriaMetrics refuses or answers something else: {0}")]
    Fault(String),
}

/// A stretch of time and the distance between two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its beginning, seconds.
    pub(crate) from_s: i64,
    /// Its end, seconds.
    pub(crate) to_s: i64,
    /// From one point to the next, seconds.
    pub(crate) step_s: i64,
}

/// One series: a metric of a node, or of one of its parts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Series {
    /// Who measured: routeros or snmp.
    pub(crate) source: String,
    /// The interface, of a metric that is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interface: Option<String>,
    /// The PPP profile, of a metric that is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<String>,
    /// What was measured. Where nothing was, there is no point.
    pub(crate) points: Vec<Point>,
}

/// One point: the last value that was measured in the step that ends here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Point {
    /// The end of the step.
    pub(crate) at: DateTime<Utc>,
    /// In the unit of the metric.
    pub(crate) value: f64,
}

/// Answers from VictoriaMetrics.
#[derive(Debug, Clone)]
pub(crate) struct SeriesStore {
    http: reqwest::Client,
    url: Option<String>,
    turns: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl SeriesStore {
    /// Of the server at `url`.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be made.
    pub(crate) fn new(url: Option<&str>) -> reqwest::Result<Self> {
        kit::telemetry::use_ring();
        let http =
            reqwest::Client::builder().timeout(WITHIN).redirect(reqwest::redirect::Policy::none()).build()?;
        let url = url.map(|url| format!("{}/api/v1/query_range", url.trim_end_matches('/')));
        Ok(Self { http, url, turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// A curve of a node.
    ///
    /// # Errors
    ///
    /// [`SeriesError`].
    pub(crate) async fn of(
        &self,
        tenant: TenantId,
        node: NodeId,
        curve: Curve,
        stretch: Stretch,
    ) -> Result<Vec<Series>, SeriesError> {
        let url = self.url.as_ref().ok_or(SeriesError::None)?;
        let _turn = self.turns.acquire().await.expect("nobody closes this semaphore");
        let Stretch { from_s, to_s, step_s } = stretch;
        let query = [
            ("query", question(tenant, node, curve, step_s)),
            ("start", from_s.to_string()),
            ("end", to_s.to_string()),
            ("step", format!("{step_s}s")),
            ("extra_label", format!("tenant={tenant}")),
            // Else the server moves the stretch to where it has answers ready.
            ("nocache", "1".to_owned()),
        ];
        let away = |error: reqwest::Error| SeriesError::Away(error.without_url().to_string());
        let mut response = self.http.get(url).query(&query).send().await.map_err(away)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(SeriesError::TooMuch);
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS {
            return Err(SeriesError::Away(status.to_string()));
        }
        if !status.is_success() {
            let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(SeriesError::Fault(format!("{status}: {said}")));
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| SeriesError::Fault(error.to_string()))?;
        Ok(answer.data.result.into_iter().map(series).collect())
    }
}

/// What is asked: of each step the last value in it, so that nothing is shown where nothing was measured.
fn question(tenant: TenantId, node: NodeId, curve: Curve, step_s: i64) -> String {
    let of = format!("{}{{tenant=\"{tenant}\",node=\"{node}\"}}", curve.stored().name());
    match curve {
        Curve::Stored(_) => format!("last_over_time({of}[{step_s}s])"),
        Curve::BitsPerSecond { .. } => format!("rate({of}[{}s]) * 8", step_s.max(RATE_OVER_S)),
    }
}

fn series(mut found: Found) -> Series {
    let point = |(at, value): &(f64, String)| {
        let at = DateTime::from_timestamp_millis((at * 1_000.0) as i64)?;
        Some(Point { at, value: value.parse().ok().filter(|value: &f64| value.is_finite())? })
    };
    Series {
        points: found.values.iter().filter_map(point).collect(),
        source: found.metric.remove("source").unwrap_or_default(),
        interface: found.metric.remove("interface"),
        profile: found.metric.remove("profile"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_tenant_and_nothing_of_the_callers() {
        let tenant = TenantId::of("hillside");
        let node = NodeId::of(tenant, "st-1");
        let who = format!("{{tenant=\"{tenant}\",node=\"{node}\"}}");
        let asked = |name| question(tenant, node, Curve::named(name).unwrap(), 600);
        assert_eq!(asked("signal_dbm"), format!("last_over_time(signal_dbm{who}[600s])"));
        assert_eq!(asked("interface_rx_bps"), format!("rate(interface_rx_bytes_total{who}[1500s]) * 8"));
    }
}
