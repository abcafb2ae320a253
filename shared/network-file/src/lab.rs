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
}

impl Default for LabNode {
    /// RouterOS 7.16.2; 2 ms a hop without loss; netwatch every 10 s, from 5 min after the boot as
    /// RouterOS does; sessions noticed after 10 s; boots of 60 s.
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
    }
}
