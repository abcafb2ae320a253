//! Which crate may name which: the arrows of the architecture, read from `cargo metadata`.
//!
//! `domain → events`, `kit → events`, `services/* → kit, domain, events` and the leaf library each
//! is for, the binary → services. `tests/*` may name anything; nothing names them.

use anyhow::Context;
use serde_json::Value;
use std::process::Command;

/// One crate of the workspace and what it names.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `shared`, `services` or `tests`.
    pub folder: String,
    /// What it names, and whether that is for its own tests only.
    pub names: Vec<(String, bool)>,
    /// What is built of it.
    pub targets: Vec<Target>,
    /// Its manifest.
    pub manifest: std::path::PathBuf,
}

/// One library, program, test program or the like of a crate.
#[derive(Debug, Clone)]
pub struct Target {
    /// `lib`, `bin`, `test`, `bench` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The file it begins with.
    pub path: std::path::PathBuf,
    /// Whether it is built with its tests.
    pub is_tested: bool,
}

/// Every crate of the workspace, as cargo sees it.
///
/// # Errors
///
/// When cargo cannot be run or says something else than metadata.
pub fn members() -> anyhow::Result<Vec<Member>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(crate::root())
        .output()
        .context("running cargo metadata")?;
    anyhow::ensure!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout)?;
    let packages = metadata["packages"].as_array().context("metadata lists packages")?;
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> anyhow::Result<Member> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a name is a text");
    let manifest = std::path::PathBuf::from(text(&package["manifest_path"])?);
    let folder = manifest
        .ancestors()
        .nth(2)
        .and_then(|f| f.file_name())
        .context("a crate lies in a folder of the repository")?;
    let listed = package["dependencies"].as_array().context("a package lists dependencies")?;
    let names =
        listed.iter().map(|d| Ok((text(&d["name"])?, d["kind"] == "dev"))).collect::<anyhow::Result<_>>()?;
    let targets = package["targets"].as_array().context("a package lists targets")?;
    Ok(Member {
        name: text(&package["name"])?,
        folder: folder.to_string_lossy().into_owned(),
        names,
        targets: targets.iter().map(target).collect::<anyhow::Result<_>>()?,
        manifest,
    })
}

fn target(target: &Value) -> anyhow::Result<Target> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a target says what it is");
    Ok(Target {
        kind: text(&target["kind"][0])?,
        name: text(&target["name"])?,
        path: text(&target["src_path"])?.into(),
        is_tested: target["test"] == true,
    })
}

/// The crates of ours that each may name. Anything not listed here may name none.
const ARROWS: &[(&str, &[&str])] = &[
    ("events", &[]),
    ("embedded", &[]),
    ("routeros-api", &[]),
    ("domain", &["events"]),
    ("kit", &["events"]),
    ("vault", &["events"]),
    ("roster", &["kit", "domain", "events", "vault", "routeros-api"]),
    // Seals the secrets of a file while it reads it.
    ("network-file", &["events", "vault"]),
    ("ingest", &["kit", "domain", "events", "vault"]),
    ("poller", &["kit", "domain", "events", "vault", "roster", "routeros-api"]),
    ("diagnostician", &["kit", "domain", "events"]),
    ("correlator", &["kit", "domain", "events"]),
    ("notifier", &["kit", "domain", "events", "vault"]),
    ("reconciler", &["kit", "domain", "events", "vault", "roster", "routeros-api"]),
    ("projector", &["kit", "domain", "events"]),
    ("console", &["kit", "domain", "events", "vault", "network-file"]),
    // Speaks network protocols, never JetStream; its routers carry the scripts that `domain` writes.
    ("lab", &["network-file", "events", "domain", "routeros-api"]),
];

/// What only some crates may name.
const KEPT_TO: &[(&str, &[&str])] = &[
    ("async-nats", &["kit"]),
    ("sqlx", &["kit", "projector", "console"]),
    ("surge-ping", &["poller"]),
    ("async-snmp", &["poller"]),
    ("routeros-api", &["poller", "reconciler", "lab", "roster"]),
];

/// All that `domain` may name, and in its tests.
const DOMAIN: &[&str] = &["events", "serde", "thiserror"];
const DOMAIN_TESTS: &[&str] = &["events", "serde", "thiserror", "proptest", "serde_json", "uuid"];

/// Who may name it in tests too: `embedded` stands alone and proves its servers by their clients.
const KEPT_TO_IN_TESTS: &[(&str, &str)] = &[("embedded", "async-nats"), ("embedded", "sqlx")];

/// Who may name another service in tests: `console` reads rows, and only `projector` makes real ones.
const OF_OURS_IN_TESTS: &[(&str, &str)] = &[("console", "projector")];

/// The servers that tests of `shared` and `services` start for themselves.
const FOR_TESTS: &str = "embedded";

/// Every arrow that points the wrong way, as a sentence.
pub fn wrong_arrows(members: &[Member]) -> Vec<String> {
    let ours = |name: &str| members.iter().find(|m| m.name == name);
    let mut wrong = Vec::new();
    for member in members.iter().filter(|m| m.folder != "tests") {
        let is_binary = member.name == "mastwatch";
        let arrow = ARROWS.iter().find(|(name, _)| *name == member.name);
        if arrow.is_none() && !is_binary {
            wrong.push(format!("{} has no place in the layers (tests/tidy/src/layers.rs)", member.name));
        }
        let may = arrow.map_or(&[][..], |(_, may)| may);
        for (named, in_tests) in &member.names {
            let Some(other) = ours(named) else { continue };
            let is_allowed = may.contains(&named.as_str())
                || (is_binary && other.folder != "tests")
                || (*in_tests && named == FOR_TESTS)
                || (*in_tests && OF_OURS_IN_TESTS.contains(&(member.name.as_str(), named.as_str())));
            if !is_allowed {
                wrong.push(format!("{} must not name {named}", member.name));
            }
        }
        for (kept, to) in KEPT_TO {
            let is_for_tests = KEPT_TO_IN_TESTS.contains(&(member.name.as_str(), kept));
            let is_named = member.names.iter().any(|(n, in_tests)| n == kept && !(*in_tests && is_for_tests));
            if is_named && !to.contains(&member.name.as_str()) {
                wrong.push(format!("only {} may name {kept}, not {}", to.join(", "), member.name));
            }
        }
        if member.name == "domain" {
            let foreign = |(n, in_tests): &&(String, bool)| {
                !(if *in_tests { DOMAIN_TESTS } else { DOMAIN }).contains(&n.as_str())
            };
            wrong.extend(
                member.names.iter().filter(foreign).map(|(n, _)| format!("domain must not name {n}")),
            );
        }
    }
    wrong
}

/// Every line of a manifest that goes its own way: lints, versions of dependencies.
///
/// # Errors
///
/// When the manifest cannot be read.
pub fn wrong_lines(member: &Member) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(&member.manifest)?;
    let mut wrong = Vec::new();
    let (mut section, mut inherits_lints) = ("", false);
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[lints]" {
            inherits_lints |= line.replace(' ', "") == "workspace=true";
        } else if section.ends_with("dependencies]") && line.contains('=') {
            let is_inherited = line.replace(' ', "").contains("workspace=true");
            if !is_inherited {
                wrong.push(format!("{}: `{line}` has a version of its own", member.name));
            }
        }
    }
    if !inherits_lints {
        wrong.push(format!("{} does not inherit the lints of the workspace", member.name));
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_(name: &str, folder: &str, names: &[(&str, bool)]) -> Member {
        let names = names.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect();
        Member {
            name: name.into(),
            folder: folder.into(),
            names,
            targets: vec![],
            manifest: "Cargo.toml".into(),
        }
    }

    #[test]
    fn a_service_that_names_another_is_found() {
        let found = wrong_arrows(&[
            crate_("poller", "services", &[("ingest", false)]),
            crate_("ingest", "services", &[("kit", false), ("embedded", true)]),
            crate_("kit", "shared", &[("async-nats", false)]),
            crate_("embedded", "shared", &[]),
        ]);
        assert_eq!(found, ["poller must not name ingest"]);
    }

    #[test]
    fn a_service_that_speaks_to_the_bus_itself_is_found() {
        let found = wrong_arrows(&[crate_("ingest", "services", &[("async-nats", true)])]);
        assert_eq!(found, ["only kit may name async-nats, not ingest"]);
    }

    #[test]
    fn a_clock_in_the_domain_is_found() {
        let found = wrong_arrows(&[crate_("domain", "shared", &[("chrono", false), ("serde_json", true)])]);
        assert_eq!(found, ["domain must not name chrono"]);
    }

    #[test]
    fn a_new_crate_must_be_given_its_place() {
        assert_eq!(wrong_arrows(&[crate_("cache", "shared", &[])]).len(), 1);
    }
}
