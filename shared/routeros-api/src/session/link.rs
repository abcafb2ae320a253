//! The two tasks of a session, and what they share with those who ask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::connect::{Duplex, LOGIN_TAG};
use super::rows::Inbox;
use super::{CallError, Lost, Options, ProtocolError};
use crate::command::{Command, Row, Trap, fatal_text};
use crate::value::printable;
use crate::wire::{Decoder, Sentence, WireError};

/// How long a closing connection may take to say so to the other side.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// More than any router serves at once.
pub(super) const PLACES_MAX: usize = 1024;

/// What the session's tasks and everyone who asks have in common.
pub(super) struct Shared {
    pub(super) options: Options,
    /// One for each command that may be in flight.
    pub(super) places: Arc<Semaphore>,
    /// Cancelled when the session is over.
    pub(super) over: CancellationToken,
    /// Sentences to send.
    outgoing: Sender<Vec<u8>>,
    /// Bytes of all unread rows.
    held: Arc<AtomicUsize>,
    table: Mutex<Table>,
}

/// What is in flight.
struct Table {
    pending: HashMap<u64, Pending>,
    next_tag: u64,
    lost: Option<Lost>,
    /// When the last whole sentence came.
    heard_at: Instant,
    keep_alive: Option<u64>,
}

/// One tag to which the router still owes a `!done`.
enum Pending {
    /// Somebody waits for it.
    Asked { inbox: Arc<Inbox>, trap: Option<Trap>, place: OwnedSemaphorePermit },
    /// Nobody waits for it any more, but the router has not ended it: its place is still taken.
    Abandoned { _place: OwnedSemaphorePermit },
    /// A `/cancel` of `victim`, or the keep-alive. The router answers these at once or is dead.
    Owed { since: Instant, victim: Option<u64> },
}

/// Splits the connection, starts reading and writing, and returns what is shared.
pub(super) fn start(
    stream: Box<dyn Duplex>,
    decoder: Decoder,
    unread: Vec<u8>,
    options: Options,
) -> Arc<Shared> {
    let places = options.in_flight_max.clamp(1, PLACES_MAX);
    // A command and its cancel for each place, and a keep-alive with some to spare.
    let (outgoing, to_send) = mpsc::channel(2 * places + 4);
    let shared = Arc::new(Shared {
        places: Arc::new(Semaphore::new(places)),
        over: CancellationToken::new(),
        outgoing,
        held: Arc::default(),
        table: Mutex::new(Table {
            pending: HashMap::new(),
            next_tag: LOGIN_TAG + 1,
            lost: None,
            heard_at: Instant::now(),
            keep_alive: None,
        }),
        options,
    });
    let (read_half, write_half) = tokio::io::split(stream);
    tokio::spawn(read(read_half, decoder, unread, Arc::clone(&shared)));
    tokio::spawn(write(write_half, to_send, Arc::clone(&shared)));
    shared
}

async fn read(
    mut half: ReadHalf<Box<dyn Duplex>>,
    mut decoder: Decoder,
    mut unread: Vec<u8>,
    shared: Arc<Shared>,
) {
    if let Err(lost) = shared.hear_all(&mut decoder, &unread) {
        return shared.lose(lost);
    }
    unread.resize(8 << 10, 0);
    let mut buffer = unread.into_boxed_slice();
    let watch_every = shared.options.silent_after.min(shared.options.keep_alive) / 4;
    let mut watch = interval(watch_every.clamp(Duration::from_millis(10), Duration::from_secs(5)));
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let went = tokio::select! {
            () = shared.over.cancelled() => return,
            read = half.read(&mut buffer) => match read {
                Ok(0) => Err(Lost::Closed),
                Ok(count) => shared.hear_all(&mut decoder, &buffer[..count]),
                Err(error) => Err(Lost::from(&error)),
            },
            now = watch.tick() => shared.watch(now),
        };
        if let Err(lost) = went {
            return shared.lose(lost);
        }
    }
}

async fn write(mut half: WriteHalf<Box<dyn Duplex>>, mut to_send: Receiver<Vec<u8>>, shared: Arc<Shared>) {
    loop {
        let sent = tokio::select! {
            () = shared.over.cancelled() => break,
            sent = write_next(&mut half, &mut to_send) => sent,
        };
        if let Err(error) = sent {
            shared.lose(Lost::from(&error));
        }
    }
    // Best effort: the session is over however this ends.
    let _ = timeout(GOODBYE_WITHIN, half.shutdown()).await;
}

async fn write_next(
    half: &mut WriteHalf<Box<dyn Duplex>>,
    to_send: &mut Receiver<Vec<u8>>,
) -> std::io::Result<()> {
    match to_send.recv().await {
        Some(bytes) => {
            half.write_all(&bytes).await?;
            half.flush().await
        }
        None => std::future::pending().await, // The sender lives in `Shared`, which we hold.
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing under this lock leaves the table half changed.
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn lost(&self) -> Option<Lost> {
        self.table().lost.clone()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Sends a command, whose rows go to the inbox returned.
    pub(super) fn ask(
        &self,
        command: &Command,
        place: OwnedSemaphorePermit,
    ) -> Result<(u64, Arc<Inbox>), CallError> {
        let mut table = self.table();
        if let Some(why) = table.lost.clone() {
            return Err(CallError::Lost { why, sent: false });
        }
        let inbox = Arc::new(Inbox::new(Arc::clone(&self.held)));
        let asked = Pending::Asked { inbox: Arc::clone(&inbox), trap: None, place };
        let tag = self.send(&mut table, command.sentence().clone(), asked);
        Ok((tag, inbox))
    }

    fn send(&self, table: &mut Table, sentence: Sentence, pending: Pending) -> u64 {
        let tag = table.next_tag;
        table.next_tag += 1;
        table.pending.insert(tag, pending);
        let bytes = sentence.tagged(Some(tag.to_string().as_bytes())).to_bytes();
        // Full: the peer has taken nothing of what every place has said, yet has ended commands.
        // Closed: the session is over already.
        if self.outgoing.try_send(bytes).is_err() {
            self.lose_in(table, Lost::Silent);
        }
        tag
    }

    /// Nobody waits for `tag` any more: the router is told to stop.
    pub(super) fn abandon(&self, tag: u64) {
        let mut table = self.table();
        self.abandon_in(&mut table, tag);
    }

    fn abandon_in(&self, table: &mut Table, tag: u64) {
        match table.pending.remove(&tag) {
            Some(Pending::Asked { place, .. }) => {
                table.pending.insert(tag, Pending::Abandoned { _place: place });
            }
            Some(other @ (Pending::Abandoned { .. } | Pending::Owed { .. })) => {
                table.pending.insert(tag, other);
                return;
            }
            None => return, // It has ended.
        }
        let cancel = Sentence::new("/cancel").with("tag", tag.to_string());
        self.send(table, cancel, Pending::Owed { since: Instant::now(), victim: Some(tag) });
    }

    /// Ends the session, the first time for this reason. Everyone who waits is told.
    pub(super) fn lose(&self, why: Lost) {
        self.lose_in(&mut self.table(), why);
    }

    fn lose_in(&self, table: &mut Table, why: Lost) {
        if table.lost.is_some() {
            return;
        }
        self.places.close();
        self.over.cancel();
        for pending in std::mem::take(&mut table.pending).into_values() {
            if let Pending::Asked { inbox, .. } = pending {
                inbox.end(Err(CallError::Lost { why: why.clone(), sent: true }));
            }
        }
        table.lost = Some(why);
    }

    fn hear_all(&self, decoder: &mut Decoder, mut input: &[u8]) -> Result<(), Lost> {
        let broken = |error: WireError| Lost::Protocol(error.into());
        while let Some(sentence) = decoder.decode(&mut input).map_err(broken)? {
            self.hear(sentence)?;
        }
        Ok(())
    }

    fn hear(&self, sentence: Sentence) -> Result<(), Lost> {
        let mut table = self.table();
        let table = &mut *table;
        table.heard_at = Instant::now();
        match sentence.first() {
            b"!fatal" => return Err(Lost::Fatal { message: fatal_text(&sentence) }),
            [b'!', ..] => {}
            first => {
                let first = printable(first, 64);
                return Err(Lost::Protocol(ProtocolError::NotAReply { first }));
            }
        }
        let tag = known_tag(&sentence, table.next_tag)?;
        // A reply to what has ended already, such as a row after a trap, is of no use to anyone.
        let Some(pending) = table.pending.get_mut(&tag) else { return Ok(()) };
        match sentence.first() {
            b"!done" => match table.pending.remove(&tag) {
                Some(Pending::Asked { inbox, trap, place }) => {
                    drop(place);
                    inbox.end(match trap {
                        Some(trap) => Err(CallError::Trap(trap)),
                        None => Ok(sentence),
                    });
                }
                Some(Pending::Owed { victim, .. }) => {
                    // The order in which a cancel and its victim end is not defined.
                    if let Some(victim) = victim {
                        table.pending.remove(&victim);
                    }
                    table.keep_alive = table.keep_alive.filter(|alive| *alive != tag);
                }
                Some(Pending::Abandoned { .. }) | None => {}
            },
            b"!re" => {
                if let Pending::Asked { inbox, .. } = pending
                    && let Err(bytes_max) = inbox.put(Row::new(sentence), &self.options)
                {
                    let rows_max = self.options.reply_rows_max;
                    inbox.end(Err(CallError::TooMuch { rows_max, bytes_max }));
                    self.abandon_in(table, tag);
                }
            }
            b"!trap" => {
                if let Pending::Asked { trap, .. } = pending {
                    // There may be several; the first says what went wrong.
                    trap.get_or_insert_with(|| Trap::read(&sentence));
                }
            }
            b"!empty" => {}
            unknown => {
                tracing::debug!(word = %printable(unknown, 64), "a router used a reply word of the future");
            }
        }
        Ok(())
    }

    /// Ends a session whose router owes an answer for too long, and asks when it has been quiet.
    fn watch(&self, now: Instant) -> Result<(), Lost> {
        let mut table = self.table();
        let Options { keep_alive, silent_after, .. } = self.options;
        let overdue = table.pending.values().any(|pending| match pending {
            Pending::Owed { since, .. } => {
                let waited = now.saturating_duration_since(*since);
                let patience =
                    if table.heard_at < *since { silent_after } else { silent_after.saturating_mul(3) };
                waited > patience
            }
            Pending::Asked { .. } | Pending::Abandoned { .. } => false,
        });
        if overdue {
            return Err(Lost::Silent);
        }
        let quiet = now.saturating_duration_since(table.heard_at);
        if quiet >= keep_alive && table.keep_alive.is_none() {
            let ask = Sentence::new("/system/identity/print").with(".proplist", "name");
            let owed = Pending::Owed { since: now, victim: None };
            let tag = self.send(&mut table, ask, owed);
            table.keep_alive = Some(tag);
        }
        Ok(())
    }
}

/// The tag of a reply, if it is one that we have used.
fn known_tag(sentence: &Sentence, next_tag: u64) -> Result<u64, Lost> {
    let tag = sentence.tag();
    let number = tag.and_then(|tag| std::str::from_utf8(tag).ok()?.parse::<u64>().ok());
    match number {
        Some(number) if (LOGIN_TAG..next_tag).contains(&number) => Ok(number),
        Some(_) | None => {
            let tag = tag.map(|tag| printable(tag, 64));
            Err(Lost::Protocol(ProtocolError::UnknownTag { tag }))
        }
    }
}
