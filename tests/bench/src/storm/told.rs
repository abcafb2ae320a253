//! What was said of an outage: to people, and in the log.

use anyhow::Context;
use events::{
    EventId, Fact, Health, Heard, IncidentId, IncidentKind, IncidentState, NodeId, Noun, Phase, TenantId,
    Time,
};
use kit::{Filter, From, Log};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Instant,
};

/// One call of somebody's webhook, the first under its id.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    /// When it came.
    pub(crate) at: Instant,
    /// Which change it tells.
    pub(crate) phase: Option<Phase>,
    /// Its first line.
    pub(crate) title: String,
}

/// What people were told so far, repetitions under one id taken as one, and how many calls there were.
pub(crate) fn notices(sink: &stack::Sink) -> (Vec<Notice>, usize) {
    let (mut seen, calls) = (BTreeSet::new(), sink.calls());
    let count = calls.len();
    let first = calls.into_iter().filter(|(_, id, _)| seen.insert(id.clone()));
    let notice = |(at, _, body): (Instant, String, Value)| Notice {
        at,
        phase: phase(body["type"].as_str().unwrap_or_default()),
        title: body["data"]["title"].as_str().unwrap_or_default().to_owned(),
    };
    (first.map(notice).collect(), count)
}

/// Which change a webhook's type names: its last word.
fn phase(kind: &str) -> Option<Phase> {
    let last = kind.rsplit('.').next()?;
    [Phase::Opened, Phase::Changed, Phase::Escalated, Phase::Resolved].into_iter().find(|p| p.name() == last)
}

/// Whether a title is about the node called `name`: "Core-1 at Mill Hill is down: …".
pub(crate) fn is_about(title: &str, name: &str) -> bool {
    title.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '))
}

/// What was said of incidents and notices in the log, as it is said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Incidents(Arc<Mutex<Vec<Heard>>>);

impl Incidents {
    /// Listens from now on.
    pub(crate) fn follow(log: &Log, tenant: TenantId) -> Self {
        let incidents = Self::default();
        let (heard, mut reader) = (
            incidents.clone(),
            log.tail(&[Noun::Incident, Noun::Notice].map(|n| Filter::noun(n).tenant(tenant))),
        );
        tokio::spawn(async move {
            while let Ok(Some(raw)) = reader.next().await {
                if let Ok(said) = raw.decode() {
                    heard.0.lock().expect("nobody panics while holding it").push(said);
                }
            }
        });
        incidents
    }

    /// Everything said so far, in order.
    pub(crate) fn so_far(&self) -> Vec<Heard> {
        self.0.lock().expect("nobody panics while holding it").clone()
    }

    /// How many incidents are in such a state.
    pub(crate) fn count(&self, state: IncidentState) -> usize {
        standing(&self.so_far()).values().filter(|now| now.state == state).count()
    }

    /// When the last incident that names only these was opened, and whether all of these are named.
    pub(crate) fn named(&self, roots: &BTreeSet<NodeId>) -> Option<Time> {
        let mut missing = roots.clone();
        for heard in self.so_far() {
            let Fact::Incident(said) = &heard.fact else { continue };
            if said.kind == IncidentKind::Opened {
                said.now.roots.iter().for_each(|root| {
                    missing.remove(&root.node);
                });
            }
            if missing.is_empty() {
                return Some(heard.heard);
            }
        }
        None
    }

    /// How many notices were decided upon, by phase and what became of them.
    pub(crate) fn notices(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for heard in self.so_far() {
            if let Fact::Notice(said) = &heard.fact {
                *counts
                    .entry(format!("{} {:?}", said.now.phase.name(), said.kind).to_lowercase())
                    .or_default() += 1;
            }
        }
        counts
    }

    /// Its story in a few words a line: for the person who wonders.
    pub(crate) fn story(&self) -> Vec<Value> {
        let line = |heard: &Heard| {
            let (kind, of, title) = match &heard.fact {
                Fact::Incident(said) => (format!("incident {:?}", said.kind), said.now.id, &said.now.title),
                Fact::Notice(said) => (
                    format!("notice {:?} {:?}", said.now.phase, said.kind),
                    said.now.incident,
                    &said.now.title,
                ),
                _ => return None,
            };
            Some(
                json!({ "heard": heard.heard.to_string(), "kind": kind, "of": of.to_string(), "title": title }),
            )
        };
        self.so_far().iter().filter_map(line).collect()
    }
}

/// The last standing of each incident.
fn standing(heard: &[Heard]) -> BTreeMap<IncidentId, &events::Incident> {
    let said = heard.iter().filter_map(|heard| match &heard.fact {
        Fact::Incident(said) => Some((said.now.id, &said.now)),
        _ => None,
    });
    said.collect()
}

/// Incidents that were opened and are neither over nor part of one that is.
pub(crate) fn never_ended(heard: &[Heard]) -> Vec<String> {
    let last = standing(heard);
    let mut left = Vec::new();
    for incident in last.values() {
        let (mut now, mut steps) = (*incident, 0);
        while let (IncidentState::Merged, Some(into)) = (now.state, now.merged_into)
            && let Some(upper) = last.get(&into)
            && steps < last.len()
        {
            (now, steps) = (*upper, steps + 1);
        }
        if now.state != IncidentState::Resolved {
            left.push(format!("{:?}: {}", now.state, incident.title));
        }
    }
    left
}

/// What the log holds of a stretch of time.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// Signals, by id.
    pub(crate) signals: BTreeSet<EventId>,
    /// Nodes that were said to be cut off.
    pub(crate) impacted: BTreeSet<NodeId>,
    /// When the last of them was.
    pub(crate) impacted_at: Option<Time>,
    /// Nodes that were said to be down themselves, when first.
    pub(crate) down: BTreeMap<NodeId, Time>,
}

impl Stored {
    /// Reads the log from `from` to its end.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub(crate) async fn read(log: &Log, tenant: TenantId, from: u64) -> anyhow::Result<Self> {
        let end = log.state().await?.last_seq;
        let filters = [Noun::Signal, Noun::Health].map(|noun| Filter::noun(noun).tenant(tenant));
        let (mut reader, mut stored) = (log.read(&filters, From::Seq(from), Some(end)), Self::default());
        while let Some(raw) = reader.next().await? {
            let heard = raw.decode()?;
            match &heard.fact {
                Fact::Signal(_) => {
                    stored.signals.insert(heard.id);
                }
                Fact::Health(said) => match said.now.health {
                    Health::Impacted if stored.impacted.insert(said.now.node) => {
                        stored.impacted_at = Some(heard.heard);
                    }
                    Health::Down => {
                        stored.down.entry(said.now.node).or_insert(heard.heard);
                    }
                    Health::Up | Health::Impacted | Health::Degraded | Health::Unknown => {}
                },
                _ => anyhow::bail!("the reader let through a `{}`", raw.subject),
            }
        }
        Ok(stored)
    }
}

/// Writes every fact of the log, one a line; ids of nodes as the network file calls them.
///
/// # Errors
///
/// When the log cannot be read or the file not be written.
pub(crate) async fn trace(
    log: &Log,
    names: &BTreeMap<String, String>,
    file: &std::path::Path,
) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).context("making the file of facts")?);
    let end = log.state().await?.last_seq;
    let filters: Vec<Filter> = Noun::ALL.into_iter().map(Filter::noun).collect();
    let mut reader = log.read(&filters, From::Start, Some(end));
    while let Some(raw) = reader.next().await? {
        let noun = raw.noun().map_or("?", |noun| noun.token());
        let body = String::from_utf8_lossy(&raw.body);
        let words = body.split('"').map(|word| names.get(word).map_or(word, String::as_str));
        writeln!(out, "{} {noun} {}", raw.heard, words.collect::<Vec<_>>().join("\""))?;
    }
    out.flush().context("writing the file of facts")
}

/// How many nodes are believed to be what, as last said.
///
/// # Errors
///
/// When the log cannot be read.
pub(crate) async fn beliefs(log: &Log, tenant: TenantId) -> anyhow::Result<BTreeMap<Health, usize>> {
    let mut reader = log.last_per_subject(&[Filter::noun(Noun::Health).tenant(tenant)]).await?;
    let mut counts = BTreeMap::new();
    while let Some(raw) = reader.next().await? {
        if let Fact::Health(said) = raw.decode()?.fact {
            *counts.entry(said.now.health).or_default() += 1;
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_about_the_whole_name_it_begins_with() {
        assert!(is_about("Sector 1 of tower 1 at Mill Hill is down: 1 site", "Sector 1 of tower 1"));
        assert!(!is_about("Sector 1 of tower 10 at Mill Hill is down: 1 site", "Sector 1 of tower 1"));
    }

    #[test]
    fn the_phase_is_the_last_word_of_the_type() {
        assert_eq!(phase("incident.opened"), Some(Phase::Opened));
        assert_eq!(phase("mastwatch.incident.resolved"), Some(Phase::Resolved));
        assert_eq!(phase("test"), None);
    }
}
