//! One look at one router: is it as it should be, and does it know something that nobody has heard of?
//!
//! It is read, held against what is desired, and changed if the operator allows it (see [`settle`]). Ended anywhere,
//! the next look goes on from what is there then.
//!
//! Then, when it is its turn for that, it is asked whom it sees around it (see [`crate::scout`]); and the router's word
//! about its children is held against what is believed of them. That writes nothing to the router.

mod settle;

use crate::{
    Config,
    book::Book,
    figures::{Figures, VisitEnded},
    known::{self, Known},
    record::{Record, RecordError, Standing, now},
    router,
    scout::Scout,
};
use domain::{
    plan::{Fitness, Snitches, Unread, fitness, hidden, script::Pusher},
    reporter::differences,
};
use events::{EventId, Fingerprint, NodeId, Plan, PlanState, TenantId, slot_of};
use kit::Slots;
use routeros_api::{ConnectError, Pool, Router, RouterError};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
/// The most characters of a sentence for people.
const TEXT_CHARS_MAX: usize = 300;
/// How long a probe of a watched host waits, milliseconds.
const NETWATCH_TIMEOUT_MS: u32 = 2_000;
/// Stands in a plan for the token of a router that has none because it is not managed.
const NO_TOKEN: &str = "mw_notissuedyet_none";

/// Why a router is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is its turn.
    Schedule,
    /// Somebody ordered it.
    Order,
    /// Its session was lost, or the last look failed.
    Reconnect,
}

impl Why {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Why::Schedule => "schedule",
            Why::Order => "order",
            Why::Reconnect => "reconnect",
        }
    }
}

/// One look that is to be taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) tenant: TenantId,
    pub(crate) router: NodeId,
    pub(crate) why: Why,
    /// The order it follows from.
    pub(crate) cause: Option<EventId>,
    /// Whether the router may be changed, if its operator allows it.
    pub(crate) writes: bool,
    /// Whether it is asked whom it sees, be it its turn for that or not.
    pub(crate) scans: bool,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was looked at; a router that is blind is to be looked at again when it sees.
    Looked {
        /// In how long.
        again_in: Option<Duration>,
    },
    /// There was nothing to look for, and nobody has asked it anything.
    Idle,
    /// It was broken off, and not because of the router: it is looked at soon if it is ours still.
    BrokenOff,
    /// It is to be tried again.
    Failed,
    /// Its login was rejected: trying again soon would fill its log.
    Rejected,
}

/// Why a look was broken off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The router does not answer, or what is known of it does not suffice.
    #[error("{why}")]
    Router {
        why: String,
        is_rejected: bool,
        certificate_shown: Option<Fingerprint>,
        incomplete: Option<Box<Plan>>,
    },
    /// Reading left a menu out: nothing is changed on what was not seen.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The process ends, or the slot is another replica's.
    #[error("it is to end")]
    Stopped,
}

impl From<RouterError> for Broken {
    fn from(error: RouterError) -> Self {
        if matches!(error, RouterError::Closed) {
            // Its session is ours no more: its slot went to another replica in the middle of this look, or the process
            // ends.
            return Broken::Stopped;
        }
        let connect = match &error {
            RouterError::Connect(why) => Some(&**why),
            _ => None,
        };
        let certificate_shown = match connect {
            Some(ConnectError::Certificate(why)) => Some(Fingerprint(why.shown().0)),
            _ => None,
        };
        let is_rejected = matches!(connect, Some(ConnectError::LoginRejected { .. }));
        Broken::Router { why: chain(&error), is_rejected, certificate_shown, incomplete: None }
    }
}

impl Broken {
    /// What is known of the router does not suffice to speak to it, or it does not do as it should.
    pub(crate) fn router(why: String) -> Self {
        Broken::Router { why, is_rejected: false, certificate_shown: None, incomplete: None }
    }
}

/// Not more of a text than people read, and no token in it.
pub(crate) fn brief(text: &str) -> String {
    hidden(text).chars().take(TEXT_CHARS_MAX).collect()
}

/// What went wrong and why, without tokens.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    brief(&text)
}

/// Looks at routers.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) book: Arc<Book>,
    pub(crate) pool: Arc<Pool<NodeId>>,
    pub(crate) record: Record,
    pub(crate) scout: Scout,
    pub(crate) config: Arc<Config>,
    pub(crate) figures: Figures,
    pub(crate) slots: watch::Receiver<Slots>,
    pub(crate) stop: CancellationToken,
}

impl Visitor {
    /// Looks at a router.
    pub(crate) async fn visit(&self, job: Job) -> Ended {
        let began = Instant::now();
        let run = EventId(Uuid::now_v7());
        let mut standing = Standing::default();
        let (ended, outcome) = match self.look(&job, run, &mut standing).await {
            Ok(again_in) => {
                let outcome = standing.plan.as_ref().map_or("as_desired", |plan| plan.state.name());
                (Ended::Looked { again_in }, outcome)
            }
            Err(Broken::Stopped) => (Ended::BrokenOff, "stopped"),
            Err(Broken::Record(RecordError::Taken)) => (Ended::BrokenOff, "taken"),
            Err(error @ (Broken::Record(_) | Broken::Unread(_))) => {
                tracing::warn!(router = %job.router, error = chain(&error), "a look at a router was broken off");
                (Ended::Failed, "failed")
            }
            Err(Broken::Router { why, is_rejected, certificate_shown, incomplete }) => {
                tracing::info!(router = %job.router, why, "a router cannot be looked at");
                let outcome = if incomplete.is_some() { "incomplete" } else { "unreachable" };
                if job.scans
                    && let Err(error) = self.scout.failed(&job, run, why.clone()).await
                {
                    tracing::warn!(router = %job.router, error = chain(&error), "that a router cannot be scanned was not said");
                }
                self.say_failed(&job, run, &mut standing, (why, certificate_shown), incomplete).await;
                (if is_rejected { Ended::Rejected } else { Ended::Failed }, outcome)
            }
        };
        self.figures.visits.get_or_create(&VisitEnded { outcome, why: job.why.name() }).inc();
        self.figures.took.observe(began.elapsed().as_secs_f64());
        ended
    }

    async fn say_failed(
        &self,
        job: &Job,
        run: EventId,
        standing: &mut Standing,
        (why, certificate_shown): (String, Option<Fingerprint>),
        incomplete: Option<Box<Plan>>,
    ) {
        let managed = standing.plan.as_ref().is_some_and(|plan| plan.managed);
        let plan = match incomplete {
            Some(plan) => *plan,
            // What was begun stays so until it is known what became of it.
            None if standing.plan.as_ref().is_some_and(|plan| plan.state == PlanState::Begun) => return,
            None => Plan {
                error: Some(why),
                certificate_shown,
                ..blank(
                    job.router,
                    known::is_managed(&self.book.roster, job.tenant, job.router).unwrap_or(managed),
                )
            },
        };
        if let Err(error) =
            self.record.stands(job.tenant, standing, plan, (run, job.cause, job.cause.is_some())).await
        {
            tracing::warn!(router = %job.router, error = chain(&error), "that a router cannot be looked at was not said");
        }
    }

    /// Fails when it is to go no further.
    pub(crate) fn goes_on(&self, router: NodeId) -> Result<(), Broken> {
        let is_ours = self.slots.borrow().has(slot_of(router));
        if self.stop.is_cancelled() || !is_ours { Err(Broken::Stopped) } else { Ok(()) }
    }

    async fn look(
        &self,
        job: &Job,
        run: EventId,
        standing: &mut Standing,
    ) -> Result<Option<Duration>, Broken> {
        *standing = self.record.standing(job.tenant, job.router).await?;
        let known = Known::of(&self.book.roster, job.tenant, job.router).map_err(Broken::router)?;
        let within = self.config.command_within();
        let router = self.pool.router(job.router, &known.target);
        router.knock(within).await?;
        let (told, uptime) = router::told(&router, within).await?;
        let fit = fitness(&told);
        let (identity, board) = router::itself(&router, within).await?;
        let mut plan = Plan {
            version: Some(told.version.chars().take(100).collect()),
            identity,
            board,
            findings: fit.findings.iter().map(ToString::to_string).collect(),
            ..blank(job.router, known.managed)
        };
        match self.snitches(&known, &fit) {
            Ok(snitches) => {
                self.settle(job, run, &router, (&snitches, &known.file_id), plan, standing).await?;
            }
            Err(why) => {
                plan.state = PlanState::Unfit;
                plan.findings.extend(why.map(str::to_owned));
                self.record.stands(job.tenant, standing, plan, (run, job.cause, job.cause.is_some())).await?;
            }
        }
        self.goes_on(job.router)?;
        if self.scout.is_due(job) {
            self.scout.scan(job, run, &router, &known).await?;
        }
        self.goes_on(job.router)?;
        let blind_for = Duration::from_millis(u64::from(known.blind_after_boot_ms)).saturating_sub(uptime);
        if !blind_for.is_zero() {
            return Ok(Some(blind_for));
        }
        self.report(job, run, &router, &known, uptime).await?;
        Ok(None)
    }

    /// What the router is to tell, or what stands in the way beside what it told itself.
    fn snitches(&self, known: &Known, fit: &Fitness) -> Result<Snitches, Option<&'static str>> {
        if !fit.can_push {
            return Err(None);
        }
        let Some(url) = self.config.push_url.clone() else {
            return Err(Some("nobody has said where routers reach us: set `reconciler.push_url`"));
        };
        let token = match &known.token {
            Some(token) => token.as_str().to_owned(),
            None if known.managed => return Err(Some("the router has no token: import the network again")),
            None => NO_TOKEN.to_owned(),
        };
        Ok(Snitches {
            pusher: Pusher { url, token, checks_certificate: self.config.check_certificate },
            sessions: true,
            leases: true,
            scheduler: fit.can_park,
            watched: known.watched(),
            interval_s: self.config.netwatch_every_s,
            timeout_ms: NETWATCH_TIMEOUT_MS,
            has_types: fit.has_types,
        })
    }

    /// Claims what the router knows of its children and nobody has heard of.
    async fn report(
        &self,
        job: &Job,
        run: EventId,
        router: &Router,
        known: &Known,
        uptime: Duration,
    ) -> Result<(), Broken> {
        // Before the router is asked: so what it says is the newer.
        let children = self.record.believed(job.tenant, &known.children).await?;
        let has_sessions = children.iter().any(|child| !child.keys.is_empty());
        let (mut told, present) =
            router::seen(router, uptime, has_sessions, self.config.command_within()).await?;
        if has_sessions {
            told.present = Some(known.claims(job.router, &present.users, &present.macs));
        }
        let found = differences(&told, &children, known.blind_after_boot_ms);
        if !found.is_empty() {
            tracing::info!(router = %job.router, count = found.len(), "a router knew what nobody had heard of");
        }
        Ok(self.record.claims(job.tenant, job.router, &found, (run, job.cause)).await?)
    }
}

/// A router of which nothing is known.
fn blank(router: NodeId, managed: bool) -> Plan {
    Plan {
        router,
        state: PlanState::Unreachable,
        managed,
        since: now(),
        version: None,
        identity: None,
        board: None,
        findings: vec![],
        obstacles: vec![],
        changes: vec![],
        change_count: 0,
        error: None,
        certificate_shown: None,
    }
}
