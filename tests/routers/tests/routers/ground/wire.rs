//! A wire to a router on which things go wrong: it drips, breaks off in the middle of a reply, or carries nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// How a wire carries what the router says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// As it is.
    Well,
    /// One byte a second.
    Drips,
    /// The login, and then the first bytes of a reply; then both ends lose the connection.
    BreaksOff,
    /// Nothing.
    Nothing,
}

/// The wire. What it carries may change at any time, for connections that there are as well.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    carries: Mutex<Carries>,
    connections: AtomicU64,
}

impl Wire {
    /// A wire to `router` on which all is well.
    pub(crate) async fn to(router: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            carries: Mutex::new(Carries::Well),
            connections: AtomicU64::new(0),
        });
        let carrier = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                carrier.connections.fetch_add(1, Ordering::Relaxed);
                let Ok(server) = TcpStream::connect(router).await else { continue };
                tokio::spawn(Arc::clone(&carrier).carry(client, server));
            }
        });
        wire
    }

    /// From now on it carries so.
    pub(crate) fn set(&self, carries: Carries) {
        *self.carries.lock().unwrap() = carries;
    }

    /// How often somebody has connected.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    async fn carry(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let (mut from_client, to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            () = self.back(from_server, to_client) => {}
        }
    }

    async fn back(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut buffer, mut replies) = (vec![0; 65_536], 0);
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            replies += 1;
            let carries = *self.carries.lock().unwrap();
            let carried = match carries {
                Carries::Well => to.write_all(&buffer[..read]).await.is_ok(),
                Carries::Nothing => true,
                Carries::BreaksOff if replies == 1 => to.write_all(&buffer[..read]).await.is_ok(),
                Carries::BreaksOff => {
                    // It does not matter whether that arrives: it is the end.
                    drop(to.write_all(&buffer[..read.min(3)]).await);
                    false
                }
                Carries::Drips => drip(&buffer[..read], &mut to).await,
            };
            if !carried {
                return;
            }
        }
    }
}

async fn drip(bytes: &[u8], to: &mut OwnedWriteHalf) -> bool {
    for byte in bytes {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if to.write_all(&[*byte]).await.is_err() {
            return false;
        }
    }
    true
}
