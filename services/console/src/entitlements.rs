//! What subscribers are entitled to: said by billing systems and people, last word counts.
//!
//! The same again says nothing. Who changes what he has read names the place that he read, and is told when somebody
//! was faster; who does not is the last word. The address of a subscriber is with the person, and its password is
//! sealed: neither comes out again.

use crate::desk::{Answer, Desk, Within};
use events::{
    Cutting, Entitled, Entitlement, EntitlementSaid, EventId, Fact, NodeId, Noun, Rate, Say, ServiceState,
    Subject, TenantId,
};
use futures::{StreamExt, TryStreamExt, stream};
use kit::{Outgoing, PublishError, http::Problem};
use serde::Serialize;
use std::net::IpAddr;
use utoipa::ToSchema;
use uuid::Uuid;
use vault::{Field, Person, TenantKeys};

/// How often something is begun again because somebody else said something of the same subscriber meanwhile.
const ATTEMPTS: u32 = 4;
/// How many subscribers are read at once.
const READS_AT_ONCE: usize = 16;

/// What one subscriber is to get, before it is sealed.
pub(crate) struct Asked {
    pub(crate) account: String,
    pub(crate) state: ServiceState,
    /// The rest; `None`: as it was.
    pub(crate) rest: Option<Rest>,
}

/// What it is to get beside being served.
pub(crate) struct Rest {
    pub(crate) profile: Option<String>,
    pub(crate) rate: Option<Rate>,
    pub(crate) address: Option<IpAddr>,
    /// `None`: the one that was given before.
    pub(crate) password: Option<kit::config::Secret>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntitlementStored {
    /// The account in the operator's books.
    account: String,
    /// The subscriber.
    node: Uuid,
    /// Whether it is other than before.
    changed: bool,
    /// The place in the log of what holds now: give it as `If-Match` to change that and nothing newer.
    seq: u64,
}

/// An entitlement as it was last said.
struct Last {
    entitled: Entitled,
    seq: u64,
}

/// What is to be said of one subscriber.
struct Ready {
    account: String,
    now: Entitled,
    last_seq: u64,
    is_news: bool,
    address: Option<IpAddr>,
}

impl Desk {
    /// Says what these subscribers are to get: one by compare-and-set, several in one commit. `expected`: the place of
    /// what the caller has read.
    pub(crate) async fn entitle(
        &self,
        within: &Within,
        asked: Vec<Asked>,
        (by, request): (&str, EventId),
        expected: Option<u64>,
    ) -> Answer<Vec<EntitlementStored>> {
        let tenant = within.tenant;
        let keys = self.register.keys(tenant).await?;
        let keys = keys.ok_or_else(|| Problem::not_found("there is no such tenant"))?;
        for _ in 0..ATTEMPTS {
            let ready = self.ready(tenant, &asked, &keys).await?;
            if let (Some(expected), [one]) = (expected, ready.as_slice())
                && one.last_seq != expected
            {
                return Err(Problem::conflict(format!("it was said anew at {}", one.last_seq)).into());
            }
            self.put_addresses(tenant, &ready, &keys).await?;
            let outs: Vec<Outgoing> = ready
                .iter()
                .filter(|one| one.is_news)
                .map(|one| {
                    let id = EventId::following(request, crate::SOURCE, &one.now.node.to_string());
                    let now = Entitlement::Subscriber(one.now.clone());
                    said(tenant, id, EntitlementSaid { now, by: by.to_owned() })
                })
                .collect();
            let fence = match ready.as_slice() {
                [one] => Some((subject(tenant, &one.now.node.to_string()), one.last_seq)),
                _ => None,
            };
            let fence = fence.as_ref().map(|(subject, seq)| (subject.as_str(), *seq));
            let stored = match self.log.commit(outs, fence).await {
                Err(PublishError::Conflict { .. }) if expected.is_none() => continue,
                stored => stored?,
            };
            let mut places = stored.into_iter().map(|stored| stored.seq);
            let told = ready.into_iter().map(|one| EntitlementStored {
                account: one.account,
                node: one.now.node.0,
                changed: one.is_news,
                seq: if one.is_news { places.next().unwrap_or(one.last_seq) } else { one.last_seq },
            });
            return Ok(told.collect());
        }
        Err(Problem::conflict("others change the same subscriber all the time").into())
    }

    /// Holds what was asked against what was last said.
    async fn ready(&self, tenant: TenantId, asked: &[Asked], keys: &TenantKeys) -> Answer<Vec<Ready>> {
        let nodes: Vec<NodeId> =
            asked.iter().map(|asked| NodeId::of_account(tenant, &asked.account)).collect();
        let read = |node: NodeId| self.last_entitlement(tenant, node);
        let last: Vec<Option<Last>> =
            stream::iter(nodes).map(read).buffered(READS_AT_ONCE).try_collect().await?;
        let ready = asked.iter().zip(last).map(|(asked, last)| {
            let node = NodeId::of_account(tenant, &asked.account);
            let (before, last_seq) = last.map(|last| (last.entitled, last.seq)).unzip();
            let mut now = before.clone().unwrap_or_else(|| nothing(node, asked.state));
            now.state = asked.state;
            let mut address = None;
            if let Some(rest) = &asked.rest {
                address = rest.address;
                now.profile.clone_from(&rest.profile);
                now.rate = rest.rate;
                now.address = rest.address.map(|address| keys.address_key(node, address));
                if let Some(password) = &rest.password {
                    now.password = Some(keys.seal(Field::Password(node), password.reveal().as_bytes()));
                }
            }
            let is_news = before.as_ref() != Some(&now);
            Ready { account: asked.account.clone(), now, last_seq: last_seq.unwrap_or(0), is_news, address }
        });
        Ok(ready.collect())
    }

    async fn last_entitlement(&self, tenant: TenantId, node: NodeId) -> Answer<Option<Last>> {
        let Some(raw) = self.log.last(&subject(tenant, &node.to_string())).await? else { return Ok(None) };
        let heard = raw.decode().map_err(|error| crate::desk::fault(&error))?;
        match heard.fact {
            Fact::Entitlement(EntitlementSaid { now: Entitlement::Subscriber(entitled), .. }) => {
                Ok(Some(Last { entitled, seq: raw.seq }))
            }
            _ => Ok(None),
        }
    }

    /// Stores the addresses with the persons, before anybody is told that there are any.
    async fn put_addresses(&self, tenant: TenantId, ready: &[Ready], keys: &TenantKeys) -> Answer<()> {
        let mut persons = Vec::new();
        for (one, address) in ready.iter().filter_map(|one| Some((one, one.address?))) {
            let node = one.now.node;
            let sealed = self.log.person(tenant, node).await?;
            let person = sealed.map(|sealed| keys.open_person(node, &sealed)).transpose();
            let mut person: Person = person.map_err(|error| crate::desk::fault(&error))?.unwrap_or_default();
            if person.user.is_none() {
                let why =
                    format!("`{}` does not dial in: its address stands in the network file", one.account);
                return Err(Problem::impossible("address", why).into());
            }
            let address = Some(address.to_string());
            if person.static_address != address {
                person.static_address = address;
                persons.push((node, keys.seal_person(node, &person)));
            }
        }
        if !persons.is_empty() {
            self.log.put_personal(tenant, persons).await?;
        }
        Ok(())
    }

    /// Halts all cutting off of a tenant's subscribers, or lets it go on; the place of what holds now.
    pub(crate) async fn switch_cutting(
        &self,
        tenant: TenantId,
        cutting: Cutting,
        (by, request): (String, EventId),
    ) -> Answer<u64> {
        let said = said(tenant, request, EntitlementSaid { now: Entitlement::Cutting(cutting), by });
        Ok(self.log.publish(said).await?.seq)
    }
}

/// What a subscriber of whom nothing was said yet is to get.
fn nothing(node: NodeId, state: ServiceState) -> Entitled {
    Entitled { node, state, profile: None, rate: None, address: None, password: None, file: None }
}

fn subject(tenant: TenantId, key: &str) -> String {
    let subject = Subject::new(tenant, Noun::Entitlement, key);
    subject.expect("a key of ours holds token characters alone").to_string()
}

fn said(tenant: TenantId, id: EventId, said: EntitlementSaid) -> Outgoing {
    let say = Say { id, tenant, at: crate::now(), cause: None, fact: Fact::Entitlement(said) };
    Outgoing::new(say, crate::SOURCE).traced(kit::telemetry::current_traceparent())
}
