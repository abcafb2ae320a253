//! The front desk: the REST API, the import of networks, a status page.
//!
//! Hears people and API clients; says inventory, access and orders. Reads are answered from the read models and the
//! time series, which may lag by a moment; everything that is changed is decided on the log. So while Postgres is
//! down reads get 503, and tokens, imports, channels and orders go on.
//!
//! It holds no state that matters: tokens and inventories are read from the log, and several
//! replicas may run side by side.

mod access;
mod administrators;
mod adopt;
mod config;
mod desk;
mod entitlements;
mod explain;
mod import;
mod laid;
mod page;
mod read_models;
mod routes;
mod series;

use crate::{
    access::Register, desk::Desk, import::Importer, laid::Inventories, read_models::ReadModels,
    series::SeriesStore,
};
pub use crate::{
    administrators::{
        Administrator, AdministratorError, Given, administrators, check_first, draw_first,
        first_administrator, give_another, give_first, replace_administrator, revoke_administrator,
    },
    config::Config,
    import::{Imported, Wrong},
};
use anyhow::Context;
use events::Time;
use kit::{Service, http};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};

/// The name under which it speaks.
pub(crate) const SOURCE: &str = "console";

/// How many incidents are explained at a time.
const EXPLAINING_MAX: usize = 4;

/// How often it is looked whether Postgres answers, for readiness.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The time by the clock of this machine: for `at`, which is for display only.
pub(crate) fn now() -> Time {
    Time::from_us(chrono::Utc::now().timestamp_micros())
}

/// The OpenAPI document of the API, as JSON.
pub fn openapi() -> String {
    routes::document().to_json().expect("plain data is representable as JSON")
}

/// Runs until the process is told to stop. Ready once access has been read to its end.
///
/// # Errors
///
/// When there is no database to read from in the configuration, the address to listen at is not to be
/// had, or the log cannot be read for good.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    let listener = http::listen(config.listen).await.context("opening the front desk")?;
    serve(config, service, listener).await
}

/// The same on a socket that is open already.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(config: Config, service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let url = service.common.database_url.as_ref().context("`database_url` is not given")?;
    let pool = kit::postgres::pool(url, SOURCE, config.database_connections)?;
    let models = ReadModels::new(pool);
    let log = service.log.within(Duration::from_millis(config.store_within_ms));
    let register = Arc::new(Register::new(log.clone(), config.keys()?));
    if let Some(token) = &config.administrator_token {
        tokio::select! {
            () = service.stop.cancelled() => return Ok(()),
            () = administrators::offer_first(&log, token.reveal()) => {}
        }
    }
    // Until every token is known, who connects waits in the kernel's queue instead of being refused.
    let end = tokio::select! {
        () = service.stop.cancelled() => return Ok(()),
        end = register.read_to_end() => end.context("reading access")?,
    };
    let inventories = Arc::new(Inventories::new(log.clone()));
    let series = SeriesStore::new(service.common.vm_url.as_deref()).context("making the HTTP client")?;
    let desk = Desk {
        series,
        importer: Importer::new(&log, Arc::clone(&register), Arc::clone(&inventories)),
        log,
        register: Arc::clone(&register),
        inventories,
        models: models.clone(),
        importing: Arc::new(Semaphore::new(1)),
        explaining: Arc::new(Semaphore::new(EXPLAINING_MAX)),
        streams: Arc::new(Semaphore::new(config.streams_max)),
        stop: service.stop.clone(),
    };
    tracing::info!(address = %listener.local_addr()?, "the front desk is open");
    service.readiness.ready();
    let served =
        http::serve(listener, routes::all(desk), config.limits(), &service.metrics, service.stop.clone());
    tokio::select! {
        served = served => served.context("serving the front desk"),
        followed = register.follow(end + 1) => followed.context("following access"),
        never = watch_database(models, &service) => match never {},
    }
}

/// Says whether reads can be answered. What is written does not need it, so the service stays ready.
async fn watch_database(models: ReadModels, service: &Service) -> std::convert::Infallible {
    let reads = service.metrics.gauge("reads_answered", "Whether Postgres answers: 1 or 0");
    loop {
        let answers = models.answer().await.is_ok();
        if reads.set(i64::from(answers)) == i64::from(!answers) {
            tracing::info!(answers, "whether Postgres answers has changed");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
