//! What the simulated ISP is made of, and what supplies what.
//!
//! A world is drawn at random: trees, rings, dual uplinks, bonded backhauls, nested groups. It is
//! told to the deciders as inventory events. Whether a thing works is found here by the most naive
//! means there are (repeat until nothing changes), because the oracle rests on it.

use crate::rng::Rng;
use events::{
    Audience, Channel, ChannelId, ChannelKind, ClaimKey, DeviceClass, Group, GroupMode, Inventory, Login,
    Member, Node, NodeId, NodeKind, Policy, Probe, Sealed, Site, SiteId, Tenant, TenantId, Tier, Time, Watch,
    Window,
};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};
use uuid::Uuid;

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Somebody else's network.
    Upstream,
    /// A router of the backbone.
    Core,
    /// A router of a tower.
    Tower,
    /// A switch; often without an address, so that nobody can look at it.
    Switch,
    /// A cable or radio path between two routers.
    Link,
    /// One end of a backhaul.
    Backhaul,
    /// An access point.
    Sector,
    /// A customer's antenna.
    Station,
    /// A customer's service.
    Subscriber,
    /// Something that runs on several routers.
    Service,
}

impl Role {
    /// How far up such a thing stands.
    pub const fn tier(self) -> Tier {
        match self {
            Role::Upstream | Role::Core => Tier::Core,
            Role::Tower | Role::Switch | Role::Service => Tier::Site,
            Role::Link | Role::Backhaul | Role::Sector => Tier::Sector,
            Role::Station => Tier::Station,
            Role::Subscriber => Tier::Subscriber,
        }
    }

    /// What the inventory calls it.
    pub const fn kind(self) -> NodeKind {
        match self {
            Role::Upstream => NodeKind::Upstream,
            Role::Core | Role::Tower => NodeKind::Device { class: DeviceClass::Router },
            Role::Switch => NodeKind::Device { class: DeviceClass::Switch },
            Role::Link => NodeKind::Link,
            Role::Backhaul => NodeKind::Device { class: DeviceClass::Backhaul },
            Role::Sector => NodeKind::Device { class: DeviceClass::SectorAp },
            Role::Station => NodeKind::Device { class: DeviceClass::Station },
            Role::Subscriber => NodeKind::Subscriber,
            Role::Service => NodeKind::Service,
        }
    }

    /// Whether it is a router: can be logged in to, sees others, sends webhooks.
    pub const fn is_router(self) -> bool {
        matches!(self, Role::Core | Role::Tower)
    }

    /// One letter, for names.
    const fn word(self) -> &'static str {
        match self {
            Role::Upstream => "upstream",
            Role::Core => "core",
            Role::Tower => "tower",
            Role::Switch => "switch",
            Role::Link => "link",
            Role::Backhaul => "backhaul",
            Role::Sector => "sector",
            Role::Station => "station",
            Role::Subscriber => "subscriber",
            Role::Service => "service",
        }
    }
}

/// How many of a need's members must work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One.
    Any,
    /// Every one.
    All,
    /// So many.
    Least(u16),
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// How many must work.
    pub mode: Mode,
    /// Of these.
    pub of: Vec<Of>,
}

/// A member of a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// A thing, by its number.
    Thing(u32),
    /// A requirement of its own.
    Need(Need),
}

impl Need {
    /// Every one of `things`.
    pub fn all(things: &[u32]) -> Self {
        Self { mode: Mode::All, of: things.iter().map(|t| Of::Thing(*t)).collect() }
    }

    /// One of `things`.
    pub fn any(things: &[u32]) -> Self {
        Self { mode: Mode::Any, of: things.iter().map(|t| Of::Thing(*t)).collect() }
    }

    /// Whether it is met when just the things of `works` work.
    pub fn holds(&self, works: &[bool]) -> bool {
        let good = self.of.iter().filter(|of| of.holds(works)).count();
        match self.mode {
            Mode::Any => good >= 1,
            Mode::All => good == self.of.len(),
            Mode::Least(k) => good >= usize::from(k),
        }
    }

    /// Calls `each` with every thing it speaks of.
    pub fn things(&self, each: &mut impl FnMut(u32)) {
        for of in &self.of {
            match of {
                Of::Thing(thing) => each(*thing),
                Of::Need(need) => need.things(each),
            }
        }
    }

    /// Calls `each` with every thing that does not work in a part of it that does not hold.
    pub fn missing(&self, works: &[bool], each: &mut impl FnMut(u32)) {
        if self.holds(works) {
            return;
        }
        for of in &self.of {
            match of {
                Of::Thing(thing) if !works[*thing as usize] => each(*thing),
                Of::Thing(_) => {}
                Of::Need(need) => need.missing(works, each),
            }
        }
    }

    fn renumbered(&self, number: &[Option<u32>]) -> Option<Self> {
        let member = |of: &Of| {
            Some(match of {
                Of::Thing(thing) => Of::Thing(number[*thing as usize]?),
                Of::Need(need) => Of::Need(need.renumbered(number)?),
            })
        };
        Some(Self { mode: self.mode, of: self.of.iter().map(member).collect::<Option<_>>()? })
    }

    fn group(&self, ids: &[NodeId]) -> Group {
        Group {
            mode: match self.mode {
                Mode::Any => GroupMode::Any,
                Mode::All => GroupMode::All,
                Mode::Least(k) => GroupMode::KOfN { k },
            },
            members: self
                .of
                .iter()
                .map(|of| match of {
                    Of::Thing(thing) => Member::Node(ids[*thing as usize]),
                    Of::Need(need) => Member::Group(need.group(ids)),
                })
                .collect(),
        }
    }
}

impl Of {
    fn holds(&self, works: &[bool]) -> bool {
        match self {
            Of::Thing(thing) => works[*thing as usize],
            Of::Need(need) => need.holds(works),
        }
    }
}

/// One thing of a world. Things are named by their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// What it is called by, whatever its number has become: its first number.
    pub label: u32,
    /// What it is.
    pub role: Role,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<u16>,
    /// What it needs: all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// The router that holds its netwatch entry or its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<u32>,
    /// How often the server itself looks at it, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u32>,
    /// When it may be down quietly: seconds since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<(u32, u32)>,
    /// Whether the inventory does not have it: not yet, or no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

impl Thing {
    /// Whether anybody could ever look at it.
    pub fn is_observable(&self) -> bool {
        self.watch_s.is_some() || self.seen_by.is_some()
    }
}

/// One tenant's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// The tenant's slug.
    pub slug: String,
    /// How many sites there are.
    pub sites: u16,
    /// Everything in it.
    pub things: Vec<Thing>,
    /// How long things are held.
    pub policy: Policy,
    /// Whom each channel reaches.
    pub channels: Vec<Audience>,
    /// Whether the import is laid down in parts although it would fit into one commit.
    pub in_parts: bool,
}

/// What follows from what is broken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supply {
    /// Whether everything a thing needs is there.
    pub supplied: Vec<bool>,
    /// Supplied, and not broken itself: the server can reach it.
    pub works: Vec<bool>,
}

impl World {
    /// Which things are supplied and work when `broken` are broken: the least fixpoint, by repetition.
    pub fn supply(&self, broken: &[bool]) -> Supply {
        let mut works = vec![false; self.things.len()];
        let mut again = true;
        while again {
            again = false;
            for (i, thing) in self.things.iter().enumerate() {
                if !works[i]
                    && !broken[i]
                    && !thing.absent
                    && thing.needs.iter().all(|need| need.holds(&works))
                {
                    works[i] = true;
                    again = true;
                }
            }
        }
        let supplied = self.things.iter().map(|t| t.needs.iter().all(|need| need.holds(&works))).collect();
        Supply { supplied, works }
    }

    /// What would work if every unbroken router had its supply: what routers see that are cut off themselves.
    pub fn local(&self, broken: &[bool]) -> Vec<bool> {
        let mut works: Vec<bool> =
            self.things.iter().zip(broken).map(|(t, b)| t.role.is_router() && !t.absent && !b).collect();
        let mut again = true;
        while again {
            again = false;
            for (i, thing) in self.things.iter().enumerate() {
                if !works[i]
                    && !broken[i]
                    && !thing.absent
                    && thing.needs.iter().all(|need| need.holds(&works))
                {
                    works[i] = true;
                    again = true;
                }
            }
        }
        works
    }

    /// How many subscribers need `thing` directly.
    pub fn serves(&self, thing: u32) -> usize {
        let needs_it = |t: &&Thing| {
            let mut found = false;
            for need in &t.needs {
                need.things(&mut |other| found |= other == thing);
            }
            found && t.role == Role::Subscriber && !t.absent
        };
        self.things.iter().filter(needs_it).count()
    }

    /// Whether a failure of `thing` may open an incident by itself (design: a subscriber, or a station
    /// that serves one, never does).
    pub fn opens(&self, thing: u32) -> bool {
        match self.things[thing as usize].role {
            Role::Subscriber => false,
            Role::Station => self.serves(thing) > 1,
            Role::Upstream
            | Role::Core
            | Role::Tower
            | Role::Switch
            | Role::Link
            | Role::Backhaul
            | Role::Sector
            | Role::Service => true,
        }
    }

    /// Its tenant.
    pub fn tenant(&self) -> TenantId {
        TenantId::of(&self.slug)
    }

    /// What people call a thing.
    pub fn name(&self, thing: u32) -> String {
        let thing = &self.things[thing as usize];
        format!("{}-{}", thing.role.word(), thing.label)
    }

    /// The identifiers of everything in it.
    pub fn ids(&self) -> Vec<NodeId> {
        let tenant = self.tenant();
        (0..self.things.len() as u32)
            .map(|i| match self.things[i as usize].role {
                Role::Subscriber => NodeId::of_account(tenant, &self.name(i)),
                Role::Upstream
                | Role::Core
                | Role::Tower
                | Role::Switch
                | Role::Link
                | Role::Backhaul
                | Role::Sector
                | Role::Station
                | Role::Service => NodeId::of(tenant, &self.name(i)),
            })
            .collect()
    }

    /// Under which key claims about a subscriber's session arrive.
    pub fn claim_key(node: NodeId) -> ClaimKey {
        ClaimKey(Uuid::from_u128(node.0.as_u128() ^ 0x5e55_1075_0000_0000_0000_0000_0000_0000))
    }

    /// The channel that is number `i`.
    pub fn channel(&self, i: usize) -> ChannelId {
        ChannelId::of(self.tenant(), &format!("channel-{i}"))
    }

    /// `thing`, and whatever speaks of it in any way, and so on.
    pub fn with_dependents(&self, thing: u32) -> Vec<u32> {
        let mut gone = vec![thing];
        let mut at = 0;
        while at < gone.len() {
            let above = gone[at];
            for (i, thing) in self.things.iter().enumerate() {
                let mut speaks = thing.seen_by == Some(above);
                thing.needs.iter().for_each(|need| need.things(&mut |t| speaks |= t == above));
                if speaks && !gone.contains(&(i as u32)) {
                    gone.push(i as u32);
                }
            }
            at += 1;
        }
        gone.sort_unstable();
        gone
    }

    /// This world without the things `gone`; `None` when something left needs one of them.
    pub fn without(&self, gone: &[u32]) -> Option<Self> {
        if gone.is_empty() {
            return None;
        }
        let mut number = Vec::with_capacity(self.things.len());
        let mut next = 0;
        for i in 0..self.things.len() as u32 {
            let stays = !gone.contains(&i);
            number.push(stays.then_some(next));
            next += u32::from(stays);
        }
        let mut world = Self { things: vec![], ..self.clone() };
        for (thing, no) in self.things.iter().zip(&number) {
            if no.is_some() {
                let mut thing = thing.clone();
                for need in &mut thing.needs {
                    *need = need.renumbered(&number)?;
                }
                thing.seen_by = match thing.seen_by {
                    Some(router) => Some(number[router as usize]?),
                    None => None,
                };
                world.things.push(thing);
            }
        }
        Some(world)
    }

    /// Everything the console lays down, `start` being the moment of the import.
    pub fn inventory(&self, start: Time) -> Vec<Inventory> {
        let tenant = self.tenant();
        let ids = self.ids();
        let site = |i: u16| SiteId::of(tenant, &format!("site-{i}"));
        let mut things =
            vec![Inventory::Tenant(Tenant { id: tenant, slug: self.slug.clone(), name: self.slug.clone() })];
        things.push(Inventory::Policy(self.policy.clone()));
        for i in 0..self.sites {
            things.push(Inventory::Site(Site {
                id: site(i),
                file_id: format!("site-{i}"),
                name: format!("Site {i}"),
                address: Some(format!("Street {i}")),
                latitude_udeg: None,
                longitude_udeg: None,
            }));
        }
        for (i, audience) in self.channels.iter().enumerate() {
            things.push(Inventory::Channel(Channel {
                id: self.channel(i),
                name: format!("channel-{i}"),
                audience: *audience,
                kind: ChannelKind::Webhook { url: "http://127.0.0.1/".into(), secret: Sealed("x".into()) },
            }));
        }
        things.extend(
            (0..self.things.len()).filter(|i| !self.things[*i].absent).map(|i| self.node(i, &ids, start)),
        );
        things
    }

    /// What the console lays down of one thing.
    pub fn node(&self, i: usize, ids: &[NodeId], start: Time) -> Inventory {
        let thing = &self.things[i];
        let id = ids[i];
        let name = self.name(i as u32);
        let session = thing.role == Role::Subscriber;
        let probe = match (thing.role.is_router(), i % 3) {
            (true, 0) => Probe::RouterOs,
            (true, 1) => Probe::Tcp { port: 8728 },
            (true | false, _) => Probe::Icmp,
        };
        Inventory::Node(Arc::new(Node {
            id,
            file_id: name.clone(),
            name,
            kind: thing.role.kind(),
            tier: thing.role.tier(),
            site: thing.site.map(|i| SiteId::of(self.tenant(), &format!("site-{i}"))),
            needs: thing.needs.iter().map(|need| need.group(ids)).collect(),
            address: thing.is_observable().then(|| IpAddr::from([10, 0, (i >> 8) as u8, i as u8])),
            watch: thing.watch_s.map(|every_s| Watch { probe, every_s }),
            seen_by: thing.seen_by.map(|router| ids[router as usize]),
            claims: if session { vec![Self::claim_key(id)] } else { vec![] },
            login: thing.role.is_router().then(|| Login {
                port: 8728,
                tls: false,
                secret: Sealed("x".into()),
            }),
            plan: session.then(|| if i.is_multiple_of(3) { "50M".to_owned() } else { "20M".to_owned() }),
            owner: None,
            maintenance: thing
                .maintenance
                .iter()
                .map(|(from_s, until_s)| Window {
                    from: start.plus_ms(i64::from(*from_s) * 1_000),
                    until: start.plus_ms(i64::from(*until_s) * 1_000),
                    reason: "planned".into(),
                })
                .collect(),
        }))
    }

    /// A world of about `size` things.
    pub fn any(rng: &mut Rng, slug: &str, size: usize) -> Self {
        let mut builder = Builder { size, things: Vec::with_capacity(size + 8), sites: 0 };
        builder.build(rng);
        let mut policy = Policy::default();
        if rng.chance(200) {
            policy.resolve_hold_ms = rng.between(5_000, 180_000) as u32;
            policy.recover_hold_ms = rng.between(60_000, 600_000) as u32;
        }
        let mut channels = vec![Audience::Engineers, Audience::Technicians];
        if rng.chance(150) {
            channels.push(*rng.pick(&[Audience::Engineers, Audience::Technicians, Audience::Support]));
        }
        if rng.chance(30) {
            channels.remove(rng.below(channels.len() as u64) as usize);
        }
        let in_parts = rng.chance(150);
        let mut world = Self {
            slug: slug.into(),
            sites: builder.sites,
            things: builder.things,
            policy,
            channels,
            in_parts,
        };
        if rng.chance(120) {
            for _ in 0..rng.between(1, 3) {
                let i = rng.below(world.things.len() as u64) as usize;
                if world.things[i].role != Role::Subscriber {
                    let from = rng.between(0, 600) as u32;
                    let until =
                        if rng.chance(500) { 10_000_000 } else { from + rng.between(60, 1_800) as u32 };
                    world.things[i].maintenance = Some((if rng.chance(500) { 0 } else { from }, until));
                }
            }
        }
        world
    }
}

/// How many things a world of the ordinary run has: 95 % of 5-300, 4 % to 800, 1 % of 2,000.
pub fn ordinary_size(rng: &mut Rng) -> usize {
    (match rng.below(100) {
        0 => 2_000,
        1..=4 => rng.between(301, 800),
        _ => rng.log_between(5, 300),
    }) as usize
}

/// How many things a world of the long run has: 5-2,000, each order of magnitude as likely.
pub fn soak_size(rng: &mut Rng) -> usize {
    rng.log_between(5, 2_000) as usize
}

struct Builder {
    size: usize,
    things: Vec<Thing>,
    sites: u16,
}

/// How a tower is connected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Uplink {
    Plain,
    Backhaul,
    Dual,
    Nested,
    Ring,
    Bonded,
    Chain,
    TwoGroups,
}

const UPLINKS: [Uplink; 8] = [
    Uplink::Plain,
    Uplink::Backhaul,
    Uplink::Dual,
    Uplink::Nested,
    Uplink::Ring,
    Uplink::Bonded,
    Uplink::Chain,
    Uplink::TwoGroups,
];

impl Builder {
    fn add(&mut self, role: Role, site: Option<u16>, needs: Vec<Need>) -> u32 {
        let label = self.things.len() as u32;
        self.things.push(Thing {
            label,
            role,
            site,
            needs,
            seen_by: None,
            watch_s: None,
            maintenance: None,
            absent: false,
        });
        label
    }

    fn site(&mut self) -> Option<u16> {
        self.sites += 1;
        Some(self.sites - 1)
    }

    fn seen(&mut self, thing: u32, by: u32) -> u32 {
        self.things[thing as usize].seen_by = Some(by);
        thing
    }

    fn watched(&mut self, rng: &mut Rng, thing: u32) -> u32 {
        self.things[thing as usize].watch_s = Some(*rng.pick(&[5, 10, 30, 60, 60]));
        thing
    }

    fn build(&mut self, rng: &mut Rng) {
        let cores = self.backbone(rng);
        let towers = self.towers(rng, &cores);
        if cores.len() >= 2 && rng.chance(300) {
            let k = rng.between(1, cores.len() as i64) as u16;
            let need = Need { mode: Mode::Least(k), of: cores.iter().map(|c| Of::Thing(*c)).collect() };
            let service = self.add(Role::Service, None, vec![need]);
            self.watched(rng, service);
        }
        let at_core = rng.chance(400);
        let crowd = rng.log_between(1, 60);
        while self.things.len() < self.size {
            let (tower, core) = *rng.pick(&towers);
            let concentrator = if at_core { core.unwrap_or(tower) } else { tower };
            self.access(rng, tower, concentrator, crowd);
        }
    }

    fn backbone(&mut self, rng: &mut Rng) -> Vec<u32> {
        let upstreams: Vec<u32> = if rng.chance(300) {
            (0..rng.between(1, 2)).map(|_| self.add(Role::Upstream, None, vec![])).collect()
        } else {
            vec![]
        };
        for upstream in &upstreams {
            self.watched(rng, *upstream);
        }
        let mut count = 1;
        if self.size > 20 {
            count += rng.below(2);
        }
        if self.size > 120 {
            count += rng.below(3);
        }
        let first = self.things.len() as u32;
        let in_ring = count > 1 && rng.chance(300);
        let mut cores = vec![];
        for i in 0..count as u32 {
            let mut needs = vec![];
            let outside = |rng: &mut Rng| {
                if upstreams.len() > 1 && rng.chance(300) {
                    Need::all(&[*rng.pick(&upstreams)])
                } else {
                    Need::any(&upstreams)
                }
            };
            if in_ring && i > 0 {
                let mut beside = vec![first + i - 1];
                beside.push(if i + 1 < count as u32 { first + i + 1 } else { first });
                beside.sort_unstable();
                beside.dedup();
                needs.push(Need::any(&beside));
            } else if !upstreams.is_empty() {
                needs.push(outside(rng));
            }
            let site = self.site();
            let core = self.add(Role::Core, site, needs);
            self.watched(rng, core);
            cores.push(core);
        }
        cores
    }

    /// Every tower, and the core above it when there is no way around that core.
    fn towers(&mut self, rng: &mut Rng, cores: &[u32]) -> Vec<(u32, Option<u32>)> {
        let each = rng.log_between(3, 120) as usize;
        let count = (self.size.saturating_sub(self.things.len()) / each).clamp(1, 60);
        let one_kind = rng.chance(500).then(|| *rng.pick(&UPLINKS));
        let mut towers: Vec<(u32, Option<u32>)> = vec![];
        while towers.len() < count {
            let site = self.site();
            let core = *rng.pick(cores);
            let other = *rng.pick(cores);
            match one_kind.unwrap_or_else(|| *rng.pick(&UPLINKS)) {
                Uplink::Plain => {
                    let tower = self.add(Role::Tower, site, vec![Need::all(&[core])]);
                    self.seen(tower, core);
                    if rng.chance(300) {
                        self.watched(rng, tower);
                    }
                    towers.push((tower, Some(core)));
                }
                Uplink::Backhaul => {
                    let way = self.add(Role::Backhaul, site, vec![Need::all(&[core])]);
                    self.seen(way, core);
                    let tower = self.add(Role::Tower, site, vec![Need::all(&[way])]);
                    self.seen(tower, core);
                    towers.push((tower, Some(core)));
                }
                Uplink::Dual => {
                    let second = match towers.last() {
                        Some((tower, _)) if other == core => *tower,
                        Some(_) | None => other,
                    };
                    let need = if second == core { Need::all(&[core]) } else { Need::any(&[core, second]) };
                    let tower = self.add(Role::Tower, site, vec![need]);
                    self.either(rng, tower, core);
                    towers.push((tower, (second == core).then_some(core)));
                }
                Uplink::Nested => {
                    let one = self.add(Role::Backhaul, site, vec![Need::all(&[core])]);
                    self.seen(one, core);
                    let two = self.add(Role::Link, site, vec![Need::all(&[other])]);
                    if rng.chance(500) {
                        self.seen(two, other);
                    }
                    let way = |a: u32, b: u32| Of::Need(Need::all(&[a, b]));
                    let need = Need { mode: Mode::Any, of: vec![way(one, core), way(two, other)] };
                    let tower = self.add(Role::Tower, site, vec![need]);
                    self.either(rng, tower, core);
                    towers.push((tower, (other == core).then_some(core)));
                }
                Uplink::Ring => self.ring(rng, core, &mut towers),
                Uplink::Bonded => {
                    let n = rng.between(2, 4) as u16;
                    let ways: Vec<u32> = (0..n)
                        .map(|_| {
                            let way = self.add(Role::Backhaul, site, vec![Need::all(&[core])]);
                            self.seen(way, core)
                        })
                        .collect();
                    let k = rng.between(1, i64::from(n)) as u16;
                    let need =
                        Need { mode: Mode::Least(k), of: ways.iter().map(|w| Of::Thing(*w)).collect() };
                    let tower = self.add(Role::Tower, site, vec![need]);
                    self.seen(tower, core);
                    towers.push((tower, Some(core)));
                }
                Uplink::Chain => {
                    let above = towers.last().map_or(core, |(tower, _)| *tower);
                    let tower = self.add(Role::Tower, site, vec![Need::all(&[above])]);
                    self.seen(tower, above);
                    towers.push((tower, Some(above)));
                }
                Uplink::TwoGroups => {
                    let ways: Vec<u32> = (0..2)
                        .map(|_| {
                            let way = self.add(Role::Backhaul, site, vec![Need::all(&[core])]);
                            self.seen(way, core)
                        })
                        .collect();
                    let tower = self.add(Role::Tower, site, vec![Need::all(&[core]), Need::any(&ways)]);
                    self.seen(tower, core);
                    towers.push((tower, Some(core)));
                }
            }
        }
        towers
    }

    /// A thing with more than one way up is mostly watched by the server; some only by one of the ways.
    fn either(&mut self, rng: &mut Rng, thing: u32, router: u32) {
        if rng.chance(850) {
            self.watched(rng, thing);
        }
        if self.things[thing as usize].watch_s.is_none() || rng.chance(300) {
            self.seen(thing, router);
        }
    }

    fn ring(&mut self, rng: &mut Rng, gateway: u32, towers: &mut Vec<(u32, Option<u32>)>) {
        let n = rng.between(2, 6) as u32;
        let with_links = rng.chance(500);
        let links_seen = rng.chance(500);
        let first = self.things.len() as u32;
        for i in 0..n {
            let site = self.site();
            let needs = if with_links {
                vec![Need::any(&[first + n + i, first + n + i + 1])]
            } else {
                let left = if i == 0 { gateway } else { first + i - 1 };
                let right = if i + 1 == n { gateway } else { first + i + 1 };
                vec![if left == right { Need::all(&[left]) } else { Need::any(&[left, right]) }]
            };
            let tower = self.add(Role::Tower, site, needs);
            self.watched(rng, tower);
            towers.push((tower, Some(gateway)));
        }
        if with_links {
            for i in 0..=n {
                let left = if i == 0 { gateway } else { first + i - 1 };
                let right = if i == n { gateway } else { first + i };
                let ends = if left == right { Need::all(&[left]) } else { Need::any(&[left, right]) };
                let link = self.add(Role::Link, None, vec![ends]);
                if links_seen {
                    self.watched(rng, link);
                }
            }
        }
    }

    fn access(&mut self, rng: &mut Rng, tower: u32, concentrator: u32, crowd: i64) {
        let site = self.things[tower as usize].site;
        let mut above = tower;
        if rng.chance(150) {
            above = self.add(Role::Switch, site, vec![Need::all(&[tower])]);
            if rng.chance(400) {
                self.seen(above, tower);
            }
        }
        let sector = self.add(Role::Sector, site, vec![Need::all(&[above])]);
        self.seen(sector, tower);
        let mut left = rng.between(1, crowd);
        let with_stations = rng.chance(700);
        while left > 0 && self.things.len() < self.size {
            let mut parent = sector;
            let mut served = 1;
            if with_stations {
                parent = self.add(Role::Station, None, vec![Need::all(&[sector])]);
                self.seen(parent, tower);
                served = if rng.chance(700) { 1 } else { rng.between(2, 5) };
            }
            for _ in 0..served {
                let subscriber = self.add(Role::Subscriber, None, vec![Need::all(&[parent])]);
                self.seen(subscriber, concentrator);
            }
            left -= served;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(role: Role, needs: Vec<Need>) -> Thing {
        Thing {
            label: 0,
            role,
            site: None,
            needs,
            seen_by: None,
            watch_s: None,
            maintenance: None,
            absent: false,
        }
    }

    fn world(things: Vec<Thing>) -> World {
        World {
            slug: "t".into(),
            sites: 0,
            things,
            policy: Policy::default(),
            channels: vec![],
            in_parts: false,
        }
    }

    #[test]
    fn with_nothing_broken_everything_works() {
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let size = ordinary_size(&mut rng);
            let world = World::any(&mut rng, "t", size);
            let supply = world.supply(&vec![false; world.things.len()]);
            assert!(supply.works.iter().all(|w| *w), "seed {seed}");
            assert!(world.things.len() >= size.min(5) && world.things.len() < size + 40, "seed {seed}");
        }
    }

    #[test]
    fn a_ring_works_from_either_side_and_never_feeds_itself() {
        // 0 gateway; 1, 2, 3 in a ring.
        let ring = world(vec![
            thing(Role::Core, vec![]),
            thing(Role::Tower, vec![Need::any(&[0, 2])]),
            thing(Role::Tower, vec![Need::any(&[1, 3])]),
            thing(Role::Tower, vec![Need::any(&[2, 0])]),
        ]);
        let one = ring.supply(&[false, true, false, false]);
        assert_eq!(one.works, [true, false, true, true]);
        let two = ring.supply(&[false, true, false, true]);
        assert_eq!(two.works, [true, false, false, false]);
        assert_eq!(two.supplied, [true, true, false, true]);
        let gateway = ring.supply(&[true, false, false, false]);
        assert_eq!(gateway.works, [false; 4]);
    }

    #[test]
    fn groups_mean_what_the_rulings_say() {
        let of = |mode, n: u32| Need { mode, of: (0..n).map(Of::Thing).collect() };
        // 3 of 4: breaks when the second member goes.
        assert!(of(Mode::Least(3), 4).holds(&[true, true, true, false]));
        assert!(!of(Mode::Least(3), 4).holds(&[true, true, false, false]));
        assert!(of(Mode::Any, 2).holds(&[false, true]));
        assert!(!of(Mode::All, 2).holds(&[false, true]));
        let nested =
            Need { mode: Mode::Any, of: vec![Of::Need(of(Mode::All, 2)), Of::Need(Need::all(&[2]))] };
        assert!(nested.holds(&[true, false, true]));
        assert!(!nested.holds(&[true, false, false]));
        let mut missing = vec![];
        nested.missing(&[true, false, false], &mut |t| missing.push(t));
        assert_eq!(missing, [1, 2]);
    }

    #[test]
    fn sizes_are_spread_as_promised() {
        let mut rng = Rng::new(3);
        let sizes: Vec<usize> = (0..10_000).map(|_| ordinary_size(&mut rng)).collect();
        let small = sizes.iter().filter(|s| (5..=300).contains(*s)).count();
        let large = sizes.iter().filter(|s| **s == 2_000).count();
        assert!((9_400..9_600).contains(&small), "{small}");
        assert!((60..140).contains(&large), "{large}");
    }

    #[test]
    fn the_inventory_names_every_thing_once() {
        let mut rng = Rng::new(5);
        let world = World::any(&mut rng, "t", 200);
        let said = world.inventory(Time::EPOCH);
        let keys: std::collections::BTreeSet<String> = said.iter().map(Inventory::key).collect();
        assert_eq!(keys.len(), said.len());
        let nodes = said.iter().filter(|i| matches!(i, Inventory::Node(_))).count();
        assert_eq!(nodes, world.things.len());
    }
}
