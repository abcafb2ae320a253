//! TCP as a sign of life: a connection that is accepted or refused.
//!
//! A refused connection proves the host alive; so does an accepted one, as far as `tcp:` can tell. That
//! there is no way to it is no sign of life; that there is no way *from here* is our own fault.

use crate::tries::Heard;
use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};
use tokio::{net::TcpStream, time::Instant};

/// Connects once; whoever asks drops it when its time is over.
pub(crate) async fn dial(address: SocketAddr) -> Heard {
    let begun = Instant::now();
    match TcpStream::connect(address).await {
        Ok(_) => Heard::Reply(begun.elapsed()),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                Heard::Reply(begun.elapsed())
            }
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Heard::Nothing,
            io::ErrorKind::NetworkUnreachable if has_route(address.ip()) => Heard::Nothing,
            _ => Heard::Cannot(format!("connecting to {address}: {error}")),
        },
    }
}

/// Whether this host knows a way to an address at all. Sends nothing.
pub(crate) fn has_route(to: IpAddr) -> bool {
    let from: SocketAddr = match to {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    UdpSocket::bind(from).and_then(|socket| socket.connect((to, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpSocket;

    #[tokio::test]
    async fn accepted_and_refused_are_both_signs_of_life() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(matches!(dial(open.local_addr().unwrap()).await, Heard::Reply(_)));
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(matches!(dial(closed.local_addr().unwrap()).await, Heard::Reply(_)));
    }

    #[test]
    fn there_is_a_way_to_oneself() {
        assert!(has_route(Ipv4Addr::LOCALHOST.into()));
    }
}
