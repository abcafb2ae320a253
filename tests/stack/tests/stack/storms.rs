//! Killed or frozen in the middle of a storm: nothing is lost, and people are told once.
//!
//! Every outage is another ISP's, so that none begins with what the one before left. A run of `./dev test` kills
//! or freezes every service once, each time at another moment; `MASTWATCH_SOAK=1` goes through all of it.
//! `MASTWATCH_SEED` repeats a run, and `MASTWATCH_ONLY` takes one of its outages, by number.

use network_file::Shape;
use rand::{RngExt, seq::SliceRandom};
use stack::{
    Stack,
    fleet::Fleet,
    isp::Isp,
    narrate,
    outage::{Blow, Half, Moment, Outage, Strike, Victim},
    reports::dice,
};

/// A core with 276 things behind it.
const SHAPE: Shape = Shape {
    towers: 4,
    sectors: 4,
    clients: 16,
    seed: 1,
    stations: false,
    dual_uplinks: false,
    rings: false,
    loopback: true,
    api_port: 0,
    heartbeat_s: 5,
    concentrators: network_file::Concentrators::Towers,
};

/// How many ISPs are opened ahead.
const AHEAD: usize = 4;

fn is_soak() -> bool {
    std::env::var_os("MASTWATCH_SOAK").is_some()
}

/// What this run's chance follows from: another one each time, unless it is given.
fn seed() -> u64 {
    let given =
        std::env::var("MASTWATCH_SEED").ok().map(|text| text.parse().expect("MASTWATCH_SEED is a number"));
    let seed = given.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(since.subsec_micros())
    });
    narrate(format_args!("MASTWATCH_SEED={seed}"));
    seed
}

/// A moment by chance: often early, because people are told within a second; sometimes while they are.
fn moment(random: &mut impl rand::Rng) -> Moment {
    match random.random_range(0..4) {
        0 => Moment::Told,
        1 | 2 => Moment::Percent(random.random_range(1..=12)),
        _ => Moment::Percent(random.random_range(1..=99)),
    }
}

/// Every service is killed or frozen once, two in an outage; which of both, in which half and when follows
/// from chance. What is left over goes to one of them again.
fn some_of_it(random: &mut impl rand::Rng) -> Vec<Vec<Strike>> {
    let mut services = Fleet::SERVICES.to_vec();
    services.shuffle(random);
    services.push(services[0]);
    let mut strike = |service: &'static str, half| {
        let blow = if random.random_bool(0.5) { Blow::Kill } else { Blow::Freeze };
        Strike { victim: Victim::Service(service), blow, half, moment: moment(random) }
    };
    services
        .chunks_exact(2)
        .map(|pair| vec![strike(pair[0], Half::Breaks), strike(pair[1], Half::Mends)])
        .collect()
}

/// Each of `victims` killed and frozen in each half, early, late and while people are told.
fn all_of_it(victims: &[Victim], random: &mut impl rand::Rng) -> Vec<Vec<Strike>> {
    let mut outages = Vec::new();
    for victim in victims {
        for blow in [Blow::Kill, Blow::Freeze] {
            let early = Moment::Percent(random.random_range(1..=30));
            let late = Moment::Percent(random.random_range(70..=99));
            for (breaks, mends) in [(early, late), (late, Moment::Told), (Moment::Told, early)] {
                let strike = |half, moment| Strike { victim: *victim, blow, half, moment };
                outages.push(vec![strike(Half::Breaks, breaks), strike(Half::Mends, mends)]);
            }
        }
    }
    outages
}

/// The outages of this run that are named by their number, or all.
fn chosen(outages: Vec<Vec<Strike>>) -> Vec<Vec<Strike>> {
    match std::env::var("MASTWATCH_ONLY").ok().and_then(|n| n.parse::<usize>().ok()) {
        Some(n) => outages.into_iter().skip(n).take(1).collect(),
        None => outages,
    }
}

/// Carries outages through, each of an ISP of its own; fails when something is not as it must be.
async fn carry_through(seed: u64, outages: Vec<Vec<Strike>>) {
    let stack = Stack::start().await.unwrap();
    let mut fleet = Fleet::start(&stack).unwrap();
    let mut wrong = Vec::new();
    let mut isps = Vec::new();
    for (n, strikes) in outages.iter().enumerate() {
        // A few ahead, so that they settle while others have their outage.
        while isps.len() < outages.len().min(n + AHEAD) {
            let number = isps.len() as u64;
            let opened = Isp::open(&stack, &format!("isp-{number}"), seed + number, SHAPE).await;
            isps.push(opened.unwrap_or_else(|e| panic!("{e:#}\n{}", fleet.said(&Fleet::SERVICES))));
        }
        let isp = &isps[n];
        let outage = Outage {
            stack: &stack,
            fleet: &mut fleet,
            isp,
            seed: seed + n as u64,
            strikes: strikes.clone(),
            is_poisoned: false,
        };
        wrong.extend(outage.run().await);
    }
    for isp in isps {
        isp.lab.stop().await;
    }
    assert!(wrong.is_empty(), "MASTWATCH_SEED={seed}\n{}", wrong.join("\n"));
}

/// The storm itself, with nothing else amiss: one notice within eight seconds of the first report.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_told_once_within_eight_seconds_and_resolved_once() {
    carry_through(seed(), vec![vec![]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_or_frozen_in_a_storm_loses_nothing_and_tells_once() {
    let seed = seed();
    let mut random = dice(seed);
    let every: Vec<Victim> = Fleet::SERVICES.into_iter().map(Victim::Service).collect();
    let outages = if is_soak() { all_of_it(&every, &mut random) } else { some_of_it(&mut random) };
    carry_through(seed, chosen(outages)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_or_frozen_in_a_storm_loses_nothing_and_tells_once() {
    let seed = seed();
    let mut random = dice(seed);
    let outages = if is_soak() {
        all_of_it(&[Victim::Nats, Victim::Postgres], &mut random)
    } else {
        // While reports still come in, so that what senders are told meanwhile is seen.
        let mut strike = |victim, blow, half| {
            let moment = Moment::Percent(random.random_range(1..=70));
            Strike { victim, blow, half, moment }
        };
        vec![
            vec![
                strike(Victim::Nats, Blow::Kill, Half::Breaks),
                strike(Victim::Postgres, Blow::Freeze, Half::Mends),
            ],
            vec![
                strike(Victim::Postgres, Blow::Kill, Half::Breaks),
                strike(Victim::Nats, Blow::Freeze, Half::Mends),
            ],
        ]
    };
    carry_through(seed, chosen(outages)).await;
}
