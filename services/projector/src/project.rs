//! One chunk of a partition: its rows and the new position, or neither.

use crate::rows::Rows;
use crate::{MODEL, value};
use events::{Fact, Heard, Part, Revision, RevisionSource, TenantId};
use kit::postgres::{Place, as_tenant, move_position};
use sqlx::{PgConnection, PgPool};
use std::{collections::BTreeMap, future::Future};

/// How many parts of an import are held at a time: 1 MiB, as a part is at most 64 KiB.
const PARTS_AT_ONCE: u32 = 16;

/// Where the parts of an import are read again when a revision names them.
pub trait Parts {
    /// Why a part cannot be had.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The `n`th part of the import `digest`, or none when there is no such part.
    fn part(
        &self,
        tenant: TenantId,
        digest: &str,
        n: u32,
    ) -> impl Future<Output = Result<Option<Part>, Self::Error>> + Send;
}

/// Why a chunk was not written.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError<E: std::error::Error + 'static> {
    /// Postgres refuses or is gone.
    #[error("writing the rows of partition {part}")]
    Store {
        /// Which partition.
        part: u16,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The log did not give a part.
    #[error("reading part {n} of the import {digest}")]
    Log {
        /// Which import.
        digest: String,
        /// Which part.
        n: u32,
        /// What the log said.
        source: E,
    },
    /// A revision names a part that the log does not have. It is laid down before the revision is made
    /// and kept for ever: somebody removed it.
    #[error("part {n} of the import {digest} is not in the log")]
    Missing {
        /// Which import.
        digest: String,
        /// Which part.
        n: u32,
    },
}

/// Writes the rows of what was heard in `place` and moves the position over it, or neither.
///
/// `Ok(false)`: another projector was faster; read the position again and go on from there.
///
/// # Errors
///
/// [`ProjectError`]; nothing was written then.
pub async fn project<P: Parts>(
    pool: &PgPool,
    place: &Place,
    chunk: &[Heard],
    parts: &P,
) -> Result<bool, ProjectError<P::Error>> {
    let store = |source| ProjectError::Store { part: place.part, source };
    let mut tx = pool.begin().await.map_err(store)?;
    // A commit that a crash forgets takes the position back with it, and is made again from the log.
    sqlx::query("set local synchronous_commit = off").execute(&mut *tx).await.map_err(store)?;
    if !move_position(&mut tx, MODEL, place).await.map_err(store)? {
        return Ok(false); // Dropping the transaction writes nothing.
    }
    for (tenant, told) in by_tenant(chunk) {
        as_tenant(&mut tx, tenant).await.map_err(store)?; // Row-level security from here on.
        write_tenant(&mut tx, tenant, &told, parts, place.part).await?;
    }
    tx.commit().await.map_err(store)?;
    Ok(true)
}

fn by_tenant(chunk: &[Heard]) -> BTreeMap<TenantId, Vec<&Heard>> {
    let mut all: BTreeMap<TenantId, Vec<&Heard>> = BTreeMap::new();
    for heard in chunk {
        all.entry(heard.tenant).or_default().push(heard);
    }
    all
}

async fn write_tenant<P: Parts>(
    tx: &mut PgConnection,
    tenant: TenantId,
    told: &[&Heard],
    parts: &P,
    part: u16,
) -> Result<(), ProjectError<P::Error>> {
    let store = |source| ProjectError::Store { part, source };
    let mut rows = Rows::default();
    for heard in told {
        rows.take(heard);
        if let Fact::Revision(Revision { source: RevisionSource::Parts { digest, count }, .. }) = &heard.fact
        {
            // What was said before the revision is written before its things, what follows after them.
            std::mem::take(&mut rows).write(tenant, tx).await.map_err(store)?;
            for first in (0..*count).step_by(value::index(PARTS_AT_ONCE)) {
                let until = first.saturating_add(PARTS_AT_ONCE).min(*count);
                let held = held(tenant, digest, first..until, parts).await?;
                let mut rows = Rows::default();
                for thing in held.iter().flat_map(|p| &p.things) {
                    rows.take_thing(heard, thing);
                }
                rows.write(tenant, tx).await.map_err(store)?;
            }
        }
    }
    rows.write(tenant, tx).await.map_err(store)
}

async fn held<P: Parts>(
    tenant: TenantId,
    digest: &str,
    numbers: std::ops::Range<u32>,
    parts: &P,
) -> Result<Vec<Part>, ProjectError<P::Error>> {
    let mut held = Vec::new();
    for n in numbers {
        let read = parts.part(tenant, digest, n).await;
        let read = read.map_err(|source| ProjectError::Log { digest: digest.to_owned(), n, source })?;
        held.push(read.ok_or_else(|| ProjectError::Missing { digest: digest.to_owned(), n })?);
    }
    Ok(held)
}
