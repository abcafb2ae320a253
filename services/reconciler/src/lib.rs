//! The reconciler: makes routers what they should be, and says what they know that nobody has heard of.
//!
//! A keeper: of the 64 slots of its point of presence it works on those that are leased to this replica. Every
//! router there is looked at by turns, when somebody orders it, and when it is back after its session was lost.
//! What would be changed is said; it is changed only where the operator has allowed it.
//!
//! It decides nothing: what follows from what a router is, is worked out by `domain`.

mod book;
mod config;
mod dialled;
mod enforced;
mod enforcer;
mod figures;
mod known;
mod ledger;
mod orders;
mod record;
pub mod router;
mod schedule;
mod scout;
mod standing;
mod visit;

pub use crate::config::Config;
use crate::{
    book::Book,
    dialled::Dialled,
    enforcer::Enforcer,
    figures::Figures,
    orders::{Ordered, Orders},
    record::Record,
    schedule::{Asked, Pace, Schedule},
    scout::Scout,
    visit::{Ended, Visitor},
};
use anyhow::Context;
use events::{NodeId, slot_of};
use kit::{Filter, From, Keeper, KeeperEvent, KeeperOptions, Service, Slots};
use roster::{Roster, Trust};
use routeros_api::{Options, Policy, Pool};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// How often it is looked who is due.
const TICK: Duration = Duration::from_millis(250);
/// How long looks that are under way have to end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How long a slot is quiet after it was taken over: the longest that its former holder goes on without looking.
const QUIET: Duration = Duration::from_secs(2);
/// From the first packet to a router to being logged in.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Runs until the process is told to stop.
///
/// # Errors
///
/// When the log cannot be read, or the configuration does not serve.
pub async fn run(config: Config, service: Service) -> anyhow::Result<()> {
    let stop = service.stop.child_token();
    let _stops_all = stop.clone().drop_guard();
    let master = config.keys().context("reading the master keys")?;
    let sessions = Options {
        connect_within: CONNECT_WITHIN,
        silent_after: Duration::from_secs(config.keep_alive_s),
        keep_alive: Duration::from_secs(config.keep_alive_s),
        ..Options::default()
    };
    let trust = Trust::new(config.router_authority.as_deref(), config.plain_api);
    let trust = trust.context("reading `router_authority`")?;
    let roster = Arc::new(Roster::new("reconciler", master, trust, sessions));
    let book = Arc::new(Book::new(roster));
    let mut following = book.follow(&service.log, stop.clone()).await?;
    let figures = Figures::new(&service.metrics);
    let options = KeeperOptions {
        expiry: Duration::from_millis(config.takeover_after_ms),
        probe_deadline: QUIET,
        ask_lifetime: Duration::ZERO,
        ..KeeperOptions::default()
    };
    let mut keeper = Keeper::start(&service.log, "reconciler", options);
    let config = Arc::new(config);
    let record = Record::new(&service.log, figures.clone());
    let visitor = Visitor {
        book: Arc::clone(&book),
        pool: Arc::new(Pool::new(Policy::default())),
        scout: Scout {
            book: Arc::clone(&book),
            record: record.clone(),
            figures: figures.clone(),
            every: Duration::from_secs(config.scan_every_s),
            most: config.scan_devices_max,
            within: config.command_within(),
        },
        record,
        config: Arc::clone(&config),
        figures: figures.clone(),
        slots: keeper.slots(),
        stop: stop.clone(),
    };
    let mut desk = Desk {
        schedule: Schedule::new(Pace {
            every: Duration::from_secs(config.every_s),
            retry_first: Duration::from_secs(config.retry_first_s),
            retry_most: Duration::from_secs(config.retry_most_s),
        }),
        enforcing: Schedule::new(Pace {
            every: Duration::from_secs(config.enforce_every_s),
            retry_first: Duration::from_secs(config.retry_first_s),
            retry_most: Duration::from_secs(config.retry_most_s),
        }),
        enforcer: Enforcer::new(visitor.clone()),
        visitor,
        orders: Orders::new(figures.clone()),
        dialled: Dialled::new(Duration::from_secs(config.dialled_in_every_s), figures.clone()),
        running: JoinSet::new(),
        enforcements: JoinSet::new(),
        held: Slots::NONE,
        figures,
        at_once: config.routers_at_once,
    };
    let since = record::now().plus_ms(-orders::KEPT_MS);
    let mut orders = service.log.read(&[Filter::noun(events::Noun::Order)], From::Time(since), None);
    // What was claimed before is looked at by the turns that a start takes.
    let mut claims = service.log.read(&[Filter::noun(events::Noun::Signal)], From::New, None);
    let mut version = book.roster.version();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    service.readiness.ready();
    let outcome = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            event = keeper.next() => match event {
                // Nobody asks it anything: what it is to do is ordered.
                Some(KeeperEvent::Asked(_)) => {}
                Some(KeeperEvent::Gained(_) | KeeperEvent::Lost(_)) => desk.plan(),
                None => break Err(anyhow::anyhow!("the keeper has ended")),
            },
            changed = version.changed() => match changed {
                Ok(()) => desk.plan(),
                Err(_) => break Ok(()),
            },
            raw = orders.next() => match raw.context("reading orders")? {
                Some(raw) => match raw.decode() {
                    Ok(heard) => desk.orders.hear(&heard),
                    Err(error) => service.log.bury("reconciler", &raw, &error.to_string()).await,
                },
                None => break Ok(()),
            },
            raw = claims.next() => match raw.context("reading claims")? {
                // Whoever decides by them buries those that cannot be read.
                Some(raw) => if let Ok(heard) = raw.decode() {
                    desk.dialled.hear(&heard, &book, &mut desk.enforcing, Instant::now());
                },
                None => break Ok(()),
            },
            Some(ended) = desk.running.join_next() => match ended {
                Ok((router, ended)) => desk.ended(router, ended),
                Err(error) => break Err(error).context("looking at a router"),
            },
            Some(ended) = desk.enforcements.join_next() => match ended {
                Ok((router, ended)) => desk.enforced(router, ended),
                Err(error) => break Err(error).context("enforcing at a router"),
            },
            ended = &mut following => break match ended {
                Ok(outcome) => outcome,
                Err(error) => Err(error).context("following the inventory"),
            },
            _ = tick.tick() => desk.tick(),
        }
    };
    service.readiness.not_ready("ending");
    stop.cancel();
    // Each ends before its next change; one that waits for a router that does not answer is left where it is.
    let ending = async {
        while desk.running.join_next().await.is_some() {}
        while desk.enforcements.join_next().await.is_some() {}
    };
    if tokio::time::timeout(END_WITHIN, ending).await.is_err() {
        desk.running.shutdown().await;
        desk.enforcements.shutdown().await;
    }
    let released = keeper.stop().await.context("keeping the slots of this point of presence");
    desk.visitor.pool.retain(|_| false);
    outcome.and(released)
}

/// What is under way.
struct Desk {
    schedule: Schedule,
    visitor: Visitor,
    /// Turns of their own for what subscribers are entitled to.
    enforcing: Schedule,
    enforcer: Enforcer,
    orders: Orders,
    dialled: Dialled,
    /// Dropped with it, they end where they are.
    running: JoinSet<(NodeId, Ended)>,
    enforcements: JoinSet<(NodeId, Ended)>,
    held: Slots,
    figures: Figures,
    at_once: usize,
}

impl Desk {
    /// Works out who is looked at, and ends sessions with routers that are not ours any more.
    fn plan(&mut self) {
        let slots = *self.visitor.slots.borrow();
        let routers = self.visitor.book.roster.routers(slots);
        let before = std::mem::replace(&mut self.held, slots);
        let is_known = |router| before.has(slot_of(router));
        self.schedule.keep(&routers, is_known, Instant::now());
        self.enforcing.keep(&self.visitor.book.enforcing(slots), is_known, Instant::now());
        for (router, event) in self.visitor.book.take_changed() {
            self.enforcing.order(router, Asked::change(event));
        }
        self.visitor.pool.retain(|router| routers.contains_key(router));
        self.figures.slots.set(i64::from(slots.count()));
        self.figures.routers.set(i64::try_from(self.schedule.len()).unwrap_or(i64::MAX));
        self.figures.devices.set(i64::try_from(self.visitor.book.sightings_count()).unwrap_or(i64::MAX));
    }

    /// Begins what is due.
    fn tick(&mut self) {
        let now = Instant::now();
        let schedule = &mut self.schedule;
        let (enforcing, enforcer) = (&mut self.enforcing, &self.enforcer);
        self.orders.hand_out(record::now(), |order| match order.ordered {
            Ordered::Look { writes, scans } => {
                schedule.order(order.router, Asked { event: order.event, writes, scans })
            }
            Ordered::Cut { plan } => {
                let is_ours = enforcing.order(order.router, Asked::change(order.event));
                if is_ours {
                    enforcer.confirm(order.router, plan);
                }
                is_ours
            }
        });
        let pool = &self.visitor.pool;
        let is_connected = |router| pool.get(&router).is_some_and(|router| router.standing().is_connected);
        schedule.connected(is_connected, now);
        enforcing.connected(is_connected, now);
        // Who is entitled to something does not wait for whoever is looked at by turns.
        let room = self.at_once.saturating_sub(self.enforcements.len());
        for (job, late) in enforcing.due(now, room) {
            self.figures.lateness.observe(late.as_secs_f64());
            let enforcer = self.enforcer.clone();
            self.enforcements.spawn(async move { (job.router, enforcer.visit(job).await) });
        }
        let room = self.at_once.saturating_sub(self.running.len());
        for (job, late) in schedule.due(now, room) {
            self.figures.lateness.observe(late.as_secs_f64());
            let visitor = self.visitor.clone();
            self.running.spawn(async move { (job.router, visitor.visit(job).await) });
        }
        self.count();
    }

    fn ended(&mut self, router: NodeId, ended: Ended) {
        self.schedule.ended(router, ended, Instant::now());
        self.count();
    }

    fn enforced(&mut self, router: NodeId, ended: Ended) {
        self.enforcing.ended(router, ended, Instant::now());
        self.count();
    }

    fn count(&self) {
        // What a look said of it arrives here by the log, perhaps after the look has ended.
        let held = self.visitor.book.held_count(self.held);
        self.figures.held.set(i64::try_from(held).unwrap_or(i64::MAX));
        let pool = &self.visitor.pool;
        let running = self.running.len() + self.enforcements.len();
        self.figures.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.figures.sessions.set(i64::try_from(pool.len()).unwrap_or(i64::MAX));
        self.figures.open.set(i64::try_from(pool.open_count()).unwrap_or(i64::MAX));
        self.figures.logins.inc_by(pool.logins_count().saturating_sub(self.figures.logins.get()));
    }
}
