//! Why people were told, and why others were not: the chain of evidence, read in the log.
//!
//! Every event names its cause. From the notices and the story of an incident the causes are followed
//! back to verdicts, answers and claims; evidence is followed as a verdict names it. The log is kept in
//! order of time and finds a thing by its subject, not an event by its id: so the histories of the
//! incident and its roots are read first, and what is still missing is looked for in the stretch of
//! the log before the incident. What has expired is named as such and never guessed.
//!
//! Whoever was cut off was not told of by itself: each such node stands here with the verdict
//! that says which root explains it. Nor was a subscriber who lost its session together with many others:
//! it is down itself, and stands here with the verdict that says so.

use chrono::{DateTime, Utc};
use events::{
    Claim, Enforcement, Entitlement, EventId, Evidence, Fact, Health, Heard, IncidentId, IncidentSaid,
    NodeHealth, NodeId, NoticeId, NoticeKind, Noun, Outcome, Phase, SessionState, Sighting, TenantId, Time,
};
use kit::{Filter, From, Log, LogError, Raw};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;
use uuid::Uuid;

/// How far before an incident its causes are looked for.
const BEFORE_MS: i64 = 30 * 60_000;
/// The most messages of histories that are held.
const HISTORY_MAX: usize = 20_000;
/// The most messages that are looked through for what is missing, each time.
const SEARCH_MAX: usize = 200_000;
/// The most messages of health that are looked through for who was cut off.
const HEALTH_MAX: usize = 1_000_000;
/// The most subscribers who lost their sessions that are named.
const LOST_MAX: usize = 100;
/// How often causes of causes are looked for again.
const ROUNDS: u32 = 4;
/// The most roots whose histories are read.
const ROOTS_MAX: usize = 16;
/// The most links of a chain.
const LINKS_MAX: usize = 1_000;

/// One event of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Link {
    /// Its place in the log.
    pub(crate) seq: u64,
    /// The event.
    pub(crate) event: Uuid,
    /// What kind: notice, incident, health, suspicion, answer, signal, order, due, …
    pub(crate) noun: String,
    /// When the log stored it.
    pub(crate) heard: DateTime<Utc>,
    /// What it says, for people.
    pub(crate) what: String,
    /// The event it followed from.
    pub(crate) cause: Option<Uuid>,
    /// The events that it names as evidence.
    pub(crate) evidence: Vec<Uuid>,
    /// Whether the log still has what it names.
    pub(crate) complete: bool,
}

/// A node that was cut off and of which nobody was told by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Suppressed {
    /// Which.
    pub(crate) node: Uuid,
    /// The verdict that says so.
    pub(crate) event: Uuid,
    /// Its place in the log.
    pub(crate) seq: u64,
    /// When the log stored it.
    pub(crate) heard: DateTime<Utc>,
    /// The roots that explain it.
    pub(crate) roots: Vec<Uuid>,
    /// The event that the verdict followed from: what was said of a root.
    pub(crate) cause: Option<Uuid>,
    /// Whether the log has that event, as one of a root's history: without it the silence is unproven.
    pub(crate) explained: bool,
}

/// A subscriber who lost its session together with many others below one living node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Lost {
    /// Which.
    pub(crate) node: Uuid,
    /// The verdict that it is down.
    pub(crate) event: Uuid,
    /// Its place in the log.
    pub(crate) seq: u64,
    /// When the log stored it.
    pub(crate) heard: DateTime<Utc>,
    /// What it says, for people.
    pub(crate) what: String,
    /// The event that the verdict followed from.
    pub(crate) cause: Option<Uuid>,
}

/// Why people were told of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// The incident.
    pub(crate) incident: Uuid,
    /// Its title as it stands.
    pub(crate) title: String,
    /// The chain, in the order of the log.
    pub(crate) chain: Vec<Link>,
    /// Events that are named and that the log does not have any more.
    pub(crate) missing: Vec<Uuid>,
    /// How many notices said that it began, to whom it may concern; those withdrawn in time not counted.
    pub(crate) sent_count: usize,
    /// How many notices told the same people how it went on and ended.
    pub(crate) followed_up_count: usize,
    /// Of the nodes that were cut off, those whose silence is not proven by an event of the log.
    pub(crate) unexplained_count: usize,
    /// How many nodes were cut off, of which nobody was told by itself.
    pub(crate) suppressed_count: usize,
    /// Those on this page, in the order of the log.
    pub(crate) suppressed: Vec<Suppressed>,
    /// How many subscribers lost their sessions below a root that works itself.
    pub(crate) lost_count: usize,
    /// Who they are, in the order of the log, the same on every page: at most 100, and fewer than there are where
    /// the log does not have the verdict any more.
    pub(crate) lost: Vec<Lost>,
    /// Give this as `cursor` to get the next page of them.
    pub(crate) next: Option<String>,
}

/// Explains an incident; none when there is no such incident. Of those cut off, `limit` after the place `after`.
pub(crate) async fn explain(
    log: &Log,
    tenant: TenantId,
    incident: IncidentId,
    after: u64,
    limit: usize,
) -> Result<Option<Explanation>, LogError> {
    let end = log.state().await?.last_seq;
    let story = story(log, tenant, incident, end).await?;
    let (Some(first), Some(last)) = (story.first(), story.last()) else { return Ok(None) };
    let (first_seq, first_heard) = (first.heard.seq, first.heard.heard);
    let Fact::Incident(IncidentSaid { now, .. }) = &last.heard.fact else { return Ok(None) };
    let (title, is_over, last_seq) = (now.title.clone(), now.ended_at.is_some(), last.heard.seq);
    let roots: BTreeSet<NodeId> = story.iter().flat_map(|told| roots_of(&told.heard.fact)).collect();

    let mut chain = Chain::default();
    // What was said of the incident follows from what was said of its roots.
    let causes: Vec<EventId> = story.iter().filter_map(|told| told.cause).collect();
    let told = notices(log, tenant, incident, first_seq, end).await?;
    let (sent_count, followed_up_count) = left(&told);
    for told in story.into_iter().chain(told) {
        chain.want(told.heard.id);
        chain.hold(told);
    }
    let from = From::Time(first_heard.plus_ms(-BEFORE_MS));
    let filters: Vec<Filter> = roots
        .iter()
        .take(ROOTS_MAX)
        .flat_map(|root| {
            [Noun::Health, Noun::Suspicion, Noun::Answer, Noun::Signal]
                .map(|noun| Filter::noun(noun).tenant(tenant).exactly(root.to_string()))
        })
        .collect();
    if !filters.is_empty() {
        let mut reader = log.read(&filters, from, Some(end));
        let mut held = 0;
        while held < HISTORY_MAX
            && let Some(raw) = reader.next().await?
        {
            held += 1;
            chain.hold_raw(&raw);
        }
    }
    for _ in 0..ROUNDS {
        let missing = chain.missing();
        if missing.is_empty() || !search(log, tenant, from, last_seq, &missing, &mut chain).await? {
            break;
        }
    }
    let until = if is_over { last_seq } else { end };
    let crowd = Crowd::of(causes.iter().filter_map(|cause| chain.known.get(cause)));
    let (mut everybody, lost) = silent(log, tenant, &roots, &crowd, from, until).await?;
    for one in &mut everybody {
        one.explained = one.cause.is_some_and(|cause| chain.known.contains_key(&EventId(cause)));
    }
    let suppressed_count = everybody.len();
    let unexplained_count = everybody.iter().filter(|one| !one.explained).count();
    let mut page: Vec<Suppressed> =
        everybody.into_iter().filter(|one| one.seq > after).take(limit + 1).collect();
    let next = if page.len() > limit {
        page.truncate(limit);
        page.last().map(|one| one.seq.to_string())
    } else {
        None
    };
    let missing = chain.missing().into_iter().map(|id| id.0).collect();
    let (incident, chain) = (incident.0, chain.links());
    Ok(Some(Explanation {
        incident,
        title,
        chain,
        missing,
        sent_count,
        followed_up_count,
        unexplained_count,
        suppressed_count,
        suppressed: page,
        lost_count: crowd.count.max(crowd.who.len()),
        lost,
        next,
    }))
}

/// One event, and what it follows from.
#[derive(Debug)]
struct Told {
    heard: Heard,
    cause: Option<EventId>,
}

impl Told {
    fn of(raw: &Raw) -> Option<Self> {
        Some(Self { heard: raw.decode().ok()?, cause: raw.cause() })
    }

    /// Everything it names.
    fn names(&self) -> impl Iterator<Item = EventId> {
        self.cause.into_iter().chain(evidence_of(&self.heard.fact))
    }
}

/// Events that are known, and those that belong to the chain.
#[derive(Debug, Default)]
struct Chain {
    known: BTreeMap<EventId, Told>,
    wanted: BTreeSet<EventId>,
}

impl Chain {
    fn hold(&mut self, told: Told) {
        self.known.entry(told.heard.id).or_insert(told);
    }

    fn hold_raw(&mut self, raw: &Raw) {
        if let Some(told) = Told::of(raw) {
            self.hold(told);
        }
    }

    fn want(&mut self, id: EventId) {
        self.wanted.insert(id);
    }

    /// Follows what is known from what is wanted, and returns what is named and not known.
    fn missing(&mut self) -> BTreeSet<EventId> {
        let mut missing = BTreeSet::new();
        let mut next: Vec<EventId> = self.wanted.iter().copied().collect();
        while let Some(id) = next.pop() {
            match self.known.get(&id) {
                None => {
                    missing.insert(id);
                }
                Some(told) => {
                    for named in told.names() {
                        if self.wanted.len() < LINKS_MAX && self.wanted.insert(named) {
                            next.push(named);
                        }
                    }
                }
            }
        }
        missing
    }

    /// The chain, in the order of the log.
    fn links(&self) -> Vec<Link> {
        let told = self.wanted.iter().filter_map(|id| self.known.get(id));
        let mut links: Vec<Link> = told
            .map(|told| Link {
                seq: told.heard.seq,
                event: told.heard.id.0,
                noun: told.heard.fact.noun().token().to_owned(),
                heard: date(told.heard.heard),
                what: what(&told.heard.fact),
                cause: told.cause.map(|id| id.0),
                evidence: evidence_of(&told.heard.fact).map(|id| id.0).collect(),
                complete: told.names().all(|id| self.known.contains_key(&id)),
            })
            .collect();
        links.sort_by_key(|link| link.seq);
        links
    }
}

/// Everything that was said of the incident.
async fn story(log: &Log, tenant: TenantId, incident: IncidentId, end: u64) -> Result<Vec<Told>, LogError> {
    let filter = Filter::noun(Noun::Incident).tenant(tenant).exactly(incident.to_string());
    let mut reader = log.read(&[filter], From::Start, Some(end));
    let mut story = Vec::new();
    while story.len() < LINKS_MAX
        && let Some(raw) = reader.next().await?
    {
        story.extend(Told::of(&raw));
    }
    Ok(story)
}

/// Every notice about the incident.
async fn notices(
    log: &Log,
    tenant: TenantId,
    incident: IncidentId,
    from: u64,
    end: u64,
) -> Result<Vec<Told>, LogError> {
    let mut reader = log.read(&[Filter::noun(Noun::Notice).tenant(tenant)], From::Seq(from), Some(end));
    let (mut found, mut looked) = (Vec::new(), 0);
    while looked < SEARCH_MAX
        && let Some(raw) = reader.next().await?
    {
        looked += 1;
        let about = |fact: &Fact| matches!(fact, Fact::Notice(said) if said.now.incident == incident);
        found.extend(Told::of(&raw).filter(|told| about(&told.heard.fact)));
    }
    Ok(found)
}

/// How many of the notices said that it began, and how many what became of it; withdrawn ones never left.
fn left(told: &[Told]) -> (usize, usize) {
    let mut last: BTreeMap<NoticeId, (NoticeKind, Phase)> = BTreeMap::new();
    for told in told {
        if let Fact::Notice(said) = &told.heard.fact {
            last.insert(said.now.id, (said.kind, said.now.phase));
        }
    }
    let addressed = last.into_values().filter(|(kind, _)| *kind == NoticeKind::Addressed);
    let (began, later): (Vec<_>, Vec<_>) = addressed.partition(|(_, phase)| *phase == Phase::Opened);
    (began.len(), later.len())
}

/// Looks for events by their ids in a stretch of the log; `false` when none of them is there.
async fn search(
    log: &Log,
    tenant: TenantId,
    from: From,
    to: u64,
    missing: &BTreeSet<EventId>,
    chain: &mut Chain,
) -> Result<bool, LogError> {
    let nouns = [
        Noun::Signal,
        Noun::Answer,
        Noun::Suspicion,
        Noun::Health,
        Noun::Order,
        Noun::Due,
        Noun::Revision,
        Noun::Incident,
    ];
    let filters = nouns.map(|noun| Filter::noun(noun).tenant(tenant));
    let mut reader = log.read(&filters, from, Some(to));
    let (mut looked, mut left) = (0, missing.len());
    while left > 0
        && looked < SEARCH_MAX
        && let Some(raw) = reader.next().await?
    {
        looked += 1;
        let id = raw.header(events::header::name::ID).and_then(|id| id.parse().ok());
        if id.is_some_and(|id| missing.contains(&id)) {
            chain.hold_raw(&raw);
            left -= 1;
        }
    }
    Ok(left < missing.len())
}

/// Who lost their sessions together, as what was said of the roots of an incident tells.
#[derive(Debug, Default)]
struct Crowd {
    who: BTreeSet<NodeId>,
    /// How many they were at most; of many not all are named.
    count: usize,
    /// When the first of them was found down.
    since: Option<Time>,
}

impl Crowd {
    fn of<'a>(causes: impl Iterator<Item = &'a Told>) -> Self {
        let mut crowd = Self::default();
        for told in causes {
            let Fact::Health(said) = &told.heard.fact else { continue };
            let Some(lost) = &said.now.sessions_lost else { continue };
            let room = LOST_MAX.saturating_sub(crowd.who.len());
            let new: Vec<NodeId> =
                lost.who.iter().copied().filter(|node| !crowd.who.contains(node)).take(room).collect();
            crowd.who.extend(new);
            crowd.count = crowd.count.max(usize::try_from(lost.impact.subscribers).unwrap_or(usize::MAX));
            crowd.since = crowd.since.into_iter().chain([lost.since]).min();
        }
        crowd
    }

    /// Whether this is the word that one of them is down.
    fn fell(&self, now: &NodeHealth) -> bool {
        let is_one = now.health == Health::Down && now.session_lost && self.who.contains(&now.node);
        is_one && self.since.is_some_and(|since| now.since >= since)
    }
}

/// Of whom nobody was told by itself: every node that was cut off by one of the roots, and who of the crowd lost its
/// session; each with the first verdict that says so.
async fn silent(
    log: &Log,
    tenant: TenantId,
    roots: &BTreeSet<NodeId>,
    crowd: &Crowd,
    from: From,
    to: u64,
) -> Result<(Vec<Suppressed>, Vec<Lost>), LogError> {
    let mut reader = log.read(&[Filter::noun(Noun::Health).tenant(tenant)], from, Some(to));
    let (mut found, mut seen, mut looked) = (Vec::new(), BTreeSet::new(), 0);
    let (mut lost, mut fell) = (Vec::new(), BTreeSet::new());
    while looked < HEALTH_MAX
        && let Some(raw) = reader.next().await?
    {
        looked += 1;
        let Ok(Heard { seq, id, heard, fact, .. }) = raw.decode() else { continue };
        let Fact::Health(said) = &fact else { continue };
        if crowd.fell(&said.now) && fell.insert(said.now.node) {
            lost.push(Lost {
                node: said.now.node.0,
                event: id.0,
                seq,
                heard: date(heard),
                what: what(&fact),
                cause: raw.cause().map(|id| id.0),
            });
        }
        let by: Vec<NodeId> = said.now.roots.iter().copied().filter(|root| roots.contains(root)).collect();
        if said.now.health == Health::Impacted && !by.is_empty() && seen.insert(said.now.node) {
            found.push(Suppressed {
                node: said.now.node.0,
                event: id.0,
                seq,
                heard: date(heard),
                roots: by.into_iter().map(|root| root.0).collect(),
                cause: raw.cause().map(|id| id.0),
                explained: false,
            });
        }
    }
    Ok((found, lost))
}

fn roots_of(fact: &Fact) -> Vec<NodeId> {
    match fact {
        Fact::Incident(said) => said.now.roots.iter().map(|root| root.node).collect(),
        Fact::Inventory(_)
        | Fact::Part(_)
        | Fact::Revision(_)
        | Fact::Access(_)
        | Fact::Order(_)
        | Fact::Signal(_)
        | Fact::Answer(_)
        | Fact::Ask(_)
        | Fact::Suspicion(_)
        | Fact::Health(_)
        | Fact::Notice(_)
        | Fact::Delivery(_)
        | Fact::Repair(_)
        | Fact::Plan(_)
        | Fact::Entitlement(_)
        | Fact::Enforcement(_)
        | Fact::Sighting(_)
        | Fact::Refusal(_)
        | Fact::View(_)
        | Fact::Due(_)
        | Fact::Cut(_) => vec![],
    }
}

/// The events that a fact names beside its cause.
fn evidence_of(fact: &Fact) -> impl Iterator<Item = EventId> {
    let named: Vec<EventId> = match fact {
        Fact::Health(said) => said.now.evidence.iter().filter_map(|evidence| evidence.event).collect(),
        Fact::Incident(said) => said
            .now
            .roots
            .iter()
            .flat_map(|root| &root.evidence)
            .filter_map(|evidence| evidence.event)
            .collect(),
        Fact::Suspicion(said) => vec![said.now.claim],
        Fact::Inventory(_)
        | Fact::Part(_)
        | Fact::Revision(_)
        | Fact::Access(_)
        | Fact::Order(_)
        | Fact::Signal(_)
        | Fact::Answer(_)
        | Fact::Ask(_)
        | Fact::Notice(_)
        | Fact::Delivery(_)
        | Fact::Repair(_)
        | Fact::Plan(_)
        | Fact::Entitlement(_)
        | Fact::Enforcement(_)
        | Fact::Sighting(_)
        | Fact::Refusal(_)
        | Fact::View(_)
        | Fact::Due(_)
        | Fact::Cut(_) => vec![],
    };
    named.into_iter()
}

/// A fact in a sentence.
fn what(fact: &Fact) -> String {
    match fact {
        Fact::Signal(signal) => {
            let says = match signal.says {
                Claim::Up => "up",
                Claim::Down => "down",
                Claim::Degraded => "degraded",
            };
            format!("{} claims it is {says}", word(&signal.source))
        }
        Fact::Answer(answer) => outcome(&answer.outcome),
        Fact::Suspicion(said) => {
            format!("suspicion {}: claimed down by {}", word(&said.kind), word(&said.now.source))
        }
        Fact::Health(said) => {
            let confidence = Evidence::confidence(&said.now.evidence);
            let health = word(&said.now.health);
            match (said.now.health, said.now.roots.len()) {
                (Health::Down, _) if confidence == 0 => format!("verdict: {health}, the cause undetermined"),
                (Health::Down, _) => format!("verdict: {health}, confidence {confidence}%"),
                (Health::Impacted, n) => format!("verdict: {health}, explained by {n} other"),
                (Health::Up | Health::Degraded | Health::Unknown, _) => match &said.now.sessions_lost {
                    Some(lost) => format!(
                        "verdict: {health}, and {} of {} subscribers below it lost their sessions",
                        lost.impact.subscribers, lost.of
                    ),
                    None => format!("verdict: {health}"),
                },
            }
        }
        Fact::Incident(said) => format!("incident {}: {}", word(&said.kind), said.now.title),
        Fact::Notice(said) => {
            let now = &said.now;
            format!(
                "{} told ({}, {}): {}",
                now.audience.name(),
                now.phase.name(),
                word(&said.kind),
                now.title
            )
        }
        Fact::Order(said) => format!("ordered by {}", said.by),
        Fact::Repair(repair) => {
            let change = &repair.change;
            format!("{} of {} `{}` at the router", word(&change.change), change.menu, change.called)
        }
        Fact::Plan(plan) => format!("the router is {}", word(&plan.state)),
        Fact::Entitlement(said) => match &said.now {
            Entitlement::Subscriber(entitled) => {
                format!("it is to be {}, by {}", word(&entitled.state), said.by)
            }
            Entitlement::Cutting(cutting) => {
                format!(
                    "cutting off is {}, by {}",
                    if cutting.halted { "halted" } else { "allowed" },
                    said.by
                )
            }
        },
        Fact::Enforcement(Enforcement::Router(now)) => {
            format!("what its subscribers are entitled to is {} at the router", word(&now.state))
        }
        Fact::Enforcement(Enforcement::Subscriber(now)) => {
            format!("what it is entitled to is {} at its router", word(&now.state))
        }
        Fact::Sighting(Sighting::Device(device)) => {
            format!("a device that was seen is {}", word(&device.state))
        }
        Fact::Sighting(Sighting::Scan(scan)) => {
            format!("a router was scanned: it sees {} devices", scan.device_count)
        }
        Fact::Refusal(refusal) => {
            format!("{} requests were turned away: {}", refusal.count, refusal.reason.name())
        }
        Fact::View(view) => {
            let sees = if view.sees { "a reference answers" } else { "no reference answers" };
            format!("{sees} the point of presence {}", view.pop)
        }
        Fact::Due(due) => format!("a timer of {} fired", due.service),
        Fact::Revision(revision) => {
            format!("revision {} of the inventory, by {}", revision.number, revision.by)
        }
        Fact::Inventory(_)
        | Fact::Part(_)
        | Fact::Access(_)
        | Fact::Ask(_)
        | Fact::Delivery(_)
        | Fact::Cut(_) => fact.noun().token().to_owned(),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Replied { rtt_us } => format!("it answered within {rtt_us} µs"),
        Outcome::Silent { tries, .. } => format!("{tries} tries went unanswered"),
        Outcome::RouterSilent { .. } => "its router did not answer".into(),
        Outcome::Unanswered { why } => format!("nobody looked in time: {why}"),
        Outcome::Session { state: SessionState::Present } => "its router has its session".into(),
        Outcome::Session { state: SessionState::Absent } => "its router has no session of it".into(),
        Outcome::RollCall(call) => {
            format!(
                "roll call: {} up, {} down, {} sessions",
                call.up.len(),
                call.down.len(),
                call.present.len()
            )
        }
    }
}

/// A word of ours, as it stands in events.
fn word(of: &impl Serialize) -> String {
    let text = serde_json::to_value(of).ok().and_then(|value| value.as_str().map(str::to_owned));
    // A variant that holds more has no word; none does.
    text.unwrap_or_default().replace('_', " ")
}

fn date(time: Time) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.us()).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
