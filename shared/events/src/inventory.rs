//! What the network is: tenants, sites, nodes, channels and policy, as people laid them down.
//!
//! Every change of the inventory is one batch that ends with a [`Revision`]. What does not fit
//! into one commit is laid down as [`Part`]s first and takes effect when a revision names them.

use crate::{ChannelId, ClaimKey, Fingerprint, NodeId, SiteId, TenantId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};

/// One thing of the inventory as it stands. Said by console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "thing", rename_all = "snake_case")]
pub enum Inventory {
    /// The tenant itself.
    Tenant(Tenant),
    /// A place.
    Site(Site),
    /// A node of the dependency graph.
    Node(Arc<Node>),
    /// A way to reach people.
    Channel(Channel),
    /// How long things are held and who is told.
    Policy(Policy),
    /// A site that is no more.
    SiteRemoved {
        /// Which.
        id: SiteId,
    },
    /// A node that is no more.
    NodeRemoved {
        /// Which.
        id: NodeId,
    },
    /// A channel that is no more.
    ChannelRemoved {
        /// Which.
        id: ChannelId,
    },
}

impl Inventory {
    /// The key of this thing's subject.
    pub fn key(&self) -> String {
        match self {
            Inventory::Tenant(_) => "tenant".into(),
            Inventory::Policy(_) => "policy".into(),
            Inventory::Site(Site { id, .. }) | Inventory::SiteRemoved { id } => format!("site-{id}"),
            Inventory::Node(node) => format!("node-{}", node.id),
            Inventory::NodeRemoved { id } => format!("node-{id}"),
            Inventory::Channel(Channel { id, .. }) | Inventory::ChannelRemoved { id } => {
                format!("channel-{id}")
            }
        }
    }
}

/// One ISP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tenant {
    /// Derived from the slug.
    pub id: TenantId,
    /// What operators type: `[a-z0-9-]`.
    pub slug: String,
    /// What people read.
    pub name: String,
}

/// A physical place: building, tower, point of presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Derived from the file's id.
    pub id: SiteId,
    /// The id in the network file.
    pub file_id: String,
    /// What people say on the phone.
    pub name: String,
    /// Where a technician drives to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Microdegrees north.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude_udeg: Option<i32>,
    /// Microdegrees east.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude_udeg: Option<i32>,
}

/// How far up the tree a node stands. Drives who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The backbone.
    Core,
    /// A tower or point of presence.
    Site,
    /// A sector or a backhaul.
    Sector,
    /// A customer's antenna, or one that serves several.
    Station,
    /// A customer's service.
    Subscriber,
}

impl Tier {
    /// Every tier, from the core outwards.
    pub const ALL: [Tier; 5] = [Tier::Core, Tier::Site, Tier::Sector, Tier::Station, Tier::Subscriber];
}

/// What kind of box a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceClass {
    /// Speaks the RouterOS API, or another router.
    Router,
    /// A switch.
    Switch,
    /// An access point that serves a sector.
    SectorAp,
    /// One end of a backhaul.
    Backhaul,
    /// A customer's antenna.
    Station,
    /// A server.
    Server,
    /// Anything else.
    Other,
}

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeKind {
    /// A box.
    Device {
        /// Which kind of box.
        class: DeviceClass,
    },
    /// A cable or radio path.
    Link,
    /// A customer's service.
    Subscriber,
    /// Something that runs on devices.
    Service,
    /// Somebody else's network that ours needs.
    Upstream,
}

/// How many of a group's members must work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum GroupMode {
    /// One is enough.
    Any,
    /// Every one.
    All,
    /// At least `k` must be up (requirements, ruling 1).
    KOfN {
        /// How many.
        k: u16,
    },
}

/// A member of a group: a node, or a group of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Member {
    /// A node.
    Node(NodeId),
    /// A nested group.
    Group(Group),
}

/// What a node needs in order to work. A plain parent is `all` of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// How many of the members must work.
    #[serde(flatten)]
    pub mode: GroupMode,
    /// Who can supply.
    pub members: Vec<Member>,
}

/// How the server looks at a device itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Probe {
    /// An ICMP echo.
    Icmp,
    /// A TCP connection that is accepted or refused.
    Tcp {
        /// Where to.
        port: u16,
    },
    /// A login over the RouterOS API and one answer.
    RouterOs,
}

/// A heartbeat: the server's own watch over what cannot report its own death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watch {
    /// How.
    pub probe: Probe,
    /// How often, seconds. 60 by default (requirements, R10).
    pub every_s: u32,
}

/// A secret that only holders of the tenant's data key can open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// How the server logs in to a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// The API port: 8728, or 8729 with TLS.
    pub port: u16,
    /// Whether the API is spoken over TLS.
    #[serde(default)]
    pub tls: bool,
    /// The certificate that the router must show, and no other. Without it one that an authority of the keeper has
    /// signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Fingerprint>,
    /// User and password, sealed together.
    pub secret: Sealed,
    /// Whether mastwatch may change the router: without it nothing is ever written there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manage: bool,
    /// Whether mastwatch may make subscribers of the router what they are entitled to be: without it nobody is cut
    /// off there. `manage` does not imply it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enforce: bool,
    /// The token that the router's scripts carry, sealed; of routers that are managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Sealed>,
}

/// Whose a thing is, for the people who are told about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// The account in the operator's books.
    pub account: String,
    /// Where its ticket is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_url: Option<String>,
}

/// A span of time in which a node may be down without anybody being told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// The first moment of it.
    pub from: Time,
    /// The first moment after it.
    pub until: Time,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Who put a node into the inventory, and so whose word it is that it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The network file: it goes when the file does not name it any more.
    #[default]
    File,
    /// A person, one by one: a file that does not name it leaves it alone.
    Hand,
    /// A person, who said yes to a device that was seen: a file that does not name it leaves it alone.
    Scout,
}

impl Origin {
    /// Whether it is the file's.
    pub fn is_file(&self) -> bool {
        *self == Origin::File
    }

    /// As it stands in JSON and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::File => "file",
            Origin::Hand => "hand",
            Origin::Scout => "scout",
        }
    }
}

/// Anything in the dependency graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Derived from the file's id, or from the account.
    pub id: NodeId,
    /// The id in the network file: a device's `id`, a subscriber's `account`.
    pub file_id: String,
    /// What people read. Never a person's name, user name, MAC or address.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// How far up it stands.
    pub tier: Tier,
    /// Where it is; inherited from what it depends on when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// What it needs: all of these groups. None: it stands by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Group>,
    /// Where it answers, if it answers anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How the server itself watches it. None: it cannot be probed directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// The router that sees it: holds its netwatch entry or session, and can ping it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<NodeId>,
    /// Under which keyed hashes claims about its sessions arrive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimKey>,
    /// How to log in, for routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The plan a subscriber pays for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// When it may be down quietly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance: Vec<Window>,
    /// Who put it there.
    #[serde(default, skip_serializing_if = "Origin::is_file")]
    pub origin: Origin,
}

impl Node {
    /// A node of which nothing more is known: it has its id in the network file for a name, needs nothing, is seen by
    /// nobody and answers nowhere.
    pub fn bare(id: NodeId, file_id: impl Into<String>, kind: NodeKind, tier: Tier) -> Self {
        let file_id = file_id.into();
        Self {
            id,
            name: file_id.clone(),
            file_id,
            kind,
            tier,
            site: None,
            needs: Vec::new(),
            address: None,
            watch: None,
            seen_by: None,
            claims: Vec::new(),
            login: None,
            plan: None,
            owner: None,
            maintenance: Vec::new(),
            origin: Origin::default(),
        }
    }
}

impl Node {
    /// Whether the server has any way to look at it: directly, through its router, or by a session.
    pub fn is_observable(&self) -> bool {
        self.watch.is_some() || self.seen_by.is_some()
    }
}

/// How a channel reaches people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "via", rename_all = "snake_case")]
pub enum ChannelKind {
    /// An HTTP POST signed after Standard Webhooks.
    Webhook {
        /// Where to.
        url: String,
        /// The signing secret.
        secret: Sealed,
    },
    /// Mail over SMTP.
    Email {
        /// `smtp://host:port` or `smtps://host:port`.
        server: String,
        /// Who it is from.
        from: String,
        /// Who gets it.
        to: Vec<String>,
        /// User and password, sealed together.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<Sealed>,
    },
}

/// A way to reach an audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channel {
    /// Derived from its name.
    pub id: ChannelId,
    /// What operators call it.
    pub name: String,
    /// Whom it reaches.
    pub audience: crate::Audience,
    /// How.
    #[serde(flatten)]
    pub kind: ChannelKind,
}

/// How long things are held, per tenant. Milliseconds and seconds; defaults in [`Policy::default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Policy {
    /// Every root must have been up for so long before an incident is resolved.
    pub resolve_hold_ms: u32,
    /// After a root is back, how long nothing is said of what it cut off (design: 5 min).
    pub recover_hold_ms: u32,
    /// A router up for less than this is blind, not down (design: 6 min).
    pub blind_after_boot_ms: u32,
    /// An urgent incident nobody acknowledged escalates after this.
    pub escalate_after_ms: u32,
    /// Walks a tenant may start in an hour.
    pub walks_per_hour: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            resolve_hold_ms: 60_000,
            recover_hold_ms: 300_000,
            blind_after_boot_ms: 360_000,
            escalate_after_ms: 900_000,
            walks_per_hour: 100_000,
        }
    }
}

/// A piece of an import that is larger than a commit. Subject key: `<digest>.<n>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// The digest of the whole import, lower-case hex.
    pub digest: String,
    /// Which piece, from 0.
    pub n: u32,
    /// The things in it.
    pub things: Vec<Inventory>,
}

/// Where the things of a revision are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum RevisionSource {
    /// In the same commit, as inventory messages.
    Commit {
        /// How many.
        count: u32,
    },
    /// In parts laid down before.
    Parts {
        /// The digest that names them.
        digest: String,
        /// How many parts.
        count: u32,
    },
}

/// The one order of a tenant's inventory. Subject key: `inventory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// From 1, without gaps.
    pub number: u64,
    /// What this revision changes.
    pub source: RevisionSource,
    /// The digest of the file it came from, so that importing it again commits nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_digest: Option<String>,
    /// Who made it.
    pub by: String,
}
