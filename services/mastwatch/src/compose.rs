//! Which services there are, each named once.

use anyhow::{Context, bail};
use kit::{
    Process, Restart,
    admin::Build,
    config::{
        Section, Settings,
        keys::{self, Key},
    },
    telemetry,
};
use schemars::JsonSchema;

/// Every service, in the order in which a reader meets them.
pub const SERVICES: [&str; 8] =
    ["ingest", "poller", "diagnostician", "correlator", "notifier", "reconciler", "projector", "console"];

/// What the program says of itself in `mastwatch_build_info`.
pub fn build() -> Build {
    Build { version: crate::VERSION, revision: option_env!("MASTWATCH_REVISION").unwrap_or("unknown") }
}

/// The part of the configuration that one service, or every service, reads.
pub struct Table {
    /// The service; `None`: every one.
    pub service: Option<&'static str>,
    /// What can be set.
    pub keys: Vec<Key>,
    check: fn(&Settings) -> anyhow::Result<()>,
}

impl Table {
    fn of<T: Section + JsonSchema>() -> Self {
        let check = |settings: &Settings| section::<T>(settings).map(drop);
        Self { service: Some(T::NAME), keys: keys::section::<T>(), check }
    }

    /// Reads it, as a service does when it starts.
    ///
    /// # Errors
    ///
    /// Every fault, with the place where it lies.
    pub fn check(&self, settings: &Settings) -> anyhow::Result<()> {
        (self.check)(settings)
    }
}

/// What concerns every service, then the table of each that has one.
pub fn tables() -> Vec<Table> {
    let check = |settings: &Settings| settings.common().map(drop).context("reading the configuration");
    vec![
        Table { service: None, keys: keys::common(), check },
        Table::of::<ingest::Config>(),
        Table::of::<poller::Config>(),
        Table::of::<notifier::Config>(),
        Table::of::<reconciler::Config>(),
        Table::of::<projector::Config>(),
        Table::of::<console::Config>(),
    ]
}

/// One process with the services of `names` in it, ready to be run.
///
/// # Errors
///
/// When a name is no service's, a setting is wrong, or the admin port is not to be had.
pub async fn process(settings: &Settings, names: &[&str], quiet: bool) -> anyhow::Result<Process> {
    settings.only(&SERVICES).context("reading the configuration")?;
    let mut common = settings.common().context("reading the configuration")?;
    if quiet {
        common.log_level = "error".into();
    }
    let telemetry = telemetry::begin(&common, crate::VERSION).context("starting telemetry")?;
    for stranger in settings.strangers(&SERVICES) {
        tracing::warn!(variable = stranger, "means nothing to this program");
    }
    let mut process = Process::open(common, build(), telemetry).await?;
    if names.len() > 1 {
        process = process.restarting(Restart::PATIENT);
    }
    for name in names {
        process = add(process, settings, name)?;
    }
    Ok(process)
}

fn section<T: Section>(settings: &Settings) -> anyhow::Result<T> {
    settings.section::<T>().with_context(|| format!("reading the table `{}`", T::NAME))
}

fn add(process: Process, settings: &Settings, name: &str) -> anyhow::Result<Process> {
    Ok(match name {
        "ingest" => {
            let config: ingest::Config = section(settings)?;
            process.service("ingest", move |service| ingest::run(config.clone(), service))
        }
        "poller" => {
            let config: poller::Config = section(settings)?;
            process.service("poller", move |service| poller::run(config.clone(), service))
        }
        "diagnostician" => process.service("diagnostician", diagnostician::run),
        "correlator" => process.service("correlator", correlator::run),
        "notifier" => {
            let config: notifier::Config = section(settings)?;
            process.service("notifier", move |service| notifier::run(config.clone(), service))
        }
        "reconciler" => {
            let config: reconciler::Config = section(settings)?;
            process.service("reconciler", move |service| reconciler::run(config.clone(), service))
        }
        "projector" => {
            let config: projector::Config = section(settings)?;
            process.service("projector", move |service| projector::run(config.clone(), service))
        }
        "console" => {
            let config: console::Config = section(settings)?;
            process.service("console", move |service| console::run(config.clone(), service))
        }
        other => bail!("`{other}` is no service; there are: {}", SERVICES.join(", ")),
    })
}
