//! A router of a small ISP, played by the lab, and what plans are applied to it with.
//!
//! The lab simulates, `reconciler` speaks, `domain` plans; here they meet. Whoever collects webhooks is a server of the test's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use domain::plan::script::Pusher;
use domain::plan::{Actual, Change, Desired, Menu, Plan, Snitches, Watched, plan};
use lab::network::{Group, Habits, Kind, Network, Node, NodeIndex, RouterIndex, RouterPlan, Sight};
use lab::{Lab, Settings};
use routeros_api::{Command, Credentials, Options, Policy, Router, Target};

/// The only router that is played.
pub const ROUTER: RouterIndex = RouterIndex(0);
/// The token its scripts carry.
pub const TOKEN: &str = "mw_routerrouter_0123456789abcdef";
/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long one command may take.
const WITHIN: Duration = Duration::from_secs(10);

/// A concentrator with three access points, two customers who dial in, one who has a lease and one with
/// a fixed address. Nothing of ours is on it.
///
/// # Panics
///
/// When `version` is none.
pub fn network(version: &str, habits: Habits) -> Network {
    network_of(version, habits, 3)
}

/// The same with so many access points.
///
/// # Panics
///
/// When `version` is none.
pub fn network_of(version: &str, habits: Habits, aps: u8) -> Network {
    let mut nodes = vec![Node { address: Some([127, 22, 0, 1].into()), ..Node::new("core", Kind::Device) }];
    let below = |id: &str, kind, address: Option<[u8; 4]>, sight| Node {
        address: address.map(IpAddr::from),
        needs: vec![Group::parent(NodeIndex(0))],
        seen_by: Some((ROUTER, sight)),
        ..Node::new(id, kind)
    };
    for n in 0..aps {
        nodes.push(below(&format!("ap-{n}"), Kind::Device, Some([10, 0, 0, n]), Sight::Netwatch));
    }
    for user in ["ada", "ben \"the\\first\""] {
        nodes.push(below(&format!("acct-{user}"), Kind::Subscriber, None, Sight::Session(user.into())));
    }
    let mac = Sight::Lease("02:00:00:00:00:07".into());
    nodes.push(below("acct-cem", Kind::Subscriber, Some([10, 0, 7, 7]), mac));
    let plan = plan_of(NodeIndex(0), [127, 22, 0, 1].into(), version, habits);
    Network::new(nodes, vec![plan]).expect("the network of the tests can be played")
}

/// The same, with the API inside TLS.
///
/// # Panics
///
/// When `version` is none.
pub fn network_in_tls(version: &str) -> Network {
    let network = network(version, Habits::default());
    let plans = network.routers().iter().map(|plan| RouterPlan { tls: true, ..plan.clone() });
    Network::new(network.nodes().to_vec(), plans.collect())
        .expect("TLS changes nothing about what can be played")
}

fn plan_of(node: NodeIndex, address: IpAddr, version: &str, habits: Habits) -> RouterPlan {
    RouterPlan {
        node,
        address,
        port: 0,
        tls: false,
        user: "nms".into(),
        password: "s3cret".into(),
        token: None,
        habits: Habits {
            version: version.parse().expect("tests name versions that exist"),
            watches: false,
            reports_sessions: false,
            lease_time: Duration::from_secs(30),
            ..habits
        },
    }
}

/// A tower of which six boxes are heard at the core: a sector that is a router and passes on what it hears, its two
/// stations, a switch with an access point behind it, and a box at the core. One station and that box have no address.
///
/// # Panics
///
/// When `version` is none.
pub fn tower(version: &str) -> Network {
    let own = |n: u8| IpAddr::from([127, 24, 0, n]);
    let (core, sector, switch) = (NodeIndex(0), NodeIndex(1), NodeIndex(4));
    let device = |id: &str, below: NodeIndex, address: Option<[u8; 4]>, board| Node {
        address: address.map(IpAddr::from),
        needs: vec![Group::parent(below)],
        seen_by: address.map(|_| (ROUTER, Sight::Netwatch)),
        board,
        ..Node::new(id, Kind::Device)
    };
    let station = |id, address| Node { is_radio: true, ..device(id, sector, address, "RBLHG-5nD") };
    let nodes = vec![
        Node { address: Some(own(1)), board: "CCR2004-16G-2S+", ..Node::new("core", Kind::Device) },
        Node { address: Some(own(2)), ..device("sector", core, None, "RB921GS-5HPacD-19S") },
        station("st-a", Some([10, 0, 1, 1])),
        station("st-b", None),
        device("sw", core, Some([10, 0, 0, 3]), "CRS326-24G-2S+"),
        device("ap-1", switch, Some([10, 0, 0, 4]), "RB922UAGS-5HPacD"),
        device("bare", core, None, "RB922UAGS-5HPacD"),
    ];
    let bridging = Habits { bridges: true, ..Habits::default() };
    let plans =
        vec![plan_of(core, own(1), version, Habits::default()), plan_of(sector, own(2), version, bridging)];
    Network::new(nodes, plans).expect("the network of the tests can be played")
}

/// So many concentrators, each with so many access points and half as many customers who dial in.
///
/// # Panics
///
/// When `version` is none, or there are more than 250 × 250 routers.
pub fn many(version: &str, routers: u16, aps: u8) -> Network {
    let (mut nodes, mut plans) = (Vec::new(), Vec::new());
    for n in 0..routers {
        let router = RouterIndex(u32::from(n));
        let place = NodeIndex(u32::try_from(nodes.len()).expect("a test plays fewer nodes"));
        let [high, low] =
            [n / 250, n % 250].map(|part| u8::try_from(part).expect("fewer routers are played"));
        let address = IpAddr::from([127, 23, high, low + 1]);
        nodes.push(Node { address: Some(address), ..Node::new(&format!("core-{n}"), Kind::Device) });
        for child in 0..aps {
            let below = |id: &str, kind, address, sight| Node {
                address,
                needs: vec![Group::parent(place)],
                seen_by: Some((router, sight)),
                ..Node::new(id, kind)
            };
            // The same addresses behind every router: that is what makes networks of customers.
            let host = Some(IpAddr::from([10, 0, 0, child]));
            nodes.push(below(&format!("ap-{n}-{child}"), Kind::Device, host, Sight::Netwatch));
            if child % 2 == 0 {
                let user = format!("user-{n}-{child}");
                let sight = Sight::Session(user.as_str().into());
                nodes.push(below(&format!("acct-{user}"), Kind::Subscriber, None, sight));
            }
        }
        plans.push(plan_of(place, address, version, Habits { is_lived_in: true, ..Habits::default() }));
    }
    Network::new(nodes, plans).expect("the network of the tests can be played")
}

/// Starts it, a hundred times as fast as life.
///
/// # Errors
///
/// When its address cannot be had.
pub async fn started(version: &str, habits: Habits) -> anyhow::Result<Arc<Lab>> {
    Lab::start(network(version, habits), Settings { time_scale: 100.0, ..Settings::default() }).await
}

/// Logs in.
///
/// # Errors
///
/// When the router refuses.
pub async fn session(lab: &Lab) -> anyhow::Result<Router> {
    session_at(lab, ROUTER).await
}

/// Logs in at one of many.
///
/// # Errors
///
/// When the router refuses.
pub async fn session_at(lab: &Lab, router: RouterIndex) -> anyhow::Result<Router> {
    let target = Target {
        address: lab.api_address(router),
        source: None,
        credentials: Credentials::new("nms", "s3cret"),
        options: Options::default(),
    };
    let router = Router::new(target, Policy::default());
    router.knock(WITHIN).await?;
    Ok(router)
}

/// Reads what a plan for `desired` looks at.
///
/// # Errors
///
/// When the router does not answer.
pub async fn read(session: &Router, desired: &Desired) -> anyhow::Result<Actual> {
    Ok(reconciler::router::read(session, desired.menus(), WITHIN).await?)
}

/// Makes one change.
///
/// # Errors
///
/// When the router refuses it.
pub async fn make(session: &Router, change: &Change) -> anyhow::Result<()> {
    reconciler::router::make(session, change, WITHIN).await.with_context(|| change.to_string())
}

/// Reads, plans, and makes every change. Gives the plan.
///
/// # Errors
///
/// When the router refuses.
pub async fn apply(session: &Router, desired: &Desired) -> anyhow::Result<Plan> {
    let planned = plan(&read(session, desired).await?, desired)?;
    for change in &planned.changes {
        make(session, change).await?;
    }
    Ok(planned)
}

/// Every row of every menu that plans touch, as the router prints it, word by word, but for what moves by
/// itself. The first word is the menu.
///
/// # Errors
///
/// When the router does not answer.
pub async fn print(session: &Router) -> anyhow::Result<Vec<Vec<String>>> {
    let menus = [
        Menu::Scripts,
        Menu::Tasks,
        Menu::DhcpServers,
        Menu::Profiles,
        Menu::Netwatch,
        Menu::Secrets,
        Menu::AddressLists,
        Menu::Queues,
    ];
    let mut printed = Vec::new();
    for menu in menus {
        let command = Command::new(&format!("{}/print", menu.path()));
        for row in session.call(&command, WITHIN).await?.rows {
            let moves =
                ["since", "status", "done-tests", "failed-tests", "next-run", "run-count", "last-logged-out"];
            let text = |bytes| routeros_api::value::text(bytes).into_owned();
            let words = row.properties().map(|(name, value)| (text(name), text(value)));
            let words = words.filter(|(name, _)| !moves.contains(&name.as_str()));
            let words = words.map(|(name, value)| format!("{name}={value}"));
            printed.push(std::iter::once(menu.path().to_owned()).chain(words).collect());
        }
    }
    Ok(printed)
}

/// What the router is to tell, to a collector at `address`.
pub fn snitches(address: SocketAddr, version: &str) -> Snitches {
    Snitches {
        pusher: Pusher { url: format!("http://{address}"), token: TOKEN.into(), checks_certificate: false },
        sessions: true,
        leases: true,
        scheduler: true,
        watched: (0..3).map(|n| Watched { id: format!("ap-{n}"), host: [10, 0, 0, n].into() }).collect(),
        interval_s: 30,
        timeout_ms: 2000,
        has_types: version.starts_with('7'),
    }
}

/// One request as it arrived: its path and body.
pub type Heard = (String, serde_json::Value);

/// Takes what routers push; refuses everything while it is told to.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    heard: Arc<Mutex<Vec<Heard>>>,
    refuses: Arc<Mutex<bool>>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// When no port is to be had.
    pub async fn start() -> anyhow::Result<(Self, SocketAddr)> {
        let collector = Self::default();
        let app = axum::Router::new().fallback(take).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok((collector, address))
    }

    /// Refuses from now on, or takes again.
    pub fn refuse(&self, refuses: bool) {
        *self.refuses.lock().unwrap_or_else(PoisonError::into_inner) = refuses;
    }

    /// What was taken.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was taken, as short texts: `ap-1 down`, `ada offline`, one each, sorted.
    pub fn said(&self) -> Vec<String> {
        let mut said = Vec::new();
        for (_, body) in self.heard() {
            let all = body.as_array().cloned().unwrap_or_else(|| vec![body]);
            for one in all {
                let text = |name: &str| one[name].as_str().map(str::to_owned);
                let thing = text("id").or_else(|| text("user")).or_else(|| text("mac")).unwrap_or_default();
                let status = text("status").or_else(|| text("says")).unwrap_or_default();
                said.push(format!("{thing} {status}"));
            }
        }
        said.sort();
        said
    }

    /// Waits until `said` holds all of these.
    ///
    /// # Errors
    ///
    /// When they do not come: with what was heard instead.
    pub async fn wait_for(&self, expected: &[&str]) -> anyhow::Result<()> {
        let all_there = || {
            let said = self.said();
            expected.iter().all(|one| said.iter().any(|said| said == one))
        };
        let there = async {
            while !all_there() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, there).await;
        waited.with_context(|| format!("waiting for {expected:?}, heard {:?}", self.said()))
    }
}

async fn take(State(collector): State<Collector>, uri: Uri, headers: HeaderMap, body: String) -> StatusCode {
    if *collector.refuses.lock().unwrap_or_else(PoisonError::into_inner) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {TOKEN}")) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(body) = serde_json::from_str(&body) else { return StatusCode::BAD_REQUEST };
    let mut heard = collector.heard.lock().unwrap_or_else(PoisonError::into_inner);
    heard.push((uri.path().to_owned(), body));
    StatusCode::ACCEPTED
}
