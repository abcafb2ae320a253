//! The private servers of a one-box installation.
//!
//! Each keeps its own directory below the data directory, listens on loopback only, and dies with this
//! process. Servers that already run on the machine are left alone; addresses that are given
//! are used instead of starting a copy.

use anyhow::Context;
use embedded::{
    Durability, Nats, NatsOptions, Postgres, PostgresOptions, Programs, VictoriaMetrics,
    VictoriaMetricsOptions,
};
use kit::config::Settings;
use std::path::Path;

/// The servers that were started here.
#[derive(Debug)]
pub struct Servers {
    nats: Option<Nats>,
    postgres: Option<Postgres>,
    victoria_metrics: Option<VictoriaMetrics>,
}

impl Servers {
    /// Starts what is not given an address in `settings`, and says how far it is by `progress`.
    ///
    /// # Errors
    ///
    /// When a program is missing or does not start; the error says what to do.
    pub async fn start(
        data: &Path,
        settings: Settings,
        mut progress: impl FnMut(String),
    ) -> anyhow::Result<(Self, Settings)> {
        let durability = match settings.common()?.durability {
            kit::config::Durability::Always => Durability::Always,
            kit::config::Durability::Interval => Durability::Interval,
        };
        let given = |name: &str| std::env::var_os(name).is_some();
        let programs = Programs::find(data);
        let mut settings = settings;
        let mut servers = Servers { nats: None, postgres: None, victoria_metrics: None };
        if !given("MASTWATCH_NATS_URL") {
            let mut options = NatsOptions::new(data.join("nats"));
            options.programs = programs.clone();
            options.durability = durability;
            let nats = Nats::start(options).await.context("starting nats-server")?;
            progress(format!("nats-server      {}", nats.url()));
            settings = settings.with("nats_url", nats.url(), "the private nats-server");
            servers.nats = Some(nats);
        }
        if !given("MASTWATCH_DATABASE_URL") {
            let mut options = PostgresOptions::new(data.join("postgres"));
            options.programs = programs.clone();
            let postgres = Postgres::start(options).await.context("starting Postgres")?;
            progress(format!("Postgres         127.0.0.1:{}", postgres.port()));
            settings = settings.with("database_url", postgres.url(), "the private Postgres").with(
                "database_owner_url",
                postgres.superuser_url(),
                "the private Postgres",
            );
            servers.postgres = Some(postgres);
        }
        if !given("MASTWATCH_VM_URL") {
            let mut options = VictoriaMetricsOptions::new(data.join("victoria-metrics"));
            options.programs = programs;
            match VictoriaMetrics::start(options).await {
                Ok(started) => {
                    progress(format!("VictoriaMetrics  {}", started.url()));
                    settings = settings.with("vm_url", started.url(), "the private VictoriaMetrics");
                    servers.victoria_metrics = Some(started);
                }
                // Everything but long history works without it.
                Err(error) => {
                    progress(format!("VictoriaMetrics  not started: {:#}", anyhow::Error::from(error)));
                }
            }
        }
        Ok((servers, settings))
    }

    /// The processes that were started, for figures.
    pub fn pids(&self) -> Vec<u32> {
        let nats = self.nats.iter().filter_map(Nats::pid);
        let postgres = self.postgres.iter().filter_map(Postgres::pid);
        let metrics = self.victoria_metrics.iter().filter_map(VictoriaMetrics::pid);
        nats.chain(postgres).chain(metrics).collect()
    }

    /// Stops them in good order.
    pub async fn stop(&self) {
        if let Some(metrics) = &self.victoria_metrics {
            metrics.stop().await;
        }
        if let Some(postgres) = &self.postgres {
            postgres.stop().await;
        }
        if let Some(nats) = &self.nats {
            nats.stop().await;
        }
    }
}
