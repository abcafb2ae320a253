//! `mastwatch audit`: who did what, and who was turned away.

use crate::{
    api::{Api, path_with},
    show,
};
use serde_json::Value;

/// What `mastwatch audit` can be told.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// Only what is called so: `refused`, `token_granted`, `inventory_changed`, `cut_held` and so on.
    #[arg(long)]
    what: Option<String>,
    /// The operator's own records instead of the tenant's: administrators' tokens, and who was turned away with a token
    /// that is nobody's. Needs an administrator's token.
    #[arg(long)]
    operator: bool,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Shows the records, newest first: a line each.
///
/// # Errors
///
/// When the console is not reached, or does not show them with this token.
pub async fn run(args: &AuditArgs, api: &Api, json: bool) -> anyhow::Result<()> {
    let of = if args.operator { "operator/audit" } else { "audit" };
    let path = format!("/api/v1/{of}?limit={}", args.limit.min(1_000));
    let path = args.what.as_ref().map_or_else(|| path.clone(), |what| path_with(&path, "what", what));
    let records = api.list(&path, args.limit as usize, "records").await?;
    if json {
        records.iter().for_each(show::json);
    } else if records.is_empty() {
        show::line("Nothing of the kind is on record.");
    } else {
        let rows: Vec<Vec<String>> = records.iter().map(row).collect();
        show::table(&["AT", "WHAT", "BY", "OF OR FROM", "MORE"], &rows);
    }
    Ok(())
}

fn row(record: &Value) -> Vec<String> {
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let at: String = text("heard_at").chars().take(19).collect();
    vec![at, text("what"), or_dash(text("done_by")), or_dash(text("subject")), more(&record["detail"])]
}

/// `reason=stale count=3`: what there is beside, in one line.
fn more(detail: &Value) -> String {
    let fields = detail.as_object().into_iter().flatten();
    let shown = fields.filter(|(_, value)| !value.is_null()).map(|(key, value)| match value.as_str() {
        Some(text) => format!("{key}={text}"),
        None => format!("{key}={value}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}
