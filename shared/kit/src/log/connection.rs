//! The connection to the log's server: the first one, what it is called, and what is known of it since.

use super::{Credentials, LogConfig, LogError};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, connection::State,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What the server says when a user may not publish or subscribe. Source: nats-server's `server/client.go`.
const DENIAL: &str = "permissions violation";

/// What is known of the connection: how often it broke. A break makes what was on its way unknown.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    breaks: watch::Receiver<u64>,
    denials: watch::Receiver<Option<Denial>>,
}

/// Something that the server did not permit this user. What was tried is not answered otherwise.
#[derive(Debug, Clone)]
struct Denial {
    text: String,
    at: tokio::time::Instant,
}

impl Connection {
    /// What the server denied this user last, in its words.
    pub(crate) fn denial(&self, within: Duration) -> Option<String> {
        let last = self.denials.borrow();
        last.as_ref().filter(|denial| denial.at.elapsed() < within).map(|denial| denial.text.clone())
    }

    /// Resolves when the server denies this user to publish `subject`, after this call.
    pub(crate) async fn denies(&self, subject: &str) -> String {
        let mut denials = self.denials.clone();
        denials.mark_unchanged();
        let quoted = format!("\"{subject}\"");
        let denied =
            denials.wait_for(|last| last.as_ref().is_some_and(|denial| denial.text.contains(&quoted)));
        match denied.await.map(|denial| denial.as_ref().map(|denial| denial.text.clone())) {
            Ok(Some(text)) => text,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Changes whenever the connection breaks.
    pub(crate) fn breaks(&self) -> watch::Receiver<u64> {
        self.breaks.clone()
    }

    /// Resolves when the connection breaks after this call.
    pub(crate) async fn broken(&self) {
        let mut breaks = self.breaks.clone();
        breaks.mark_unchanged();
        if breaks.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The prefix of a user's inbox: its own, so that permissions can keep others from its answers.
pub(crate) fn inbox_of(user: &str) -> String {
    format!("_INBOX_{user}")
}

/// Whether a name may stand in a subject: letters, digits, `_` and `-`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Connects; tries again until a server answers or [`LogConfig::connect_within`] has passed.
pub(super) async fn connect(config: &LogConfig, servers: &[ServerAddr]) -> Result<Connection, LogError> {
    let (broke, breaks) = watch::channel(0_u64);
    let (denied, denials) = watch::channel(None);
    let told = Arc::new(Told { broke, denied });
    let client = first_connection(config, servers, &told).await?;
    Ok(Connection { client, breaks, denials })
}

async fn first_connection(
    config: &LogConfig,
    servers: &[ServerAddr],
    told: &Arc<Told>,
) -> Result<Client, LogError> {
    let begun = tokio::time::Instant::now();
    let mut wait = Duration::from_millis(50);
    loop {
        let source = match options(config, told.clone()).connect(servers).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        if matches!(
            source.kind(),
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
        ) {
            return Err(LogError::Denied);
        }
        if let Some(within) = config.connect_within
            && begun.elapsed() >= within
        {
            return Err(LogError::Unreachable { within, source });
        }
        tracing::info!(error = %source, "no server yet, trying again");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
}

/// Where what the connection tells goes.
struct Told {
    broke: watch::Sender<u64>,
    denied: watch::Sender<Option<Denial>>,
}

fn options(config: &LogConfig, told: Arc<Told>) -> ConnectOptions {
    let user = config.credentials.as_ref().map(|credentials| &credentials.user);
    let whose = user.filter(|user| is_token(user)).unwrap_or(&config.name);
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .custom_inbox_prefix(inbox_of(whose))
        .ping_interval(Duration::from_secs(5))
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(config.ack_timeout))
        .client_capacity(16_384)
        .reconnect_delay_callback(|attempts| {
            let base = Duration::from_millis(20 << attempts.min(6));
            base.mul_f64(0.5 + rand::random::<f64>() / 2.0)
        })
        .event_callback(move |event| {
            let told = told.clone();
            async move { note(&event, &told) }
        });
    if let Some(Credentials { user, password }) = &config.credentials {
        options = options.user_and_password(user.clone(), password.clone());
    }
    options
}

fn note(event: &Event, told: &Told) {
    match event {
        Event::Connected => tracing::info!("connected to the log"),
        Event::Disconnected => {
            told.broke.send_modify(|n| *n += 1);
            tracing::warn!("the connection to the log broke");
        }
        Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::info!(%event, "the log's server says");
        }
        Event::SlowConsumer(_) => tracing::warn!(%event, "messages were dropped, reading again"),
        // A denied publish is silent to its caller: this is the only place that knows.
        Event::ServerError(ServerError::Other(text)) if text.to_lowercase().contains(DENIAL) => {
            tracing::error!(denial = text, "the log's server does not permit this user what it needs");
            let at = tokio::time::Instant::now();
            told.denied.send_replace(Some(Denial { text: text.clone(), at }));
        }
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(%event, "the log's server says"),
    }
}
