//! From the file to what is laid down in the log: identifiers derived, secrets sealed.

use crate::{
    NetworkFile, Secret,
    model::{ChannelEntry, Need, NodeEntry, Opens, Session, Subscriber, Via},
};
use events::{
    Channel, ChannelId, Entitled, Grant, Group, GroupMode, Inventory, Login, Member, Node, NodeId, NodeKind,
    Owner, Sealed, Site, SiteId, Tenant, TenantId, Tier, Token,
};
use std::sync::Arc;
use vault::{Field, Person, SessionKind, TenantKeys, Zeroizing};

/// What an import lays down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The inventory: tenant, policy, sites, nodes (devices before subscribers), channels.
    pub things: Vec<Inventory>,
    /// The tokens, as they are kept.
    pub tokens: Vec<Token>,
    /// What is known about persons: one sealed message each.
    pub persons: Vec<SealedPerson>,
    /// What subscribers are entitled to, of those of whom the file says it.
    pub entitlements: Vec<Entitled>,
}

/// What is known about the person behind one subscriber, as [`TenantKeys::seal_person`] seals it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPerson {
    /// The subscriber.
    pub node: NodeId,
    /// The rest.
    pub sealed: Sealed,
}

/// The keys given are another tenant's than the file's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network file is of the tenant `{file}`, and the keys are another's")]
pub struct WrongTenant {
    /// The tenant that the file names.
    pub file: String,
}

impl NetworkFile {
    /// The tenant whose network it is.
    pub fn tenant_id(&self) -> TenantId {
        TenantId::of(&self.tenant.slug)
    }

    /// The routers that may hold a subscriber's session, by id: those the file names, else the
    /// nearest with a login on the way up.
    pub fn session_routers<'a>(&'a self, subscriber: &'a Subscriber) -> impl Iterator<Item = &'a str> {
        let nearest = if subscriber.concentrators.is_empty() { subscriber.seen_by.router() } else { None };
        subscriber.concentrators.iter().map(String::as_str).chain(nearest)
    }

    /// All of it as it is laid down, sealed under `keys`. The same file and keys give the same.
    ///
    /// # Errors
    ///
    /// [`WrongTenant`] when `keys` are not those of the file's tenant.
    pub fn to_inventory(&self, keys: &TenantKeys) -> Result<Import, WrongTenant> {
        let tenant = self.tenant_id();
        if keys.tenant() != tenant {
            return Err(WrongTenant { file: self.tenant.slug.clone() });
        }
        let mut things = Vec::with_capacity(
            2 + self.sites.len() + self.nodes.len() + self.subscribers.len() + self.channels.len(),
        );
        things.push(Inventory::Tenant(Tenant {
            id: tenant,
            slug: self.tenant.slug.clone(),
            name: self.tenant.name.clone(),
        }));
        things.push(Inventory::Policy(self.policy.clone()));
        things.extend(self.sites.iter().map(|site| {
            Inventory::Site(Site {
                id: SiteId::of(tenant, &site.id),
                file_id: site.id.clone(),
                name: site.name.clone(),
                address: site.address.clone(),
                latitude_udeg: site.coordinates_udeg.map(|(north, _)| north),
                longitude_udeg: site.coordinates_udeg.map(|(_, east)| east),
            })
        }));
        things.extend(self.nodes.iter().map(|node| Inventory::Node(Arc::new(self.node_of(node, keys)))));
        things.extend(
            self.subscribers
                .iter()
                .map(|subscriber| Inventory::Node(Arc::new(self.subscriber_of(subscriber, keys)))),
        );
        things.extend(self.channels.iter().map(|channel| Inventory::Channel(channel_of(channel, keys))));

        let routers = self.nodes.iter().filter_map(|node| {
            let (token, from) = router_token(node, keys)?;
            let grant = Grant::Router { router: NodeId::of(tenant, &node.id) };
            Some(token_of(&token, grant, from, &node.name))
        });
        let others = self.tokens.iter().map(|token| {
            let grant = match token.opens {
                Opens::Signals => Grant::Signals,
                Opens::Console => Grant::Console,
            };
            token_of(token.token.reveal(), grant, &token.from, &token.name)
        });
        let persons = self.subscribers.iter().filter_map(|subscriber| sealed_person(subscriber, keys));
        let entitlements = self.subscribers.iter().filter_map(|subscriber| entitled(subscriber, keys));
        Ok(Import {
            things,
            tokens: routers.chain(others).collect(),
            persons: persons.collect(),
            entitlements: entitlements.collect(),
        })
    }

    fn node_of(&self, node: &NodeEntry, keys: &TenantKeys) -> Node {
        let tenant = keys.tenant();
        let id = NodeId::of(tenant, &node.id);
        Node {
            id,
            file_id: node.id.clone(),
            name: node.name.clone(),
            kind: node.kind,
            tier: node.tier,
            site: node.site.as_ref().map(|site| SiteId::of(tenant, site)),
            needs: groups(tenant, &self.needs_of(node)),
            address: node.address,
            watch: node.watch,
            seen_by: node.seen_by.router().map(|router| NodeId::of(tenant, router)),
            claims: Vec::new(),
            login: node.login.as_ref().map(|login| Login {
                port: login.port,
                tls: login.tls,
                certificate: login.certificate,
                secret: keys.seal_login(Field::Login(id), login.user.reveal(), login.password.reveal()),
                manage: login.manage,
                enforce: login.enforce,
                // Who is to write a router's scripts must know what they carry.
                token: router_token(node, keys)
                    .filter(|_| login.manage)
                    .map(|(token, _)| keys.seal(Field::RouterToken(id), token.as_bytes())),
            }),
            plan: None,
            owner: node.owner.clone(),
            maintenance: node.maintenance.clone(),
            origin: events::Origin::default(),
        }
    }

    /// A static address is no address of the node's: it names a person. Netwatch at the router and
    /// the roll call tell of it under the account.
    fn subscriber_of(&self, subscriber: &Subscriber, keys: &TenantKeys) -> Node {
        let tenant = keys.tenant();
        let session = match &subscriber.session {
            Session::Pppoe(user) => Some((SessionKind::Ppp, user)),
            Session::Mac(mac) => Some((SessionKind::Mac, mac)),
            Session::Static(_) | Session::None => None,
        };
        let claims = session.map(|(kind, name)| {
            self.session_routers(subscriber)
                .map(|router| keys.look_up(NodeId::of(tenant, router), kind, name.reveal()))
                .collect()
        });
        Node {
            id: NodeId::of_account(tenant, &subscriber.account),
            file_id: subscriber.account.clone(),
            name: subscriber.account.clone(),
            kind: NodeKind::Subscriber,
            tier: Tier::Subscriber,
            site: subscriber.site.as_ref().map(|site| SiteId::of(tenant, site)),
            needs: groups(tenant, &self.subscriber_needs(subscriber)),
            address: None,
            watch: None,
            seen_by: subscriber.seen_by.router().map(|router| NodeId::of(tenant, router)),
            claims: claims.unwrap_or_default(),
            login: None,
            plan: subscriber.plan.clone(),
            owner: Some(Owner { account: subscriber.account.clone(), ticket_url: subscriber.ticket.clone() }),
            maintenance: subscriber.maintenance.clone(),
            origin: events::Origin::default(),
        }
    }
}

/// Each need as a group of its own: all of them are needed.
fn groups(tenant: TenantId, needs: &[Need]) -> Vec<Group> {
    needs
        .iter()
        .map(|need| match member(tenant, need) {
            Member::Group(group) => group,
            node @ Member::Node(_) => Group { mode: GroupMode::All, members: vec![node] },
        })
        .collect()
}

fn member(tenant: TenantId, need: &Need) -> Member {
    let (mode, of) = match need {
        Need::Node(id) => return Member::Node(NodeId::of(tenant, id)),
        Need::Any(of) => (GroupMode::Any, of),
        Need::All(of) => (GroupMode::All, of),
        Need::KOfN { k, of } => (GroupMode::KOfN { k: *k }, of),
    };
    Member::Group(Group { mode, members: of.iter().map(|need| member(tenant, need)).collect() })
}

fn channel_of(channel: &ChannelEntry, keys: &TenantKeys) -> Channel {
    let id = ChannelId::of(keys.tenant(), &channel.name);
    let kind = match &channel.via {
        Via::Webhook { url, secret } => events::ChannelKind::Webhook {
            url: url.clone(),
            secret: keys.seal(Field::ChannelSecret(id), secret.reveal().as_bytes()),
        },
        Via::Email { server, from, to, login } => events::ChannelKind::Email {
            server: server.clone(),
            from: from.clone(),
            to: to.clone(),
            login: login.as_ref().map(|(user, password)| {
                keys.seal_login(Field::ChannelLogin(id), user.reveal(), password.reveal())
            }),
        },
    };
    Channel { id, name: channel.name.clone(), audience: channel.audience, kind }
}

/// The token of a router and from where it may be used. One that is managed has one in any case.
fn router_token<'a>(node: &'a NodeEntry, keys: &TenantKeys) -> Option<(Zeroizing<String>, &'a [String])> {
    if let Some(webhook) = &node.webhook {
        return Some((Zeroizing::new(webhook.token.reveal().to_owned()), &webhook.from));
    }
    let is_managed = node.login.as_ref().is_some_and(|login| login.manage);
    is_managed.then(|| (keys.router_token(NodeId::of(keys.tenant(), &node.id)), &[][..]))
}

fn token_of(token: &str, grant: Grant, from: &[String], name: &str) -> Token {
    let kept = vault::kept(token, grant, name).expect("the form of a token is checked when the file is read");
    Token { networks: from.to_vec(), ..kept }
}

/// What a subscriber is entitled to by the file, with a digest by which it is known again.
fn entitled(subscriber: &Subscriber, keys: &TenantKeys) -> Option<Entitled> {
    let service = subscriber.service.as_ref()?;
    let node = NodeId::of_account(keys.tenant(), &subscriber.account);
    let sealed = |password: &Secret| keys.seal(Field::Password(node), password.reveal().as_bytes());
    let entitled = Entitled {
        node,
        state: service.state,
        profile: service.profile.clone(),
        rate: service.rate,
        address: service.address.map(|address| keys.address_key(node, address)),
        password: service.password.as_ref().map(sealed),
        file: None,
    };
    let json = serde_json::to_vec(&entitled).expect("what an event holds has a JSON form");
    let mut digest = vault::sha256_hex(&json);
    digest.truncate(32);
    Some(Entitled { file: Some(digest), ..entitled })
}

fn sealed_person(subscriber: &Subscriber, keys: &TenantKeys) -> Option<SealedPerson> {
    let text = |secret: &Secret| secret.reveal().to_owned();
    let mut person = Person::default();
    match &subscriber.session {
        Session::Pppoe(user) => person.user = Some(text(user)),
        Session::Mac(mac) => person.mac = Some(text(mac)),
        Session::Static(address) => person.static_address = Some(address.to_string()),
        Session::None => {}
    }
    if let Some(address) = subscriber.service.as_ref().and_then(|service| service.address) {
        person.static_address = Some(address.to_string());
    }
    if let Some(known) = &subscriber.person {
        person.name = known.name.as_ref().map(text);
        person.phone = known.phone.as_ref().map(text);
        person.address = known.address.as_ref().map(text);
    }
    if person == Person::default() {
        return None;
    }
    let node = NodeId::of_account(keys.tenant(), &subscriber.account);
    Some(SealedPerson { node, sealed: keys.seal_person(node, &person) })
}
