//! A way to a router on which one write is held up: before it arrives there, or before its answer comes back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Which side of a write is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The router does not hear of it.
    Before,
    /// The router has made it, and nobody hears of that.
    After,
}

/// What a write begins with.
const WRITES: [&[u8]; 8] = [
    b"/set",
    b"/remove",
    b"secret/add",
    b"list/add",
    b"simple/add",
    b"script/add",
    b"scheduler/add",
    b"netwatch/add",
];

/// The gate. Whoever came through it loses the connection when it is opened.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    /// Writes that may pass; beyond that it is shut.
    left: AtomicUsize,
    is_shut: AtomicBool,
    side_after: AtomicBool,
    opened: Notify,
}

impl Gate {
    /// A gate before `router` that stands open.
    pub(crate) async fn before(router: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            left: AtomicUsize::new(usize::MAX),
            is_shut: AtomicBool::new(false),
            side_after: AtomicBool::new(false),
            opened: Notify::new(),
        });
        let doorman = Arc::clone(&gate);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(router).await else { continue };
                tokio::spawn(Arc::clone(&doorman).carry(client, server));
            }
        });
        gate
    }

    /// Lets so many writes pass, and shuts at this side of the next.
    pub(crate) fn shut_after(&self, writes: usize, side: Side) {
        self.side_after.store(side == Side::After, Ordering::SeqCst);
        self.left.store(writes, Ordering::SeqCst);
    }

    /// Whether a write is held up.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::SeqCst)
    }

    /// Lets everything pass that comes from now on; what was held up is lost.
    pub(crate) fn open(&self) {
        self.left.store(usize::MAX, Ordering::SeqCst);
        self.is_shut.store(false, Ordering::SeqCst);
        self.opened.notify_waiters();
    }

    async fn carry(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let there = async {
            let mut buffer = vec![0; 65_536];
            loop {
                let read = from_client.read(&mut buffer).await.unwrap_or(0);
                if read == 0 {
                    return;
                }
                let is_write =
                    WRITES.iter().any(|verb| buffer[..read].windows(verb.len()).any(|w| w == *verb));
                if is_write && self.left.load(Ordering::SeqCst) == 0 {
                    self.is_shut.store(true, Ordering::SeqCst);
                    if !self.side_after.load(Ordering::SeqCst) {
                        return;
                    }
                } else if is_write {
                    self.left.fetch_sub(1, Ordering::SeqCst);
                }
                if to_server.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        };
        let back = async {
            let mut buffer = vec![0; 65_536];
            loop {
                let read = from_server.read(&mut buffer).await.unwrap_or(0);
                if read == 0 || self.is_shut() {
                    return;
                }
                if to_client.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = async { tokio::join!(there, back); self.opened.notified().await } => {}
            () = self.opened.notified() => {}
        }
    }
}
