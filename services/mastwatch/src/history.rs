//! `mastwatch history`: how a node has been.

use crate::{api::Api, show};
use anyhow::{Context, bail};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `mastwatch history` can be told.
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// The device's id in the network file, or a subscriber's account.
    pub node: String,
    /// What was measured: `signal_dbm`, `rtt_ms`, `interface_rx_bps` and so on.
    pub metric: String,
    /// How far back, in hours.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=744))]
    pub hours: u32,
    /// From one point to the next, in seconds. If absent, the console chooses.
    #[arg(long)]
    pub step: Option<u32>,
}

impl HistoryArgs {
    /// One metric of one node, of the last hour, a point every ten seconds.
    pub(crate) fn of(node: &str, metric: &str) -> Self {
        Self { node: node.to_owned(), metric: metric.to_owned(), hours: 1, step: Some(10) }
    }
}

/// Shows one metric of a node: a line a point, oldest first.
///
/// # Errors
///
/// When the console is not reached, or knows no such node or metric.
pub async fn run(args: &HistoryArgs, api: &Api, json: bool) -> anyhow::Result<()> {
    let history = api.get(&path(args)?).await?;
    if json {
        show::json(&history);
        return Ok(());
    }
    let unit = history["unit"].as_str().unwrap_or_default();
    let rows: Vec<Vec<String>> =
        history["series"].as_array().into_iter().flatten().flat_map(|series| rows(series, unit)).collect();
    if rows.is_empty() {
        show::line(format!("Nothing was measured in the last {} h.", args.hours));
    } else {
        show::table(&["AT", "VALUE", "UNIT", "OF", "SOURCE"], &rows);
    }
    Ok(())
}

pub(crate) fn path(args: &HistoryArgs) -> anyhow::Result<String> {
    let is_plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    let (node, metric) = (&args.node, &args.metric);
    for text in [node, metric] {
        if !is_plain(text) {
            bail!("`{text}` is no id and no metric: letters, digits, `-`, `_`, `.` and `:` are");
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("reading the clock")?;
    let from = now.saturating_sub(Duration::from_secs(u64::from(args.hours) * 3_600));
    let from = events::Time::from_ms(i64::try_from(from.as_millis())?);
    let step = args.step.map(|step| format!("&step={step}")).unwrap_or_default();
    Ok(format!("/api/v1/nodes/{node}/history?metric={metric}&from={from}{step}"))
}

fn rows(series: &Value, unit: &str) -> Vec<Vec<String>> {
    let text = |key: &str| series[key].as_str().unwrap_or_default().to_owned();
    let of = ["interface", "profile"].iter().find_map(|key| series[*key].as_str()).unwrap_or("").to_owned();
    let points = series["points"].as_array().into_iter().flatten();
    points
        .map(|point| {
            let at = point["at"].as_str().unwrap_or_default().to_owned();
            let value = point["value"].to_string();
            vec![at, value.trim_end_matches(".0").to_owned(), unit.to_owned(), of.clone(), text("source")]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_a_point_with_its_unit() {
        let series = json!({"source": "routeros", "interface": "ether1",
            "points": [{"at": "2026-11-28T10:00:00Z", "value": -61.0}, {"at": "2026-11-28T10:10:00Z", "value": 0.5}]});
        let rows = rows(&series, "dBm");
        assert_eq!(rows[0], ["2026-11-28T10:00:00Z", "-61", "dBm", "ether1", "routeros"]);
        assert_eq!(rows[1][1], "0.5");
    }

    #[test]
    fn what_is_no_id_is_not_asked_for() {
        let args =
            |node: &str| HistoryArgs { node: node.into(), metric: "rtt_ms".into(), hours: 1, step: None };
        assert!(
            path(&args("core-1")).unwrap().starts_with("/api/v1/nodes/core-1/history?metric=rtt_ms&from=")
        );
        assert!(path(&args("../x")).is_err());
    }
}
