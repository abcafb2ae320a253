//! Deciders simple enough to be right by inspection, to try the simulator itself on.
//!
//! They believe every heartbeat and look for no causes: right in a world where nothing needs
//! anything, wrong in every other, and the oracle must tell one from the other.

use crate::world::World;
use events::{
    About, AskId, Audience, Channel, Claim, Decide, Decision, EventId, Fact, Health, HealthKind, HealthSaid,
    Heard, Impact, Incident, IncidentClass, IncidentId, IncidentKind, IncidentSaid, IncidentState, Inventory,
    NodeHealth, NodeId, Notice, NoticeId, NoticeKind, NoticeSaid, Noun, Outcome, Part, Phase, RECALL_MS,
    RevisionSource, RootCause, Say, Signal, SignalSource, TenantId, Tier, Time, Timer, Urgency,
};
use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};
use uuid::Uuid;

/// A claim about a thing of its own, the same for the same `n`.
pub(crate) fn signal(n: u64) -> Say {
    let tenant = TenantId::of("t");
    let signal = Signal {
        about: About::Node(NodeId::of(tenant, &(n % 7).to_string())),
        says: if n.is_multiple_of(3) { Claim::Down } else { Claim::Up },
        source: SignalSource::Netwatch,
        sender: None,
        boot: None,
        seq: None,
        sealed_name: None,
        detail: None,
    };
    let id = EventId(Uuid::from_u128(u128::from(n) + 1));
    Say { id, tenant, at: Time::EPOCH, cause: Some(id), fact: Fact::Signal(signal) }
}

fn health(node: NodeId, up: bool, since: Time) -> NodeHealth {
    NodeHealth::of(node, if up { Health::Up } else { Health::Down }, since)
}

/// What is known of something, by which event, and when it was heard.
type News<K> = BTreeMap<K, (bool, EventId, Time)>;

fn forget<K: Ord>(news: &mut News<K>, now: Time) {
    news.retain(|_, (_, _, at)| *at >= now.plus_ms(-RECALL_MS));
}

fn digest_of(parts: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// Says of everything what was last claimed or answered.
#[derive(Default)]
pub(crate) struct Counting {
    news: News<(TenantId, NodeId)>,
    said: BTreeMap<(TenantId, NodeId), (bool, Time)>,
}

impl Decide for Counting {
    const NAME: &'static str = "counting";
    const HEARS: &'static [Noun] = &[Noun::Signal, Noun::Answer];
    const SAYS: &'static [Noun] = &[Noun::Health];

    fn recall(&mut self, heard: &Heard) {
        let known = match &heard.fact {
            Fact::Signal(Signal { about: About::Node(node), says, .. }) => Some((*node, *says == Claim::Up)),
            Fact::Answer(answer) => match answer.outcome {
                Outcome::Replied { .. } => Some((answer.target, true)),
                Outcome::Silent { last: true, .. } => Some((answer.target, false)),
                _ => None,
            },
            _ => None,
        };
        if let Some((node, up)) = known {
            self.news.insert((heard.tenant, node), (up, heard.id, heard.heard));
        }
        forget(&mut self.news, heard.heard);
    }

    fn apply(&mut self, said: &Say) {
        if let Fact::Health(h) = &said.fact {
            self.said.insert((said.tenant, h.now.node), (h.now.health == Health::Up, h.now.since));
        }
    }

    fn decide(&mut self, now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        for ((tenant, node), (up, cause, _)) in &self.news {
            if self.said.get(&(*tenant, *node)).is_some_and(|(said, _)| said == up) {
                continue;
            }
            if decision.said.len() + 1 > room {
                decision.owed = true;
                break;
            }
            let id = EventId::following(*cause, Self::NAME, "health");
            let changed = HealthSaid { kind: HealthKind::Changed, now: health(*node, *up, now) };
            let fact = Fact::Health(changed);
            decision.said.push(Say { id, tenant: *tenant, at: now, cause: Some(*cause), fact });
        }
        decision
    }

    fn digest(&self) -> u64 {
        digest_of(&(&self.news, &self.said))
    }
}

/// Opens an incident for everything that is down, and resolves it after a minute.
#[derive(Default)]
pub(crate) struct Opening {
    names: BTreeMap<NodeId, (String, Tier)>,
    parts: Vec<Part>,
    news: News<(TenantId, NodeId)>,
    open: BTreeMap<(TenantId, NodeId), Incident>,
    due: BTreeMap<(TenantId, NodeId), (EventId, u32, Time)>,
}

fn take_in(parts: &mut Vec<Part>, fact: &Fact) -> Vec<Inventory> {
    match fact {
        Fact::Inventory(thing) => vec![thing.clone()],
        Fact::Part(part) => {
            parts.push(part.clone());
            vec![]
        }
        Fact::Revision(r) => match &r.source {
            RevisionSource::Commit { .. } => vec![],
            RevisionSource::Parts { digest, .. } => {
                parts.iter().filter(|p| p.digest == *digest).flat_map(|p| p.things.clone()).collect()
            }
        },
        _ => vec![],
    }
}

impl Decide for Opening {
    const NAME: &'static str = "opening";
    const HEARS: &'static [Noun] = &[Noun::Health, Noun::Due];
    const SAYS: &'static [Noun] = &[Noun::Incident];

    fn recall(&mut self, heard: &Heard) {
        for thing in take_in(&mut self.parts, &heard.fact) {
            if let Inventory::Node(node) = thing {
                self.names.insert(node.id, (node.name.clone(), node.tier));
            }
        }
        match &heard.fact {
            Fact::Health(h) => {
                let up = h.now.health == Health::Up;
                self.news.insert((heard.tenant, h.now.node), (up, heard.id, heard.heard));
            }
            Fact::Due(due) => {
                let node: NodeId = due.key.parse().unwrap();
                self.due.insert((heard.tenant, node), (heard.id, due.version, heard.heard));
            }
            _ => {}
        }
        forget(&mut self.news, heard.heard);
        self.due.retain(|_, (_, _, at)| *at >= heard.heard.plus_ms(-RECALL_MS));
    }

    fn apply(&mut self, said: &Say) {
        let Fact::Incident(i) = &said.fact else { return };
        let key = (said.tenant, i.now.roots[0].node);
        if i.kind == IncidentKind::Resolved {
            self.open.remove(&key);
        } else {
            self.open.insert(key, i.now.clone());
        }
    }

    fn decide(&mut self, now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        for (key @ (tenant, node), (up, cause, _)) in &self.news {
            if decision.said.len() + decision.timers.len() + 2 > room {
                decision.owed = true;
                break;
            }
            let mut say = |kind, incident: Incident| {
                let id = EventId::following(*cause, Self::NAME, &format!("{node}{kind:?}{}", incident.hold));
                let fact = Fact::Incident(IncidentSaid { kind, now: incident });
                decision.said.push(Say { id, tenant: *tenant, at: now, cause: Some(*cause), fact });
            };
            let timer = |at: Option<i64>, version| {
                let at = at.map(|ms| now.plus_ms(ms));
                (*tenant, Timer { key: node.to_string(), at, version })
            };
            match (self.open.get(key), up) {
                (None, false) => {
                    let (name, tier) = self.names[node].clone();
                    say(IncidentKind::Opened, opened(*node, &name, tier, *cause, now));
                }
                (Some(i), true) if i.state == IncidentState::Open => {
                    let hold = i.hold + 1;
                    let mut i = Incident { state: IncidentState::Recovering, hold, ..i.clone() };
                    i.roots[0].down = false;
                    say(IncidentKind::Recovering, i);
                    decision.timers.push(timer(Some(60_000), hold));
                }
                (Some(i), false) if i.state == IncidentState::Recovering => {
                    let hold = i.hold + 1;
                    let mut i = Incident { state: IncidentState::Open, hold, ..i.clone() };
                    i.roots[0].down = true;
                    say(IncidentKind::Relapsed, i);
                    decision.timers.push(timer(None, hold));
                }
                _ => {}
            }
        }
        for (key @ (tenant, node), (cause, version, _)) in &self.due {
            let Some(i) = self.open.get(key) else { continue };
            let changes = decision.said.iter().any(|s| match &s.fact {
                Fact::Incident(said) => said.now.id == i.id,
                _ => false,
            });
            if i.state != IncidentState::Recovering || i.hold != *version || changes {
                continue;
            }
            if decision.said.len() + decision.timers.len() + 1 > room {
                decision.owed = true;
                break;
            }
            let state = IncidentState::Resolved;
            let now_it_is = Incident { state, ended_at: Some(now), ..i.clone() };
            let fact = Fact::Incident(IncidentSaid { kind: IncidentKind::Resolved, now: now_it_is });
            let id = EventId::following(*cause, Self::NAME, &format!("{node}over"));
            decision.said.push(Say { id, tenant: *tenant, at: now, cause: Some(*cause), fact });
        }
        decision
    }

    fn digest(&self) -> u64 {
        digest_of(&(&self.names, &self.news, &self.due, format!("{:?}", self.open)))
    }
}

/// An incident as `Opening` opens it.
pub(crate) fn opened(node: NodeId, name: &str, tier: Tier, cause: EventId, now: Time) -> Incident {
    Incident {
        id: IncidentId::of(EventId(AskId::of(cause, node, 0).0)),
        state: IncidentState::Open,
        class: IncidentClass::Outage,
        title: format!("{name} is down"),
        urgency: Urgency::Normal,
        tier,
        site: None,
        site_name: None,
        site_address: None,
        site_hypothesis: None,
        roots: vec![RootCause {
            node,
            name: name.into(),
            tier,
            primary: true,
            down: true,
            since: now,
            quiet: false,
            flapping: false,
            confidence: 100,
            evidence: vec![],
            subscribers_below: None,
        }],
        impact: Impact::default(),
        opened_at: now,
        ended_at: None,
        ended_because: None,
        merged_into: None,
        blind: None,
        acknowledged_by: None,
        // No two incidents share a version, so a timer of the one means nothing to the other.
        hold: now.ms() as u32,
        timeline: vec![],
        owner: None,
    }
}

/// Tells every incident once when it opens and once when it is over.
#[derive(Default)]
pub(crate) struct Telling {
    parts: Vec<Part>,
    channels: BTreeMap<TenantId, Vec<Channel>>,
    news: BTreeMap<IncidentId, (TenantId, EventId, Time, Incident)>,
    said: BTreeSet<NoticeId>,
}

/// The notice of `phase` about `incident`.
pub(crate) fn notice(incident: &Incident, channel: &Channel, phase: Phase, now: Time) -> Notice {
    Notice {
        id: NoticeId::of(incident.id, channel.audience.name(), channel.id, phase.name(), 0),
        incident: incident.id,
        audience: channel.audience,
        channel: channel.id,
        phase,
        step: 0,
        urgency: incident.urgency,
        title: incident.title.clone(),
        text: String::new(),
        at: now,
        expires: now.plus_ms(3_600_000),
        about: Box::new(incident.clone()),
    }
}

impl Decide for Telling {
    const NAME: &'static str = "telling";
    const HEARS: &'static [Noun] = &[Noun::Incident];
    const SAYS: &'static [Noun] = &[Noun::Notice];

    fn recall(&mut self, heard: &Heard) {
        for thing in take_in(&mut self.parts, &heard.fact) {
            if let Inventory::Channel(channel) = thing {
                self.channels.entry(heard.tenant).or_default().push(channel);
            }
        }
        if let Fact::Incident(i) = &heard.fact {
            self.news.insert(i.now.id, (heard.tenant, heard.id, heard.heard, i.now.clone()));
        }
        self.news.retain(|_, (_, _, at, _)| *at >= heard.heard.plus_ms(-RECALL_MS));
    }

    fn apply(&mut self, said: &Say) {
        if let Fact::Notice(n) = &said.fact {
            self.said.insert(n.now.id);
        }
    }

    fn decide(&mut self, now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        for (tenant, cause, _, incident) in self.news.values() {
            let audience = match incident.tier {
                Tier::Core | Tier::Site => Audience::Engineers,
                Tier::Sector | Tier::Station | Tier::Subscriber => Audience::Technicians,
            };
            let phases: &[Phase] = if incident.state == IncidentState::Resolved {
                &[Phase::Opened, Phase::Resolved]
            } else {
                &[Phase::Opened]
            };
            for phase in phases {
                for channel in self.channels.get(tenant).into_iter().flatten() {
                    let notice = notice(incident, channel, *phase, now);
                    if channel.audience != audience || self.said.contains(&notice.id) {
                        continue;
                    }
                    if decision.said.len() >= room {
                        decision.owed = true;
                        return decision;
                    }
                    let id = EventId::following(*cause, Self::NAME, &notice.id.to_string());
                    let fact = Fact::Notice(NoticeSaid { kind: NoticeKind::Addressed, now: notice });
                    decision.said.push(Say { id, tenant: *tenant, at: now, cause: Some(*cause), fact });
                }
            }
        }
        decision
    }

    fn digest(&self) -> u64 {
        digest_of(&(format!("{:?}{:?}", self.channels, self.news), &self.said))
    }
}

/// A world where nothing needs anything and the server watches everything.
pub(crate) fn flat(things: usize) -> World {
    use crate::world::{Role, Thing};
    let role = |i: usize| [Role::Core, Role::Tower, Role::Sector][i % 3];
    World {
        slug: "flat".into(),
        sites: 0,
        things: (0..things)
            .map(|i| Thing {
                label: i as u32,
                role: role(i),
                site: None,
                needs: vec![],
                seen_by: None,
                watch_s: Some(30),
                maintenance: None,
                absent: false,
            })
            .collect(),
        policy: events::Policy::default(),
        channels: vec![Audience::Engineers, Audience::Technicians],
        in_parts: things.is_multiple_of(2),
    }
}
