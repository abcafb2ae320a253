//! What the network is: sites, nodes and what each needs.

use super::{Read, ReadModels, uuids};
use chrono::{DateTime, Utc};
use events::{NodeId, TenantId};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// A physical place.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct SiteRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// What people say on the phone.
    pub(crate) name: String,
    /// Where a technician drives to.
    pub(crate) address: Option<String>,
    /// Microdegrees north.
    pub(crate) latitude_udeg: Option<i32>,
    /// Microdegrees east.
    pub(crate) longitude_udeg: Option<i32>,
    /// Nodes that are there, by their own word or by that of what they need.
    pub(crate) node_count: i64,
}

/// Anything in the dependency graph, and what is believed of it.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct NodeRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// What people read.
    pub(crate) name: String,
    /// device, link, subscriber, service or upstream.
    pub(crate) kind: String,
    /// Of a device: router, switch, sector_ap, backhaul, station, server or other.
    pub(crate) class: Option<String>,
    /// core, site, sector, station or subscriber.
    pub(crate) tier: String,
    /// Where it is.
    pub(crate) site: Option<Uuid>,
    /// What people call that place.
    pub(crate) site_name: Option<String>,
    /// Whether it is there because something it needs is: it names no site itself.
    pub(crate) site_inherited: bool,
    /// Where it answers.
    pub(crate) address: Option<String>,
    /// The router that sees it.
    pub(crate) seen_by: Option<Uuid>,
    /// How the server itself watches it.
    pub(crate) probe: Option<String>,
    /// How often, seconds.
    pub(crate) probe_every_seconds: Option<i64>,
    /// The certificate that a router's API must show, if one is pinned.
    pub(crate) login_certificate: Option<String>,
    /// The plan a subscriber pays for.
    pub(crate) plan: Option<String>,
    /// The account of whose it is.
    pub(crate) owner_account: Option<String>,
    /// Where the owner's ticket is.
    pub(crate) owner_ticket_url: Option<String>,
    /// When it may be down quietly.
    #[schema(value_type = Vec<Object>)]
    pub(crate) maintenance: Value,
    /// What is believed of it: up, down, impacted, degraded or unknown.
    pub(crate) health: String,
    /// Whether nothing is known of it because the point of presence that watches it is blind.
    pub(crate) is_unwatched: bool,
    /// Since when.
    pub(crate) since: Option<DateTime<Utc>>,
}

/// One member of a group: a node, or another group of the same node.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct GroupMember {
    /// The node.
    pub(crate) node: Option<Uuid>,
    /// Its id in the network file.
    pub(crate) file_id: Option<String>,
    /// Its name.
    pub(crate) name: Option<String>,
    /// The number of the group.
    pub(crate) group: Option<i32>,
}

/// What a node needs: all of its groups that have no parent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct GroupRow {
    /// Which group of that node, from 0.
    pub(crate) number: i32,
    /// The group that it is a member of.
    pub(crate) parent: Option<i32>,
    /// any, all or k_of_n.
    pub(crate) mode: String,
    /// How many, of k_of_n.
    pub(crate) k: Option<i32>,
    /// Who can supply.
    pub(crate) members: Vec<GroupMember>,
}

#[derive(FromRow)]
struct MemberRow {
    number: i32,
    parent: Option<i32>,
    mode: String,
    k: Option<i32>,
    member: Option<Uuid>,
    member_group: Option<i32>,
    file_id: Option<String>,
    name: Option<String>,
}

/// One node with what it needs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NodeDetail {
    /// The node.
    #[serde(flatten)]
    pub(crate) node: NodeRow,
    /// What it needs.
    pub(crate) groups: Vec<GroupRow>,
    /// Subscribers that have it on their way up.
    pub(crate) subscribers_below: i64,
}

/// Which nodes are listed. What is absent does not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFilter {
    pub(crate) tier: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) site: Option<Uuid>,
    pub(crate) text: Option<String>,
    pub(crate) after: Option<Uuid>,
    pub(crate) limit: i64,
}

/// The nodes that the rest of the statement chooses.
macro_rules! nodes {
    ($which:literal) => {
        concat!(
            "SELECT n.id, n.file_id, n.name, n.kind, n.class, n.tier, n.at_site AS site, s.name AS site_name,
                    n.site IS NULL AND n.at_site IS NOT NULL AS site_inherited, n.address,
                    n.seen_by, n.probe, n.probe_every_seconds, n.login_certificate, n.plan, n.owner_account, n.owner_ticket_url,
                    n.maintenance, coalesce(h.health, 'unknown') AS health,
                    coalesce('unwatched' = ANY (h.flags), false) AS is_unwatched, h.since
             FROM node n
             LEFT JOIN site s ON s.tenant = n.tenant AND s.id = n.at_site
             LEFT JOIN health_now h ON h.tenant = n.tenant AND h.node = n.id
             ",
            $which
        )
    };
}

impl ReadModels {
    pub(crate) async fn sites(
        &self,
        tenant: TenantId,
        text: Option<String>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<SiteRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "SELECT s.id, s.file_id, s.name, s.address, s.latitude_udeg, s.longitude_udeg,
                    (SELECT count(*) FROM node n WHERE n.tenant = s.tenant AND n.at_site = s.id) AS node_count
             FROM site s
             WHERE s.tenant = $1
               AND ($2::text IS NULL OR strpos(lower(s.name), lower($2)) > 0
                    OR strpos(lower(s.file_id), lower($2)) > 0)
               AND ($3::uuid IS NULL OR s.id > $3)
             ORDER BY s.id LIMIT $4",
        );
        Ok(rows.bind(tenant.0).bind(text).bind(after).bind(limit).fetch_all(&mut *tx).await?)
    }

    pub(crate) async fn nodes(&self, tenant: TenantId, filter: NodeFilter) -> Read<Vec<NodeRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(nodes!(
            "WHERE n.tenant = $1
               AND ($2::text IS NULL OR n.tier = $2)
               AND ($3::text IS NULL OR n.kind = $3)
               AND ($4::uuid IS NULL OR n.at_site = $4)
               AND ($5::text IS NULL OR strpos(lower(n.name), lower($5)) > 0
                    OR strpos(lower(n.file_id), lower($5)) > 0)
               AND ($6::uuid IS NULL OR n.id > $6)
             ORDER BY n.id LIMIT $7"
        ));
        let rows = rows.bind(tenant.0).bind(filter.tier).bind(filter.kind).bind(filter.site);
        Ok(rows.bind(filter.text).bind(filter.after).bind(filter.limit).fetch_all(&mut *tx).await?)
    }

    /// The first of `ids` that there is.
    pub(crate) async fn node(&self, tenant: TenantId, ids: &[NodeId]) -> Read<Option<NodeDetail>> {
        let mut tx = self.of(tenant).await?;
        let node: Option<NodeRow> = sqlx::query_as(nodes!(
            "WHERE n.tenant = $1 AND n.id = ANY ($2)
             ORDER BY array_position($2, n.id) LIMIT 1"
        ))
        .bind(tenant.0)
        .bind(uuids(ids))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(node) = node else { return Ok(None) };
        let members: Vec<MemberRow> = sqlx::query_as(
            "SELECT g.number, g.parent, g.mode, g.k, m.member, m.member_group, n.file_id, n.name
             FROM dependency_group g
             LEFT JOIN dependency_member m
                    ON m.tenant = g.tenant AND m.node = g.node AND m.group_number = g.number
             LEFT JOIN node n ON n.tenant = m.tenant AND n.id = m.member
             WHERE g.tenant = $1 AND g.node = $2
             ORDER BY g.number, m.ordinal",
        )
        .bind(tenant.0)
        .bind(node.id)
        .fetch_all(&mut *tx)
        .await?;
        let subscribers_below: i64 = sqlx::query_scalar(
            "WITH RECURSIVE below (node) AS (
                 SELECT $2::uuid
                 UNION
                 SELECT m.node FROM below b JOIN dependency_member m ON m.tenant = $1 AND m.member = b.node
             )
             SELECT count(*) FROM below b JOIN node n ON n.tenant = $1 AND n.id = b.node
             WHERE n.tier = 'subscriber' AND n.id <> $2",
        )
        .bind(tenant.0)
        .bind(node.id)
        .fetch_one(&mut *tx)
        .await?;
        Ok(Some(NodeDetail { node, groups: groups_of(members), subscribers_below }))
    }
}

/// Members come in the order of their groups.
fn groups_of(rows: Vec<MemberRow>) -> Vec<GroupRow> {
    let mut groups: Vec<GroupRow> = Vec::new();
    for row in rows {
        if groups.last().is_none_or(|group| group.number != row.number) {
            let MemberRow { number, parent, mode, k, .. } = &row;
            let (mode, members) = (mode.clone(), vec![]);
            groups.push(GroupRow { number: *number, parent: *parent, mode, k: *k, members });
        }
        if row.member.is_some() || row.member_group.is_some() {
            let group = groups.last_mut().expect("one was pushed");
            let MemberRow { member: node, file_id, name, member_group, .. } = row;
            group.members.push(GroupMember { node, file_id, name, group: member_group });
        }
    }
    groups
}
