//! One look at one router: does it show what its subscribers are entitled to?
//!
//! It is read, held against what is entitled, changed, and read again. That a subscriber is being changed is said
//! before the first change, and what became of it after the last. Ended anywhere, the next look goes on from what
//! is there then. What would cut too many off, or anybody while that is halted, is held back and said to be.
//!
//! Nothing it finds is a claim about anybody's health, and of whom nothing is entitled nothing is read.

use crate::{
    enforced::{RouterStanding, SubscriberSaid},
    figures::VisitEnded,
    known::Known,
    record::{RecordError, now},
    router,
    standing::One,
    visit::{Broken, Ended, Job, Visitor, brief, chain},
};
use domain::{
    enforce::{self, Hold, Service, Step},
    plan::Change,
};
use events::{
    EnforcementState, EventId, NodeId, PlanDigest, Repair, RepairOutcome, RouterEnforcement,
    RouterEnforcementState, SubscriberEnforcement,
};
use routeros_api::{CallError, Router, RouterError};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// How many subscribers are changed between two commits.
const PIECE: usize = 200;
/// How long what was said of a router may take to arrive here.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Makes routers show what their subscribers are entitled to.
#[derive(Clone)]
pub(crate) struct Enforcer {
    pub(crate) visitor: Visitor,
    /// What people have said yes to, by router.
    confirmed: Arc<Mutex<HashMap<NodeId, PlanDigest>>>,
}

/// What one look works on.
struct Look<'a> {
    job: &'a Job,
    run: EventId,
    standing: RouterStanding,
    all: Vec<One>,
    active_count: usize,
}

/// Who is held back, and why.
#[derive(Default)]
struct Held {
    which: BTreeSet<usize>,
    why: Option<Hold>,
    plan: Option<PlanDigest>,
}

impl Enforcer {
    pub(crate) fn new(visitor: Visitor) -> Self {
        Self { visitor, confirmed: Arc::default() }
    }

    /// Somebody says yes to cutting off those who are held back at a router. It holds for its next look.
    pub(crate) fn confirm(&self, router: NodeId, plan: PlanDigest) {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).insert(router, plan);
    }

    /// Looks at a router.
    pub(crate) async fn visit(&self, job: Job) -> Ended {
        let began = Instant::now();
        let run = EventId(Uuid::now_v7());
        let mut look =
            Look { job: &job, run, standing: RouterStanding::default(), all: vec![], active_count: 0 };
        let (ended, outcome) = match self.look(&mut look).await {
            Ok(None) => (Ended::Idle, "nothing"),
            Ok(Some(state @ RouterEnforcementState::Incomplete)) => (Ended::Failed, state.name()),
            Ok(Some(state)) => (Ended::Looked { again_in: None }, state.name()),
            Err(Broken::Stopped) => (Ended::BrokenOff, "stopped"),
            Err(Broken::Record(RecordError::Taken)) => (Ended::BrokenOff, "taken"),
            Err(error @ (Broken::Record(_) | Broken::Unread(_))) => {
                tracing::warn!(router = %job.router, error = chain(&error), "enforcing at a router was broken off");
                (Ended::Failed, "failed")
            }
            Err(Broken::Router { why, is_rejected, .. }) => {
                tracing::info!(router = %job.router, why, "nothing can be enforced at a router");
                if let Err(error) = self.say_unreachable(&mut look, why).await {
                    let error = chain(&error);
                    tracing::warn!(router = %job.router, error, "that nothing can be enforced was not said");
                }
                (if is_rejected { Ended::Rejected } else { Ended::Failed }, "unreachable")
            }
        };
        let figures = &self.visitor.figures;
        figures.enforcements.get_or_create(&VisitEnded { outcome, why: job.why.name() }).inc();
        figures.took.observe(began.elapsed().as_secs_f64());
        ended
    }

    /// Fails when it is to go no further: the process ends, the slot is another's, or the operator does not allow it.
    fn goes_on(&self, job: &Job) -> Result<(), Broken> {
        self.visitor.goes_on(job.router)?;
        if self.visitor.book.may_enforce(job.tenant, job.router) { Ok(()) } else { Err(Broken::Stopped) }
    }

    async fn look(&self, look: &mut Look<'_>) -> Result<Option<RouterEnforcementState>, Broken> {
        let (job, visitor) = (look.job, &self.visitor);
        let within = visitor.config.command_within();
        look.standing = visitor.record.enforcement(job.tenant, job.router).await?;
        if timeout(CATCH_UP, visitor.book.reach(look.standing.seq)).await.is_err() {
            return Err(Broken::Stopped);
        }
        self.goes_on(job)?;
        let wanted = visitor.book.wanted(job.tenant, job.router);
        if wanted.is_empty() {
            // What was said of those who are not entitled any more is over.
            if look.standing.now.is_some() {
                self.settle(look, &[], &Held::default(), &BTreeMap::new()).await?;
            }
            return Ok(None);
        }
        look.all = wanted.into_iter().map(|wanted| One::of(wanted, job.router)).collect();
        let known = Known::of(&visitor.book.roster, job.tenant, job.router).map_err(Broken::router)?;
        let router = visitor.pool.router(job.router, &known.target);
        router.knock(within).await?;
        let nodes = look.all.iter().map(|one| one.wanted.subscriber.id).collect();
        let persons = visitor.record.persons(job.tenant, nodes, &known.keys).await?;
        for (one, person) in look.all.iter_mut().zip(persons) {
            one.open(person.as_ref(), &known.keys);
        }
        look.all.retain(One::is_here);
        let mut outcomes: BTreeMap<usize, String> = BTreeMap::new();
        let services = services_of(&look.all);
        let actual = router::read(&router, enforce::MENUS, within).await?;
        let mut steps = enforce::steps(&actual, &services)?;
        look.active_count = enforce::active_count(&actual, &services);
        let mut held = self.held(look, &steps);
        let goes = |n: &usize| !steps[*n].is_empty() && !held.which.contains(n);
        let go: BTreeSet<usize> = (0..steps.len()).filter(goes).collect();
        for piece in go.iter().copied().collect::<Vec<_>>().chunks(PIECE) {
            self.make(look, &router, &steps, piece, (&mut outcomes, &mut held)).await?;
        }
        if !go.is_empty() {
            let actual = router::read(&router, enforce::MENUS, within).await?;
            let after = enforce::steps(&actual, &services_of(&look.all))?;
            for (n, step) in after.into_iter().enumerate().filter(|(n, _)| go.contains(n)) {
                // A session that has ended does not show any more where its user lives.
                let not_ours = std::mem::take(&mut steps[n].not_ours);
                steps[n] = Step { not_ours, ..step };
            }
        }
        self.settle(look, &steps, &held, &outcomes).await.map(Some)
    }

    /// Who of those that would be cut off is not.
    fn held(&self, look: &Look<'_>, steps: &[Step]) -> Held {
        let (visitor, job) = (&self.visitor, look.job);
        let cutting: BTreeSet<usize> = (0..steps.len()).filter(|n| steps[*n].cuts).collect();
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).remove(&job.router);
        if cutting.is_empty() {
            return Held::default();
        }
        if let Some(why) = self.halted(look) {
            return Held { which: cutting, why: Some(why), plan: None };
        }
        // Whom somebody was cutting off goes on, and who comes back by a way that is not ours is no news.
        let fresh: BTreeSet<usize> = cutting.into_iter().filter(|n| !look.all[*n].is_being_cut()).collect();
        let window_ms = i64::try_from(visitor.config.enforce_every_s * 1_000).unwrap_or(i64::MAX);
        let mut lately = visitor.book.cut_since(job.tenant, job.router, now().plus_ms(-window_ms));
        fresh.iter().for_each(|n| _ = lately.remove(&look.all[*n].wanted.subscriber.id));
        let why = visitor.config.bound().hold(fresh.len(), lately.len(), look.active_count);
        let plan = PlanDigest::of(job.router, fresh.iter().map(|n| look.all[*n].wanted.event));
        match why {
            Some(why) if confirmed != Some(plan) => Held { which: fresh, why: Some(why), plan: Some(plan) },
            Some(_) | None => Held::default(),
        }
    }

    /// Why nobody is cut off, if somebody has said so.
    fn halted(&self, look: &Look<'_>) -> Option<Hold> {
        if !self.visitor.config.cutting {
            let why = "this installation's configuration says `cutting = false`";
            return Some(Hold::Halted { why: Some(why.into()) });
        }
        self.visitor.book.halted(look.job.tenant)
    }

    /// Says that these subscribers are being changed, and changes them.
    async fn make(
        &self,
        look: &mut Look<'_>,
        router: &Router,
        steps: &[Step],
        piece: &[usize],
        (outcomes, held): (&mut BTreeMap<usize, String>, &mut Held),
    ) -> Result<(), Broken> {
        self.goes_on(look.job)?;
        let at = now();
        let begun: Vec<_> = piece.iter().map(|n| (*n, look.all[*n].begun(&steps[*n], at))).collect();
        self.say(look, RouterEnforcementState::Begun, &Held::default(), None, begun).await?;
        for n in piece {
            let step = &steps[*n];
            if step.cuts {
                if let Some(why) = self.halted(look) {
                    held.which.insert(*n);
                    held.why = Some(why);
                    continue;
                }
                self.visitor.figures.cuts.inc();
            }
            for (number, change) in (0..).zip(&step.changes) {
                self.goes_on(look.job)?;
                if let Some(refused) = self.make_one(look, router, *n, (number, change)).await? {
                    // What follows in a step is meant to come after this.
                    outcomes.insert(*n, refused);
                    break;
                }
            }
            if !outcomes.contains_key(n) {
                look.all[*n].was_made();
            }
        }
        Ok(())
    }

    /// Makes one change and records what became of it; why the router refused it, if it did.
    async fn make_one(
        &self,
        look: &Look<'_>,
        router: &Router,
        n: usize,
        (number, change): (u32, &Change),
    ) -> Result<Option<String>, Broken> {
        let (job, one) = (look.job, &look.all[n]);
        let made = router::make(router, change, self.visitor.config.command_within()).await;
        let (outcome, error) = match &made {
            Ok(()) => (RepairOutcome::Made, None),
            // Somebody else was faster, or the customer himself was.
            Err(RouterError::Call(CallError::Trap(trap)))
                if trap.is_no_such_item() && matches!(change, Change::Remove { .. }) =>
            {
                (RepairOutcome::Found, None)
            }
            Err(RouterError::Call(CallError::Trap(trap))) => {
                (RepairOutcome::Refused, Some(brief(&one.without_person(&trap.to_string()))))
            }
            Err(error) => (RepairOutcome::Unknown, Some(one.without_person(&chain(error)))),
        };
        let repair = Repair {
            router: job.router,
            outcome,
            plan: one.event,
            number,
            change: change.told(),
            subscriber: Some(one.wanted.subscriber.id),
            error: error.clone(),
        };
        self.visitor.record.repaired(job.tenant, repair).await?;
        match (outcome, error) {
            (RepairOutcome::Unknown, Some(why)) => Err(Broken::router(why)),
            (RepairOutcome::Refused, why) => Ok(why),
            (RepairOutcome::Made | RepairOutcome::Found | RepairOutcome::Unknown, _) => Ok(None),
        }
    }

    /// Says how everybody stands after it.
    async fn settle(
        &self,
        look: &mut Look<'_>,
        steps: &[Step],
        held: &Held,
        refused: &BTreeMap<usize, String>,
    ) -> Result<RouterEnforcementState, Broken> {
        let at = now();
        let why_held = held.why.as_ref().map(ToString::to_string);
        let mut state = RouterEnforcementState::InForce;
        let mut error = None;
        let mut said = Vec::new();
        for (n, (one, step)) in look.all.iter().zip(steps).enumerate() {
            let mut stands = if held.which.contains(&n) {
                SubscriberEnforcement { error: why_held.clone(), ..one.stands(EnforcementState::Held, at) }
            } else if let Some(why) = refused.get(&n) {
                SubscriberEnforcement { error: Some(why.clone()), ..one.stands(EnforcementState::Failed, at) }
            } else if !step.not_ours.is_empty() {
                one.stands(EnforcementState::Partly, at)
            } else if step.is_empty() {
                one.stands(EnforcementState::InForce, at)
            } else {
                let strange = "the router shows something else than it was told".to_owned();
                SubscriberEnforcement { error: Some(strange), ..one.stands(EnforcementState::Failed, at) }
            };
            let not_ours: Vec<String> = step.not_ours.iter().map(ToString::to_string).collect();
            stands.not_ours = (!not_ours.is_empty()).then(|| brief(&not_ours.join("; ")));
            if stands.state == EnforcementState::Failed {
                state = RouterEnforcementState::Incomplete;
                error = error.or_else(|| stands.error.clone());
            }
            if one.is_news(&stands, at) {
                said.push((n, stands));
            }
        }
        if !held.which.is_empty() {
            state = RouterEnforcementState::Held;
            error = why_held;
        }
        self.say(look, state, held, error, said).await?;
        Ok(state)
    }

    async fn say_unreachable(&self, look: &mut Look<'_>, why: String) -> Result<(), Broken> {
        let at = now();
        let mut said = Vec::new();
        for (n, one) in look.all.iter().enumerate().filter(|(_, one)| one.is_here() && !one.is_settled()) {
            let waits = one.stands(EnforcementState::Waiting, at);
            let stands = SubscriberEnforcement { error: Some(why.clone()), ..waits };
            if one.is_news(&stands, at) {
                said.push((n, stands));
            }
        }
        self.say(look, RouterEnforcementState::Unreachable, &Held::default(), Some(why), said).await
    }

    /// Says how the router stands, and these subscribers there, if any of it is news.
    async fn say(
        &self,
        look: &mut Look<'_>,
        state: RouterEnforcementState,
        held: &Held,
        error: Option<String>,
        subscribers: Vec<(usize, SubscriberEnforcement)>,
    ) -> Result<(), Broken> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let before = look.standing.now.as_ref();
        let mut stands = RouterEnforcement {
            router: look.job.router,
            state,
            since: before.filter(|before| before.state == state).map_or_else(now, |before| before.since),
            entitled_count: count(look.all.len()),
            active_count: count(look.active_count),
            held_count: count(held.which.len()),
            held: held.plan,
            error,
        };
        if state == RouterEnforcementState::Unreachable
            && let Some(before) = before
        {
            stands.active_count = before.active_count;
        }
        // Sessions come and go: how many there are is no news.
        let is_same = before.is_some_and(|before| {
            *before == RouterEnforcement { active_count: before.active_count, ..stands.clone() }
        });
        if is_same && subscribers.is_empty() {
            return Ok(());
        }
        let (run, cause) = (look.run, look.job.cause);
        let after = look.standing.seq;
        let said: Vec<SubscriberSaid> = subscribers
            .iter()
            .map(|(_, stands)| {
                let what = format!("{} is {} after {after}", stands.node, stands.state.name());
                SubscriberSaid { now: stands.clone(), event: EventId::following(run, "reconciler", &what) }
            })
            .collect();
        let record = &self.visitor.record;
        record.enforced(look.job.tenant, &mut look.standing, stands, &said, (run, cause)).await?;
        for ((n, _), said) in subscribers.into_iter().zip(said) {
            look.all[n].was_said(said);
        }
        Ok(())
    }
}

fn services_of(all: &[One]) -> Vec<Service> {
    all.iter().map(One::service).collect()
}
