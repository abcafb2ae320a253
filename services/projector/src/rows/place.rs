//! Where nodes are that name no site themselves.
//!
//! Which site that is, `domain` says. It is worked out anew for nodes that came, went, or now say something else about
//! where they are or what they need, and for everything below them down to what names a site itself; whatever else
//! there is keeps its answer. So moving a device moves its users, and what a chunk costs follows from what it moves.

use domain::Graph;
use events::{DeviceClass, Group, GroupMode, Member, Node, NodeId, NodeKind, SiteId, Tier};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The site that a node names, and what it needs in the order in which that is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    site: Option<Uuid>,
    ways_up: Vec<Uuid>,
}

impl Place {
    pub(super) fn of(node: &Node) -> Self {
        let ways_up = domain::graph::ways_up(node).into_iter().map(|id| id.0).collect();
        Self { site: node.site.map(|site| site.0), ways_up }
    }
}

type Row = (Uuid, Option<Uuid>, Option<Uuid>, Vec<Uuid>);

const WRITTEN: &str = "select n.id, n.site, n.at_site, array(
        select m.member from dependency_member m
        where m.tenant = $1 and m.node = n.id and m.member is not null
        order by m.group_number, m.ordinal)
    from unnest($2::uuid[]) as wanted (id) join node n on n.tenant = $1 and n.id = wanted.id";
const BELOW: &str = "with recursive touched (node) as (
        select * from unnest($2::uuid[])
        union
        select m.node from touched t
        join dependency_member m on m.tenant = $1 and m.member = t.node
        join node n on n.tenant = $1 and n.id = m.node
        where n.site is null
    )
    select node from touched";
const MOVE: &str = "update node n set at_site = moved.site
    from unnest($2::uuid[], $3::uuid[]) as moved (id, site)
    where n.tenant = $1 and n.id = moved.id";

pub(super) const STATEMENTS: &[&str] = &[WRITTEN, BELOW, MOVE];

/// How many nodes are worked out without asking for the next ones.
const READ_AT_ONCE: usize = 10_000;

/// What the rows of these nodes say; of one that has none, nothing.
pub(super) async fn written(
    tenant: Uuid,
    ids: &[Uuid],
    tx: &mut PgConnection,
) -> sqlx::Result<BTreeMap<Uuid, Place>> {
    let rows = read(tenant, ids, tx).await?;
    Ok(rows.into_iter().map(|(id, site, _, ways_up)| (id, Place { site, ways_up })).collect())
}

async fn read(tenant: Uuid, ids: &[Uuid], tx: &mut PgConnection) -> sqlx::Result<Vec<Row>> {
    let mut all = Vec::with_capacity(ids.len());
    for ids in ids.chunks(READ_AT_ONCE) {
        let rows: Vec<Row> = sqlx::query_as(WRITTEN).bind(tenant).bind(ids).fetch_all(&mut *tx).await?;
        all.extend(rows);
    }
    Ok(all)
}

/// Works out where these nodes and everything below them are, and writes what is new.
///
/// # Errors
///
/// When Postgres refuses or is gone.
pub(crate) async fn settle(tenant: Uuid, moved: &BTreeSet<Uuid>, tx: &mut PgConnection) -> sqlx::Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    let moved: Vec<Uuid> = moved.iter().copied().collect();
    let touched: Vec<Uuid> = sqlx::query_scalar(BELOW).bind(tenant).bind(moved).fetch_all(&mut *tx).await?;
    let touched = read(tenant, &touched, tx).await?;
    let within: BTreeSet<Uuid> = touched.iter().map(|row| row.0).collect();
    let above: BTreeSet<Uuid> =
        touched.iter().flat_map(|row| &row.3).filter(|id| !within.contains(id)).copied().collect();
    let above = read(tenant, &above.into_iter().collect::<Vec<_>>(), tx).await?;

    let mut graph = Graph::default();
    for (id, _, at_site, _) in &above {
        graph.put(standing(*id, *at_site, &[]));
    }
    for (id, site, _, ways_up) in &touched {
        graph.put(standing(*id, *site, ways_up));
    }
    graph.knit();
    let (mut ids, mut sites) = (vec![], vec![]);
    for (id, _, before, _) in &touched {
        let now = graph.index_of(NodeId(*id)).and_then(|index| graph.site_of(index)).map(|site| site.0);
        if now != *before {
            ids.push(*id);
            sites.push(now);
        }
    }
    if !ids.is_empty() {
        sqlx::query(MOVE).bind(tenant).bind(ids).bind(sites).execute(tx).await?;
    }
    Ok(())
}

/// As much of a node as says where it is.
fn standing(id: Uuid, site: Option<Uuid>, ways_up: &[Uuid]) -> Node {
    let members: Vec<Member> = ways_up.iter().map(|id| Member::Node(NodeId(*id))).collect();
    let needs = if members.is_empty() { vec![] } else { vec![Group { mode: GroupMode::All, members }] };
    let kind = NodeKind::Device { class: DeviceClass::Other };
    Node { site: site.map(SiteId), needs, ..Node::bare(NodeId(id), "", kind, Tier::Core) }
}
