//! A town whose network is told of by hand.
//!
//! The bus here is the simplest one possible: everything said is heard at once, in order, and
//! time only moves when a story says so.

use domain::{Announcing, Correlation, Diagnosis};
use events::*;
use std::{collections::VecDeque, sync::Arc};

pub(crate) struct Town {
    pub(crate) tenant: TenantId,
    pub(crate) now: Time,
    pub(crate) seq: u64,
    pub(crate) diagnosis: Diagnosis,
    pub(crate) correlation: Correlation,
    pub(crate) announcing: Announcing,
    pub(crate) log: Vec<Heard>,
    pub(crate) asks: VecDeque<Ask>,
    /// How long every router says that it has been up.
    pub(crate) uptime_ms: u64,
    /// Whether roll calls are answered.
    pub(crate) answers_roll_calls: bool,
    /// Whether routers have anybody to tell of when they answer.
    pub(crate) roll_calls_tell: bool,
}

pub(crate) fn group(mode: GroupMode, members: &[NodeId]) -> Group {
    Group { mode, members: members.iter().map(|m| Member::Node(*m)).collect() }
}

impl Town {
    pub(crate) fn new() -> Self {
        let tenant = TenantId::of("town");
        Self {
            tenant,
            now: Time::from_ms(1_800_000_000_000),
            seq: 0,
            diagnosis: Diagnosis::default(),
            correlation: Correlation::default(),
            announcing: Announcing::default(),
            log: Vec::new(),
            asks: VecDeque::new(),
            uptime_ms: 86_400_000,
            answers_roll_calls: true,
            roll_calls_tell: true,
        }
    }

    pub(crate) fn id(&self, name: &str) -> NodeId {
        NodeId::of(self.tenant, name)
    }

    pub(crate) fn node(&self, name: &str, tier: Tier, needs: &[&str]) -> Node {
        let parents: Vec<NodeId> = needs.iter().map(|n| self.id(n)).collect();
        let router = tier <= Tier::Site;
        Node {
            id: self.id(name),
            file_id: name.into(),
            name: name.into(),
            kind: if tier == Tier::Subscriber {
                NodeKind::Subscriber
            } else {
                NodeKind::Device { class: if router { DeviceClass::Router } else { DeviceClass::SectorAp } }
            },
            tier,
            site: None,
            needs: if parents.is_empty() { vec![] } else { vec![group(GroupMode::All, &parents)] },
            address: Some([10, 0, 0, 1].into()),
            watch: router.then_some(Watch { probe: Probe::RouterOs, every_s: 60 }),
            seen_by: (!router).then(|| self.id(needs[0])),
            claims: vec![],
            login: router.then(|| Login {
                port: 8728,
                tls: false,
                certificate: None,
                secret: Sealed("x".into()),
                manage: false,
                enforce: false,
                token: None,
            }),
            plan: None,
            owner: None,
            maintenance: vec![],
            origin: events::Origin::default(),
        }
    }

    pub(crate) fn lay(&mut self, nodes: Vec<Node>) {
        for (name, audience) in [("noc", Audience::Engineers), ("field", Audience::Technicians)] {
            let kind = ChannelKind::Webhook { url: "http://127.0.0.1:1".into(), secret: Sealed("x".into()) };
            let channel = Channel { id: ChannelId::of(self.tenant, name), name: name.into(), audience, kind };
            self.hear(Fact::Inventory(Inventory::Channel(channel)));
        }
        for node in nodes {
            self.hear(Fact::Inventory(Inventory::Node(Arc::new(node))));
        }
        let source = RevisionSource::Commit { count: 0 };
        self.hear(Fact::Revision(Revision { number: 1, source, file_digest: None, by: "test".into() }));
        self.decide();
    }

    /// The console lays down a change.
    pub(crate) fn revise(&mut self, number: u64, things: Vec<Inventory>) {
        for thing in things {
            self.hear(Fact::Inventory(thing));
        }
        let source = RevisionSource::Commit { count: 0 };
        self.hear(Fact::Revision(Revision { number, source, file_digest: None, by: "test".into() }));
        self.decide();
    }

    pub(crate) fn hear(&mut self, fact: Fact) -> EventId {
        self.seq += 1;
        let id = EventId(uuid::Uuid::from_u128(u128::from(self.seq)));
        self.put(Heard { seq: self.seq, id, tenant: self.tenant, heard: self.now, at: self.now, fact });
        id
    }

    pub(crate) fn put(&mut self, heard: Heard) {
        let noun = heard.fact.noun();
        let inventory = matches!(noun, Noun::Inventory | Noun::Part | Noun::Revision);
        if inventory || Diagnosis::HEARS.contains(&noun) {
            self.diagnosis.recall(&heard);
        }
        if inventory || Correlation::HEARS.contains(&noun) {
            self.correlation.recall(&heard);
        }
        if inventory || Announcing::HEARS.contains(&noun) {
            self.announcing.recall(&heard);
        }
        if let Fact::Ask(ask) = &heard.fact {
            self.asks.push_back(ask.clone());
        }
        self.log.push(heard);
    }

    pub(crate) fn say(&mut self, decision: Decision) -> bool {
        let any = !decision.said.is_empty() || decision.owed;
        for say in decision.said {
            self.seq += 1;
            let heard = Heard {
                seq: self.seq,
                id: say.id,
                tenant: say.tenant,
                heard: self.now,
                at: say.at,
                fact: say.fact,
            };
            self.put(heard);
        }
        any
    }

    pub(crate) fn decide(&mut self) {
        for _ in 0..200 {
            let (d, c, a) = (
                self.diagnosis.decide(self.now, 900),
                self.correlation.decide(self.now, 900),
                self.announcing.decide(self.now, 900),
            );
            let again = self.say(d) | self.say(c) | self.say(a);
            if !again {
                return;
            }
        }
        panic!("the deciders never come to rest");
    }

    pub(crate) fn claim(&mut self, name: &str, says: Claim) {
        let about = About::Node(self.id(name));
        let signal = Signal {
            about,
            says,
            source: SignalSource::Netwatch,
            sender: None,
            boot: None,
            seq: Some(self.seq),
            sealed_name: None,
            detail: None,
        };
        self.hear(Fact::Signal(signal));
    }

    /// Says what diagnostician would.
    pub(crate) fn said(&mut self, name: &str, health: Health) {
        let now = NodeHealth::of(self.id(name), health, self.now);
        self.hear(Fact::Health(HealthSaid { kind: HealthKind::Changed, now }));
    }

    /// Correlator as it is after a start: with the inventory, what was heard lately, and what it said last.
    pub(crate) fn correlation_anew(&self) -> Correlation {
        let mut anew = Correlation::default();
        let from = self.now.plus_ms(-RECALL_MS);
        let mut last = std::collections::BTreeMap::new();
        for heard in &self.log {
            let is_inventory = matches!(heard.fact.noun(), Noun::Inventory | Noun::Revision);
            if is_inventory || (Correlation::HEARS.contains(&heard.fact.noun()) && heard.heard >= from) {
                anew.recall(heard);
            }
            if let Fact::Incident(said) = &heard.fact {
                last.insert(said.now.id, heard.clone());
            }
        }
        for heard in last.into_values() {
            let (id, tenant, at) = (heard.id, heard.tenant, heard.at);
            anew.apply(&Say { id, tenant, at, cause: None, fact: heard.fact });
        }
        anew
    }

    /// A keeper's own look finds it alive.
    pub(crate) fn replied(&mut self, name: &str) {
        let (target, outcome) = (self.id(name), Outcome::Replied { rtt_us: 500 });
        let answer =
            Answer { ask: None, asked_at: None, target, via: Vantage::Direct, outcome, pop: "main".into() };
        self.hear(Fact::Answer(answer));
    }

    /// Answers everything asked: those named are dead, the rest is alive; then time goes on.
    pub(crate) fn answer(&mut self, dead: &[&str]) {
        for _ in 0..20 {
            self.decide();
            let asks: Vec<Ask> = self.asks.drain(..).collect();
            if asks.is_empty() {
                return;
            }
            self.now = self.now.plus_ms(2_000);
            for ask in asks {
                if matches!(ask.question, Question::RollCall { .. }) && !self.answers_roll_calls {
                    continue;
                }
                let is_dead = |id: NodeId| dead.iter().any(|d| self.id(d) == id);
                let via = match &ask.question {
                    Question::Reach { .. } | Question::RollCall { .. } => Vantage::Direct,
                    Question::PingThrough { router } | Question::Session { router, .. } => {
                        Vantage::Through(*router)
                    }
                };
                let outcome = match via {
                    Vantage::Through(router) if is_dead(router) => {
                        Outcome::RouterSilent { tries: 3, last: true }
                    }
                    _ if matches!(ask.question, Question::Session { .. }) => {
                        let gone = is_dead(ask.target);
                        let state = if gone { SessionState::Absent } else { SessionState::Present };
                        Outcome::Session { state }
                    }
                    _ if is_dead(ask.target) => Outcome::Silent { tries: 3, last: true },
                    _ => match &ask.question {
                        Question::RollCall { .. } => Outcome::RollCall(RollCall {
                            chunk: 0,
                            chunks: 1,
                            whole: true,
                            uptime_ms: self.uptime_ms,
                            up: self.seen_by(ask.target, |id| self.roll_calls_tell && !is_dead(id)),
                            down: self.seen_by(ask.target, |id| self.roll_calls_tell && is_dead(id)),
                            present: self.sessions_of(ask.target, |id| self.roll_calls_tell && !is_dead(id)),
                            gone: vec![],
                        }),
                        _ => Outcome::Replied { rtt_us: 900 },
                    },
                };
                let answer = Answer {
                    ask: Some(ask.id),
                    asked_at: Some(ask.at),
                    target: ask.target,
                    via,
                    outcome,
                    pop: "main".into(),
                };
                self.hear(Fact::Answer(answer));
            }
        }
        panic!("asks without end");
    }

    fn children_of(&self, router: NodeId) -> impl Iterator<Item = &Node> {
        self.log.iter().filter_map(move |h| match &h.fact {
            Fact::Inventory(Inventory::Node(n)) if n.seen_by == Some(router) => Some(&**n),
            _ => None,
        })
    }

    /// Those a router has a netwatch entry for.
    fn seen_by(&self, router: NodeId, wanted: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let pinged = self.children_of(router).filter(|node| node.claims.is_empty());
        pinged.map(|node| node.id).filter(|id| wanted(*id)).collect()
    }

    /// The sessions of those a router holds one of.
    fn sessions_of(&self, router: NodeId, wanted: impl Fn(NodeId) -> bool) -> Vec<ClaimKey> {
        self.children_of(router).filter(|node| wanted(node.id)).flat_map(|node| node.claims.clone()).collect()
    }

    pub(crate) fn health(&self, name: &str) -> Option<Health> {
        self.diagnosis.health_of(self.tenant, self.id(name)).map(|h| h.health)
    }

    pub(crate) fn incidents(&self) -> Vec<(IncidentKind, Incident)> {
        let said = self.log.iter().filter_map(|h| match &h.fact {
            Fact::Incident(i) => Some((i.kind, i.now.clone())),
            _ => None,
        });
        said.collect()
    }

    /// The incident as it was said last.
    pub(crate) fn incident(&self) -> Incident {
        self.incidents().pop().expect("an incident was said").1
    }

    /// What is said of its health beside what is believed.
    pub(crate) fn flags(&self, name: &str) -> &[Flag] {
        let health = self.diagnosis.health_of(self.tenant, self.id(name));
        &health.expect("something was said of it").flags
    }

    /// How many roll calls were ever asked for.
    pub(crate) fn roll_calls(&self) -> usize {
        let is_one =
            |fact: &Fact| matches!(fact, Fact::Ask(ask) if matches!(ask.question, Question::RollCall { .. }));
        self.log.iter().filter(|heard| is_one(&heard.fact)).count()
    }

    pub(crate) fn asked(&self) -> usize {
        self.log.iter().filter(|h| matches!(h.fact, Fact::Ask(_))).count()
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        let said = self.log.iter().filter_map(|h| match &h.fact {
            Fact::Notice(n) if n.kind == NoticeKind::Addressed => {
                Some(format!("{:?}: {}", n.now.phase, n.now.title))
            }
            _ => None,
        });
        said.collect()
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        self.now = self.now.plus_ms(ms);
        for service in ["diagnostician", "correlator", "notifier"] {
            self.hear(Fact::Due(Due { service: service.into(), key: "wake".into(), version: 0 }));
        }
        self.decide();
    }
}

/// A core, a tower, a sector, and on it one subscriber; `more` is laid down with them.
pub(crate) fn branch(town: &mut Town, more: Vec<Node>) {
    let mut subscriber = town.node("subscriber", Tier::Subscriber, &["sector"]);
    subscriber.seen_by = Some(town.id("tower"));
    let mut nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("tower", Tier::Site, &["core"]),
        town.node("sector", Tier::Sector, &["tower"]),
        subscriber,
    ];
    // What is laid down later counts.
    nodes.extend(more);
    town.lay(nodes);
    hear_alive(town, &["core", "tower"]);
}

/// A core, two towers below it, three sectors on each, five subscribers on each.
pub(crate) fn tree(town: &mut Town) {
    let mut nodes = vec![town.node("core", Tier::Core, &[])];
    for t in 0..2 {
        nodes.push(town.node(&format!("tower-{t}"), Tier::Site, &["core"]));
        for s in 0..3 {
            nodes.push(town.node(&format!("sector-{t}{s}"), Tier::Sector, &[&format!("tower-{t}")]));
            for c in 0..5 {
                let mut sub =
                    town.node(&format!("sub-{t}{s}{c}"), Tier::Subscriber, &[&format!("sector-{t}{s}")]);
                sub.seen_by = Some(town.id(&format!("tower-{t}")));
                nodes.push(sub);
            }
        }
    }
    town.lay(nodes);
    hear_alive(town, &["core", "tower-0", "tower-1"]);
}

pub(crate) fn hear_alive(town: &mut Town, routers: &[&str]) {
    for router in routers {
        town.replied(router);
    }
    town.answer(&[]);
}
