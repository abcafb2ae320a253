//! Live updates: health and incidents of a tenant, as server-sent events.
//!
//! The id of an event is its place in the log, so whoever comes back with `Last-Event-ID` misses nothing.
//! Who has been away for too long is told `reset`: read everything again, then follow from here.

use crate::desk::{Answer, Desk, Watching};
use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use events::{Fact, Noun, TenantId};
use futures::{Stream, stream};
use kit::{Filter, From, Raw, http::Problem};
use serde_json::json;
use std::{convert::Infallible, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How often a silent connection is given a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many updates may wait for a client.
const WAITING_MAX: usize = 64;
/// How long a client may take no update while others wait for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far behind a client may be, in messages of the log, and still be told all of it.
const BEHIND_MAX: u64 = 100_000;

/// What a stream of events is made of: it ends when the sender is dropped.
pub(crate) type Events = mpsc::Sender<Event>;

/// Events as they are sent, and a sign of life while there are none. The place is held until the end.
pub(crate) fn streamed(
    events: mpsc::Receiver<Event>,
    place: OwnedSemaphorePermit,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold((events, place), async |(mut events, place)| {
        let event = events.recv().await?;
        Some((Ok(event), (events, place)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

/// A place for one more stream.
pub(crate) fn place(desk: &Desk) -> Answer<OwnedSemaphorePermit> {
    let place = desk.streams.clone().try_acquire_owned();
    place.map_err(|_| {
        Problem::unavailable("too many live updates are being followed", Duration::from_secs(5)).into()
    })
}

/// Changes of health and incidents as they are said. `Last-Event-ID` resumes.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The last place that was heard.")),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "`health`, `incident`; first `open`, or `reset` when too much was missed. The id is the place in the log."
    ))
)]
pub(crate) async fn follow(
    State(desk): State<Desk>,
    Watching(within): Watching,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let place = place(&desk)?;
    let state = desk.log.state().await?;
    let end = state.last_seq;
    let last = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse::<u64>().ok()));
    let (from, first) = match last {
        None => (end, named("open", end, &json!({ "seq": end }))),
        Some(Some(last)) if last <= end && last + 1 >= state.first_seq && end - last <= BEHIND_MAX => {
            (last, named("open", last, &json!({ "seq": last })))
        }
        Some(_) => (end, named("reset", end, &json!({ "seq": end }))),
    };
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    // There is room for the first one.
    drop(sender.try_send(first));
    tokio::spawn(feed(desk, within.tenant, from, sender));
    Ok(streamed(receiver, place))
}

/// Reads on for one client until it goes, falls behind, or we end.
async fn feed(desk: Desk, tenant: TenantId, after: u64, events: Events) {
    let filters = [Noun::Health, Noun::Incident].map(|noun| Filter::noun(noun).tenant(tenant));
    let mut reader = desk.log.read(&filters, From::Seq(after + 1), None);
    loop {
        let raw = tokio::select! {
            () = desk.stop.cancelled() => return,
            () = events.closed() => return,
            raw = reader.next() => raw,
        };
        let raw = match raw {
            Ok(Some(raw)) => raw,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "live updates end");
                return;
            }
        };
        let Some(event) = told(&raw) else { continue };
        if events.send_timeout(event, PATIENCE).await.is_err() {
            tracing::debug!("a client that takes no updates is let go");
            return;
        }
    }
}

fn told(raw: &Raw) -> Option<Event> {
    let heard = raw.decode().ok()?;
    let (name, said) = match &heard.fact {
        Fact::Health(said) => {
            let now = &said.now;
            let said = json!({
                "kind": said.kind, "node": now.node, "health": now.health, "flags": now.flags,
                "since": now.since, "roots": now.roots,
            });
            ("health", said)
        }
        Fact::Incident(said) => ("incident", json!({ "kind": said.kind, "incident": said.now })),
        Fact::Inventory(_)
        | Fact::Part(_)
        | Fact::Revision(_)
        | Fact::Access(_)
        | Fact::Order(_)
        | Fact::Signal(_)
        | Fact::Answer(_)
        | Fact::Ask(_)
        | Fact::Suspicion(_)
        | Fact::Notice(_)
        | Fact::Delivery(_)
        | Fact::Due(_)
        | Fact::Repair(_)
        | Fact::Plan(_)
        | Fact::Entitlement(_)
        | Fact::Enforcement(_)
        | Fact::Sighting(_)
        | Fact::Refusal(_)
        | Fact::View(_)
        | Fact::Cut(_) => return None,
    };
    let data = json!({ "seq": heard.seq, "event": heard.id, "heard": heard.heard, "said": said });
    Some(named(name, heard.seq, &data))
}

fn named(name: &str, seq: u64, data: &serde_json::Value) -> Event {
    Event::default().event(name).id(seq.to_string()).data(data.to_string())
}
