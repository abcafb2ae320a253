//! One partition of a decider: take in, decide, commit, remember.

use super::{
    Common, DeciderError, Then, heard_by,
    inbox::{Inbox, Taken},
    memory::{Memory, NotLoaded, cut_headers, cut_subject, load, said_by_panic, unread},
};
use crate::{
    commit::{COMMIT_MESSAGES_MAX, EXPECTED_LAST, Member, Outcome, write},
    message::{Encoded, Raw, encode},
    publish::Pause,
    read::{From, Reader},
    timer::{self, ROLLUP},
};
use async_nats::HeaderMap;
use bytes::Bytes;
use events::{Cut, Decide, Decision, Heard, Say, partition_of};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many messages are read at once while loading.
pub(super) const READ_MAX: usize = 500;

/// What a decider may say in one commit: all but the cut.
pub(super) const ROOM: usize = COMMIT_MESSAGES_MAX - 1;

/// How often a commit may be refused while the cut does not move before its inputs are to blame.
const REFUSALS_MAX: u32 = 3;

/// How long to wait before something that is nobody's fault is tried again, at most.
const STUCK_WAIT: Duration = Duration::from_secs(30);

pub(super) struct Partition<D> {
    pub(super) part: u16,
    pub(super) common: Arc<Common<D>>,
    /// The most inputs decided upon at once: less while one of them is suspect.
    limit: usize,
    /// Up to which place inputs are suspect.
    suspect_until: u64,
    /// The most that may be said at once: less when what is owed cannot be said.
    room: usize,
    /// At which fence commits were refused, and how often.
    refused: (u64, u32),
    /// Whether anything was committed since the last load.
    progressed: bool,
    /// When the last commit began.
    committed: Option<Instant>,
}

/// Where inputs come from.
enum Source {
    /// A consumer of one's own, up to a place; then the inbox is joined.
    Own { reader: Box<Reader>, to: u64, joined: bool },
    /// The inbox.
    Shared,
}

/// What the next turn is about.
enum Turn {
    /// These inputs. May be none, when something is owed.
    Inputs(Vec<Raw>),
    /// Inputs that led to nothing have waited long enough for a cut.
    Cut,
    /// Nothing; look again.
    Again,
    /// The end.
    Stop,
}

/// Why a memory is of no use any more.
pub(super) enum Broken {
    /// Another replica was faster.
    Conflict,
    /// It is not known whether the last commit was stored.
    Unknown,
    /// The store was full half-way, and is no longer.
    Full,
    /// Something is wrong with what was decided upon.
    Blame(String),
    /// A test wants it gone.
    Forgotten,
    /// The end, while waiting.
    Stopped,
    /// The log does not answer.
    Later(String),
}

impl<D: Decide> Partition<D> {
    pub(super) fn new(part: u16, common: Arc<Common<D>>) -> Self {
        let limit = common.options.chunk_max;
        Self {
            part,
            common,
            limit,
            suspect_until: 0,
            room: ROOM,
            refused: (0, 0),
            progressed: false,
            committed: None,
        }
    }

    fn inbox(&self) -> &Inbox {
        &self.common.inboxes[usize::from(self.part)]
    }

    /// Works until `stop`, or until it falls asleep because nothing was ever said here.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), DeciderError> {
        let mut pause = Pause::default();
        let outcome = loop {
            let memory = tokio::select! {
                memory = self.memory() => memory,
                () = stop.cancelled() => break Ok(()),
            };
            let memory = match memory {
                Ok(Some(memory)) => memory,
                Ok(None) if self.inbox().sleep() => break Ok(()),
                Ok(None) => continue,
                Err(error) => break Err(error),
            };
            let fence = memory.fence;
            let broken = self.follow(memory, &stop).await;
            if std::mem::take(&mut self.progressed) {
                pause = Pause::default();
            }
            match broken {
                Broken::Stopped => break Ok(()),
                Broken::Forgotten => {}
                Broken::Conflict => {
                    self.common.stats.conflicts.fetch_add(1, Ordering::Relaxed);
                    // Without a pause two that fight would mostly read what the other one writes.
                    self.rest(pause.next(), &stop).await;
                }
                Broken::Full => self.rest(pause.next(), &stop).await,
                Broken::Unknown => {
                    self.common.stats.unknown.fetch_add(1, Ordering::Relaxed);
                    self.rest(pause.next(), &stop).await;
                }
                Broken::Later(reason) => {
                    tracing::warn!(service = D::NAME, part = self.part, reason, "reading is tried again");
                    self.rest(pause.next(), &stop).await;
                }
                Broken::Blame(reason) => {
                    // Said where it happened; here nobody is left to blame.
                    tracing::error!(
                        service = D::NAME,
                        part = self.part,
                        fence,
                        reason,
                        "nothing can be said"
                    );
                    self.common.stats.set_waiting(self.part, true);
                    self.rest(pause.next().max(Duration::from_secs(1)).min(STUCK_WAIT), &stop).await;
                }
            }
        };
        self.common.stats.set_waiting(self.part, false);
        self.pending().store(0, Ordering::Relaxed);
        outcome
    }

    async fn rest(&self, wait: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }

    fn pending(&self) -> &AtomicU64 {
        &self.common.stats.own_pending[usize::from(self.part)]
    }

    /// Loads the memory, however long the log is away. None: nothing was ever said here.
    async fn memory(&self) -> Result<Option<Memory<D>>, DeciderError> {
        let mut pause = Pause::default();
        loop {
            let permit = self.common.loading.acquire().await.expect("nobody closes this semaphore");
            let loaded = load(&self.common, self.part).await;
            drop(permit);
            match loaded {
                Ok(memory) => {
                    self.common.stats.set_waiting(self.part, false);
                    return Ok(memory);
                }
                Err(NotLoaded::Never(error)) => return Err(error),
                Err(NotLoaded::Poison(raw, reason)) => {
                    self.common.stats.stuck.fetch_add(1, Ordering::Relaxed);
                    self.common.log.bury(D::NAME, &raw, &reason).await;
                }
                Err(NotLoaded::Later(error)) => {
                    tracing::warn!(%error, service = D::NAME, part = self.part, "loading is tried again");
                    self.common.stats.set_waiting(self.part, true);
                    tokio::time::sleep(pause.next()).await;
                }
            }
        }
    }

    /// Takes in, decides and commits until the memory is of no use any more.
    async fn follow(&mut self, mut memory: Memory<D>, stop: &CancellationToken) -> Broken {
        let mut source = self.own(memory.read_to, false);
        // Before anything newer is said of the same things.
        if let Err(broken) = self.say_again(&mut memory, stop).await {
            return broken;
        }
        // Inputs and what is owed take turns.
        let mut turn_of_owed = true;
        loop {
            if memory.restate_at <= Instant::now()
                && let Err(broken) = self.look_for_old(&mut memory, stop).await
            {
                return broken;
            }
            let turn = if memory.owed && turn_of_owed {
                Turn::Inputs(Vec::new())
            } else {
                match self.next_turn(&mut memory, &mut source, stop).await {
                    Ok(turn) => turn,
                    Err(broken) => return broken,
                }
            };
            turn_of_owed = !turn_of_owed;
            let step = match turn {
                Turn::Inputs(inputs) => self.step(&mut memory, inputs, stop).await,
                Turn::Cut => self.commit_cut(&mut memory, stop).await,
                Turn::Again => Ok(()),
                Turn::Stop => {
                    if memory.uncut > 0 {
                        // Lost, it only means that these inputs are heard again.
                        drop(self.commit_cut(&mut memory, stop).await);
                    }
                    return Broken::Stopped;
                }
            };
            match step {
                Ok(()) => {}
                Err(Broken::Blame(reason)) => return self.blame(memory, reason, stop).await,
                Err(broken) => return broken,
            }
        }
    }

    fn own(&self, read_to: u64, joined: bool) -> Source {
        let to = self.common.frontier.load(Ordering::Acquire).max(read_to);
        let reader = self.common.log.read(&heard_by::<D>(Some(self.part)), From::Seq(read_to + 1), Some(to));
        Source::Own { reader: Box::new(reader), to, joined }
    }

    /// What to do next. Waits for inputs unless something is owed.
    async fn next_turn(
        &mut self,
        memory: &mut Memory<D>,
        source: &mut Source,
        stop: &CancellationToken,
    ) -> Result<Turn, Broken> {
        if stop.is_cancelled() {
            return Ok(Turn::Stop);
        }
        let cut_due = match memory.uncut_since {
            Some(since) => since + self.common.options.cut_every,
            None => Instant::now() + STUCK_WAIT,
        };
        let patience = if memory.owed { Instant::now() } else { cut_due };
        match source {
            Source::Own { reader, to, joined } => {
                let limit = self.limit;
                tokio::select! {
                    made = reader.prepare() => made.map_err(|e| Broken::Later(e.to_string()))?,
                    () = stop.cancelled() => return Ok(Turn::Stop),
                }
                let chunk = tokio::select! {
                    biased;
                    chunk = reader.next_chunk(limit) => chunk.map_err(|e| Broken::Later(e.to_string()))?,
                    () = stop.cancelled() => return Ok(Turn::Stop),
                    () = tokio::time::sleep_until(patience) => return Ok(idle(memory, cut_due)),
                };
                self.pending().store(reader.pending(), Ordering::Relaxed);
                if !chunk.is_empty() {
                    return Ok(Turn::Inputs(chunk));
                }
                memory.read_to = memory.read_to.max(*to);
                let joined = *joined;
                if !joined {
                    self.inbox().join();
                }
                // What went by between the two is read by a consumer of one's own once more.
                let rest = self.common.frontier.load(Ordering::Acquire) > memory.read_to;
                *source = if !joined && rest { self.own(memory.read_to, true) } else { Source::Shared };
                Ok(Turn::Again)
            }
            Source::Shared => {
                if !memory.owed {
                    self.keep_pace(stop).await;
                }
                match self.inbox().take(self.limit) {
                    Taken::Some(mut chunk) => {
                        self.pending().store(self.inbox().len() as u64, Ordering::Relaxed);
                        chunk.retain(|raw| raw.seq > memory.read_to);
                        return Ok(if chunk.is_empty() { Turn::Again } else { Turn::Inputs(chunk) });
                    }
                    Taken::Left => {
                        self.common.stats.left.fetch_add(1, Ordering::Relaxed);
                        *source = self.own(memory.read_to, false);
                        return Ok(Turn::Again);
                    }
                    Taken::Nothing => {}
                }
                tokio::select! {
                    () = self.inbox().arrived() => Ok(Turn::Again),
                    () = stop.cancelled() => Ok(Turn::Stop),
                    () = tokio::time::sleep_until(patience) => Ok(idle(memory, cut_due)),
                }
            }
        }
    }

    /// Lets inputs gather while the last commit has only just begun.
    async fn keep_pace(&self, stop: &CancellationToken) {
        let Some(until) = self.committed.map(|began| began + self.common.options.pace) else { return };
        while (1..self.limit).contains(&self.inbox().len()) && Instant::now() < until {
            tokio::select! {
                () = self.inbox().arrived() => {}
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Takes in `inputs`, asks what follows, and commits it.
    async fn step(
        &mut self,
        memory: &mut Memory<D>,
        inputs: Vec<Raw>,
        stop: &CancellationToken,
    ) -> Result<(), Broken> {
        let asked = !inputs.is_empty();
        let heard = self.take_in(memory, inputs).await;
        let (decider, now, room) = (&mut memory.decider, memory.now, self.room);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            for input in &heard {
                decider.recall(input);
            }
            decider.decide(now, room)
        }));
        let mut decision = decided.map_err(|panic| Broken::Blame(said_by_panic(&*panic)))?;
        decision.timers = timer::one_per_key(decision.timers);
        let says_nothing = decision.said.is_empty() && decision.timers.is_empty();
        if says_nothing && decision.owed && !asked {
            // It owes something and says nothing: asking again at once would go on for ever.
            tracing::error!(service = D::NAME, part = self.part, "it owes something that it never says");
            decision.owed = false;
        }
        let is_quiet = says_nothing
            && decision.owed == memory.cut.owed
            && memory.uncut < self.common.options.cut_every_inputs
            && self.suspect_until == 0;
        if is_quiet {
            memory.owed = decision.owed;
            return Ok(());
        }
        self.commit(memory, decision, stop).await
    }

    /// Reads the inputs; what cannot be read goes to the dead letters.
    async fn take_in(&self, memory: &mut Memory<D>, inputs: Vec<Raw>) -> Vec<Arc<Heard>> {
        let mut all = Vec::with_capacity(inputs.len());
        self.common.stats.inputs.fetch_add(inputs.len() as u64, Ordering::Relaxed);
        memory.uncut += inputs.len();
        if memory.uncut > 0 && memory.uncut_since.is_none() {
            memory.uncut_since = Some(Instant::now());
        }
        for raw in inputs {
            memory.position = raw.seq;
            memory.read_to = memory.read_to.max(raw.seq);
            memory.now = memory.now.max(raw.heard);
            if memory.buried.contains(&raw.seq) {
                continue;
            }
            match raw.hear() {
                Ok(heard) => {
                    memory.chains.note(&raw, heard.id);
                    all.push(heard);
                }
                Err(error) => {
                    self.common.stats.undecodable.fetch_add(1, Ordering::Relaxed);
                    self.common.log.bury(D::NAME, &raw, &unread(&error)).await;
                }
            }
            memory.last_input = Some(raw);
        }
        all
    }

    /// Moves the cut over inputs that led to nothing.
    async fn commit_cut(&mut self, memory: &mut Memory<D>, stop: &CancellationToken) -> Result<(), Broken> {
        let nothing = Decision { owed: memory.owed, ..Decision::default() };
        self.commit(memory, nothing, stop).await
    }

    /// Writes a decision and the cut as one batch, and remembers what was said once it is stored.
    pub(super) async fn commit(
        &mut self,
        memory: &mut Memory<D>,
        decision: Decision,
        stop: &CancellationToken,
    ) -> Result<(), Broken> {
        let Decision { said, timers, owed } = decision;
        if said.len() + timers.len() > ROOM {
            let n = said.len() + timers.len();
            return Err(Broken::Blame(format!("{n} messages follow, more than there is room for ({ROOM})")));
        }
        let mut messages = Vec::with_capacity(said.len() + timers.len() + 1);
        for say in &said {
            messages.push(self.encode(memory, say)?);
        }
        for (tenant, timer) in &timers {
            let message = timer::encode(D::NAME, *tenant, timer);
            messages.push(message.map_err(|error| Broken::Blame(crate::log::chain(error)))?);
        }
        let cut =
            Cut { position: memory.position, now: memory.now, owed, stream_made: self.common.stream_made };
        messages.push(self.cut(&cut, memory.fence));
        self.committed = Some(Instant::now());
        let stored = self.store(memory.fence, &messages, stop).await;
        if let Err(Broken::Full) = stored {
            return Err(self.until_it_stores(&memory.cut, memory.fence, stop).await);
        }
        let seq = stored?;
        for say in &said {
            let decider = &mut memory.decider;
            // Stored already: a memory that cannot take it in is loaded again, and loading says which one it was.
            catch_unwind(AssertUnwindSafe(|| decider.apply(say))).map_err(|_| Broken::Unknown)?;
        }
        memory.fence = seq;
        self.progressed = true;
        memory.owed = owed;
        memory.cut = cut;
        memory.uncut = 0;
        memory.uncut_since = None;
        memory.last_input = None;
        self.room = ROOM;
        if memory.position >= self.suspect_until {
            self.suspect_until = 0;
            self.limit = self.common.options.chunk_max;
        }
        let stats = &self.common.stats;
        stats.commits.fetch_add(1, Ordering::Relaxed);
        stats.said.fetch_add(said.len() as u64, Ordering::Relaxed);
        stats.timers.fetch_add(timers.len() as u64, Ordering::Relaxed);
        match &self.common.observer {
            Some(observer)
                if observer.committed(self.part, memory.position, memory.decider.digest())
                    == Then::Forget =>
            {
                Err(Broken::Forgotten)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn encode(&self, memory: &Memory<D>, say: &Say) -> Result<Encoded, Broken> {
        if partition_of(say.tenant) != self.part {
            return Err(Broken::Blame(format!("{} is of a tenant in another partition", say.id)));
        }
        let (correlation, traceparent) = memory.chains.of(say.cause, say.id);
        let (retention, pop) = (say.fact.noun().retention(), &self.common.log.inner.config.pop);
        encode(say, D::NAME, correlation, traceparent, retention, pop)
            .map_err(|error| Broken::Blame(crate::log::chain(error)))
    }

    /// The store is full, and may have kept the beginning of a batch: waits until the cut that lies
    /// in the log can be written once more. Then the memory is to be loaded, with what was kept.
    async fn until_it_stores(&mut self, cut: &Cut, fence: u64, stop: &CancellationToken) -> Broken {
        let again = [self.cut(cut, fence)];
        let mut pause = Pause::default();
        loop {
            self.rest(pause.next(), stop).await;
            match self.store(fence, &again, stop).await {
                Err(Broken::Full) if stop.is_cancelled() => return Broken::Stopped,
                Err(Broken::Full) => {}
                Ok(_) => return Broken::Full,
                Err(broken) => return broken,
            }
        }
    }

    fn cut(&self, cut: &Cut, fence: u64) -> Encoded {
        let body = serde_json::to_vec(cut).expect("a cut is four plain fields");
        let mut headers = cut_headers();
        headers.push((EXPECTED_LAST, fence.to_string()));
        headers.push((ROLLUP, "sub".into()));
        let subject = cut_subject::<D>(self.part);
        Encoded { subject, headers, body: Bytes::from(body), read_headers: HeaderMap::new() }
    }

    /// Stores a batch; waits without end while the log cannot store. The place of the cut.
    async fn store(
        &mut self,
        fence: u64,
        messages: &[Encoded],
        stop: &CancellationToken,
    ) -> Result<u64, Broken> {
        let members: Vec<Member<'_>> =
            messages.iter().map(|message| Member { message, more: Vec::new() }).collect();
        let log = &self.common.log.inner;
        let mut pause = Pause::default();
        loop {
            match write(&log.connection, log.config.ack_timeout, &members).await {
                Outcome::Stored { seq, .. } => {
                    self.common.stats.set_waiting(self.part, false);
                    return Ok(seq);
                }
                Outcome::Conflict => return Err(self.refused(fence, Broken::Conflict)),
                Outcome::Unknown(reason) => {
                    tracing::warn!(
                        service = D::NAME,
                        part = self.part,
                        reason,
                        "a commit's outcome is unknown"
                    );
                    return Err(Broken::Unknown);
                }
                Outcome::Known => return Err(Broken::Blame("a message id that nobody gave is known".into())),
                Outcome::Refused { code, text } => {
                    return Err(Broken::Blame(format!("refused: {text} ({code})")));
                }
                Outcome::Full(reason) => {
                    tracing::warn!(service = D::NAME, part = self.part, reason, "the log's store is full");
                    self.common.stats.set_waiting(self.part, true);
                    return Err(Broken::Full);
                }
                Outcome::Away(reason) => {
                    tracing::warn!(service = D::NAME, part = self.part, reason, "the log does not store now");
                    self.common.stats.set_waiting(self.part, true);
                    if stop.is_cancelled() {
                        return Err(Broken::Stopped);
                    }
                    self.rest(pause.next(), stop).await;
                }
            }
        }
    }

    /// A refusal that repeats while the cut does not move is not another replica's doing.
    fn refused(&mut self, fence: u64, broken: Broken) -> Broken {
        self.refused = if self.refused.0 == fence { (fence, self.refused.1 + 1) } else { (fence, 1) };
        if self.refused.1 < REFUSALS_MAX {
            return broken;
        }
        self.refused = (fence, 0);
        Broken::Blame(format!("refused {REFUSALS_MAX} times although the cut at {fence} has not moved"))
    }

    /// Something is wrong with what was taken in since the cut: halve it, and when it is one, pass over it.
    async fn blame(&mut self, mut memory: Memory<D>, reason: String, stop: &CancellationToken) -> Broken {
        let n = memory.uncut;
        if n > 1 {
            self.limit = (n.min(self.limit) / 2).max(1);
            self.suspect_until = memory.position;
            tracing::warn!(service = D::NAME, part = self.part, n, reason, "halving the chunk");
            return Broken::Forgotten;
        }
        let Some(culprit) = memory.last_input.take().filter(|_| n == 1) else {
            let stuck = self.room == 1;
            self.room = (self.room / 2).max(1);
            return if stuck { Broken::Blame(reason) } else { Broken::Forgotten };
        };
        self.common.stats.stuck.fetch_add(1, Ordering::Relaxed);
        self.common.log.bury(D::NAME, &culprit, &reason).await;
        let owed = memory.cut.owed;
        let cut =
            Cut { position: memory.position, now: memory.now, owed, stream_made: self.common.stream_made };
        let over = [self.cut(&cut, memory.fence)];
        match self.store(memory.fence, &over, stop).await {
            Ok(_) => {
                if memory.position >= self.suspect_until {
                    self.suspect_until = 0;
                }
                self.limit = self.common.options.chunk_max;
                Broken::Forgotten
            }
            Err(broken) => broken,
        }
    }
}

/// What to do when nothing comes.
fn idle<D>(memory: &Memory<D>, cut_due: Instant) -> Turn {
    if memory.uncut > 0 && Instant::now() >= cut_due { Turn::Cut } else { Turn::Again }
}
