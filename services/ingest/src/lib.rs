//! The front door: authenticates what routers push and stores it as signals.
//!
//! Hears access (tokens and keys, of all tenants); says signals, and on record who was turned away. A sender is told 202 only when the log
//! has stored what it said. Needs nothing but the log: tokens are known from it, so it works while
//! Postgres is down.
//!
//! Nothing is believed here and nothing is looked up in the inventory: whether a claim names
//! something that exists, and what follows from it, others decide.

mod audit;
mod book;
mod claim;
mod config;
mod door;
pub mod fields;
mod figures;
mod lately;
mod peer;
mod refusal;

use crate::{audit::Audit, book::Book, door::Door};
pub use crate::{claim::Hook, config::Config};
use anyhow::Context;
use kit::{Service, http};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Runs until the process is told to stop. Ready once access has been read to its end.
///
/// # Errors
///
/// When the address to listen at is not to be had, or the log cannot be read for good.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    let listener = http::listen(config.listen).await.context("opening the front door")?;
    run_on(listener, config, service).await
}

/// [`run`] on a socket that listens already.
///
/// # Errors
///
/// When the log cannot be read for good, or the socket fails.
pub async fn run_on(listener: TcpListener, config: Config, service: Service) -> anyhow::Result<()> {
    let book = Arc::new(Book::new(config.keys()?, &service.metrics));
    // Until every token is known, who connects waits in the kernel's queue instead of being refused.
    let end = tokio::select! {
        () = service.stop.cancelled() => return Ok(()),
        end = book::read_to_end(&book, &service.log) => end.context("reading access")?,
    };
    tracing::info!(address = %listener.local_addr()?, tokens = book.tokens(), "the front door is open");
    let audit = Arc::new(Audit::new(&service.metrics));
    let door = Arc::new(Door::new(&config, &service, Arc::clone(&book), Arc::clone(&audit)));
    let routes = door::routes(door);
    service.readiness.ready();
    let follow = book::follow(&book, &service.log, end + 1);
    let serve = http::serve(listener, routes, config.limits(), &service.metrics, service.stop.clone());
    let served = async {
        tokio::select! {
            served = serve => served.context("serving the front door"),
            followed = follow => followed.context("following access"),
        }
    };
    let log = service.log.within(Duration::from_millis(config.store_within_ms));
    // Who is turned away by the last request is on record as well.
    let no_more = CancellationToken::new();
    let (ended, ()) = tokio::join!(
        async {
            let ended = served.await;
            no_more.cancel();
            ended
        },
        audit.keep(service.name, &log, no_more.clone())
    );
    ended
}
