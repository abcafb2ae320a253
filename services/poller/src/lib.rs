//! The poller: watches what cannot report its own death, and answers what deciders ask.
//!
//! A keeper: it holds what cannot be copied, sessions with routers and a schedule. Of the 64 slots of its
//! point of presence it works on those that are leased to this replica. For their routers it answers asks
//! and watches those that are to be watched; subscribers with a static address it pings through the router that
//! sees them. It says answers and claims, measures what is measured, and decides nothing.
//!
//! Whether it sees anything beyond itself references tell, hosts that have nothing to do with the network; while none
//! of them answers it calls nobody silent, and says that it is blind.
//!
//! What it could not find out it says as such: that is evidence against the poller, never against the network.

mod asks;
mod config;
mod dial;
pub mod echo;
mod figures;
mod heartbeats;
mod known;
mod persons;
mod reach;
mod roll;
mod room;
mod routers;
mod schedule;
mod sight;
mod snapshot;
mod snapshots;
mod statics;
mod tables;
mod through;
pub mod tries;
mod views;
mod voice;

use crate::{
    asks::Desk,
    echo::{Icmp, Pinger},
    figures::Figures,
    heartbeats::Heartbeats,
    persons::Persons,
    reach::Reach,
    routers::Routers,
    sight::Sight,
    snapshots::Snapshots,
    statics::Statics,
    tries::WHOLE,
    views::Views,
    voice::Voice,
};
pub use crate::{config::Config, sight::Reference};
use anyhow::Context;
use kit::{Keeper, KeeperEvent, KeeperOptions, Service};
use roster::{Roster, Trust};
use routeros_api::Options;
use std::{sync::Arc, time::Duration};

/// From the first packet to a router to being logged in, for the session that everybody shares. Longer
/// than a probe: an attempt that a probe gave up goes on for the next one.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// After how long without a word that it owes, a router's session is replaced.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// How often figures that others keep are taken over.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// Runs until the process is told to stop.
///
/// # Errors
///
/// When the log cannot be read, or the configuration does not serve.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    let stop = service.stop.child_token();
    let _stops_all = stop.clone().drop_guard();
    let master = config.keys().context("reading the master keys")?;
    let sessions =
        Options { connect_within: CONNECT_WITHIN, silent_after: SILENT_AFTER, ..Options::default() };
    let trust = Trust::new(config.router_authority.as_deref(), config.plain_api);
    let trust = trust.context("reading `router_authority`")?;
    let roster = Arc::new(Roster::new("poller", master, trust, sessions));
    let mut following = roster.follow(&service.log, &[], |_| false, stop.clone()).await?;

    let figures = Figures::new(&service.metrics);
    let voice = Voice::new(&service.log, figures.clone());
    let icmp = Arc::new(Icmp::new(config.echoes_at_once));
    let routers = Arc::new(Routers::new(config.probes_per_router));
    let persons =
        Persons { log: service.log.clone(), roster: Arc::clone(&roster), opened: figures.persons.clone() };
    let pinger = Arc::clone(&icmp) as Arc<dyn Pinger>;
    let sight = Arc::new(Sight::new(config.references.clone(), Arc::clone(&pinger), figures.clone()));
    let looking = tokio::spawn(Arc::clone(&sight).run(stop.clone()));
    let reach = Reach { roster, routers: Arc::clone(&routers), pinger, persons, sight };
    let options = KeeperOptions {
        expiry: config.takeover_after(),
        probe_deadline: WHOLE,
        asks_max: config.asks_waiting_max.max(1_000),
        ..KeeperOptions::default()
    };
    let mut keeper = Keeper::start(&service.log, "poller", options);
    let (slots, stats) = (keeper.slots(), keeper.stats());
    let desk = Arc::new(Desk::new(
        reach.clone(),
        voice.clone(),
        figures.clone(),
        config.asks_at_once,
        config.asks_waiting_max,
    ));
    let snapshots = Snapshots::new(
        reach.clone(),
        service.log.clone(),
        &service.metrics,
        slots.clone(),
        config.snapshots_at_once,
        config.snapshot_every(),
    );
    let statics =
        Statics::new(reach.clone(), voice.clone(), &service.metrics, slots.clone(), config.statics());
    let views =
        Views { reach: reach.clone(), voice: voice.clone(), log: service.log.clone(), slots: slots.clone() };
    let heartbeats = Heartbeats::new(
        reach,
        voice,
        figures.clone(),
        slots.clone(),
        config.watches_at_once,
        config.attest_every(),
    );
    let telling = tokio::spawn(views.run(stop.clone()));
    let watching = tokio::spawn(heartbeats.run(stop.clone()));
    let pinging = tokio::spawn(statics.run(stop.clone()));
    let measuring = tokio::spawn(snapshots.run(stop.clone()));
    service.readiness.ready();

    let mut take_figures = tokio::time::interval(FIGURES_EVERY);
    let outcome = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            event = keeper.next() => match event {
                Some(KeeperEvent::Asked(asked)) if slots.borrow().has(asked.slot) => desk.take(*asked),
                // Another replica's by now: it has heard the ask as well.
                Some(KeeperEvent::Asked(_)) => {}
                Some(KeeperEvent::Gained(_) | KeeperEvent::Lost(_)) => {
                    figures.slots.set(i64::from(slots.borrow().count()));
                }
                None => break Err(anyhow::anyhow!("the keeper has ended")),
            },
            ended = &mut following => {
                break match ended {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(error),
                    Err(error) => Err(error).context("following the inventory"),
                };
            }
            _ = take_figures.tick() => {
                figures.take(routers.census(), (icmp.window(), icmp.buffer_bytes()), &stats);
            }
        }
    };
    service.readiness.not_ready("ending");
    stop.cancel();
    let released = keeper.stop().await.context("keeping the slots of this point of presence");
    desk.finish().await;
    looking.await.context("looking at references")?;
    telling.await.context("saying how this point of presence sees")?;
    watching.await.context("watching")?;
    pinging.await.context("pinging static subscribers")?;
    measuring.await.context("measuring")?;
    routers.retain(|_| false);
    outcome.and(released)
}
