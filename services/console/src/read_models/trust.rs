//! By whom changes are first spoken of: routers themselves, or our looks at them.

use super::{Read, ReadModels, uuids};
use events::{NodeId, TenantId};
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// By whom changes of what a router sees were first spoken of.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(crate) struct TrustRow {
    /// Which router.
    pub(crate) router: Uuid,
    /// Its id in the network file.
    pub(crate) file_id: String,
    /// Its name.
    pub(crate) name: String,
    /// Changes that a script, another system or a person told us of.
    pub(crate) pushed: i64,
    /// Changes that we found by looking: on a schedule, or to settle something else.
    pub(crate) polled: i64,
    /// Changes that the reconciler found nobody had told us of.
    pub(crate) reconciled: i64,
    /// Which part of all was pushed, 0 to 1.
    pub(crate) pushed_share: f64,
    /// Of those that were pushed or should have been: which part only the reconciler found, 0 to 1.
    pub(crate) missed_push_rate: f64,
}

impl ReadModels {
    /// By whom the changes of the last `days` of what routers see were first spoken of; of these routers, or all.
    pub(crate) async fn trust(
        &self,
        tenant: TenantId,
        routers: Option<&[NodeId]>,
        days: i32,
        after: Option<Uuid>,
        limit: i64,
    ) -> Read<Vec<TrustRow>> {
        let mut tx = self.of(tenant).await?;
        let rows = sqlx::query_as(
            "WITH change AS (
                 SELECT n.seen_by AS router, c.learned
                 FROM downtime d
                 JOIN node n ON n.tenant = d.tenant AND n.id = d.node
                 CROSS JOIN LATERAL (VALUES (d.began_by, d.from_at), (d.ended_by, d.until_at)) AS c (learned, at)
                 WHERE d.tenant = $1 AND n.seen_by IS NOT NULL AND c.learned IS NOT NULL
                   AND c.at > now() - make_interval(days => $2)
                   AND ($3::uuid[] IS NULL OR n.seen_by = ANY ($3)) AND ($4::uuid IS NULL OR n.seen_by > $4)
             ), counted AS (
                 SELECT router, count(*) FILTER (WHERE learned = 'push') AS pushed,
                        count(*) FILTER (WHERE learned = 'poll') AS polled,
                        count(*) FILTER (WHERE learned = 'reconcile') AS reconciled
                 FROM change GROUP BY router
             )
             SELECT c.router, r.file_id, r.name, c.pushed, c.polled, c.reconciled,
                    c.pushed::float8 / (c.pushed + c.polled + c.reconciled) AS pushed_share,
                    coalesce(c.reconciled::float8 / nullif(c.pushed + c.reconciled, 0), 0) AS missed_push_rate
             FROM counted c JOIN node r ON r.tenant = $1 AND r.id = c.router
             ORDER BY c.router LIMIT $5",
        );
        let rows = rows.bind(tenant.0).bind(days).bind(routers.map(uuids)).bind(after).bind(limit);
        Ok(rows.fetch_all(&mut *tx).await?)
    }
}
