//! `mastwatch inventory`: what there is, how it is, and where.

use crate::{
    api::{Api, Cursor, path_with},
    show,
};
use serde_json::Value;

/// Which part of it.
#[derive(Debug, clap::Args)]
pub struct InventoryArgs {
    /// Only what is at this site: its id in the network file. What hangs on something there and names no other site is
    /// there too.
    #[arg(long)]
    site: Option<String>,
    /// Only this tier: core, site, sector, station or subscriber.
    #[arg(long)]
    tier: Option<String>,
}

/// Shows each node with its health and its site, a page at a time.
///
/// # Errors
///
/// When the console is not reached or refuses, or when there is no such site.
pub async fn run(args: &InventoryArgs, api: &Api, json: bool) -> anyhow::Result<()> {
    if let Some(site) = &args.site {
        is_known(site, api).await?;
    }
    let path = within(
        "/api/v1/inventory/nodes?limit=1000",
        &[("site", args.site.as_deref()), ("tier", args.tier.as_deref())],
    );
    let (mut cursor, mut is_empty) = (Cursor::default(), true);
    while let Some(page) = api.page(&path, &mut cursor).await? {
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        is_empty &= items.is_empty();
        if json {
            items.iter().for_each(show::json);
        } else if !items.is_empty() {
            let rows: Vec<Vec<String>> = items.iter().map(row).collect();
            show::table(&["ID", "NAME", "TIER", "HEALTH", "SITE"], &rows);
        }
    }
    if is_empty && !json {
        show::line("There is none.");
    }
    Ok(())
}

/// A path with what is asked for beside it.
pub(crate) fn within(path: &str, asked: &[(&str, Option<&str>)]) -> String {
    let given = asked.iter().filter_map(|(key, value)| Some((*key, (*value)?)));
    given.fold(path.to_owned(), |path, (key, value)| path_with(&path, key, value))
}

/// Whether there is such a site: nodes of an unknown one are none, which would look as if all were well there.
///
/// # Errors
///
/// When there is none, or the console is not reached.
pub(crate) async fn is_known(site: &str, api: &Api) -> anyhow::Result<()> {
    let mut cursor = Cursor::default();
    while let Some(page) = api.page("/api/v1/inventory/sites?limit=1000", &mut cursor).await? {
        let mut sites = page["items"].as_array().into_iter().flatten();
        if sites.any(|one| one["id"] == site || one["file_id"] == site) {
            return Ok(());
        }
    }
    anyhow::bail!("there is no site `{site}`: its id in the network file is wanted")
}

fn row(node: &Value) -> Vec<String> {
    let text = |key: &str| node[key].as_str().unwrap_or("-").to_owned();
    vec![text("file_id"), text("name"), text("tier"), text("health"), place(node)]
}

/// Where a node is, and whether that is so because of what it hangs on.
fn place(node: &Value) -> String {
    match (node["site_name"].as_str(), node["site_inherited"] == true) {
        (Some(name), true) => format!("{name} (inherited)"),
        (Some(name), false) => name.to_owned(),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_says_whether_it_is_the_nodes_own() {
        assert_eq!(place(&json!({"site_name": "Hill", "site_inherited": true})), "Hill (inherited)");
        assert_eq!(place(&json!({"site_name": "Hill", "site_inherited": false})), "Hill");
        assert_eq!(place(&json!({"site_name": null, "site_inherited": false})), "-");
    }

    #[test]
    fn what_is_asked_for_stands_in_the_path_whatever_it_holds() {
        let asked = [("site", Some("a b&c")), ("tier", None)];
        assert_eq!(within("/n?limit=1", &asked), "/n?limit=1&site=a+b%26c");
    }
}
