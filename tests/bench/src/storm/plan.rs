//! Who reports what, and when: drawn from a seed before anything is sent.

use super::{Args, Order, Scenario};
use crate::client::post;
use anyhow::{Context, bail};
use network_file::{NetworkFile, NodeEntry, Session, Subscriber};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// It is down.
    Down,
    /// It is up again.
    Up,
}

/// One request to the front door.
#[derive(Debug)]
pub(crate) struct Step {
    /// When it is due, after the first.
    pub(crate) due: Duration,
    /// The whole request.
    pub(crate) text: String,
    /// How many reports are in it.
    pub(crate) reports: usize,
}

/// Something that is reported on.
#[derive(Debug, Clone, Copy)]
enum Thing<'a> {
    Device(&'a NodeEntry),
    Subscriber(&'a Subscriber),
}

/// What breaks, and who notices.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    network: &'a NetworkFile,
    /// What breaks, by id.
    pub(crate) roots: Vec<String>,
    things: Vec<Thing<'a>>,
    /// The last number each sender gave.
    numbers: BTreeMap<String, u64>,
    random: StdRng,
    token: &'a str,
}

impl<'a> Story<'a> {
    /// The story of a scenario in this network; `token` is for every claim.
    ///
    /// # Errors
    ///
    /// When the network has nothing to break in that way.
    pub(crate) fn of(args: &Args, network: &'a NetworkFile, token: &'a str) -> anyhow::Result<Self> {
        let sectors = network.nodes.iter().filter(|node| is_sector(node)).map(|node| node.id.clone());
        let mut sectors: Vec<String> = sectors.collect();
        let mut random = StdRng::seed_from_u64(args.seed);
        let roots = match args.scenario {
            Scenario::A => vec![network.nodes.first().context("a network without nodes")?.id.clone()],
            Scenario::B => vec![sectors.first().context("a network without sectors")?.clone()],
            Scenario::C => {
                if sectors.len() < super::UNRELATED {
                    bail!("scenario C needs {} sectors; there are {}", super::UNRELATED, sectors.len());
                }
                sectors.shuffle(&mut random);
                sectors.truncate(super::UNRELATED);
                sectors
            }
        };
        let below = below(network, &roots);
        let devices = network.nodes.iter().filter(|node| below.contains(node.id.as_str())).map(Thing::Device);
        let subscribers = network.subscribers.iter().filter(|one| below.contains(one.account.as_str()));
        let things = devices.chain(subscribers.map(Thing::Subscriber)).collect();
        Ok(Self { network, roots, things, numbers: BTreeMap::new(), random, token })
    }

    /// How many things report, the roots counted.
    pub(crate) fn size(&self) -> usize {
        self.things.len()
    }

    /// Every request of one wave, in the order in which they are due.
    pub(crate) fn wave(&mut self, args: &Args, says: Says, order: Order, spread: Duration) -> Vec<Step> {
        let roots: BTreeSet<&str> = self.roots.iter().map(String::as_str).collect();
        let is_root =
            |thing: &Thing<'_>| matches!(thing, Thing::Device(node) if roots.contains(node.id.as_str()));
        let (mut of_roots, mut others): (Vec<_>, Vec<_>) = self.things.iter().copied().partition(is_root);
        match order {
            Order::RootsNever => of_roots.clear(),
            Order::Mixed => others.append(&mut of_roots),
            Order::RootsFirst | Order::RootsLast => {}
        }
        let mut due: Vec<(Duration, Thing<'_>)> = Vec::with_capacity(self.things.len() * 2);
        for thing in others {
            self.put(args, &mut due, spread, thing);
        }
        due.shuffle(&mut self.random);
        due.sort_by_key(|(at, _)| *at);
        // What a root says itself arrives: the scenario says when it is noticed.
        match order {
            Order::RootsFirst => {
                due.splice(..0, of_roots.iter().map(|root| (Duration::ZERO, *root))).for_each(drop);
            }
            Order::RootsLast => due.extend(of_roots.iter().map(|root| (spread, *root))),
            Order::RootsNever | Order::Mixed => {}
        }
        // Numbers rise in the order of sending, as those of a script do; a doubled report keeps its own.
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        let reports: Vec<(Duration, Claim)> = due
            .into_iter()
            .map(|(at, thing)| {
                let mut claim = self.claim(thing, says);
                let number = said.entry(claim.thing.clone()).or_insert_with(|| {
                    let last = self.numbers.entry(claim.sender.clone()).or_default();
                    *last += 1;
                    last.to_string()
                });
                claim.number.clone_from(number);
                (at, claim)
            })
            .collect();
        reports.chunks(usize::from(args.array)).map(|chunk| self.step(chunk)).collect()
    }

    /// One report: lost, or sent, or sent twice.
    fn put<'t>(
        &mut self,
        args: &Args,
        due: &mut Vec<(Duration, Thing<'t>)>,
        spread: Duration,
        thing: Thing<'t>,
    ) {
        let at = |random: &mut StdRng| spread.mul_f64(random.random::<f64>());
        if self.random.random_bool(args.loss) {
            return;
        }
        due.push((at(&mut self.random), thing));
        if self.random.random_bool(args.dup) {
            due.push((at(&mut self.random), thing));
        }
    }

    fn claim(&self, thing: Thing<'_>, says: Says) -> Claim {
        match thing {
            Thing::Device(node) => {
                let parent = self.network.needs_of(node).first().and_then(first_node);
                Claim {
                    thing: node.id.clone(),
                    sender: node.seen_by.router().map(str::to_owned).or(parent).unwrap_or_default(),
                    user: None,
                    says,
                    number: String::new(),
                }
            }
            Thing::Subscriber(one) => {
                let user = match &one.session {
                    Session::Pppoe(user) => Some(user.reveal().to_owned()),
                    Session::Mac(_) | Session::Static(_) | Session::None => None,
                };
                let sender = self.network.session_routers(one).next().unwrap_or_default().to_owned();
                Claim { thing: one.account.clone(), sender, user, says, number: String::new() }
            }
        }
    }

    fn step(&self, chunk: &[(Duration, Claim)]) -> Step {
        let due = chunk.last().map_or(Duration::ZERO, |(due, _)| *due);
        let text = match chunk {
            [(_, claim)] => claim.as_webhook(self.token),
            several => {
                let all: Vec<String> = several.iter().map(|(_, claim)| claim.as_signal()).collect();
                post("/api/v1/signals", self.token, "application/json", &format!("[{}]", all.join(",")))
            }
        };
        Step { due, text, reports: chunk.len() }
    }
}

/// What one report says, as its router's script would.
#[derive(Debug)]
struct Claim {
    thing: String,
    /// The router that says it; empty for a root without one.
    sender: String,
    /// The user of a session.
    user: Option<String>,
    says: Says,
    number: String,
}

impl Claim {
    /// As a router's script sends it.
    fn as_webhook(&self, token: &str) -> String {
        let (path, mut body) = match (&self.user, self.says) {
            (Some(user), Says::Down) => ("ppp-status", format!("user={user}&status=offline")),
            (Some(user), Says::Up) => ("ppp-status", format!("user={user}&status=online")),
            (None, Says::Down) => ("device-status", format!("id={}&status=down", self.thing)),
            (None, Says::Up) => ("device-status", format!("id={}&status=up", self.thing)),
        };
        if !self.sender.is_empty() {
            write!(body, "&router={}", self.sender).expect("a string takes everything");
        }
        write!(body, "&boot=storm&seq={}", self.number).expect("a string takes everything");
        post(&format!("/api/webhooks/mikrotik/{path}"), token, "application/x-www-form-urlencoded", &body)
    }

    /// As an element of the signals API.
    fn as_signal(&self) -> String {
        let says = match self.says {
            Says::Down => "down",
            Says::Up => "up",
        };
        let (about, source) = match &self.user {
            Some(user) => (format!(r#""user":"{user}""#), "ppp"),
            None => (format!(r#""id":"{}""#, self.thing), "netwatch"),
        };
        let router =
            if self.sender.is_empty() { String::new() } else { format!(r#""router":"{}","#, self.sender) };
        format!(
            r#"{{{about},{router}"says":"{says}","source":"{source}","boot":"storm","seq":{}}}"#,
            self.number
        )
    }
}

fn is_sector(node: &NodeEntry) -> bool {
    node.tier == events::Tier::Sector
}

fn first_node(need: &network_file::Need) -> Option<String> {
    let mut first = None;
    need.each_node(&mut |id| {
        first.get_or_insert_with(|| id.to_owned());
    });
    first
}

/// Everything that needs one of `roots`, them included; parents come before children in the file.
fn below<'a>(network: &'a NetworkFile, roots: &[String]) -> BTreeSet<&'a str> {
    let mut below: BTreeSet<&str> = BTreeSet::new();
    let needs_one = |needs: Vec<network_file::Need>, below: &BTreeSet<&str>| {
        let mut found = false;
        for need in &needs {
            need.each_node(&mut |id| found |= below.contains(id));
        }
        found
    };
    for node in &network.nodes {
        if roots.contains(&node.id) || needs_one(network.needs_of(node), &below) {
            below.insert(&node.id);
        }
    }
    for one in &network.subscribers {
        if needs_one(network.subscriber_needs(one), &below) {
            below.insert(&one.account);
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use network_file::{Shape, generate};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::parse_from(std::iter::once("storm").chain(line.split_whitespace())).args
    }

    fn network() -> NetworkFile {
        generate(&Shape { towers: 10, sectors: 6, clients: 3, ..Shape::default() }).unwrap()
    }

    #[test]
    fn a_dead_core_concerns_everything_and_one_sector_its_clients() {
        let network = network();
        let a = Story::of(&args("--scenario A"), &network, "t").unwrap();
        assert_eq!((a.size(), a.roots.len()), (1 + 10 + 60 + 180, 1));
        let b = Story::of(&args("--scenario B"), &network, "t").unwrap();
        assert_eq!(b.size(), 1 + 3);
        let c = Story::of(&args("--scenario C"), &network, "t").unwrap();
        assert_eq!((c.size(), c.roots.len()), (50 * 4, 50));
    }

    #[test]
    fn the_root_is_last_or_silent_and_nothing_is_lost_unless_it_is_to_be() {
        let network = network();
        let args = args("--scenario A --loss 0 --dup 0");
        let mut story = Story::of(&args, &network, "t").unwrap();
        let wave = story.wave(&args, Says::Down, Order::RootsLast, Duration::from_secs(10));
        assert_eq!(wave.len(), story.size());
        assert!(wave.last().unwrap().text.contains("id=core-1&status=down&boot=storm"));
        assert!(wave.is_sorted_by_key(|step| step.due));
        let wave = story.wave(&args, Says::Down, Order::RootsNever, Duration::ZERO);
        assert_eq!(wave.len(), story.size() - 1);
        assert!(!wave.iter().any(|step| step.text.contains("id=core-1&")));
        let wave = story.wave(&args, Says::Up, Order::RootsFirst, Duration::from_secs(10));
        assert!(wave[0].text.contains("id=core-1&status=up"));
    }

    #[test]
    fn loss_and_doubles_come_about_as_often_as_asked_and_a_double_keeps_its_number() {
        let network = generate(&Shape { towers: 10, sectors: 10, clients: 20, ..Shape::default() }).unwrap();
        let args = args("--scenario A --loss 0.1 --dup 0.1");
        let mut story = Story::of(&args, &network, "t").unwrap();
        let wave = story.wave(&args, Says::Down, Order::RootsNever, Duration::from_secs(1));
        let texts: BTreeSet<&str> = wave.iter().map(|step| step.text.as_str()).collect();
        let (all, sent) = (story.size() as f64, wave.len() as f64);
        assert!((texts.len() as f64 / all - 0.9).abs() < 0.03, "{} of {all}", texts.len());
        assert!((sent / texts.len() as f64 - 1.1).abs() < 0.03, "{sent} of {}", texts.len());
    }

    #[test]
    fn arrays_hold_as_many_as_asked() {
        let network = network();
        let args = args("--scenario A --loss 0 --dup 0 --array 64");
        let mut story = Story::of(&args, &network, "t").unwrap();
        let wave = story.wave(&args, Says::Down, Order::Mixed, Duration::ZERO);
        assert_eq!(wave.iter().map(|step| step.reports).sum::<usize>(), story.size());
        let body = wave[0].text.split("\r\n\r\n").nth(1).unwrap();
        let claims: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
        assert_eq!(claims.len(), 64);
    }
}
