//! Our own way out breaks: nobody is called down because of it, and people are told of that, once.

use network_file::Shape;
use stack::{Stack, free_port};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpSocket, sync::watch};

/// A host that answers at a port while `answers` holds, and else leaves even connections without a word: nobody takes
/// them from its queue, which holds one.
fn reference(mut answers: watch::Receiver<bool>) -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while answers.wait_for(|answers| *answers).await.is_ok() {
            tokio::select! {
                taken = listener.accept() => drop(taken),
                _ = answers.changed() => {}
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn when_our_own_way_out_breaks_one_notice_says_so_and_nobody_is_down() {
    let stack = Stack::start().await.unwrap();
    let shape = Shape {
        towers: 3,
        sectors: 1,
        clients: 1,
        heartbeat_s: 2,
        api_port: free_port().unwrap().port(),
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    network.policy.resolve_hold_ms = 5_000;
    stack.tell_the_sink(&mut network);
    let tenant = network.tenant.slug.clone();
    let (answers, may) = watch::channel(true);
    let references = format!("[\"tcp:{}\"]", reference(may));

    let others = ["ingest", "diagnostician", "correlator", "notifier", "projector", "console"];
    let running = stack.run(&others).unwrap();
    let lab = stack.play(&network).await.unwrap();
    stack.import(&network).await.unwrap();
    let _poller = stack.run_as(&["poller"], None, &[("MASTWATCH_POLLER__REFERENCES", &references)]).unwrap();
    stack.settled(&tenant, Duration::from_secs(60)).await.unwrap();

    // The reference falls silent, and a moment later every router: as it is when a cable of ours is pulled out.
    answers.send_replace(false);
    let is_blind = async |wanted: bool| {
        let api = stack.api_of(&tenant);
        let began = std::time::Instant::now();
        loop {
            let open = api.get("/api/v1/incidents?state=open").await.unwrap();
            let is = open["items"].as_array().unwrap().iter().any(|one| one["class"] == "blind");
            if is == wanted {
                return open;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{open}\n{}", running.said());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    is_blind(true).await;
    let routers: Vec<_> = network.nodes.iter().filter(|node| node.login.is_some()).collect();
    let places: Vec<_> = routers.iter().map(|node| lab.network().find(&node.id).unwrap()).collect();
    lab.set_broken(&places, true);
    // Several heartbeats go by unanswered.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let open = is_blind(true).await;
    assert_eq!(open["items"].as_array().unwrap().len(), 1, "{open}");
    let told = stack.sink.told();
    assert_eq!(told.len(), 1, "{told:?}");
    // The core alone is watched from here; the others are looked at when somebody says that they are down.
    let title = "Point of presence main sees nothing beyond itself: 1 device not watched";
    assert_eq!(told[0], ("incident.opened".to_owned(), title.to_owned()), "{told:?}");

    // It sees again, and so do the routers answer, but for one: that one is down now.
    lab.set_broken(&places[1..], false);
    answers.send_replace(true);
    let told = stack
        .sink
        .wait_for(3, Duration::from_secs(60))
        .await
        .unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));
    let of = |kind: &str| {
        told.iter().filter(|(is, _)| is == kind).map(|(_, title)| title.as_str()).collect::<Vec<_>>()
    };
    let opened = of("incident.opened");
    assert!(opened.len() == 2 && opened[1].contains(&routers[0].name), "{told:?}");
    let resolved = of("incident.resolved");
    assert!(resolved.len() == 1 && resolved[0].contains("Point of presence main"), "{told:?}");
}
