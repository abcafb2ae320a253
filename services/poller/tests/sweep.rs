//! ICMP for real: many targets at once, in a network namespace of their own.
//!
//! The kernel of the namespace answers for all of 127/8, or for nobody when it is told so. Each test starts
//! the part that is ignored here as a process of its own inside such a namespace, once with a
//! raw and once with a datagram socket. Where the system permits none they fail; `./dev test` looks for that and leaves them out by name.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and shows its figures"
)]

use futures::{StreamExt, stream};
use poller::{
    echo::{Icmp, Pinger},
    tries::{Ended, Heard, rest, three_tries},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
    time::{Duration, Instant},
};

/// Loopback on, and everything else as the name says.
const RAW: &str = "ip link set lo up";
const DATAGRAM: &str = "ip link set lo up && echo '0 0' > /proc/sys/net/ipv4/ping_group_range";

const SILENT: &str = "/proc/sys/net/ipv4/icmp_echo_ignore_all";

fn in_a_namespace(set_up: &str) {
    let me = std::env::current_exe().unwrap();
    let script =
        format!("{set_up} && exec \"$0\" --exact sweeps_in_a_namespace --include-ignored --nocapture");
    let output = Command::new("unshare").args(["-Urn", "--", "sh", "-c", &script]).arg(me).output();
    let output = output.expect("`unshare` (util-linux) is there");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in a namespace of its own:\n{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}");
    println!("{said}");
}

#[test]
fn no_reply_is_lost_over_a_raw_socket_in_a_namespace() {
    in_a_namespace(RAW);
}

#[test]
fn no_reply_is_lost_over_a_datagram_socket_in_a_namespace() {
    in_a_namespace(DATAGRAM);
}

fn targets(count: u32) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|n| Ipv4Addr::from(0x7f01_0000 + n).into())
}

/// Probes everybody, `at_once` at a time: how many answered, were silent, were not probed; and how many
/// tries went unanswered.
async fn sweep(icmp: &Icmp, count: u32, at_once: usize) -> (usize, usize, usize, usize) {
    let (mut alive, mut silent, mut unprobed, mut unanswered) = (0, 0, 0, 0);
    let probes = stream::iter(targets(count)).map(|host| async move {
        let mut turn = Some(icmp.turn(host).await.unwrap());
        let mut tries = 0;
        let ended = three_tries(|n| icmp.echo(host, rest(n), turn.take()), |_| tries += 1).await;
        (ended, tries)
    });
    let mut probes = probes.buffer_unordered(at_once);
    while let Some((ended, tries)) = probes.next().await {
        unanswered += tries;
        match ended {
            Ended::Replied(_) => alive += 1,
            Ended::Silent => silent += 1,
            Ended::Unanswered(why) => {
                println!("{why}");
                unprobed += 1;
            }
        }
    }
    (alive, silent, unprobed, unanswered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the others, inside a network namespace"]
async fn sweeps_in_a_namespace() {
    let icmp = Icmp::new(1_000);
    let begun = Instant::now();
    let swept = sweep(&icmp, 20_000, 20_000).await;
    println!(
        "20,000 targets in {:?}, window {}, receive buffer {} bytes",
        begun.elapsed(),
        icmp.window(),
        icmp.buffer_bytes()
    );
    assert_eq!(swept, (20_000, 0, 0, 0), "no false loss, not even of one try");

    // Many asks about one target at the same time are told apart.
    let host: IpAddr = Ipv4Addr::new(127, 9, 9, 9).into();
    let echoes =
        (0..500).map(|_| async { icmp.echo(host, Duration::from_secs(2), icmp.turn(host).await.ok()).await });
    let heard = futures::future::join_all(echoes).await;
    assert!(heard.iter().all(|heard| matches!(heard, Heard::Reply(_))), "{heard:?}");

    std::fs::write(SILENT, "1").unwrap();
    let begun = Instant::now();
    let swept = sweep(&icmp, 5_000, 5_000).await;
    println!("5,000 silent targets in {:?}", begun.elapsed());
    assert_eq!(swept, (0, 5_000, 0, 10_000), "each was given all three tries");
    assert!(begun.elapsed() < Duration::from_secs(15));
}
