//! `mastwatch live-check`: every hop from root to leaf, as it is measured.

use crate::{api::Api, show, status::sse_data};
use anyhow::{Context, bail};
use futures::StreamExt;
use reqwest::Method;

/// Asks for a live check of the node that the network file calls `device`, and shows every hop as it comes.
///
/// # Errors
///
/// When the console is not reached or knows no such node.
pub async fn run(device: &str, api: &Api, json: bool) -> anyhow::Result<()> {
    let found = api.get(&format!("/api/v1/inventory/nodes?text={device}&limit=1000")).await?;
    let node =
        found["items"].as_array().into_iter().flatten().find(|n| n["file_id"].as_str() == Some(device));
    let id =
        node.and_then(|n| n["id"].as_str()).with_context(|| format!("finding `{device}`: no such node"))?;
    let response = api.send(Method::POST, &format!("/api/v1/nodes/{id}/live-check"), None).await?;
    if !response.status().is_success() {
        bail!("the console refused the live check: {}", response.status());
    }
    let mut body = response.bytes_stream();
    let mut kept = String::new();
    while let Some(bytes) = body.next().await {
        kept.push_str(&String::from_utf8_lossy(&bytes.context("reading the live check")?));
        while let Some(end) = kept.find('\n') {
            let line: String = kept.drain(..=end).collect();
            let Some(hop) = sse_data(line.trim_end()) else { continue };
            if json {
                show::json(&hop);
            } else if hop["name"].is_string() {
                let rtt = hop["rtt_us"]
                    .as_u64()
                    .map(|us| format!("{:.1} ms", us as f64 / 1_000.0))
                    .unwrap_or_default();
                let state = hop["state"].as_str().unwrap_or_default();
                show::line(format!("{:<28} {state:<12} {rtt}", hop["name"].as_str().unwrap_or_default()));
            }
        }
    }
    Ok(())
}
