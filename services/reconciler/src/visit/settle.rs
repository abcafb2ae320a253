//! Making a router as it is desired, if that is allowed.
//!
//! What differs is announced before it is made and recorded after it, and the router is read again until nothing
//! differs. A change that was made by somebody who ended before recording it is recorded as found.

use super::{Broken, Job, Visitor, brief, chain};
use crate::{record::Standing, router};
use domain::plan::{Change, Snitches, plan};
use events::{EventId, Plan, PlanState, Repair, RepairOutcome, RouterChange};
use routeros_api::{CallError, Router, RouterError};
use std::collections::BTreeSet;

/// The most that announced changes take in an event, bytes.
const ANNOUNCED_BYTES_MAX: usize = 40 * 1024;
/// In how many pieces a plan is made at most; what is left is made at the next look.
const PIECES_MAX: usize = 100;
/// The most obstacles that are told.
const OBSTACLES_MAX: usize = 50;
/// How the finding begins that a test of what was installed did not succeed.
const NOT_ARRIVED: &str = "a push that was tried did not arrive";

impl Visitor {
    /// Makes the router as it is desired, piece by piece, if that is allowed; says how it stands.
    pub(super) async fn settle(
        &self,
        job: &Job,
        run: EventId,
        router: &Router,
        (snitches, file_id): (&Snitches, &str),
        told: Plan,
        standing: &mut Standing,
    ) -> Result<(), Broken> {
        let (tenant, within) = (job.tenant, self.config.command_within());
        let ordered = job.cause.is_some();
        let desired = &snitches.desired();
        let mut left = usize::MAX;
        let mut refused: Option<String> = None;
        for _ in 0..PIECES_MAX {
            self.goes_on(job.router)?;
            let actual = router::read(router, desired.menus(), within).await?;
            let planned = plan(&actual, desired)?;
            let announced = planned.announced(ANNOUNCED_BYTES_MAX);
            self.find_begun(job, standing, &announced).await?;
            let mut now_planned = Plan {
                obstacles: planned
                    .obstacles
                    .iter()
                    .take(OBSTACLES_MAX)
                    .map(|o| brief(&o.to_string()))
                    .collect(),
                change_count: u32::try_from(planned.changes.len()).unwrap_or(u32::MAX),
                changes: announced.clone(),
                ..told.clone()
            };
            let state = if planned.is_empty() {
                PlanState::AsDesired
            } else if !(told.managed && job.writes) {
                PlanState::Proposed
            } else if refused.is_some() || planned.changes.len() >= left {
                PlanState::Incomplete
            } else {
                PlanState::Begun
            };
            // What was just installed is tried; what was found wrong then stands until it is tried again.
            let is_tried = told.managed && (left < usize::MAX || (ordered && job.writes));
            if state == PlanState::AsDesired && is_tried {
                now_planned.findings.extend(self.test_fire(router, snitches, file_id).await?);
            } else if let Some(before) = &standing.plan {
                let old = before.findings.iter().filter(|finding| finding.starts_with(NOT_ARRIVED));
                now_planned.findings.extend(old.cloned());
            }
            if state != PlanState::Begun {
                let strange = || "the router shows something else than it was told".to_owned();
                let error = (state == PlanState::Incomplete).then(|| refused.unwrap_or_else(strange));
                let plan = Plan { state, error, ..now_planned };
                self.record.stands(tenant, standing, plan, (run, job.cause, ordered)).await?;
                return Ok(());
            }
            left = planned.changes.len();
            let begun = Plan { state, ..now_planned };
            self.record.stands(tenant, standing, begun.clone(), (run, job.cause, true)).await?;
            let why = self.make(job, router, (&planned.changes, announced), standing.event, begun).await?;
            refused = refused.or(why);
        }
        Ok(())
    }

    /// Makes the changes that were announced by the event `plan`, one by one, and records each. Gives why the first was
    /// refused, if one was.
    async fn make(
        &self,
        job: &Job,
        router: &Router,
        (changes, announced): (&[Change], Vec<RouterChange>),
        plan: EventId,
        begun: Plan,
    ) -> Result<Option<String>, Broken> {
        let mut refused = None;
        for (number, (change, told)) in (0..).zip(changes.iter().zip(announced)) {
            self.goes_on(job.router)?;
            let made = router::make(router, change, self.config.command_within()).await;
            let (outcome, error) = match &made {
                Ok(()) => (RepairOutcome::Made, None),
                Err(RouterError::Call(CallError::Trap(trap))) => {
                    (RepairOutcome::Refused, Some(brief(&trap.to_string())))
                }
                Err(error) => (RepairOutcome::Unknown, Some(chain(error))),
            };
            let repair = Repair {
                router: job.router,
                outcome,
                plan,
                number,
                change: told,
                subscriber: None,
                error: error.clone(),
            };
            self.record.repaired(job.tenant, repair).await?;
            match (outcome, error) {
                (RepairOutcome::Refused, why) => refused = refused.or(why),
                (RepairOutcome::Unknown, Some(why)) => {
                    let plan = Plan { state: PlanState::Incomplete, error: Some(why.clone()), ..begun };
                    let incomplete = Some(Box::new(plan));
                    return Err(Broken::Router {
                        why,
                        is_rejected: false,
                        certificate_shown: None,
                        incomplete,
                    });
                }
                (RepairOutcome::Made | RepairOutcome::Found | RepairOutcome::Unknown, _) => {}
            }
        }
        Ok(refused)
    }

    /// Has the router push once; why that did not arrive, if it did not.
    async fn test_fire(
        &self,
        router: &Router,
        snitches: &Snitches,
        file_id: &str,
    ) -> Result<Option<String>, Broken> {
        match router::test_fire(router, &snitches.pusher, file_id, self.config.command_within()).await {
            Ok(()) => Ok(None),
            Err(RouterError::Call(CallError::Trap(trap))) => {
                let why = brief(&trap.to_string());
                Ok(Some(format!("{NOT_ARRIVED} at {}: {why}", snitches.pusher.url)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records what somebody had begun, who ended before saying how it went: of the changes that he announced
    /// those that are not needed any more.
    async fn find_begun(
        &self,
        job: &Job,
        standing: &Standing,
        needed: &[RouterChange],
    ) -> Result<(), Broken> {
        let Some(begun) = standing.plan.as_ref().filter(|plan| plan.state == PlanState::Begun) else {
            return Ok(());
        };
        let settled: BTreeSet<u32> = self.record.settled(job.tenant, job.router, standing).await?;
        let unsettled = (0..).zip(&begun.changes).filter(|(number, _)| !settled.contains(number));
        for (number, change) in unsettled.filter(|(_, change)| !needed.contains(change)) {
            let repair = Repair {
                router: job.router,
                outcome: RepairOutcome::Found,
                plan: standing.event,
                number,
                change: change.clone(),
                subscriber: None,
                error: None,
            };
            self.record.repaired(job.tenant, repair).await?;
        }
        Ok(())
    }
}
