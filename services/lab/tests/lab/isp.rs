//! A small ISP, a collector that takes its webhooks, and a plain API client.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use lab::network::{
    Group, Habits, Kind, Member, Mode, Network, Node, NodeIndex, RouterIndex, RouterPlan, Sight,
};
use lab::version::DEFAULT_VERSION;
use lab::{Lab, Settings};
use routeros_api::wire::{Decoder, Limits, Sentence};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const CORE: RouterIndex = RouterIndex(0);
pub(crate) const TOWER: RouterIndex = RouterIndex(1);
pub(crate) const CORE_ADDRESS: [u8; 4] = [127, 20, 0, 1];
pub(crate) const TOWER_ADDRESS: [u8; 4] = [127, 20, 0, 2];
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

fn all(members: &[usize]) -> Group {
    let members = members.iter().map(|n| Member::Node(NodeIndex(*n as u32))).collect();
    Group { mode: Mode::All, members }
}

/// `core` - `link` - `tower` - 2 sectors (netwatch of the tower) - 2 customers each (PPPoE of the tower).
pub(crate) fn network(version: Option<&str>) -> Network {
    let node = |id: &str, kind, address: Option<[u8; 4]>, needs, seen_by| Node {
        address: address.map(IpAddr::from),
        needs,
        seen_by,
        ..Node::new(id, kind)
    };
    let mut nodes = vec![
        node("core", Kind::Device, Some(CORE_ADDRESS), vec![], None),
        node("link", Kind::Passive, None, vec![], None),
        node("tower", Kind::Device, Some(TOWER_ADDRESS), vec![all(&[0, 1])], Some((CORE, Sight::Netwatch))),
    ];
    for s in 0..2_u8 {
        let sector = nodes.len();
        let seen_by = Some((TOWER, Sight::Netwatch));
        nodes.push(node(&format!("sector-{s}"), Kind::Device, Some([10, 0, s, 1]), vec![all(&[2])], seen_by));
        for c in 0..2 {
            let user = format!("cust-{s}{c}");
            let seen_by = Some((TOWER, Sight::Session(user.as_str().into())));
            nodes.push(node(&format!("acct-{s}{c}"), Kind::Subscriber, None, vec![all(&[sector])], seen_by));
        }
    }
    let router = |node, address: [u8; 4], token: &str| RouterPlan {
        node: NodeIndex(node),
        address: address.into(),
        port: 0,
        tls: false,
        user: "nms".into(),
        password: "s3cret".into(),
        token: Some(token.into()),
        habits: Habits { version: version.unwrap_or(DEFAULT_VERSION).parse().unwrap(), ..Habits::default() },
    };
    Network::new(nodes, vec![router(0, CORE_ADDRESS, "mwr_core"), router(2, TOWER_ADDRESS, "mwr_tower")])
        .unwrap()
}

/// A hundred times as fast as life: probes every 0.1 s, sessions lost within 0.2 s, start-up 3 s.
pub(crate) fn fast(ingest: Option<SocketAddr>) -> Settings {
    Settings {
        time_scale: 100.0,
        ingest: ingest.map(|address| format!("http://{address}").parse().unwrap()),
        ..Settings::default()
    }
}

pub(crate) async fn started(settings: Settings) -> Arc<Lab> {
    Lab::start(network(None), settings).await.unwrap()
}

pub(crate) fn node(lab: &Lab, id: &str) -> NodeIndex {
    lab.network().find(id).unwrap()
}

/// One webhook as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) from: IpAddr,
    pub(crate) path: String,
    pub(crate) bearer: String,
    pub(crate) body: serde_json::Value,
}

impl Hook {
    pub(crate) fn seq(&self) -> u64 {
        self.body["seq"].as_u64().unwrap()
    }

    pub(crate) fn boot(&self) -> &str {
        self.body["boot"].as_str().unwrap()
    }

    /// Such as `sector-0 down` or `cust-00 offline`.
    pub(crate) fn says(&self) -> String {
        let thing = self.body["id"].as_str().or(self.body["user"].as_str()).unwrap();
        format!("{thing} {}", self.body["status"].as_str().unwrap())
    }
}

/// Takes webhooks; refuses as many as it is told to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collector {
    pub(crate) hooks: Arc<Mutex<Vec<Hook>>>,
    pub(crate) refuse: Arc<Mutex<u32>>,
}

impl Collector {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let collector = Self::default();
        let app = axum::Router::new().fallback(take).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        (collector, address)
    }

    pub(crate) fn taken(&self) -> Vec<Hook> {
        self.hooks.lock().unwrap().clone()
    }

    /// Waits until so many have arrived.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Hook> {
        let arrived = async {
            while self.taken().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, arrived).await.is_err() {
            panic!("{count} webhooks awaited, heard {:?}", self.taken());
        }
        self.taken()
    }
}

async fn take(
    State(collector): State<Collector>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let mut refuse = collector.refuse.lock().unwrap();
    if *refuse > 0 {
        *refuse -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let bearer = headers["authorization"].to_str().unwrap().to_owned();
    let body = serde_json::from_str(&body).unwrap();
    collector.hooks.lock().unwrap().push(Hook { from: from.ip(), path: uri.path().to_owned(), bearer, body });
    StatusCode::ACCEPTED
}

/// An API client that does exactly what it is told.
pub(crate) struct Client {
    stream: TcpStream,
    decoder: Decoder,
    waiting: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(lab: &Lab, router: RouterIndex) -> Self {
        let stream = TcpStream::connect(lab.api_address(router)).await.unwrap();
        Self { stream, decoder: Decoder::new(Limits::CLIENT), waiting: Vec::new() }
    }

    pub(crate) async fn logged_in(lab: &Lab, router: RouterIndex) -> Self {
        let mut client = Self::connect(lab, router).await;
        client.say(&["/login", "=name=nms", "=password=s3cret"]).await;
        assert_eq!(client.hear().await, Some(Sentence::done()));
        client
    }

    pub(crate) async fn say(&mut self, words: &[&str]) {
        let said = words.iter().fold(Sentence::default(), Sentence::word);
        self.stream.write_all(&said.to_bytes()).await.unwrap();
    }

    /// Bytes as they are, heard or not.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next sentence, `None` at the end. Panics after a while of silence.
    pub(crate) async fn hear(&mut self) -> Option<Sentence> {
        let heard = tokio::time::timeout(PATIENCE, self.next()).await;
        heard.expect("the router should have answered by now").unwrap_or(None)
    }

    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Sentence>> {
        loop {
            let mut bytes = self.waiting.as_slice();
            let said = self.decoder.decode(&mut bytes).unwrap();
            self.waiting = bytes.to_vec();
            if said.is_some() {
                return Ok(said);
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(None);
            }
            self.waiting.extend_from_slice(&buffer[..count]);
        }
    }

    /// Everything up to and with the next `!done`, as text.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Vec<String> {
        self.say(words).await;
        let mut heard = Vec::new();
        loop {
            let said = self.hear().await.expect("the router should not have closed");
            heard.push(shown(&said));
            if said.first() == b"!done" {
                return heard;
            }
        }
    }
}

/// A sentence as text: its words with a blank between.
pub(crate) fn shown(said: &Sentence) -> String {
    said.words().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
}
