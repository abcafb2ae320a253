//! What an accounting system says, and what is heard of it.

use super::{Ground, until};
use events::{
    About, Claim, Cutting, Enforcement, EnforcementState, Entitled, Entitlement, EntitlementSaid, Fact,
    Group, GroupMode, Inventory, Member, Node, NodeKind, Noun, Order, PlanDigest, RouterEnforcement,
    RouterEnforcementState, ServiceState, Signal, SignalSource, SubscriberEnforcement, Tier,
};
use lab::{Lab, network::Sight};
use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};
use vault::{Field, Person, SessionKind};

/// Somebody who dials in with this user name, and always has this address.
pub(crate) fn person(user: Option<&str>, address: Option<IpAddr>) -> Person {
    let mut person = Person::default();
    person.user = user.map(str::to_owned);
    person.static_address = address.map(|address| address.to_string());
    person
}

impl Ground {
    /// Routers that are imported from here on allow their subscribers to be enforced.
    pub(crate) fn allow_enforcing(&self) {
        self.enforce.store(true, Ordering::Relaxed);
    }

    /// Reconcilers that are started from here on are told this as well.
    pub(crate) fn configure(&self, pairs: &[(&str, &str)]) {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.more.lock().unwrap().extend(pairs);
    }

    /// Lays down who the played subscribers are.
    pub(crate) async fn persons(&self, lab: &Lab) {
        let mut persons = Vec::new();
        for node in lab.network().nodes() {
            let Some((_, Sight::Session(user))) = &node.seen_by else { continue };
            let id = self.id(&node.id);
            let person = person(Some(user), None);
            persons.push((id, self.keys.seal_person(id, &person)));
        }
        self.log.put_personal(self.tenant, persons).await.unwrap();
    }

    /// A subscriber who is in the books, and not in the played network.
    pub(crate) async fn subscriber(&self, account: &str, person: Person) {
        self.subscriber_at("core", account, person).await;
    }

    /// The same of one of many routers.
    pub(crate) async fn subscriber_at(&self, router: &str, account: &str, person: Person) {
        let id = self.id(account);
        let node = Node {
            kind: NodeKind::Subscriber,
            tier: Tier::Subscriber,
            seen_by: Some(self.id(router)),
            ..self.node(account)
        };
        self.lay_down(vec![Inventory::Node(Arc::new(node))]).await;
        self.log.put_personal(self.tenant, vec![(id, self.keys.seal_person(id, &person))]).await.unwrap();
    }

    /// One whom any of these routers may serve.
    pub(crate) async fn subscriber_of_any(&self, routers: &[&str], account: &str, person: Person) {
        let id = self.id(account);
        let user = person.user.clone().unwrap();
        let key = |router: &&str| self.keys.look_up(self.id(router), SessionKind::Ppp, &user);
        let members = routers.iter().map(|router| Member::Node(self.id(router))).collect();
        let node = Node {
            kind: NodeKind::Subscriber,
            tier: Tier::Subscriber,
            needs: vec![Group { mode: GroupMode::Any, members }],
            claims: routers.iter().map(key).collect(),
            // As the network file has it: the first sees him, and any may hold his session.
            seen_by: routers.first().map(|router| self.id(router)),
            ..self.node(account)
        };
        self.lay_down(vec![Inventory::Node(Arc::new(node))]).await;
        self.log.put_personal(self.tenant, vec![(id, self.keys.seal_person(id, &person))]).await.unwrap();
    }

    /// One who gets nothing but to be served, or not.
    pub(crate) fn entitled(&self, account: &str, state: ServiceState) -> Entitled {
        Entitled {
            node: self.id(account),
            state,
            profile: None,
            rate: None,
            address: None,
            password: None,
            file: None,
        }
    }

    /// The same, who is added with a password and always gets the address that is known of him.
    pub(crate) fn added(&self, account: &str, password: &str, address: Option<IpAddr>) -> Entitled {
        let id = self.id(account);
        Entitled {
            password: Some(self.keys.seal(Field::Password(id), password.as_bytes())),
            address: address.map(|address| self.keys.address_key(id, address)),
            ..self.entitled(account, ServiceState::Active)
        }
    }

    /// A router's script says that a user has dialled in.
    pub(crate) async fn dialled_in(&self, router: &str, user: &str) {
        let router = self.id(router);
        let signal = Signal {
            about: About::Session(self.keys.look_up(router, SessionKind::Ppp, user)),
            says: Claim::Up,
            source: SignalSource::Ppp,
            sender: Some(router),
            boot: None,
            seq: None,
            sealed_name: None,
            detail: None,
        };
        self.say(vec![Fact::Signal(signal)]).await;
    }

    /// Says what subscribers are entitled to.
    pub(crate) async fn entitle(&self, all: Vec<Entitled>) {
        let said = |entitled| {
            let now = Entitlement::Subscriber(entitled);
            Fact::Entitlement(EntitlementSaid { now, by: "billing".into() })
        };
        self.say(all.into_iter().map(said).collect()).await;
    }

    /// The same of one who gets nothing else.
    pub(crate) async fn set(&self, account: &str, state: ServiceState) {
        self.entitle(vec![self.entitled(account, state)]).await;
    }

    /// Halts all cutting off, or lets it go on.
    pub(crate) async fn halt(&self, halted: bool) {
        let now = Entitlement::Cutting(Cutting { halted, why: Some("the books are wrong".into()) });
        self.say(vec![Fact::Entitlement(EntitlementSaid { now, by: "test".into() })]).await;
    }

    /// Somebody says yes to cutting off who is held back.
    pub(crate) async fn confirm(&self, router: &str, plan: PlanDigest) {
        self.order(Order::CutHeld { router: self.id(router), plan }).await;
    }

    /// Everything that was said of a subscriber at its routers.
    pub(crate) async fn standings(&self, account: &str) -> Vec<SubscriberEnforcement> {
        let node = self.id(account);
        let all = self.heard(Noun::Enforcement).await.into_iter();
        all.filter_map(|heard| match heard.fact {
            Fact::Enforcement(Enforcement::Subscriber(now)) if now.node == node => Some(now),
            _ => None,
        })
        .collect()
    }

    /// How a router was last said to stand.
    pub(crate) async fn router_standing(&self, router: &str) -> Option<RouterEnforcement> {
        let id = self.id(router);
        let all = self.heard(Noun::Enforcement).await.into_iter();
        let of_router = all.filter_map(|heard| match heard.fact {
            Fact::Enforcement(Enforcement::Router(now)) if now.router == id => Some(now),
            _ => None,
        });
        of_router.last()
    }

    /// Waits until a subscriber's last entitlement stands so.
    pub(crate) async fn enforced(&self, account: &str, state: EnforcementState) -> SubscriberEnforcement {
        let node = self.id(account);
        let said = self.heard(Noun::Entitlement).await.into_iter().rev();
        let wanted = said.into_iter().find_map(|heard| match &heard.fact {
            Fact::Entitlement(EntitlementSaid { now: Entitlement::Subscriber(now), .. }) => {
                (now.node == node).then_some(heard.id)
            }
            _ => None,
        });
        let mut last = None;
        until(&format!("{account} is {state:?}"), async || {
            last = self.standings(account).await.pop();
            last.as_ref().is_some_and(|now| now.state == state && Some(now.wanted) == wanted)
        })
        .await;
        last.unwrap()
    }

    /// Waits until a router stands so.
    pub(crate) async fn router_enforced(
        &self,
        router: &str,
        state: RouterEnforcementState,
    ) -> RouterEnforcement {
        let mut last = None;
        until(&format!("{router} is {state:?}"), async || {
            last = self.router_standing(router).await;
            last.as_ref().is_some_and(|now| now.state == state)
        })
        .await;
        last.unwrap()
    }
}
