//! Every property is found to be broken where it is.

use super::*;
use crate::{
    agenda::Agenda,
    fault::Faults,
    net::SECOND_US,
    rng::Rng,
    script::{Step, What},
    toy,
    world::{Need, Role, Thing, World},
};
use events::{
    AskId, Audience, Channel, ChannelKind, Delivery, DeliverySaid, EventId, Flag, Health, HealthKind,
    HealthSaid, IncidentKind, IncidentState, NoticeSaid, Policy, RootCause, Say, Sealed, Tier,
};
use std::collections::BTreeSet;
use uuid::Uuid;

const START_US: i64 = 1_000_000 * SECOND_US;
const CORE: u32 = 0;
const TOWER: u32 = 1;
const SECTOR: u32 = 2;
const SUBSCRIBER: u32 = 3;

/// A log as perfect deciders would have written it, one second a line.
struct Tale {
    net: Net,
    agenda: Agenda<crate::run::Ev>,
    bus: Bus,
    incident: Option<Incident>,
    drawn: u128,
}

impl Tale {
    /// A core, a tower below it, a sector below that, a subscriber, and a second tower.
    fn new() -> Self {
        Self::with(0)
    }

    /// The same, with so many more subscribers on the sector: the things from five on.
    fn with(more: u32) -> Self {
        let thing = |label, role, needs: Vec<Need>, seen_by, watch_s| Thing {
            label,
            role,
            site: None,
            needs,
            seen_by,
            watch_s,
            maintenance: None,
            absent: false,
        };
        let mut things = vec![
            thing(0, Role::Core, vec![], None, Some(60)),
            thing(1, Role::Tower, vec![Need::all(&[0])], Some(0), None),
            thing(2, Role::Sector, vec![Need::all(&[1])], Some(1), None),
            thing(3, Role::Subscriber, vec![Need::all(&[2])], Some(1), None),
            thing(4, Role::Tower, vec![Need::all(&[0])], Some(0), None),
        ];
        let subscriber = |n| thing(5 + n, Role::Subscriber, vec![Need::all(&[SECTOR])], Some(TOWER), None);
        things.extend((0..more).map(subscriber));
        let channels = vec![Audience::Engineers, Audience::Technicians];
        let policy = Policy::default();
        let world = World { slug: "t".into(), sites: 0, things, policy, channels, in_parts: false };
        let net = Net::new(0, world, &Faults::default(), START_US, &Rng::new(1));
        let mut tale =
            Self { net, agenda: Agenda::new(START_US), bus: Bus::new(&[]), incident: None, drawn: 0 };
        for thing in 0..5 + more {
            tale.believe(thing, Health::Up);
        }
        tale
    }

    fn wait_s(&mut self, seconds: i64) {
        while self.agenda.next(self.agenda.now_us() + seconds * SECOND_US).is_some() {}
    }

    fn say(&mut self, fact: Fact) {
        self.wait_s(1);
        self.drawn += 1;
        let id = EventId(Uuid::from_u128(self.drawn));
        let at = Time::from_us(self.agenda.now_us());
        let say = Say { id, tenant: self.net.tenant, at, cause: Some(id), fact };
        self.bus.store(self.agenda.now_us(), None, say);
    }

    fn now(&self) -> Time {
        Time::from_us(self.agenda.now_us())
    }

    fn step(&mut self, thing: u32, what: What) {
        self.net.step(&mut self.agenda, Step { at_ms: 0, thing, what }, &Faults::default());
    }

    fn believe(&mut self, thing: u32, health: Health) {
        let now = NodeHealth::of(self.net.ids[thing as usize], health, self.now().plus_ms(1_000));
        self.say(Fact::Health(HealthSaid { kind: HealthKind::Changed, now }));
    }

    fn root(&self, thing: u32) -> RootCause {
        let cause = EventId(Uuid::from_u128(1));
        let node = self.net.ids[thing as usize];
        toy::opened(node, &self.net.world.name(thing), Tier::Site, cause, self.now()).roots.remove(0)
    }

    fn open(&mut self, thing: u32, subscribers: u32) {
        let node = self.net.ids[thing as usize];
        let cause = EventId(AskId::of(EventId::default(), node, self.drawn as u32).0);
        let mut incident = toy::opened(node, &self.net.world.name(thing), Tier::Site, cause, self.now());
        incident.impact.subscribers = subscribers;
        self.incident_said(IncidentKind::Opened, incident);
    }

    fn incident_said(&mut self, kind: IncidentKind, now: Incident) {
        self.incident = Some(now.clone());
        self.say(Fact::Incident(IncidentSaid { kind, now }));
    }

    fn resolve(&mut self) {
        let mut now = self.incident.clone().unwrap();
        now.state = IncidentState::Resolved;
        now.roots.iter_mut().for_each(|r| r.down = false);
        now.ended_at = Some(self.now());
        self.incident_said(IncidentKind::Resolved, now);
    }

    fn tell(&mut self, audience: Audience, phase: Phase) {
        let i = usize::from(audience == Audience::Technicians);
        let channel = Channel {
            id: self.net.world.channel(i),
            name: String::new(),
            audience,
            kind: ChannelKind::Webhook { url: String::new(), secret: Sealed(String::new()) },
        };
        let now = toy::notice(self.incident.as_ref().unwrap(), &channel, phase, self.now());
        let delivery = Delivery { notice: now.id, attempts: 1, answer: None, possibly_repeated: false };
        self.say(Fact::Notice(NoticeSaid { kind: NoticeKind::Addressed, now }));
        self.say(Fact::Delivery(DeliverySaid { kind: DeliveryKind::Delivered, now: delivery }));
    }

    /// The tower breaks and all is believed and told as it should be.
    fn outage() -> Self {
        let mut tale = Self::new();
        tale.step(TOWER, What::Break { power: true });
        tale.believe(TOWER, Health::Down);
        tale.believe(SECTOR, Health::Impacted);
        tale.believe(SUBSCRIBER, Health::Impacted);
        tale.open(TOWER, 1);
        tale.tell(Audience::Engineers, Phase::Opened);
        tale
    }

    /// And is mended again.
    fn over() -> Self {
        let mut tale = Self::outage();
        tale.wait_s(600);
        tale.step(TOWER, What::Mend);
        for thing in [TOWER, SECTOR, SUBSCRIBER] {
            tale.believe(thing, Health::Up);
        }
        tale.wait_s(120);
        tale.resolve();
        tale.tell(Audience::Engineers, Phase::Resolved);
        tale
    }

    fn wrong(mut self) -> BTreeSet<&'static str> {
        self.wait_s(600);
        self.say(Fact::Revision(events::Revision {
            number: 2,
            source: events::RevisionSource::Commit { count: 0 },
            file_digest: None,
            by: "t".into(),
        }));
        judge(&[self.net], &self.bus).into_iter().map(|f| f.property).collect()
    }
}

#[test]
fn what_is_right_passes() {
    assert_eq!(Tale::new().wrong(), [].into());
    assert_eq!(Tale::outage().wrong(), [].into());
    assert_eq!(Tale::over().wrong(), [].into());
}

#[test]
fn a_false_belief_is_found() {
    for (thing, health) in [
        (4, Health::Impacted),
        (4, Health::Down),
        (TOWER, Health::Impacted),
        (TOWER, Health::Up),
        (SECTOR, Health::Up),
    ] {
        let mut tale = Tale::outage();
        tale.believe(thing, health);
        assert_eq!(tale.wrong(), ["belief"].into(), "{thing} {health:?}");
    }
    let mut tale = Tale::outage();
    tale.believe(SUBSCRIBER, Health::Down);
    assert_eq!(tale.wrong(), ["belief", "recovering"].into(), "it is cut off still");
    let mut tale = Tale::outage();
    tale.believe(4, Health::Unknown);
    assert_eq!(tale.wrong(), ["belief-unknown"].into());
}

#[test]
fn a_cause_that_is_missing_false_or_named_twice_is_found() {
    let mut missing = Tale::new();
    missing.step(TOWER, What::Break { power: true });
    missing.believe(TOWER, Health::Down);
    missing.believe(SECTOR, Health::Impacted);
    missing.believe(SUBSCRIBER, Health::Impacted);
    assert_eq!(missing.wrong(), ["roots"].into());

    let mut child_too = Tale::outage();
    let mut incident = child_too.incident.clone().unwrap();
    incident.roots.push(child_too.root(SECTOR));
    child_too.incident_said(IncidentKind::Changed, incident);
    assert_eq!(child_too.wrong(), ["false-root", "roots"].into());

    let mut twice = Tale::outage();
    twice.open(TOWER, 1);
    twice.tell(Audience::Engineers, Phase::Opened);
    assert_eq!(twice.wrong(), ["announced", "impact", "roots"].into());
}

#[test]
fn a_wrong_count_of_those_cut_off_is_found() {
    let mut tale = Tale::outage();
    let mut incident = tale.incident.clone().unwrap();
    incident.impact.subscribers = 7;
    tale.incident_said(IncidentKind::Changed, incident);
    assert_eq!(tale.wrong(), ["impact"].into());
}

#[test]
fn people_told_twice_too_few_or_the_wrong_ones_are_found() {
    let mut again = Tale::outage();
    again.tell(Audience::Engineers, Phase::Opened);
    assert_eq!(again.wrong(), ["announced"].into());

    let mut untold = Tale::new();
    untold.step(TOWER, What::Break { power: true });
    untold.believe(TOWER, Health::Down);
    untold.believe(SECTOR, Health::Impacted);
    untold.believe(SUBSCRIBER, Health::Impacted);
    untold.open(TOWER, 1);
    assert_eq!(untold.wrong(), ["untold"].into());

    let mut too_early = Tale::outage();
    too_early.tell(Audience::Engineers, Phase::Resolved);
    assert_eq!(too_early.wrong(), ["resolved"].into());

    let mut stranger = Tale::over();
    stranger.tell(Audience::Technicians, Phase::Resolved);
    assert_eq!(stranger.wrong(), ["resolved"].into());
}

#[test]
fn whoever_is_named_down_must_be_named_up() {
    let mut tale = Tale::outage();
    tale.wait_s(600);
    tale.step(TOWER, What::Mend);
    for thing in [TOWER, SECTOR, SUBSCRIBER] {
        tale.believe(thing, Health::Up);
    }
    let mut incident = tale.incident.clone().unwrap();
    incident.state = IncidentState::Recovering;
    incident.roots[0].down = false;
    incident.impact.subscribers = 0;
    tale.incident_said(IncidentKind::Recovering, incident);
    assert_eq!(tale.wrong(), ["named-up", "roots"].into());
}

#[test]
fn what_is_over_too_soon_or_while_still_broken_is_found() {
    let mut soon = Tale::outage();
    soon.wait_s(600);
    soon.step(TOWER, What::Mend);
    for thing in [TOWER, SECTOR, SUBSCRIBER] {
        soon.believe(thing, Health::Up);
    }
    soon.resolve();
    soon.tell(Audience::Engineers, Phase::Resolved);
    assert_eq!(soon.wrong(), ["hold"].into());

    let mut broken = Tale::outage();
    broken.wait_s(600);
    broken.believe(TOWER, Health::Up);
    broken.wait_s(120);
    broken.resolve();
    broken.tell(Audience::Engineers, Phase::Resolved);
    broken.believe(TOWER, Health::Down);
    assert_eq!(broken.wrong(), ["resolved-false", "roots"].into());
}

#[test]
fn an_incident_is_over_by_what_its_sayer_had_read() {
    let resolved = |had_read_of_it: bool| {
        let mut tale = Tale::outage();
        tale.wait_s(600);
        tale.step(TOWER, What::Mend);
        tale.believe(TOWER, Health::Up);
        tale.wait_s(120);
        let before = tale.bus.log.last().unwrap().heard.seq;
        tale.believe(TOWER, Health::Down);
        tale.resolve();
        let mut said = tale.bus.log.iter_mut().rev();
        let said = said.find(|e| matches!(e.heard.fact, Fact::Incident(_))).unwrap();
        said.knew = if had_read_of_it { said.knew } else { before };
        tale.wrong()
    };
    assert!(resolved(true).contains("hold"));
    assert!(!resolved(false).contains("hold"));
}

#[test]
fn whoever_is_gone_and_not_retired_is_found() {
    let mut tale = Tale::new();
    tale.step(SUBSCRIBER, What::Remove);
    assert_eq!(tale.wrong(), ["retired"].into());

    let mut retired = Tale::new();
    retired.step(SUBSCRIBER, What::Remove);
    let last = retired.bus.last(retired.net.tenant, Noun::Health, retired.net.ids[SUBSCRIBER as usize].0);
    let Fact::Health(mut said) = last.unwrap().heard.fact.clone() else { panic!("no health") };
    said.kind = HealthKind::Retired;
    retired.say(Fact::Health(said));
    assert_eq!(retired.wrong(), [].into());
}

#[test]
fn whoever_is_said_to_flap_and_does_not_is_found() {
    let mut tale = Tale::outage();
    let last = tale.bus.last(tale.net.tenant, Noun::Health, tale.net.ids[TOWER as usize].0);
    let Fact::Health(mut said) = last.unwrap().heard.fact.clone() else { panic!("no health") };
    said.now.flags.push(Flag::Flapping);
    tale.say(Fact::Health(said));
    assert_eq!(tale.wrong(), ["flapping"].into());
}

/// The tower breaks so often within twenty minutes, and people are told each time.
fn failing(times: u32) -> Tale {
    let mut tale = Tale::new();
    for _ in 0..times {
        tale.step(TOWER, What::Break { power: true });
        tale.open(TOWER, 1);
        tale.tell(Audience::Engineers, Phase::Opened);
        tale.wait_s(120);
        tale.step(TOWER, What::Mend);
        tale.wait_s(60);
    }
    tale
}

#[test]
fn whoever_comes_back_with_its_root_and_is_said_to_be_down_is_found() {
    for (broken, wrong) in [(true, false), (false, true)] {
        let mut tale = Tale::outage();
        tale.wait_s(120);
        tale.step(TOWER, What::Mend);
        tale.believe(TOWER, Health::Up);
        if broken {
            tale.step(SECTOR, What::Break { power: false });
        }
        tale.believe(SECTOR, Health::Down);
        assert_eq!(tale.wrong().contains("recovering"), wrong);
    }
}

#[test]
fn whoever_is_announced_at_a_fourth_failure_is_found_and_not_a_failure_that_is_announced_anew() {
    assert!(failing(4).wrong().contains("flapping"));
    assert!(!failing(3).wrong().contains("flapping"));
    let mut hidden = failing(2);
    hidden.step(TOWER, What::Break { power: true });
    for _ in 0..2 {
        hidden.open(TOWER, 1);
        hidden.tell(Audience::Engineers, Phase::Opened);
        hidden.step(CORE, What::Break { power: true });
        hidden.wait_s(120);
        hidden.step(CORE, What::Mend);
    }
    let wrong = hidden.wrong();
    assert!(!wrong.contains("flapping") && !wrong.contains("announced"), "{wrong:?}");
}

#[test]
fn a_story_no_incident_can_have_is_found() {
    let mut tale = Tale::over();
    let incident = tale.incident.clone().unwrap();
    tale.incident_said(IncidentKind::Acknowledged, incident);
    assert_eq!(tale.wrong(), ["story"].into());
}

#[test]
fn roots_that_cut_off_the_same_thing_must_be_one_incident() {
    let mut tale = Tale::outage();
    tale.net.world.things[SECTOR as usize].needs = vec![Need::all(&[TOWER, 4])];
    tale.step(4, What::Break { power: true });
    tale.believe(4, Health::Down);
    tale.open(4, 1);
    tale.tell(Audience::Engineers, Phase::Opened);
    assert_eq!(tale.wrong(), ["together"].into());
}

/// Five of nine subscribers break together; said and told as it should be.
fn sessions_lost(tale: &mut Tale, said_count: u32) {
    tale.wait_s(700);
    for thing in 5..10 {
        tale.step(thing, What::Break { power: true });
    }
    (5..10).for_each(|thing| tale.believe(thing, Health::Down));
    let mut incident = sessions_of(tale, said_count);
    incident.opened_at = tale.now();
    tale.incident_said(IncidentKind::Opened, incident);
    tale.tell(Audience::Technicians, Phase::Opened);
}

fn sessions_of(tale: &Tale, count: u32) -> Incident {
    let node = tale.net.ids[SECTOR as usize];
    let mut incident = toy::opened(node, "sector-2", Tier::Sector, EventId::default(), tale.now());
    incident.class = IncidentClass::SessionsLost;
    incident.roots[0].subscribers_below = Some(9);
    incident.impact.subscribers = count;
    incident
}

#[test]
fn sessions_that_were_lost_and_not_told_or_told_and_not_lost_are_found() {
    let mut right = Tale::with(8);
    sessions_lost(&mut right, 5);
    assert_eq!(right.wrong(), [].into());

    let mut more = Tale::with(8);
    sessions_lost(&mut more, 6);
    assert_eq!(more.wrong(), ["sessions-false"].into());

    let mut untold = Tale::with(8);
    untold.wait_s(700);
    for thing in 5..10 {
        untold.step(thing, What::Break { power: true });
    }
    (5..10).for_each(|thing| untold.believe(thing, Health::Down));
    assert_eq!(untold.wrong(), ["sessions-untold"].into());

    let mut none = Tale::with(8);
    let incident = sessions_of(&none, 5);
    none.incident_said(IncidentKind::Opened, incident);
    none.tell(Audience::Technicians, Phase::Opened);
    assert_eq!(none.wrong(), ["roots", "sessions-end", "sessions-false"].into());
}

#[test]
fn sessions_that_are_over_while_they_are_lost_are_found() {
    let mut over = Tale::with(8);
    sessions_lost(&mut over, 5);
    over.wait_s(600);
    over.resolve();
    over.tell(Audience::Technicians, Phase::Resolved);
    assert_eq!(over.wrong(), ["sessions-end"].into());
}
