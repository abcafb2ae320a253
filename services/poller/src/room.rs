//! How many may do something at once.

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, error::Elapsed, timeout_at},
};

/// Room for so many. Unlike a bare semaphore it cannot be closed, so whoever waits gets in.
#[derive(Debug)]
pub(crate) struct Room(Semaphore);

impl Room {
    /// Room for `count` at once.
    pub(crate) fn new(count: usize) -> Self {
        Self(Semaphore::new(count))
    }

    /// Waits for a place, in turn. It is free again when what is given is dropped.
    pub(crate) async fn place(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("there is no way to close it")
    }

    /// The same, until `by`.
    pub(crate) async fn place_by(&self, by: Instant) -> Result<SemaphorePermit<'_>, Elapsed> {
        timeout_at(by, self.place()).await
    }

    /// A place, if one is free now.
    pub(crate) fn place_now(&self) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire().ok()
    }
}
