//! What the simulated ISP is made of, and what supplies what.
//!
//! A world is drawn at random: trees, rings, dual uplinks, bonded backhauls, nested groups. It is
//! told to the deciders as inventory events. Whether a thing works is found here by the most naive
//! means there are (repeat until nothing changes), because the oracle rests on it.

mod drawing;
mod need;

pub use self::{
    drawing::{ordinary_size, soak_size},
    need::{Mode, Need, Of},
};
use events::{
    Audience, Channel, ChannelId, ChannelKind, ClaimKey, DeviceClass, Inventory, Login, Node, NodeId,
    NodeKind, Policy, Probe, Sealed, Site, SiteId, Tenant, TenantId, Tier, Time, Watch, Window,
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

    /// Every subscriber that needs `thing`, directly or not.
    pub fn subscribers_below(&self, thing: u32) -> Vec<u32> {
        let mut hangs = vec![false; self.things.len()];
        let mut below: Vec<Vec<u32>> = vec![vec![]; self.things.len()];
        for i in self.numbers() {
            for need in &self.things[i as usize].needs {
                need.things(&mut |t| below[t as usize].push(i));
            }
        }
        let mut edge = vec![thing];
        let mut found = vec![];
        while let Some(at) = edge.pop() {
            for &i in &below[at as usize] {
                if !hangs[i as usize] {
                    hangs[i as usize] = true;
                    edge.push(i);
                    if self.things[i as usize].role == Role::Subscriber {
                        found.push(i);
                    }
                }
            }
        }
        found.sort_unstable();
        found
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
                certificate: None,
                secret: Sealed("x".into()),
                manage: false,
                enforce: false,
                token: None,
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
            origin: events::Origin::File,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

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
