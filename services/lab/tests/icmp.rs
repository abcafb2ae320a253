//! Echo requests over a TUN device, in a network namespace of their own.
//!
//! The test runs itself again as a process of its own inside a namespace, and fails where it cannot have
//! one: `./dev test` looks whether the system permits it, and leaves out by name, visibly, what needs it.

#![allow(clippy::unwrap_used)] // Helpers of tests fail the test.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use lab::network::{Group, Hop, Kind, Network, Node, NodeIndex};
use lab::{Lab, Settings};
use socket2::{Domain, Protocol, Socket, Type};

/// Set for the run inside the namespace.
const INSIDE: &str = "LAB_ICMP_INSIDE";
const TEST: &str = "addresses_answer_by_their_line_and_not_out_of_reach_in_a_namespace_with_tun";

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg("-Un");
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root {
        command.args(["--map-user=65534", "--map-group=65534"]);
    } else {
        command.arg("--map-current-user");
    }
    command.arg("--keep-caps");
    command
}

#[test]
fn addresses_answer_by_their_line_and_not_out_of_reach_in_a_namespace_with_tun() {
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(inside());
    }
    let permitted = unshare().args(["sh", "-c", ": <>/dev/net/tun"]).output();
    let permitted = permitted.expect("`unshare` (util-linux) is there");
    assert!(
        permitted.status.success(),
        "this user may not have a network namespace with a TUN device, so nothing was tested \
         (leave this out with `-- --skip in_a_namespace_with_tun`): {}",
        String::from_utf8_lossy(&permitted.stderr)
    );
    let own = std::env::current_exe().unwrap();
    let output = unshare().arg(own).args(["--exact", TEST, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().expect("`ip` (iproute2) is there");
    assert!(done.success(), "ip {arguments}");
}

async fn inside() {
    let node = |n: u8, needs: Vec<Group>, hop| Node {
        address: Some([198, 18, 1, n].into()),
        needs,
        hop,
        ..Node::new(&format!("node-{n}"), Kind::Device)
    };
    let hop = |rtt_us, loss| Hop { rtt_us, loss };
    let nodes = vec![
        node(0, vec![], hop(0, 0.0)),
        node(1, vec![Group::parent(NodeIndex(0))], hop(30_000, 0.0)),
        node(2, vec![Group::parent(NodeIndex(1))], hop(20_000, 0.3)),
    ];
    let lab = Lab::start(Network::new(nodes, vec![]).unwrap(), Settings::default()).await.unwrap();
    lab::icmp::answer_on(&lab, "lab0").unwrap();
    ip("link set lo up");
    ip("addr add 198.18.0.1/32 dev lab0");
    ip("link set lab0 up");
    ip("route add 198.18.0.0/15 dev lab0 src 198.18.0.1");

    let (received, rtt) = pinged([198, 18, 1, 1], 50).await;
    assert_eq!(received, 50);
    assert!((Duration::from_millis(30)..Duration::from_millis(60)).contains(&rtt), "{rtt:?}");
    let (received, rtt) = pinged([198, 18, 1, 2], 400).await;
    assert!((230..330).contains(&received), "{received} of 400 with 30 % lost");
    assert!(rtt >= Duration::from_millis(50), "{rtt:?}: two hops of 30 and 20 ms");
    assert_eq!(pinged([198, 18, 1, 9], 3).await.0, 0, "nobody is there");
    lab.set_broken(&[NodeIndex(1)], true);
    assert_eq!(pinged([198, 18, 1, 2], 3).await.0, 0);
    assert_eq!(pinged([198, 18, 1, 0], 3).await.0, 3);
    lab.set_broken(&[NodeIndex(1)], false);
    assert_eq!(pinged([198, 18, 1, 1], 3).await.0, 3);
    lab.stop().await;
}

/// How many of so many echo requests were answered within half a second, and the middle round trip.
async fn pinged(address: [u8; 4], count: u16) -> (usize, Duration) {
    tokio::task::spawn_blocking(move || {
        let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let to = SocketAddr::new(IpAddr::from(address), 0);
        let mut sent_at = Vec::new();
        for seq in 0..count {
            let mut request = vec![8, 0, 0, 0, 0x4d, 0x57];
            request.extend(seq.to_be_bytes());
            let sum: u32 =
                request.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            request[2..4].copy_from_slice(&sum.to_be_bytes());
            socket.send_to(&request, &to.into()).unwrap();
            sent_at.push(Instant::now());
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut rtts = Vec::new();
        let mut packet = [0; 1500];
        while let Ok(length) = socket.read(&mut packet) {
            let from = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
            if length >= 28 && packet[20] == 0 && from == Ipv4Addr::from(address) {
                let seq = usize::from(u16::from_be_bytes([packet[26], packet[27]]));
                rtts.push(sent_at[seq].elapsed());
            }
            if rtts.len() == usize::from(count) {
                break;
            }
        }
        rtts.sort_unstable();
        (rtts.len(), rtts.get(rtts.len() / 2).copied().unwrap_or_default())
    })
    .await
    .unwrap()
}
