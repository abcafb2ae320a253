//! Routers: one session for everybody, few questions at once, and what a failure means.
//!
//! What is asked goes over the router's one standing session. Only a later try of a probe opens a
//! connection of its own, when the standing one says nothing or there is none: a session that hangs must not
//! pass for a router that does. Of a router's places one is kept for its heartbeat, so that asks about its
//! children never hold that up.
//!
//! A login that was rejected is not repeated for asks for a while: it would fill the router's log.

use crate::{dial::has_route, roll::Told, room::Room, tables::SessionsRead};
use events::NodeId;
use routeros_api::{
    CallError, ConnectError, Policy, Pool, Question, Router, RouterError, Session, Target,
    question::{AskError, Identity},
    session::Lost,
};
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Connections of their own that later tries may have open at once, for each router.
const FRESH_MAX: usize = 2;

/// For how long a rejected login is not repeated for asks.
const REJECTED_REST: Duration = Duration::from_secs(300);

/// The longest time for which a router that fails is left alone by what is done by turns: a static subscriber behind it is
/// heard of that much later when it is back.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Which try goes which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over the session that everybody shares.
    Standing,
    /// Over a connection of its own.
    Fresh,
    /// Over the session that everybody shares, or not at all while the router is left alone: what is done by turns.
    ByTurns,
}

/// What it means that a router has not answered a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing came.
    Silent,
    /// It is alive and does not let us in, or ended the conversation.
    Refused(String),
    /// It is alive and does not do what was asked.
    Trap {
        /// Its words.
        why: String,
        /// It does not know such a command.
        unknown: bool,
    },
    /// A fault on our side, or an answer that makes no sense: no word about the router's being alive.
    Cannot(String),
}

impl Trouble {
    /// For people.
    pub(crate) fn why(self) -> String {
        match self {
            Trouble::Silent => "the router did not answer".into(),
            Trouble::Refused(why) => format!("the router does not let us in: {why}"),
            Trouble::Trap { why, .. } => format!("the router refuses: {why}"),
            Trouble::Cannot(why) => why,
        }
    }
}

/// What belongs to one router, whatever its address and login are now.
#[derive(Debug)]
pub(crate) struct Places {
    /// Probes and questions for asks.
    pub(crate) asks: Room,
    /// The heartbeat.
    pub(crate) watch: Room,
    /// The last reading of its session tables.
    pub(crate) sessions: tokio::sync::Mutex<Option<SessionsRead>>,
    /// What was said of it in its last roll call.
    pub(crate) told: tokio::sync::Mutex<Option<Told>>,
    fresh: Room,
    rejected: Mutex<Option<(Instant, Target, String)>>,
}

/// Every router that is spoken to.
#[derive(Debug)]
pub(crate) struct Routers {
    pool: Pool<NodeId>,
    places: Mutex<HashMap<NodeId, Arc<Places>>>,
    places_each: usize,
    counted: Mutex<HashMap<NodeId, u64>>,
    logins: AtomicU64,
    fresh_logins: Arc<AtomicU64>,
}

/// Sessions with routers at one moment, and logins since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    /// Routers that are spoken to.
    pub(crate) routers: usize,
    /// Those with a session that is not known to be lost.
    pub(crate) connected: usize,
    /// Those whose circuit is not closed.
    pub(crate) open: usize,
    /// Logins for shared sessions.
    pub(crate) logins: u64,
    /// Logins for later tries.
    pub(crate) fresh_logins: u64,
}

impl Routers {
    /// None yet. Each may be asked `places_each` things at once.
    pub(crate) fn new(places_each: usize) -> Self {
        Self {
            pool: Pool::new(Policy { wait_max: WAIT_MAX, rejected_wait: REJECTED_REST, ..Policy::default() }),
            places: Mutex::default(),
            places_each: places_each.max(2),
            counted: Mutex::default(),
            logins: AtomicU64::new(0),
            fresh_logins: Arc::default(),
        }
    }

    /// The way to a router. A session under another address or login than `target` is closed.
    pub(crate) fn line(&self, router: NodeId, mut target: Target) -> Line {
        target.options.in_flight_max = self.places_each;
        let shared = self.pool.router(router, &target);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let places = places.entry(router).or_insert_with(|| {
            Arc::new(Places {
                asks: Room::new(self.places_each - 1),
                watch: Room::new(1),
                sessions: tokio::sync::Mutex::default(),
                told: tokio::sync::Mutex::default(),
                fresh: Room::new(FRESH_MAX),
                rejected: Mutex::default(),
            })
        });
        Line {
            router: shared,
            target,
            places: Arc::clone(places),
            fresh_logins: Arc::clone(&self.fresh_logins),
        }
    }

    /// Ends the sessions of routers that are not `wanted` any more.
    pub(crate) fn retain(&self, mut wanted: impl FnMut(NodeId) -> bool) {
        self.census_of(|_| false);
        self.pool.retain(|router| wanted(*router));
        self.places.lock().unwrap_or_else(PoisonError::into_inner).retain(|router, _| wanted(*router));
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).retain(|router, _| wanted(*router));
    }

    /// How many there are, and how often we have logged in.
    pub(crate) fn census(&self) -> Census {
        let connected = self.census_of(|router| router.standing().is_connected);
        Census {
            routers: self.pool.len(),
            connected,
            open: self.pool.open_count(),
            logins: self.logins.load(Ordering::Relaxed),
            fresh_logins: self.fresh_logins.load(Ordering::Relaxed),
        }
    }

    /// Counts routers, and takes their logins into the sum before they are forgotten.
    fn census_of(&self, is: impl Fn(&Router) -> bool) -> usize {
        let routers: Vec<NodeId> =
            self.places.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = 0;
        for id in routers {
            let Some(router) = self.pool.get(&id) else { continue };
            found += usize::from(is(&router));
            let now = router.standing().logins_count;
            let before = counted.insert(id, now).unwrap_or(0);
            // Less than before: it was begun anew.
            let more = if now >= before { now - before } else { now };
            self.logins.fetch_add(more, Ordering::Relaxed);
        }
        found
    }
}

/// The way to one router.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    router: Router,
    target: Target,
    places: Arc<Places>,
    fresh_logins: Arc<AtomicU64>,
}

impl Line {
    /// Its places.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Which way try `n` (from 0) of a probe goes, when the router has or has not answered within it.
    pub(crate) fn way(&self, n: usize, has_answered: bool) -> Way {
        match n {
            0 => Way::Standing,
            _ if has_answered => Way::Standing,
            1 if self.router.standing().is_connected => Way::Standing,
            _ => Way::Fresh,
        }
    }

    /// Whether the last login was rejected lately: the router's words.
    pub(crate) fn is_rejected(&self) -> Option<String> {
        let rejected = self.places.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, target, why) = rejected.as_ref()?;
        (at.elapsed() < REJECTED_REST && *target == self.target).then(|| why.clone())
    }

    /// Whether the router has failed several times in a row and is not tried before its time: what is done by turns leaves
    /// it alone meanwhile. Asks and heartbeats do not: they are to find out about now.
    pub(crate) fn is_resting(&self) -> bool {
        self.router.is_resting()
    }

    /// Asks, connecting included, `within` that time in all.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: what the failure means.
    pub(crate) async fn ask<Q: Question>(
        &self,
        question: &Q,
        within: Duration,
        way: Way,
    ) -> Result<Q::Answer, Trouble> {
        match way {
            Way::Standing => self.ask_standing(question, within).await,
            Way::ByTurns => self.router.ask(question, within).await.map_err(|error| self.read(&error)),
            Way::Fresh => match self.places.fresh.place_now() {
                Some(_place) => self.ask_fresh(question, within).await,
                None => self.ask_standing(question, within).await,
            },
        }
    }

    /// Whether the router serves its API: over the standing session one short question, or else a login.
    ///
    /// # Errors
    ///
    /// [`Trouble`]; not [`Trouble::Trap`], which is an answer.
    pub(crate) async fn knock(&self, within: Duration, way: Way) -> Result<(), Trouble> {
        match way {
            Way::Standing => self.knock_standing(within).await,
            Way::Fresh | Way::ByTurns => match self.ask(&Identity, within, way).await {
                Ok(_) | Err(Trouble::Trap { .. }) => Ok(()),
                Err(trouble) => Err(trouble),
            },
        }
    }

    async fn knock_standing(&self, within: Duration) -> Result<(), Trouble> {
        self.router.knock(within).await.map(|_| ()).map_err(|error| self.read(&error))
    }

    async fn ask_standing<Q: Question>(&self, question: &Q, within: Duration) -> Result<Q::Answer, Trouble> {
        let by = Instant::now() + within;
        if !self.router.standing().is_connected {
            // A pool that rests after failures answers for the past; evidence is about now.
            self.knock_standing(within).await?;
        }
        let left = by.saturating_duration_since(Instant::now());
        self.router.ask(question, left).await.map_err(|error| self.read(&error))
    }

    async fn ask_fresh<Q: Question>(&self, question: &Q, within: Duration) -> Result<Q::Answer, Trouble> {
        let by = Instant::now() + within;
        let Target { address, source, credentials, options } = &self.target;
        let options = routeros_api::Options { connect_within: within, ..options.clone() };
        let session = Session::connect(*address, *source, credentials, &options)
            .await
            .map_err(|error| self.note_rejection(&error))?;
        self.fresh_logins.fetch_add(1, Ordering::Relaxed);
        let left = by.saturating_duration_since(Instant::now());
        session.ask(question, left).await.map_err(|error| match error {
            AskError::Call(error) => of_call(&error),
            AskError::Unreadable(error) => Trouble::Cannot(format!("reading the router's answer: {error}")),
        })
    }

    fn read(&self, error: &RouterError) -> Trouble {
        match error {
            RouterError::Connect(error) => self.note_rejection(error),
            RouterError::NotTried { .. } | RouterError::Closed => Trouble::Cannot(error.to_string()),
            RouterError::StillConnecting { .. } => Trouble::Silent,
            RouterError::Call(error) => of_call(error),
            RouterError::Unreadable(error) => {
                Trouble::Cannot(format!("reading the router's answer: {error}"))
            }
        }
    }

    fn note_rejection(&self, error: &ConnectError) -> Trouble {
        let trouble = of_connect(error, self.target.address.ip());
        if let (ConnectError::LoginRejected { .. }, Trouble::Refused(why)) = (error, &trouble) {
            tracing::warn!(address = %self.target.address, why, "a router rejects our login");
            let noted = (Instant::now(), self.target.clone(), why.clone());
            *self.places.rejected.lock().unwrap_or_else(PoisonError::into_inner) = Some(noted);
        }
        trouble
    }
}

fn of_call(error: &CallError) -> Trouble {
    match error {
        CallError::Trap(trap) => Trouble::Trap { why: trap.to_string(), unknown: trap.is_no_such_command() },
        CallError::TimedOut { .. } => Trouble::Silent,
        CallError::Busy { .. } | CallError::TooMuch { .. } => Trouble::Cannot(error.to_string()),
        CallError::Lost { why, .. } => match why {
            Lost::Closed | Lost::Fatal { .. } | Lost::Protocol(_) => Trouble::Refused(why.to_string()),
            Lost::Silent | Lost::Broken { .. } => Trouble::Silent,
            Lost::Released => Trouble::Cannot(why.to_string()),
        },
    }
}

fn of_connect(error: &ConnectError, address: std::net::IpAddr) -> Trouble {
    match error {
        ConnectError::Refused
        | ConnectError::Closed
        | ConnectError::Fatal { .. }
        | ConnectError::Certificate(_)
        | ConnectError::Tls { .. }
        | ConnectError::LoginRejected { .. }
        | ConnectError::Protocol(_) => Trouble::Refused(error.to_string()),
        ConnectError::TimedOut { .. } | ConnectError::Silent { .. } => Trouble::Silent,
        ConnectError::Unreachable { source }
            if source.kind() == io::ErrorKind::NetworkUnreachable && !has_route(address) =>
        {
            Trouble::Cannot(format!("no route to {address}"))
        }
        ConnectError::Unreachable { .. } => Trouble::Silent,
        ConnectError::Ours { source } => Trouble::Cannot(format!("{error}: {source}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_sign_of_life_and_a_timeout_is_not() {
        let here = std::net::Ipv4Addr::LOCALHOST.into();
        assert!(matches!(of_connect(&ConnectError::Refused, here), Trouble::Refused(_)));
        let rejected = ConnectError::LoginRejected { message: "no".into() };
        assert!(matches!(of_connect(&rejected, here), Trouble::Refused(_)));
        let late = ConnectError::TimedOut { after: Duration::from_secs(2) };
        assert_eq!(of_connect(&late, here), Trouble::Silent);
        let no_way = ConnectError::Unreachable { source: io::ErrorKind::HostUnreachable.into() };
        assert_eq!(of_connect(&no_way, here), Trouble::Silent);
        let ours = ConnectError::Ours { source: io::ErrorKind::AddrNotAvailable.into() };
        assert!(matches!(of_connect(&ours, here), Trouble::Cannot(_)));
    }

    #[test]
    fn what_was_not_sent_says_nothing_about_the_router() {
        let busy = CallError::Busy { after: Duration::from_secs(1) };
        assert!(matches!(of_call(&busy), Trouble::Cannot(_)));
        let cut = CallError::Lost { why: Lost::Silent, sent: true };
        assert_eq!(of_call(&cut), Trouble::Silent);
    }
}
