//! One chunk of a partition: its rows and the new position, or neither.

use crate::MODEL;
use crate::parts::Parts;
use crate::rows::{HEARS, Rows, place};
use events::{Fact, Noun, Revision, RevisionSource, SuspicionKind, TenantId};
use kit::postgres::{as_tenant, move_position};
use kit::projection::{Chunk, Project, Told};
use prometheus_client::metrics::counter::Counter;
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeSet;
use uuid::Uuid;

/// How many parts of an import are held at a time: 1 MiB, as a part is at most 64 KiB.
const PARTS_AT_ONCE: usize = 16;

/// The read models, kept up with the log by [`kit::projection::Projection`].
#[derive(Debug, Clone)]
pub struct ReadModels<P> {
    parts: P,
    held: Counter,
}

impl<P: Parts> ReadModels<P> {
    /// Reads the parts of an import from `parts` when a revision names them.
    pub fn new(parts: P) -> Self {
        Self { parts, held: Counter::default() }
    }

    /// Counting in `held` the suspicions that had to wait for their walk.
    #[must_use]
    pub fn counting(self, held: Counter) -> Self {
        Self { held, ..self }
    }

    async fn write_tenant(
        &self,
        tx: &mut PgConnection,
        tenant: TenantId,
        told: &[&Told],
    ) -> sqlx::Result<()> {
        let (mut rows, mut moved) = (Rows::default(), BTreeSet::new());
        for told in told {
            rows.take(told);
            if let Fact::Revision(Revision { source: RevisionSource::Parts { digest, count }, .. }) =
                &told.heard.fact
            {
                // What was said before the revision is written before its things, what follows after them.
                moved.append(&mut std::mem::take(&mut rows).write(tenant, tx).await?);
                moved.append(&mut self.write_parts(tx, (tenant, told), digest, *count).await?);
            }
        }
        moved.append(&mut rows.write(tenant, tx).await?);
        // Once for all of it: in a large import what is needed may come after what needs it.
        place::settle(tenant.0, &moved, tx).await
    }

    async fn write_parts(
        &self,
        tx: &mut PgConnection,
        (tenant, revision): (TenantId, &Told),
        digest: &str,
        count: u32,
    ) -> sqlx::Result<BTreeSet<Uuid>> {
        let mut moved = BTreeSet::new();
        for first in (0..count).step_by(PARTS_AT_ONCE) {
            let numbers = (first..count).take(PARTS_AT_ONCE);
            let held =
                futures::future::try_join_all(numbers.map(|n| self.parts.part(tenant, digest, n))).await?;
            let mut rows = Rows::default();
            for thing in held.iter().flat_map(|part| &part.things) {
                rows.take_thing(revision, thing);
            }
            moved.append(&mut rows.write(tenant, tx).await?);
        }
        Ok(moved)
    }
}

impl<P: Parts> Project for ReadModels<P> {
    const MODEL: &'static str = MODEL;
    const HEARS: &'static [Noun] = HEARS;

    async fn write(&self, pool: &PgPool, chunk: &Chunk) -> sqlx::Result<bool> {
        let mut tx = pool.begin().await?;
        // A commit that a crash forgets takes the position back with it, and is made again from the log.
        sqlx::query("set local synchronous_commit = off").execute(&mut *tx).await?;
        if !move_position(&mut tx, MODEL, &chunk.place).await? {
            return Ok(false); // Dropping the transaction writes nothing.
        }
        for (tenant, told) in chunk.by_tenant() {
            as_tenant(&mut tx, tenant).await?; // Row-level security from here on.
            self.write_tenant(&mut tx, tenant, &told).await?;
        }
        tx.commit().await?;
        self.held.inc_by(chunk.told.iter().filter(|told| begins_to_wait(&told.heard.fact)).count() as u64);
        Ok(true)
    }
}

/// Whether it says that a suspicion waits because the tenant's walks of the hour are used up.
fn begins_to_wait(fact: &Fact) -> bool {
    matches!(fact, Fact::Suspicion(said) if said.kind == SuspicionKind::Raised && said.now.held_until.is_some())
}
