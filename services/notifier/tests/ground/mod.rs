//! A notifier on a real log, an endpoint and a mail server to tell, and incidents to tell of.

#![allow(clippy::unwrap_used, dead_code, reason = "a test fails by panicking, and each uses its part")]

use embedded::{Nats, Temporary};
use events::{
    Access, AccessSaid, Audience, Channel, ChannelId, ChannelKind, Delivery, DeliveryKind, DeliverySaid,
    EventId, Fact, Impact, Incident, IncidentClass, IncidentId, IncidentKind, IncidentSaid, IncidentState,
    Inventory, NodeId, Notice, NoticeId, NoticeKind, NoticeSaid, Noun, Phase, Revision, RevisionSource,
    RootCause, Say, TenantId, Tier, Time, Urgency,
};
use kit::{
    Filter, From, Log, LogConfig, Outgoing, Service,
    admin::{Board, Build, Metrics},
    config::{Common, Secret},
};
use notifier::Config;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::{Field, MasterKey, MasterKeys, TenantKeys};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Ground {
    pub(crate) nats: Temporary<Nats>,
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
    pub(crate) board: Board,
    pub(crate) tenant: TenantId,
    pub(crate) keys: TenantKeys,
    pub(crate) config: Config,
    revisions: Mutex<u64>,
}

/// One replica of the notifier.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As if killed: nothing is finished, nothing is given back.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

pub(crate) async fn ground() -> Ground {
    let nats = Nats::start_temporary(|_| {}).await.unwrap();
    let log = Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap();
    log.ensure().await.unwrap();
    let master = MasterKey::random();
    let tenant = TenantId::of("hillside");
    let (keys, wrapped) = MasterKeys::new(master.clone(), vec![]).new_tenant(tenant);
    let config = Config {
        master_keys: Some(Secret::new(master.to_base64().as_str())),
        allow_private_targets: true,
        webhook_within_ms: 1_000,
        email_within_ms: 1_000,
        retries_ms: vec![300, 300, 300],
        ..Config::default()
    };
    let metrics = Metrics::of_process(Build { version: "0", revision: "test" });
    let ground = Ground {
        nats,
        log,
        metrics,
        board: Board::default(),
        tenant,
        keys,
        config,
        revisions: Mutex::new(0),
    };
    ground.say(Fact::Access(AccessSaid { now: Access::Keys(wrapped), by: "a test".into() })).await;
    ground
}

impl Ground {
    /// Starts a replica, with a connection of its own as a process would have.
    pub(crate) async fn start(&self) -> Running {
        let stop = CancellationToken::new();
        let service = Service {
            name: "notifier",
            common: Arc::new(Common::default()),
            log: Log::connect(LogConfig::new([self.nats.url()], "notifier")).await.unwrap(),
            stop: stop.clone(),
            readiness: self.board.condition("notifier"),
            metrics: self.metrics.under("notifier"),
        };
        let task = tokio::spawn(notifier::run(self.config.clone(), service));
        Running { stop, task }
    }

    pub(crate) async fn say(&self, fact: Fact) -> EventId {
        let id = EventId(Uuid::now_v7());
        let say = Say { id, tenant: self.tenant, at: now(), cause: None, fact };
        self.log.publish(Outgoing::new(say, "test")).await.unwrap();
        id
    }

    /// Lays down channels for engineers, in force.
    pub(crate) async fn channels(&self, kinds: Vec<(&str, ChannelKind)>) -> Vec<ChannelId> {
        let mut ids = vec![];
        for (name, kind) in kinds {
            let id = ChannelId::of(self.tenant, name);
            let channel = Channel { id, name: name.into(), audience: Audience::Engineers, kind };
            self.say(Fact::Inventory(Inventory::Channel(channel))).await;
            ids.push(id);
        }
        let number = {
            let mut revisions = self.revisions.lock().unwrap();
            *revisions += 1;
            *revisions
        };
        let source = RevisionSource::Commit { count: u32::try_from(ids.len()).unwrap() };
        self.say(Fact::Revision(Revision { number, source, file_digest: None, by: "a test".into() })).await;
        ids
    }

    pub(crate) fn webhook(&self, name: &str, address: SocketAddr) -> ChannelKind {
        self.webhook_at(name, &format!("http://{address}/hook"))
    }

    pub(crate) fn webhook_at(&self, name: &str, url: &str) -> ChannelKind {
        let field = Field::ChannelSecret(ChannelId::of(self.tenant, name));
        ChannelKind::Webhook { url: url.into(), secret: self.keys.seal(field, SECRET.as_bytes()) }
    }

    pub(crate) fn email(&self, address: SocketAddr) -> ChannelKind {
        ChannelKind::Email {
            server: format!("smtp://{address}"),
            from: "mastwatch@isp.example".into(),
            to: vec!["noc@isp.example".into(), "boss@isp.example".into()],
            login: None,
        }
    }

    /// Addresses a notice to `channel`, as the deciding half would.
    pub(crate) async fn address(&self, channel: ChannelId, phase: Phase) -> Notice {
        let notice = notice(self.tenant, channel, "core-3", phase);
        self.addressed(&notice).await;
        notice
    }

    pub(crate) async fn addressed(&self, notice: &Notice) {
        self.say(Fact::Notice(NoticeSaid { kind: NoticeKind::Addressed, now: notice.clone() })).await;
    }

    /// What was said of a delivery, in order.
    pub(crate) async fn deliveries(&self, notice: NoticeId) -> Vec<(DeliveryKind, Delivery)> {
        let end = self.log.state().await.unwrap().last_seq;
        let filter = Filter::noun(Noun::Delivery).tenant(self.tenant);
        let mut reader = self.log.read(&[filter], From::Start, Some(end));
        let mut found = vec![];
        while let Some(raw) = reader.next().await.unwrap() {
            let Fact::Delivery(DeliverySaid { kind, now }) = raw.decode().unwrap().fact else { panic!() };
            if now.notice == notice {
                found.push((kind, now));
            }
        }
        found
    }

    pub(crate) async fn kinds(&self, notice: NoticeId) -> Vec<DeliveryKind> {
        self.deliveries(notice).await.into_iter().map(|(kind, _)| kind).collect()
    }

    /// Waits until the delivery of `notice` has ended as `kind`.
    pub(crate) async fn until_ended(&self, notice: NoticeId, kind: DeliveryKind) -> Vec<DeliveryKind> {
        until("the delivery ends", async || self.kinds(notice).await.last() == Some(&kind)).await;
        self.kinds(notice).await
    }

    pub(crate) fn figure(&self, name: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(n, _)| n == name));
        line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// Says how an incident stands.
    pub(crate) async fn incident(&self, kind: IncidentKind, state: IncidentState, name: &str) -> IncidentId {
        let mut now = incident(self.tenant, name);
        now.state = state;
        let id = now.id;
        self.say(Fact::Incident(IncidentSaid { kind, now })).await;
        id
    }
}

pub(crate) fn now() -> Time {
    Time::from_us(chrono::Utc::now().timestamp_micros())
}

pub(crate) fn incident(tenant: TenantId, name: &str) -> Incident {
    let node = NodeId::of(tenant, name);
    Incident {
        id: IncidentId::of(EventId(node.0)),
        state: IncidentState::Open,
        class: IncidentClass::Outage,
        title: format!("{name} is down: 10 sites, 3,150 subscribers"),
        urgency: Urgency::Urgent,
        tier: Tier::Core,
        site: None,
        site_name: Some("Mill Hill".into()),
        site_address: None,
        site_hypothesis: None,
        roots: vec![RootCause {
            node,
            name: name.into(),
            tier: Tier::Core,
            primary: true,
            down: true,
            since: now(),
            quiet: false,
            flapping: false,
            confidence: 90,
            evidence: vec![],
            subscribers_below: None,
        }],
        impact: Impact { subscribers: 3_150, sites: 10, ..Impact::default() },
        opened_at: now(),
        ended_at: None,
        ended_because: None,
        merged_into: None,
        blind: None,
        acknowledged_by: None,
        hold: 0,
        timeline: vec![],
        owner: None,
    }
}

pub(crate) fn notice(tenant: TenantId, channel: ChannelId, name: &str, phase: Phase) -> Notice {
    let about = incident(tenant, name);
    Notice {
        id: NoticeId::of(about.id, Audience::Engineers.name(), channel, phase.name(), 0),
        incident: about.id,
        audience: Audience::Engineers,
        channel,
        phase,
        step: 0,
        urgency: Urgency::Urgent,
        title: about.title.clone(),
        text: "Where: Mill Hill\n".into(),
        at: now(),
        expires: now().plus_ms(3_600_000),
        about: Box::new(about),
    }
}

/// One request an endpoint got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(start.as_str()))
    }
}

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    /// Answers with this head and body.
    Answer(&'static str, &'static str),
    /// Reads everything and then says nothing.
    Nothing,
    /// Reads everything and closes.
    Close,
    /// Answers one byte at a time, so slowly that the body never ends.
    Drip,
}

/// An HTTP server that does what it is told, one request a connection.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<Vec<Does>>>,
}

impl Endpoint {
    /// Does `first`, one after the other, and then always the last of them.
    pub(crate) async fn start(script: &[Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            script: Arc::new(Mutex::new(script.iter().rev().copied().collect())),
        };
        let serving = endpoint.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let endpoint = serving.clone();
                tokio::spawn(async move { endpoint.serve(stream).await });
            }
        });
        endpoint
    }

    pub(crate) fn does(&self, does: Does) {
        *self.script.lock().unwrap() = vec![does];
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some(got) = request(&mut stream).await else { return };
        self.got.lock().unwrap().push(got);
        let does = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop().unwrap() } else { script[0] }
        };
        match does {
            Does::Answer(head, body) => {
                let n = body.len();
                let answer =
                    format!("HTTP/1.1 {head}\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n{body}");
                drop(stream.write_all(answer.as_bytes()).await);
            }
            Does::Nothing => std::future::pending().await,
            Does::Close => {}
            Does::Drip => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await);
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<Got> {
    let mut bytes = vec![];
    loop {
        let mut more = [0; 4096];
        let n = stream.read(&mut more).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&more[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if body.len() >= length.parse::<usize>().ok()? {
            return Some(Got { head, body: body.to_owned() });
        }
    }
}

/// What a mail server says at each point; the usual unless set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    pub(crate) mail: &'static str,
    /// To the recipients whose address begins with `boss`.
    pub(crate) boss: &'static str,
    pub(crate) noc: &'static str,
    pub(crate) data: &'static str,
    /// After the message; `None`: nothing, and the connection stays open.
    pub(crate) end: Option<&'static str>,
}

pub(crate) const POLITE: Manners = Manners {
    mail: "250 ok",
    boss: "250 ok",
    noc: "250 ok",
    data: "354 go on",
    end: Some("250 queued as 4711"),
};

/// A mail server that does what it is told.
#[derive(Debug, Clone)]
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<String>>>,
    manners: Arc<Mutex<Manners>>,
}

impl MailServer {
    pub(crate) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            manners: Arc::new(Mutex::new(manners)),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                tokio::spawn(async move { drop(server.serve(stream).await) });
            }
        });
        server
    }

    pub(crate) fn has(&self, manners: Manners) {
        *self.manners.lock().unwrap() = manners;
    }

    /// Every message that was said to its end.
    pub(crate) fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mail.example\r\n").await?;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let manners = *self.manners.lock().unwrap();
            let command = line.trim().to_ascii_lowercase();
            let reply = match command.split([' ', ':']).next().unwrap_or_default() {
                "ehlo" => "250-mail.example\r\n250 8BITMIME",
                "mail" => manners.mail,
                "rcpt" if command.contains("boss") => manners.boss,
                "rcpt" => manners.noc,
                "data" => manners.data,
                "quit" => "221 bye",
                _ => "500 what?",
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
            if reply.starts_with("354") {
                let mut message = String::new();
                while !message.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut message).await? == 0 {
                        return Ok(());
                    }
                }
                self.got.lock().unwrap().push(message);
                match manners.end {
                    Some(end) => stream.write_all(format!("{end}\r\n").as_bytes()).await?,
                    None => std::future::pending().await,
                }
            }
        }
    }
}

/// Waits until `holds`; panics with `what` when it does not within 60 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
