//! Many routers at once.
//!
//! The long version runs by `./dev soak`, which sets `MASTWATCH_SOAK`.

use crate::ground::{Ground, writes};
use events::PlanState;
use lab::{Lab, Settings};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Of a thousand routers with twenty children each every one is as it should be within ten minutes, with one login
/// each and never more than 64 at work; the next look at them writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_routers_are_installed_within_ten_minutes_64_at_a_time() {
    let count = if std::env::var_os("MASTWATCH_SOAK").is_some() { 1_000_u16 } else { 24 };
    let within = Duration::from_secs(600) * u32::from(count) / 1_000 + Duration::from_secs(30);
    let lab = Lab::start(routers::many("7.16.2 (stable)", count, 20), Settings::default()).await.unwrap();
    let ground = Ground::lay().await;
    ground.import(&lab, true).await;
    let began = Instant::now();
    let running = ground.start_held("http://127.0.0.1:9", "3000").await;
    let looked_at = || ground.figure("mastwatch_reconciler_visits_total", "as_desired");
    let (mut most, mut right) = (0.0_f64, 0);
    while right < usize::from(count) && began.elapsed() < within {
        tokio::time::sleep(Duration::from_millis(250)).await;
        most = most.max(ground.figure("mastwatch_reconciler_visits_running", ""));
        if looked_at() >= f64::from(count) {
            let stands: BTreeMap<_, _> =
                ground.plans().await.into_iter().map(|plan| (plan.router, plan.state)).collect();
            right = stands.values().filter(|state| **state == PlanState::AsDesired).count();
        }
    }
    let took = began.elapsed();
    println!("{right} of {count} routers, {} writes, at most {most} at once, in {took:?}", writes(&lab));
    assert_eq!(right, usize::from(count), "within {within:?}");
    assert!(most <= 64.0);
    // A script, a task, three profiles and twenty entries.
    assert_eq!(writes(&lab), 25 * u64::from(count));
    assert_eq!(lab.counters().0.logins, u64::from(count));
    running.stop().await;
    let again = ground.start_held("http://127.0.0.1:9", "3000").await;
    let (began, before) = (Instant::now(), looked_at());
    while looked_at() < before + f64::from(count) && began.elapsed() < within {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(looked_at() >= before + f64::from(count), "they were not all looked at again within {within:?}");
    assert_eq!(writes(&lab), 25 * u64::from(count));
    again.stop().await;
    lab.stop().await;
}
