//! A story told line by line, for people who look for a fault.

use crate::{
    bus::Bus,
    net::Net,
    script::Script,
    world::{Need, Of},
};
use events::{About, Fact, Inventory, NodeId, Outcome, Question};
use std::fmt::Write as _;

/// Every step and every message, in order of time.
pub fn tell(nets: &[Net], bus: &Bus, scripts: &[Script], start_us: i64) -> Vec<String> {
    let mut lines: Vec<(i64, String)> = vec![];
    for (net, script) in nets.iter().zip(scripts) {
        for step in &script.steps {
            let at = start_us + step.at_ms * 1_000;
            lines.push((at, format!("TRUTH        {} {:?}", net.world.name(step.thing), step.what)));
        }
        for (i, thing) in net.world.things.iter().enumerate() {
            let mut line = format!("WORLD        {}", net.world.name(i as u32));
            for need in &thing.needs {
                let _ = write!(line, " needs {}", needs(net, need));
            }
            if let Some(router) = thing.seen_by {
                let _ = write!(line, " seen by {}", net.world.name(router));
            }
            if let Some(every) = thing.watch_s {
                let _ = write!(line, " watched every {every} s");
            }
            if let Some(window) = thing.maintenance {
                let _ = write!(line, " maintenance {window:?}");
            }
            lines.push((start_us - 1, line));
        }
    }
    for entry in &bus.log {
        let heard = &entry.heard;
        let Some(net) = nets.iter().find(|n| n.tenant == heard.tenant) else { continue };
        if let Some(what) = fact(net, &heard.fact) {
            lines.push((heard.heard.us(), format!("{:>6} {what}", heard.seq)));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(at, line)| format!("{:>11.3} {line}", (at - start_us) as f64 / 1e6)).collect()
}

fn needs(net: &Net, need: &Need) -> String {
    let of: Vec<String> = need
        .of
        .iter()
        .map(|of| match of {
            Of::Thing(thing) => net.world.name(*thing),
            Of::Need(need) => needs(net, need),
        })
        .collect();
    format!("{:?}({})", need.mode, of.join(", "))
}

fn name(net: &Net, id: NodeId) -> String {
    net.by_id.get(&id).map_or_else(|| id.to_string(), |t| net.world.name(*t))
}

fn names(net: &Net, ids: &[NodeId]) -> String {
    let some: Vec<String> = ids.iter().take(6).map(|id| name(net, *id)).collect();
    format!("{}[{}]", ids.len(), some.join(" "))
}

fn short(id: &impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

fn ask_id(ask: Option<events::AskId>) -> String {
    ask.map_or_else(|| "unasked".into(), |id| short(&id))
}

fn fact(net: &Net, fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Inventory(Inventory::Tenant(_)) | Fact::Part(_) | Fact::Revision(_) => "inventory".into(),
        Fact::Inventory(_)
        | Fact::Access(_)
        | Fact::Entitlement(_)
        | Fact::Enforcement(_)
        | Fact::Repair(_)
        | Fact::Plan(_)
        | Fact::Sighting(_)
        | Fact::Refusal(_)
        | Fact::View(_)
        | Fact::Cut(_) => {
            return None;
        }
        Fact::Order(said) => format!("order        {:?}", said.order),
        Fact::Signal(s) => {
            let about = match s.about {
                About::Node(id) => name(net, id),
                About::Session(key) => net.by_key.get(&key).map_or("?".into(), |t| net.world.name(*t)),
            };
            let by = s.sender.map_or("?".into(), |id| name(net, id));
            format!("signal       {about} {:?} {:?} by {by} {:?} {:?}", s.says, s.source, s.boot, s.seq)
        }
        Fact::Answer(a) => {
            let what = match &a.outcome {
                Outcome::RollCall(r) => format!(
                    "roll call {}/{} whole={} up {} s: up {} down {} present {} gone {}",
                    r.chunk + 1,
                    r.chunks,
                    r.whole,
                    r.uptime_ms / 1_000,
                    names(net, &r.up),
                    names(net, &r.down),
                    r.present.len(),
                    r.gone.len()
                ),
                other => format!("{other:?}"),
            };
            format!("answer       {} {:?} {} {what}", name(net, a.target), via(net, a.via), ask_id(a.ask))
        }
        Fact::Ask(a) => {
            let what = match &a.question {
                Question::PingThrough { router } => format!("ping through {}", name(net, *router)),
                Question::Session { router, .. } => format!("session at {}", name(net, *router)),
                other => format!("{other:?}"),
            };
            let within_ms = a.deadline.ms_since(a.at);
            format!("ASK          {} {} {what} within {within_ms} ms", name(net, a.target), short(&a.id))
        }
        Fact::Suspicion(s) => format!(
            "SUSPICION    {} {:?} {:?} asked {:?}",
            name(net, s.now.node),
            s.kind,
            s.now.source,
            s.now.asked.iter().map(|a| (name(net, a.target), short(&a.id), a.round)).collect::<Vec<_>>()
        ),
        Fact::Health(h) => format!(
            "HEALTH       {} {:?} {:?} {:?} roots {} {:?} asked {}",
            name(net, h.now.node),
            h.kind,
            h.now.health,
            h.now.flags,
            names(net, &h.now.roots),
            h.now.evidence.iter().map(|e| (e.kind, e.count, e.weight)).collect::<Vec<_>>(),
            h.now.asked.len()
        ),
        Fact::Incident(i) => format!(
            "INCIDENT     {} {:?} {:?} {:?} `{}` roots {:?} into {:?} subscribers {}",
            short(&i.now.id),
            i.kind,
            i.now.state,
            i.now.class,
            i.now.title,
            i.now
                .roots
                .iter()
                .map(|r| format!(
                    "{}{}{}",
                    name(net, r.node),
                    if r.down { " down" } else { " back" },
                    if r.quiet { " quiet" } else { "" }
                ))
                .collect::<Vec<_>>(),
            i.now.merged_into.as_ref().map(short),
            i.now.impact.subscribers
        ),
        Fact::Notice(n) => format!(
            "NOTICE       {} {:?} {:?} step {} {:?} of {} about {} `{}`",
            short(&n.now.id),
            n.kind,
            n.now.phase,
            n.now.step,
            n.now.audience,
            short(&n.now.incident),
            short(&n.now.about.id),
            n.now.title
        ),
        Fact::Delivery(d) => format!("delivery     {} {:?} {}", short(&d.now.notice), d.kind, d.now.attempts),
        Fact::Due(d) => format!("due          {} {} v{}", d.service, d.key, d.version),
    })
}

fn via(net: &Net, via: events::Vantage) -> String {
    match via {
        events::Vantage::Direct => "direct".into(),
        events::Vantage::Through(id) => format!("through {}", name(net, id)),
    }
}
