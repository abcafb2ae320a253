//! What is said of routers: how they stand, what was changed, and what nobody had heard of.
//!
//! How a router stands is said only when it is other than before, and by compare-and-set: of two replicas
//! that both believe a router to be theirs one is refused, and leaves it alone.

use crate::{
    book::SaidDevice,
    figures::{Figures, RepairEnded},
};
use domain::reporter::{Child, Difference};
use events::{
    About, EventId, Fact, Flag, Health, HealthKind, Node, NodeId, Noun, Plan, Repair, Say, Scan, SeenDevice,
    Sighting, SightingId, Signal, SignalSource, Subject, SuspicionKind, TenantId, Time,
};
use futures::{StreamExt, TryStreamExt, stream};
use kit::{Filter, From, Log, LogError, Outgoing, PublishError};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long storing something is tried.
const SAY_WITHIN: Duration = Duration::from_secs(30);
/// How many beliefs are read at once.
const READS_AT_ONCE: usize = 16;
/// How many claims are said in one commit.
const SAID_AT_ONCE: usize = 500;

/// Why something is not known or was not said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Somebody else works on that router.
    #[error("another replica works on this router")]
    Taken,
    /// The log does not store it.
    #[error("saying what became of a router")]
    Publish(#[source] PublishError),
    /// The log cannot be read.
    #[error("reading what was said of a router")]
    Read(#[from] LogError),
}

/// How a router stands, as it was last said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// What was said.
    pub(crate) plan: Option<Plan>,
    /// The event that said it.
    pub(crate) event: EventId,
    /// Its place in the log; 0: nothing was said.
    pub(crate) seq: u64,
}

/// Says things of routers, and reads what was said.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) log: Log,
    source: Arc<str>,
    pub(crate) figures: Figures,
}

impl Record {
    pub(crate) fn new(log: &Log, figures: Figures) -> Self {
        let source = format!("reconciler/{}", log.config().pop).into();
        Self { log: log.within(SAY_WITHIN), source, figures }
    }

    /// How a router stands.
    pub(crate) async fn standing(&self, tenant: TenantId, router: NodeId) -> Result<Standing, RecordError> {
        let Some(raw) = self.log.last(&Subject::of(tenant, Noun::Plan, router.0).to_string()).await? else {
            return Ok(Standing::default());
        };
        let heard = raw.decode();
        // What a newer program said is replaced by what we find.
        let plan = heard.as_ref().ok().and_then(|heard| match &heard.fact {
            Fact::Plan(plan) => Some(plan.clone()),
            _ => None,
        });
        Ok(Standing { plan, event: heard.map(|heard| heard.id).unwrap_or_default(), seq: raw.seq })
    }

    /// Says how a router stands, if that is news or `always`. `cause`: the order it follows from.
    pub(crate) async fn stands(
        &self,
        tenant: TenantId,
        standing: &mut Standing,
        mut plan: Plan,
        (run, cause, always): (EventId, Option<EventId>, bool),
    ) -> Result<(), RecordError> {
        if let Some(before) = &standing.plan {
            if before.state == plan.state {
                plan.since = before.since;
            }
            if *before == plan && !always {
                return Ok(());
            }
        }
        let id = EventId::following(run, "reconciler", &format!("plan after {}", standing.seq));
        let out = self.out(tenant, id, cause, Fact::Plan(plan.clone()));
        let stored = self.log.publish_if(out, standing.seq).await.map_err(|error| match error {
            PublishError::Conflict { .. } => RecordError::Taken,
            other => RecordError::Publish(other),
        })?;
        *standing = Standing { plan: Some(plan), event: id, seq: stored.seq };
        Ok(())
    }

    /// Says what became of one change; the same of the same once.
    pub(crate) async fn repaired(&self, tenant: TenantId, repair: Repair) -> Result<(), RecordError> {
        self.figures.repairs.get_or_create(&RepairEnded { outcome: repair.outcome.name() }).inc();
        let what = format!("{} {}", repair.outcome.name(), repair.number);
        let id = EventId::following(repair.plan, "reconciler", &what);
        let out = self.out(tenant, id, Some(repair.plan), Fact::Repair(repair));
        self.log.publish(out).await.map(|_| ()).map_err(RecordError::Publish)
    }

    /// The numbers of the changes of the plan that was said at `standing` of which it is known what became.
    pub(crate) async fn settled(
        &self,
        tenant: TenantId,
        router: NodeId,
        standing: &Standing,
    ) -> Result<BTreeSet<u32>, RecordError> {
        let filter = Filter::noun(Noun::Repair).tenant(tenant).exactly(router.to_string());
        let end = self.log.state().await?.last_seq;
        let mut reader = self.log.read(&[filter], From::Seq(standing.seq), Some(end));
        let mut settled = BTreeSet::new();
        while let Some(raw) = reader.next().await? {
            if let Ok(Fact::Repair(repair)) = raw.decode().map(|heard| heard.fact)
                && repair.plan == standing.event
                && repair.outcome != events::RepairOutcome::Unknown
            {
                settled.insert(repair.number);
            }
        }
        Ok(settled)
    }

    /// Whether a claim against a node is being checked: a word of its health after it would have ended that.
    async fn is_suspect(&self, tenant: TenantId, node: NodeId, health_seq: u64) -> Result<bool, RecordError> {
        let raw = self.log.last(&Subject::of(tenant, Noun::Suspicion, node.0).to_string()).await?;
        let Some(raw) = raw.filter(|raw| raw.seq > health_seq) else { return Ok(false) };
        let fact = raw.decode().map(|heard| heard.fact);
        Ok(matches!(fact, Ok(Fact::Suspicion(said)) if said.kind != SuspicionKind::Settled))
    }

    /// Those whom a router sees, with what is believed of them now.
    pub(crate) async fn believed(
        &self,
        tenant: TenantId,
        children: &[Arc<Node>],
    ) -> Result<Vec<Child>, RecordError> {
        let believed = |node: Arc<Node>| async move {
            let raw = self.log.last(&Subject::of(tenant, Noun::Health, node.id.0).to_string()).await?;
            let health_seq = raw.as_ref().map_or(0, |raw| raw.seq);
            let said = raw.and_then(|raw| match raw.decode().map(|heard| heard.fact) {
                Ok(Fact::Health(said)) if said.kind != HealthKind::Retired => Some(said.now),
                Ok(_) | Err(_) => None,
            });
            let is_recovering = said.as_ref().is_some_and(|now| now.flags.contains(&Flag::Recovering));
            let is_pending = is_recovering || self.is_suspect(tenant, node.id, health_seq).await?;
            Ok::<_, RecordError>(Child {
                node: node.id,
                file_id: node.file_id.clone(),
                address: node.address,
                keys: node.claims.clone(),
                health: said.map(|now| -> Health { now.health }),
                is_pending,
            })
        };
        stream::iter(children.iter().cloned()).map(believed).buffered(READS_AT_ONCE).try_collect().await
    }

    /// Claims what a router knows and nobody has heard of.
    pub(crate) async fn claims(
        &self,
        tenant: TenantId,
        router: NodeId,
        differences: &[Difference],
        (run, cause): (EventId, Option<EventId>),
    ) -> Result<(), RecordError> {
        for some in differences.chunks(SAID_AT_ONCE) {
            let outs = some.iter().map(|difference| {
                let signal = Signal {
                    about: About::Node(difference.node),
                    says: difference.says,
                    source: SignalSource::Reconcile,
                    sender: Some(router),
                    boot: None,
                    seq: None,
                    sealed_name: None,
                    detail: Some(if difference.by_session { "session".into() } else { "netwatch".into() }),
                };
                let id = EventId::following(run, "reconciler", &format!("claim {}", difference.node));
                self.out(tenant, id, cause, Fact::Signal(signal))
            });
            self.log.publish_all(outs.collect()).await.map_err(RecordError::Publish)?;
        }
        self.figures.differences.inc_by(differences.len() as u64);
        Ok(())
    }

    /// Says how a device stands, if what was last said of it lies at `last_seq`; gives the new place.
    pub(crate) async fn sighted(
        &self,
        tenant: TenantId,
        device: SeenDevice,
        last_seq: u64,
        (run, cause): (EventId, Option<EventId>),
    ) -> Result<u64, RecordError> {
        let id = EventId::following(run, "reconciler", &format!("device {} after {last_seq}", device.id));
        let out = self.out(tenant, id, cause, Fact::Sighting(Sighting::Device(device)));
        match self.log.publish_if(out, last_seq).await {
            Ok(stored) => Ok(stored.seq),
            Err(PublishError::Conflict { .. }) => Err(RecordError::Taken),
            Err(error) => Err(RecordError::Publish(error)),
        }
    }

    /// What was last said of a device.
    pub(crate) async fn last_sighted(
        &self,
        tenant: TenantId,
        id: SightingId,
    ) -> Result<Option<SaidDevice>, RecordError> {
        let subject = Subject::new(tenant, Noun::Sighting, Sighting::device_key(id));
        let subject = subject.expect("a key of ours holds token characters alone").to_string();
        let Some(raw) = self.log.last(&subject).await? else { return Ok(None) };
        let Ok(said) = raw.decode() else { return Ok(None) };
        let (seq, heard) = (said.seq, said.heard);
        Ok(match said.fact {
            Fact::Sighting(Sighting::Device(device)) => {
                Some(SaidDevice { device: Arc::new(device), seq, heard })
            }
            _ => None,
        })
    }

    /// Says how a scan went: after everything that was seen in it.
    pub(crate) async fn scanned(
        &self,
        tenant: TenantId,
        scan: Scan,
        (run, cause): (EventId, Option<EventId>),
    ) -> Result<(), RecordError> {
        let id = EventId::following(run, "reconciler", "scan");
        let out = self.out(tenant, id, cause, Fact::Sighting(Sighting::Scan(scan)));
        self.log.publish(out).await.map(|_| ()).map_err(RecordError::Publish)
    }

    pub(crate) fn out(&self, tenant: TenantId, id: EventId, cause: Option<EventId>, fact: Fact) -> Outgoing {
        Outgoing::new(Say { id, tenant, at: now(), cause, fact }, Arc::clone(&self.source))
    }
}

/// The time by this host's clock. What a keeper does is no decision.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
