//! Telling the read models again from the beginning of the log.
//!
//! Other projectors may go on meanwhile: one that finds its position set back reads on from there,
//! and whoever is faster writes a chunk. Stopped in the middle, a rebuild is finished by whichever
//! projector runs next.

use crate::project::ReadModels;
use crate::rows::HEARS;
use crate::{MODEL, checksum, empty, prune};
use events::Noun;
use kit::admin::Board;
use kit::config::Secret;
use kit::postgres::PostgresError;
use kit::projection::{Chunk, Project, Projection, ProjectionError};
use kit::{Filter, From, Log, LogError, Service};
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// How far a rebuild has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events written so far.
    pub written: u64,
    /// Events that the log held when it began.
    pub of: u64,
}

/// Why the read models were not told again. What was written stays, and the next projector goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The tables could not be emptied; they are as they were.
    #[error("emptying the read models")]
    Empty(#[source] PostgresError),
    /// The log does not say what it holds.
    #[error("asking the log what there is to tell")]
    Log(#[source] LogError),
    /// Telling it again ended early.
    #[error("telling the read models again")]
    Replay(#[source] ProjectionError),
    /// The rows cannot be pruned or summed up.
    #[error("summing up the read models")]
    Sum(#[source] sqlx::Error),
    /// The process was told to stop.
    #[error("stopped before the end")]
    Stopped,
}

/// Counts what is written.
struct Counted {
    models: ReadModels<Log>,
    written: Arc<AtomicU64>,
}

impl Project for Counted {
    const MODEL: &'static str = MODEL;
    const HEARS: &'static [Noun] = HEARS;

    async fn write(&self, pool: &PgPool, chunk: &Chunk) -> sqlx::Result<bool> {
        let is_written = self.models.write(pool, chunk).await?;
        if is_written {
            let events = u64::try_from(chunk.told.len()).unwrap_or(u64::MAX);
            self.written.fetch_add(events, Ordering::Relaxed);
        }
        Ok(is_written)
    }
}

/// Empties the read models and writes them again up to the end of the log as it is now; then prunes
/// them and says their [`checksum`].
///
/// `owner_url` is that of the tables' owner; `service` gives the log and is asked whether to stop;
/// `progress` is told about five times a second, and once at the end.
///
/// # Errors
///
/// [`RebuildError`].
pub async fn rebuild(
    owner_url: &Secret,
    service: &Service,
    pool: &PgPool,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<String, RebuildError> {
    let of = there_are(&service.log).await.map_err(RebuildError::Log)?;
    empty(owner_url).await.map_err(RebuildError::Empty)?;
    let written = Arc::new(AtomicU64::new(0));
    let board = Board::default();
    let child = Service {
        stop: service.stop.child_token(),
        readiness: board.condition("rebuild"),
        metrics: service.metrics.under("rebuild"),
        ..service.clone()
    };
    let models = Counted { models: ReadModels::new(service.log.clone()), written: Arc::clone(&written) };
    let replay = Projection::new(models).run(&child, pool.clone());
    tokio::pin!(replay);
    let caught_up = format!("rebuild/{MODEL}");
    let mut tick = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            ended = &mut replay => {
                ended.map_err(RebuildError::Replay)?;
                return Err(RebuildError::Stopped);
            }
            _ = tick.tick() => {
                progress(Progress { written: written.load(Ordering::Relaxed).min(of), of });
                let report = board.report(service.common.durability);
                if report.conditions.get(&caught_up) == Some(&None) {
                    break;
                }
            }
        }
    }
    child.stop.cancel();
    replay.await.map_err(RebuildError::Replay)?;
    prune(pool).await.map_err(RebuildError::Sum)?;
    let sum = checksum(pool).await.map_err(RebuildError::Sum)?;
    progress(Progress { written: of, of });
    Ok(sum)
}

/// How many events there are to tell.
async fn there_are(log: &Log) -> Result<u64, LogError> {
    let end = log.state().await?.last_seq;
    if end == 0 {
        return Ok(0);
    }
    let filters: Vec<Filter> = HEARS.iter().copied().map(Filter::noun).collect();
    let mut reader = log.read(&filters, From::Start, Some(end));
    Ok(match reader.next().await? {
        Some(_) => reader.pending() + 1,
        None => 0,
    })
}
