//! How a node has been: latency, signal and whatever else is measured, for any stretch of time.

use super::inventory::nodes_called;
use crate::{
    desk::{Answer, Desk, Within},
    series::{Series, Stretch},
};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use chrono::{DateTime, Duration, Utc};
use events::{Curve, NodeId};
use kit::http::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// How far back it is looked unless said.
const LOOK_BACK: Duration = Duration::hours(24);
/// From one point to the next unless said, at least: the interval of snapshots.
const STEP_S: i64 = 600;
/// How many points a curve has unless said, at most.
const POINTS: i64 = 1_000;
/// How many it may be asked to have.
const POINTS_MAX: i64 = 10_000;

/// What, and when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// A name of the registry, such as `signal_dbm`, `rtt_ms` or `interface_rx_bps`.
    metric: String,
    /// The beginning; 24 hours before the end if absent.
    from: Option<DateTime<Utc>>,
    /// The end; now if absent.
    to: Option<DateTime<Utc>>,
    /// From one point to the next, seconds; if absent 600, or more where that would be more than 1000 points.
    step: Option<i64>,
}

/// One metric of a node over a stretch of time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// Whose.
    node: Uuid,
    /// Its id in the network file.
    file_id: String,
    /// What.
    metric: &'static str,
    /// What a value is counted in.
    unit: &'static str,
    /// What it means, for people.
    meaning: &'static str,
    /// The beginning.
    from: DateTime<Utc>,
    /// The end.
    to: DateTime<Utc>,
    /// From one point to the next, seconds.
    step_seconds: i64,
    /// One a source, and a part where the metric is about parts of a node. None: nothing was measured.
    series: Vec<Series>,
}

/// How a node has been. A point is the last value measured in the step that ends there; where nothing was
/// measured there is no point. Raw values are kept for 30 days.
#[utoipa::path(
    get, path = "/api/v1/nodes/{node}/history", tag = "history",
    params(("node" = String, Path, description = "Its id, or its id in the network file."), Which),
    responses((status = 200, body = History), (status = 400), (status = 404), (status = 503))
)]
pub(crate) async fn show(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    Query(which): Query<Which>,
) -> Answer<Json<History>> {
    let curve = Curve::named(&which.metric).ok_or_else(|| {
        let known: Vec<&str> = Curve::all().map(Curve::name).collect();
        Problem::malformed(format!("`metric` must be one of: {}", known.join(", ")))
    })?;
    let stretch = stretch(which.from, which.to, which.step, Utc::now())?;
    let found = desk.models.node(within.tenant, &nodes_called(within.tenant, &called)).await?;
    let node = found.ok_or_else(|| Problem::not_found("there is no such node"))?.node;
    let series = desk.series.of(within.tenant, NodeId(node.id), curve, stretch).await?;
    let moment = |s| DateTime::from_timestamp(s, 0).unwrap_or_default();
    Ok(Json(History {
        node: node.id,
        file_id: node.file_id,
        metric: curve.name(),
        unit: curve.unit(),
        meaning: curve.meaning(),
        from: moment(stretch.from_s),
        to: moment(stretch.to_s),
        step_seconds: stretch.step_s,
        series,
    }))
}

fn stretch(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    step_s: Option<i64>,
    now: DateTime<Utc>,
) -> Answer<Stretch> {
    let wrong = |why: String| Err(Problem::malformed(why).into());
    // A value of this very second is shown too.
    let to_s = to.map_or(now.timestamp() + 1, |to| to.timestamp());
    let from_s = from.map_or(to_s - LOOK_BACK.num_seconds(), |from| from.timestamp());
    let lasts_s = to_s - from_s;
    if lasts_s <= 0 {
        return wrong("`from` must lie before `to`".into());
    }
    let step_s = step_s.unwrap_or_else(|| STEP_S.max(lasts_s / POINTS + 1));
    if step_s < 1 {
        return wrong("`step` must be at least 1 second".into());
    }
    if lasts_s / step_s > POINTS_MAX {
        return wrong(format!("that is more than {POINTS_MAX} points: give a larger `step`"));
    }
    // Points lie back from the end, so that the last step ends with the stretch.
    let points = (lasts_s + step_s - 1) / step_s;
    Ok(Stretch { from_s: to_s - (points - 1).max(0) * step_s, to_s, step_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(s, 0).unwrap()
    }

    fn given(from: Option<i64>, to: Option<i64>, step_s: Option<i64>) -> Option<Stretch> {
        stretch(from.map(at), to.map(at), step_s, at(1_000_000)).ok()
    }

    #[test]
    fn a_day_has_a_point_for_every_snapshot() {
        let day = given(None, None, None).unwrap();
        assert_eq!((day.to_s, day.step_s), (1_000_001, 600));
        assert_eq!((day.to_s - day.from_s) / day.step_s + 1, 144);
    }

    #[test]
    fn a_long_stretch_has_longer_steps_and_an_absurd_one_is_refused() {
        let month = given(Some(0), Some(30 * 86_400), None).unwrap();
        assert!(month.step_s > 2_592 && (month.to_s - month.from_s) / month.step_s <= POINTS);
        assert_eq!(given(Some(10), Some(10), None), None);
        assert_eq!(given(Some(0), Some(86_400), Some(1)), None);
        assert_eq!(given(None, None, Some(0)), None);
        assert_eq!(given(Some(0), Some(60), Some(60)), Some(Stretch { from_s: 60, to_s: 60, step_s: 60 }));
    }
}
