//! Random histories of a few tenants: every kind of fact that leaves a row, in any order.
//!
//! They need not make sense as networks: a read model has to write whatever was said. A few ids
//! come again and again, so that rows are overwritten, removed and made anew. Days pass now and then,
//! so that rows grow old.

use events::*;
use kit::projection::Told;
use projector::{PartError, Parts};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Numbers that follow from a seed. Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014 (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(50) { Some(make(self)) } else { None }
    }

    fn several<T>(&mut self, at_most: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(at_most + 1)).map(|_| make(self)).collect()
    }

    fn uuid<T>(&mut self, space: u8, of: u64, make: impl FnOnce(uuid::Uuid) -> T) -> T {
        make(uuid::Uuid::from_u128(u128::from(space) << 64 | u128::from(self.below(of))))
    }

    fn text(&mut self) -> String {
        self.pick(&[
            "Mill Hill",
            "a,b{}\"'\\",
            "naïve — ü",
            "zero\0inside",
            "",
            "\\u0000",
            "line\nbreak\ttab",
        ])
        .to_owned()
    }

    fn node(&mut self) -> NodeId {
        self.uuid(1, 30, NodeId)
    }

    fn event(&mut self) -> EventId {
        EventId(uuid::Uuid::from_u128(u128::from(self.next())))
    }

    fn time(&mut self, around: Time) -> Time {
        around.plus_ms(-(self.below(10_000_000) as i64))
    }
}

/// A history and the parts that its revisions name.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) told: Vec<Told>,
    pub(crate) parts: BTreeMap<(TenantId, String, u32), Part>,
}

impl Parts for History {
    async fn part(&self, tenant: TenantId, digest: &str, n: u32) -> Result<Part, PartError> {
        let lost = || PartError::Lost { digest: digest.to_owned(), n, problem: "is not there".into() };
        self.parts.get(&(tenant, digest.to_owned(), n)).cloned().ok_or_else(lost)
    }
}

impl History {
    /// What a log still holds of it at the end: without the messages whose time is over by then.
    pub(crate) fn as_kept(&self) -> History {
        let now = self.told.last().map_or(Time::EPOCH, |t| t.heard.heard);
        let is_kept = |told: &&Told| told.kept_until.is_none_or(|until| until >= now);
        History { told: self.told.iter().filter(is_kept).cloned().collect(), parts: self.parts.clone() }
    }
}

/// A fact as a projection hears it, kept as long as its noun.
pub(crate) fn told(heard: Heard) -> Told {
    let kept_until = match heard.fact.noun().retention() {
        Retention::Forever => None,
        Retention::Seconds(s) => Some(heard.heard.plus_ms(s as i64 * 1_000)),
    };
    Told { key: heard.fact.key("main"), cause: None, correlation: None, kept_until, heard: heard.into() }
}

/// Three tenants, of which two share a partition.
pub(crate) fn tenants() -> [TenantId; 3] {
    let a = TenantId::of("hillside");
    let shares = |t: &TenantId| partition_of(*t) == partition_of(a);
    let b = (0..).map(|n| TenantId::of(&format!("valley-{n}"))).find(shares).unwrap();
    let c = (0..).map(|n| TenantId::of(&format!("coast-{n}"))).find(|t| !shares(t)).unwrap();
    [a, b, c]
}

/// A history of `count` facts.
pub(crate) fn random(seed: u64, count: u64) -> History {
    let mut d = Dice::new(seed);
    let mut history = History { told: vec![], parts: BTreeMap::new() };
    let mut now = Time::from_ms(1_795_000_000_000);
    let mut number = BTreeMap::new();
    for n in 0..count {
        now = now.plus_ms(if d.chance(2) { d.below(40 * 86_400_000) as i64 } else { d.below(2_000) as i64 });
        let tenant = d.pick(&tenants());
        let fact = fact(&mut d, &mut history, tenant, now, &mut number);
        let at = d.time(now);
        let id = d.event();
        let cause = d.some(Dice::event);
        history
            .told
            .push(Told { cause, ..told(Heard { seq: (n + 1) * 3, id, tenant, heard: now, at, fact }) });
    }
    history
}

fn fact(
    d: &mut Dice,
    history: &mut History,
    tenant: TenantId,
    now: Time,
    number: &mut BTreeMap<TenantId, u64>,
) -> Fact {
    match d.below(20) {
        0 | 1 => Fact::Inventory(thing(d, now)),
        2 => {
            let number = number.entry(tenant).or_default();
            *number += 1;
            let source = if d.chance(50) {
                laid(d, history, tenant, now)
            } else {
                RevisionSource::Commit { count: 3 }
            };
            Fact::Revision(Revision {
                number: *number,
                source,
                file_digest: d.some(Dice::text),
                by: d.text(),
            })
        }
        3 => {
            let token = |d: &mut Dice| {
                Access::Token(Token {
                    prefix: d.text(),
                    sha256: "secret-digest".into(),
                    grant: Grant::Router { router: d.node() },
                    networks: d.several(2, Dice::text),
                    name: d.text(),
                    revoked: d.chance(30),
                })
            };
            let now = if d.chance(70) {
                token(d)
            } else {
                Access::Keys(LookUpKey {
                    look_up: Sealed("secret-key".into()),
                    data: Sealed("secret-key".into()),
                })
            };
            Fact::Access(AccessSaid { now, by: d.text() })
        }
        4 => {
            let incident = d.uuid(3, 8, IncidentId);
            let order = match d.below(10) {
                0 => Order::Acknowledge { incident },
                1 => Order::CloseAsWrong { incident },
                2 => Order::DrawPlan { router: d.node() },
                3 => Order::Repair { router: d.node() },
                8 => Order::CutHeld { router: d.node(), plan: d.uuid(8, 9, PlanDigest) },
                4 => Order::Scan { router: d.node() },
                5 => Order::AddSighting { sighting: d.uuid(8, 9, SightingId), node: d.node() },
                6 => Order::RejectSighting { sighting: d.uuid(8, 9, SightingId) },
                7 => Order::OpenSightings { count: 7 },
                _ => Order::LiveCheck { node: d.node(), hops: d.several(3, |d| asked(d, now)) },
            };
            Fact::Order(OrderSaid { id: d.uuid(4, 99, OrderId), order, by: d.text() })
        }
        5 => Fact::Signal(Signal {
            about: if d.chance(70) { About::Session(d.uuid(5, 20, ClaimKey)) } else { About::Node(d.node()) },
            says: d.pick(&[Claim::Up, Claim::Down, Claim::Degraded]),
            source: d.pick(&[SignalSource::Ppp, SignalSource::Dhcp, SignalSource::Netwatch]),
            sender: d.some(Dice::node),
            boot: d.some(Dice::text),
            seq: d.some(Dice::next),
            sealed_name: d.some(|d| Sealed(d.text())),
            detail: d.some(Dice::text),
        }),
        6 => Fact::Suspicion(SuspicionSaid {
            kind: d.pick(&[SuspicionKind::Raised, SuspicionKind::Pursued, SuspicionKind::Settled]),
            now: Suspicion {
                node: d.node(),
                since: d.time(now),
                source: SignalSource::Heartbeat,
                sender: d.some(Dice::node),
                claim: d.event(),
                asked: d.several(3, |d| asked(d, now)),
                held_until: d.some(|d| d.time(now)),
            },
        }),
        7 => Fact::Health(health(d, now)),
        8 => {
            // The same beginning several times, so that downtimes are told more of and ended.
            let mut said = health(d, now);
            said.now.since = Time::from_ms(now.ms() / 600_000 * 600_000);
            Fact::Health(said)
        }
        9 => Fact::Incident(IncidentSaid {
            kind: d.pick(&[
                IncidentKind::Opened,
                IncidentKind::Changed,
                IncidentKind::Merged,
                IncidentKind::Resolved,
            ]),
            now: incident(d, now),
        }),
        10 => {
            let about = Box::new(incident(d, now));
            Fact::Notice(NoticeSaid {
                kind: d.pick(&[NoticeKind::Addressed, NoticeKind::Withdrawn]),
                now: Notice {
                    id: d.uuid(6, 20, NoticeId),
                    incident: about.id,
                    audience: d.pick(&[Audience::Engineers, Audience::Technicians, Audience::Support]),
                    channel: d.uuid(7, 4, ChannelId),
                    phase: d.pick(&[Phase::Opened, Phase::Changed, Phase::Escalated, Phase::Resolved]),
                    step: d.below(3) as u32,
                    urgency: d.pick(&[Urgency::Low, Urgency::Normal, Urgency::Urgent]),
                    title: d.text(),
                    text: d.text(),
                    at: d.time(now),
                    expires: now.plus_ms(1_800_000),
                    about,
                },
            })
        }
        11 => Fact::Repair(Repair {
            router: d.node(),
            outcome: d.pick(&[RepairOutcome::Made, RepairOutcome::Refused, RepairOutcome::Found]),
            plan: d.event(),
            number: d.below(99) as u32,
            change: change(d),
            subscriber: d.some(Dice::node),
            error: d.some(Dice::text),
        }),
        12 => Fact::Plan(Plan {
            router: d.node(),
            state: d.pick(&[PlanState::Proposed, PlanState::AsDesired, PlanState::Unreachable]),
            managed: d.chance(50),
            since: d.time(now),
            version: d.some(Dice::text),
            identity: d.some(Dice::text),
            board: d.some(Dice::text),
            findings: d.several(2, Dice::text),
            obstacles: d.several(2, Dice::text),
            changes: d.several(3, change),
            change_count: u32::MAX,
            error: d.some(Dice::text),
            certificate_shown: d.some(fingerprint),
        }),
        13 => Fact::Entitlement(EntitlementSaid { now: entitlement(d), by: d.text() }),
        14 => Fact::Enforcement(Enforcement::Router(RouterEnforcement {
            router: d.node(),
            state: d.pick(&[RouterEnforcementState::Begun, RouterEnforcementState::Held]),
            since: d.time(now),
            entitled_count: d.below(99) as u32,
            active_count: u32::MAX,
            held_count: d.below(9) as u32,
            held: d.some(|d| d.uuid(8, 9, PlanDigest)),
            error: d.some(Dice::text),
        })),
        15 => Fact::Enforcement(Enforcement::Subscriber(SubscriberEnforcement {
            node: d.node(),
            router: d.node(),
            state: d.pick(&[EnforcementState::Begun, EnforcementState::InForce, EnforcementState::Failed]),
            since: d.time(now),
            wanted: d.event(),
            wanted_since: d.time(now),
            in_force_since: d.some(|d| d.time(now)),
            attempts: d.below(9) as u32,
            cut_at: d.some(|d| d.time(now)),
            ends: d.several(2, Dice::text),
            password: None,
            not_ours: d.some(Dice::text),
            error: d.some(Dice::text),
        })),
        16 => Fact::Sighting(Sighting::Device(device(d, now))),
        17 => Fact::Sighting(Sighting::Scan(Scan {
            router: d.node(),
            at: d.time(now),
            device_count: u32::MAX,
            known_count: 1,
            proposed_count: 2,
            moved_count: 3,
            rejected_count: 4,
            left_out_count: 5,
            error: d.some(Dice::text),
        })),
        18 => Fact::Refusal(Refusal {
            reason: d.pick(&[RefusalReason::Unauthorized, RefusalReason::WrongSource, RefusalReason::Stale]),
            token: d.some(|d| format!("token{:07}", d.below(30))),
            source: d.some(|d| IpAddr::from([10, 0, 0, d.below(250) as u8])),
            count: 1 + d.below(1_000),
            first: d.time(now),
            last: d.time(now),
            detail: d.some(Dice::text),
        }),
        _ => Fact::Delivery(DeliverySaid {
            kind: d.pick(&[DeliveryKind::Attempted, DeliveryKind::Delivered, DeliveryKind::Unknown]),
            now: Delivery {
                notice: d.uuid(6, 20, NoticeId),
                attempts: d.below(4) as u32,
                answer: d.some(Dice::text),
                possibly_repeated: d.chance(20),
            },
        }),
    }
}

fn entitlement(d: &mut Dice) -> Entitlement {
    if d.chance(20) {
        return Entitlement::Cutting(Cutting { halted: d.chance(50), why: d.some(Dice::text) });
    }
    Entitlement::Subscriber(Entitled {
        node: d.node(),
        state: d.pick(&[ServiceState::Active, ServiceState::Suspended, ServiceState::Released]),
        profile: d.some(Dice::text),
        rate: d.some(|d| Rate { up_bps: d.below(9_999), down_bps: d.below(9_999) }),
        address: d.some(|d| d.uuid(5, 20, ClaimKey)),
        password: d.some(|_| Sealed("secret-password".into())),
        file: d.some(Dice::text),
    })
}

fn change(d: &mut Dice) -> RouterChange {
    let property = |d: &mut Dice| Property { name: d.text(), value: d.text() };
    RouterChange {
        menu: d.text(),
        change: d.pick(&[ChangeKind::Add, ChangeKind::Set, ChangeKind::Remove]),
        row: d.some(Dice::text),
        called: d.text(),
        before: d.several(2, property),
        after: d.several(2, property),
    }
}

/// Lays down an import; no thing of it twice, as an importer would.
fn laid(d: &mut Dice, history: &mut History, tenant: TenantId, now: Time) -> RevisionSource {
    let digest = format!("{:016x}", d.next());
    let count = 1 + d.below(20) as u32;
    let mut seen = BTreeSet::new();
    for n in 0..count {
        let mut things = d.several(4, |d| thing(d, now));
        things.retain(|thing| seen.insert(thing.key()));
        history.parts.insert((tenant, digest.clone(), n), Part { digest: digest.clone(), n, things });
    }
    RevisionSource::Parts { digest, count }
}

fn asked(d: &mut Dice, now: Time) -> Asked {
    let at = d.time(now);
    Asked {
        id: d.uuid(8, 99, AskId),
        target: d.node(),
        at,
        deadline: at.plus_ms(2_000),
        round: 0,
        roll_call: false,
    }
}

fn evidence(d: &mut Dice) -> Evidence {
    let kind = d.pick(&[EvidenceKind::SilentTry, EvidenceKind::DownClaim, EvidenceKind::Undetermined]);
    Evidence::of(kind, d.below(9) as u32, d.below(70) as u32, d.some(Dice::event))
}

fn health(d: &mut Dice, now: Time) -> HealthSaid {
    let all = [Health::Up, Health::Down, Health::Impacted, Health::Degraded, Health::Unknown];
    HealthSaid {
        kind: d.pick(&[HealthKind::Changed, HealthKind::Noted, HealthKind::Restated, HealthKind::Retired]),
        now: NodeHealth {
            node: d.node(),
            health: d.pick(&all),
            flags: d.several(2, |d| d.pick(&[Flag::Suspect, Flag::AtRisk, Flag::MapDisagrees])),
            since: d.time(now),
            at: d.some(|d| d.time(now)),
            roots: d.several(3, Dice::node),
            evidence: d.several(3, evidence),
            asked: d.several(2, |d| asked(d, now)),
            opens_incident: false,
            penalty: d.some(|d| (d.below(2_000) as u32, now)),
            session_lost: false,
            learned: d.some(|d| d.pick(&[Learned::Push, Learned::Poll, Learned::Reconcile])),
            sessions_lost: None,
        },
    }
}

fn owner(d: &mut Dice) -> Owner {
    Owner { account: d.text(), ticket_url: d.some(Dice::text) }
}

fn incident(d: &mut Dice, now: Time) -> Incident {
    let state = d.pick(&[
        IncidentState::Open,
        IncidentState::Recovering,
        IncidentState::Resolved,
        IncidentState::Merged,
    ]);
    let root = |d: &mut Dice| RootCause {
        node: d.node(),
        name: d.text(),
        tier: d.pick(&Tier::ALL),
        primary: d.chance(50),
        down: d.chance(50),
        since: d.time(now),
        quiet: d.chance(10),
        flapping: false,
        confidence: d.below(101) as u32,
        evidence: d.several(2, evidence),
        subscribers_below: None,
    };
    Incident {
        id: d.uuid(3, 8, IncidentId),
        state,
        class: d.pick(&[IncidentClass::Outage, IncidentClass::SessionsLost, IncidentClass::Blind]),
        title: d.text(),
        urgency: d.pick(&[Urgency::Low, Urgency::Normal, Urgency::Urgent]),
        tier: d.pick(&Tier::ALL),
        site: d.some(|d| d.uuid(2, 6, SiteId)),
        site_name: d.some(Dice::text),
        site_address: d.some(Dice::text),
        site_hypothesis: d.some(|d| {
            let (site, name, evidence) = (d.uuid(2, 6, SiteId), d.text(), d.several(2, evidence));
            Box::new(SiteHypothesis { site, name, confidence: d.below(101) as u32, evidence })
        }),
        roots: d.several(3, root),
        impact: Impact {
            by_tier: BTreeMap::from([(Tier::Sector, d.below(9) as u32)]),
            subscribers: d.below(4_000) as u32,
            sites: d.below(10) as u32,
            by_plan: BTreeMap::from([(d.text(), 1)]),
            at_risk: d.below(3) as u32,
            observed: d.below(3) as u32,
            ..Impact::default()
        },
        opened_at: d.time(now),
        ended_at: d.some(|d| d.time(now)),
        ended_because: d.some(Dice::text),
        blind: d.some(|d| {
            Box::new(BlindPop {
                pop: d.text(),
                slots: vec![1, 2],
                since: vec![d.time(now), d.time(now)],
                targets: 3,
            })
        }),
        merged_into: d.some(|d| d.uuid(3, 8, IncidentId)),
        acknowledged_by: d.some(Dice::text),
        hold: 0,
        timeline: d.several(3, |d| TimelineEntry { at: now, what: d.text() }),
        owner: d.some(owner),
    }
}

fn group(d: &mut Dice, depth: u32) -> Group {
    let mode = d.pick(&[GroupMode::Any, GroupMode::All, GroupMode::KOfN { k: 2 }]);
    let member = |d: &mut Dice| {
        if depth < 3 && d.chance(30) { Member::Group(group(d, depth + 1)) } else { Member::Node(d.node()) }
    };
    Group { mode, members: d.several(3, member) }
}

fn thing(d: &mut Dice, now: Time) -> Inventory {
    match d.below(12) {
        0 => Inventory::Tenant(Tenant { id: TenantId::of("x"), slug: d.text(), name: d.text() }),
        1 => Inventory::Policy(Policy { walks_per_hour: d.below(9) as u32, ..Policy::default() }),
        2 | 3 => Inventory::Site(Site {
            id: d.uuid(2, 6, SiteId),
            file_id: d.text(),
            name: d.text(),
            address: d.some(Dice::text),
            latitude_udeg: d.some(|d| d.below(90_000_000) as i32),
            longitude_udeg: d.some(|d| -(d.below(90_000_000) as i32)),
        }),
        4 => Inventory::SiteRemoved { id: d.uuid(2, 6, SiteId) },
        5 => Inventory::NodeRemoved { id: d.node() },
        6 => Inventory::ChannelRemoved { id: d.uuid(7, 4, ChannelId) },
        7 => Inventory::Channel(Channel {
            id: d.uuid(7, 4, ChannelId),
            name: d.text(),
            audience: Audience::Engineers,
            kind: if d.chance(50) {
                ChannelKind::Webhook {
                    url: "https://hooks.example/secret-path".into(),
                    secret: Sealed("secret-key".into()),
                }
            } else {
                ChannelKind::Email {
                    server: "smtps://user:secret-password@mail.example:465".into(),
                    from: d.text(),
                    to: d.several(3, Dice::text),
                    login: Some(Sealed("secret-key".into())),
                }
            },
        }),
        _ => Inventory::Node(Arc::new(node(d, now))),
    }
}

fn device(d: &mut Dice, now: Time) -> SeenDevice {
    SeenDevice {
        id: d.uuid(8, 9, SightingId),
        state: d.pick(&SightingState::ALL),
        since: d.time(now),
        class: d.pick(&[DeviceClass::Router, DeviceClass::Station, DeviceClass::Other]),
        tier: d.pick(&Tier::ALL),
        parent: d.some(|d| {
            if d.chance(50) {
                Above::Node { id: d.node() }
            } else {
                Above::Sighting { id: d.uuid(8, 9, SightingId) }
            }
        }),
        node: d.some(Dice::node),
        spots: d.several(3, |d| Spot { router: d.node(), port: d.some(Dice::text), was: d.some(Dice::text) }),
        reasons: d.several(3, Dice::text),
        platform: d.some(Dice::text),
        board: d.some(Dice::text),
        version: d.some(Dice::text),
        has_address: d.chance(50),
        seen: Sealed(d.text()),
    }
}

fn node(d: &mut Dice, now: Time) -> Node {
    let kinds = [
        NodeKind::Device { class: DeviceClass::SectorAp },
        NodeKind::Link,
        NodeKind::Subscriber,
        NodeKind::Upstream,
    ];
    let mut claims = d.several(3, |d| d.uuid(5, 20, ClaimKey));
    claims.sort();
    claims.dedup();
    Node {
        id: d.node(),
        file_id: d.text(),
        name: d.text(),
        kind: d.pick(&kinds),
        tier: d.pick(&Tier::ALL),
        site: d.some(|d| d.uuid(2, 6, SiteId)),
        needs: d.several(2, |d| group(d, 0)),
        address: d.some(|d| d.pick(&["10.1.2.3".parse().unwrap(), "2001:db8::1".parse().unwrap()])),
        watch: d.some(|d| Watch {
            probe: d.pick(&[Probe::Icmp, Probe::Tcp { port: 65_535 }, Probe::RouterOs]),
            every_s: 60,
        }),
        seen_by: d.some(Dice::node),
        claims,
        login: d.some(|d| Login {
            port: 8729,
            tls: true,
            certificate: d.some(fingerprint),
            secret: Sealed("secret-key".into()),
            manage: true,
            enforce: true,
            token: Some(Sealed("secret-key".into())),
        }),
        plan: d.some(Dice::text),
        owner: d.some(owner),
        maintenance: d.several(2, |d| Window { from: now, until: now.plus_ms(60_000), reason: d.text() }),
        origin: d.pick(&[Origin::File, Origin::Hand, Origin::Scout]),
    }
}

fn fingerprint(d: &mut Dice) -> Fingerprint {
    Fingerprint(std::array::from_fn(|_| d.pick(&[0, 7, 255])))
}
