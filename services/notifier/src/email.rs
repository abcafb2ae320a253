//! E-mail over SMTP.
//!
//! A mail server tells no repetition by any key, so a message that may have been taken is repeated once
//! and says so. Whether it may have been taken follows from how far the conversation came: before the
//! end of the message nothing counts, after it only the server's answer does.
//!
//! The `Message-ID` follows from the notice, and later notices of an incident refer to the first one, so
//! that mail programs show one thread.

use crate::{
    call::{Letter, Outcome, shortened},
    target::{TargetError, Targets},
};
use events::{Notice, NoticeId};
use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Mailbox,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    },
};
use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, timeout_at};
use url::Url;
use vault::Zeroizing;

/// Where a mail server listens unless said: with STARTTLS, and with TLS from the start. Source: RFC 8314.
const PORT_SUBMISSION: u16 = 587;
const PORT_SUBMISSIONS: u16 = 465;

/// Why a message cannot be made of a channel's settings. For people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// Not the address of a mail server.
    #[error("the channel's `server` is no smtp:// or smtps:// address")]
    Server,
    /// Not the address of a mailbox.
    #[error("`{0}` is no address of a mailbox")]
    Mailbox(String),
    /// Nobody would get it.
    #[error("the channel names nobody it goes to")]
    Nobody,
    /// It cannot be written down.
    #[error("a message cannot be made: {0}")]
    Message(String),
}

/// Where a channel's mail is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    host: String,
    port: u16,
    tls_from_the_start: bool,
}

impl Server {
    /// Reads `smtp://host:port` or `smtps://host:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, SettingsError> {
        let url = Url::parse(text).map_err(|_| SettingsError::Server)?;
        let (tls_from_the_start, usual) = match url.scheme() {
            "smtp" => (false, PORT_SUBMISSION),
            "smtps" => (true, PORT_SUBMISSIONS),
            _ => return Err(SettingsError::Server),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(SettingsError::Server)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: url.port().unwrap_or(usual), tls_from_the_start })
    }
}

/// Who sends, and to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a [String],
}

/// One message, whole.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) envelope: Envelope,
    pub(crate) message: Vec<u8>,
}

/// Nobody is to answer it by machine. Source: RFC 3834.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }
    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

/// The message that tells `letter`.
pub(crate) fn request(letter: &Letter<'_>, addresses: Addresses<'_>) -> Result<Post, SettingsError> {
    let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|_| SettingsError::Mailbox(shortened(text)));
    let from = mailbox(addresses.from)?;
    let notice = letter.notice;
    let host = from.email.domain().to_owned();
    let id = |notice: NoticeId| format!("<{notice}@{host}>");
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(notice.at.us()).unwrap_or(0));
    let mark = if letter.possibly_repeated { "[possibly repeated] " } else { "" };
    let mut message = Message::builder()
        .from(from.clone())
        .subject(format!("{mark}{}", shortened(&notice.title)))
        .message_id(Some(id(notice.id)))
        .date(at)
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    if let Some(first) = letter.first.filter(|first| *first != notice.id) {
        message = message.in_reply_to(id(first)).references(id(first));
    }
    let mut to = Vec::with_capacity(addresses.to.len());
    for text in addresses.to {
        let mailbox = mailbox(text)?;
        to.push(mailbox.email.clone());
        message = message.to(mailbox);
    }
    if to.is_empty() {
        return Err(SettingsError::Nobody);
    }
    let message = message.body(text(letter)).map_err(|error| SettingsError::Message(error.to_string()))?;
    let envelope =
        Envelope::new(Some(from.email), to).map_err(|error| SettingsError::Message(error.to_string()))?;
    Ok(Post { envelope, message: message.formatted() })
}

fn text(letter: &Letter<'_>) -> String {
    let Notice { title, text, .. } = letter.notice;
    let mut whole = String::new();
    if letter.possibly_repeated {
        whole.push_str("This message may have reached you before: the mail server did not say.\n\n");
    }
    whole.push_str(title);
    whole.push_str("\n\n");
    whole.push_str(text.trim_end());
    if let Some(url) = letter.incident_url() {
        whole.push_str("\n\nMore: ");
        whole.push_str(&url);
    }
    whole.push('\n');
    whole
}

/// How far a conversation came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The message was not said to its end: nobody has it.
    Envelope,
    /// The message was said to its end.
    Message,
}

/// What a reply, or none, means.
pub(crate) fn classify(reached: Reached, error: &smtp::Error) -> Outcome {
    let why = shortened(&explained(error));
    if error.is_permanent() {
        return Outcome::Rejected(why);
    }
    match reached {
        Reached::Message if !error.is_transient() => Outcome::Unknown(why),
        // Nobody has it: the conversation ended before, or the server said that it did not take it.
        Reached::Envelope | Reached::Message => Outcome::Retry { why, after: None },
    }
}

fn explained(error: &smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Hands messages over, to allowed addresses only.
#[derive(Debug, Clone)]
pub(crate) struct Mailer {
    targets: Targets,
    within: Duration,
    hello: ClientId,
}

/// A user and a password.
pub(crate) type Login = (Zeroizing<String>, Zeroizing<String>);

impl Mailer {
    /// Conversations that may take `within`, with what `targets` allows.
    pub(crate) fn new(targets: Targets, within: Duration) -> Self {
        Self { targets, within, hello: ClientId::default() }
    }

    /// Hands `post` over to `server` and says how it ended.
    pub(crate) async fn send(&self, server: &Server, login: Option<Login>, post: &Post) -> Outcome {
        let deadline = Instant::now() + self.within;
        let late = |doing: &str| {
            let why = format!("{doing}: no answer within {} s", self.within.as_secs_f64());
            Outcome::Retry { why, after: None }
        };
        let mut connection = match timeout_at(deadline, self.connect(server, login, deadline)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(outcome)) => return outcome,
            Err(_) => return late("connecting"),
        };
        let introduced = timeout_at(deadline, introduce(&mut connection, post)).await;
        let outcome = match introduced {
            Err(_) => late("naming sender and recipients"),
            Ok(Err(outcome)) => outcome,
            Ok(Ok(refused)) => match timeout_at(deadline, connection.message(&post.message)).await {
                Ok(Ok(reply)) => {
                    let reply = reply.first_line().unwrap_or("taken");
                    let all = post.envelope.to().len();
                    Outcome::Delivered(shortened(&match refused {
                        0 => reply.to_owned(),
                        _ => format!("{refused} of {all} recipients were refused; {reply}"),
                    }))
                }
                Ok(Err(error)) => classify(Reached::Message, &error),
                Err(_) => {
                    let s = self.within.as_secs_f64();
                    Outcome::Unknown(format!("the message was sent, and not answered within {s} s"))
                }
            },
        };
        // The message is where it is, whatever becomes of the farewell.
        drop(timeout_at(deadline.max(Instant::now() + Duration::from_millis(500)), connection.quit()).await);
        outcome
    }

    async fn connect(
        &self,
        server: &Server,
        login: Option<Login>,
        deadline: Instant,
    ) -> Result<AsyncSmtpConnection, Outcome> {
        let addresses =
            self.targets.resolve(&server.host, server.port).await.map_err(|error| match error {
                TargetError::Private(_) => Outcome::Rejected(error.to_string()),
                TargetError::Name(_) | TargetError::Nowhere => {
                    Outcome::Retry { why: error.to_string(), after: None }
                }
            })?;
        let failed = |error: smtp::Error| classify(Reached::Envelope, &error);
        let tls = || TlsParameters::new(server.host.clone()).map_err(failed);
        let from_the_start = if server.tls_from_the_start { Some(tls()?) } else { None };
        let left = deadline.saturating_duration_since(Instant::now());
        let addresses: &[SocketAddr] = &addresses;
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(addresses, Some(left), &self.hello, from_the_start, None)
                .await
                .map_err(failed)?;
        if !connection.is_encrypted() && connection.can_starttls() {
            connection.starttls(tls()?, &self.hello).await.map_err(failed)?;
        }
        if let Some((user, password)) = login {
            if !connection.is_encrypted() {
                let why = "the server offers no TLS, and a password is not said in the open";
                return Err(Outcome::Retry { why: why.into(), after: None });
            }
            let credentials = Credentials::new(user.to_string(), password.to_string());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, &credentials).await.map_err(|error| {
                // A password may be put right within the day that a notice lasts.
                Outcome::Retry { why: shortened(&explained(&error)), after: None }
            })?;
        }
        Ok(connection)
    }
}

/// Names sender and recipients and announces the message; returns how many recipients were refused.
async fn introduce(connection: &mut AsyncSmtpConnection, post: &Post) -> Result<usize, Outcome> {
    let failed = |error: smtp::Error| classify(Reached::Envelope, &error);
    let mut options = vec![];
    let mut addresses = post.envelope.to().iter().chain(post.envelope.from());
    if addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
        options.push(MailParameter::SmtpUtfEight);
    }
    if !post.message.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    connection.command(Mail::new(post.envelope.from().cloned(), options)).await.map_err(failed)?;
    let mut refusals = Vec::new();
    for to in post.envelope.to() {
        let to: Address = to.clone();
        match connection.command(Rcpt::new(to, vec![])).await {
            Ok(_) => {}
            // A reply: the conversation goes on without this recipient.
            Err(error) if error.is_permanent() || error.is_transient() => refusals.push(failed(error)),
            Err(error) => return Err(failed(error)),
        }
    }
    if refusals.len() == post.envelope.to().len() {
        // While one of them may be taken later, it is worth trying again.
        let later = refusals.iter().position(|refusal| matches!(refusal, Outcome::Retry { .. }));
        return Err(refusals.swap_remove(later.unwrap_or(0)));
    }
    connection.command(Data).await.map_err(failed)?;
    Ok(refusals.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::tests::{letter, notice};
    use events::Phase;

    fn written(letter: &Letter<'_>) -> String {
        let to = ["NOC <noc@isp.example>".to_owned(), "boss@isp.example".to_owned()];
        let addresses = Addresses { from: "mastwatch <mw@isp.example>", to: &to };
        let post = request(letter, addresses).unwrap();
        assert_eq!(post.envelope.to().len(), 2);
        String::from_utf8(post.message).unwrap()
    }

    #[test]
    fn a_message_has_a_stable_id_and_answers_to_the_first_one() {
        let (opened, resolved) = (notice(Phase::Opened), notice(Phase::Resolved));
        let first = written(&letter(&opened, None));
        assert!(first.contains(&format!("Message-ID: <{}@isp.example>\r\n", opened.id)), "{first}");
        assert!(!first.contains("In-Reply-To"), "{first}");
        assert!(first.contains("Auto-Submitted: auto-generated\r\n"), "{first}");
        assert_eq!(first, written(&letter(&opened, None)));
        let second = written(&Letter { first: Some(opened.id), ..letter(&resolved, None) });
        assert!(second.contains(&format!("In-Reply-To: <{}@isp.example>\r\n", opened.id)), "{second}");
        assert!(second.contains(&format!("References: <{}@isp.example>\r\n", opened.id)), "{second}");
    }

    #[test]
    fn a_repetition_says_that_it_may_be_one() {
        let notice = notice(Phase::Opened);
        let marked = written(&Letter { possibly_repeated: true, ..letter(&notice, None) });
        assert!(marked.contains("Subject: [possibly repeated] Core-3"), "{marked}");
        assert!(marked.contains("may have reached you before"), "{marked}");
    }

    #[test]
    fn a_title_cannot_bring_headers_of_its_own() {
        let mut notice = notice(Phase::Opened);
        notice.title = "Core\r\nBcc: all@isp.example".into();
        let written = written(&letter(&notice, None));
        let (head, _) = written.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{head}");
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let notice = notice(Phase::Opened);
        let letter = letter(&notice, None);
        let to = |to: &[&str]| to.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let why = |from: &str, to: &[String]| request(&letter, Addresses { from, to }).unwrap_err();
        assert_eq!(why("nobody", &to(&["a@b.example"])), SettingsError::Mailbox("nobody".into()));
        assert_eq!(why("a@b.example", &to(&["c@"])), SettingsError::Mailbox("c@".into()));
        assert_eq!(why("a@b.example", &[]), SettingsError::Nobody);
    }

    #[test]
    fn a_server_is_an_address_with_a_usual_port() {
        let server = |text| Server::parse(text).map(|s| (s.host, s.port, s.tls_from_the_start));
        assert_eq!(server("smtp://mail.example"), Ok(("mail.example".into(), 587, false)));
        assert_eq!(server("smtps://mail.example"), Ok(("mail.example".into(), 465, true)));
        assert_eq!(server("smtp://[::1]:25"), Ok(("::1".into(), 25, false)));
        for wrong in ["", "mail.example:25", "http://mail.example", "smtp://"] {
            assert_eq!(server(wrong), Err(SettingsError::Server), "{wrong}");
        }
    }
}
