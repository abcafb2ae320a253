//! Where connections come in, and how a router plays dead.
//!
//! A dead host on loopback is not simply one that does not accept: the kernel completes the
//! connection all the same. So a dead door lets the kernel's queue of finished connections be as
//! short as it can be, and fills it with connections of its own: every further one goes unanswered,
//! as it would on a wire.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::Lab;
use crate::network::RouterIndex;

/// Connections the kernel may finish before we take them, while the door is open.
const BACKLOG: i32 = 128;
/// The most connections it takes to fill the queue: those already in it count as well.
const FILLERS_MAX: usize = 6;
/// How long a connection on loopback may take that is going to succeed.
const FILLED_AFTER: Duration = Duration::from_millis(20);

/// The listening end of a router's API.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    /// Our own connections that fill the queue. Empty: the door is open.
    fillers: Vec<Socket>,
}

impl Door {
    /// Opens a door.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub fn open_at(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, fillers: Vec::new() })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        !self.fillers.is_empty()
    }

    /// From here on a connection gets no answer at all.
    ///
    /// # Errors
    ///
    /// When the system has no sockets left.
    pub async fn die(&mut self) -> io::Result<()> {
        if self.is_dead() {
            return Ok(());
        }
        SockRef::from(&self.listener).listen(0)?;
        let mut waiting = 0;
        while waiting < 2 && self.fillers.len() < FILLERS_MAX {
            let filler = Socket::new(Domain::for_address(self.address), Type::STREAM, Some(Protocol::TCP))?;
            filler.set_nonblocking(true)?;
            match filler.connect(&self.address.into()) {
                Ok(()) => {}
                // Under way, and then either finished or waiting for an answer that does not come.
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(FILLED_AFTER).await;
            if filler.peer_addr().is_err() {
                waiting += 1;
            }
            self.fillers.push(filler);
        }
        Ok(())
    }

    /// Takes connections again. What waited is served; our own are thrown away.
    ///
    /// # Errors
    ///
    /// When the system refuses to listen.
    pub fn revive(&mut self) -> io::Result<()> {
        SockRef::from(&self.listener).listen(BACKLOG)?;
        self.fillers.clear();
        Ok(())
    }

    /// The next connection. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the system refuses to accept, as for want of sockets.
    pub async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept().await
    }
}

/// Keeps a router's door until the lab ends: open while the server can reach the router, else dead.
pub async fn keep(lab: Arc<Lab>, router: RouterIndex, mut door: Door) {
    let mut presence = lab.with(|state| state.router(router).presence.subscribe());
    loop {
        let now = *presence.borrow_and_update();
        let turned = if now.is_reachable { door.revive() } else { door.die().await };
        if let Err(error) = turned {
            tracing::error!(address = %door.address(), %error, "turning a router's door");
        }
        loop {
            tokio::select! {
                biased;
                () = lab.ended() => return,
                changed = presence.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                arrived = door.next(), if !door.is_dead() => match arrived {
                    Ok((stream, from)) => {
                        lab.spawn(super::serve(Arc::clone(&lab), router, stream, from, now.boot));
                    }
                    Err(error) => {
                        tracing::warn!(address = %door.address(), %error, "accepting an API connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}
