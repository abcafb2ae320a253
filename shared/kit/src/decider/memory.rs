//! A partition's memory, and how it is loaded.
//!
//! Read the cut from the stream's leader; hear the inventory again from its beginning and everything else
//! of the last 15 minutes, up to the cut, in the order of the log; remember the last message of each subject that
//! was said. If anybody commits meanwhile, the first own commit fails on the fence, and loading begins again.

use super::{Common, DeciderError, heard_by, inventory, restate, said_by};
use crate::{
    log::LogError,
    message::{Raw, Undecodable, said_again},
    read::{From, Reader},
};
use events::{Cut, Decide, EventId, RECALL_MS, Say, Time, header};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};
use tokio::time::Instant;

/// What is known of a partition at a place in the log.
pub(super) struct Memory<D> {
    pub(super) decider: D,
    /// The place of the cut itself: the next commit is conditional on it. 0: there is none yet.
    pub(super) fence: u64,
    /// The last input taken in.
    pub(super) position: u64,
    /// Everything up to here has been read, whether it was for us or not.
    pub(super) read_to: u64,
    /// The highest `heard` of all inputs.
    pub(super) now: Time,
    /// Whether something that follows was not said yet.
    pub(super) owed: bool,
    /// The cut that lies in the log.
    pub(super) cut: Cut,
    /// Inputs taken in since the cut.
    pub(super) uncut: usize,
    pub(super) uncut_since: Option<Instant>,
    /// The last of them: when it is the only one, it is known what to blame.
    pub(super) last_input: Option<Raw>,
    /// Passed over before: they lie in the dead letters.
    pub(super) buried: BTreeSet<u64>,
    pub(super) chains: Chains,
    /// Standings that the log is about to forget, to be said again before anything else is.
    pub(super) old: Vec<Say>,
    /// When it is looked again which those are.
    pub(super) restate_at: Instant,
}

/// Why a memory could not be loaded.
pub(super) enum NotLoaded {
    /// Ask again later.
    Later(LogError),
    /// This message makes the decider panic: pass over it and begin again.
    Poison(Box<Raw>, String),
    /// Never.
    Never(DeciderError),
}

impl std::convert::From<LogError> for NotLoaded {
    fn from(error: LogError) -> Self {
        NotLoaded::Later(error)
    }
}

/// The subject of a service's cut. `all` stands where a tenant would: a partition has many.
pub(super) fn cut_subject<D: Decide>(part: u16) -> String {
    format!("mw.{part}.all.cut.{}", D::NAME)
}

/// Loads the memory of a partition; none when nothing was ever said in it that is for us.
pub(super) async fn load<D: Decide>(common: &Common<D>, part: u16) -> Result<Option<Memory<D>>, NotLoaded> {
    let frontier = common.frontier.load(Ordering::Acquire);
    let last_cut = common.log.last(&cut_subject::<D>(part)).await?;
    let (cut, fence) = match last_cut {
        Some(raw) => (read_cut(&raw)?, raw.seq),
        None => (Cut::default(), 0),
    };
    let foreign = cut.stream_made != Time::EPOCH && common.stream_made != cut.stream_made;
    if foreign {
        return Err(NotLoaded::Never(DeciderError::ForeignCut {
            service: D::NAME,
            part,
            then: cut.stream_made,
            now: common.stream_made,
        }));
    }
    if fence == 0 && is_silent(common, part, frontier).await? {
        return Ok(None);
    }
    let buried = common.log.buried(D::NAME, part).await?;
    let mut memory = Memory {
        decider: (common.make)(part),
        fence,
        position: cut.position,
        read_to: cut.position,
        now: cut.now,
        owed: cut.owed,
        cut,
        uncut: 0,
        uncut_since: None,
        last_input: None,
        buried,
        chains: Chains::default(),
        old: Vec::new(),
        restate_at: Instant::now() + common.options.restate_every,
    };
    if fence > 0 {
        hear_again(common, part, &mut memory).await?;
    }
    remember_what_was_said(common, part, &mut memory).await?;
    memory.decider.forget(memory.now);
    common.stats.loads.fetch_add(1, Ordering::Relaxed);
    if let Some(observer) = &common.observer {
        observer.loaded(part, memory.position, memory.decider.digest());
    }
    Ok(Some(memory))
}

/// A cut that cannot be read is a fault of ours or a newer program's: working on would decide again.
fn read_cut(raw: &Raw) -> Result<Cut, NotLoaded> {
    serde_json::from_slice(&raw.body).map_err(|error| {
        NotLoaded::Later(LogError::Read {
            what: format!("the cut at {}", raw.seq),
            reason: error.to_string(),
        })
    })
}

async fn is_silent<D: Decide>(common: &Common<D>, part: u16, frontier: u64) -> Result<bool, LogError> {
    if frontier == 0 {
        return Ok(true);
    }
    let mut reader = common.log.read(&heard_by::<D>(Some(part)), From::Start, Some(frontier));
    Ok(reader.next().await?.is_none())
}

async fn hear_again<D: Decide>(
    common: &Common<D>,
    part: u16,
    memory: &mut Memory<D>,
) -> Result<(), NotLoaded> {
    if memory.position == 0 {
        return Ok(());
    }
    let since = From::Time(memory.now.plus_ms(-RECALL_MS));
    let mut recent = common.log.read(&heard_by::<D>(Some(part)), since, Some(memory.position));
    let first = recent.next().await?;
    // The inventory counts as heard for ever: what lies before the recent inputs comes first.
    let before = first.as_ref().map_or(memory.position, |raw| raw.seq - 1);
    let mut old = common.log.read(&inventory(Some(part)), From::Start, Some(before));
    recall_all(&mut old, memory).await?;
    if let Some(raw) = first {
        recall_one(raw, memory)?;
        recall_all(&mut recent, memory).await?;
    }
    Ok(())
}

async fn recall_all<D: Decide>(reader: &mut Reader, memory: &mut Memory<D>) -> Result<(), NotLoaded> {
    loop {
        let chunk = reader.next_chunk(super::partition::READ_MAX).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        for raw in chunk {
            recall_one(raw, memory)?;
        }
    }
}

fn recall_one<D: Decide>(raw: Raw, memory: &mut Memory<D>) -> Result<(), NotLoaded> {
    if memory.buried.contains(&raw.seq) {
        return Ok(());
    }
    // What could not be read was put into the dead letters when it was passed.
    let Ok(heard) = raw.decode() else { return Ok(()) };
    memory.chains.note(&raw, heard.id);
    let decider = &mut memory.decider;
    catch_unwind(AssertUnwindSafe(|| decider.recall(&heard)))
        .map_err(|panic| NotLoaded::Poison(Box::new(raw), said_by_panic(&*panic)))
}

async fn remember_what_was_said<D: Decide>(
    common: &Common<D>,
    part: u16,
    memory: &mut Memory<D>,
) -> Result<(), NotLoaded> {
    let filters = said_by::<D>(part);
    if filters.is_empty() {
        return Ok(());
    }
    // To the end of the log, not to the cut: a store that became full half-way through a batch has kept
    // its beginning (tried), and what was said is not said again. What another replica says meanwhile
    // fails our fence.
    let end = common.log.state().await?.last_seq;
    let mut said = common.log.read(&filters, From::LastPerSubject, Some(end));
    loop {
        let chunk = said.next_chunk(super::partition::READ_MAX).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        for raw in chunk {
            if memory.buried.contains(&raw.seq) {
                continue;
            }
            let heard = match raw.decode() {
                Ok(heard) => heard,
                Err(error) => return Err(NotLoaded::Poison(Box::new(raw), unread(&error))),
            };
            let age = restate::age(raw.heard, (common.options.retention)(heard.fact.noun()), memory.now);
            if age == restate::Age::Over {
                common.stats.expired.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let again = said_again(heard, raw.cause());
            if age == restate::Age::Old {
                restate::note(memory, &again);
            }
            let decider = &mut memory.decider;
            catch_unwind(AssertUnwindSafe(|| decider.apply(&again)))
                .map_err(|panic| NotLoaded::Poison(Box::new(raw), said_by_panic(&*panic)))?;
        }
    }
}

/// Why a message could not be read, with all causes.
pub(super) fn unread(error: &Undecodable) -> String {
    crate::log::chain(error)
}

/// What a panic said.
pub(super) fn said_by_panic(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "something that is no text".into());
    format!("it panicked: {text}")
}

/// The chains and traces that recent inputs belong to, so that what follows from them goes on with them.
#[derive(Default)]
pub(super) struct Chains {
    known: HashMap<EventId, Chain>,
    order: VecDeque<EventId>,
}

#[derive(Clone)]
pub(super) struct Chain {
    pub(super) first: Option<EventId>,
    traceparent: Option<String>,
}

/// How many inputs' chains are remembered. What is said later than that begins a chain at its cause.
const CHAINS_MAX: usize = 4_096;

impl Chains {
    pub(super) fn note(&mut self, raw: &Raw, id: EventId) {
        let (first, traceparent) = (raw.correlation(), raw.traceparent().map(str::to_owned));
        if first.is_none() && traceparent.is_none() {
            return;
        }
        if self.known.insert(id, Chain { first, traceparent }).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > CHAINS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// The chain that what follows from `cause` belongs to, and its trace with a span of `id`'s own.
    pub(super) fn of(&self, cause: Option<EventId>, id: EventId) -> (Option<EventId>, Option<String>) {
        let Some(cause) = cause else { return (None, None) };
        match self.known.get(&cause) {
            Some(chain) => {
                let trace = chain.traceparent.as_deref().and_then(|parent| child_of(parent, id));
                (chain.first.or(Some(cause)), trace)
            }
            None => (Some(cause), None),
        }
    }
}

/// The same trace, with a span named after an event. Source: W3C Trace Context, section 3.2.
fn child_of(traceparent: &str, id: EventId) -> Option<String> {
    let mut fields = traceparent.split('-');
    let (version, trace, _parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let span = u64::from_be_bytes(id.0.as_bytes()[..8].try_into().ok()?);
    (version == "00" && trace.len() == 32 && span != 0).then(|| format!("00-{trace}-{span:016x}-{flags}"))
}

/// The headers of a cut: no more than what tells a reader what it is.
pub(super) fn cut_headers() -> Vec<crate::message::HeaderPair> {
    vec![(header::name::SPEC_VERSION, "1.0".into()), (header::name::TYPE, events::Noun::Cut.event_type())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::TenantId;

    #[test]
    fn a_span_is_named_after_its_event_and_stays_in_the_trace() {
        let id = EventId(TenantId::of("x").0);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let child = child_of(parent, id).unwrap();
        assert!(child.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && child.ends_with("-01"));
        assert_ne!(child, parent);
        assert_eq!(child_of("nonsense", id), None);
    }
}
