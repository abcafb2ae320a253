//! `mastwatch generate`: a made-up network file of any size.

use crate::show;
use anyhow::Context;
use network_file::Shape;
use std::path::PathBuf;

/// What `mastwatch generate` can be told.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// Towers below the core.
    #[arg(long, default_value_t = 2)]
    pub towers: u32,
    /// Sectors on each tower.
    #[arg(long, default_value_t = 3)]
    pub sectors: u32,
    /// Clients on each sector.
    #[arg(long, default_value_t = 5)]
    pub clients: u32,
    /// Where to write it; standard output by default.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
}

/// Writes the file. With `json` it says what is in it and where it is; without a place to write it to, the object
/// holds the text itself.
///
/// # Errors
///
/// When it cannot be written.
pub fn run(args: &GenerateArgs, json: bool) -> anyhow::Result<()> {
    let shape =
        Shape { towers: args.towers, sectors: args.sectors, clients: args.clients, ..Shape::default() };
    let network = network_file::generate(&shape)?;
    let text = network.to_yaml();
    if let Some(path) = &args.output {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    match (&args.output, json) {
        (Some(_), false) => {}
        (None, false) => show::line(text.trim_end()),
        (path, true) => show::json(&serde_json::json!({
            "path": path,
            "devices": network.nodes.len(),
            "subscribers": network.subscribers.len(),
            "text": path.is_none().then_some(text),
        })),
    }
    Ok(())
}
