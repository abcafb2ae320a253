//! `/tool/netwatch`: who watches whom, and what is run when that changes.
//!
//! An entry probes its host every interval; one probe without an answer makes it `down`, as the type
//! `simple` does. After a boot every entry is `unknown`, so the first probe runs a script even if
//! nothing changed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::plan::Menu;

use crate::agenda::Due;
use crate::clock::SimTime;
use crate::jobs::Job;
use crate::network::{NodeIndex, RouterIndex};
use crate::router::{Attributes, Refusal, Row};
use crate::script::Status;
use crate::state::{Change, State};
use crate::version::duration;

/// Where the text of a script is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// There is none.
    Absent,
    /// One of ours, made anew whenever it is read: a thousand entries cost no thousand texts.
    Placed(Status),
    /// Somebody's own.
    Own(Arc<str>),
}

impl Text {
    /// A text somebody set.
    pub fn own(text: &str) -> Self {
        if text.is_empty() { Text::Absent } else { Text::Own(text.into()) }
    }
}

/// What an entry believes of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// Not probed yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Belief {
    fn text(self) -> &'static str {
        match self {
            Belief::Unknown => "unknown",
            Belief::Up => "up",
            Belief::Down => "down",
        }
    }
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whom it watches.
    pub host: IpAddr,
    /// Which node that is, if any.
    pub node: Option<NodeIndex>,
    interval: Duration,
    timeout: Duration,
    up: Text,
    down: Text,
    disabled: bool,
    comment: Box<str>,
    name: Box<str>,
    /// What it believes.
    pub belief: Belief,
    since: SimTime,
    done_count: u32,
    failed_count: u32,
    /// Rises whenever the entry starts anew; what was due for an earlier one no longer matters.
    pub generation: u32,
}

/// The menu.
pub const MENU: &str = "/tool/netwatch";

impl State {
    /// Puts our entry for a node into its router; the host is known to be up.
    pub(crate) fn place_netwatch(&mut self, router: RouterIndex, node: NodeIndex) {
        let Some(host) = self.network.node(node).address else { return };
        if !self.habits(router).watches {
            return;
        }
        let placed = self.pusher(router).is_some();
        let script = |status| if placed { Text::Placed(status) } else { Text::Absent };
        let entry = Entry {
            host,
            node: Some(node),
            interval: self.habits(router).probe_interval,
            timeout: self.settings.probe_timeout,
            up: script(Status::Up),
            down: script(Status::Down),
            disabled: false,
            comment: format!("{}{}", Menu::Netwatch.marker().1, self.network.node(node).id).into(),
            name: Box::default(),
            belief: Belief::Up,
            since: SimTime::default(),
            done_count: 0,
            failed_count: 0,
            generation: 0,
        };
        let this = self.router(router);
        let id = this.next_id();
        this.netwatch.insert(id, entry);
    }

    /// Lets every entry begin to probe after `delay`, spread over `spread`.
    pub(crate) fn start_netwatch(&mut self, router: RouterIndex, delay: Duration, spread: Duration) {
        let at = self.clock.now().after(delay);
        for (entry, watch) in &self.routers[router.at()].netwatch {
            let at = at.after(self.dice.within(spread));
            self.agenda.add(at, Due::Probe { router, entry: *entry, generation: watch.generation });
        }
    }

    /// Forgets what every entry believed.
    pub(crate) fn reset_netwatch(&mut self, router: RouterIndex) {
        let now = self.clock.now();
        for entry in self.router(router).netwatch.values_mut() {
            entry.generation += 1;
            entry.belief = Belief::Unknown;
            entry.since = now;
            (entry.done_count, entry.failed_count) = (0, 0);
        }
    }

    fn entry(&mut self, router: RouterIndex, entry: u32, generation: u32) -> Option<&mut Entry> {
        let this = self.router(router);
        if !this.is_powered {
            return None;
        }
        this.netwatch.get_mut(&entry).filter(|found| found.generation == generation && !found.disabled)
    }

    /// One probe, and when the next is due.
    pub(crate) fn probe(&mut self, router: RouterIndex, id: u32, generation: u32) {
        let Some(entry) = self.entry(router, id, generation) else { return };
        let (node, interval, timeout) = (entry.node, entry.interval, entry.timeout);
        entry.done_count += 1;
        self.router(router).counters.probes += 1;
        let now = self.clock.now();
        self.agenda.add(now.after(interval), Due::Probe { router, entry: id, generation });
        let line = node.and_then(|node| self.world.line(router, node));
        if line.is_some_and(|line| !self.dice.chance(line.loss.into())) {
            self.believe(router, id, Belief::Up);
        } else {
            self.agenda.add(now.after(timeout), Due::Silence { router, entry: id, generation });
        }
    }

    /// A probe that got no answer is over.
    pub(crate) fn silence(&mut self, router: RouterIndex, id: u32, generation: u32) {
        let Some(entry) = self.entry(router, id, generation) else { return };
        entry.failed_count += 1;
        self.believe(router, id, Belief::Down);
    }

    fn believe(&mut self, router: RouterIndex, id: u32, belief: Belief) {
        let now = self.clock.now();
        let Some(entry) = self.router(router).netwatch.get_mut(&id) else { return };
        if entry.belief == belief {
            return;
        }
        entry.belief = belief;
        entry.since = now;
        let host = entry.host;
        let status = match belief {
            Belief::Up => Status::Up,
            Belief::Down => Status::Down,
            Belief::Unknown => return,
        };
        self.log(
            router,
            "netwatch,info",
            format!("event {} [ type: simple, host: {host} ]", status.of_device()),
        );
        self.tell_netwatch(router, id);
        self.run_script(router, Job::Netwatch { entry: id, status });
    }

    fn tell_netwatch(&mut self, router: RouterIndex, id: u32) {
        if self.routers[router.at()].listeners.is_empty() {
            return;
        }
        let row = self.netwatch_row(router, id);
        self.router(router).tell(MENU, |_| row.clone().map(Change::Row));
    }

    /// The text an entry runs, and the variables it finds there.
    pub(crate) fn netwatch_script(
        &self,
        router: RouterIndex,
        entry: &Entry,
        status: Status,
    ) -> Option<String> {
        let text = match status {
            Status::Up => &entry.up,
            Status::Down => &entry.down,
        };
        match text {
            Text::Absent => None,
            Text::Own(text) => Some(text.to_string()),
            Text::Placed(status) => {
                let id = &self.network.node(entry.node?).id;
                Some(self.pusher(router)?.netwatch(id, status.says()))
            }
        }
    }

    /// Every row of the menu.
    pub(crate) fn netwatch_rows(&self, router: RouterIndex) -> Vec<Row> {
        self.routers[router.at()].netwatch.keys().filter_map(|id| self.netwatch_row(router, *id)).collect()
    }

    fn netwatch_row(&self, router: RouterIndex, id: u32) -> Option<Row> {
        let this = &self.routers[router.at()];
        let entry = this.netwatch.get(&id)?;
        let mut row = Row::of(id);
        if !this.version.is_v6() {
            row.put_if("name", &*entry.name);
            row.put("type", "simple");
        }
        row.put("host", entry.host.to_string());
        row.put("timeout", duration(entry.timeout));
        row.put("interval", duration(entry.interval));
        row.put_if("up-script", self.netwatch_script(router, entry, Status::Up).unwrap_or_default());
        row.put_if("down-script", self.netwatch_script(router, entry, Status::Down).unwrap_or_default());
        if !entry.disabled {
            row.put("status", entry.belief.text());
            row.put("since", self.stamp(router, entry.since));
            if !this.version.is_v6() {
                row.put("done-tests", entry.done_count.to_string());
                row.put("failed-tests", entry.failed_count.to_string());
            }
        }
        row.put("disabled", entry.disabled.to_string());
        row.put_if("comment", &*entry.comment);
        Some(row)
    }

    /// Adds an entry.
    pub(crate) fn add_netwatch(
        &mut self,
        router: RouterIndex,
        attributes: &Attributes,
    ) -> Result<u32, Refusal> {
        let v6 = self.routers[router.at()].version.is_v6();
        let host = attributes
            .get("host")
            .ok_or_else(|| Refusal::argument("missing value(s) of argument(s) host"))?;
        let host = address(host)?;
        let seconds = |v6_s, v7_s| Duration::from_secs(if v6 { v6_s } else { v7_s });
        let mut entry = Entry {
            host,
            node: self.at_address(router, host),
            interval: seconds(60, 10),
            timeout: seconds(1, 3),
            up: Text::Absent,
            down: Text::Absent,
            disabled: false,
            comment: Box::default(),
            name: Box::default(),
            belief: Belief::Unknown,
            since: self.clock.now(),
            done_count: 0,
            failed_count: 0,
            generation: 0,
        };
        self.change_entry(router, &mut entry, attributes, v6)?;
        let this = self.router(router);
        let id = this.next_id();
        this.netwatch.insert(id, entry);
        self.start_entry(router, id);
        self.tell_netwatch(router, id);
        Ok(id)
    }

    /// Changes an entry, which then starts anew.
    pub(crate) fn set_netwatch(
        &mut self,
        router: RouterIndex,
        id: u32,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        let this = &self.routers[router.at()];
        let v6 = this.version.is_v6();
        let mut entry = this.netwatch.get(&id).cloned().ok_or_else(Refusal::no_item)?;
        self.change_entry(router, &mut entry, attributes, v6)?;
        entry.belief = Belief::Unknown;
        entry.since = self.clock.now();
        entry.generation += 1;
        self.router(router).netwatch.insert(id, entry);
        self.start_entry(router, id);
        self.tell_netwatch(router, id);
        Ok(())
    }

    /// Removes an entry.
    pub(crate) fn remove_netwatch(&mut self, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        let this = self.router(router);
        this.netwatch.remove(&id).ok_or_else(Refusal::no_item)?;
        this.tell(MENU, |_| Some(Change::Dead(format!("*{id:X}"))));
        Ok(())
    }

    fn start_entry(&mut self, router: RouterIndex, id: u32) {
        /// `start-delay` of version 7; version 6 starts at once.
        const START_DELAY: Duration = Duration::from_secs(3);
        let this = &self.routers[router.at()];
        let delay = if this.version.is_v6() { Duration::ZERO } else { START_DELAY };
        if let Some(entry) = this.netwatch.get(&id) {
            let at = self.clock.now().after(delay);
            self.agenda.add(at, Due::Probe { router, entry: id, generation: entry.generation });
        }
    }

    fn change_entry(
        &self,
        router: RouterIndex,
        entry: &mut Entry,
        attributes: &Attributes,
        v6: bool,
    ) -> Result<(), Refusal> {
        for (name, value) in attributes.iter() {
            match name {
                "host" => {
                    entry.host = address(value)?;
                    entry.node = self.at_address(router, entry.host);
                }
                "interval" => entry.interval = time(name, value, Duration::from_secs(1))?,
                "timeout" => entry.timeout = time(name, value, Duration::from_millis(1))?,
                "up-script" => entry.up = Text::own(value),
                "down-script" => entry.down = Text::own(value),
                "disabled" => entry.disabled = crate::router::truth(name, value)?,
                "comment" => entry.comment = value.into(),
                "name" if !v6 => entry.name = value.into(),
                "type" if !v6 && value == "simple" => {}
                "start-delay" | "startup-delay" if !v6 => {
                    time(name, value, Duration::ZERO)?;
                }
                "type" if !v6 => return Err(Refusal::argument("input does not match any value of type")),
                _ => return Err(Refusal::unknown_parameter(name)),
            }
        }
        Ok(())
    }
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| Refusal::argument("invalid value for argument address"))
}

fn time(name: &str, text: &str, least: Duration) -> Result<Duration, Refusal> {
    match routeros_api::value::duration(text) {
        Ok(Some(time)) if time >= least => Ok(time),
        Ok(_) => Err(Refusal::argument(format!("value of {name} out of range ({}..)", duration(least)))),
        Err(_) => Err(Refusal::argument(format!("invalid value for argument {name}"))),
    }
}
