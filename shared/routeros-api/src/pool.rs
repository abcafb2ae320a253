//! One session per router, kept and renewed, however many ask.
//!
//! A [`Router`] connects when something is first asked, shares the session among all who ask, and
//! connects again when it was lost. However many wait, one attempt is made for all of them. After a
//! failure the next attempt waits, longer each time; after several the router's [circuit](Circuit) is
//! open: those who ask are told so at once instead of waiting, and told that nothing was tried, because
//! an old failure is no evidence about now. Whoever needs evidence [knocks](Router::knock).

mod breaker;
mod policy;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::command::{Command, Reply};
use crate::login::Credentials;
use crate::question::{Identity, Question, Unreadable};
use crate::session::{CallError, ConnectError, Lost, Options, Rows, Session, after};

pub use self::breaker::Circuit;
use self::breaker::{Breaker, Entry, Failure};
pub use self::policy::Policy;

/// Where a router is and how it is entered.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The API's address and port.
    pub address: SocketAddr,
    /// The address of ours to connect from.
    pub source: Option<SocketAddr>,
    /// Who we are there.
    pub credentials: Credentials,
    /// How its session behaves.
    pub options: Options,
}

/// What last went wrong with a router.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Setback {
    /// Connecting failed.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// A session ended soon after it began.
    #[error(transparent)]
    Lost(Lost),
}

/// Why a router has not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RouterError {
    /// An attempt to connect, made while this was asked, failed.
    #[error("connecting")]
    Connect(#[source] Arc<ConnectError>),
    /// Nothing was tried: the last failures are too recent. It says nothing about now.
    #[error("not tried, the next attempt is due in {retry_in:?}")]
    NotTried {
        /// When an attempt will be made again, if someone asks.
        retry_in: Duration,
        /// What went wrong last.
        #[source]
        why: Setback,
    },
    /// The attempt to connect was still going on when the time given was over.
    #[error("still connecting after {after:?}")]
    StillConnecting {
        /// The time given.
        after: Duration,
    },
    /// There was a session, and the command failed.
    #[error(transparent)]
    Call(CallError),
    /// The reply does not hold what was asked for.
    #[error(transparent)]
    Unreadable(Unreadable),
    /// We have closed this router's session for good.
    #[error("this router is not spoken to any more")]
    Closed,
}

/// What is known of a router's session at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether there is a session that is not known to be lost.
    pub is_connected: bool,
    /// Whether it is tried.
    pub circuit: Circuit,
    /// Logins that succeeded since this was made.
    pub logins_count: u64,
    /// Attempts to connect since this was made.
    pub attempts_count: u64,
    /// Failures since the last good session.
    pub failures_count: u32,
    /// Commands that the router works on.
    pub in_flight_count: usize,
}

/// A router that can be asked at any time. Cheap to clone; the session ends with the last clone.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    policy: Policy,
    logins_count: AtomicU64,
    attempts_count: AtomicU64,
    door: Mutex<Door>,
}

struct Door {
    state: State,
    breaker: Breaker,
    /// What went wrong last.
    setback: Option<Setback>,
}

/// How an attempt ended, once it has.
type Outcome = Option<Result<Session, Arc<ConnectError>>>;

enum State {
    /// There is no session, and none is being made.
    Idle,
    /// One attempt is under way, for all who wait.
    Connecting(watch::Receiver<Outcome>),
    Connected {
        session: Session,
        since: Instant,
    },
    Closed,
}

/// What someone who needs a session does next.
enum Step {
    Use(Session),
    Await(watch::Receiver<Outcome>),
    Pause(Instant),
    Refuse(RouterError),
}

impl Router {
    /// A router that has not been connected to yet.
    pub fn new(target: Target, policy: Policy) -> Self {
        let door = Mutex::new(Door { state: State::Idle, breaker: Breaker::new(), setback: None });
        let (logins_count, attempts_count) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { inner: Arc::new(Inner { target, policy, logins_count, attempts_count, door }) }
    }

    /// Where it is and how it is entered.
    pub fn target(&self) -> &Target {
        &self.inner.target
    }

    /// Asks, and waits for the whole answer, `within` that time in all, connecting included.
    ///
    /// When the session breaks in between, a [repeatable](Command::is_repeatable) command, or one
    /// that was never sent, is asked once more.
    ///
    /// # Errors
    ///
    /// [`RouterError`], which tells whether anything was tried.
    pub async fn call(&self, command: &Command, within: Duration) -> Result<Reply, RouterError> {
        let by = after(within);
        let mut again = true;
        loop {
            let session = self.session(by, within, false).await?;
            match session.call(command, by.saturating_duration_since(Instant::now())).await {
                Err(CallError::Lost { sent, .. }) if again && (!sent || command.is_repeatable()) => {
                    again = false;
                }
                Err(error) => return Err(RouterError::Call(error)),
                Ok(reply) => return Ok(reply),
            }
        }
    }

    /// Asks, and hands out the rows as they come. Nothing is repeated.
    ///
    /// # Errors
    ///
    /// [`RouterError`]; what goes wrong later comes in place of a row.
    pub async fn stream(&self, command: &Command, within: Duration) -> Result<Rows, RouterError> {
        let by = after(within);
        let session = self.session(by, within, false).await?;
        let left = by.saturating_duration_since(Instant::now());
        session.stream(command, left).await.map_err(RouterError::Call)
    }

    /// Asks what never ends by itself; see [`Session::listen`]. It ends with the session.
    ///
    /// # Errors
    ///
    /// [`RouterError`] when it cannot be begun `within` that time.
    pub async fn listen(&self, command: &Command, within: Duration) -> Result<Rows, RouterError> {
        let session = self.session(after(within), within, false).await?;
        session.listen(command).await.map_err(RouterError::Call)
    }

    /// Asks a question and reads the answer, `within` that time in all.
    ///
    /// # Errors
    ///
    /// [`RouterError`], as [`Router::call`] or when the reply cannot be read.
    pub async fn ask<Q: Question>(&self, question: &Q, within: Duration) -> Result<Q::Answer, RouterError> {
        let by = after(within);
        let reply = match self.call(&question.command(), within).await {
            Err(RouterError::Call(CallError::Trap(trap))) => match question.otherwise(&trap) {
                Some(command) => self.call(&command, by.saturating_duration_since(Instant::now())).await,
                None => Err(RouterError::Call(CallError::Trap(trap))),
            },
            reply => reply,
        };
        question.read(&reply?).map_err(RouterError::Unreadable)
    }

    /// Finds out now whether the router serves its API, and returns how long that took.
    ///
    /// Over the standing session, or else by a fresh attempt, whatever failed before. A router that
    /// refuses the question has answered it. Let [`Options::connect_within`] be shorter than
    /// `within`, or a silent router is only [`RouterError::StillConnecting`].
    ///
    /// # Errors
    ///
    /// [`RouterError`], but never [`RouterError::NotTried`].
    pub async fn knock(&self, within: Duration) -> Result<Duration, RouterError> {
        let (began, by) = (Instant::now(), after(within));
        // A session that was there before may be over without our knowing; one that is made for this is not.
        let mut again = self.standing().is_connected;
        loop {
            let session = self.session(by, within, true).await?;
            let left = by.saturating_duration_since(Instant::now());
            match session.call(&Identity.command(), left).await {
                Ok(_) | Err(CallError::Trap(_)) => return Ok(began.elapsed()),
                Err(CallError::Lost { .. }) if again => again = false,
                Err(error) => return Err(RouterError::Call(error)),
            }
        }
    }

    /// What is known of its session now.
    pub fn standing(&self) -> Standing {
        let door = self.inner.door();
        let session = match &door.state {
            State::Connected { session, .. } => Some(session),
            State::Idle | State::Connecting(_) | State::Closed => None,
        };
        Standing {
            is_connected: session.is_some(),
            circuit: door.breaker.circuit(),
            logins_count: self.inner.logins_count.load(Ordering::Relaxed),
            attempts_count: self.inner.attempts_count.load(Ordering::Relaxed),
            failures_count: door.breaker.failures_count(),
            in_flight_count: session.map_or(0, Session::in_flight_count),
        }
    }

    /// Whether a call would be refused now because the circuit is open and the time of its next attempt has not come.
    pub fn is_resting(&self) -> bool {
        matches!(self.inner.door().breaker.entry(Instant::now(), false), Entry::Rest(_))
    }

    /// Ends the session for all clones and for good.
    pub fn close(&self) {
        let before = std::mem::replace(&mut self.inner.door().state, State::Closed);
        if let State::Connected { session, .. } = before {
            session.close();
        }
    }

    /// A session, made if need be.
    async fn session(&self, by: Instant, within: Duration, insists: bool) -> Result<Session, RouterError> {
        let late = || RouterError::StillConnecting { after: within };
        loop {
            match Inner::step(&self.inner, by, insists) {
                Step::Use(session) => return Ok(session),
                Step::Refuse(error) => return Err(error),
                Step::Pause(until) => sleep_until(until).await,
                Step::Await(mut attempt) => {
                    let ended =
                        timeout_at(by, attempt.wait_for(Option::is_some)).await.map_err(|_| late())?;
                    match ended.as_deref() {
                        Ok(Some(Ok(session))) => return Ok(session.clone()),
                        Ok(Some(Err(error))) => return Err(RouterError::Connect(Arc::clone(error))),
                        // The attempt ended without an outcome: the runtime is going down.
                        Ok(None) | Err(_) => return Err(RouterError::Closed),
                    }
                }
            }
        }
    }
}

impl Inner {
    /// What is known now; a session that was lost meanwhile is none any more.
    fn door(&self) -> MutexGuard<'_, Door> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Connected { session, since } = &door.state
            && let Some(lost) = session.lost()
        {
            let lasted = since.elapsed();
            self.note_loss(&mut door, lost, lasted);
        }
        door
    }

    /// Decides under the lock what one who needs a session does next; `insists`: whatever failed before.
    fn step(this: &Arc<Self>, by: Instant, insists: bool) -> Step {
        let mut door = this.door();
        let moment = Instant::now();
        match &door.state {
            State::Closed => return Step::Refuse(RouterError::Closed),
            State::Connecting(attempt) => return Step::Await(attempt.clone()),
            State::Connected { session, .. } => return Step::Use(session.clone()),
            State::Idle => {}
        }
        let not_tried = |until: Instant, why: &Option<Setback>| {
            let why = why.clone().unwrap_or(Setback::Lost(Lost::Released));
            let retry_in = until.saturating_duration_since(moment);
            Step::Refuse(RouterError::NotTried { retry_in, why })
        };
        match door.breaker.entry(moment, insists) {
            Entry::Go => Step::Await(Self::begin(this, &mut door)),
            Entry::Wait(until) if until <= by => Step::Pause(until),
            Entry::Wait(until) | Entry::Rest(until) => not_tried(until, &door.setback),
        }
    }

    /// A session that `lasted` so long is over.
    fn note_loss(&self, door: &mut Door, lost: Lost, lasted: Duration) {
        door.state = State::Idle;
        if lasted >= self.policy.good_after {
            door.breaker.proved();
        } else if door.breaker.count() > 1 {
            self.keep_out(door, Setback::Lost(lost));
        }
    }

    /// A failure that was counted keeps everybody out for a while.
    fn keep_out(&self, door: &mut Door, why: Setback) {
        let failure = match &why {
            Setback::Connect(error) if matches!(**error, ConnectError::LoginRejected { .. }) => {
                Failure::Rejected
            }
            Setback::Connect(_) | Setback::Lost(_) => Failure::Passing,
        };
        let wait = match failure {
            Failure::Rejected => self.policy.rejected_wait,
            Failure::Passing => self.policy.wait_after(door.breaker.failures_count()),
        };
        door.breaker.failed(Instant::now(), wait, self.policy.opens_after_failures, failure);
        door.setback = Some(why);
    }

    /// Begins the one attempt that all who need a session wait for. It goes on when they do not.
    fn begin(this: &Arc<Self>, door: &mut Door) -> watch::Receiver<Outcome> {
        let (ended, attempt) = watch::channel(None);
        door.breaker.begin();
        door.state = State::Connecting(attempt.clone());
        this.attempts_count.fetch_add(1, Ordering::Relaxed);
        let this = Arc::clone(this);
        tokio::spawn(async move {
            let Target { address, source, credentials, options } = &this.target;
            let outcome = Session::connect(*address, *source, credentials, options).await.map_err(Arc::new);
            this.note_outcome(&outcome);
            // Nobody may be waiting any more; the session is kept for the next one.
            let _ = ended.send(Some(outcome));
        });
        attempt
    }

    fn note_outcome(&self, outcome: &Result<Session, Arc<ConnectError>>) {
        let mut door = self.door();
        if outcome.is_ok() {
            self.logins_count.fetch_add(1, Ordering::Relaxed);
        }
        let is_closed = matches!(door.state, State::Closed);
        match outcome {
            Ok(session) if is_closed => session.close(),
            Err(_) if is_closed => {}
            Ok(session) => {
                door.breaker.succeeded();
                door.state = State::Connected { session: session.clone(), since: Instant::now() };
            }
            Err(error) => {
                door.state = State::Idle;
                door.breaker.count();
                self.keep_out(&mut door, Setback::Connect(Arc::clone(error)));
            }
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("address", &self.inner.target.address)
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

/// The routers that are spoken to, each under the key by which its owner knows it.
#[derive(Debug)]
pub struct Pool<K> {
    policy: Policy,
    routers: Mutex<BTreeMap<K, Router>>,
}

impl<K: Ord> Pool<K> {
    /// A pool without routers.
    pub fn new(policy: Policy) -> Self {
        Self { policy, routers: Mutex::default() }
    }

    fn routers(&self) -> MutexGuard<'_, BTreeMap<K, Router>> {
        self.routers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The router under `key`. One whose target has changed is closed and begun anew.
    pub fn router(&self, key: K, target: &Target) -> Router {
        let mut routers = self.routers();
        if let Some(router) = routers.get(&key) {
            if router.target() == target {
                return router.clone();
            }
            router.close();
        }
        let router = Router::new(target.clone(), self.policy);
        routers.insert(key, router.clone());
        router
    }

    /// The router under `key`, if there is one.
    pub fn get(&self, key: &K) -> Option<Router> {
        self.routers().get(key).cloned()
    }

    /// Closes routers that are not `wanted` any more.
    pub fn retain(&self, mut wanted: impl FnMut(&K) -> bool) {
        self.routers().retain(|key, router| {
            let keep = wanted(key);
            if !keep {
                router.close();
            }
            keep
        });
    }

    /// How many routers there are.
    pub fn len(&self) -> usize {
        self.routers().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Routers that are not tried, or only once: their circuit is not closed.
    pub fn open_count(&self) -> usize {
        let is_open = |router: &&Router| router.standing().circuit != Circuit::Closed;
        self.routers().values().filter(is_open).count()
    }

    /// Logins of the routers that are in the pool now.
    pub fn logins_count(&self) -> u64 {
        self.routers().values().map(|router| router.standing().logins_count).sum()
    }
}
