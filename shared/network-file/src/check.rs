//! What can be said only when the whole file is known: things named twice, things that are not
//! there, and which router sees what.
//!
//! Whether everything could be supplied at all (rings that only feed themselves) is not looked at
//! here: that is for the graph the inventory is made into.

use crate::{
    NetworkFile,
    model::{Mesh, SeenBy, Session},
    problem::{Finder, Position, Problem, did_you_mean},
    read::{Reference, Wanted},
};
use events::{DeviceClass, NodeKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) fn everything(network: &mut NetworkFile, references: &[Reference], finder: &mut Finder) {
    twice(network, finder);
    network.index();
    named(network, references, finder);
    for mesh in &network.meshes {
        whole_mesh(network, mesh, finder);
    }
    if finder.is_empty() {
        see(network);
        sessions_twice(network, finder);
    }
}

/// Works out what follows from what is written, for a network that was made and not read.
pub(crate) fn complete(network: &mut NetworkFile) {
    network.index();
    see(network);
}

/// Notes ids, accounts, names and tokens that stand for two things.
fn twice(network: &NetworkFile, finder: &mut Finder) {
    let sites = network.sites.iter().map(|site| (site.id.as_str(), site.at));
    each_once("the site", sites, finder);
    let nodes = network.nodes.iter().map(|node| (node.id.as_str(), node.at));
    each_once("the id", nodes, finder);
    let meshes = network.meshes.iter().map(|mesh| (mesh.id.as_str(), mesh.at));
    each_once("the mesh", meshes, finder);
    let accounts = network.subscribers.iter().map(|subscriber| (subscriber.account.as_str(), subscriber.at));
    each_once("the account", accounts, finder);
    let channels = network.channels.iter().map(|channel| (channel.name.as_str(), channel.at));
    each_once("the channel", channels, finder);
    let webhooks = network.nodes.iter().filter_map(|node| Some((&node.webhook.as_ref()?.token, node.at)));
    let others = network.tokens.iter().map(|token| (&token.token, token.at));
    let prefixes =
        webhooks.chain(others).filter_map(|(token, at)| Some((vault::prefix_of(token.reveal()).ok()?, at)));
    each_once("the public part of a token", prefixes, finder);
}

fn each_once<'a>(what: &str, all: impl Iterator<Item = (&'a str, Position)>, finder: &mut Finder) {
    let mut seen: BTreeMap<&str, Position> = BTreeMap::new();
    for (name, at) in all {
        match seen.get(name) {
            Some(first) => finder.note(
                Problem::new(
                    at,
                    format!("{what} `{name}` is used twice; the first is in line {}", first.line),
                )
                .hint("give one of them another"),
            ),
            None => {
                seen.insert(name, at);
            }
        }
    }
}

/// Notes what is named and not there, or is not what it is named as.
fn named(network: &NetworkFile, references: &[Reference], finder: &mut Finder) {
    let sites: BTreeSet<&str> = network.sites.iter().map(|site| site.id.as_str()).collect();
    for Reference { to, at, wanted } in references {
        let problem = match wanted {
            Wanted::Site if sites.contains(to.as_str()) => continue,
            Wanted::Site => {
                let hint =
                    did_you_mean(to, sites.iter().copied()).unwrap_or_else(|| "add it under `sites`".into());
                Problem::new(*at, format!("there is no site `{to}`")).hint(hint)
            }
            Wanted::Node | Wanted::RouterWithLogin | Wanted::Link => match network.node(to) {
                None => {
                    let problem = Problem::new(*at, format!("there is no device or link `{to}`"));
                    if network.subscribers.iter().any(|subscriber| subscriber.account == *to) {
                        problem.hint("it is a subscriber, and nothing can hang on a subscriber")
                    } else {
                        let hint = did_you_mean(to, network.nodes.iter().map(|node| node.id.as_str()));
                        problem.hint(hint.unwrap_or_else(|| "add it under `devices`".into()))
                    }
                }
                Some(node) => match wanted {
                    Wanted::RouterWithLogin if node.login.is_none() => {
                        let (what, hint) = match node.kind {
                            NodeKind::Device { class: DeviceClass::Router } => {
                                ("has no login", "add `login: {user: …, password: …}` to it")
                            }
                            NodeKind::Device { .. }
                            | NodeKind::Link
                            | NodeKind::Subscriber
                            | NodeKind::Service
                            | NodeKind::Upstream => ("is no router", "name a router that has a `login`"),
                        };
                        Problem::new(*at, format!("`{to}` {what}")).hint(hint)
                    }
                    Wanted::Link if node.kind != NodeKind::Link => {
                        Problem::new(*at, format!("`{to}` is no link")).hint("name something under `links`")
                    }
                    Wanted::Link if node.ends.is_none() => {
                        Problem::new(*at, format!("the link `{to}` has no `ends`"))
                            .hint("add `ends: [a, b]` to it: a mesh must know what it joins")
                    }
                    Wanted::Site | Wanted::Node | Wanted::RouterWithLogin | Wanted::Link => continue,
                },
            },
        };
        finder.note(problem);
    }
}

/// Notes links that leave their mesh, and members that no link of it touches.
fn whole_mesh(network: &NetworkFile, mesh: &Mesh, finder: &mut Finder) {
    let mut touched: BTreeSet<&str> = BTreeSet::new();
    let members: BTreeSet<&str> = mesh.members.iter().map(String::as_str).collect();
    for link in &mesh.links {
        let Some((a, b)) = network.node(link).and_then(|link| link.ends.as_ref()) else { continue };
        for end in [a, b] {
            touched.insert(end);
            if !members.contains(end.as_str()) {
                let what = format!(
                    "the link `{link}` of the mesh `{}` ends at `{end}`, which is no member",
                    mesh.id
                );
                finder.note(Problem::new(mesh.at, what).hint("add it to `members`, or take the link out"));
            }
        }
    }
    for member in members {
        if !touched.contains(member) && !mesh.gateways.iter().any(|gateway| gateway == member) {
            let what = format!("no link of the mesh `{}` touches its member `{member}`", mesh.id);
            finder.note(Problem::new(mesh.at, what).hint("add the link to `links`, or take the member out"));
        }
    }
}

/// Finds the nearest router with a login for whatever can be seen and says no router itself.
fn see(network: &mut NetworkFile) {
    let above = Above::of(network);
    let mut nearest: Vec<Option<Option<usize>>> = vec![None; network.nodes.len()];
    let mut nodes_seen_by = Vec::with_capacity(network.nodes.len());
    for (place, node) in network.nodes.iter().enumerate() {
        nodes_seen_by.push(match (&node.seen_by, node.address) {
            (SeenBy::Written(id), _) => SeenBy::Written(id.clone()),
            (SeenBy::Nearest(_) | SeenBy::Nobody, None) => SeenBy::Nobody,
            (SeenBy::Nearest(_) | SeenBy::Nobody, Some(_)) => {
                network.seen_by(above.nearest_router(network, &above.of_node[place], Some(place)))
            }
        });
    }
    let mut subscribers_seen_by = Vec::with_capacity(network.subscribers.len());
    for subscriber in &network.subscribers {
        subscribers_seen_by.push(match (subscriber.concentrators.first(), &subscriber.session) {
            (Some(first), _) => SeenBy::Written(first.clone()),
            (None, Session::None) => SeenBy::Nobody,
            (None, Session::Pppoe(_) | Session::Mac(_) | Session::Static(_)) => {
                let mut starts = Vec::new();
                for need in &subscriber.needs {
                    need.each_node(&mut |id| starts.extend(network.places.get(id).copied()));
                }
                let router = match starts.as_slice() {
                    [one] => match nearest[*one] {
                        Some(known) => known,
                        None => {
                            let router = above.nearest_router(network, &starts, None);
                            nearest[*one] = Some(router);
                            router
                        }
                    },
                    _ => above.nearest_router(network, &starts, None),
                };
                network.seen_by(router)
            }
        });
    }
    for (node, seen_by) in network.nodes.iter_mut().zip(nodes_seen_by) {
        node.seen_by = seen_by;
    }
    for (subscriber, seen_by) in network.subscribers.iter_mut().zip(subscribers_seen_by) {
        subscriber.seen_by = seen_by;
    }
}

/// What each node needs, by place, in the order it is written.
struct Above {
    of_node: Vec<Vec<usize>>,
}

impl Above {
    fn of(network: &NetworkFile) -> Self {
        let of_node = network.nodes.iter().map(|node| {
            let mut above = Vec::new();
            for need in network.needs_of(node) {
                need.each_node(&mut |id| above.extend(network.places.get(id).copied()));
            }
            above
        });
        Self { of_node: of_node.collect() }
    }

    /// The first router with a login on the way up from `starts`, level by level, other than `but`.
    fn nearest_router(&self, network: &NetworkFile, starts: &[usize], but: Option<usize>) -> Option<usize> {
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        let mut queue: VecDeque<usize> = starts.iter().copied().collect();
        while let Some(place) = queue.pop_front() {
            if !seen.insert(place) {
                continue;
            }
            if Some(place) != but && network.nodes[place].login.is_some() {
                return Some(place);
            }
            queue.extend(&self.of_node[place]);
        }
        None
    }
}

impl NetworkFile {
    /// Notes where everything stands, so that it can be found by id.
    pub(crate) fn index(&mut self) {
        self.places = self.nodes.iter().enumerate().map(|(place, node)| (node.id.clone(), place)).collect();
        self.meshes_of.clear();
        for (n, mesh) in self.meshes.iter().enumerate() {
            for member in mesh.members.iter().filter(|member| !mesh.gateways.contains(member)) {
                self.meshes_of.entry(member.clone()).or_default().push(n);
            }
        }
    }

    fn seen_by(&self, place: Option<usize>) -> SeenBy {
        place.map_or(SeenBy::Nobody, |place| SeenBy::Nearest(self.nodes[place].id.clone()))
    }
}

/// Notes sessions that could not be told apart: the same user or MAC at the same router.
fn sessions_twice(network: &NetworkFile, finder: &mut Finder) {
    let mut seen: BTreeMap<(&str, &str), Position> = BTreeMap::new();
    for subscriber in &network.subscribers {
        let (name, what) = match &subscriber.session {
            Session::Pppoe(user) => (user.reveal(), "user"),
            Session::Mac(mac) => (mac.reveal(), "mac"),
            Session::Static(_) | Session::None => continue,
        };
        for router in network.session_routers(subscriber) {
            if let Some(first) = seen.insert((router, name), subscriber.at) {
                let what = format!(
                    "the account `{}` has the same `{what}` at `{router}` as the subscriber in line {}",
                    subscriber.account, first.line
                );
                finder.note(Problem::new(subscriber.at, what).hint("nobody could tell whose session it is"));
            }
        }
        if subscriber.seen_by == SeenBy::Nobody {
            let what = format!("no router can hold the session of the account `{}`", subscriber.account);
            finder.note(
                Problem::new(subscriber.at, what)
                    .hint("add `concentrator: …`, or a `login` to a router above it"),
            );
        }
    }
}
