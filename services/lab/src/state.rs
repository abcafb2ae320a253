//! Everything that changes: the world, and what every router remembers.
//!
//! One value behind one lock. Nothing here waits or sends: what has to be sent is put into a
//! router's queue of scripts, and what happens later into the agenda.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::plan::script::Pusher;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::agenda::{Agenda, Due};
use crate::clock::{Clock, SimTime};
use crate::counters::Counters;
use crate::dhcp::Lease;
use crate::dice::Dice;
use crate::faults::Faults;
use crate::jobs::Job;
use crate::netwatch::Entry;
use crate::network::{DeviceMode, Habits, Network, NodeIndex, RouterIndex, Sight};
use crate::ppp::{Profile, Secret, Session};
use crate::router::table::Table;
use crate::router::{Manner, Row};
use crate::scheduler::Task;
use crate::script::Globals;
use crate::settings::Settings;
use crate::version::Version;
use crate::world::World;

/// Lines a router's log holds. Source: `memory-lines` of `/system/logging/action`.
const LOG_LINES_MAX: usize = 1000;
/// How long a router that is up at the start has been up.
const UP_BEFORE: Duration = Duration::from_secs(183_845);

/// How a router shows itself to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Whether the server can reach it.
    pub is_reachable: bool,
    /// Rises with every start; a connection of an earlier one is unknown to the router.
    pub boot: u32,
}

/// Something a listening client is told.
#[derive(Debug, Clone)]
pub enum Change {
    /// A row as it stands now.
    Row(Row),
    /// The row of this id is gone.
    Dead(String),
}

/// A client that listens to a menu.
#[derive(Debug)]
pub struct Listener {
    /// Which menu.
    pub menu: &'static str,
    /// Told of every change. One that does not keep up is dropped, and its channel ends.
    pub sender: mpsc::Sender<Change>,
}

/// One line of a router's log.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Its id.
    pub id: u32,
    /// When.
    pub at: SimTime,
    /// Comma separated.
    pub topics: &'static str,
    /// What.
    pub message: String,
}

/// What one router remembers.
#[derive(Debug)]
pub struct Router {
    /// What it plays.
    pub version: Version,
    /// `/system/identity`.
    pub identity: String,
    /// What the board may do.
    pub device_mode: DeviceMode,
    /// How far its wall clock is ahead, seconds; behind when negative.
    pub clock_ahead_s: i64,
    /// How its API answers.
    pub manner: Manner,
    /// Whether it has power.
    pub is_powered: bool,
    /// When it last started; before the beginning for one that was up already.
    pub booted_at: SimTime,
    /// How long it had been up at `booted_at`: only routers that were up before the lab began.
    pub up_before: Duration,
    /// Seen by its door and its API sessions.
    pub presence: watch::Sender<Presence>,
    /// Ends when the power does: scripts and pings stop.
    pub power: CancellationToken,
    /// Variables of the scripts, until the next start.
    pub globals: Globals,
    /// Scripts that wait to run.
    pub jobs: VecDeque<Job>,
    /// Scripts that run.
    pub jobs_running: usize,
    /// `/tool/netwatch`.
    pub netwatch: BTreeMap<u32, Entry>,
    /// `/ppp/secret`.
    pub secrets: BTreeMap<u32, Secret>,
    /// `/ppp/profile`.
    pub profiles: BTreeMap<u32, Profile>,
    /// `/ppp/active`.
    pub sessions: BTreeMap<u32, Session>,
    /// `/ip/dhcp-server/lease`.
    pub leases: BTreeMap<u32, Lease>,
    /// `/ip/neighbor`: who has been heard, and since when no more.
    pub neighbours: BTreeMap<NodeIndex, Option<SimTime>>,
    /// When the tasks of `/system/scheduler` run.
    pub tasks: BTreeMap<u32, Task>,
    /// How often a script or task ran.
    pub runs: BTreeMap<u32, u32>,
    /// The menus that only hold what is put there.
    pub tables: BTreeMap<&'static str, Table>,
    /// `/log`.
    pub log: VecDeque<LogLine>,
    /// `/user/active`, by connection.
    pub users: BTreeMap<u32, (String, IpAddr, SimTime)>,
    /// Who listens.
    pub listeners: Vec<Listener>,
    /// Counts ids of every menu.
    pub last_id: u32,
    /// Counts ids of sessions, whose ids are high on real routers too.
    pub last_session_id: u32,
    /// Counted.
    pub counters: Counters,
}

impl Router {
    /// A new id.
    pub fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// How long it has been up.
    pub fn uptime(&self, now: SimTime) -> Duration {
        now.since(self.booted_at) + self.up_before
    }

    /// Tells those who listen to `menu`; `change` is worked out only if somebody does.
    pub fn tell(&mut self, menu: &'static str, change: impl Fn(&Router) -> Option<Change>) {
        if self.listeners.iter().all(|listener| listener.menu != menu) {
            return;
        }
        let Some(change) = change(self) else { return };
        self.listeners
            .retain(|listener| listener.menu != menu || listener.sender.try_send(change.clone()).is_ok());
    }
}

/// The whole simulation.
#[derive(Debug)]
pub struct State {
    /// What is simulated.
    pub network: Arc<Network>,
    /// How routers behave.
    pub settings: Arc<Settings>,
    /// The routers' time.
    pub clock: Clock,
    /// What is broken.
    pub world: World,
    /// By [`RouterIndex`].
    pub routers: Vec<Router>,
    /// What is due.
    pub agenda: Agenda,
    /// Chance.
    pub dice: Dice,
    /// What goes wrong with webhooks.
    pub faults: Faults,
    /// Who answers at an address, by the router that sees it; any other node under `None`.
    addresses: HashMap<(Option<RouterIndex>, IpAddr), NodeIndex>,
    /// Which router has the session of a node that may be on several.
    pub(crate) holders: HashMap<NodeIndex, RouterIndex>,
    /// Nodes that were mended and are not up yet, and for which the end of their boot is due.
    starting: HashMap<NodeIndex, u32>,
    /// Boxes that were plugged in elsewhere since, and at which port of which router.
    pub(crate) plugged: HashMap<NodeIndex, (RouterIndex, u16)>,
    /// Counts starts.
    starts: u32,
    /// Counts scripts that were put into a queue.
    pub(crate) scripts_queued: u64,
}

impl State {
    /// A network in which all is well and has been for two days: nothing is said of it.
    pub fn new(network: Arc<Network>, settings: Arc<Settings>) -> Self {
        let mut routers = Vec::with_capacity(network.routers().len());
        for plan in network.routers() {
            routers.push(Router {
                version: plan.habits.version.clone(),
                identity: network.node(plan.node).id.to_string(),
                device_mode: plan.habits.device_mode,
                clock_ahead_s: plan.habits.clock_ahead_s,
                manner: Manner::default(),
                is_powered: true,
                booted_at: SimTime::default(),
                up_before: UP_BEFORE,
                presence: watch::Sender::new(Presence { is_reachable: true, boot: 1 }),
                power: CancellationToken::new(),
                globals: Globals::default(),
                jobs: VecDeque::new(),
                jobs_running: 0,
                netwatch: BTreeMap::new(),
                secrets: BTreeMap::new(),
                profiles: BTreeMap::new(),
                sessions: BTreeMap::new(),
                leases: BTreeMap::new(),
                neighbours: BTreeMap::new(),
                tasks: BTreeMap::new(),
                runs: BTreeMap::new(),
                tables: BTreeMap::new(),
                log: VecDeque::new(),
                users: BTreeMap::new(),
                listeners: Vec::new(),
                last_id: 0,
                last_session_id: 0x8000_0000,
                counters: Counters::default(),
            });
        }
        let mut addresses = HashMap::new();
        for index in network.indices() {
            let node = network.node(index);
            if let Some(address) = node.address {
                addresses.entry((None, address)).or_insert(index);
                if let Some((router, _)) = node.seen_by {
                    addresses.entry((Some(router), address)).or_insert(index);
                }
            }
        }
        let mut state = Self {
            world: World::new(Arc::clone(&network)),
            clock: Clock::starting_now(settings.time_scale),
            dice: Dice::new(settings.seed),
            network,
            settings,
            routers,
            agenda: Agenda::default(),
            faults: Faults::default(),
            addresses,
            holders: HashMap::new(),
            starting: HashMap::new(),
            plugged: HashMap::new(),
            starts: 0,
            scripts_queued: 0,
        };
        for router in state.network.router_indices() {
            state.place_users(router);
            state.place_profiles(router);
            state.place_radius(router);
            state.place_children(router);
            state.place_foreign(router);
            let interval = state.habits(router).probe_interval;
            state.start_netwatch(router, Duration::ZERO, interval);
            // What the network file draws without supply is down from the start.
            state.show_presence(router);
            state.look_at_sessions(router);
            state.look_at_leases(router);
            state.look_at_neighbours(router);
        }
        state
    }

    fn place_children(&mut self, router: RouterIndex) {
        let network = Arc::clone(&self.network);
        for node in network.children(router) {
            match &network.node(*node).seen_by {
                Some((_, Sight::Netwatch)) => self.place_netwatch(router, *node),
                Some((_, Sight::Session(user))) => self.place_session(router, *node, user),
                Some((_, Sight::Lease(mac))) => self.place_lease(router, *node, mac),
                None => {}
            }
        }
    }

    /// The router's memory.
    pub fn router(&mut self, router: RouterIndex) -> &mut Router {
        &mut self.routers[router.at()]
    }

    /// Who answers at `address` when this router asks.
    pub fn at_address(&self, router: RouterIndex, address: IpAddr) -> Option<NodeIndex> {
        self.addresses.get(&(Some(router), address)).or_else(|| self.addresses.get(&(None, address))).copied()
    }

    /// Who answers at `address` when the server asks.
    pub fn at_any_address(&self, address: IpAddr) -> Option<NodeIndex> {
        self.addresses.get(&(None, address)).copied()
    }

    /// How a router behaves.
    pub fn habits(&self, router: RouterIndex) -> &Habits {
        &self.network.router(router).habits
    }

    /// Breaks or mends nodes and lets every router notice; tells how many changed.
    ///
    /// What takes time to start is not up before that, though it counts as mended.
    pub fn set_broken(&mut self, nodes: &[NodeIndex], broken: bool) -> usize {
        let now = self.clock.now();
        let mut at_once = Vec::new();
        let mut started = 0;
        for node in nodes {
            let boot = self.network.node(*node).boot;
            if broken || boot.is_zero() {
                // Broken while it starts: it is as broken as before, and does not come up.
                started += usize::from(broken && self.starting.remove(node).is_some());
                at_once.push(*node);
            } else if self.world.is_broken(*node) && !self.starting.contains_key(node) {
                self.starts = self.starts.wrapping_add(1);
                self.starting.insert(*node, self.starts);
                self.agenda.add(now.after(boot), Due::Started { node: *node, start: self.starts });
                started += 1;
            }
        }
        started + self.change_world(&at_once, broken)
    }

    /// Whether it was mended and is not up yet.
    pub fn is_starting(&self, node: NodeIndex) -> bool {
        self.starting.contains_key(&node)
    }

    fn started(&mut self, node: NodeIndex, start: u32) {
        if self.starting.get(&node) == Some(&start) {
            self.starting.remove(&node);
            self.change_world(&[node], false);
        }
    }

    fn change_world(&mut self, nodes: &[NodeIndex], broken: bool) -> usize {
        let changed = self.world.set_broken(nodes, broken).len();
        if changed > 0 {
            for router in self.network.router_indices() {
                self.look_at_power(router);
                self.show_presence(router);
            }
            for router in self.network.router_indices() {
                self.look_at_sessions(router);
                self.look_at_leases(router);
                self.look_at_neighbours(router);
            }
        }
        changed
    }

    /// Takes the power from routers and gives it back at once.
    pub fn reboot(&mut self, routers: &[RouterIndex]) {
        for router in routers {
            if self.routers[router.at()].is_powered {
                self.lose_power(*router);
                self.boot(*router);
                self.show_presence(*router);
                self.look_at_sessions(*router);
                self.look_at_leases(*router);
                self.look_at_neighbours(*router);
            }
        }
    }

    fn look_at_power(&mut self, router: RouterIndex) {
        let broken = self.world.is_broken(self.network.router(router).node);
        match (self.routers[router.at()].is_powered, broken) {
            (true, true) => self.lose_power(router),
            (false, false) => self.boot(router),
            (true, false) | (false, true) => {}
        }
    }

    fn lose_power(&mut self, router: RouterIndex) {
        self.forget_sessions(router);
        self.forget_leases(router);
        let this = self.router(router);
        this.is_powered = false;
        this.power.cancel();
        this.globals.clear();
        this.neighbours.clear();
        this.jobs.clear();
        this.listeners.clear();
        this.log.clear();
        for table in this.tables.values_mut() {
            table.forget_dynamic();
        }
    }

    fn boot(&mut self, router: RouterIndex) {
        let now = self.clock.now();
        let this = self.router(router);
        this.is_powered = true;
        this.booted_at = now;
        this.up_before = Duration::ZERO;
        this.power = CancellationToken::new();
        this.presence.send_modify(|presence| presence.boot += 1);
        self.log(
            router,
            "system,critical",
            "router rebooted without proper shutdown, probably power outage".to_owned(),
        );
        let delay = if self.routers[router.at()].version.is_v6() {
            Duration::ZERO
        } else {
            self.habits(router).startup_delay
        };
        self.reset_netwatch(router);
        self.start_netwatch(router, delay, Duration::from_secs(1));
        self.start_tasks(router);
    }

    fn show_presence(&mut self, router: RouterIndex) {
        let is_reachable = self.world.is_reachable(self.network.router(router).node);
        self.router(router).presence.send_if_modified(|presence| {
            std::mem::replace(&mut presence.is_reachable, is_reachable) != is_reachable
        });
    }

    /// Does what is due by now, at most `most` things; tells when the next is due.
    pub fn work_off(&mut self, most: usize) -> Option<SimTime> {
        let now = self.clock.now();
        for _ in 0..most {
            let Some(due) = self.agenda.take(now) else { break };
            match due {
                Due::Probe { router, entry, generation } => self.probe(router, entry, generation),
                Due::Silence { router, entry, generation } => self.silence(router, entry, generation),
                Due::Started { node, start } => self.started(node, start),
                Due::Lost { router, secret, generation } => self.lost(router, secret, generation),
                Due::Dial { router, secret, generation } => self.dial(router, secret, generation),
                Due::Task { router, task, generation } => self.task(router, task, generation),
                Due::Bind { router, lease, generation } => self.bind(router, lease, generation),
                Due::Expire { router, lease, generation } => self.expire(router, lease, generation),
            }
        }
        self.agenda.next()
    }

    /// Writes a line into a router's log.
    pub fn log(&mut self, router: RouterIndex, topics: &'static str, message: String) {
        let at = self.clock.now();
        let stamp = self.stamp(router, at);
        let this = self.router(router);
        let id = this.next_id();
        if this.log.len() >= LOG_LINES_MAX {
            this.log.pop_front();
        }
        this.log.push_back(LogLine { id, at, topics, message });
        this.tell("/log", |this| {
            this.log.back().map(|line| Change::Row(crate::router::menu::log_row(line, stamp.clone())))
        });
    }

    /// A moment as a router's own clock would write it.
    pub fn stamp(&self, router: RouterIndex, at: SimTime) -> String {
        let this = &self.routers[router.at()];
        let ahead = chrono::Duration::try_seconds(this.clock_ahead_s).unwrap_or_default();
        let at = self.clock.wall(at);
        this.version.timestamp(at.checked_add_signed(ahead).unwrap_or(at))
    }

    /// A router's date and time of day.
    pub fn date_and_time(&self, router: RouterIndex) -> (String, String) {
        let stamp = self.stamp(router, self.clock.now());
        match stamp.split_once(' ') {
            Some((date, time)) => (date.to_owned(), time.to_owned()),
            None => (stamp, String::new()),
        }
    }

    /// Where a router's scripts push to when mastwatch has placed them.
    pub(crate) fn pusher(&self, router: RouterIndex) -> Option<Pusher> {
        let url = self.settings.ingest.as_ref()?.as_str().trim_end_matches('/').to_owned();
        let token = self.network.router(router).token.clone()?;
        Some(Pusher { url, token, checks_certificate: false })
    }
}
