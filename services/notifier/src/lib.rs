//! The notifier: decides who is told, and tells them once.
//!
//! Two halves that meet in the log. The *deciding* half hears incidents and says notices, each in one
//! commit with the memory of having said it. The *delivering* half takes notices, and says of each what
//! became of sending it: before every attempt that one begins, by compare-and-set, so that of two
//! replicas only one makes it; after it, how it ended. An attempt without an end may have reached somebody.
//! It is repeated where the receiver can tell a repetition by its key, and else once and marked as such.
//!
//! What must wait (a busy endpoint, the next try) goes back to the log's consumer with a delay, which the server
//! keeps: nothing sleeps here, and a restart forgets no retry. At most 5,000 notices wait so.

mod call;
mod config;
mod deliver;
mod directory;
mod email;
mod figures;
mod lanes;
mod standing;
mod target;
mod webhook;

pub use crate::config::Config;
use crate::{deliver::Desk, directory::Directory};
use anyhow::Context;
use events::Noun;
use kit::{Service, Worker};
use std::{sync::Arc, time::Duration};

/// How many deliveries are under way at once; each channel has fewer.
const AT_A_TIME: usize = 256;

/// After how long without a sign of life what a replica had taken is handed to another.
const HANDED_ON_AFTER: Duration = Duration::from_secs(10);

/// Runs both halves until the process is told to stop.
///
/// # Errors
///
/// When the configuration does not fit, or the log cannot be read for good.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    let decided = async { kit::decide::<domain::Announcing>(&service).await.context("deciding who is told") };
    tokio::try_join!(decided, deliver(config, &service))?;
    Ok(())
}

/// Runs the delivering half alone, where another process decides.
///
/// # Errors
///
/// When the configuration does not fit, or the log cannot be read for good.
pub async fn deliver(config: Config, service: &Service) -> anyhow::Result<()> {
    let readiness = service.readiness.part("channels");
    let directory = Arc::new(Directory::new(config.keys()?));
    let end = tokio::select! {
        () = service.stop.cancelled() => return Ok(()),
        end = directory::read_to_end(&directory, &service.log) => end.context("reading channels and keys")?,
    };
    readiness.ready();
    let at_most = config.call_max() + Duration::from_secs(60);
    let desk = Arc::new(Desk::new(config, service, Arc::clone(&directory))?);
    let worker = Worker::new("notifier-deliveries")
        .hears(&[Noun::Notice])
        .at_a_time(AT_A_TIME)
        .at_most(at_most)
        .ack_wait(HANDED_ON_AFTER);
    let work = worker.run_facts(service, move |heard, job| {
        let desk = Arc::clone(&desk);
        async move { desk.work(heard, &job).await }
    });
    tokio::select! {
        worked = work => worked.context("delivering notices"),
        followed = directory::follow(&directory, &service.log, end + 1) => {
            followed.context("following channels and keys")
        }
    }
}
