//! Every address of the network answers echo requests, as well as its line lets it.
//!
//! The kernel answers for all of 127.0.0.0/8 by itself, so dead routers there always answer a ping.
//! On a TUN device in a network namespace of its own nothing answers but this.

mod packet;
mod tun;

pub use self::packet::{Echo, Malformed, echo, reply};

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::lab::Lab;

/// Answers that are on their way at the same time; further requests go unanswered.
const UNDER_WAY_MAX: usize = 100_000;
/// The largest packet.
const PACKET_BYTES_MAX: usize = 65_535;
/// Packets read before answers that are due are looked at again.
const READ_AT_ONCE: usize = 256;

/// Opens the TUN device, creating it if need be, and answers on it until the lab ends.
///
/// Addresses and routes are the caller's matter: `ip addr add 198.18.0.1/32 dev lab0`,
/// `ip link set lab0 up`, `ip route add 198.18.0.0/15 dev lab0 src 198.18.0.1`.
///
/// # Errors
///
/// When the device cannot be had: it takes `CAP_NET_ADMIN` in the network namespace.
pub fn answer_on(lab: &Arc<Lab>, device: &str) -> io::Result<()> {
    let file = tun::open(device)?;
    let answering = Arc::clone(lab);
    lab.spawn(async move {
        if let Err(error) = answer(&answering, &file).await {
            tracing::error!(%error, "answering echo requests");
        }
    });
    Ok(())
}

async fn answer(lab: &Lab, file: &AsyncFd<std::fs::File>) -> io::Result<()> {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let mut under_way: BTreeMap<(Instant, u64), Vec<u8>> = BTreeMap::new();
    let mut count = 0_u64;
    loop {
        let next = under_way.keys().next().map(|(due, _)| *due);
        let sleep = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = lab.ended() => return Ok(()),
            () = sleep => {}
            ready = file.readable() => {
                let mut ready = ready?;
                for _ in 0..READ_AT_ONCE {
                    let length = match ready.try_io(|file| io::Read::read(&mut file.get_ref(), &mut buffer)) {
                        Ok(read) => read?,
                        Err(_) => break, // Nothing more for now.
                    };
                    let Ok(asked) = echo(&buffer[..length]) else { continue };
                    let Some(delay) = delay_of(lab, asked.to) else { continue };
                    if under_way.len() < UNDER_WAY_MAX {
                        count += 1;
                        under_way.insert((Instant::now() + delay, count), reply(&asked));
                    }
                }
            }
        }
        let now = Instant::now();
        while let Some(entry) = under_way.first_entry().filter(|entry| entry.key().0 <= now) {
            // A full queue loses the packet, as on a wire.
            match io::Write::write(&mut file.get_ref(), &entry.remove()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// After which time an address answers, if it does.
fn delay_of(lab: &Lab, address: Ipv4Addr) -> Option<Duration> {
    lab.with(|state| {
        let node = state.at_any_address(IpAddr::V4(address))?;
        let line = state.world.line_from_server(node)?;
        (!state.dice.chance(line.loss.into())).then(|| Duration::from_micros(line.rtt_us.into()))
    })
}
