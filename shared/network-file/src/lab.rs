//! What only the simulated ISP reads: how the routers and paths of the file behave when played.

use std::collections::BTreeMap;

/// The `lab` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lab {
    /// What holds for every node unless it says otherwise.
    pub defaults: LabHints,
    /// What single nodes say, under their ids.
    pub nodes: BTreeMap<String, LabHints>,
    /// Where the played routers send their webhooks, when the lab is not told on its command line.
    pub reports_to: Option<String>,
}

/// Hints as they are written: what is absent follows from [`Lab::defaults`], then from [`LabNode::default`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabHints {
    /// The RouterOS version a router says it runs.
    pub version: Option<String>,
    /// Round trip from the next node up to this one, microseconds.
    pub latency_us: Option<u32>,
    /// Of a million packets between the next node up and this one, how many are lost.
    pub loss_ppm: Option<u32>,
    /// Whether the router has netwatch entries for what it sees.
    pub netwatch: Option<bool>,
    /// How often a netwatch entry looks, milliseconds.
    pub netwatch_every_ms: Option<u32>,
    /// How long after its boot netwatch starts, milliseconds.
    pub netwatch_delay_ms: Option<u32>,
    /// Whether the router's PPP profile has scripts that report sessions.
    pub ppp_scripts: Option<bool>,
    /// How long after going down a session is noticed by its concentrator, milliseconds.
    pub session_timeout_ms: Option<u32>,
    /// How long a boot takes, milliseconds.
    pub boot_ms: Option<u32>,
    /// How long a DHCP lease lasts without being renewed, milliseconds.
    pub lease_time_ms: Option<u32>,
    /// What the user in the router's `login` may do.
    pub rights: Option<LabRights>,
    /// What the router's board may do.
    pub device_mode: Option<LabDeviceMode>,
    /// Whether a RADIUS server knows the router's customers, and it has no secrets of theirs.
    pub radius: Option<bool>,
    /// Whether an operator has configured the router before: lines and entries of his own.
    pub lived_in: Option<bool>,
    /// How far behind the router's clock is, seconds.
    pub clock_behind_s: Option<u32>,
    /// Whether the router passes on what is said below it, so that the next one up hears it too.
    pub bridges: Option<bool>,
}

/// A group of `/user/group` that every router has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabRights {
    /// Everything.
    Full,
    /// All but users and files.
    Write,
    /// Looking and pinging.
    Read,
}

/// What a board may do until somebody presses its button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabDeviceMode {
    /// Nearly all.
    Advanced,
    /// Less, but what routers push with.
    Basic,
    /// Neither fetch nor scheduler.
    Home,
}

impl LabRights {
    /// Every one by its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("full", Self::Full), ("write", Self::Write), ("read", Self::Read)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

impl LabDeviceMode {
    /// Every one by its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("advanced", Self::Advanced), ("basic", Self::Basic), ("home", Self::Home)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Advanced => "advanced",
            Self::Basic => "basic",
            Self::Home => "home",
        }
    }
}

/// How one node behaves when it is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabNode {
    /// See [`LabHints::version`].
    pub version: String,
    /// See [`LabHints::latency_us`].
    pub latency_us: u32,
    /// See [`LabHints::loss_ppm`].
    pub loss_ppm: u32,
    /// See [`LabHints::netwatch`].
    pub netwatch: bool,
    /// See [`LabHints::netwatch_every_ms`].
    pub netwatch_every_ms: u32,
    /// See [`LabHints::netwatch_delay_ms`].
    pub netwatch_delay_ms: u32,
    /// See [`LabHints::ppp_scripts`].
    pub ppp_scripts: bool,
    /// See [`LabHints::session_timeout_ms`].
    pub session_timeout_ms: u32,
    /// See [`LabHints::boot_ms`].
    pub boot_ms: u32,
    /// See [`LabHints::lease_time_ms`].
    pub lease_time_ms: u32,
    /// See [`LabHints::rights`].
    pub rights: LabRights,
    /// See [`LabHints::device_mode`].
    pub device_mode: LabDeviceMode,
    /// See [`LabHints::radius`].
    pub radius: bool,
    /// See [`LabHints::lived_in`].
    pub lived_in: bool,
    /// See [`LabHints::clock_behind_s`].
    pub clock_behind_s: u32,
    /// See [`LabHints::bridges`].
    pub bridges: bool,
}

impl Default for LabNode {
    /// RouterOS 7.16.2; 2 ms a hop without loss; netwatch every 10 s, from 5 min after the boot as
    /// RouterOS does; sessions noticed after 10 s; boots of 60 s; leases of 10 min. The user and the board
    /// may everything, customers have secrets, nobody was there before and the clock is right.
    fn default() -> Self {
        Self {
            version: "7.16.2".into(),
            latency_us: 2_000,
            loss_ppm: 0,
            netwatch: true,
            netwatch_every_ms: 10_000,
            netwatch_delay_ms: 300_000,
            ppp_scripts: true,
            session_timeout_ms: 10_000,
            boot_ms: 60_000,
            lease_time_ms: 600_000,
            rights: LabRights::Full,
            device_mode: LabDeviceMode::Advanced,
            radius: false,
            lived_in: false,
            clock_behind_s: 0,
            bridges: false,
        }
    }
}

impl Lab {
    /// How the node that the file calls `id` behaves.
    pub fn node(&self, id: &str) -> LabNode {
        let mut node = LabNode::default();
        node.follow(&self.defaults);
        if let Some(hints) = self.nodes.get(id) {
            node.follow(hints);
        }
        node
    }
}

impl LabNode {
    fn follow(&mut self, hints: &LabHints) {
        fn set<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        set(&mut self.version, hints.version.as_ref());
        set(&mut self.latency_us, hints.latency_us.as_ref());
        set(&mut self.loss_ppm, hints.loss_ppm.as_ref());
        set(&mut self.netwatch, hints.netwatch.as_ref());
        set(&mut self.netwatch_every_ms, hints.netwatch_every_ms.as_ref());
        set(&mut self.netwatch_delay_ms, hints.netwatch_delay_ms.as_ref());
        set(&mut self.ppp_scripts, hints.ppp_scripts.as_ref());
        set(&mut self.session_timeout_ms, hints.session_timeout_ms.as_ref());
        set(&mut self.boot_ms, hints.boot_ms.as_ref());
        set(&mut self.lease_time_ms, hints.lease_time_ms.as_ref());
        set(&mut self.rights, hints.rights.as_ref());
        set(&mut self.device_mode, hints.device_mode.as_ref());
        set(&mut self.radius, hints.radius.as_ref());
        set(&mut self.lived_in, hints.lived_in.as_ref());
        set(&mut self.clock_behind_s, hints.clock_behind_s.as_ref());
        set(&mut self.bridges, hints.bridges.as_ref());
    }
}
