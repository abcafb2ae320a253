//! What the network is: tenant, policy, sites, nodes with what they need, channels, revisions.

use super::{columns, delete, place, place::Place};
use crate::value::{Text, at, endpoint, json, number, small, some_text, text};
use crate::words;
use chrono::{DateTime, Utc};
use events::{
    Channel, ChannelId, ChannelKind, Group, GroupMode, Inventory, Member, Node, NodeId, NodeKind, Policy,
    Probe, Revision, RevisionSource, Site, SiteId, Tenant,
};
use kit::projection::Told;
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A thing as it stands, and the message that says so; none when it was removed.
type Last<'a, K, V> = BTreeMap<K, Option<(&'a Told, &'a V)>>;

#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    tenant: Option<(&'a Told, &'a Tenant)>,
    policy: Option<(&'a Told, &'a Policy)>,
    sites: Last<'a, SiteId, Site>,
    nodes: Last<'a, NodeId, Node>,
    channels: Last<'a, ChannelId, Channel>,
    revisions: BTreeMap<u64, (&'a Told, &'a Revision)>,
}

columns! {
    Sites<'a> {
        id: Uuid, file_id: Text<'a>, name: Text<'a>, address: Option<Text<'a>>,
        latitude_udeg: Option<i32>, longitude_udeg: Option<i32>, seq: i64,
    }
    "insert into site (tenant, id, file_id, name, address, latitude_udeg, longitude_udeg, seq)
     select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::bigint[])
     on conflict (tenant, id) do update set file_id = excluded.file_id, name = excluded.name,
         address = excluded.address, latitude_udeg = excluded.latitude_udeg,
         longitude_udeg = excluded.longitude_udeg, seq = excluded.seq"
}

columns! {
    Nodes<'a> {
        id: Uuid, file_id: Text<'a>, name: Text<'a>, kind: &'static str, class: Option<&'static str>,
        tier: &'static str, site: Option<Uuid>, address: Option<String>, seen_by: Option<Uuid>,
        probe: Option<&'static str>, probe_port: Option<i32>, probe_every_seconds: Option<i64>,
        login_port: Option<i32>, login_tls: Option<bool>, plan: Option<Text<'a>>,
        owner_account: Option<Text<'a>>, owner_ticket_url: Option<Text<'a>>, maintenance: Value, seq: i64,
        origin: &'static str, login_certificate: Option<String>, watch_slot: Option<i32>,
    }
    "insert into node (tenant, id, file_id, name, kind, class, tier, site, address, seen_by, probe, probe_port,
         probe_every_seconds, login_port, login_tls, plan, owner_account, owner_ticket_url, maintenance, seq, origin,
         login_certificate, watch_slot)
     select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
         $9::text[], $10::uuid[], $11::text[], $12::int[], $13::bigint[], $14::int[], $15::bool[], $16::text[],
         $17::text[], $18::text[], $19::jsonb[], $20::bigint[], $21::text[], $22::text[],
         $23::int[])
     on conflict (tenant, id) do update set file_id = excluded.file_id, name = excluded.name,
         kind = excluded.kind, class = excluded.class, tier = excluded.tier, site = excluded.site,
         address = excluded.address, seen_by = excluded.seen_by, probe = excluded.probe,
         probe_port = excluded.probe_port, probe_every_seconds = excluded.probe_every_seconds,
         login_port = excluded.login_port, login_tls = excluded.login_tls, plan = excluded.plan,
         owner_account = excluded.owner_account, owner_ticket_url = excluded.owner_ticket_url,
         maintenance = excluded.maintenance, seq = excluded.seq, origin = excluded.origin,
         login_certificate = excluded.login_certificate, watch_slot = excluded.watch_slot"
}

columns! {
    Claims {
        node: Uuid, claim: Uuid, seq: i64,
    }
    "insert into node_claim (tenant, node, claim, seq)
     select $1, * from unnest($2::uuid[], $3::uuid[], $4::bigint[])
     on conflict (tenant, node, claim) do nothing"
}

columns! {
    Groups {
        node: Uuid, number: i32, parent: Option<i32>, mode: &'static str, k: Option<i32>, seq: i64,
    }
    "insert into dependency_group (tenant, node, number, parent, mode, k, seq)
     select $1, * from unnest($2::uuid[], $3::int[], $4::int[], $5::text[], $6::int[], $7::bigint[])"
}

columns! {
    Members {
        node: Uuid, group_number: i32, ordinal: i32, member: Option<Uuid>, member_group: Option<i32>, seq: i64,
    }
    "insert into dependency_member (tenant, node, group_number, ordinal, member, member_group, seq)
     select $1, * from unnest($2::uuid[], $3::int[], $4::int[], $5::uuid[], $6::int[], $7::bigint[])"
}

columns! {
    Channels<'a> {
        id: Uuid, name: Text<'a>, audience: &'static str, via: &'static str, endpoint: String,
        recipients: Value, seq: i64,
    }
    "insert into channel (tenant, id, name, audience, via, endpoint, recipients, seq)
     select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::bigint[])
     on conflict (tenant, id) do update set name = excluded.name, audience = excluded.audience,
         via = excluded.via, endpoint = excluded.endpoint, recipients = excluded.recipients, seq = excluded.seq"
}

columns! {
    Revisions<'a> {
        number: i64, made_from: &'static str, count: i64, digest: Option<Text<'a>>,
        file_digest: Option<Text<'a>>, made_by: Text<'a>, made_at: DateTime<Utc>, seq: i64,
    }
    "insert into revision (tenant, number, made_from, count, digest, file_digest, made_by, made_at, seq)
     select $1, * from unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
         $8::timestamptz[], $9::bigint[])
     on conflict (tenant, number) do update set made_from = excluded.made_from, count = excluded.count,
         digest = excluded.digest, file_digest = excluded.file_digest, made_by = excluded.made_by,
         made_at = excluded.made_at, seq = excluded.seq"
}

const TENANT: &str = "insert into tenant (tenant, slug, name, seq) values ($1, $2, $3, $4)
    on conflict (tenant) do update set slug = excluded.slug, name = excluded.name, seq = excluded.seq";
const POLICY: &str = "insert into policy (tenant, resolve_hold_ms, recover_hold_ms, blind_after_boot_ms,
        escalate_after_ms, walks_per_hour, seq) values ($1, $2, $3, $4, $5, $6, $7)
    on conflict (tenant) do update set resolve_hold_ms = excluded.resolve_hold_ms,
        recover_hold_ms = excluded.recover_hold_ms, blind_after_boot_ms = excluded.blind_after_boot_ms,
        escalate_after_ms = excluded.escalate_after_ms, walks_per_hour = excluded.walks_per_hour,
        seq = excluded.seq";
const NO_SITE: &str = "delete from site where tenant = $1 and id = any($2)";
const NO_CHANNEL: &str = "delete from channel where tenant = $1 and id = any($2)";
const NO_NODE: &str = "delete from node where tenant = $1 and id = any($2)";
const NO_CLAIMS: &str = "delete from node_claim where tenant = $1 and node = any($2)";
const NO_GROUPS: &str = "delete from dependency_group where tenant = $1 and node = any($2)";
const NO_MEMBERS: &str = "delete from dependency_member where tenant = $1 and node = any($2)";

pub(super) const STATEMENTS: &[&str] = &[
    TENANT,
    POLICY,
    Sites::SQL,
    Nodes::SQL,
    Claims::SQL,
    Groups::SQL,
    Members::SQL,
    Channels::SQL,
    Revisions::SQL,
    NO_SITE,
    NO_CHANNEL,
    NO_NODE,
    NO_CLAIMS,
    NO_GROUPS,
    NO_MEMBERS,
];

/// The ids of what was removed.
fn removed<K: Copy, V>(last: &Last<'_, K, V>, id: impl Fn(K) -> Uuid) -> Vec<Uuid> {
    last.iter().filter(|(_, thing)| thing.is_none()).map(|(k, _)| id(*k)).collect()
}

impl<'a> Rows<'a> {
    pub(super) fn take(&mut self, told: &'a Told, thing: &'a Inventory) {
        match thing {
            Inventory::Tenant(tenant) => self.tenant = Some((told, tenant)),
            Inventory::Policy(policy) => self.policy = Some((told, policy)),
            Inventory::Site(site) => {
                self.sites.insert(site.id, Some((told, site)));
            }
            Inventory::Node(node) => {
                self.nodes.insert(node.id, Some((told, node)));
            }
            Inventory::Channel(channel) => {
                self.channels.insert(channel.id, Some((told, channel)));
            }
            Inventory::SiteRemoved { id } => {
                self.sites.insert(*id, None);
            }
            Inventory::NodeRemoved { id } => {
                self.nodes.insert(*id, None);
            }
            Inventory::ChannelRemoved { id } => {
                self.channels.insert(*id, None);
            }
        }
    }

    pub(super) fn revise(&mut self, told: &'a Told, revision: &'a Revision) {
        self.revisions.insert(revision.number, (told, revision));
    }

    /// Writes them, and gives the nodes that came, went, or may be elsewhere now.
    pub(super) async fn write(self, tenant: Uuid, tx: &mut PgConnection) -> sqlx::Result<BTreeSet<Uuid>> {
        if let Some((told, now)) = self.tenant {
            let row = sqlx::query(TENANT).bind(tenant).bind(text(&now.slug)).bind(text(&now.name));
            row.bind(number(told.heard.seq)).execute(&mut *tx).await?;
        }
        if let Some((told, now)) = self.policy {
            let mut row = sqlx::query(POLICY).bind(tenant);
            for n in [
                now.resolve_hold_ms,
                now.recover_hold_ms,
                now.blind_after_boot_ms,
                now.escalate_after_ms,
                now.walks_per_hour,
            ] {
                row = row.bind(i64::from(n));
            }
            row.bind(number(told.heard.seq)).execute(&mut *tx).await?;
        }
        delete(NO_SITE, tenant, &removed(&self.sites, |id| id.0), tx).await?;
        sites(&self.sites).write(tenant, tx).await?;
        delete(NO_CHANNEL, tenant, &removed(&self.channels, |id| id.0), tx).await?;
        channels(&self.channels).write(tenant, tx).await?;
        revisions(&self.revisions).write(tenant, tx).await?;
        write_nodes(&self.nodes, tenant, tx).await
    }
}

fn sites<'a>(last: &Last<'a, SiteId, Site>) -> Sites<'a> {
    let mut rows = Sites::default();
    for (told, site) in last.values().copied().flatten() {
        rows.id.push(site.id.0);
        rows.file_id.push(text(&site.file_id));
        rows.name.push(text(&site.name));
        rows.address.push(some_text(site.address.as_ref()));
        rows.latitude_udeg.push(site.latitude_udeg);
        rows.longitude_udeg.push(site.longitude_udeg);
        rows.seq.push(number(told.heard.seq));
    }
    rows
}

fn channels<'a>(last: &Last<'a, ChannelId, Channel>) -> Channels<'a> {
    let mut rows = Channels::default();
    for (told, channel) in last.values().copied().flatten() {
        let (address, recipients) = match &channel.kind {
            ChannelKind::Webhook { url, .. } => (url, json(&[(); 0])),
            ChannelKind::Email { server, to, .. } => (server, json(to)),
        };
        rows.id.push(channel.id.0);
        rows.name.push(text(&channel.name));
        rows.audience.push(channel.audience.name());
        rows.via.push(words::via(&channel.kind));
        rows.endpoint.push(endpoint(address));
        rows.recipients.push(recipients);
        rows.seq.push(number(told.heard.seq));
    }
    rows
}

fn revisions<'a>(last: &BTreeMap<u64, (&'a Told, &'a Revision)>) -> Revisions<'a> {
    let mut rows = Revisions::default();
    for (told, revision) in last.values() {
        let (made_from, count, digest) = match &revision.source {
            RevisionSource::Commit { count } => ("commit", count, None),
            RevisionSource::Parts { digest, count } => ("parts", count, Some(text(digest))),
        };
        rows.number.push(number(revision.number));
        rows.made_from.push(made_from);
        rows.count.push(i64::from(*count));
        rows.digest.push(digest);
        rows.file_digest.push(some_text(revision.file_digest.as_ref()));
        rows.made_by.push(text(&revision.by));
        rows.made_at.push(at(told.heard.heard));
        rows.seq.push(number(told.heard.seq));
    }
    rows
}

/// A node's row, and everything that hangs on it, which is replaced as a whole.
async fn write_nodes(
    last: &Last<'_, NodeId, Node>,
    tenant: Uuid,
    tx: &mut PgConnection,
) -> sqlx::Result<BTreeSet<Uuid>> {
    let all: Vec<Uuid> = last.keys().map(|id| id.0).collect();
    let before = place::written(tenant, &all, tx).await?;
    let is_moved = |(id, now): (&NodeId, &Option<(&Told, &Node)>)| {
        let now = now.map(|(_, node)| Place::of(node));
        (before.get(&id.0) != now.as_ref()).then_some(id.0)
    };
    let moved = last.iter().filter_map(is_moved).collect();
    for clearing in [NO_CLAIMS, NO_GROUPS, NO_MEMBERS] {
        delete(clearing, tenant, &all, tx).await?;
    }
    delete(NO_NODE, tenant, &removed(last, |id| id.0), tx).await?;
    let (mut nodes, mut claims) = (Nodes::default(), Claims::default());
    let (mut groups, mut members) = (Groups::default(), Members::default());
    for (told, node) in last.values().copied().flatten() {
        node_row(&mut nodes, told, node);
        for claim in &node.claims {
            claims.node.push(node.id.0);
            claims.claim.push(claim.0);
            claims.seq.push(number(told.heard.seq));
        }
        let mut next = 0;
        for group in &node.needs {
            group_rows(&mut groups, &mut members, (told, node.id), &mut next, None, group);
        }
    }
    nodes.write(tenant, tx).await?;
    claims.write(tenant, tx).await?;
    groups.write(tenant, tx).await?;
    members.write(tenant, tx).await?;
    Ok(moved)
}

fn node_row<'a>(rows: &mut Nodes<'a>, told: &Told, node: &'a Node) {
    let class = match node.kind {
        NodeKind::Device { class } => Some(words::class(class)),
        NodeKind::Link | NodeKind::Subscriber | NodeKind::Service | NodeKind::Upstream => None,
    };
    let port = node.watch.and_then(|w| match w.probe {
        Probe::Tcp { port } => Some(i32::from(port)),
        Probe::Icmp | Probe::RouterOs => None,
    });
    let owner = node.owner.as_ref();
    rows.id.push(node.id.0);
    rows.file_id.push(text(&node.file_id));
    rows.name.push(text(&node.name));
    rows.kind.push(words::kind(node.kind));
    rows.class.push(class);
    rows.tier.push(words::tier(node.tier));
    rows.site.push(node.site.map(|s| s.0));
    rows.address.push(node.address.map(|a| a.to_string()));
    rows.seen_by.push(node.seen_by.map(|n| n.0));
    rows.probe.push(node.watch.map(|w| words::probe(w.probe)));
    rows.probe_port.push(port);
    rows.probe_every_seconds.push(node.watch.map(|w| i64::from(w.every_s)));
    rows.login_port.push(node.login.as_ref().map(|l| i32::from(l.port)));
    rows.login_tls.push(node.login.as_ref().map(|l| l.tls));
    rows.login_certificate.push(node.login.as_ref().and_then(|l| l.certificate).map(|c| c.to_string()));
    rows.watch_slot.push(node.watch.map(|_| i32::from(events::slot_of(node.id))));
    rows.plan.push(some_text(node.plan.as_ref()));
    rows.owner_account.push(owner.map(|o| text(&o.account)));
    rows.owner_ticket_url.push(owner.and_then(|o| some_text(o.ticket_url.as_ref())));
    rows.maintenance.push(json(&node.maintenance));
    rows.origin.push(node.origin.name());
    rows.seq.push(number(told.heard.seq));
}

/// A group, its members, and the groups among them: numbered from the outside in.
fn group_rows(
    groups: &mut Groups,
    members: &mut Members,
    of: (&Told, NodeId),
    next: &mut usize,
    parent: Option<i32>,
    group: &Group,
) {
    let (number_here, seq) = (small(*next), number(of.0.heard.seq));
    *next += 1;
    groups.node.push(of.1.0);
    groups.number.push(number_here);
    groups.parent.push(parent);
    groups.mode.push(words::mode(group.mode));
    groups.k.push(match group.mode {
        GroupMode::KOfN { k } => Some(i32::from(k)),
        GroupMode::Any | GroupMode::All => None,
    });
    groups.seq.push(seq);
    for (ordinal, member) in group.members.iter().enumerate() {
        let (node, inner) = match member {
            Member::Node(id) => (Some(id.0), None),
            Member::Group(_) => (None, Some(small(*next))),
        };
        members.node.push(of.1.0);
        members.group_number.push(number_here);
        members.ordinal.push(small(ordinal));
        members.member.push(node);
        members.member_group.push(inner);
        members.seq.push(seq);
        if let Member::Group(inner) = member {
            group_rows(groups, members, of, next, Some(number_here), inner);
        }
    }
}
