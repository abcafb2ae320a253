//! A hundred routers with twenty thousand things behind them, in a process of its own under 500 MB.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers fail the test; figures are for people.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lab::network::{Group, Habits, Kind, Network, Node, NodeIndex, RouterIndex, RouterPlan, Sight};
use lab::{Lab, Settings};
use routeros_api::session::{Options, Session};
use routeros_api::{Command, Credentials};

const ROUTERS: u32 = 100;
const SECTORS: u32 = 20;
const CLIENTS: u32 = 9;
const PSS_BYTES_MAX: u64 = 500 << 20;

/// `ROUTERS` towers; of every ten things behind one, one is watched and nine dial in.
fn network() -> Network {
    let mut nodes = Vec::new();
    let mut plans = Vec::new();
    for r in 0..ROUTERS {
        let tower = NodeIndex(nodes.len() as u32);
        let router = RouterIndex(r);
        let address = Ipv4Addr::new(127, 21, (r >> 8) as u8, (r & 0xff) as u8 + 1).into();
        nodes.push(Node { address: Some(address), ..Node::new(&format!("tower-{r}"), Kind::Device) });
        plans.push(RouterPlan {
            node: tower,
            address,
            port: 0,
            tls: false,
            user: "nms".into(),
            password: "s3cret".into(),
            token: Some(format!("mwr_{r}")),
            habits: Habits::default(),
        });
        for s in 0..SECTORS {
            let sector = NodeIndex(nodes.len() as u32);
            let sector_address = Ipv4Addr::from(0x0a00_0000 | r << 8 | s).into();
            nodes.push(Node {
                address: Some(sector_address),
                needs: vec![Group::parent(tower)],
                seen_by: Some((router, Sight::Netwatch)),
                ..Node::new(&format!("sector-{r}-{s}"), Kind::Device)
            });
            for c in 0..CLIENTS {
                nodes.push(Node {
                    needs: vec![Group::parent(sector)],
                    seen_by: Some((router, Sight::Session(format!("customer-{r}-{s}-{c}").into()))),
                    ..Node::new(&format!("account-{r}-{s}-{c}"), Kind::Subscriber)
                });
            }
        }
    }
    Network::new(nodes, plans).unwrap()
}

/// What this process costs the machine. Source: `smaps_rollup` of proc(5).
fn pss_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_routers_with_twenty_thousand_things_take_less_than_500_mb() {
    takes_less(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute or more: 40,000 webhooks in a debug build"]
async fn even_when_all_of_them_report_at_once() {
    takes_less(1).await;
}

/// Everything behind one router in `every` goes down and comes back.
async fn takes_less(every: u32) {
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counting = std::sync::Arc::clone(&taken);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ingest = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(move || {
        counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::ready(axum::http::StatusCode::ACCEPTED)
    });
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let begun = Instant::now();
    let settings = Settings {
        time_scale: 20.0,
        ingest: Some(format!("http://{ingest}").parse().unwrap()),
        ..Settings::default()
    };
    let lab = Lab::start(network(), settings).await.unwrap();
    println!("started in {:?}: {} MB", begun.elapsed(), pss_bytes() >> 20);
    let credentials = Credentials::new("nms", "s3cret");
    let mut sessions = Vec::new();
    for r in 0..ROUTERS {
        let address = lab.api_address(RouterIndex(r));
        sessions.push(Session::connect(address, None, &credentials, &Options::default()).await.unwrap());
    }
    let begun = Instant::now();
    for session in &sessions {
        let within = Duration::from_secs(10);
        let connected = session.call(&Command::new("/ppp/active/print"), within).await.unwrap();
        let watched = session.call(&Command::new("/tool/netwatch/print"), within).await.unwrap();
        assert_eq!(
            (connected.rows.len(), watched.rows.len()),
            ((SECTORS * CLIENTS) as usize, SECTORS as usize)
        );
    }
    println!("all read in {:?}: {} MB", begun.elapsed(), pss_bytes() >> 20);

    // All they can say is said at once, and then taken back.
    let reports = |node: &NodeIndex| match &lab.network().node(*node).seen_by {
        Some((router, Sight::Netwatch)) => router.0 % every == 0,
        Some((_, Sight::Session(_) | Sight::Lease(_))) | None => false,
    };
    let sectors: Vec<NodeIndex> = lab.network().indices().filter(reports).collect();
    let things = sectors.len() as u64 * u64::from(CLIENTS + 1);
    let mut most = pss_bytes();
    for (broken, expected) in [(true, things), (false, 2 * things)] {
        let begun = Instant::now();
        lab.set_broken(&sectors, broken);
        while taken.load(std::sync::atomic::Ordering::Relaxed) < expected {
            assert!(begun.elapsed() < Duration::from_secs(240), "{:?}", lab.counters().0);
            most = most.max(pss_bytes());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("{things} webhooks in {:?}: at most {} MB", begun.elapsed(), most >> 20);
    }
    let (counted, _) = lab.counters();
    assert_eq!((counted.scripts_failed, counted.scripts_skipped, counted.webhooks_failed), (0, 0, 0));
    assert!(most < PSS_BYTES_MAX, "{} MB", most >> 20);
    lab.stop().await;
}
