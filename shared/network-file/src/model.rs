//! A network file as it was written: typed, checked, and not yet sealed.

use crate::{Position, Secret, lab::Lab};
use events::{Audience, Fingerprint, NodeKind, Policy, Tier, Watch, Window};
use std::{collections::BTreeMap, net::IpAddr};

/// All that one network file says. Made by [`crate::parse`] or [`crate::generate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFile {
    /// Whose network it is.
    pub tenant: TenantEntry,
    /// How long things are held.
    pub policy: Policy,
    /// Ways to reach people.
    pub channels: Vec<ChannelEntry>,
    /// Tokens of other systems and people.
    pub tokens: Vec<TokenEntry>,
    /// Places.
    pub sites: Vec<SiteEntry>,
    /// Devices, links, services and upstreams.
    pub nodes: Vec<NodeEntry>,
    /// Rings and partial meshes.
    pub meshes: Vec<Mesh>,
    /// Customers' services.
    pub subscribers: Vec<Subscriber>,
    /// What the simulated ISP makes of it; an import ignores it.
    pub lab: Lab,
    /// Where each of [`Self::nodes`] stands in the list.
    pub(crate) places: BTreeMap<String, usize>,
    /// Of which of [`Self::meshes`] a node is a member that is no gateway.
    pub(crate) meshes_of: BTreeMap<String, Vec<usize>>,
}

/// One ISP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantEntry {
    /// What operators type: `[a-z0-9-]`.
    pub slug: String,
    /// What people read.
    pub name: String,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteEntry {
    /// Its id in this file.
    pub id: String,
    /// What people say on the phone.
    pub name: String,
    /// Where a technician drives to.
    pub address: Option<String>,
    /// Microdegrees north and east.
    pub coordinates_udeg: Option<(i32, i32)>,
    /// Where it is written.
    pub at: Position,
}

/// What something needs: a node, or a group of needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The node with this id.
    Node(String),
    /// At least one of these.
    Any(Vec<Need>),
    /// Every one of these.
    All(Vec<Need>),
    /// At least `k` of these.
    KOfN {
        /// How many.
        k: u16,
        /// Of which.
        of: Vec<Need>,
    },
}

impl Need {
    /// Calls `with` with the id of every node in it.
    pub fn each_node<'a>(&'a self, with: &mut dyn FnMut(&'a str)) {
        match self {
            Need::Node(id) => with(id),
            Need::Any(of) | Need::All(of) | Need::KOfN { of, .. } => {
                of.iter().for_each(|need| need.each_node(with));
            }
        }
    }
}

/// Which router sees a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenBy {
    /// This one; the file says so.
    Written(String),
    /// The nearest router with a login on the way up.
    Nearest(String),
    /// None: it has no address, or no router with a login is above it.
    Nobody,
}

impl SeenBy {
    /// The id of the router, if there is one.
    pub fn router(&self) -> Option<&str> {
        match self {
            SeenBy::Written(id) | SeenBy::Nearest(id) => Some(id),
            SeenBy::Nobody => None,
        }
    }
}

/// A device, link, service or upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its id in this file.
    pub id: String,
    /// What people read.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// How far up it stands.
    pub tier: Tier,
    /// The id of its site, if the file names one.
    pub site: Option<String>,
    /// What the file says it needs; all of these. [`NetworkFile::needs_of`] adds what meshes say.
    pub needs: Vec<Need>,
    /// What a link joins.
    pub ends: Option<(String, String)>,
    /// Where it answers.
    pub address: Option<IpAddr>,
    /// The server's own watch over it.
    pub watch: Option<Watch>,
    /// The router that sees it.
    pub seen_by: SeenBy,
    /// How to log in to it.
    pub login: Option<LoginEntry>,
    /// The token its webhooks carry.
    pub webhook: Option<WebhookEntry>,
    /// Whose it is.
    pub owner: Option<events::Owner>,
    /// When it may be down quietly.
    pub maintenance: Vec<Window>,
    /// Where it is written.
    pub at: Position,
}

/// How to log in to a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEntry {
    /// Who.
    pub user: Secret,
    /// With which password.
    pub password: Secret,
    /// At which port of the router's address.
    pub port: u16,
    /// Whether over TLS.
    pub tls: bool,
    /// The certificate that it must show.
    pub certificate: Option<Fingerprint>,
    /// Whether mastwatch may change the router.
    pub manage: bool,
    /// Whether mastwatch may make its subscribers what they are entitled to be.
    pub enforce: bool,
}

/// The token of a router's webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEntry {
    /// `mw_<prefix>_<secret>`.
    pub token: Secret,
    /// From where it may be used, as `address/bits`; empty: from anywhere.
    pub from: Vec<String>,
}

/// A token that is not a router's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// What operators call it.
    pub name: String,
    /// What it opens.
    pub opens: Opens,
    /// `mw_<prefix>_<secret>`.
    pub token: Secret,
    /// From where it may be used, as `address/bits`; empty: from anywhere.
    pub from: Vec<String>,
    /// Where it is written.
    pub at: Position,
}

/// What a token that is not a router's opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// Pushing claims about any node of the tenant.
    Signals,
    /// The console's API for the tenant.
    Console,
}

/// A way to reach an audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelEntry {
    /// What operators call it.
    pub name: String,
    /// Whom it reaches.
    pub audience: Audience,
    /// How.
    pub via: Via,
    /// Where it is written.
    pub at: Position,
}

/// How a channel reaches people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// An HTTP POST signed after Standard Webhooks.
    Webhook {
        /// Where to.
        url: String,
        /// `whsec_` and base64.
        secret: Secret,
    },
    /// Mail.
    Email {
        /// `smtp://host:port` or `smtps://host:port`.
        server: String,
        /// Who it is from.
        from: String,
        /// Who gets it.
        to: Vec<String>,
        /// User and password, if the server wants them.
        login: Option<(Secret, Secret)>,
    },
}

/// A ring or partial mesh: a member is supplied when a path of working links and members leads to
/// a supplied gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// What messages call it.
    pub id: String,
    /// The nodes in it.
    pub members: Vec<String>,
    /// The links between them.
    pub links: Vec<String>,
    /// The members through which it is supplied.
    pub gateways: Vec<String>,
    /// Where it is written.
    pub at: Position,
}

/// By what a subscriber's service is known. Never printed: it names a person.
#[derive(Clone, PartialEq, Eq)]
pub enum Session {
    /// A PPPoE user name.
    Pppoe(Secret),
    /// A MAC address that leases by DHCP.
    Mac(Secret),
    /// A static address.
    Static(IpAddr),
    /// Nothing: it can only be inferred.
    None,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Session::Pppoe(_) => "Pppoe(…)",
            Session::Mac(_) => "Mac(…)",
            Session::Static(_) => "Static(…)",
            Session::None => "None",
        })
    }
}

/// A customer's service.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// The account in the operator's books.
    pub account: String,
    /// What the file says it needs. [`NetworkFile::subscriber_needs`] adds the concentrator.
    pub needs: Vec<Need>,
    /// By what its service is known.
    pub session: Session,
    /// The routers that may hold its session, or whose netwatch watches its address; the file says so.
    pub concentrators: Vec<String>,
    /// The first of these, or the nearest router with a login on the way up.
    pub seen_by: SeenBy,
    /// Its site, if not that of what it depends on.
    pub site: Option<String>,
    /// The plan it pays for.
    pub plan: Option<String>,
    /// Where its ticket is.
    pub ticket: Option<String>,
    /// What is known about the person; sealed before it goes anywhere.
    pub person: Option<PersonEntry>,
    /// What it is entitled to; without it nothing is enforced, or what somebody else has said.
    pub service: Option<ServiceEntry>,
    /// When it may be down quietly.
    pub maintenance: Vec<Window>,
    /// Where it is written.
    pub at: Position,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscriber({}, needs {:?}, at {}, …)", self.account, self.needs, self.at.line)
    }
}

/// What a subscriber is entitled to. What is absent is left as routers have it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Whether it is served.
    pub state: events::ServiceState,
    /// The PPP profile of its plan, as routers call it.
    pub profile: Option<String>,
    /// How fast it may be.
    pub rate: Option<events::Rate>,
    /// The address that it always gets when it dials in.
    pub address: Option<IpAddr>,
    /// The password of a user who is to be added where nobody knows it.
    pub password: Option<Secret>,
}

impl std::fmt::Debug for ServiceEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceEntry({:?}, …)", self.state)
    }
}

/// What is known about the person behind a subscriber, for those who may know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PersonEntry {
    /// What they are called.
    pub name: Option<Secret>,
    /// Where they are called.
    pub phone: Option<Secret>,
    /// Where they live.
    pub address: Option<Secret>,
}

impl NetworkFile {
    /// A file that says nothing yet but whose network it is.
    pub(crate) fn empty(tenant: TenantEntry) -> Self {
        Self {
            tenant,
            policy: Policy::default(),
            channels: Vec::new(),
            tokens: Vec::new(),
            sites: Vec::new(),
            nodes: Vec::new(),
            meshes: Vec::new(),
            subscribers: Vec::new(),
            lab: Lab::default(),
            places: BTreeMap::new(),
            meshes_of: BTreeMap::new(),
        }
    }

    /// The device, link, service or upstream that the file calls `id`.
    pub fn node(&self, id: &str) -> Option<&NodeEntry> {
        self.places.get(id).map(|place| &self.nodes[*place])
    }

    /// Everything a device, link, service or upstream needs: what is written for it, then what the
    /// meshes it is a member of say. All of these.
    ///
    /// A member that is no gateway needs any of its links together with the member at its other end.
    pub fn needs_of(&self, node: &NodeEntry) -> Vec<Need> {
        let mut needs = node.needs.clone();
        for mesh in self.meshes_of.get(&node.id).into_iter().flatten().map(|n| &self.meshes[*n]) {
            let ways = mesh.links.iter().filter_map(|link| {
                let (a, b) = self.node(link)?.ends.as_ref()?;
                let other = if *a == node.id { b } else { a };
                (*a == node.id || *b == node.id)
                    .then(|| Need::All(vec![Need::Node(link.clone()), Need::Node(other.clone())]))
            });
            needs.push(Need::Any(ways.collect()));
        }
        needs
    }

    /// Everything a subscriber needs: what is written for it, and any of the concentrators the file
    /// names for its session. All of these.
    pub fn subscriber_needs(&self, subscriber: &Subscriber) -> Vec<Need> {
        let mut needs = subscriber.needs.clone();
        let holds_session = match subscriber.session {
            Session::Pppoe(_) | Session::Mac(_) => true,
            Session::Static(_) | Session::None => false,
        };
        if holds_session {
            let extra = match subscriber.concentrators.as_slice() {
                [] => None,
                [one] => Some(Need::Node(one.clone())),
                several => Some(Need::Any(several.iter().cloned().map(Need::Node).collect())),
            };
            needs.extend(extra.filter(|need| !subscriber.needs.contains(need)));
        }
        needs
    }
}
