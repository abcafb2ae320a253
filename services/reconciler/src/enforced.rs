//! What is said of the enforcer's work, and whom it is about.
//!
//! A router's standing and those of its subscribers are said in one commit, which fails when another replica has
//! said anything of that router since it was read. Who a subscriber is at its router is read and opened when it is
//! needed, and kept nowhere.

use crate::record::{Record, RecordError};
use events::{
    Enforcement, EventId, Fact, NodeId, Noun, RouterEnforcement, Subject, SubscriberEnforcement, TenantId,
};
use futures::{StreamExt, TryStreamExt, stream};
use kit::PublishError;
use vault::{Person, TenantKeys};

/// How many persons are read at once.
const PERSONS_AT_ONCE: usize = 16;
/// How many standings are said in one commit.
const SAID_AT_ONCE: usize = 500;

/// How a router stands, as it was last said.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouterStanding {
    /// What was said.
    pub(crate) now: Option<RouterEnforcement>,
    /// Its place in the log; 0: nothing was said.
    pub(crate) seq: u64,
}

/// What is said of one subscriber, and what it follows from.
#[derive(Debug)]
pub(crate) struct SubscriberSaid {
    pub(crate) now: SubscriberEnforcement,
    /// The id that it is said under.
    pub(crate) event: EventId,
}

impl Record {
    /// How a router stands against what its subscribers are entitled to.
    pub(crate) async fn enforcement(
        &self,
        tenant: TenantId,
        router: NodeId,
    ) -> Result<RouterStanding, RecordError> {
        let subject = Subject::of(tenant, Noun::Enforcement, router.0).to_string();
        let Some(raw) = self.log.last(&subject).await? else { return Ok(RouterStanding::default()) };
        // What a newer program said is replaced by what we find.
        let now = match raw.decode().map(|heard| heard.fact) {
            Ok(Fact::Enforcement(Enforcement::Router(now))) => Some(now),
            Ok(_) | Err(_) => None,
        };
        Ok(RouterStanding { now, seq: raw.seq })
    }

    /// Says how a router and subscribers stand there. `cause`: what made somebody look.
    pub(crate) async fn enforced(
        &self,
        tenant: TenantId,
        standing: &mut RouterStanding,
        now: RouterEnforcement,
        subscribers: &[SubscriberSaid],
        (run, cause): (EventId, Option<EventId>),
    ) -> Result<(), RecordError> {
        let subject = Subject::of(tenant, Noun::Enforcement, now.router.0).to_string();
        let id = EventId::following(run, "reconciler", &format!("enforcement after {}", standing.seq));
        let router = self.out(tenant, id, cause, Fact::Enforcement(Enforcement::Router(now.clone())));
        let mut outs: Vec<_> = subscribers
            .iter()
            .map(|said| {
                let fact = Fact::Enforcement(Enforcement::Subscriber(said.now.clone()));
                self.out(tenant, said.event, Some(said.now.wanted), fact)
            })
            .collect();
        let more = outs.split_off(outs.len().min(SAID_AT_ONCE - 1));
        outs.push(router);
        let told = |error| match error {
            PublishError::Conflict { .. } => RecordError::Taken,
            other => RecordError::Publish(other),
        };
        let stored = self.log.commit(outs, Some((&subject, standing.seq))).await.map_err(told)?;
        *standing =
            RouterStanding { now: Some(now), seq: stored.last().map_or(standing.seq, |last| last.seq) };
        let mut more = more.into_iter().peekable();
        while more.peek().is_some() {
            let some = more.by_ref().take(SAID_AT_ONCE).collect();
            self.log.commit(some, Some((&subject, standing.seq))).await.map_err(told)?;
        }
        Ok(())
    }

    /// Who these subscribers are; nothing of whom nothing is known, or is known any more.
    pub(crate) async fn persons(
        &self,
        tenant: TenantId,
        nodes: Vec<NodeId>,
        keys: &TenantKeys,
    ) -> Result<Vec<Option<Person>>, RecordError> {
        let read = |node: NodeId| async move {
            let Some(sealed) = self.log.person(tenant, node).await? else { return Ok(None) };
            Ok::<_, RecordError>(match keys.open_person(node, &sealed) {
                Ok(person) => Some(person),
                Err(error) => {
                    tracing::warn!(subscriber = %node, %error, "what is kept of a person cannot be opened");
                    None
                }
            })
        };
        let persons: Vec<_> =
            stream::iter(nodes).map(read).buffered(PERSONS_AT_ONCE).try_collect::<Vec<_>>().await?;
        self.figures.persons.inc_by(persons.iter().flatten().count() as u64);
        Ok(persons)
    }
}
