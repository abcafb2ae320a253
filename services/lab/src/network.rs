//! The network that is simulated, as plain indices.
//!
//! What the network file says is turned into this once, at the start; nothing here ever changes.
//! What does change (what is broken, who is connected) is in [`crate::world`] and [`crate::state`].

mod from_file;
mod neighbours;

pub use self::neighbours::{Neighbour, Port};

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use crate::version::{DEFAULT_VERSION, Version};

/// Where a node stands in [`Network::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

/// Where a router stands in [`Network::routers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterIndex(pub u32);

impl NodeIndex {
    /// For use in a slice.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl RouterIndex {
    /// For use in a slice.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// What a node is, as far as the simulation treats them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A box with power of its own. One that needs nothing is a source of supply.
    Device,
    /// A cable, radio path or service: one that needs nothing merely is there, and supplies nobody alone.
    Passive,
    /// A customer.
    Subscriber,
}

/// How many members of a group must work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One is enough.
    Any,
    /// Every one.
    All,
    /// At least so many.
    AtLeast(u32),
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A node.
    Node(NodeIndex),
    /// A group inside the group.
    Group(Group),
}

/// What a node needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// How many of the members.
    pub mode: Mode,
    /// Of whom.
    pub members: Vec<Member>,
}

impl Group {
    /// A plain parent.
    pub fn parent(node: NodeIndex) -> Self {
        Self { mode: Mode::All, members: vec![Member::Node(node)] }
    }

    /// Calls `each` for every node named in here or in the groups inside.
    pub fn for_each_node(&self, each: &mut impl FnMut(NodeIndex)) {
        for member in &self.members {
            match member {
                Member::Node(node) => each(*node),
                Member::Group(group) => group.for_each_node(each),
            }
        }
    }
}

/// How the router that sees a node knows about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// By a netwatch entry for its address.
    Netwatch,
    /// By its PPPoE session under this user name.
    Session(Box<str>),
    /// By the lease of this hardware address.
    Lease(Box<str>),
}

/// What a node adds to every path through it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hop {
    /// There and back, microseconds.
    pub rtt_us: u32,
    /// The fraction of packets that are lost, from 0 to 1.
    pub loss: f32,
}

impl Default for Hop {
    /// 2 ms without loss.
    fn default() -> Self {
        Self { rtt_us: 2_000, loss: 0.0 }
    }
}

/// One node of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The id in the network file.
    pub id: Box<str>,
    /// What it is.
    pub kind: Kind,
    /// Where it answers.
    pub address: Option<IpAddr>,
    /// All of these.
    pub needs: Vec<Group>,
    /// The router that sees it, and how.
    pub seen_by: Option<(RouterIndex, Sight)>,
    /// Further routers its session may be on, when the first does not see it.
    pub stand_ins: Vec<RouterIndex>,
    /// Whether it is a radio that is connected to the router that sees it.
    pub is_radio: bool,
    /// Which model it says it is.
    pub board: &'static str,
    /// What it adds to every path through it.
    pub hop: Hop,
    /// How long it takes to start after it is mended, in the routers' time.
    pub boot: Duration,
}

impl Node {
    /// A node that needs nothing and that nobody sees.
    pub fn new(id: &str, kind: Kind) -> Self {
        Self {
            id: id.into(),
            kind,
            address: None,
            needs: Vec::new(),
            seen_by: None,
            stand_ins: Vec::new(),
            is_radio: false,
            board: "RBLHG-5nD",
            hop: Hop::default(),
            boot: Duration::ZERO,
        }
    }
}

/// How one router behaves. Times are the routers' own, see [`crate::clock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    /// What it runs.
    pub version: Version,
    /// Whether it has a netwatch entry for what it sees.
    pub watches: bool,
    /// Between two netwatch probes of a placed entry.
    pub probe_interval: Duration,
    /// After a boot, how long version 7 waits before netwatch probes anything.
    pub startup_delay: Duration,
    /// Whether its PPP profiles have our scripts.
    pub reports_sessions: bool,
    /// How long after the last sign of a customer its session is given up: between half of this and all of it.
    pub session_lost_after: Duration,
    /// How long a DHCP lease lasts without being renewed.
    pub lease_time: Duration,
    /// The group of the user in [`RouterPlan::user`]: `full`, `write` or `read`.
    pub group: String,
    /// What the board may do.
    pub device_mode: DeviceMode,
    /// Whether its customers are known to a RADIUS server and have no secrets here.
    pub radius: bool,
    /// Whether an operator has configured it before: lines of his own, entries of his own.
    pub is_lived_in: bool,
    /// How far its wall clock is ahead, seconds; behind when negative.
    pub clock_ahead_s: i64,
    /// Whether it passes on what is said below it, so that the next one up hears it too.
    pub bridges: bool,
}

/// What a board may do before somebody has pressed its button. Source: `/system/device-mode`; boards
/// that were shipped with 7.17 or later come as `home`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceMode {
    /// All but containers and the like.
    #[default]
    Advanced,
    /// Neither those nor tools that make traffic.
    Basic,
    /// Neither `/tool/fetch` nor the scheduler.
    Home,
}

impl DeviceMode {
    /// As the menu shows it.
    pub fn text(self) -> &'static str {
        match self {
            DeviceMode::Advanced => "advanced",
            DeviceMode::Basic => "basic",
            DeviceMode::Home => "home",
        }
    }

    /// Whether `/tool/fetch` and the scheduler work.
    pub fn allows_push(self) -> bool {
        match self {
            DeviceMode::Advanced | DeviceMode::Basic => true,
            DeviceMode::Home => false,
        }
    }
}

impl Default for Habits {
    /// Version 7.16.2; netwatch every 10 s, from 5 min after a boot (`startup-delay` of
    /// `/tool/netwatch`); sessions given up after 20 s (`keepalive-timeout` of 10 s, and drops at
    /// about twice that); leases of 10 min; a user who may everything on a board that may everything,
    /// with its customers in a list of its own, fresh from the factory and on time.
    fn default() -> Self {
        Self {
            version: DEFAULT_VERSION.parse().expect("the default version is one"),
            watches: true,
            probe_interval: Duration::from_secs(10),
            startup_delay: Duration::from_secs(300),
            reports_sessions: true,
            session_lost_after: Duration::from_secs(20),
            lease_time: Duration::from_secs(600),
            group: "full".into(),
            device_mode: DeviceMode::default(),
            radius: false,
            is_lived_in: false,
            clock_ahead_s: 0,
            bridges: false,
        }
    }
}

/// A router that is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterPlan {
    /// Which node it is.
    pub node: NodeIndex,
    /// The loopback address it has for itself. Its webhooks come from here.
    pub address: IpAddr,
    /// The port of its API there.
    pub port: u16,
    /// Whether that is inside TLS, with a certificate of its own.
    pub tls: bool,
    /// Who may log in.
    pub user: String,
    /// With which password.
    pub password: String,
    /// The bearer token its scripts carry; without one it places no scripts.
    pub token: Option<String>,
    /// How it behaves.
    pub habits: Habits,
}

/// Why something cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Two nodes have one id.
    #[error("two nodes are called `{0}`")]
    Twice(String),
    /// A router is not on loopback, so it cannot be played on this machine.
    #[error("router `{id}` has the address {address}: only addresses in 127.0.0.0/8 can be played")]
    NotLoopback {
        /// The router.
        id: String,
        /// Its address.
        address: IpAddr,
    },
    /// A router's version is none.
    #[error("router `{id}`")]
    Version {
        /// The router.
        id: String,
        /// What is wrong with it.
        source: crate::version::BadVersion,
    },
    /// An index points nowhere.
    #[error("node `{0}` names a node or router that does not exist")]
    Dangling(String),
    /// A node that is watched by netwatch has no address to be watched at.
    #[error("node `{0}` is seen by a router but has neither an address nor a PPPoE user")]
    NoAddress(String),
}

/// The whole network, checked.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Node>,
    routers: Vec<RouterPlan>,
    by_id: HashMap<Box<str>, NodeIndex>,
    /// Who names a node in its needs.
    dependants: Vec<Vec<NodeIndex>>,
    /// What a router sees, and whose session it may stand in for.
    children: Vec<Vec<NodeIndex>>,
    /// Whom a router hears.
    neighbours: Vec<Vec<Neighbour>>,
    /// Which router a node is played by.
    played: HashMap<NodeIndex, RouterIndex>,
}

impl Network {
    /// Checks and indexes what is to be simulated.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] for the first thing that cannot be.
    pub fn new(nodes: Vec<Node>, routers: Vec<RouterPlan>) -> Result<Self, NetworkError> {
        let mut by_id = HashMap::with_capacity(nodes.len());
        let mut dependants = vec![Vec::new(); nodes.len()];
        let mut children = vec![Vec::new(); routers.len()];
        for (index, node) in nodes.iter().enumerate() {
            let this = NodeIndex(index as u32);
            match (by_id.entry(node.id.clone()), node.kind) {
                (Entry::Vacant(place), _) => {
                    place.insert(this);
                }
                // An account may be called like a device, which then keeps the name.
                (Entry::Occupied(_), Kind::Subscriber) => {
                    by_id.insert(format!("account:{}", node.id).into(), this);
                }
                (Entry::Occupied(_), Kind::Device | Kind::Passive) => {
                    return Err(NetworkError::Twice(node.id.to_string()));
                }
            }
            let mut dangling = false;
            for group in &node.needs {
                group.for_each_node(&mut |needed| match dependants.get_mut(needed.at()) {
                    Some(list) if list.last() != Some(&this) => list.push(this),
                    Some(_) => {}
                    None => dangling = true,
                });
            }
            if let Some((router, sight)) = &node.seen_by {
                match children.get_mut(router.at()) {
                    Some(list) => list.push(this),
                    None => dangling = true,
                }
                if node.stand_ins.iter().any(|router| router.at() >= routers.len()) {
                    dangling = true;
                }
                if *sight == Sight::Netwatch && node.address.is_none() {
                    return Err(NetworkError::NoAddress(node.id.to_string()));
                }
            }
            for router in &node.stand_ins {
                if let Some(list) = children.get_mut(router.at()) {
                    list.push(this);
                }
            }
            if dangling {
                return Err(NetworkError::Dangling(node.id.to_string()));
            }
        }
        for router in &routers {
            let id = || nodes.get(router.node.at()).map_or_else(String::new, |node| node.id.to_string());
            if router.node.at() >= nodes.len() {
                return Err(NetworkError::Dangling(id()));
            }
            if !router.address.is_loopback() {
                return Err(NetworkError::NotLoopback { id: id(), address: router.address });
            }
        }
        let indexes = (0..routers.len() as u32).map(RouterIndex);
        let played: HashMap<NodeIndex, RouterIndex> =
            indexes.clone().map(|router| (routers[router.at()].node, router)).collect();
        let of_router = |router: RouterIndex| {
            let played = |node: NodeIndex| played.get(&node).copied();
            neighbours::of_router(router, &nodes, &routers, &dependants, &children[router.at()], played)
        };
        let neighbours = indexes.map(of_router).collect();
        Ok(Self { nodes, routers, by_id, dependants, children, neighbours, played })
    }

    /// Every node.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every router that is played.
    pub fn routers(&self) -> &[RouterPlan] {
        &self.routers
    }

    /// One node.
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.at()]
    }

    /// One router.
    pub fn router(&self, index: RouterIndex) -> &RouterPlan {
        &self.routers[index.at()]
    }

    /// The node of that id.
    pub fn find(&self, id: &str) -> Option<NodeIndex> {
        self.by_id.get(id).copied()
    }

    /// Every node index.
    pub fn indices(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.nodes.len() as u32).map(NodeIndex)
    }

    /// Every router index.
    pub fn router_indices(&self) -> impl Iterator<Item = RouterIndex> + use<> {
        (0..self.routers.len() as u32).map(RouterIndex)
    }

    /// Who names this node in its needs.
    pub fn dependants(&self, node: NodeIndex) -> &[NodeIndex] {
        &self.dependants[node.at()]
    }

    /// Whom a router hears around it.
    pub fn neighbours(&self, router: RouterIndex) -> &[Neighbour] {
        &self.neighbours[router.at()]
    }

    /// Which router a node is played by.
    pub fn played(&self, node: NodeIndex) -> Option<RouterIndex> {
        self.played.get(&node).copied()
    }

    /// What a router sees, and whose session it may stand in for.
    pub fn children(&self, router: RouterIndex) -> &[NodeIndex] {
        &self.children[router.at()]
    }
}
