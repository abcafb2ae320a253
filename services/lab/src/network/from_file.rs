//! The network file as the lab sees it.
//!
//! The only place that knows both: what an operator writes, and what is simulated.

use std::collections::HashMap;
use std::time::Duration;

use events::{DeviceClass, NodeKind, Tier};
use network_file::{LabDeviceMode, LabNode, Need, NetworkFile, NodeEntry, Session, Subscriber};

use super::{
    DeviceMode, Group, Habits, Hop, Kind, Member, Mode, Network, NetworkError, Node, NodeIndex, RouterIndex,
    RouterPlan, Sight,
};

impl Network {
    /// What a network file describes, with every router that has a login played.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] for the first thing that cannot be simulated.
    pub fn from_file(file: &NetworkFile) -> Result<Self, NetworkError> {
        let places: HashMap<&str, NodeIndex> =
            file.nodes.iter().zip(0..).map(|(node, n)| (node.id.as_str(), NodeIndex(n))).collect();
        let mut plans = Vec::new();
        let mut routers = HashMap::new();
        for entry in &file.nodes {
            if let Some(plan) = plan_of(file, entry, places[entry.id.as_str()])? {
                routers.insert(entry.id.as_str(), RouterIndex(plans.len() as u32));
                plans.push(plan);
            }
        }
        let known = Known { places, routers };
        let mut nodes = Vec::with_capacity(file.nodes.len() + file.subscribers.len());
        for entry in &file.nodes {
            nodes.push(known.node(file, entry)?);
        }
        for subscriber in &file.subscribers {
            nodes.push(known.subscriber(file, subscriber)?);
        }
        Self::new(nodes, plans)
    }
}

fn plan_of(
    file: &NetworkFile,
    entry: &NodeEntry,
    node: NodeIndex,
) -> Result<Option<RouterPlan>, NetworkError> {
    let (Some(login), Some(address)) = (&entry.login, entry.address) else { return Ok(None) };
    if !address.is_loopback() {
        return Err(NetworkError::NotLoopback { id: entry.id.clone(), address });
    }
    let hints = file.lab.node(&entry.id);
    let habits = Habits {
        version: hints
            .version
            .parse()
            .map_err(|source| NetworkError::Version { id: entry.id.clone(), source })?,
        watches: hints.netwatch,
        probe_interval: ms(hints.netwatch_every_ms),
        startup_delay: ms(hints.netwatch_delay_ms),
        reports_sessions: hints.ppp_scripts,
        session_lost_after: ms(hints.session_timeout_ms),
        lease_time: ms(hints.lease_time_ms),
        group: hints.rights.name().to_owned(),
        device_mode: match hints.device_mode {
            LabDeviceMode::Advanced => DeviceMode::Advanced,
            LabDeviceMode::Basic => DeviceMode::Basic,
            LabDeviceMode::Home => DeviceMode::Home,
        },
        radius: hints.radius,
        is_lived_in: hints.lived_in,
        clock_ahead_s: -i64::from(hints.clock_behind_s),
        bridges: hints.bridges,
    };
    Ok(Some(RouterPlan {
        node,
        address,
        port: login.port,
        tls: login.tls,
        user: login.user.reveal().to_owned(),
        password: login.password.reveal().to_owned(),
        token: entry.webhook.as_ref().map(|webhook| webhook.token.reveal().to_owned()),
        habits,
    }))
}

/// What a box of that kind says it is. A router that stands where sectors stand is one.
fn board(kind: NodeKind, tier: Tier) -> &'static str {
    let NodeKind::Device { class } = kind else { return "RBLHG-5nD" };
    match class {
        DeviceClass::Router if tier == Tier::Sector => "RB921GS-5HPacD-19S",
        DeviceClass::Router => "CCR2004-16G-2S+",
        DeviceClass::Switch => "CRS326-24G-2S+",
        DeviceClass::SectorAp => "RB921GS-5HPacD-19S",
        DeviceClass::Backhaul => "RBwAPG-60ad",
        DeviceClass::Station => "RBLHG-5nD",
        DeviceClass::Server => "x86",
        DeviceClass::Other => "",
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

fn hop(hints: &LabNode) -> Hop {
    Hop { rtt_us: hints.latency_us, loss: hints.loss_ppm as f32 / 1e6 }
}

struct Known<'a> {
    places: HashMap<&'a str, NodeIndex>,
    routers: HashMap<&'a str, RouterIndex>,
}

impl Known<'_> {
    fn node(&self, file: &NetworkFile, entry: &NodeEntry) -> Result<Node, NetworkError> {
        let hints = file.lab.node(&entry.id);
        let (kind, boot) = match entry.kind {
            NodeKind::Device { .. } => (Kind::Device, ms(hints.boot_ms)),
            NodeKind::Upstream => (Kind::Device, Duration::ZERO),
            NodeKind::Link | NodeKind::Service => (Kind::Passive, Duration::ZERO),
            NodeKind::Subscriber => (Kind::Subscriber, Duration::ZERO),
        };
        let router = entry.seen_by.router().filter(|router| *router != entry.id);
        let router = router.and_then(|router| self.routers.get(router)).copied();
        Ok(Node {
            address: entry.address,
            needs: self.groups(&entry.id, &file.needs_of(entry))?,
            seen_by: router.filter(|_| entry.address.is_some()).map(|router| (router, Sight::Netwatch)),
            is_radio: entry.kind == NodeKind::Device { class: DeviceClass::Station },
            board: board(entry.kind, entry.tier),
            hop: hop(&hints),
            boot,
            ..Node::new(&entry.id, kind)
        })
    }

    fn subscriber(&self, file: &NetworkFile, subscriber: &Subscriber) -> Result<Node, NetworkError> {
        let routers: Vec<RouterIndex> =
            file.session_routers(subscriber).filter_map(|router| self.routers.get(router)).copied().collect();
        let (address, sight, stand_ins) = match &subscriber.session {
            Session::Pppoe(user) => (
                None,
                Some(Sight::Session(user.reveal().into())),
                routers.get(1..).unwrap_or_default().to_vec(),
            ),
            Session::Static(address) => (Some(*address), Some(Sight::Netwatch), Vec::new()),
            Session::Mac(mac) => (None, Some(Sight::Lease(mac.reveal().into())), Vec::new()),
            Session::None => (None, None, Vec::new()),
        };
        Ok(Node {
            address,
            needs: self.groups(&subscriber.account, &file.subscriber_needs(subscriber))?,
            seen_by: routers.first().copied().zip(sight),
            stand_ins,
            hop: hop(&file.lab.node(&subscriber.account)),
            ..Node::new(&subscriber.account, Kind::Subscriber)
        })
    }

    fn groups(&self, id: &str, needs: &[Need]) -> Result<Vec<Group>, NetworkError> {
        let group = |need: &Need| match self.member(id, need)? {
            Member::Group(group) => Ok(group),
            Member::Node(node) => Ok(Group::parent(node)),
        };
        needs.iter().map(group).collect()
    }

    fn member(&self, id: &str, need: &Need) -> Result<Member, NetworkError> {
        let (mode, of) = match need {
            Need::Node(needed) => {
                let place = self.places.get(needed.as_str()).copied();
                return place.map(Member::Node).ok_or_else(|| NetworkError::Dangling(id.to_owned()));
            }
            Need::Any(of) => (Mode::Any, of),
            Need::All(of) => (Mode::All, of),
            Need::KOfN { k, of } => (Mode::AtLeast(u32::from(*k)), of),
        };
        let members = of.iter().map(|need| self.member(id, need)).collect::<Result<_, _>>()?;
        Ok(Member::Group(Group { mode, members }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
tenant: {id: t, name: T}
sites:
  - {id: s, name: S}
devices:
  - id: core
    name: Core
    class: router
    tier: core
    site: s
    address: 127.20.0.1
    login: {user: u, password: p, port: 18728}
    webhook: {token: mw_pg2c5dgruwdz_d34bpu8b830euayaqc8kgi4bbks2an9n}
  - {id: ap, name: AP, class: sector_ap, parent: core, address: 10.0.0.1}
subscribers:
  - {account: a-1, parent: ap, user: cust-1}
  - {account: a-2, parent: ap, address: 10.1.0.2}
lab:
  boot: 5s
  loss: 0.5%
  nodes:
    core: {version: 6.49.10, netwatch_every: 2s, netwatch_delay: 0s}
";

    fn read(text: &str) -> NetworkFile {
        network_file::parse("test.yaml", text, &network_file::OnlyWrittenOut).unwrap()
    }

    #[test]
    fn routers_and_what_they_see_come_from_the_file() {
        let network = Network::from_file(&read(FILE)).unwrap();
        let plan = &network.routers()[0];
        assert_eq!((plan.port, plan.user.as_str(), plan.habits.version.text()), (18728, "u", "6.49.10"));
        assert_eq!(
            (plan.habits.probe_interval, plan.habits.startup_delay),
            (Duration::from_secs(2), Duration::ZERO)
        );
        assert!(plan.token.as_ref().unwrap().starts_with("mw_pg2c5dgruwdz_"));
        let node = |id| network.node(network.find(id).unwrap());
        let router = RouterIndex(0);
        assert_eq!(node("ap").seen_by, Some((router, Sight::Netwatch)));
        assert_eq!((node("ap").boot, node("ap").hop.loss), (Duration::from_secs(5), 0.005));
        assert_eq!(node("a-1").seen_by, Some((router, Sight::Session("cust-1".into()))));
        assert_eq!(node("a-2").seen_by, Some((router, Sight::Netwatch)));
        assert_eq!(node("a-1").needs[0], Group::parent(network.find("ap").unwrap()));
    }

    #[test]
    fn a_router_that_is_not_on_loopback_cannot_be_played() {
        let error = Network::from_file(&read(&FILE.replace("127.20.0.1", "10.9.9.9"))).unwrap_err();
        assert!(error.to_string().contains("127.0.0.0/8"), "{error}");
    }

    #[test]
    fn the_demonstration_can_be_played() {
        let file = network_file::demo(18728, "http://127.0.0.1:8081", "http://127.0.0.1:8099");
        let network = Network::from_file(&file).unwrap();
        assert!(network.routers().len() >= 12 && network.nodes().len() > 500);
    }
}
