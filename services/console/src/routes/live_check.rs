//! The live check: every hop from root to leaf, looked at now, shown as it is measured.
//!
//! The way up is read from the inventory. One order and one ask per hop are said in one commit; the answers
//! are heard on the log like anybody's, and told in the order of the hops. The order is the record:
//! who looked, when, and what was asked.

use super::{
    events::{Events, place, streamed},
    inventory::nodes_called,
};
use crate::{
    desk::{Answer, Desk, Within, request_id},
    laid::{Key, members_of},
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::sse::{Event, Sse},
};
use domain::Graph;
use events::{
    Ask, AskId, Asked, EventId, Fact, Node, NodeId, Noun, Order, OrderId, OrderSaid, Outcome, Question, Say,
    SessionState, TenantId, Tier, Time,
};
use futures::Stream;
use kit::{Filter, From, Outgoing, http::Problem};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

/// How long an answer may take: a probe's own deadline is 2 s, and it has to be heard of first.
const DEADLINE_MS: i64 = 3_500;
/// How long a live check takes at most; what was not answered by then is unknown.
const WITHIN: Duration = Duration::from_millis(4_500);
/// The most hops: the nearest to the leaf are looked at.
const HOPS_MAX: usize = 64;

/// What was found of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    Up,
    Down,
    Unknown,
    /// It cannot be looked at: nothing sees it.
    Unobservable,
}

/// One node on the way.
#[derive(Debug, Clone, Serialize)]
struct Hop {
    /// Which, from 0: the root first.
    n: usize,
    node: NodeId,
    file_id: String,
    name: String,
    tier: Tier,
    /// How it is looked at: `icmp`, `tcp`, `router_os`, `ping_through`, `session`, `roll_call` or `none`.
    how: &'static str,
    #[serde(skip)]
    ask: Option<Ask>,
}

/// What was found of a hop, as it is told.
#[derive(Debug, Clone, Serialize)]
struct Told {
    #[serde(flatten)]
    hop: Hop,
    state: Found,
    /// Round trip, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_us: Option<u32>,
    /// Why nothing can be said, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// How long after the order it was known.
    after_ms: u128,
}

/// Looks at every hop from root to leaf, now. Ends within 5 s.
#[utoipa::path(
    post, path = "/api/v1/nodes/{node}/live-check", tag = "live check",
    params(("node" = String, Path, description = "The leaf: its id, or its id in the network file.")),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "`order` with all hops, then one `hop` each, root first, as it is known, then `end`."
        ),
        (status = 404)
    )
)]
pub(crate) async fn live_check(
    State(desk): State<Desk>,
    within: Within,
    Path(called): Path<String>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let place = place(&desk)?;
    let way = way_to(&desk, within.tenant, &called).await?;
    let leaf = way.last().map(|node| node.id).ok_or_else(|| Problem::not_found("there is no such node"))?;
    let request = request_id(&within.who, &headers)?;
    let at = crate::now();
    let hops: Vec<Hop> = way.iter().enumerate().map(|(n, node)| hop(n, node, request, at)).collect();
    let order = OrderSaid {
        id: OrderId::of(request),
        order: Order::LiveCheck { node: leaf, hops: hops.iter().filter_map(asked).collect() },
        by: within.who.name.clone(),
    };
    let id = order.id;
    let say = |id, cause, fact| {
        let say = Say { id, tenant: within.tenant, at, cause, fact };
        Outgoing::new(say, crate::SOURCE).traced(kit::telemetry::current_traceparent())
    };
    let mut outs = vec![say(request, None, Fact::Order(order))];
    outs.extend(hops.iter().filter_map(|hop| hop.ask.clone()).map(|ask| {
        let id = EventId::following(request, crate::SOURCE, &format!("ask-{}", ask.id));
        say(id, Some(request), Fact::Ask(ask))
    }));
    let stored = desk.log.publish_all(outs).await?;
    let seq = stored.first().map_or(0, |stored| stored.seq);
    let (sender, receiver) = mpsc::channel(HOPS_MAX + 2);
    tokio::spawn(look(desk, within.tenant, (id, seq), hops, sender));
    Ok(streamed(receiver, place))
}

/// The nodes on the way up from the one that is called so, the root first; empty when there is none.
async fn way_to(desk: &Desk, tenant: TenantId, called: &str) -> Answer<Vec<Node>> {
    let laid = desk.inventories.now(tenant).await?;
    let mut leaf = None;
    for id in nodes_called(tenant, called) {
        if laid.things.contains_key(&Key::Node(id)) {
            leaf = Some(id);
            break;
        }
    }
    let Some(leaf) = leaf else { return Ok(vec![]) };
    let (mut graph, mut seen, mut next) = (Graph::default(), BTreeSet::from([leaf]), VecDeque::from([leaf]));
    while let Some(id) = next.pop_front() {
        let Some(node) = desk.inventories.node(&laid, id).await? else { continue };
        for group in &node.needs {
            members_of(group, &mut |id| {
                if seen.len() < HOPS_MAX && seen.insert(id) {
                    next.push_back(id);
                }
            });
        }
        graph.put(node);
    }
    drop(laid);
    graph.knit();
    let mut way: Vec<_> = graph.indexes().collect();
    way.sort_by_key(|index| (graph.rank(*index), graph.node(*index).map(|node| node.file_id.clone())));
    Ok(way.into_iter().filter_map(|index| graph.node(index)).map(|node| node.as_ref().clone()).collect())
}

fn hop(n: usize, node: &Node, request: EventId, at: Time) -> Hop {
    let look = match (node.watch, node.seen_by) {
        (Some(watch), _) => {
            let how = match watch.probe {
                events::Probe::Icmp => "icmp",
                events::Probe::Tcp { .. } => "tcp",
                events::Probe::RouterOs => "router_os",
            };
            Some((how, node.id, Question::Reach { probe: watch.probe }))
        }
        (None, Some(router)) if node.address.is_some() => {
            Some(("ping_through", node.id, Question::PingThrough { router }))
        }
        (None, Some(router)) if !node.claims.is_empty() => {
            Some(("session", node.id, Question::Session { router, keys: node.claims.clone() }))
        }
        (None, Some(router)) => Some(("roll_call", router, Question::RollCall { whole: true })),
        (None, None) => None,
    };
    let (how, ask) = match look {
        None => ("none", None),
        Some((how, target, question)) => {
            let id = AskId::of(request, node.id, u32::try_from(n).unwrap_or(u32::MAX));
            let deadline = at.plus_ms(DEADLINE_MS);
            (how, Some(Ask { id, target, target_kind: node.kind, question, at, deadline }))
        }
    };
    let (file_id, name) = (node.file_id.clone(), node.name.clone());
    Hop { n, node: node.id, file_id, name, tier: node.tier, how, ask }
}

fn asked(hop: &Hop) -> Option<Asked> {
    let ask = hop.ask.as_ref()?;
    let roll_call = matches!(ask.question, Question::RollCall { .. });
    Some(Asked { id: ask.id, target: ask.target, at: ask.at, deadline: ask.deadline, round: 0, roll_call })
}

#[derive(Serialize)]
struct Begun<'a> {
    order: Uuid,
    seq: u64,
    hops: &'a [Hop],
}

#[derive(Serialize)]
struct Ended {
    up: usize,
    down: usize,
    unknown: usize,
    unobservable: usize,
    took_ms: u128,
}

/// Hears the answers and tells them in the order of the hops.
async fn look(desk: Desk, tenant: TenantId, (order, seq): (OrderId, u64), hops: Vec<Hop>, events: Events) {
    let began = Instant::now();
    let deadline = began + WITHIN;
    let begun = Begun { order: order.0, seq, hops: &hops };
    if events.send(event("order", &begun)).await.is_err() {
        return;
    }
    let mut known: BTreeMap<usize, Told> = BTreeMap::new();
    for hop in hops.iter().filter(|hop| hop.ask.is_none()) {
        let why = Some("nothing sees it: it is taken to be as what it needs".to_owned());
        known.insert(hop.n, told(hop, Found::Unobservable, None, why, began));
    }
    let mut reader = desk.log.read(&[Filter::noun(Noun::Answer).tenant(tenant)], From::Seq(seq + 1), None);
    let (mut next, mut ended) = (0, Ended { up: 0, down: 0, unknown: 0, unobservable: 0, took_ms: 0 });
    loop {
        while let Some(told) = known.get(&next) {
            match told.state {
                Found::Up => ended.up += 1,
                Found::Down => ended.down += 1,
                Found::Unknown => ended.unknown += 1,
                Found::Unobservable => ended.unobservable += 1,
            }
            if events.send(event("hop", told)).await.is_err() {
                return;
            }
            next += 1;
        }
        if next == hops.len() {
            ended.took_ms = began.elapsed().as_millis();
            // Whoever has gone does not miss it.
            drop(events.send(event("end", &ended)).await);
            return;
        }
        let heard = tokio::select! {
            () = desk.stop.cancelled() => return,
            () = events.closed() => return,
            () = tokio::time::sleep_until(deadline) => None,
            raw = reader.next() => raw.ok().flatten(),
        };
        match heard.map(|raw| raw.decode().map(|heard| heard.fact)) {
            Some(Ok(Fact::Answer(answer))) => {
                let of = |hop: &&Hop| hop.ask.as_ref().is_some_and(|ask| Some(ask.id) == answer.ask);
                if let Some(hop) = hops.iter().find(of)
                    && !known.contains_key(&hop.n)
                    && let Some((state, rtt_us, why)) = found(hop, &answer.outcome)
                {
                    known.insert(hop.n, told(hop, state, rtt_us, why, began));
                }
            }
            Some(_) => {}
            None => {
                let why = "no answer came in time: that says nothing about it";
                for hop in &hops {
                    known
                        .entry(hop.n)
                        .or_insert_with(|| told(hop, Found::Unknown, None, Some(why.into()), began));
                }
            }
        }
    }
}

/// What an answer says of a hop; none while more will follow.
fn found(hop: &Hop, outcome: &Outcome) -> Option<(Found, Option<u32>, Option<String>)> {
    match outcome {
        Outcome::Replied { rtt_us } => Some((Found::Up, Some(*rtt_us), None)),
        Outcome::Silent { last: false, .. } | Outcome::RouterSilent { last: false, .. } => None,
        Outcome::Silent { tries, last: true } => {
            Some((Found::Down, None, Some(format!("{tries} tries went unanswered"))))
        }
        Outcome::RouterSilent { last: true, .. } => {
            Some((Found::Unknown, None, Some("its router does not answer".into())))
        }
        Outcome::Unanswered { why } => Some((Found::Unknown, None, Some(why.clone()))),
        Outcome::Session { state: SessionState::Present } => Some((Found::Up, None, None)),
        Outcome::Session { state: SessionState::Absent } => {
            Some((Found::Down, None, Some("its router has no session of it".into())))
        }
        Outcome::RollCall(call) if call.up.contains(&hop.node) => Some((Found::Up, None, None)),
        Outcome::RollCall(call) if call.down.contains(&hop.node) => {
            Some((Found::Down, None, Some("its router says so".into())))
        }
        Outcome::RollCall(call) if call.chunk + 1 < call.chunks => None,
        Outcome::RollCall(_) => Some((Found::Unknown, None, Some("its router does not speak of it".into()))),
    }
}

fn told(hop: &Hop, state: Found, rtt_us: Option<u32>, why: Option<String>, began: Instant) -> Told {
    Told { hop: hop.clone(), state, rtt_us, why, after_ms: began.elapsed().as_millis() }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("plain data is representable as JSON");
    Event::default().event(name).data(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::RollCall;

    fn hop_of(node: &str) -> Hop {
        let node = NodeId::of(TenantId::of("t"), node);
        let (file_id, name) = (String::new(), String::new());
        Hop { n: 0, node, file_id, name, tier: Tier::Core, how: "none", ask: None }
    }

    #[test]
    fn only_a_last_try_is_a_verdict() {
        let hop = hop_of("a");
        assert!(found(&hop, &Outcome::Silent { tries: 1, last: false }).is_none());
        let (state, ..) = found(&hop, &Outcome::Silent { tries: 3, last: true }).unwrap();
        assert_eq!(state, Found::Down);
        let (state, ..) = found(&hop, &Outcome::RouterSilent { tries: 3, last: true }).unwrap();
        assert_eq!(state, Found::Unknown, "that is evidence against the router");
    }

    #[test]
    fn a_roll_call_that_does_not_name_it_says_nothing() {
        let hop = hop_of("a");
        let call = |chunk, up: &[&Hop]| {
            Outcome::RollCall(RollCall {
                chunk,
                chunks: 2,
                whole: true,
                uptime_ms: 1,
                up: up.iter().map(|hop| hop.node).collect(),
                down: vec![],
                present: vec![],
                gone: vec![],
            })
        };
        assert!(found(&hop, &call(0, &[])).is_none());
        assert_eq!(found(&hop, &call(1, &[])).unwrap().0, Found::Unknown);
        assert_eq!(found(&hop, &call(0, &[&hop])).unwrap().0, Found::Up);
    }
}
