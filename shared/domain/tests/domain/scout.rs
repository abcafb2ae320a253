//! What a scan finds: who is known, proposed, moved and gone, and where everything hangs.

use domain::{
    Graph,
    scout::{Found, Look, Row, Seen, neighbours, scan},
};
use events::{
    Above, DeviceClass, Group, GroupMode, Member, Node, NodeId, NodeKind, Origin, Sealed, SeenDevice,
    SightingId, SightingState, TenantId, Tier, Time,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// A tenant with its inventory, and what was said of devices so far.
#[derive(Default)]
struct Town {
    graph: Graph,
    said: BTreeMap<SightingId, Arc<SeenDevice>>,
    looks: i64,
}

fn id(name: &str) -> NodeId {
    NodeId::of(TenantId::of("hillside"), name)
}

/// Stands for the keyed hash.
fn sighting(key: &str) -> SightingId {
    SightingId(NodeId::of(TenantId::of("keyed"), key).0)
}

/// The device with that hardware address.
fn at(mac: u8) -> SightingId {
    sighting(&format!("mac 02:00:00:00:00:{mac:02x}"))
}

fn row(mac: u8, name: &str, board: &str, port: &str) -> Row {
    Row {
        mac: format!("02:00:00:00:00:{mac:02X}"),
        identity: name.into(),
        board: board.into(),
        interface: format!("{port},bridge1"),
        address: format!("10.0.0.{mac}").parse().ok(),
        ..Row::default()
    }
}

/// Hides by turning letters round; told apart from plain text, and can be opened.
fn seal(_: SightingId, seen: &Seen) -> Sealed {
    Sealed(serde_json::to_string(seen).unwrap().bytes().map(|byte| format!("{:02x}", !byte)).collect())
}

fn open(device: &SeenDevice) -> Option<Seen> {
    let text = &device.seen.0;
    let bytes = (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).map(|b| !b));
    serde_json::from_slice(&bytes.collect::<Result<Vec<u8>, _>>().ok()?).ok()
}

impl Town {
    /// A core with two towers.
    fn new() -> Self {
        let mut town = Self::default();
        town.add("core", DeviceClass::Router, Tier::Core, None, 200);
        town.add("tower-1", DeviceClass::Router, Tier::Site, Some("core"), 201);
        town.add("tower-2", DeviceClass::Router, Tier::Site, Some("core"), 202);
        town
    }

    fn add(&mut self, name: &str, class: DeviceClass, tier: Tier, parent: Option<&str>, host: u8) {
        let needs = parent.map(|of| Group { mode: GroupMode::All, members: vec![Member::Node(id(of))] });
        self.graph.put(Node {
            id: id(name),
            file_id: name.into(),
            name: name.into(),
            kind: NodeKind::Device { class },
            tier,
            site: None,
            needs: needs.into_iter().collect(),
            address: format!("10.0.0.{host}").parse().ok(),
            watch: None,
            seen_by: parent.map(id),
            claims: vec![],
            login: None,
            plan: None,
            owner: None,
            maintenance: vec![],
            origin: Origin::File,
        });
        self.graph.knit();
    }

    fn find(&self, router: &str, rows: &[Row], most: usize) -> Found {
        let heard = neighbours(rows).into_iter().map(|(key, it)| (sighting(&key), it)).collect();
        let at = Time::from_ms(self.looks);
        let look = Look {
            router: id(router),
            at,
            heard: &heard,
            before: &self.said,
            most,
            seal: &seal,
            open: &open,
        };
        scan(&look, &self.graph)
    }

    /// A scan, whose news are said.
    fn scans(&mut self, router: &str, rows: &[Row]) -> Found {
        self.looks += 1;
        let found = self.find(router, rows, 100);
        for news in &found.news {
            self.said.insert(news.id, Arc::new(news.clone()));
        }
        found
    }

    fn is(&self, mac: u8) -> &SeenDevice {
        &self.said[&at(mac)]
    }

    fn state(&self, mac: u8) -> SightingState {
        self.is(mac).state
    }

    /// Somebody says no.
    fn reject(&mut self, mac: u8) {
        let device = SeenDevice { state: SightingState::Rejected, ..self.is(mac).clone() };
        self.said.insert(device.id, Arc::new(device));
    }

    /// Somebody adds it under that name, where it is proposed.
    fn adopt(&mut self, mac: u8, name: &str) {
        let device = self.is(mac).clone();
        let parent = match device.parent.unwrap() {
            Above::Node { id } => id,
            Above::Sighting { id } => self.said[&id].node.unwrap(),
        };
        let parent = self.graph.node(self.graph.index_of(parent).unwrap()).unwrap().name.clone();
        self.add(name, device.class, device.tier, Some(&parent), mac);
        let device = SeenDevice { state: SightingState::Known, node: Some(id(name)), ..device };
        self.said.insert(device.id, Arc::new(device));
    }
}

const SECTOR: &str = "mANTBox 19s";
const STATION: &str = "RBLHG-5nD";

#[test]
fn who_is_in_the_inventory_is_known_and_who_is_not_is_proposed_below_who_sees_it() {
    let mut town = Town::new();
    town.add("sector-1", DeviceClass::SectorAp, Tier::Sector, Some("tower-1"), 11);
    let found = town.scans(
        "tower-1",
        &[
            row(200, "core", "CCR2004", "ether1"),
            row(11, "whatever it is called", SECTOR, "ether2"),
            row(12, "fresh", SECTOR, "ether3"),
            Row { address: None, ..row(13, "without an address", SECTOR, "ether4") },
            row(201, "tower-1", "CCR2004", "ether5"),
        ],
    );
    assert_eq!((found.scan.device_count, found.scan.known_count, found.scan.proposed_count), (4, 2, 2));
    assert_eq!((town.state(200), town.state(11)), (SightingState::Known, SightingState::Known));
    assert_eq!((town.is(11).node, town.is(200).node), (Some(id("sector-1")), Some(id("core"))));
    for (mac, has_address) in [(12, true), (13, false)] {
        let fresh = town.is(mac);
        assert_eq!(
            (fresh.state, fresh.class, fresh.tier),
            (SightingState::Proposed, DeviceClass::SectorAp, Tier::Sector)
        );
        assert_eq!((fresh.parent, fresh.has_address), (Some(Above::Node { id: id("tower-1") }), has_address));
        assert!(fresh.reasons.iter().any(|why| why.contains("mant")), "{:?}", fresh.reasons);
    }
}

/// Requirements, R13: core above sector above client, whoever is scanned first.
#[test]
fn what_is_behind_a_sector_hangs_below_it_although_the_core_sees_it_too() {
    let at_core = [
        row(21, "sector", SECTOR, "ether2"),
        row(22, "a", STATION, "ether2"),
        row(23, "b", STATION, "ether2"),
    ];
    let mut town = Town::new();
    town.scans("core", &at_core);
    assert_eq!(town.is(21).parent, Some(Above::Node { id: id("core") }));
    for mac in [22, 23] {
        let station = town.is(mac);
        assert_eq!((station.parent, station.tier), (Some(Above::Sighting { id: at(21) }), Tier::Station));
    }

    // The sector is added and scanned itself: it sees its stations in the air, and the core on its cable.
    town.adopt(21, "sector");
    let at_sector = [
        row(200, "core", "CCR2004", "ether1"),
        row(22, "a", STATION, "wlan1"),
        row(23, "b", STATION, "wlan1"),
    ];
    town.scans("sector", &at_sector);
    town.scans("core", &at_core);
    for mac in [22, 23] {
        assert_eq!(town.is(mac).parent, Some(Above::Node { id: id("sector") }), "{:?}", town.is(mac).reasons);
    }
    town.adopt(22, "a");
    town.adopt(23, "b");
    assert_eq!((town.scans("core", &at_core).scan.known_count, town.state(22)), (3, SightingState::Known));
    assert_eq!(town.scans("sector", &at_sector).scan.known_count, 3);
}

#[test]
fn what_is_seen_on_the_way_up_is_put_beside_the_router_and_not_below_it() {
    let mut town = Town::new();
    let rows = [row(200, "core", "CCR2004", "ether1"), row(31, "stranger", "CCR2004", "ether1")];
    town.scans("tower-1", &rows);
    assert_eq!((town.is(31).parent, town.is(31).tier), (Some(Above::Node { id: id("core") }), Tier::Site));
    town.scans("core", &[row(200, "self", "CCR2004", "ether9"), row(32, "upstream", "CCR2116", "ether1")]);
    assert_eq!(town.is(32).parent, Some(Above::Node { id: id("core") }), "nothing says that it is above");
}

#[test]
fn of_several_carriers_at_one_port_none_is_guessed() {
    let mut town = Town::new();
    town.scans(
        "tower-1",
        &[row(41, "s1", SECTOR, "ether2"), row(42, "s2", SECTOR, "ether2"), row(43, "c", STATION, "ether2")],
    );
    let station = town.is(43);
    assert_eq!(station.parent, Some(Above::Node { id: id("tower-1") }));
    assert!(
        station.reasons.iter().any(|why| why.contains("several of the sectors")),
        "{:?}",
        station.reasons
    );
    // A switch carries what stands at its port, itself below the router.
    town.scans("tower-2", &[row(44, "sw", "CRS326-24G", "ether2"), row(45, "s3", SECTOR, "ether2")]);
    assert_eq!(town.is(44).parent, Some(Above::Node { id: id("tower-2") }));
    assert_eq!(town.is(45).parent, Some(Above::Sighting { id: at(44) }));
}

#[test]
fn a_device_moves_when_it_is_seen_elsewhere_and_no_more_where_the_inventory_has_it() {
    let mut town = Town::new();
    town.add("sector-1", DeviceClass::SectorAp, Tier::Sector, Some("tower-1"), 11);
    let there = row(11, "sector-1", SECTOR, "ether2");
    town.scans("tower-1", std::slice::from_ref(&there));
    town.scans("tower-2", std::slice::from_ref(&there));
    assert_eq!(town.state(11), SightingState::Known, "two routers may see one device");
    town.scans("tower-1", &[]);
    assert_eq!(
        (town.state(11), town.is(11).parent),
        (SightingState::Moved, Some(Above::Node { id: id("tower-2") }))
    );
    assert!(town.scans("tower-2", std::slice::from_ref(&there)).news.is_empty(), "said once");
    town.scans("tower-1", std::slice::from_ref(&there));
    assert_eq!(town.state(11), SightingState::Known, "it is back");

    // To another port of the same router.
    town.scans("tower-2", &[]);
    let other = row(11, "sector-1", SECTOR, "ether7");
    town.scans("tower-1", std::slice::from_ref(&other));
    let moved = town.is(11);
    assert_eq!((moved.state, moved.spots[0].was.as_deref()), (SightingState::Moved, Some("ether2")));
    assert!(town.scans("tower-1", std::slice::from_ref(&other)).news.is_empty());
    town.scans("tower-1", &[there]);
    assert_eq!(town.state(11), SightingState::Known);
}

#[test]
fn an_address_that_repeats_behind_every_router_makes_nobody_known() {
    let mut town = Town::new();
    town.add("ap", DeviceClass::SectorAp, Tier::Sector, Some("tower-1"), 1);
    let found = town.scans("tower-2", &[row(1, "MikroTik", SECTOR, "ether2")]);
    assert_eq!((found.scan.proposed_count, town.is(1).node), (1, None));
    // Called like it, it is it, and elsewhere.
    town.scans("tower-2", &[row(2, "AP", SECTOR, "ether2")]);
    assert_eq!((town.state(2), town.is(2).node), (SightingState::Moved, Some(id("ap"))));
}

#[test]
fn what_was_rejected_is_not_proposed_again_unless_it_is_something_else() {
    let mut town = Town::new();
    let there = row(51, "printer", STATION, "ether2");
    town.scans("tower-1", std::slice::from_ref(&there));
    town.reject(51);
    for same in [
        there.clone(),
        Row { version: "7.20".into(), address: None, ..there.clone() },
        row(51, "printer", STATION, "ether9"),
    ] {
        let found = town.scans("tower-1", &[same]);
        assert_eq!((found.news.len(), found.scan.rejected_count, found.scan.proposed_count), (0, 1, 0));
    }
    town.scans("tower-1", &[]);
    assert_eq!((town.state(51), town.is(51).spots.len()), (SightingState::Rejected, 0));
    town.scans("tower-1", std::slice::from_ref(&there));
    assert_eq!(town.state(51), SightingState::Rejected, "it was away for a while");
    for other in [row(51, "sector-9", STATION, "ether2"), row(51, "printer", SECTOR, "ether2")] {
        town.scans("tower-1", &[other]);
        assert_eq!(town.state(51), SightingState::Proposed);
        town.scans("tower-1", std::slice::from_ref(&there));
        town.reject(51);
    }
    town.scans("tower-1", &[]);
    town.scans("tower-2", &[there]);
    assert_eq!(town.state(51), SightingState::Proposed, "it stands somewhere else");
}

#[test]
fn who_was_proposed_and_is_not_seen_any_more_is_gone_and_may_come_back() {
    let mut town = Town::new();
    let there = row(61, "new", SECTOR, "ether2");
    town.scans("tower-1", std::slice::from_ref(&there));
    town.scans("tower-1", &[]);
    assert_eq!((town.state(61), town.is(61).spots.len()), (SightingState::Gone, 0));
    assert!(town.scans("tower-1", &[]).news.is_empty());
    town.scans("tower-1", &[there]);
    assert_eq!(town.state(61), SightingState::Proposed);
}

#[test]
fn of_too_many_those_are_told_on_whom_others_hang() {
    let town = Town::new();
    let mut rows: Vec<Row> = (1..=90).map(|n| row(n, &format!("c{n}"), STATION, "ether2")).collect();
    rows.push(row(91, "sector", SECTOR, "ether3"));
    let found = town.find("tower-1", &rows, 10);
    assert_eq!((found.news.len(), found.scan.device_count, found.scan.left_out_count), (10, 91, 81));
    assert!(found.news.iter().any(|device| device.id == at(91)));
}

/// Any few devices at any of a few ports of any of the routers.
fn any_rows() -> impl Strategy<Value = Vec<(u8, Row)>> {
    let one = (1..30_u8, 1..4_u8, any::<bool>(), 0..3_u8).prop_map(|(mac, port, addressed, router)| {
        let board = ["CCR2004", SECTOR, STATION, "CRS326", "unheard of"][usize::from(mac % 5)];
        let row = row(mac, &format!("device-{mac}"), board, &format!("ether{port}"));
        (router, if addressed { row } else { Row { address: None, ..row } })
    });
    prop::collection::vec(one, 0..40)
}

fn of_router(rows: &[(u8, Row)], router: u8) -> Vec<Row> {
    rows.iter().filter(|(seer, _)| *seer == router).map(|(_, row)| row.clone()).collect()
}

const ROUTERS: [&str; 3] = ["core", "tower-1", "tower-2"];

proptest! {
    #[test]
    fn the_order_of_rows_does_not_matter(rows in any_rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))) {
        let town = Town::new();
        let (rows, shuffled) = rows;
        for (n, router) in (0..).zip(ROUTERS) {
            prop_assert_eq!(
                town.find(router, &of_router(&rows, n), 100),
                town.find(router, &of_router(&shuffled, n), 100)
            );
        }
    }

    #[test]
    fn who_is_in_the_inventory_is_never_proposed(rows in any_rows(), known in prop::collection::btree_set(1..30_u8, 0..9)) {
        let mut town = Town::new();
        for mac in &known {
            let parent = ROUTERS[usize::from(mac % 3)];
            town.add(&format!("device-{mac}"), DeviceClass::SectorAp, Tier::Sector, Some(parent), *mac);
        }
        for (n, router) in (0..).zip(ROUTERS) {
            town.scans(router, &of_router(&rows, n));
        }
        for device in town.said.values() {
            let is_known = known.iter().any(|mac| device.id == at(*mac));
            prop_assert_eq!(device.state != SightingState::Proposed, is_known, "{:?}", device);
        }
    }

    /// Scans without end say nothing new of a network in which nothing happens; and no name is ever told.
    #[test]
    fn a_network_at_rest_is_told_once_and_without_names(rows in any_rows()) {
        let mut town = Town::new();
        // What each router sees settles where the others' devices hang: a second round may say so, a third does not.
        for _ in 0..2 {
            for (n, router) in (0..).zip(ROUTERS) {
                town.scans(router, &of_router(&rows, n));
            }
        }
        for (n, router) in (0..).zip(ROUTERS) {
            let found = town.scans(router, &of_router(&rows, n));
            prop_assert_eq!(found.news, vec![]);
        }
        for device in town.said.values() {
            let told = serde_json::to_string(device).unwrap();
            prop_assert!(!told.contains("device-") && !told.contains("02:00:00"), "{}", told);
            prop_assert!(open(device).unwrap().name.starts_with("device-"));
        }
    }
}
