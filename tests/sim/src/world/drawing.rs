//! How a world is drawn: a backbone, towers connected in every way there is, and what hangs on them.

use super::{Mode, Need, Of, Role, Thing, World};
use crate::rng::Rng;
use events::{Audience, Policy};

impl World {
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
