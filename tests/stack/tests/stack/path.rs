//! The whole path: from a router's webhook to exactly one alert that names the root cause.

use network_file::{Concentrators, Shape};
use stack::Stack;
use std::time::Duration;

/// A small network whose incidents resolve quickly, and whose notices go to the sink.
fn small(stack: &Stack) -> network_file::NetworkFile {
    let shape = Shape {
        towers: 2,
        sectors: 2,
        clients: 2,
        heartbeat_s: 5,
        concentrators: Concentrators::Towers,
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).expect("a small network can be made");
    stack.tell_the_sink(&mut network);
    network
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_router_is_told_once_and_resolved_once() {
    let stack = Stack::start().await.unwrap();
    let network = small(&stack);
    let running = stack.run(&["all"]).unwrap();
    let lab = stack.play(&network).await.unwrap();
    let imported = stack.import(&network).await.unwrap();
    assert_eq!(imported["committed"], true, "{imported}");
    let tenant = network.tenant.slug.clone();
    stack
        .settled(&tenant, Duration::from_secs(60))
        .await
        .unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));

    let core = lab.network().find("core-1").expect("the generator makes core-1");
    lab.set_broken(&[core], true);
    let told = stack.sink.wait_for(1, Duration::from_secs(40)).await;
    let told = told.unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));
    assert_eq!(told[0].0, "incident.opened");
    assert!(told[0].1.contains("8 subscribers"), "{told:?}");
    lab.set_broken(&[core], false);
    let told = stack.sink.wait_for(2, Duration::from_secs(60)).await;
    let told = told.unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));
    assert_eq!(told[1].0, "incident.resolved");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stack.sink.told().len(), 2, "{:?}", stack.sink.told());
    lab.stop().await;
}
