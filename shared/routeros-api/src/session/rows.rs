//! Rows on their way from the session to whoever asked.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{CallError, Options, Owner};
use crate::command::{Command, Reply, Row};
use crate::wire::Sentence;

/// Rows that have come and not been taken.
pub(super) struct Inbox {
    /// Bytes of all unread rows of the session.
    session_held: Arc<AtomicUsize>,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    rows: VecDeque<Row>,
    held_bytes: usize,
    end: Option<Result<Sentence, CallError>>,
    reader: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(session_held: Arc<AtomicUsize>) -> Self {
        Self { session_held, content: Mutex::default() }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a row, or says which limit of bytes it would exceed.
    pub(super) fn put(&self, row: Row, options: &Options) -> Result<(), usize> {
        let bytes = row.sentence().held_bytes();
        let mut content = self.content();
        if content.end.is_some() {
            return Ok(());
        }
        if content.rows.len() >= options.reply_rows_max
            || content.held_bytes + bytes > options.reply_bytes_max
        {
            return Err(options.reply_bytes_max);
        }
        // Only the reading task adds, so nobody can get in between.
        if self.session_held.load(Ordering::Relaxed) + bytes > options.session_bytes_max {
            return Err(options.session_bytes_max);
        }
        self.session_held.fetch_add(bytes, Ordering::Relaxed);
        content.held_bytes += bytes;
        content.rows.push_back(row);
        wake(content);
        Ok(())
    }

    /// Nothing more will come. What is unread stays readable, unless there was too much of it.
    pub(super) fn end(&self, end: Result<Sentence, CallError>) {
        let mut content = self.content();
        if content.end.is_some() {
            return;
        }
        if matches!(end, Err(CallError::TooMuch { .. })) {
            self.forget_rows(&mut content);
        }
        content.end = Some(end);
        wake(content);
    }

    fn forget_rows(&self, content: &mut Content) {
        content.rows = VecDeque::new();
        self.session_held.fetch_sub(std::mem::take(&mut content.held_bytes), Ordering::Relaxed);
    }
}

/// Wakes the reader without holding the lock that it will want.
fn wake(mut content: MutexGuard<'_, Content>) {
    let reader = content.reader.take();
    drop(content);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let held = self.content().held_bytes;
        self.session_held.fetch_sub(held, Ordering::Relaxed);
    }
}

/// The rows of one answer, as they come. Dropping it cancels the command.
///
/// As a [`Stream`] it yields each row, then at most one error, then nothing. Whoever reads slower
/// than the router sends gets [`CallError::TooMuch`]; the other commands are not held up.
pub struct Rows {
    owner: Arc<Owner>,
    tag: u64,
    inbox: Arc<Inbox>,
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
    done: Option<Sentence>,
    /// An end has been handed out, or the command was cancelled.
    ended: bool,
}

impl Rows {
    pub(super) fn begin(
        owner: Arc<Owner>,
        command: &Command,
        place: OwnedSemaphorePermit,
        deadline: Option<(Instant, Duration)>,
    ) -> Result<Self, CallError> {
        let (tag, inbox) = owner.shared.ask(command, place)?;
        let deadline = deadline.map(|(by, within)| (Box::pin(sleep_until(by)), within));
        Ok(Self { owner, tag, inbox, deadline, done: None, ended: false })
    }

    /// The next row; `None` when the answer has ended well or an error has been returned.
    pub async fn next(&mut self) -> Option<Result<Row, CallError>> {
        std::future::poll_fn(|context| self.poll_row(context)).await
    }

    /// Waits for the end and returns all rows not taken before.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the answer did not end well.
    pub async fn finish(mut self) -> Result<Reply, CallError> {
        let end = std::future::poll_fn(|context| self.poll_end(context)).await;
        let done = end?;
        let mut content = self.inbox.content();
        let rows = std::mem::take(&mut content.rows).into();
        self.inbox.forget_rows(&mut content);
        drop(content);
        Ok(Reply { rows, done })
    }

    /// The `!done` that ended the answer, once all rows have been taken.
    pub fn done(&self) -> Option<&Sentence> {
        self.done.as_ref()
    }

    fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Row, CallError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut content = self.inbox.content();
        if let Some(row) = content.rows.pop_front() {
            let bytes = row.sentence().held_bytes();
            content.held_bytes -= bytes;
            self.inbox.session_held.fetch_sub(bytes, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(row)));
        }
        drop(content);
        match self.poll_end(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(done)) => {
                self.done = Some(done);
                Poll::Ready(None)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<Sentence, CallError>> {
        let mut content = self.inbox.content();
        if let Some(end) = content.end.clone() {
            drop(content);
            self.ended = true;
            return Poll::Ready(end);
        }
        content.reader = Some(context.waker().clone());
        drop(content);
        let Some((sleep, within)) = &mut self.deadline else { return Poll::Pending };
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        self.owner.shared.abandon(self.tag);
        Poll::Ready(Err(CallError::TimedOut { after: *within }))
    }
}

impl Stream for Rows {
    type Item = Result<Row, CallError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_row(context)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !self.ended {
            self.owner.shared.abandon(self.tag);
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("tag", &self.tag).field("ended", &self.ended).finish_non_exhaustive()
    }
}
