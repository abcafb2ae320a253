//! From nothing to a logged-in connection, against one deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::link::{self, Shared};
use super::{ConnectError, LoginForm, Options, Phase, ProtocolError, after, is_closed};
use crate::command::{Trap, fatal_text};
use crate::login::Credentials;
use crate::tls;
use crate::value::printable;
use crate::wire::{Decoder, Sentence};

/// Either side of a connection, plain or not.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// The tag of the login. Commands count on from there.
pub(super) const LOGIN_TAG: u64 = 1;

/// Sentences that may answer a login: a trap and an end for either form, and some to spare.
const LOGIN_SENTENCES_MAX: usize = 16;

/// Bytes read at a time.
const READ_BYTES: usize = 8 << 10;

/// Connects as the options say, and logs in.
pub(super) async fn over_tcp(
    address: SocketAddr,
    source: Option<SocketAddr>,
    credentials: &Credentials,
    options: &Options,
) -> Result<Arc<Shared>, ConnectError> {
    let by = after(options.connect_within);
    let stream = timeout_at(by, tcp(address, source))
        .await
        .map_err(|_| ConnectError::TimedOut { after: options.connect_within })??;
    let stream: Box<dyn Duplex> = match &options.tls {
        None => Box::new(stream),
        Some(tls) => {
            let handshake = tls.connector().connect(tls.name_for(address.ip()), stream);
            let agreed = timeout_at(by, handshake)
                .await
                .map_err(|_| ConnectError::Silent { during: Phase::Tls, after: options.connect_within })?;
            Box::new(agreed.map_err(handshake_error)?)
        }
    };
    logged_in(stream, credentials, options, by).await
}

async fn tcp(address: SocketAddr, source: Option<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let ours = |source| ConnectError::Ours { source };
    let socket = socket.map_err(ours)?;
    if let Some(source) = source {
        socket.bind(source).map_err(ours)?;
    }
    // A command is one small write; waiting to fill a packet would only delay it.
    socket.set_nodelay(true).map_err(ours)?;
    let began = Instant::now();
    socket.connect(address).await.map_err(|error| connect_error(error, began))
}

fn connect_error(source: io::Error, began: Instant) -> ConnectError {
    match source.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused,
        // The kernel ran out of patience before we did.
        io::ErrorKind::TimedOut => ConnectError::TimedOut { after: began.elapsed() },
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::AddrInUse
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput => ConnectError::Ours { source },
        kind if is_closed(kind) => ConnectError::Closed,
        _ => ConnectError::Unreachable { source },
    }
}

fn handshake_error(source: io::Error) -> ConnectError {
    if is_closed(source.kind()) { ConnectError::Closed } else { tls_error(source) }
}

fn tls_error(source: io::Error) -> ConnectError {
    match tls::unvouched(&source) {
        Some(why) => ConnectError::Certificate(why),
        None => ConnectError::Tls { source },
    }
}

/// Logs in over `stream` and starts the session's two tasks.
pub(super) async fn logged_in(
    stream: Box<dyn Duplex>,
    credentials: &Credentials,
    options: &Options,
    by: Instant,
) -> Result<Arc<Shared>, ConnectError> {
    let mut conversation =
        Conversation { stream, decoder: Decoder::new(options.wire), unread: Vec::new(), heard_count: 0 };
    timeout_at(by, conversation.log_in(credentials, options.login))
        .await
        .map_err(|_| ConnectError::Silent { during: Phase::Login, after: options.connect_within })??;
    let Conversation { stream, decoder, unread, .. } = conversation;
    Ok(link::start(stream, decoder, unread, options.clone()))
}

/// A connection on which one side speaks at a time.
struct Conversation {
    stream: Box<dyn Duplex>,
    decoder: Decoder,
    unread: Vec<u8>,
    heard_count: usize,
}

/// What a router said to one attempt to log in.
enum Answer {
    Welcome,
    Challenge(Vec<u8>),
}

impl Conversation {
    async fn log_in(&mut self, credentials: &Credentials, form: LoginForm) -> Result<(), ConnectError> {
        let tag = LOGIN_TAG.to_string();
        let tag = tag.as_bytes();
        let answer = match form {
            LoginForm::Either | LoginForm::Password => {
                self.say(&credentials.plain_login(tag)).await?;
                self.answer(credentials).await?
            }
            LoginForm::Challenge => {
                self.say(&Sentence::new("/login").tagged(Some(tag)).to_bytes()).await?;
                self.answer(credentials).await?
            }
        };
        let challenge = match (answer, form) {
            (Answer::Challenge(challenge), LoginForm::Either | LoginForm::Challenge) => challenge,
            (Answer::Welcome, LoginForm::Either | LoginForm::Password) => return Ok(()),
            (Answer::Challenge(_), LoginForm::Password) => {
                let message = "this router wants the login of versions before 6.43".to_owned();
                return Err(ConnectError::LoginRejected { message });
            }
            (Answer::Welcome, LoginForm::Challenge) => {
                return Err(ConnectError::Protocol(ProtocolError::Login));
            }
        };
        let login = credentials
            .challenged_login(&challenge, tag)
            .map_err(|error| ConnectError::Protocol(error.into()))?;
        self.say(&login.to_bytes()).await?;
        match self.answer(credentials).await? {
            Answer::Welcome => Ok(()),
            Answer::Challenge(_) => Err(ConnectError::Protocol(ProtocolError::Login)),
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        self.stream.write_all(bytes).await.map_err(transfer_error)?;
        self.stream.flush().await.map_err(transfer_error)
    }

    async fn answer(&mut self, credentials: &Credentials) -> Result<Answer, ConnectError> {
        loop {
            let sentence = self.hear().await?;
            match sentence.first() {
                b"!done" => {
                    return Ok(match sentence.attribute("ret") {
                        Some(challenge) => Answer::Challenge(challenge.to_vec()),
                        None => Answer::Welcome,
                    });
                }
                // A `!done` follows, but the connection is of no use any more.
                b"!trap" => {
                    let message = credentials.without_password(Trap::read(&sentence).message);
                    return Err(ConnectError::LoginRejected { message });
                }
                b"!fatal" => {
                    let message = credentials.without_password(fatal_text(&sentence));
                    return Err(ConnectError::Fatal { message });
                }
                [b'!', ..] => {} // Routers have learnt new words before; `!empty` was one.
                first => {
                    let first = credentials.without_password(printable(first, 64));
                    return Err(ConnectError::Protocol(ProtocolError::NotAReply { first }));
                }
            }
        }
    }

    async fn hear(&mut self) -> Result<Sentence, ConnectError> {
        if self.heard_count >= LOGIN_SENTENCES_MAX {
            return Err(ConnectError::Protocol(ProtocolError::Login));
        }
        loop {
            let mut input = self.unread.as_slice();
            let decoded =
                self.decoder.decode(&mut input).map_err(|error| ConnectError::Protocol(error.into()))?;
            let left = input.len();
            self.unread.drain(..self.unread.len() - left);
            if let Some(sentence) = decoded {
                self.heard_count += 1;
                return Ok(sentence);
            }
            self.unread.resize(READ_BYTES, 0);
            let read = self.stream.read(&mut self.unread).await;
            self.unread.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(ConnectError::Closed),
                Ok(_) => {}
                Err(error) => return Err(transfer_error(error)),
            }
        }
    }
}

fn transfer_error(source: io::Error) -> ConnectError {
    if is_closed(source.kind()) {
        ConnectError::Closed
    } else if source.kind() == io::ErrorKind::InvalidData {
        tls_error(source) // In TLS 1.3 the router may refuse us as late as here.
    } else {
        ConnectError::Unreachable { source }
    }
}
