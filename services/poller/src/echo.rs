//! ICMP echoes.
//!
//! A lost reply is a false alarm, so replies must not be lost on our side: the socket's receive buffer is
//! made large, and no more echoes are under way at once than it can hold replies to. An echo counts as
//! under way until its reply has come, or for a tenth of a second: replies that come later do not come in
//! a burst.
//!
//! A probe waits for its [`Turn`] before its time begins to run; its later tries have room of their own and
//! do not wait. So a sweep of many is slower than one of few, and no less patient with each.
//!
//! Somebody else's word that the target cannot be reached is no reply.

use crate::tries::Heard;
use futures::future::BoxFuture;
use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The receive buffer that is asked for, in bytes. Source: 200,000 echoes a second were measured without
/// loss with it.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// What the kernel counts for one small packet in a receive buffer, at most, in bytes: the packet lies
/// in a page fragment of the network card's driver.
const BUFFERED_ECHO_BYTES: usize = 2_560;

/// For how long an unanswered echo counts as under way.
const IN_FLIGHT: Duration = Duration::from_millis(100);

/// Fewer echoes at once are never allowed, however small the buffer.
const ECHOES_MIN: usize = 18;

/// How often another sequence is drawn when an echo with the same one is under way to the same target.
const SEQUENCES_TRIED: usize = 4;

const PAYLOAD: [u8; 32] = *b"mastwatch asks whether you live.";

/// Sends echoes.
pub trait Pinger: Send + Sync {
    /// Waits until a probe of `host` may begin.
    ///
    /// # Errors
    ///
    /// Why no echo can be sent at all.
    fn turn(&self, host: IpAddr) -> BoxFuture<'_, Result<Turn, String>>;

    /// Sends one echo and waits for its reply, at most `within`. The first of a probe takes its turn with it.
    fn echo(&self, host: IpAddr, within: Duration, turn: Option<Turn>) -> BoxFuture<'_, Heard>;
}

/// The right to send the first echo of a probe now.
#[derive(Debug)]
pub struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// One that nobody had to wait for.
    pub const FREE: Turn = Turn(None);
}

/// Echoes over a socket of this host: a datagram socket where the system allows it, a raw one otherwise.
pub struct Icmp {
    v4: Mutex<Option<Client>>,
    v6: Mutex<Option<Client>>,
    identifier: PingIdentifier,
    sequence: AtomicU16,
    /// For the first echoes of probes: a third of the window, because each may be followed by two.
    firsts: Arc<Semaphore>,
    laters: Arc<Semaphore>,
    window: AtomicUsize,
    buffer_bytes: AtomicUsize,
}

impl Icmp {
    /// With at most `echoes_max` echoes under way at once. Sockets are opened when they are needed.
    pub fn new(echoes_max: usize) -> Self {
        let echoes_max = echoes_max.max(ECHOES_MIN);
        let firsts = echoes_max / 3;
        Self {
            v4: Mutex::new(None),
            v6: Mutex::new(None),
            identifier: PingIdentifier(rand::random()),
            sequence: AtomicU16::new(rand::random()),
            firsts: Arc::new(Semaphore::new(firsts)),
            laters: Arc::new(Semaphore::new(echoes_max - firsts)),
            window: AtomicUsize::new(echoes_max),
            buffer_bytes: AtomicUsize::new(0),
        }
    }

    /// How many echoes may be under way at once.
    pub fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    /// The size of the smallest receive buffer that was had so far, in bytes; 0 before the first echo.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes.load(Ordering::Relaxed)
    }

    /// The socket for a family of addresses, opened when it is first needed.
    fn client(&self, host: IpAddr) -> io::Result<Client> {
        let (place, kind) = match host {
            IpAddr::V4(_) => (&self.v4, ICMP::V4),
            IpAddr::V6(_) => (&self.v6, ICMP::V6),
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*place {
            return Ok(client.clone());
        }
        let client = Client::new(&Config::builder().kind(kind).build())?;
        self.fit_to(widen(&client)?);
        *place = Some(client.clone());
        Ok(client)
    }

    /// Lets no more echoes be under way than a buffer of so many bytes holds replies to.
    fn fit_to(&self, buffer_bytes: usize) {
        let smallest = match self.buffer_bytes() {
            0 => buffer_bytes,
            known => known.min(buffer_bytes),
        };
        self.buffer_bytes.store(smallest, Ordering::Relaxed);
        let fits = (smallest / BUFFERED_ECHO_BYTES).max(ECHOES_MIN);
        let before = self.window();
        if fits < before {
            tracing::warn!(
                smallest,
                fits,
                "the receive buffer is small (net.core.rmem_max): fewer echoes at once"
            );
            let firsts = (before / 3).saturating_sub(fits / 3);
            let forgotten =
                self.firsts.forget_permits(firsts) + self.laters.forget_permits(before - fits - firsts);
            self.window.fetch_sub(forgotten, Ordering::Relaxed);
        }
    }

    async fn begin(&self, host: IpAddr) -> Result<Turn, String> {
        self.client(host).map_err(|error| format!("opening a socket for echoes: {error}"))?;
        let permit = Arc::clone(&self.firsts).acquire_owned().await;
        Ok(Turn(Some(permit.expect("nobody closes this semaphore"))))
    }

    async fn echo_once(&self, host: IpAddr, within: Duration, turn: Option<Turn>) -> Heard {
        let by = Instant::now() + within;
        let client = match self.client(host) {
            Ok(client) => client,
            Err(error) => return Heard::Cannot(format!("opening a socket for echoes: {error}")),
        };
        let permit = match turn {
            Some(Turn(permit)) => permit,
            None => match tokio::time::timeout_at(by, Arc::clone(&self.laters).acquire_owned()).await {
                Ok(permit) => Some(permit.expect("nobody closes this semaphore")),
                Err(_) => return Heard::Cannot("too many echoes are under way".into()),
            },
        };
        let mut pinger = client.pinger(host, self.identifier).await;
        pinger.timeout(by.saturating_duration_since(Instant::now()));
        let answered = async {
            for _ in 0..SEQUENCES_TRIED {
                let sequence = PingSequence(self.sequence.fetch_add(1, Ordering::Relaxed));
                match pinger.ping(sequence, &PAYLOAD).await {
                    Err(SurgeError::IdenticalRequests { .. }) => {}
                    ended => return read(host, ended),
                }
            }
            Heard::Cannot("too many echoes to one address are under way".into())
        };
        tokio::pin!(answered);
        match tokio::time::timeout(IN_FLIGHT, &mut answered).await {
            Ok(heard) => heard,
            Err(_) => {
                drop(permit);
                answered.await
            }
        }
    }
}

impl Pinger for Icmp {
    fn turn(&self, host: IpAddr) -> BoxFuture<'_, Result<Turn, String>> {
        Box::pin(self.begin(host))
    }

    fn echo(&self, host: IpAddr, within: Duration, turn: Option<Turn>) -> BoxFuture<'_, Heard> {
        Box::pin(self.echo_once(host, within, turn))
    }
}

fn read(host: IpAddr, ended: Result<(IcmpPacket, Duration), SurgeError>) -> Heard {
    match ended {
        Ok((packet, rtt)) if is_reply(&packet) => Heard::Reply(rtt),
        Ok(_) | Err(SurgeError::Timeout { .. }) => Heard::Nothing,
        Err(SurgeError::IOError(error)) => match error.kind() {
            io::ErrorKind::HostUnreachable => Heard::Nothing,
            io::ErrorKind::NetworkUnreachable => Heard::Cannot(format!("no route to {host}")),
            _ => Heard::Cannot(format!("sending an echo: {error}")),
        },
        Err(error) => Heard::Cannot(format!("sending an echo: {error}")),
    }
}

/// Whether it is the target's own reply, and not a router's word that it cannot be reached.
fn is_reply(packet: &IcmpPacket) -> bool {
    /// Source: RFC 792.
    const ECHO_REPLY: u8 = 0;
    /// Source: RFC 4443, section 4.2.
    const ECHO_REPLY_V6: u8 = 129;
    match packet {
        IcmpPacket::V4(packet) => packet.get_icmp_type().0 == ECHO_REPLY,
        IcmpPacket::V6(packet) => packet.get_icmpv6_type().0 == ECHO_REPLY_V6,
    }
}

/// Makes the socket's receive buffer as large as the system lets us, and tells how large it is.
#[allow(unsafe_code, reason = "surge-ping hands out its socket as a bare number only")]
fn widen(client: &Client) -> io::Result<usize> {
    use std::os::fd::BorrowedFd;
    let socket = client.get_socket();
    // SAFETY: `socket` keeps the descriptor open until the end of this function.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.get_native_sock()) };
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER_BYTES).is_err() {
        socket2::SockRef::from(&fd).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    }
    socket2::SockRef::from(&fd).recv_buffer_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_echoes_are_under_way_than_replies_fit_in_the_buffer() {
        let icmp = Icmp::new(1_000);
        let room = |icmp: &Icmp| (icmp.firsts.available_permits(), icmp.laters.available_permits());
        icmp.fit_to(8 << 20);
        assert_eq!((icmp.window(), room(&icmp)), (1_000, (333, 667)));
        icmp.fit_to(425_984);
        assert_eq!((icmp.window(), room(&icmp)), (166, (55, 111)));
        icmp.fit_to(8 << 20);
        assert_eq!((icmp.window(), icmp.buffer_bytes()), (166, 425_984));
    }
}
