//! One logged-in connection that carries many commands at once.
//!
//! Every command gets a tag of its own, so a slow one does not hold up the others. A command that is
//! dropped or runs out of time is cancelled at the router, and keeps its place among the commands in
//! flight until the router says that it has stopped: the router's load is what is limited, not ours.
//!
//! A quiet connection is not a live one. Every so often, and whenever something was cancelled, the
//! router owes an answer; if it stays silent the session is over, and everyone waiting is told.
//!
//! What a router sends is bounded by [`Options`]: per sentence, per answer and per session.

mod connect;
mod link;
mod rows;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::command::{Command, Reply, Trap};
use crate::login::{BadChallenge, Credentials};
use crate::tls::{Tls, Unvouched};
use crate::wire::{Limits, WireError};

use self::link::Shared;
pub use self::rows::Rows;

/// The port of the plain API.
pub const PORT: u16 = 8728;
/// The port of the API inside TLS.
pub const PORT_TLS: u16 = 8729;

/// How a session behaves and what it may cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// From the first packet to being logged in.
    pub connect_within: Duration,
    /// TLS, or `None` for a plain connection, which carries the password readably.
    pub tls: Option<Tls>,
    /// Which form of login is spoken.
    pub login: LoginForm,
    /// Commands that the router works on at the same time, listening ones included; 1 to 1024.
    pub in_flight_max: usize,
    /// Rows of one answer, or of the unread part of one that is read row by row.
    pub reply_rows_max: usize,
    /// Bytes of memory for the same.
    pub reply_bytes_max: usize,
    /// Bytes of memory for all unread rows of the session.
    pub session_bytes_max: usize,
    /// What one sentence may be.
    pub wire: Limits,
    /// After this time without a word from the router it is asked for its name, so that a dead
    /// connection is noticed and nothing on the way forgets a live one.
    pub keep_alive: Duration,
    /// How long the router may owe the answer to a keep-alive or a cancel while it says nothing else.
    /// Three times as long if it does speak. Then the session is over.
    pub silent_after: Duration,
}

impl Default for Options {
    /// Suits a router that also has other work: 8 commands at once, 8 MiB an answer.
    ///
    /// `silent_after` is 20 s because a busy CHR was measured to stall for some seconds.
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(10),
            tls: None,
            login: LoginForm::Either,
            in_flight_max: 8,
            reply_rows_max: 65_536,
            reply_bytes_max: 8 << 20,
            session_bytes_max: 16 << 20,
            wire: Limits::CLIENT,
            keep_alive: Duration::from_secs(60),
            silent_after: Duration::from_secs(20),
        }
    }
}

/// Which form of login is spoken; see [`crate::login`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginForm {
    /// The password first; the old form when the router answers with a challenge.
    Either,
    /// The password only: 6.43 and later.
    Password,
    /// The challenge only, before 6.45: the password is never sent.
    Challenge,
}

/// What a connection was doing when the router fell silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Agreeing on keys.
    Tls,
    /// Waiting for the answer to the login.
    Login,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Tls => "the TLS handshake",
            Phase::Login => "the login",
        })
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host is there and no API listens: it is alive.
    #[error("the connection was refused")]
    Refused,
    /// Nothing answered the attempt to connect.
    #[error("nothing answered within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// Something on the way says that there is no way.
    #[error("the router cannot be reached")]
    Unreachable {
        /// What the system says.
        source: io::Error,
    },
    /// Our own side failed: the source address is not ours, or no socket is to be had. It says
    /// nothing about the router.
    #[error("opening a socket on our side")]
    Ours {
        /// What the system says.
        source: io::Error,
    },
    /// The connection opened and then too little came. It proves neither life nor death: a
    /// kernel accepts for a program that hangs, and a middlebox for a router that is gone.
    #[error("silent during {during} for {after:?}")]
    Silent {
        /// What was waited for.
        during: Phase,
        /// How long all of it took.
        after: Duration,
    },
    /// The router closed the connection before the login was over, as it does when
    /// `/ip/service` does not list our address or has no session left.
    #[error("closed before the login was over")]
    Closed,
    /// The router said why it closes.
    #[error("the router ended the connection: {message}")]
    Fatal {
        /// The router's words.
        message: String,
    },
    /// Nobody vouches for the certificate it shows. Nothing was said to it.
    #[error(transparent)]
    Certificate(Unvouched),
    /// It speaks no TLS that we do.
    #[error("agreeing on TLS")]
    Tls {
        /// What rustls says.
        source: io::Error,
    },
    /// User and password were not accepted.
    #[error("the login was rejected: {message}")]
    LoginRejected {
        /// The router's words.
        message: String,
    },
    /// It does not speak the RouterOS API.
    #[error("not the RouterOS API")]
    Protocol(#[source] ProtocolError),
}

/// What a peer said that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes make no sentence, or too large a one.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A sentence that is no reply.
    #[error("`{first}` is no reply")]
    NotAReply {
        /// Its first word.
        first: String,
    },
    /// A reply to nothing that was asked.
    #[error("a reply with the tag {tag:?}, which was never used")]
    UnknownTag {
        /// Its tag, or none.
        tag: Option<String>,
    },
    /// The login challenge is not one.
    #[error(transparent)]
    Challenge(#[from] BadChallenge),
    /// The login was answered with another challenge or with rows without end.
    #[error("the answer to the login makes no sense")]
    Login,
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The router closed the connection.
    #[error("the router closed the connection")]
    Closed,
    /// The router said why it closes.
    #[error("the router ended the connection: {message}")]
    Fatal {
        /// The router's words.
        message: String,
    },
    /// The router owed an answer and said nothing.
    #[error("the router fell silent")]
    Silent,
    /// The peer does not keep to the protocol.
    #[error("the peer broke the protocol")]
    Protocol(#[source] ProtocolError),
    /// The connection failed in another way.
    #[error("the connection failed: {kind}")]
    Broken {
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// We closed it.
    #[error("the session was closed on our side")]
    Released,
}

impl From<&io::Error> for Lost {
    fn from(error: &io::Error) -> Self {
        if is_closed(error.kind()) {
            return Lost::Closed;
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Lost::Silent,
            kind => Lost::Broken { kind },
        }
    }
}

/// The moment `within` from now; thirty years when that is beyond what a clock can hold.
pub(crate) fn after(within: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(within).unwrap_or_else(|| now + THIRTY_YEARS)
}

fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The router refused or stopped it.
    #[error("the router refused: {0}")]
    Trap(Trap),
    /// It was sent and its answer did not end in time. It has been cancelled.
    #[error("no whole answer within {after:?}")]
    TimedOut {
        /// The time it was given.
        after: Duration,
    },
    /// It was not sent: as many as allowed were in flight all the time it was given.
    #[error("too many commands in flight for {after:?}")]
    Busy {
        /// The time it was given.
        after: Duration,
    },
    /// The answer is larger than allowed, or was read too slowly. It has been cancelled.
    #[error("more than {rows_max} rows or {bytes_max} bytes of answer")]
    TooMuch {
        /// [`Options::reply_rows_max`].
        rows_max: usize,
        /// What of [`Options::reply_bytes_max`] or [`Options::session_bytes_max`] was exceeded.
        bytes_max: usize,
    },
    /// The session ended first.
    #[error("the session is over")]
    Lost {
        /// Why it ended.
        #[source]
        why: Lost,
        /// Whether the router may have heard the command.
        sent: bool,
    },
}

/// One logged-in connection. Cheap to clone; the connection closes with the last clone, [`Rows`]
/// that are still being read included.
#[derive(Clone)]
pub struct Session {
    owner: Arc<Owner>,
}

/// Ends the session when nobody can use it any more.
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lose(Lost::Released);
    }
}

impl Session {
    /// Connects and logs in, both within [`Options::connect_within`].
    ///
    /// `source` is the address to connect from, for a host with several; its port is usually 0.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], which tells how it failed and so what that says about the router.
    pub async fn connect(
        address: SocketAddr,
        source: Option<SocketAddr>,
        credentials: &Credentials,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        let shared = connect::over_tcp(address, source, credentials, options).await?;
        Ok(Self { owner: Arc::new(Owner { shared }) })
    }

    /// Logs in over a connection that the caller has made. [`Options::tls`] is not used.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`], but for those of connecting.
    pub async fn over<S>(
        stream: S,
        credentials: &Credentials,
        options: &Options,
    ) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let by = after(options.connect_within);
        let shared = connect::logged_in(Box::new(stream), credentials, options, by).await?;
        Ok(Self { owner: Arc::new(Owner { shared }) })
    }

    /// Asks, and waits for the whole answer, `within` that time in all.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Rows that came before an error are lost; use [`Session::stream`] to see them.
    pub async fn call(&self, command: &Command, within: Duration) -> Result<Reply, CallError> {
        self.stream(command, within).await?.finish().await
    }

    /// Asks, and hands out the rows as they come, all of them `within` that time.
    ///
    /// # Errors
    ///
    /// [`CallError::Busy`] and [`CallError::Lost`]; the others come in place of a row.
    pub async fn stream(&self, command: &Command, within: Duration) -> Result<Rows, CallError> {
        let by = after(within);
        self.start(command, within, Some(by)).await
    }

    /// Asks what never ends by itself, such as `/ppp/active/listen` or an endless `/ping`.
    ///
    /// It ends when the [`Rows`] are dropped, and holds a place in flight until then. `listen` tells
    /// what changes from now on, not what is: listen first, print second, then reconcile.
    ///
    /// # Errors
    ///
    /// [`CallError::Busy`] when no place is free within [`Options::connect_within`], and
    /// [`CallError::Lost`].
    pub async fn listen(&self, command: &Command) -> Result<Rows, CallError> {
        self.start(command, self.owner.shared.options.connect_within, None).await
    }

    async fn start(
        &self,
        command: &Command,
        within: Duration,
        by: Option<Instant>,
    ) -> Result<Rows, CallError> {
        let shared = &self.owner.shared;
        let place = Arc::clone(&shared.places).acquire_owned();
        match timeout_at(by.unwrap_or_else(|| after(within)), place).await {
            Ok(Ok(place)) => Rows::begin(Arc::clone(&self.owner), command, place, by.map(|by| (by, within))),
            // The places are closed when the session is over.
            Ok(Err(_)) => Err(CallError::Lost { why: self.why_lost(), sent: false }),
            Err(_) => Err(CallError::Busy { after: within }),
        }
    }

    /// Why the session is over, or `None` while it is not known to be.
    pub fn lost(&self) -> Option<Lost> {
        self.owner.shared.lost()
    }

    fn why_lost(&self) -> Lost {
        self.lost().unwrap_or(Lost::Released)
    }

    /// Waits until the session is over.
    pub async fn ended(&self) -> Lost {
        self.owner.shared.over.cancelled().await;
        self.why_lost()
    }

    /// Ends the session for all its clones. Commands in flight fail with [`Lost::Released`].
    pub fn close(&self) {
        self.owner.shared.lose(Lost::Released);
    }

    /// Commands that the router works on now, cancelled ones that it has not ended included.
    pub fn in_flight_count(&self) -> usize {
        let shared = &self.owner.shared;
        shared
            .options
            .in_flight_max
            .clamp(1, link::PLACES_MAX)
            .saturating_sub(shared.places.available_permits())
    }

    /// Bytes of memory that unread rows hold.
    pub fn held_bytes(&self) -> usize {
        self.owner.shared.held_bytes()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("in_flight", &self.in_flight_count())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
