//! An outage, as the services that decide would say it: one router down, and who hangs below it cut off. And sessions
//! that were lost below one that works.

use super::Ground;
use events::{
    About, Answer, AskId, Audience, BlindPop, ChangeKind, ChannelId, Claim, EventId, Evidence, EvidenceKind,
    Fact, Flag, Health, HealthKind, HealthSaid, Impact, Incident, IncidentClass, IncidentId, IncidentKind,
    IncidentSaid, IncidentState, Learned, NodeHealth, NodeId, Notice, NoticeId, NoticeKind, NoticeSaid,
    Outcome, Phase, Plan, PlanState, Property, Repair, RepairOutcome, RootCause, RouterChange, SLOTS,
    SessionsLost, Signal, SignalSource, SiteHypothesis, SiteId, Suspicion, SuspicionKind, SuspicionSaid,
    TenantId, Tier, Time, TimelineEntry, Urgency, Vantage,
};

/// What was said, by name.
pub(crate) struct Story {
    pub(crate) incident: IncidentId,
    pub(crate) root: NodeId,
    pub(crate) claim: EventId,
    pub(crate) suspicion: EventId,
    pub(crate) answer: EventId,
    pub(crate) verdict: EventId,
    pub(crate) opened: EventId,
    pub(crate) notice: EventId,
    pub(crate) cut_off: Vec<(NodeId, EventId)>,
}

fn health(node: NodeId, health: Health, roots: Vec<NodeId>, evidence: Vec<Evidence>) -> Fact {
    let now = NodeHealth {
        roots,
        evidence,
        ..NodeHealth::of(node, health, Time::from_us(chrono::Utc::now().timestamp_micros()))
    };
    Fact::Health(HealthSaid { kind: HealthKind::Changed, now })
}

fn incident(id: IncidentId, root: NodeId, title: &str, now: Time, evidence: Vec<Evidence>) -> Incident {
    Incident {
        id,
        state: IncidentState::Open,
        class: IncidentClass::Outage,
        title: title.to_owned(),
        urgency: Urgency::Urgent,
        tier: Tier::Core,
        site: None,
        site_name: None,
        site_address: None,
        site_hypothesis: None,
        roots: vec![RootCause {
            node: root,
            name: title.to_owned(),
            tier: Tier::Core,
            primary: true,
            down: true,
            since: now,
            quiet: false,
            flapping: false,
            confidence: 95,
            evidence,
            subscribers_below: None,
        }],
        impact: Impact { subscribers: 7, ..Impact::default() },
        opened_at: now,
        ended_at: None,
        ended_because: None,
        merged_into: None,
        blind: None,
        acknowledged_by: None,
        hold: 0,
        timeline: vec![TimelineEntry { at: now, what: title.to_owned() }],
        owner: None,
    }
}

impl Ground {
    /// Raises a suspicion about a node, by its netwatch.
    pub(crate) async fn suspect(&self, tenant: TenantId, node: NodeId, claim: EventId) -> EventId {
        let now = Suspicion {
            node,
            since: Time::from_us(chrono::Utc::now().timestamp_micros()),
            source: SignalSource::Netwatch,
            sender: None,
            claim,
            asked: vec![],
            held_until: None,
        };
        let said = Fact::Suspicion(SuspicionSaid { kind: SuspicionKind::Raised, now });
        self.say(tenant, "diagnostician", Some(claim), said).await.0
    }

    /// Says that something called `called` was changed on a router, which is as it should be since.
    pub(crate) async fn repaired(&self, tenant: TenantId, router: NodeId, called: &str) {
        let change = RouterChange {
            menu: "/tool/netwatch".into(),
            change: ChangeKind::Set,
            row: Some("*1".into()),
            called: called.into(),
            before: vec![Property { name: "interval".into(), value: "10s".into() }],
            after: vec![Property { name: "interval".into(), value: "30s".into() }],
        };
        let plan = |state, changes: Vec<RouterChange>| {
            Fact::Plan(Plan {
                router,
                state,
                managed: true,
                since: Time::from_us(chrono::Utc::now().timestamp_micros()),
                version: Some("7.16.2 (stable)".into()),
                identity: None,
                board: None,
                findings: vec![],
                obstacles: vec![],
                change_count: u32::try_from(changes.len()).unwrap(),
                changes,
                error: None,
                certificate_shown: None,
            })
        };
        let (begun, _) =
            self.say(tenant, "reconciler", None, plan(PlanState::Begun, vec![change.clone()])).await;
        let outcome = RepairOutcome::Made;
        let repair =
            Repair { router, outcome, plan: begun, number: 0, change, subscriber: None, error: None };
        self.say(tenant, "reconciler", Some(begun), Fact::Repair(repair)).await;
        self.say(tenant, "reconciler", None, plan(PlanState::AsDesired, vec![])).await;
    }

    /// Says that `root` is down, that `below` are cut off by it, and that somebody was told.
    pub(crate) async fn outage(
        &self,
        tenant: TenantId,
        root: NodeId,
        below: &[NodeId],
        title: &str,
    ) -> Story {
        let now = Time::from_us(chrono::Utc::now().timestamp_micros());
        // The first to speak is a child of the root: found only by looking through the log.
        let child = below.first().copied().unwrap_or(root);
        let signal = Fact::Signal(Signal {
            about: About::Node(child),
            says: Claim::Down,
            source: SignalSource::Netwatch,
            sender: None,
            boot: None,
            seq: None,
            sealed_name: None,
            detail: None,
        });
        let (claim, _) = self.say(tenant, "ingest", None, signal).await;
        let suspicion = self.suspect(tenant, child, claim).await;
        let answer = Fact::Answer(Answer {
            ask: Some(AskId::of(suspicion, root, 0)),
            asked_at: Some(now),
            target: root,
            via: Vantage::Direct,
            outcome: Outcome::Silent { tries: 3, last: true },
            pop: "main".into(),
        });
        let (answer, _) = self.say(tenant, "poller", Some(suspicion), answer).await;
        let evidence = vec![
            Evidence::of(EvidenceKind::SilentTry, 3, 90, Some(answer)),
            Evidence::of(EvidenceKind::DownClaim, 1, 5, Some(claim)),
        ];
        let fact = health(root, Health::Down, vec![], evidence.clone());
        let (verdict, _) = self.say(tenant, "diagnostician", Some(answer), fact).await;
        let mut incident = incident(IncidentId::of(verdict), root, title, now, evidence);
        let evidence = vec![Evidence::of(EvidenceKind::SiteSilent, 2, 30, None)];
        let (site, name) = (SiteId::of(tenant, "mill-hill"), "Mill Hill".to_owned());
        incident.site_hypothesis = Some(Box::new(SiteHypothesis { site, name, confidence: 65, evidence }));
        let id = incident.id;
        let fact = Fact::Incident(IncidentSaid { kind: IncidentKind::Opened, now: incident.clone() });
        let (opened, _) = self.say(tenant, "correlator", Some(verdict), fact).await;
        let channel = ChannelId::of(tenant, "pager");
        let notice = Notice {
            id: NoticeId::of(id, Audience::Engineers.name(), channel, Phase::Opened.name(), 0),
            incident: id,
            audience: Audience::Engineers,
            channel,
            phase: Phase::Opened,
            step: 0,
            urgency: Urgency::Urgent,
            title: title.to_owned(),
            text: String::new(),
            at: now,
            expires: now.plus_ms(3_600_000),
            about: Box::new(incident),
        };
        let fact = Fact::Notice(NoticeSaid { kind: NoticeKind::Addressed, now: notice });
        let (notice, _) = self.say(tenant, "notifier", Some(opened), fact).await;
        let mut cut_off = vec![];
        for node in below {
            let fact = health(*node, Health::Impacted, vec![root], vec![]);
            let (event, _) = self.say(tenant, "diagnostician", Some(verdict), fact).await;
            cut_off.push((*node, event));
        }
        Story { incident: id, root, claim, suspicion, answer, verdict, opened, notice, cut_off }
    }

    /// Says that these subscribers lost their sessions below `root`, which works, and opens an incident that names the
    /// first `named` of them. Returns the verdicts that they are down.
    pub(crate) async fn sessions_lost(
        &self,
        tenant: TenantId,
        root: NodeId,
        who: &[NodeId],
        named: usize,
    ) -> (IncidentId, Vec<(NodeId, EventId)>) {
        let now = Time::from_us(chrono::Utc::now().timestamp_micros());
        let mut verdicts = vec![];
        for node in who {
            let mut fact = health(*node, Health::Down, vec![], vec![]);
            if let Fact::Health(said) = &mut fact {
                said.now.session_lost = true;
            }
            let (event, _) = self.say(tenant, "diagnostician", None, fact).await;
            verdicts.push((*node, event));
        }
        let subscribers = u32::try_from(who.len()).unwrap();
        let event = verdicts.last().unwrap().1;
        let impact = Impact { subscribers, ..Impact::default() };
        let named = who.iter().copied().take(named).collect();
        let lost =
            SessionsLost { of: 2 * subscribers, since: now, event, impact: impact.clone(), who: named };
        let mut fact = health(root, Health::Up, vec![], vec![]);
        if let Fact::Health(said) = &mut fact {
            said.now.sessions_lost = Some(Box::new(lost));
        }
        let (verdict, _) = self.say(tenant, "diagnostician", Some(event), fact).await;
        let mut incident = incident(IncidentId::of(verdict), root, "they lost their sessions", now, vec![]);
        incident.class = IncidentClass::SessionsLost;
        incident.impact = impact;
        incident.roots[0].subscribers_below = Some(2 * subscribers);
        let id = incident.id;
        let fact = Fact::Incident(IncidentSaid { kind: IncidentKind::Opened, now: incident });
        self.say(tenant, "correlator", Some(verdict), fact).await;
        (id, verdicts)
    }

    /// Says that the point of presence sees nothing, in all of its slots; or that it sees again.
    pub(crate) async fn blind(&self, tenant: TenantId, is: bool) {
        let now = Time::from_us(chrono::Utc::now().timestamp_micros());
        let pop = NodeId::of_pop(tenant, "main");
        let (id, title) =
            (IncidentId::of(EventId(pop.0)), "Point of presence main sees nothing beyond itself");
        let mut incident = incident(id, pop, title, now, vec![]);
        let slots = if is { (0..SLOTS).collect() } else { vec![] };
        incident.class = IncidentClass::Blind;
        incident.blind =
            Some(Box::new(BlindPop { pop: "main".into(), since: vec![now; slots.len()], slots, targets: 3 }));
        incident.state = if is { IncidentState::Open } else { IncidentState::Recovering };
        incident.roots[0].down = is;
        let kind = if is { IncidentKind::Opened } else { IncidentKind::Recovering };
        self.say(tenant, "correlator", None, Fact::Incident(IncidentSaid { kind, now: incident })).await;
    }

    /// Says that a node is cut off by `root`, and names no event that this follows from.
    pub(crate) async fn impacted_by_nothing(&self, tenant: TenantId, node: NodeId, root: NodeId) {
        let fact = health(node, Health::Impacted, vec![root], vec![]);
        self.say(tenant, "diagnostician", None, fact).await;
    }

    /// Says what is believed of a node, and who spoke of it first.
    pub(crate) async fn learned(&self, tenant: TenantId, node: NodeId, is: Health, by: Option<Learned>) {
        let mut fact = health(node, is, vec![], vec![]);
        if let Fact::Health(said) = &mut fact {
            said.now.learned = by;
        }
        self.say(tenant, "diagnostician", None, fact).await;
    }

    /// Says that a node is up, and could not lose one more of what it needs.
    pub(crate) async fn at_risk(&self, tenant: TenantId, node: NodeId) {
        let mut fact = health(node, Health::Up, vec![], vec![]);
        if let Fact::Health(said) = &mut fact {
            said.now.flags = vec![Flag::AtRisk];
        }
        self.say(tenant, "diagnostician", None, fact).await;
    }

    /// Says that a node is up.
    pub(crate) async fn up(&self, tenant: TenantId, node: NodeId) -> u64 {
        self.say(tenant, "diagnostician", None, health(node, Health::Up, vec![], vec![])).await.1.seq
    }
}
