//! A device that was seen comes into the inventory, or is said no to.
//!
//! Adding is one commit: the node with its parent, what becomes of the sighting, the order that says who did it, the
//! order to the router to watch it, and the revision. So whoever is killed on the way leaves nothing or all of it. The
//! sighting's own fence is the revision: while somebody else changes the inventory it is begun again.

use crate::{
    desk::{Answer, Desk, Refusal, Within},
    import::{Change, ImportError},
    laid::{Key, Laid, members_of},
};
use domain::scout::{Seen, is_watchable};
use events::{
    Above, DeviceClass, EventId, Fact, Group, GroupMode, Inventory, Member, Node, NodeId, NodeKind, Noun,
    Order, OrderId, OrderSaid, Origin, Say, SeenDevice, Sighting, SightingId, SightingState, Subject, Tier,
};
use kit::{Outgoing, PublishError, http::Problem};
use std::{collections::BTreeSet, sync::Arc};
use vault::{Field, TenantKeys};

/// How often it is begun again because somebody else changed the inventory meanwhile.
const ATTEMPTS: u32 = 4;
/// The longest id. Source: the network file's.
const ID_MAX: usize = 64;

/// What a person wants otherwise than it is proposed. What is absent is as proposed.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// The id it gets, as in a network file.
    pub(crate) id: Option<String>,
    /// What people read.
    pub(crate) name: Option<String>,
    /// The id of what it hangs on.
    pub(crate) parent: Option<String>,
    /// What kind of box it is.
    pub(crate) class: Option<DeviceClass>,
    /// How far up it stands.
    pub(crate) tier: Option<Tier>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Adopted {
    pub(crate) node: NodeId,
    pub(crate) file_id: String,
    /// The router that watches it, and whether it may be changed.
    pub(crate) watched_by: Option<(NodeId, bool)>,
    /// The place of the order to that router, else of the word of the sighting.
    pub(crate) seq: u64,
}

/// A device as it was last said, and where.
pub(crate) struct Last {
    pub(crate) device: SeenDevice,
    seq: u64,
}

/// What was last said of a device. The log is asked, not the read models.
pub(crate) async fn last(desk: &Desk, within: &Within, id: SightingId) -> Answer<Last> {
    let raw = desk.log.last(&subject(within, id)).await?;
    let none = || Problem::not_found("no such device was seen");
    let said = raw.ok_or_else(none)?.decode().map_err(|_| none())?;
    match said.fact {
        Fact::Sighting(Sighting::Device(device)) => Ok(Last { device, seq: said.seq }),
        _ => Err(none().into()),
    }
}

fn subject(within: &Within, id: SightingId) -> String {
    let subject = Subject::new(within.tenant, Noun::Sighting, Sighting::device_key(id));
    subject.expect("a key of ours holds token characters alone").to_string()
}

/// What a device is called and where it answers; none when it does not open.
pub(crate) fn opened(keys: &TenantKeys, id: SightingId, sealed: &events::Sealed) -> Option<Seen> {
    serde_json::from_slice(&keys.open(Field::Sighting(id), sealed).ok()?).ok()
}

/// Whether what such a box is called may be a customer's name.
pub(crate) fn may_be_a_customers(class: DeviceClass) -> bool {
    match class {
        DeviceClass::Station | DeviceClass::Other => true,
        DeviceClass::Router
        | DeviceClass::Switch
        | DeviceClass::SectorAp
        | DeviceClass::Backhaul
        | DeviceClass::Server => false,
    }
}

/// The keys of the tenant.
pub(crate) async fn keys(desk: &Desk, within: &Within) -> Answer<TenantKeys> {
    let keys = desk.register.keys(within.tenant).await?;
    Ok(keys.ok_or_else(|| Problem::not_found("there is no such tenant"))?)
}

/// Adds a device, or moves it where it is seen.
pub(crate) async fn add(
    desk: &Desk,
    within: &Within,
    id: SightingId,
    wishes: &Wishes,
    (by, request): (&str, EventId),
) -> Answer<Adopted> {
    for _ in 0..ATTEMPTS {
        match attempt(desk, within, id, wishes, (by, request)).await {
            Err(Failed::Contended) => {}
            Err(Failed::Refused(refusal)) => return Err(refusal),
            Ok(adopted) => return Ok(adopted),
        }
    }
    Err(Problem::conflict("the inventory changed all the time meanwhile: try again").into())
}

/// Why one attempt failed.
enum Failed {
    /// Somebody else changed the inventory meanwhile.
    Contended,
    Refused(Refusal),
}

impl<T: Into<Refusal>> From<T> for Failed {
    fn from(error: T) -> Self {
        Failed::Refused(error.into())
    }
}

async fn attempt(
    desk: &Desk,
    within: &Within,
    id: SightingId,
    wishes: &Wishes,
    (by, request): (&str, EventId),
) -> Result<Adopted, Failed> {
    let laid = desk.inventories.now(within.tenant).await?;
    let Last { device, .. } = last(desk, within, id).await?;
    let seen = opened(&keys(desk, within).await?, id, &device.seen);
    let seen = seen.ok_or_else(|| Problem::impossible("sealed", "what was seen of it does not open"))?;
    let parent = parent(desk, within, &laid, &device, wishes).await?;
    let node = match device.state {
        SightingState::Proposed | SightingState::Rejected => {
            fresh(within, &laid, &device, &seen, &parent, wishes)?
        }
        SightingState::Moved => moved(desk, &laid, &device, &parent).await?,
        SightingState::Known => {
            let called = match device.node {
                Some(id) => desk.inventories.node(&laid, id).await?.map(|node| node.file_id.clone()),
                None => None,
            };
            let called = called.unwrap_or_default();
            return Err(Problem::conflict(format!("it is in the inventory already, as `{called}`")).into());
        }
        SightingState::Gone => return Err(Problem::conflict("no router sees it any more: scan again").into()),
    };
    let watch = watcher(desk, &laid, &device, &parent).await?;
    let watched_by = watch
        .filter(|_| is_watchable(&seen))
        .map(|router| (router.id, router.login.as_ref().is_some_and(|login| login.manage)));
    let node = Node { seen_by: watched_by.map(|(router, _)| router).or(node.seen_by), ..node };
    let spots = device.spots.iter().cloned().map(|spot| events::Spot { was: None, ..spot }).collect();
    let now = SeenDevice {
        state: SightingState::Known,
        since: crate::now(),
        class: class_of(&node).unwrap_or(device.class),
        tier: node.tier,
        parent: Some(Above::Node { id: parent.id }),
        node: Some(node.id),
        spots,
        ..device
    };
    let say = |what: &str, fact| {
        let event = EventId::following(request, crate::SOURCE, what);
        let say = Say { id: event, tenant: within.tenant, at: crate::now(), cause: Some(request), fact };
        Outgoing::new(say, crate::SOURCE)
    };
    let order = |id: OrderId, order| Fact::Order(OrderSaid { id, order, by: by.to_owned() });
    let decided = order(OrderId::of(request), Order::AddSighting { sighting: id, node: node.id });
    let mut beside = vec![say("decided", decided), say("added", Fact::Sighting(Sighting::Device(now)))];
    if let Some((router, is_managed)) = watched_by {
        let watch = if is_managed { Order::Repair { router } } else { Order::DrawPlan { router } };
        let id = EventId::following(request, crate::SOURCE, "watch");
        beside.push(say("watch", order(OrderId::of(id), watch)));
    }
    let change = Change::by_hand(within.tenant, &laid, by);
    let (node_id, file_id) = (node.id, node.file_id.clone());
    let things = vec![Inventory::Node(Arc::new(node))];
    drop(laid);
    let places = desk.importer.change(&change, things, vec![], beside).await.map_err(contended)?;
    let seq = places.last().copied().unwrap_or_default();
    Ok(Adopted { node: node_id, file_id, watched_by, seq })
}

fn contended(error: ImportError) -> Failed {
    match error {
        ImportError::Publish(PublishError::Conflict { .. }) => Failed::Contended,
        other => Failed::Refused(other.into()),
    }
}

fn class_of(node: &Node) -> Option<DeviceClass> {
    match node.kind {
        NodeKind::Device { class } => Some(class),
        NodeKind::Link | NodeKind::Subscriber | NodeKind::Service | NodeKind::Upstream => None,
    }
}

/// What it is put below.
async fn parent(
    desk: &Desk,
    within: &Within,
    laid: &Laid,
    device: &SeenDevice,
    wishes: &Wishes,
) -> Answer<Arc<Node>> {
    if let Some(called) = &wishes.parent {
        let found = desk.node_called(within.tenant, laid, called).await?;
        return Ok(found.ok_or_else(|| Problem::impossible("parent", format!("there is no `{called}`")))?);
    }
    let found = match device.parent {
        Some(Above::Node { id }) => desk.inventories.node(laid, id).await?,
        Some(Above::Sighting { id }) => {
            let above = last(desk, within, id).await?.device;
            let found = match above.node {
                Some(id) => desk.inventories.node(laid, id).await?,
                None => None,
            };
            if found.is_none() {
                let why = format!(
                    "it hangs on another device that is not in the inventory yet: add {id} first, or name a `parent`"
                );
                return Err(Problem::impossible("parent_first", why).into());
            }
            found
        }
        None => None,
    };
    Ok(found.ok_or_else(|| Problem::impossible("parent", "nothing is known above it: name a `parent`"))?)
}

/// The router that is to watch it: what it hangs on, or the lowest that sees it and can be logged in to.
async fn watcher(
    desk: &Desk,
    laid: &Laid,
    device: &SeenDevice,
    parent: &Arc<Node>,
) -> Answer<Option<Arc<Node>>> {
    if parent.login.is_some() {
        return Ok(Some(Arc::clone(parent)));
    }
    let mut found: Option<Arc<Node>> = None;
    for spot in &device.spots {
        let Some(router) = desk.inventories.node(laid, spot.router).await? else { continue };
        let is_nearer =
            parent.seen_by == Some(router.id) || found.as_ref().is_none_or(|best| best.tier < router.tier);
        if router.login.is_some() && is_nearer {
            found = Some(router);
        }
    }
    Ok(found)
}

/// The node that a proposed device becomes.
fn fresh(
    within: &Within,
    laid: &Laid,
    device: &SeenDevice,
    seen: &Seen,
    parent: &Node,
    wishes: &Wishes,
) -> Answer<Node> {
    let class = wishes.class.unwrap_or(device.class);
    let is_free = |file_id: &str| !laid.things.contains_key(&Key::Node(NodeId::of(within.tenant, file_id)));
    let file_id = match &wishes.id {
        Some(file_id) => checked_id(file_id)?,
        None => proposed_id(device, seen, class, is_free),
    };
    if !is_free(&file_id) {
        return Err(Problem::conflict(format!("`{file_id}` is in the inventory already")).into());
    }
    let id = NodeId::of(within.tenant, &file_id);
    let name = wishes.name.clone().unwrap_or_else(|| file_id.clone());
    let tier = wishes.tier.unwrap_or(device.tier).max(parent.tier);
    Ok(Node {
        name,
        needs: vec![below(parent.id)],
        address: seen.address.filter(|_| is_watchable(seen)),
        origin: Origin::Scout,
        ..Node::bare(id, file_id, NodeKind::Device { class }, tier)
    })
}

/// The node that moved, where it is seen now. Where the file says where it hangs only a person can say otherwise, there.
async fn moved(desk: &Desk, laid: &Laid, device: &SeenDevice, parent: &Node) -> Answer<Node> {
    let found = match device.node {
        Some(id) => desk.inventories.node(laid, id).await?,
        None => None,
    };
    let found = found.ok_or_else(|| Problem::conflict("it is not in the inventory any more: scan again"))?;
    let needs = vec![below(parent.id)];
    if found.needs != needs && found.origin.is_file() {
        let why = format!(
            "the network file says where `{}` hangs: write `parent: {}` there and import, or reject this",
            found.file_id, parent.file_id
        );
        return Err(Problem::impossible("file", why).into());
    }
    if hangs_below(desk, laid, parent, found.id).await? {
        return Err(
            Problem::conflict(format!("`{}` hangs on it: nothing hangs on itself", parent.file_id)).into()
        );
    }
    Ok(Node { needs, ..(*found).clone() })
}

/// Whether `above` is on the way up of `node`, or is it.
async fn hangs_below(desk: &Desk, laid: &Laid, node: &Node, above: NodeId) -> Answer<bool> {
    let mut seen = BTreeSet::from([node.id]);
    let mut open = vec![node.needs.clone()];
    while let Some(needs) = open.pop() {
        let mut next = Vec::new();
        needs.iter().for_each(|group| members_of(group, &mut |member| next.push(member)));
        for id in next {
            if seen.insert(id)
                && let Some(found) = desk.inventories.node(laid, id).await?
            {
                open.push(found.needs.clone());
            }
        }
    }
    Ok(seen.contains(&above))
}

/// What hangs on `parent` alone needs.
pub(crate) fn below(parent: NodeId) -> Group {
    Group { mode: GroupMode::All, members: vec![Member::Node(parent)] }
}

/// An id as a network file may have it.
pub(crate) fn checked_id(id: &str) -> Answer<String> {
    let fits = id.len() <= ID_MAX
        && id.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':'));
    if !fits {
        let why =
            "an id is up to 64 letters, digits and `.`, `_`, `-`, `:`, and begins with a letter or digit";
        return Err(Problem::impossible("id", why).into());
    }
    Ok(id.to_owned())
}

/// The id of a device to which nobody gives one: what it is called, if that is no person's name and free.
fn proposed_id(
    device: &SeenDevice,
    seen: &Seen,
    class: DeviceClass,
    is_free: impl Fn(&str) -> bool,
) -> String {
    let mut slug = String::new();
    for c in seen.name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug: String = slug.trim_end_matches('-').chars().take(ID_MAX).collect();
    let is_default = matches!(slug.as_str(), "" | "mikrotik" | "ubnt" | "localhost");
    if !may_be_a_customers(class) && !is_default && is_free(&slug) {
        return slug;
    }
    let kind = match class {
        DeviceClass::Router => "router",
        DeviceClass::Switch => "switch",
        DeviceClass::SectorAp => "sector",
        DeviceClass::Backhaul => "backhaul",
        DeviceClass::Station => "station",
        DeviceClass::Server => "server",
        DeviceClass::Other => "device",
    };
    let id = device.id.to_string();
    format!("{kind}-{}", id.get(..8).unwrap_or(&id))
}

/// Says no to a device that is proposed or has moved.
pub(crate) async fn reject(
    desk: &Desk,
    within: &Within,
    id: SightingId,
    (by, request): (String, EventId),
) -> Answer<u64> {
    let Last { device, seq } = last(desk, within, id).await?;
    match device.state {
        SightingState::Proposed | SightingState::Moved => {}
        SightingState::Rejected => return Ok(seq),
        SightingState::Known => {
            return Err(Problem::conflict("it is in the inventory, and in its place").into());
        }
        SightingState::Gone => return Err(Problem::conflict("no router sees it any more").into()),
    }
    let now = SeenDevice { state: SightingState::Rejected, since: crate::now(), ..device };
    let order = OrderSaid { id: OrderId::of(request), order: Order::RejectSighting { sighting: id }, by };
    let say = |what: &str, fact| {
        let event = EventId::following(request, crate::SOURCE, what);
        let say = Say { id: event, tenant: within.tenant, at: crate::now(), cause: Some(request), fact };
        Outgoing::new(say, crate::SOURCE)
    };
    let outs =
        vec![say("decided", Fact::Order(order)), say("rejected", Fact::Sighting(Sighting::Device(now)))];
    let stored = desk.log.commit(outs, Some((&subject(within, id), seq))).await?;
    Ok(stored.last().map_or(seq, |stored| stored.seq))
}
