//! The log: one stream, one order, for everything that happens.
//!
//! This module connects, declares the streams and reads single messages. How facts are written
//! is in [`publish`](crate::publish), how they are read in order in [`read`](crate::read).
//!
//! Only this crate knows that the log is NATS JetStream. Reads that decide anything go to the
//! stream's leader: a follower may lag.

mod connection;
mod streams;

pub(crate) use self::{
    connection::{Connection, inbox_of},
    streams::DUPLICATE_WINDOW,
};
use self::{
    connection::{connect, is_token},
    streams::{dead_stream, log_stream, metrics_stream, personal_stream},
};
use crate::{
    config::Common,
    message::Raw,
    publish::{PublishLimits, Publisher},
    read::{Tap, TapStats},
};
use async_nats::{
    Client, ServerAddr,
    jetstream::{
        Context, ErrorCode, context, kv,
        stream::{self, LastRawMessageErrorKind, StorageType},
    },
};
use events::Time;
use std::{fmt, sync::Arc, time::Duration};

/// The oldest server that can do everything the log needs: scheduled messages since 2.12, `eob`
/// and compare-and-set on replicated streams since 2.14.
const SERVER_FLOOR: (u64, u64) = (2, 14);

/// The bucket that leases lie in.
pub(crate) const LEASES: &str = "LEASES";

/// For how long a denial is held against the connection: whoever is denied something it needs tries again sooner.
const DENIED_FOR: Duration = Duration::from_secs(60);

/// How long declaring a stream is tried while there is no leader.
const ENSURE_WITHIN: Duration = Duration::from_secs(60);

/// A user of the server.
#[derive(Clone)]
pub struct Credentials {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where the log is and how it is to be kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Addresses: `nats://host:port`, one or all of a cluster's.
    pub servers: Vec<String>,
    /// As whom to connect; none when the server asks for none. The inbox is named after the user, so that permissions
    /// can keep others from it.
    pub credentials: Option<Credentials>,
    /// Whose connection it is: the service's name. Names its inbox where there is no user to name it after.
    pub name: String,
    /// The point of presence that asks go to: the second half of an ask's subject.
    pub pop: String,
    /// The stream that holds the facts: `LOG`.
    pub stream: String,
    /// How many servers keep a copy: 1 or 3.
    pub replicas: usize,
    /// How durable an acknowledgement is, as the operator calls it: `always` or `interval`.
    pub durability: String,
    /// How long to try to connect at first; none: for ever.
    pub connect_within: Option<Duration>,
    /// How long an acknowledgement or an answer may take before its outcome counts as unknown.
    pub ack_timeout: Duration,
    /// How long [`Log::publish`] tries before it answers that the log is unavailable.
    pub publish_within: Duration,
    /// What may wait to be published.
    pub limits: PublishLimits,
    /// How many groups of published facts may be on their way at once: as many as a process may have open
    /// batches (design, section 5). The server acknowledges what lies in its queue together, so two do not keep it
    /// busy (tried: 37,000 signals/s, with four 41,000); but what deciders commit waits in that queue behind them.
    pub groups_max: usize,
    /// Whether endless readers share one reading of the log's end: worth while where many services that hear
    /// the same live in one process.
    pub reads_together: bool,
}

impl LogConfig {
    /// Everything as usual, for the service `name` on `servers`.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>, name: impl Into<String>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            credentials: None,
            name: name.into(),
            pop: "main".into(),
            stream: "LOG".into(),
            replicas: 1,
            durability: "always".into(),
            connect_within: None,
            ack_timeout: Duration::from_secs(5),
            publish_within: Duration::from_secs(10),
            limits: PublishLimits::default(),
            groups_max: 4,
            reads_together: false,
        }
    }

    /// As the configuration of a process says, for the service `name`.
    pub fn of(common: &Common, name: impl Into<String>) -> Self {
        let user = common.nats_user.as_ref().zip(common.nats_password.as_ref());
        Self {
            credentials: user.map(|(user, password)| Credentials {
                user: user.clone(),
                password: password.reveal().to_owned(),
            }),
            pop: common.pop.clone(),
            replicas: common.nats_replicas,
            durability: common.durability.to_string(),
            ..Self::new(common.nats_servers(), name)
        }
    }
}

/// Why there is no log to work with.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An address in the configuration is none.
    #[error("`{0}` is no address of a server: nats://host:port")]
    Address(String),
    /// The name or the point of presence holds what a subject may not hold.
    #[error("`{0}` cannot be used in subjects: only letters, digits, `_` and `-`")]
    Name(String),
    /// The server does not know us.
    #[error("the server refuses the user it was given")]
    Denied,
    /// Nobody answers.
    #[error("no server answered within {within:?}")]
    Unreachable {
        /// How long it was tried.
        within: Duration,
        /// The last attempt's end.
        source: async_nats::ConnectError,
    },
    /// The server cannot do what the log needs.
    #[error("nats-server {found} is too old: {}.{} or newer is needed", SERVER_FLOOR.0, SERVER_FLOOR.1)]
    TooOld {
        /// Its version.
        found: String,
    },
    /// The server's permissions do not let this user declare a stream.
    #[error("this user may not declare the stream `{stream}`: {denial}")]
    MayNot {
        /// Which stream.
        stream: String,
        /// What the server said.
        denial: String,
    },
    /// A stream could not be declared.
    #[error("declaring the stream `{stream}`: {reason}")]
    Declare {
        /// Which stream.
        stream: String,
        /// What the server said.
        reason: String,
    },
    /// A question about the log was not answered. Asking again is safe.
    #[error("reading {what}: {reason}")]
    Read {
        /// What was asked for.
        what: String,
        /// What went wrong.
        reason: String,
    },
}

/// Where the log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    /// The first sequence that is still there.
    pub first_seq: u64,
    /// The last sequence that was given.
    pub last_seq: u64,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes it holds.
    pub bytes: u64,
    /// When the stream was made: positions in another stream mean nothing here.
    pub made: Time,
}

/// The connection to the log. Cheap to clone; all clones share one connection and one queue.
#[derive(Clone)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
    pub(crate) within: Duration,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) config: LogConfig,
    pub(crate) publisher: Publisher,
    pub(crate) connection: Connection,
    pub(crate) tap: Arc<Tap>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Log {
    /// Connects; tries again until a server answers or [`LogConfig::connect_within`] has passed.
    ///
    /// # Errors
    ///
    /// [`LogError::Address`], [`LogError::Name`]: the configuration is wrong. [`LogError::Denied`],
    /// [`LogError::TooOld`]: the server is not for us. [`LogError::Unreachable`]: nobody answered in time.
    pub async fn connect(config: LogConfig) -> Result<Log, LogError> {
        for name in [&config.name, &config.pop, &config.stream] {
            if !is_token(name) {
                return Err(LogError::Name(name.clone()));
            }
        }
        let servers = config
            .servers
            .iter()
            .map(|server| server.parse::<ServerAddr>().map_err(|_| LogError::Address(server.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let connection = connect(&config, &servers).await?;
        let client = connection.client.clone();
        let found = client.server_info().version;
        if version(&found) < SERVER_FLOOR {
            return Err(LogError::TooOld { found });
        }
        let context = context::ContextBuilder::new()
            .timeout(config.ack_timeout)
            .ack_timeout(config.ack_timeout)
            .build(client.clone());
        let publisher = Publisher::start(connection.clone(), context.clone(), &config);
        let within = config.publish_within;
        let inner = Inner { client, context, config, publisher, connection, tap: Arc::default() };
        Ok(Log { inner: Arc::new(inner), within })
    }

    /// The same log, where publishing gives up after `within`.
    #[must_use]
    pub fn within(&self, within: Duration) -> Log {
        Log { inner: self.inner.clone(), within }
    }

    /// How the log was configured.
    pub fn config(&self) -> &LogConfig {
        &self.inner.config
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.inner.connection.is_up()
    }

    /// What the server's permissions denied this user within the last minute, in the server's words.
    pub fn denial(&self) -> Option<String> {
        self.inner.connection.denial(DENIED_FOR)
    }

    /// What the server says its version is.
    pub fn server_version(&self) -> String {
        self.inner.client.server_info().version
    }

    /// What the one reading that endless readers share has done.
    pub fn tap_stats(&self) -> &TapStats {
        self.inner.tap.stats()
    }

    /// How durable an acknowledgement is: for `/readyz` and benchmark lines.
    pub fn durability(&self) -> &str {
        &self.inner.config.durability
    }

    /// Declares the streams `LOG`, `METRICS`, `PERSONAL`, `DEAD` and the bucket of leases, or brings them up to date.
    /// Can be called by everybody at every start. A missing leader is waited for, at most 60 s.
    ///
    /// # Errors
    ///
    /// [`LogError::Declare`]: what the server says.
    pub async fn ensure(&self) -> Result<(), LogError> {
        let replicas = self.inner.config.replicas;
        for config in [
            log_stream(&self.inner.config.stream, replicas),
            metrics_stream(replicas),
            personal_stream(replicas),
            dead_stream(replicas),
        ] {
            self.declare(config).await?;
        }
        self.declare_leases(replicas).await
    }

    async fn declare(&self, config: stream::Config) -> Result<(), LogError> {
        let name = config.name.clone();
        self.insist(&name, || {
            let (context, config) = (self.inner.context.clone(), config.clone());
            async move { context.create_or_update_stream(config).await.map(|_| ()).map_err(chain) }
        })
        .await
    }

    pub(crate) async fn declare_leases(&self, replicas: usize) -> Result<(), LogError> {
        self.insist(LEASES, || {
            let context = self.inner.context.clone();
            async move {
                let config = kv::Config {
                    bucket: LEASES.into(),
                    history: 1,
                    storage: StorageType::Memory,
                    num_replicas: replicas,
                    ..Default::default()
                };
                context.create_or_update_key_value(config).await.map(|_| ()).map_err(chain)
            }
        })
        .await
    }

    async fn insist<F: Future<Output = Result<(), String>>>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<(), LogError> {
        let begun = tokio::time::Instant::now();
        loop {
            match attempt().await {
                Ok(()) => return Ok(()),
                Err(_) if let Some(denial) = self.inner.connection.denial(begun.elapsed()) => {
                    return Err(LogError::MayNot { stream: what.to_owned(), denial });
                }
                Err(reason) if begun.elapsed() > ENSURE_WITHIN || is_final(&reason) => {
                    return Err(LogError::Declare { stream: what.to_owned(), reason });
                }
                Err(reason) => {
                    tracing::debug!(stream = what, reason, "not declared yet");
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
        }
    }

    /// Where the log begins and ends, as its leader says.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn state(&self) -> Result<LogState, LogError> {
        let stream = self.stream_handle(&self.inner.config.stream).await?;
        let info = stream.get_info().await.map_err(|e| self.unread("the state of the log", e))?;
        let made = info.created.unix_timestamp_nanos() / 1_000;
        Ok(LogState {
            first_seq: info.state.first_sequence,
            last_seq: info.state.last_sequence,
            messages: info.state.messages,
            bytes: info.state.bytes,
            made: Time::from_us(i64::try_from(made).unwrap_or(i64::MAX)),
        })
    }

    /// The last message of a subject, read from the stream's leader. `mw.<part>.<tenant>.<noun>.<key>`.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn last(&self, subject: &str) -> Result<Option<Raw>, LogError> {
        self.last_in(&self.inner.config.stream, subject).await
    }

    pub(crate) async fn last_in(&self, stream: &str, subject: &str) -> Result<Option<Raw>, LogError> {
        let stream = self.stream_handle(stream).await?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(Raw::from_read(message))),
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => Err(self.unread(format!("the last message of `{subject}`"), e)),
        }
    }

    /// One message by its place, read from the stream's leader; none when it has expired.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: no answer. Asking again is safe.
    pub async fn at(&self, seq: u64) -> Result<Option<Raw>, LogError> {
        let stream = self.stream_handle(&self.inner.config.stream).await?;
        match stream.raw_message_builder().sequence(seq).send().await {
            Ok(message) => Ok(Some(Raw::from_read(message))),
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => Err(self.unread(format!("message {seq}"), e)),
        }
    }

    /// The first sequence at or after `seq` under `filter`, as the stream's leader sees it.
    pub(crate) async fn next_at(
        &self,
        stream: &str,
        filter: &str,
        seq: u64,
    ) -> Result<Option<u64>, LogError> {
        let stream = self.stream_handle(stream).await?;
        match stream.raw_message_builder().sequence(seq).next_by_subject(filter).send().await {
            Ok(message) => Ok(Some(message.sequence)),
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => Err(self.unread(format!("what follows {seq} in `{filter}`"), e)),
        }
    }

    /// Why something was not answered; what the server denied meanwhile is the likeliest reason.
    pub(crate) fn unread(&self, what: impl Into<String>, error: impl std::error::Error) -> LogError {
        let denial = self.inner.connection.denial(self.inner.config.ack_timeout * 2);
        let reason = match denial {
            Some(denial) => format!("{}; the server says: {denial}", chain(error)),
            None => chain(error),
        };
        LogError::Read { what: what.into(), reason }
    }

    pub(crate) async fn stream_handle(&self, name: &str) -> Result<stream::Stream<()>, LogError> {
        self.inner
            .context
            .get_stream_no_info(name)
            .await
            .map_err(|e| self.unread(format!("the stream `{name}`"), e))
    }
}

fn version(text: &str) -> (u64, u64) {
    let mut numbers = text.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether asking again cannot help: the server understood and says no.
fn is_final(reason: &str) -> bool {
    [ErrorCode::STREAM_INVALID_CONFIG.0, 10_058, 10_065, 10_025, 10_003].iter().any(|code| {
        reason.contains(&format!("error code {code}")) || reason.contains(&format!("code: {code}"))
    })
}

/// An error and all its causes, on one line.
pub(crate) fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("2.9.10") < SERVER_FLOOR);
        assert!(version("2.14.0-RC.1") >= SERVER_FLOOR);
        assert!(version("2.15.1") >= SERVER_FLOOR);
        assert!(version("3.0.0") >= SERVER_FLOOR);
    }

    #[test]
    fn a_password_is_not_printed() {
        let secret = Credentials { user: "ingest".into(), password: "hunter2".into() };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
