//! `mastwatch settings`: what can be set, and what is.

use crate::{
    compose::{self, Table},
    show,
};
use anyhow::{Context, bail};
use kit::config::{Settings, keys::Key};
use std::path::PathBuf;

/// What `mastwatch settings` can be told.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// Only what this service is told in its own table.
    service: Option<String>,
    /// A configuration file (TOML).
    #[arg(long, env = "MASTWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Only what is set.
    #[arg(long)]
    set: bool,
}

/// Lists what can be set, then reads each table of which something is set, as its service does when it starts. What means
/// nothing here is named on standard error.
///
/// # Errors
///
/// When there is no such service, or a service would not start with what is set: the faults of every table.
pub fn run(args: &SettingsArgs, json: bool) -> anyhow::Result<()> {
    let given = Settings::load(args.config.as_deref()).context("reading the configuration")?;
    given.only(&compose::SERVICES).context("reading the configuration")?;
    let tables = asked(args.service.as_deref())?;
    let mut rows = Vec::new();
    for key in tables.iter().flat_map(|table| &table.keys) {
        let set_to = given.set_to(key);
        if args.set && set_to.is_none() {
            continue;
        }
        if json {
            show::json(&Row { key, set_to: set_to.as_deref() });
        } else {
            let set_to = set_to.unwrap_or_default();
            rows.push(vec![key.name.clone(), default(key), set_to, key.meaning.clone()]);
        }
    }
    if !json {
        show::table(&["KEY", "DEFAULT", "SET TO", "MEANING"], &rows);
    }
    for stranger in given.strangers(&compose::SERVICES) {
        show::note(format!("`{stranger}` means nothing to this program"));
    }
    // Also where nothing of it is known: a key that is misspelt is a fault.
    let is_set = |table: &&Table| table.service.is_none_or(|service| given.has_table(service));
    let checked = tables.iter().filter(is_set).filter_map(|table| table.check(&given).err());
    let faults: Vec<String> = checked.map(|error| format!("{error:#}")).collect();
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

#[derive(serde::Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    key: &'a Key,
    set_to: Option<&'a str>,
}

fn asked(service: Option<&str>) -> anyhow::Result<Vec<Table>> {
    let mut tables = compose::tables();
    let Some(name) = service else { return Ok(tables) };
    tables.retain(|table| table.service == Some(name));
    match tables.is_empty() {
        false => Ok(tables),
        true if compose::SERVICES.contains(&name) => {
            bail!("`{name}` has no table: it needs nothing of its own")
        }
        true => bail!("`{name}` is no service; there are: {}", compose::SERVICES.join(", ")),
    }
}

/// What a key is by itself, as it would be written into the file.
fn default(key: &Key) -> String {
    if key.default.is_null() { String::new() } else { key.default.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use std::fmt::Write;

    /// The page that lists every key.
    fn page() -> String {
        let mut page = String::from(
            "# Settings\n\n\
             What a process is told before it starts: in one file (TOML, `--config` or `MASTWATCH_CONFIG`) and in the\n\
             environment, which wins. A key `a.b` of the file is the variable `MASTWATCH_A__B`. Any key may be given as\n\
             `<key>_file` (`MASTWATCH_A__B_FILE`), naming a file that holds the value: meant for secrets. An empty variable counts\n\
             as not set. Everything is checked before anything connects, and what is wrong with one table is named at once.\n\n\
             `mastwatch settings` lists the same and says what is set. diagnostician and correlator need nothing of their own.\n\n\
             *Written by `MASTWATCH_WRITE=1 cargo nextest run -p mastwatch` from the types that read it.*\n",
        );
        for Table { service, keys, .. } in compose::tables() {
            let head = service.map_or_else(|| "Every service".to_owned(), |service| format!("`[{service}]`"));
            write!(page, "\n## {head}\n\n| key | by itself | meaning |\n| --- | --- | --- |\n").unwrap();
            for key in keys {
                let name = service.and_then(|t| key.name.strip_prefix(t)).map_or(&*key.name, |k| &k[1..]);
                let default =
                    if key.default.is_null() { String::new() } else { format!("`{}`", key.default) };
                let secret = if key.is_secret { " Secret." } else { "" };
                writeln!(page, "| `{name}` | {default} | {}{secret} |", key.meaning.replace('|', "\\|"))
                    .unwrap();
            }
        }
        page
    }

    #[test]
    fn the_reference_lists_every_key() {
        reference::is_written("settings.md", &page());
    }

    #[test]
    fn every_key_says_what_it_means() {
        let keys: Vec<Key> = asked(None).unwrap().into_iter().flat_map(|table| table.keys).collect();
        assert!(keys.len() > 60, "{}", keys.len());
        for key in keys {
            assert!(key.meaning.ends_with('.'), "{key:?}");
        }
    }

    #[test]
    fn a_table_of_which_only_a_misspelt_key_is_set_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("mastwatch.toml");
        std::fs::write(&config, "[poller]\nasks_at_onces = 5\n[projector]\nconnections = 1\n").unwrap();
        let args = SettingsArgs { service: None, config: Some(config), set: true };
        let faults = run(&args, true).unwrap_err().to_string();
        assert!(faults.contains("asks_at_onces") && faults.contains("connections"), "{faults}");
    }

    #[test]
    fn a_service_is_asked_about_alone() {
        let [poller] = &asked(Some("poller")).unwrap()[..] else { panic!("one table") };
        assert!(poller.keys.iter().all(|key| key.name.starts_with("poller.")));
        assert!(asked(Some("correlator")).err().unwrap().to_string().contains("needs nothing"));
        assert!(asked(Some("polller")).err().unwrap().to_string().contains("there are: ingest"));
    }
}
