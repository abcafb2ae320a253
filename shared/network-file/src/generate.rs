//! Networks of any size: cores, towers, sectors, stations and subscribers.
//!
//! The same shape gives the same text, now and later. The tokens and passwords in it follow from
//! the seed: they are for simulations and guard nothing.

use crate::{
    NetworkFile, Secret, check,
    model::{
        LoginEntry, Mesh, Need, NodeEntry, SeenBy, Session, SiteEntry, Subscriber, TenantEntry, WebhookEntry,
    },
    problem::Position,
};
use events::{DeviceClass, NodeKind, Probe, Tier, Watch};
use std::net::{IpAddr, Ipv4Addr};

/// The most nodes a network is made of.
const NODES_MAX: u64 = 250_000;
/// How many towers a ring joins.
const RING: u32 = 5;

/// What a network looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many towers.
    pub towers: u32,
    /// How many sectors each tower has.
    pub sectors: u32,
    /// How many subscribers each sector serves.
    pub clients: u32,
    /// What everything arbitrary follows from.
    pub seed: u64,
    /// Whether each client's antenna is a node of its own, between sector and subscriber.
    pub stations: bool,
    /// Whether there are two cores and each tower works while either does.
    pub dual_uplinks: bool,
    /// Whether towers stand in rings of five, each reached through the first.
    pub rings: bool,
    /// Whether routers are at loopback addresses, 127.20.0.1 and on, so that the lab can play them.
    pub loopback: bool,
    /// The port of the routers' API.
    pub api_port: u16,
    /// How often the cores' hearts beat, seconds.
    pub heartbeat_s: u32,
    /// Where the subscribers' sessions are.
    pub concentrators: Concentrators,
}

/// Where the subscribers' sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concentrators {
    /// On each tower's router.
    Towers,
    /// On the first core.
    Core,
}

impl Default for Shape {
    /// 23 nodes: a core and two towers, each with two sectors of four clients.
    fn default() -> Self {
        Self {
            towers: 2,
            sectors: 2,
            clients: 4,
            seed: 1,
            stations: false,
            dual_uplinks: false,
            rings: false,
            loopback: true,
            api_port: 18_728,
            heartbeat_s: 60,
            concentrators: Concentrators::Towers,
        }
    }
}

/// The shape has more nodes than a network may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a network of {nodes} nodes is too large; at most {NODES_MAX} are made")]
pub struct TooLarge {
    /// How many it would have.
    pub nodes: u64,
}

impl Shape {
    /// How many nodes the network will have.
    pub fn nodes(&self) -> u64 {
        let (towers, sectors, clients) =
            (u64::from(self.towers), u64::from(self.sectors), u64::from(self.clients));
        let per_client = if self.stations { 2 } else { 1 };
        let of_sector = clients.saturating_mul(per_client).saturating_add(1);
        let of_tower = of_sector.saturating_mul(sectors).saturating_add(1);
        let links = if self.rings { rings_of(self.towers).map(|ring| ring_links(&ring)).sum() } else { 0 };
        let cores = if self.dual_uplinks { 2 } else { 1 };
        of_tower.saturating_mul(towers).saturating_add(links).saturating_add(cores)
    }
}

/// Makes the network of `shape`; [`NetworkFile::to_yaml`] writes it.
///
/// # Errors
///
/// [`TooLarge`] beyond 250,000 nodes.
pub fn generate(shape: &Shape) -> Result<NetworkFile, TooLarge> {
    let nodes = shape.nodes();
    if nodes > NODES_MAX {
        return Err(TooLarge { nodes });
    }
    let mut maker = Maker::new("generated", "Generated ISP", shape.seed, shape.loopback, shape.api_port);
    let cores: Vec<String> = (1..=if shape.dual_uplinks { 2 } else { 1 })
        .map(|n| {
            let id = format!("core-{n}");
            let site = maker.site(&id);
            maker.core(&id, &format!("Core-{n} at {site}"), shape.heartbeat_s);
            id
        })
        .collect();
    let uplink = match cores.as_slice() {
        [one] => Need::Node(one.clone()),
        several => Need::Any(several.iter().cloned().map(Need::Node).collect()),
    };
    let concentrator = match shape.concentrators {
        Concentrators::Towers => None,
        Concentrators::Core => cores.first().map(String::as_str),
    };
    for t in 1..=shape.towers {
        let tower = tower_id(t);
        let site = maker.site(&tower);
        let in_ring = shape.rings && rings_of(shape.towers).any(|ring| ring.contains(&t) && ring.start != t);
        let needs = if in_ring { vec![] } else { vec![uplink.clone()] };
        maker.tower(&tower, &format!("Tower {t} at {site}"), needs);
        for s in 1..=shape.sectors {
            let sector = format!("{tower}-sector-{s}");
            maker.sector(&sector, &format!("Sector {s} of tower {t}"), &tower);
            for _ in 0..shape.clients {
                maker.client(&sector, shape.stations, concentrator);
            }
        }
    }
    if shape.rings {
        for (n, ring) in rings_of(shape.towers).enumerate() {
            maker.ring(n + 1, &ring);
        }
    }
    Ok(maker.done())
}

fn tower_id(t: u32) -> String {
    format!("tower-{t}")
}

/// The rings by the numbers of their towers: five each, the last one fewer.
fn rings_of(towers: u32) -> impl Iterator<Item = std::ops::Range<u32>> {
    (1..=towers).step_by(RING as usize).map(move |first| first..(first + RING).min(towers + 1))
}

/// How many links close a ring: none for one tower, one for two.
fn ring_links(ring: &std::ops::Range<u32>) -> u64 {
    match ring.end - ring.start {
        0 | 1 => 0,
        2 => 1,
        several => u64::from(several),
    }
}

/// Puts a network together, node by node.
pub(crate) struct Maker {
    network: NetworkFile,
    random: Random,
    loopback: bool,
    api_port: u16,
    routers: u32,
    sectors: u32,
    stations: u32,
    places: u32,
}

impl Maker {
    pub(crate) fn new(slug: &str, name: &str, seed: u64, loopback: bool, api_port: u16) -> Self {
        let tenant = TenantEntry { slug: slug.to_owned(), name: name.to_owned() };
        Self {
            network: NetworkFile::empty(tenant),
            random: Random(seed),
            loopback,
            api_port,
            routers: 0,
            sectors: 0,
            stations: 0,
            places: 0,
        }
    }

    /// The network itself, for what is said only once.
    pub(crate) fn network(&mut self) -> &mut NetworkFile {
        &mut self.network
    }

    /// A site of its own for `id`; answers its name.
    fn site(&mut self, id: &str) -> String {
        const FIRST: [&str; 12] = [
            "Mill", "Harrow", "Oak", "Stone", "Raven", "Kings", "Ash", "Fox", "Marsh", "North", "Elm", "Cold",
        ];
        const SECOND: [&str; 10] =
            ["Hill", "Weald", "Edge", "Ridge", "Field", "Bridge", "Down", "Common", "Cross", "Moor"];
        let n = self.places as usize;
        self.places += 1;
        let round = n / (FIRST.len() * SECOND.len());
        let mut name = format!("{} {}", FIRST[n % FIRST.len()], SECOND[n / FIRST.len() % SECOND.len()]);
        if round > 0 {
            name.push_str(&format!(" {}", round + 1));
        }
        let (north, east) = (self.random.below(900_000), self.random.below(900_000));
        let street = format!("{} Mast Road, {name}", 1 + self.random.below(200));
        self.place(id, &name, &street, (51_100_000 + north, -900_000 + east));
        name
    }

    /// The site `id`.
    pub(crate) fn place(&mut self, id: &str, name: &str, street: &str, coordinates_udeg: (i32, i32)) {
        self.network.sites.push(SiteEntry {
            id: id.to_owned(),
            name: name.to_owned(),
            address: Some(street.to_owned()),
            coordinates_udeg: Some(coordinates_udeg),
            at: Position::default(),
        });
    }

    /// A core router at the site of the same id.
    pub(crate) fn core(&mut self, id: &str, name: &str, heartbeat_s: u32) {
        let mut node = self.router(id, name);
        node.tier = Tier::Core;
        node.watch = Some(Watch { probe: Probe::RouterOs, every_s: heartbeat_s });
        self.network.nodes.push(node);
    }

    /// A tower's router at the site of the same id.
    pub(crate) fn tower(&mut self, id: &str, name: &str, needs: Vec<Need>) {
        let mut node = self.router(id, name);
        node.needs = needs;
        self.network.nodes.push(node);
    }

    fn router(&mut self, id: &str, name: &str) -> NodeEntry {
        let mut node = bare(id, name, NodeKind::Device { class: DeviceClass::Router }, Tier::Site);
        let base = if self.loopback { [127, 20] } else { [10, 200] };
        let address = nth_address(base, self.routers);
        self.routers += 1;
        node.site = Some(id.to_owned());
        node.address = Some(address);
        node.login = Some(LoginEntry {
            user: Secret::new("mastwatch"),
            password: Secret::new(self.random.letters(16)),
            port: self.api_port,
            tls: false,
            certificate: None,
            manage: false,
            enforce: false,
        });
        let token = format!("mw_{}_{}", self.random.letters(12), self.random.letters(32));
        node.webhook = Some(WebhookEntry { token: Secret::new(token), from: vec![format!("{address}/32")] });
        node
    }

    /// A sector's access point.
    pub(crate) fn sector(&mut self, id: &str, name: &str, parent: &str) {
        let mut node = bare(id, name, NodeKind::Device { class: DeviceClass::SectorAp }, Tier::Sector);
        node.needs = vec![Need::Node(parent.to_owned())];
        node.address = Some(nth_address([10, 0], self.sectors));
        self.sectors += 1;
        self.network.nodes.push(node);
    }

    /// A subscriber below `sector`, with an antenna of its own if `station`.
    pub(crate) fn client(&mut self, sector: &str, station: bool, concentrator: Option<&str>) {
        const PLANS: [&str; 3] = ["home-50", "home-100", "office-200"];
        let n = self.network.subscribers.len() + 1;
        let mut parent = sector.to_owned();
        if station {
            parent = format!("station-{n}");
            let mut node = bare(
                &parent,
                &format!("Station {n}"),
                NodeKind::Device { class: DeviceClass::Station },
                Tier::Station,
            );
            node.needs = vec![Need::Node(sector.to_owned())];
            node.address = Some(nth_address([10, 100], self.stations));
            self.stations += 1;
            self.network.nodes.push(node);
        }
        // Alike from sector to sector, so that they stand in tables.
        let plan = PLANS[sector.len() % PLANS.len()];
        self.network.subscribers.push(Subscriber {
            account: format!("c-{n:06}"),
            needs: vec![Need::Node(parent)],
            session: Session::Pppoe(Secret::new(format!("pppoe-{n:06}"))),
            concentrators: concentrator.map(str::to_owned).into_iter().collect(),
            seen_by: SeenBy::Nobody,
            site: None,
            plan: Some(plan.to_owned()),
            ticket: None,
            person: None,
            service: None,
            maintenance: Vec::new(),
            at: Position::default(),
        });
    }

    /// The ring number `n` of these towers, reached through the first.
    fn ring(&mut self, n: usize, towers: &std::ops::Range<u32>) {
        let members: Vec<String> = towers.clone().map(tower_id).collect();
        let count = usize::try_from(ring_links(towers)).expect("a ring has at most five links");
        let mut links = Vec::with_capacity(count);
        for (l, a) in members.iter().enumerate().take(count) {
            let b = &members[(l + 1) % members.len()];
            let id = format!("backhaul-{n}-{}", l + 1);
            let mut node = bare(&id, &format!("Backhaul {a} to {b}"), NodeKind::Link, Tier::Sector);
            node.ends = Some((a.clone(), b.clone()));
            self.network.nodes.push(node);
            links.push(id);
        }
        if count > 0 {
            let gateways = members.iter().take(1).cloned().collect();
            self.network.meshes.push(Mesh {
                id: format!("ring-{n}"),
                members,
                links,
                gateways,
                at: Position::default(),
            });
        }
    }

    /// The network, complete.
    pub(crate) fn done(mut self) -> NetworkFile {
        check::complete(&mut self.network);
        self.network
    }
}

pub(crate) fn bare(id: &str, name: &str, kind: NodeKind, tier: Tier) -> NodeEntry {
    NodeEntry {
        id: id.to_owned(),
        name: name.to_owned(),
        kind,
        tier,
        site: None,
        needs: Vec::new(),
        ends: None,
        address: None,
        watch: None,
        seen_by: SeenBy::Nobody,
        login: None,
        webhook: None,
        owner: None,
        maintenance: Vec::new(),
        at: Position::default(),
    }
}

/// The `n`th address from `base` on; the last byte is never 0 or 255.
fn nth_address([a, b]: [u8; 2], n: u32) -> IpAddr {
    let byte = |n: u32| u8::try_from(n).expect("a network of at most 250,000 nodes has addresses enough");
    Ipv4Addr::new(a, b + byte(n / 62_500), byte(n / 250 % 250), 1 + byte(n % 250)).into()
}

/// Numbers that look random and follow from a seed: SplitMix64.
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u32) -> i32 {
        i32::try_from(self.next() % u64::from(bound)).expect("a bound below a million fits")
    }

    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..count).map(|_| char::from(LETTERS[(self.next() % 36) as usize])).collect()
    }
}
