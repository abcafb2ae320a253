//! Who is told what: the decider behind notifier's first half.
//!
//! Hears the inventory, incidents, deliveries and its own timers; says notices. Its ledger of who was
//! told what is nothing but the notices themselves: exactly those who were told get the update and
//! the resolve, and nobody is told the same thing twice.

use crate::{
    network::Network,
    route::{audience_of, is_loud, text_of},
};
use events::{
    Audience, ChannelId, Decide, Decision, DeliveryKind, EventId, Fact, Heard, Incident, IncidentClass,
    IncidentId, IncidentState, Notice, NoticeId, NoticeKind, NoticeSaid, Noun, Phase, RECALL_MS, Say,
    TenantId, Time, Timer, Urgency,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The key of the one timer a tenant has here.
const WAKE: &str = "wake";
/// A notice is not sent any more after this.
const EXPIRES_MS: i64 = 24 * 3_600_000;
/// So often one incident is said to have changed, at most.
const MOST_CHANGES: u32 = 20;

/// The decider behind notifier.
#[derive(Default)]
pub struct Announcing {
    tenants: BTreeMap<TenantId, Tenant>,
}

impl Decide for Announcing {
    const NAME: &'static str = "notifier";
    const HEARS: &'static [Noun] = &[Noun::Incident, Noun::Delivery, Noun::Due];
    const SAYS: &'static [Noun] = &[Noun::Notice];

    fn recall(&mut self, heard: &Heard) {
        let tenant = self.tenants.entry(heard.tenant).or_default();
        match &heard.fact {
            Fact::Inventory(_) | Fact::Part(_) | Fact::Revision(_) => tenant.network.hear(heard),
            Fact::Incident(said) => {
                let news = News { heard: heard.heard, event: heard.id, now: said.now.clone() };
                tenant.news.insert(said.now.id, news);
                tenant.dirty.insert(said.now.id);
            }
            Fact::Delivery(said) => match said.kind {
                DeliveryKind::Dropped => {}
                DeliveryKind::Attempted
                | DeliveryKind::Delivered
                | DeliveryKind::Deferred
                | DeliveryKind::Refused
                | DeliveryKind::Unknown => {
                    tenant.attempted.insert(said.now.notice, heard.heard);
                }
            },
            Fact::Due(due) if due.service == Self::NAME => tenant.armed = None,
            Fact::Due(_)
            | Fact::Access(_)
            | Fact::Order(_)
            | Fact::Signal(_)
            | Fact::Answer(_)
            | Fact::Ask(_)
            | Fact::Suspicion(_)
            | Fact::Health(_)
            | Fact::Notice(_)
            | Fact::Repair(_)
            | Fact::Plan(_)
            | Fact::Entitlement(_)
            | Fact::Enforcement(_)
            | Fact::Sighting(_)
            | Fact::Refusal(_)
            | Fact::View(_)
            | Fact::Cut(_) => {}
        }
    }

    fn apply(&mut self, said: &Say) {
        if let Fact::Notice(notice) = &said.fact {
            self.tenants.entry(said.tenant).or_default().apply(notice);
        }
    }

    fn decide(&mut self, now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        for (id, tenant) in &mut self.tenants {
            let left = room.saturating_sub(decision.said.len() + decision.timers.len());
            if left < 2 {
                decision.owed = true;
                break;
            }
            let mut out = Out { tenant: *id, now, room: left - 1, said: Vec::new() };
            decision.owed |= tenant.decide(&mut out);
            decision.said.append(&mut out.said);
            if let Some(timer) = tenant.wake(now) {
                decision.timers.push((*id, timer));
            }
        }
        decision
    }

    fn digest(&self) -> u64 {
        let tenants =
            self.tenants.iter().map(|(id, t)| (id, t.network.revision, &t.ledger, &t.news, &t.attempted));
        crate::digest::digest_of(&tenants.collect::<Vec<_>>())
    }
}

struct Out {
    tenant: TenantId,
    now: Time,
    room: usize,
    said: Vec<Say>,
}

impl Out {
    fn is_full(&self) -> bool {
        self.said.len() + 1 > self.room
    }
}

/// What was heard last of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct News {
    heard: Time,
    event: EventId,
    now: Incident,
}

/// What one contact was told of one incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Told {
    /// The first notice: opened, or the update that brought the incident to this contact.
    first: Option<NoticeId>,
    /// That one, every update and what was said once more.
    notices: BTreeMap<NoticeId, Sent>,
    /// When the first was addressed.
    at: Time,
    urgency: Option<Urgency>,
    /// The roots and the class as last told.
    roots: BTreeSet<events::NodeId>,
    class: Option<IncidentClass>,
    /// Whether it was told that something flaps.
    flapping: bool,
    changes: u32,
    /// Said once more, or not to be any more.
    escalated: bool,
    /// Over: nothing else is remembered then.
    resolved: bool,
    /// The incident as it was last told.
    about: Option<(Box<Incident>, NoticeId)>,
}

/// One notice that was addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Sent {
    phase: Phase,
    step: u32,
    at: Time,
}

type Contact = (Audience, ChannelId);

struct Tenant {
    network: Network,
    ledger: BTreeMap<IncidentId, BTreeMap<Contact, Told>>,
    news: BTreeMap<IncidentId, News>,
    attempted: BTreeMap<NoticeId, Time>,
    dirty: BTreeSet<IncidentId>,
    armed: Option<Time>,
    armed_version: u32,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            network: Network::without_nodes(),
            ledger: BTreeMap::new(),
            news: BTreeMap::new(),
            attempted: BTreeMap::new(),
            dirty: BTreeSet::new(),
            armed: None,
            armed_version: 0,
        }
    }
}

impl Tenant {
    fn apply(&mut self, said: &NoticeSaid) {
        let notice = &said.now;
        let contact = (notice.audience, notice.channel);
        let contacts = self.ledger.entry(notice.incident).or_default();
        let told = contacts.entry(contact).or_default();
        match (said.kind, notice.phase) {
            _ if told.resolved => {}
            (NoticeKind::Withdrawn, Phase::Opened | Phase::Changed) => {
                if told.first.is_none() || told.first == Some(notice.id) {
                    contacts.remove(&contact);
                }
            }
            (NoticeKind::Addressed, Phase::Opened | Phase::Changed) => {
                if told.first.is_none() {
                    told.first = Some(notice.id);
                    told.at = notice.at;
                    told.urgency = Some(notice.urgency);
                }
                if notice.phase == Phase::Changed {
                    told.changes = told.changes.max(notice.step + 1);
                }
                told.notices
                    .insert(notice.id, Sent { phase: notice.phase, step: notice.step, at: notice.at });
                told.roots.extend(notice.about.roots.iter().filter(|r| !r.quiet).map(|r| r.node));
                told.class = Some(notice.about.class);
                told.flapping |= is_flapping(&notice.about);
                told.about = Some((notice.about.clone(), notice.id));
            }
            (NoticeKind::Addressed, Phase::Escalated) => {
                told.escalated = true;
                told.notices
                    .insert(notice.id, Sent { phase: notice.phase, step: notice.step, at: notice.at });
            }
            // The beginning was withdrawn before it.
            (NoticeKind::Withdrawn, Phase::Escalated) if told.first.is_none() => {
                contacts.remove(&contact);
            }
            (NoticeKind::Withdrawn, Phase::Escalated) => {
                told.escalated = true;
                told.notices.remove(&notice.id);
            }
            (NoticeKind::Addressed | NoticeKind::Withdrawn, Phase::Resolved) => {
                *told = Told { resolved: true, ..Told::default() };
            }
        }
        if contacts.values().all(|t| t.resolved) {
            self.ledger.remove(&notice.incident);
        }
    }

    fn decide(&mut self, out: &mut Out) -> bool {
        self.network.refresh();
        let from = out.now.plus_ms(-RECALL_MS);
        self.news.retain(|_, n| n.heard >= from);
        self.attempted.retain(|_, heard| *heard >= from);
        while let Some(id) = self.dirty.pop_first() {
            if out.is_full() {
                self.dirty.insert(id);
                return true;
            }
            let Some(news) = self.news.get(&id).cloned() else { continue };
            let done = match news.now.state {
                IncidentState::Open | IncidentState::Recovering => self.announce(&news, out),
                IncidentState::Merged => self.pass_on(&news, out),
                IncidentState::Resolved | IncidentState::Closed => self.resolve(&news, out),
            };
            if !done {
                self.dirty.insert(id);
                return true;
            }
        }
        self.escalate(out)
    }

    fn contacts_of(&self, incident: &Incident) -> Vec<Contact> {
        let Some(audience) = audience_of(incident.tier) else { return Vec::new() };
        let of = |audience: Audience| -> Vec<Contact> {
            let named = self.network.channels.values().filter(|c| c.audience == audience);
            named.map(|c| (audience, c.id)).collect()
        };
        let found = of(audience);
        // An audience nobody is named for must not swallow an outage.
        if found.is_empty() { of(Audience::Engineers) } else { found }
    }

    /// Tells those who must know and do not, and those who know what has become materially different.
    fn announce(&mut self, news: &News, out: &mut Out) -> bool {
        let incident = &news.now;
        if !is_loud(incident) {
            return true;
        }
        for contact in self.contacts_of(incident) {
            let told = self.ledger.get(&incident.id).and_then(|c| c.get(&contact)).cloned();
            let (phase, step) = match told {
                // Who was told of what has become part of this gets an update, and no second beginning.
                None if self.knows_a_part(incident.id, contact) => (Phase::Changed, 0),
                None => (Phase::Opened, 0),
                Some(told) if incident.state == IncidentState::Open && is_material(&told, incident) => {
                    (Phase::Changed, told.changes)
                }
                Some(_) => continue,
            };
            if out.is_full() {
                return false;
            }
            self.say(news, incident.id, contact, phase, step, out);
        }
        incident.acknowledged_by.is_none() || self.stand_down(news, out)
    }

    /// Whether a contact was told of an incident that was merged into this one: also by a beginning that left in the
    /// moment in which it was withdrawn.
    fn knows_a_part(&self, upper: IncidentId, contact: Contact) -> bool {
        let has_left = |id: &NoticeId| self.attempted.contains_key(id);
        self.news.values().filter(|n| n.now.merged_into == Some(upper)).any(|part| {
            let id = part.now.id;
            let told = self.ledger.get(&id).and_then(|contacts| contacts.get(&contact));
            let beginning = NoticeId::of(id, contact.0.name(), contact.1, Phase::Opened.name(), 0);
            has_left(&beginning) || told.is_some_and(|told| told.notices.keys().any(has_left))
        })
    }

    /// Somebody has it: what would have been said once more is not.
    fn stand_down(&mut self, news: &News, out: &mut Out) -> bool {
        for (contact, told) in self.ledger.get(&news.now.id).cloned().unwrap_or_default() {
            if self.escalates_at(&told).is_none() {
                continue;
            }
            if out.is_full() {
                return false;
            }
            self.withdraw(news, contact, Phase::Escalated, 1, out);
        }
        true
    }

    /// A merged incident: what has not left is withdrawn, those who were told anything hear of the upper one.
    fn pass_on(&mut self, news: &News, out: &mut Out) -> bool {
        let Some(upper) = news.now.merged_into else { return true };
        let told = self.ledger.get(&news.now.id).cloned().unwrap_or_default();
        let upper_news = self.news.get(&upper).cloned();
        for (contact, told) in told {
            if told.resolved {
                continue;
            }
            // What was addressed too long ago for that to be remembered has left.
            let has_left = |id: &NoticeId, sent: &Sent| {
                self.attempted.contains_key(id) || sent.at.plus_ms(RECALL_MS) <= out.now
            };
            let unsent = !told.notices.iter().any(|(id, sent)| has_left(id, sent));
            let waiting: Vec<Sent> =
                told.notices.iter().filter(|(id, sent)| !has_left(id, sent)).map(|(_, sent)| *sent).collect();
            // A start must not find half of it withdrawn.
            if out.said.len() + waiting.len() + 2 > out.room {
                return false;
            }
            let phase = told.first.and_then(|first| told.notices.get(&first)).map(|sent| sent.phase);
            // Whose first word of it was an update knows a part of it from before, whether that left or not.
            let must_know = !unsent || phase == Some(Phase::Changed);
            let knows = self.ledger.get(&upper).is_some_and(|c| c.contains_key(&contact));
            if must_know && !knows {
                let about = upper_news.clone().unwrap_or_else(|| news.clone());
                self.say(&about, upper, contact, Phase::Changed, 0, out);
            }
            if !unsent {
                // The upper one's resolve is the one they get.
                self.withdraw(news, contact, Phase::Resolved, 0, out);
            }
            for Sent { phase, step, .. } in waiting {
                self.withdraw(news, contact, phase, step, out);
            }
        }
        true
    }

    fn resolve(&mut self, news: &News, out: &mut Out) -> bool {
        let told = self.ledger.get(&news.now.id).cloned().unwrap_or_default();
        for (contact, told) in told {
            if told.resolved {
                continue;
            }
            if out.is_full() {
                return false;
            }
            self.say(news, news.now.id, contact, Phase::Resolved, 0, out);
        }
        true
    }

    fn escalates_at(&self, told: &Told) -> Option<Time> {
        (told.urgency == Some(Urgency::Urgent) && !told.escalated && !told.resolved)
            .then(|| told.at.plus_ms(i64::from(self.network.policy.escalate_after_ms)))
    }

    /// Urgent incidents nobody acknowledged are said again, once.
    fn escalate(&mut self, out: &mut Out) -> bool {
        let late = |t: &Told| self.escalates_at(t).is_some_and(|at| at <= out.now);
        let due: Vec<(IncidentId, Contact, Told)> = self
            .ledger
            .iter()
            .flat_map(|(id, contacts)| contacts.iter().map(|(c, t)| (*id, *c, t)))
            .filter(|(_, _, t)| late(t))
            .map(|(id, c, t)| (id, c, t.clone()))
            .collect();
        for (id, contact, told) in due {
            let Some((about, notice)) = told.about else { continue };
            if out.is_full() {
                return true;
            }
            let news = News { heard: out.now, event: EventId(notice.0), now: *about };
            self.say(&news, id, contact, Phase::Escalated, 1, out);
        }
        false
    }

    fn wake(&mut self, now: Time) -> Option<Timer> {
        let at = self.ledger.values().flat_map(|c| c.values()).filter_map(|t| self.escalates_at(t));
        let at = at.filter(|at| *at > now).min()?;
        if self.armed.is_some_and(|armed| armed > now && armed <= at) {
            return None;
        }
        self.armed = Some(at);
        self.armed_version = self.armed_version.wrapping_add(1);
        Some(Timer { key: WAKE.into(), at: Some(at), version: self.armed_version })
    }

    fn withdraw(&mut self, news: &News, contact: Contact, phase: Phase, step: u32, out: &mut Out) {
        let notice = notice(news, news.now.id, contact, phase, step, out.now);
        self.push(news.event, NoticeSaid { kind: NoticeKind::Withdrawn, now: notice }, out);
    }

    fn say(
        &mut self,
        news: &News,
        incident: IncidentId,
        contact: Contact,
        phase: Phase,
        step: u32,
        out: &mut Out,
    ) {
        let notice = notice(news, incident, contact, phase, step, out.now);
        self.push(news.event, NoticeSaid { kind: NoticeKind::Addressed, now: notice }, out);
    }

    fn push(&mut self, cause: EventId, said: NoticeSaid, out: &mut Out) {
        let id = EventId::following(cause, Announcing::NAME, &format!("{:?} {}", said.kind, said.now.id));
        self.apply(&said);
        out.said.push(Say {
            id,
            tenant: out.tenant,
            at: out.now,
            cause: Some(cause),
            fact: Fact::Notice(said),
        });
    }
}

fn is_material(told: &Told, incident: &Incident) -> bool {
    let another_root = incident.roots.iter().any(|r| r.down && !r.quiet && !told.roots.contains(&r.node));
    let less = [Some(IncidentClass::Redundancy), Some(IncidentClass::SessionsLost)];
    let worse = less.contains(&told.class) && incident.class == IncidentClass::Outage;
    let unsteady = is_flapping(incident) && !told.flapping;
    told.changes < MOST_CHANGES && (another_root || worse || unsteady)
}

fn is_flapping(incident: &Incident) -> bool {
    incident.roots.iter().any(|r| r.flapping && !r.quiet)
}

fn notice(news: &News, incident: IncidentId, contact: Contact, phase: Phase, step: u32, now: Time) -> Notice {
    let (audience, channel) = contact;
    let title = match phase {
        Phase::Opened | Phase::Changed => news.now.title.clone(),
        Phase::Escalated => format!("Nobody has taken this yet: {}", news.now.title),
        Phase::Resolved => format!("Resolved: {}", news.now.title),
    };
    Notice {
        id: NoticeId::of(incident, audience.name(), channel, phase.name(), step),
        incident,
        audience,
        channel,
        phase,
        step,
        urgency: news.now.urgency,
        title,
        text: text_of(&news.now),
        at: now,
        expires: now.plus_ms(EXPIRES_MS),
        about: Box::new(news.now.clone()),
    }
}
