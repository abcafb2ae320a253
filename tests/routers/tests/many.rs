//! Many routers at once.
//!
//! The long version runs by `./dev soak`, which sets `MASTWATCH_SOAK`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ground;

use events::PlanState;
use ground::{Ground, until, writes};
use lab::{Lab, Settings};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Of a thousand routers with twenty children each every one is as it should be within ten minutes, with one login
/// each and never more than 64 at work; the next look at them writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_routers_are_installed_within_ten_minutes_64_at_a_time() {
    let count = if std::env::var_os("MASTWATCH_SOAK").is_some() { 1_000_u16 } else { 60 };
    let within = Duration::from_secs(600) * u32::from(count) / 1_000 + Duration::from_secs(30);
    let lab = Lab::start(routers::many("7.16.2 (stable)", count, 20), Settings::default()).await.unwrap();
    let ground = Ground::lay().await;
    ground.import(&lab, true).await;
    let began = Instant::now();
    let running = ground.start("http://127.0.0.1:9").await;
    let mut most = 0.0_f64;
    until("every router was looked at", async || {
        most = most.max(ground.figure("mastwatch_reconciler_visits_running", ""));
        ground.figure("mastwatch_reconciler_visits_total", "as_desired") >= f64::from(count)
            || began.elapsed() > within
    })
    .await;
    let took = began.elapsed();
    let mut stands = BTreeMap::new();
    for plan in ground.plans().await {
        stands.insert(plan.router, plan.state);
    }
    let right = stands.values().filter(|state| **state == PlanState::AsDesired).count();
    println!("{right} of {count} routers, {} writes, at most {most} at once, in {took:?}", writes(&lab));
    assert_eq!(right, usize::from(count), "within {within:?}");
    assert!(most <= 64.0);
    // A script, a task, three profiles and twenty entries.
    assert_eq!(writes(&lab), 25 * u64::from(count));
    assert_eq!(lab.counters().0.logins, u64::from(count));
    running.stop().await;
    let again = ground.start("http://127.0.0.1:9").await;
    until("every router was looked at again", async || {
        ground.figure("mastwatch_reconciler_visits_total", "as_desired") >= 2.0 * f64::from(count)
    })
    .await;
    assert_eq!(writes(&lab), 25 * u64::from(count));
    again.stop().await;
    lab.stop().await;
}
