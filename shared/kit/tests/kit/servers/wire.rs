//! A wire between a client and its server that can swallow what the server says, or hold it up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) struct Wire {
    url: String,
    swallow: Arc<AtomicBool>,
    armed: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
    held_up_ms: Arc<AtomicU64>,
    cut: watch::Sender<u64>,
}

impl Wire {
    /// A wire to the server at `url`.
    pub(crate) async fn to(url: &str) -> Wire {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let swallow = Arc::new(AtomicBool::new(false));
        let swallowed = Arc::new(AtomicUsize::new(0));
        let (cut, cuts) = watch::channel(0);
        let armed = Arc::new(AtomicBool::new(false));
        let held_up_ms = Arc::new(AtomicU64::new(0));
        let (quiet, trap, counter) = (swallow.clone(), armed.clone(), swallowed.clone());
        let held_up = held_up_ms.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                tokio::spawn(carry(
                    client,
                    server,
                    quiet.clone(),
                    trap.clone(),
                    counter.clone(),
                    held_up.clone(),
                    cuts.clone(),
                ));
            }
        });
        Wire { url, swallow, armed, swallowed, held_up_ms, cut }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// From now on the server is not heard; or is again.
    pub(crate) fn swallow(&self, quiet: bool) {
        self.swallow.store(quiet, Ordering::SeqCst);
    }

    /// Lets the server say one thing more that looks like a claim, and swallows everything after it
    /// until the guard is dropped.
    pub(crate) fn swallow_after_the_next_delivery(&self) -> Gate {
        self.armed.store(true, Ordering::SeqCst);
        Gate { swallow: self.swallow.clone(), armed: self.armed.clone() }
    }

    /// From now on everything that the server says comes so much later.
    pub(crate) fn hold_up(&self, by: Duration) {
        self.held_up_ms.store(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// How many bytes were swallowed.
    pub(crate) fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|n| *n += 1);
    }
}

/// While it lives, the server may be swallowed.
pub(crate) struct Gate {
    swallow: Arc<AtomicBool>,
    armed: Arc<AtomicBool>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.armed.store(false, Ordering::SeqCst);
        self.swallow.store(false, Ordering::SeqCst);
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    swallow: Arc<AtomicBool>,
    armed: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
    held_up_ms: Arc<AtomicU64>,
    mut cuts: watch::Receiver<u64>,
) {
    cuts.mark_unchanged();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = from_server.read(&mut buffer).await?;
            if n == 0 {
                return Ok::<_, std::io::Error>(());
            }
            if swallow.load(Ordering::SeqCst) {
                swallowed.fetch_add(n, Ordering::SeqCst);
                continue;
            }
            tokio::time::sleep(Duration::from_millis(held_up_ms.load(Ordering::SeqCst))).await;
            to_client.write_all(&buffer[..n]).await?;
            let is_claim = buffer[..n].windows(8).any(|bytes| bytes == b".signal.");
            if is_claim && armed.swap(false, Ordering::SeqCst) {
                swallow.store(true, Ordering::SeqCst);
            }
        }
    };
    tokio::select! {
        _ = up => {}
        _ = down => {}
        _ = cuts.changed() => {}
    }
}
