//! Slow and dead routers beside others: a poller on many played routers.

use crate::ground::{
    Ground, until,
    wire::{Carries, Wire},
};
use events::{Probe, Watch};
use lab::{Lab, Settings, network::RouterIndex};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const VERSION: &str = "7.16.2 (stable)";
/// How many routers are played.
const ROUTERS: u16 = 40;
/// Those that vanish: every tenth.
const BLACK_HOLES: [u16; 4] = [0, 10, 20, 30];
/// Those whose wires go bad, and how.
const BAD_WIRES: [(u16, Carries); 6] = [
    (1, Carries::Drips),
    (11, Carries::Drips),
    (2, Carries::BreaksOff),
    (12, Carries::BreaksOff),
    (3, Carries::Nothing),
    (13, Carries::Nothing),
];
/// How long each of the two intervals lasts that are compared.
const LASTS: Duration = Duration::from_secs(10);
/// What is late beyond a busy machine's doing.
const LATE_S: f64 = 1.0;
/// What is done by turns, and how late each begins.
const LATENESSES: [&str; 3] = [
    "mastwatch_poller_heartbeat_lateness_seconds",
    "mastwatch_poller_snapshot_lateness_seconds",
    "mastwatch_poller_static_ping_lateness_seconds",
];

/// One histogram at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    count: f64,
    sum_s: f64,
    in_time: f64,
}

impl Seen {
    fn of(ground: &Ground, name: &str) -> Self {
        let in_time = ground.bucket(name, LATE_S);
        Self {
            count: ground.figure(&format!("{name}_count"), ""),
            sum_s: ground.figure(&format!("{name}_sum"), ""),
            in_time,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            count: self.count - before.count,
            sum_s: self.sum_s - before.sum_s,
            in_time: self.in_time - before.in_time,
        }
    }

    fn mean_ms(self) -> f64 {
        self.sum_s * 1_000.0 / self.count
    }
}

fn latenesses(ground: &Ground) -> [Seen; 3] {
    LATENESSES.map(|name| Seen::of(ground, name))
}

fn id_of(lab: &Lab, n: u16) -> String {
    let router = lab.network().router(RouterIndex(u32::from(n)));
    lab.network().node(router.node).id.to_string()
}

/// Requirements, R19, and "one slow or dead router stalls the polling of all others": every tenth router black-holed and
/// six more slow, and the others are polled as before, over the one login that each has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tenth_router_black_holed_and_six_slow_leave_the_rest_on_time_over_one_login_each() {
    let lab = Lab::start(routers::many(VERSION, ROUTERS, 2), Settings::default()).await.unwrap();
    let ground = Ground::lay().await;
    ground.watch(Some(Watch { probe: Probe::RouterOs, every_s: 2 }));
    let mut wires = Vec::new();
    for (n, carries) in BAD_WIRES {
        let wire = Wire::to(lab.api_address(RouterIndex(u32::from(n)))).await;
        wires.push((u32::from(n), carries, wire));
    }
    let address = |router: RouterIndex| {
        let wire = wires.iter().find(|(n, ..)| *n == router.0).map(|(.., wire)| wire.address);
        wire.unwrap_or_else(|| lab.api_address(router))
    };
    ground.import_at(&lab, address, false).await;
    for n in 0..ROUTERS {
        ground.subscribe(&format!("acct-static-{n}"), &id_of(&lab, n), [10, 0, 0, 0].into()).await;
    }
    let paces = [("SNAPSHOT_EVERY_S", "4"), ("STATIC_EVERY_S", "2"), ("PROBES_PER_ROUTER", "8")];
    let running = ground.start_poller(&paces).await;
    let connected = || ground.figure("mastwatch_poller_router_sessions", "");
    until("every router is logged in to", async || connected() >= f64::from(ROUTERS)).await;
    // A whole interval, so that the first readings of all routers at once do not count.
    tokio::time::sleep(Duration::from_secs(5)).await;

    let before = latenesses(&ground);
    tokio::time::sleep(LASTS).await;
    let well = latenesses(&ground);
    let reads_before = reads(&lab);
    let holes: Vec<_> =
        BLACK_HOLES.iter().map(|n| lab.network().router(RouterIndex(u32::from(*n))).node).collect();
    lab.set_broken(&holes, true);
    wires.iter().for_each(|(_, carries, wire)| wire.set(*carries));
    let (went_bad, taken_before) =
        (Instant::now(), wires.iter().map(|(.., wire)| wire.connections()).sum::<u64>());
    let open = || ground.figure("mastwatch_poller_routers_open", "");
    // Those that vanished and those whose wires carry nothing.
    let silent = (BLACK_HOLES.len() + 2) as f64;
    until("the circuits of the silent ones are open", async || open() >= silent).await;
    let began = latenesses(&ground);
    tokio::time::sleep(LASTS).await;
    let ill = latenesses(&ground);

    for (n, name) in LATENESSES.iter().enumerate() {
        let (well, ill) = (well[n].since(before[n]), ill[n].since(began[n]));
        println!(
            "{name}: {} at {:.1} ms without, {} at {:.1} ms with bad routers",
            well.count,
            well.mean_ms(),
            ill.count,
            ill.mean_ms()
        );
        assert!(well.count > 0.0 && ill.count > 0.0, "{name}: {well:?} {ill:?}");
        assert!(ill.count - ill.in_time < 1.0, "{name}: some begin more than {LATE_S} s late: {ill:?}");
        assert!(ill.mean_ms() <= well.mean_ms() * 2.0 + 50.0, "{name}: {well:?} became {ill:?}");
    }
    let is_bad = |n: &u16| BLACK_HOLES.contains(n) || BAD_WIRES.iter().any(|(bad, _)| bad == n);
    let (reads, (_, counted)) = (reads(&lab), lab.counters());
    for n in (0..ROUTERS).filter(|n| !is_bad(n)) {
        let id = id_of(&lab, n);
        assert_eq!(counted[&id].logins, 1, "{id}");
        // A heartbeat every two seconds, a ping every two seconds, a snapshot every four: none was left out.
        let more = reads[&id] - reads_before[&id];
        assert!(more >= 2 * (LASTS.as_secs() / 2 - 1), "{id}: {more} reads");
        assert!(counted[&id].pings_at_once_max <= 8, "{id}");
    }
    // One attempt for each heartbeat, and one more by a connection of its own: what is done by turns makes none.
    let taken = wires.iter().map(|(.., wire)| wire.connections()).sum::<u64>() - taken_before;
    let heartbeats = went_bad.elapsed().as_secs() / 2 + 1;
    assert!(taken <= heartbeats * 2 * wires.len() as u64, "{taken} connections in {heartbeats} heartbeats");
    for (n, carries, wire) in &wires {
        let id = id_of(&lab, u16::try_from(*n).unwrap());
        println!("{id} {carries:?}: {} connections, {} logins", wire.connections(), counted[&id].logins);
    }
    println!("{taken} connections over six bad wires in {heartbeats} heartbeats of each");

    // All is well again: every circuit closes, and nobody else was logged in to once more.
    lab.set_broken(&holes, false);
    wires.iter().for_each(|(.., wire)| wire.set(Carries::Well));
    until("every router is logged in to again", async || connected() >= f64::from(ROUTERS) && open() == 0.0)
        .await;
    let (_, counted) = lab.counters();
    for n in (0..ROUTERS).filter(|n| !is_bad(n)) {
        assert_eq!(counted[&id_of(&lab, n)].logins, 1);
    }
    running.stop().await;
    lab.stop().await;
}

/// What each router was asked so far.
fn reads(lab: &Arc<Lab>) -> std::collections::BTreeMap<String, u64> {
    let (_, routers) = lab.counters();
    routers.into_iter().map(|(id, counted)| (id, counted.calls.values().sum())).collect()
}
