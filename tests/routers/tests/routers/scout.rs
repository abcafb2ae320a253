//! What routers see around them: asked for over a real log, of played routers.

use crate::ground::{Ground, until, writes};
use events::{Above, DeviceClass, Noun, SeenDevice, SightingState, Tier};
use lab::{Lab, Settings, network::RouterIndex};
use routers::{ROUTER, tower};
use std::sync::Arc;

const VERSION: &str = "7.16.2 (stable)";
/// Where nobody listens: nothing has to arrive.
const NOWHERE: &str = "http://127.0.0.1:9";

async fn played() -> Arc<Lab> {
    Lab::start(tower(VERSION), Settings { time_scale: 100.0, ..Settings::default() }).await.unwrap()
}

fn names(devices: &std::collections::BTreeMap<String, SeenDevice>, state: SightingState) -> Vec<&str> {
    devices.iter().filter(|(_, device)| device.state == state).map(|(name, _)| name.as_str()).collect()
}

/// Requirements, R12 (what is found; that it is added is tried with the console) and R13.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_boxes_around_a_tower_are_found_two_without_an_address_and_hang_where_they_hang() {
    let lab = played().await;
    let ground = Ground::lay().await;
    ground.import_some(&lab, false, &["core"]).await;
    let running = ground.start(NOWHERE).await;
    // The first look scans without being asked.
    until("the router was scanned", async || ground.devices().await.len() == 6).await;
    let scan = ground.scan("core").await;
    assert_eq!((scan.device_count, scan.proposed_count, scan.error.as_deref()), (6, 6, None));
    let devices = ground.devices().await;
    assert_eq!(names(&devices, SightingState::Proposed), ["ap-1", "bare", "sector", "st-a", "st-b", "sw"]);
    let without = devices.iter().filter(|(_, device)| !device.has_address).map(|(name, _)| name.as_str());
    assert_eq!(without.collect::<Vec<_>>(), ["bare", "st-b"]);
    let core = Some(Above::Node { id: ground.id("core") });
    let below = |name: &str| Some(Above::Sighting { id: devices[name].id });
    for (name, class, tier, parent) in [
        ("sector", DeviceClass::SectorAp, Tier::Sector, core),
        ("bare", DeviceClass::SectorAp, Tier::Sector, core),
        ("sw", DeviceClass::Switch, Tier::Site, core),
        ("ap-1", DeviceClass::SectorAp, Tier::Sector, below("sw")),
        ("st-a", DeviceClass::Station, Tier::Station, below("sector")),
        ("st-b", DeviceClass::Station, Tier::Station, below("sector")),
    ] {
        let found = &devices[name];
        assert_eq!(
            (found.class, found.tier, found.parent),
            (class, tier, parent),
            "{name}: {:?}",
            found.reasons
        );
    }
    let said = ground.heard(Noun::Sighting).await;
    let text: String = said.iter().map(|heard| serde_json::to_string(&heard.fact).unwrap()).collect();
    assert!(
        !text.contains("st-a") && !text.contains("10.0.1.1") && !text.contains("06:01"),
        "names are sealed"
    );

    // The sector is in the inventory: it is known, scanned itself, and what it hears hangs below it.
    ground.import_some(&lab, false, &["sector"]).await;
    let sector = Some(Above::Node { id: ground.id("sector") });
    until("the sector was scanned too", async || {
        let devices = ground.devices().await;
        ["st-a", "st-b"].iter().all(|name| devices[*name].parent == sector)
    })
    .await;
    let scan = ground.scan("core").await;
    assert_eq!((scan.device_count, scan.known_count, scan.proposed_count), (6, 1, 5));
    let devices = ground.devices().await;
    assert_eq!((devices["sector"].state, devices["st-a"].parent), (SightingState::Known, sector));
    assert_eq!(devices["st-a"].spots.len(), 2, "both see it");
    assert_eq!(devices["core"].state, SightingState::Known, "the sector sees what is above it");
    assert_eq!(writes(&lab), 0, "a scan writes nothing to a router");
    running.stop().await;
    lab.stop().await;
}

/// What is as it was is not said again; what was rejected does not come back; and who dies in the middle leaves
/// nothing half: the next scan says the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_device_is_not_proposed_again_and_nothing_is_said_twice() {
    let lab = played().await;
    let ground = Ground::lay().await;
    ground.import_some(&lab, false, &["core"]).await;
    let running = ground.start(NOWHERE).await;
    until("the first device is said", async || !ground.devices().await.is_empty()).await;
    running.kill().await;
    let running = ground.start(NOWHERE).await;
    let scan = ground.scan("core").await;
    assert_eq!(scan.proposed_count, 6);
    let devices = ground.devices().await;
    assert_eq!(names(&devices, SightingState::Proposed).len(), 6);
    let bare = SeenDevice { state: SightingState::Rejected, ..devices["bare"].clone() };
    ground.decide(bare).await;
    let said = ground.heard(Noun::Sighting).await.len();
    for _ in 0..2 {
        let scan = ground.scan("core").await;
        assert_eq!((scan.proposed_count, scan.rejected_count), (5, 1));
    }
    assert_eq!(ground.heard(Noun::Sighting).await.len(), said + 2, "two scans, and no device");

    // It is sold as something else now: that is told.
    let mut bare = ground.devices().await.remove("bare").unwrap();
    bare.class = DeviceClass::Station;
    ground.decide(bare).await;
    ground.scan("core").await;
    assert_eq!(ground.devices().await["bare"].state, SightingState::Proposed);
    running.stop().await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_is_plugged_in_elsewhere_is_said_to_have_moved() {
    let lab = played().await;
    let ground = Ground::lay().await;
    ground.import_some(&lab, false, &["core", "sector", "sw"]).await;
    let running = ground.start(NOWHERE).await;
    ground.scan("core").await;
    assert_eq!(ground.devices().await["sw"].state, SightingState::Known);
    let before = ground.devices().await["sw"].spots[0].port.clone();
    lab.with(|state| {
        let sw = state.network.find("sw").unwrap();
        state.plug_in(sw, ROUTER, 17);
    });
    let scan = ground.scan("core").await;
    let moved = ground.devices().await.remove("sw").unwrap();
    assert_eq!((scan.moved_count, moved.state), (1, SightingState::Moved), "{:?}", moved.reasons);
    assert_eq!((moved.spots[0].port.as_deref(), &moved.spots[0].was), (Some("ether17"), &before));

    // It hangs on the sector now, which alone hears it once the core has forgotten it.
    lab.with(|state| {
        let sw = state.network.find("sw").unwrap();
        state.plug_in(sw, RouterIndex(1), 4);
    });
    until("the core has forgotten it", async || ground.scan("core").await.device_count == 5).await;
    ground.scan("sector").await;
    let spots = ground.devices().await["sw"].spots.clone();
    assert_eq!(spots.len(), 1);
    assert_eq!((spots[0].router, spots[0].port.as_deref()), (ground.id("sector"), Some("ether4")));
    running.stop().await;
    lab.stop().await;
}
