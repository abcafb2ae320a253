//! One subscriber at one router, during a look: who it is, what it is to get, and how that stands.

use crate::{enforced::SubscriberSaid, ledger::Wanted};
use domain::enforce::{Access, Service, Step};
use events::{EnforcementState, EventId, NodeId, SubscriberEnforcement, Time};
use vault::{Field, Person, SessionKind, TenantKeys, Zeroizing};

/// A standing that was said so long ago is said again, before the log forgets it: 300 days.
const RESTATE_AFTER_MS: i64 = 300 * 24 * 3_600_000;

/// One subscriber at one router.
pub(crate) struct One {
    pub(crate) wanted: Wanted,
    router: NodeId,
    /// How it stands, as it was last said.
    said: Option<SubscriberEnforcement>,
    /// The event that said so, in this look.
    pub(crate) event: EventId,
    access: Access,
    is_here: bool,
    /// Whether its step was made whole in this look, and so a password that was due was written.
    is_made: bool,
}

impl One {
    pub(crate) fn of(wanted: Wanted, router: NodeId) -> Self {
        let said = wanted.standing.clone();
        let is_here = wanted.subscriber.seen_by == Some(router);
        Self {
            wanted,
            router,
            said,
            event: EventId::default(),
            access: Access::Unknown,
            is_here,
            is_made: false,
        }
    }

    /// Takes in who it is, and works out whether its session may be on this router.
    pub(crate) fn open(&mut self, person: Option<&Person>, keys: &TenantKeys) {
        let (subscriber, entitled) = (&self.wanted.subscriber, &self.wanted.entitled);
        let is_seen_here = subscriber.seen_by == Some(self.router);
        let address = person.and_then(|person| person.static_address.as_ref()?.parse().ok());
        let user = person.and_then(|person| person.user.clone());
        self.is_here = is_seen_here
            || user.as_ref().is_some_and(|user| {
                subscriber.claims.contains(&keys.look_up(self.router, SessionKind::Ppp, user))
            });
        let password = entitled.password.as_ref().and_then(|sealed| {
            let plain = keys.open(Field::Password(subscriber.id), sealed);
            let text = plain.ok().and_then(|plain| std::str::from_utf8(&plain).ok().map(str::to_owned));
            if text.is_none() {
                tracing::warn!(subscriber = %subscriber.id, "the password of a user who is to be added cannot be opened");
            }
            text
        });
        self.access = match (user, address) {
            (Some(user), address) => {
                Access::Pppoe { user, password, address: address.filter(|_| entitled.address.is_some()) }
            }
            (None, Some(address)) => Access::Static(address),
            (None, None) => Access::Unknown,
        };
    }

    /// Whether its session may be on this router; of one that another router sees that is known with the person.
    pub(crate) fn is_here(&self) -> bool {
        self.is_here
    }

    /// What it is to get, with the sessions that were to end by what was begun.
    pub(crate) fn service(&self) -> Service {
        let entitled = &self.wanted.entitled;
        Service {
            node: entitled.node,
            account: self.wanted.subscriber.file_id.clone(),
            access: self.access.clone(),
            state: entitled.state,
            profile: entitled.profile.clone(),
            rate: entitled.rate,
            ends: self.said.as_ref().map_or_else(Vec::new, |said| said.ends.clone()),
            is_password_due: !self.is_made && self.password() != self.written_password(),
        }
    }

    /// A digest of the password as it is wanted: of what is sealed, so that it says nothing about it.
    fn password(&self) -> Option<String> {
        let sealed = self.wanted.entitled.password.as_ref()?;
        let mut digest = vault::sha256_hex(sealed.0.as_bytes());
        digest.truncate(32);
        Some(digest)
    }

    fn written_password(&self) -> Option<String> {
        self.said.as_ref()?.password.clone()
    }

    /// All that was to be done for it was done.
    pub(crate) fn was_made(&mut self) {
        self.is_made = true;
    }

    fn same(&self) -> Option<&SubscriberEnforcement> {
        self.said.as_ref().filter(|said| said.wanted == self.wanted.event)
    }

    /// Whether the router showed it at the last look.
    pub(crate) fn is_settled(&self) -> bool {
        let is_settled = |said: &SubscriberEnforcement| {
            matches!(said.state, EnforcementState::InForce | EnforcementState::Partly)
        };
        self.same().is_some_and(is_settled)
    }

    /// Whether it was being cut off for this entitlement, or always comes back because it is not ours to keep off.
    pub(crate) fn is_being_cut(&self) -> bool {
        let goes_on = |said: &SubscriberEnforcement| match said.state {
            EnforcementState::Begun | EnforcementState::Partly => said.cut_at.is_some(),
            EnforcementState::Waiting | EnforcementState::Failed => !said.ends.is_empty(),
            EnforcementState::InForce | EnforcementState::Held => false,
        };
        self.same().is_some_and(goes_on)
    }

    /// How it stands when `state` is the news.
    pub(crate) fn stands(&self, state: EnforcementState, at: Time) -> SubscriberEnforcement {
        let (before, same) = (self.said.as_ref(), self.same());
        let is_settled = matches!(state, EnforcementState::InForce | EnforcementState::Partly);
        let in_force_since = same.and_then(|same| same.in_force_since).unwrap_or(at);
        SubscriberEnforcement {
            node: self.wanted.subscriber.id,
            router: self.router,
            state,
            since: same.filter(|same| same.state == state).map_or(at, |same| same.since),
            wanted: self.wanted.event,
            wanted_since: self.wanted.heard,
            in_force_since: is_settled.then_some(in_force_since),
            attempts: same.map_or(0, |same| same.attempts),
            cut_at: before.and_then(|before| before.cut_at),
            password: if state == EnforcementState::InForce || self.is_made {
                self.password()
            } else {
                self.written_password()
            },
            ends: before.filter(|_| !is_settled).map_or_else(Vec::new, |before| before.ends.clone()),
            not_ours: None,
            error: None,
        }
    }

    /// How it stands when `step` is begun.
    pub(crate) fn begun(&self, step: &Step, at: Time) -> SubscriberEnforcement {
        let stands = self.stands(EnforcementState::Begun, at);
        SubscriberEnforcement {
            since: at,
            attempts: stands.attempts.saturating_add(1),
            cut_at: if step.cuts { Some(at) } else { stands.cut_at },
            ends: step.ends.clone(),
            ..stands
        }
    }

    /// Whether that is to be said: because it is news, or because the log would forget it.
    pub(crate) fn is_news(&self, stands: &SubscriberEnforcement, at: Time) -> bool {
        self.said.as_ref() != Some(stands) || self.wanted.standing_heard.plus_ms(RESTATE_AFTER_MS) < at
    }

    /// That was said.
    pub(crate) fn was_said(&mut self, said: SubscriberSaid) {
        self.event = said.event;
        self.said = Some(said.now);
    }

    /// A text of the router without what names the person.
    pub(crate) fn without_person(&self, text: &str) -> String {
        let address;
        let (user, password) = match &self.access {
            Access::Pppoe { user, password, address: own } => {
                address = own.map(|own| own.to_string());
                (Some(user.as_str()), password.as_deref())
            }
            Access::Static(own) => {
                address = Some(own.to_string());
                (None, None)
            }
            Access::Unknown => return text.to_owned(),
        };
        let hidden =
            [user, password, address.as_deref()].into_iter().flatten().filter(|word| !word.is_empty());
        let text = hidden
            .fold(Zeroizing::new(text.to_owned()), |text, word| Zeroizing::new(text.replace(word, "…")));
        text.as_str().to_owned()
    }
}
