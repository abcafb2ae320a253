//! A router for tests: answers what the poller asks, from tables the test lays out, and can die.

use routeros_api::wire::{Decoder, Limits, Sentence};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::Mutex as AsyncMutex,
};
use tokio_util::sync::CancellationToken;

/// What the router knows and has done.
#[derive(Default)]
pub(crate) struct State {
    /// Says nothing any more, on any connection.
    pub(crate) is_silent: bool,
    /// Rejects every login.
    pub(crate) rejects: bool,
    /// Refuses to ping.
    pub(crate) may_not_ping: bool,
    /// Addresses that answer its ping.
    pub(crate) alive: BTreeSet<String>,
    /// So many of the next echoes to an address are lost.
    pub(crate) lost: BTreeMap<String, u32>,
    /// Pings so far, by address.
    pub(crate) pinged: BTreeMap<String, u32>,
    /// How long it says that it has been up; `None`: for days.
    pub(crate) uptime: Option<&'static str>,
    /// Names of PPP sessions.
    pub(crate) sessions: BTreeSet<String>,
    /// MAC addresses with a lease.
    pub(crate) leases: BTreeSet<String>,
    /// Netwatch entries: host and status.
    pub(crate) netwatch: BTreeMap<String, &'static str>,
    /// Comments of netwatch entries.
    pub(crate) comments: BTreeMap<String, String>,
    /// Logins so far.
    pub(crate) logins: u32,
    /// Prints of the PPP table so far.
    pub(crate) tables: u32,
    /// Pings under way, and the most there ever were.
    pub(crate) pings: (u32, u32),
}

pub(crate) struct Router {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Cancelled, and a new one made, when all sessions are to end.
    session: Arc<Mutex<CancellationToken>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Router {
    /// On a free port of a loopback address.
    pub(crate) async fn start(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let session = Arc::new(Mutex::new(CancellationToken::new()));
        let (shared, current) = (Arc::clone(&state), Arc::clone(&session));
        let serving = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let until = current.lock().unwrap().clone();
                tokio::spawn(serve(stream, Arc::clone(&shared), until));
            }
        });
        Self { address, state, session, serving }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Ends every session there is, in the middle of whatever it does.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.session.lock().unwrap()).cancel();
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, until: CancellationToken) {
    let (mut from, to) = stream.into_split();
    let to = Arc::new(AsyncMutex::new(to));
    let (mut decoder, mut unread) = (Decoder::new(Limits::SERVER), Vec::new());
    let mut buffer = [0; 4096];
    let mut running: BTreeMap<Vec<u8>, CancellationToken> = BTreeMap::new();
    loop {
        let mut input = unread.as_slice();
        while let Some(said) = decoder.decode(&mut input).unwrap() {
            if said.first() == b"/cancel"
                && let Some(victim) = said.attribute("tag").and_then(|tag| running.get(tag))
            {
                victim.cancel();
            }
            let stop = CancellationToken::new();
            running.insert(said.tag().unwrap_or_default().to_vec(), stop.clone());
            let answered = answer(said, stop, Arc::clone(&to), Arc::clone(&state));
            tokio::spawn(until.clone().run_until_cancelled_owned(answered));
        }
        unread.clear();
        match until.run_until_cancelled(from.read(&mut buffer)).await {
            None | Some(Ok(0) | Err(_)) => return,
            Some(Ok(count)) => unread.extend_from_slice(&buffer[..count]),
        }
    }
}

async fn answer(
    said: Sentence,
    stop: CancellationToken,
    to: Arc<AsyncMutex<OwnedWriteHalf>>,
    state: Arc<Mutex<State>>,
) {
    if state.lock().unwrap().is_silent {
        return;
    }
    let mut out = Vec::new();
    let first = String::from_utf8_lossy(said.first()).into_owned();
    match first.as_str() {
        "/login" => {
            let mut state = state.lock().unwrap();
            if state.rejects {
                out.push(Sentence::trap(None, "invalid user name or password (6)"));
            } else {
                state.logins += 1;
            }
        }
        "/system/identity/print" => out.push(Sentence::re().with("name", "core-1")),
        "/system/resource/print" => {
            let uptime = state.lock().unwrap().uptime.unwrap_or("2d3h4m5s");
            out.push(Sentence::re().with("uptime", uptime).with("version", "7.16.2 (stable)"));
        }
        "/ppp/active/print" => {
            let mut state = state.lock().unwrap();
            state.tables += 1;
            out.extend(state.sessions.iter().map(|name| Sentence::re().with("name", name)));
        }
        "/ip/dhcp-server/lease/print" => {
            let state = state.lock().unwrap();
            out.extend(state.leases.iter().map(|mac| Sentence::re().with("mac-address", mac)));
        }
        "/tool/netwatch/print" => {
            let state = state.lock().unwrap();
            out.extend(state.netwatch.iter().map(|(host, status)| {
                let row = Sentence::re().with("host", host).with("status", status);
                match state.comments.get(host) {
                    Some(comment) => row.with("comment", comment),
                    None => row,
                }
            }));
        }
        "/ping" => out.push(ping(&said, &stop, &state).await),
        "/cancel" => {}
        _ => out.push(Sentence::trap(Some(0), "no such command prefix")),
    }
    out.push(Sentence::done());
    if state.lock().unwrap().is_silent {
        return;
    }
    let bytes: Vec<u8> =
        out.into_iter().flat_map(|sentence| sentence.tagged(said.tag()).to_bytes()).collect();
    // The other side may have gone.
    drop(to.lock().await.write_all(&bytes).await);
}

async fn ping(said: &Sentence, stop: &CancellationToken, state: &Mutex<State>) -> Sentence {
    let text = |name| String::from_utf8_lossy(said.attribute(name).unwrap()).into_owned();
    assert_eq!(text("count"), "1");
    let interval: u64 = text("interval").trim_end_matches("ms").parse().unwrap();
    let (alive, may_not) = {
        let mut state = state.lock().unwrap();
        state.pings.0 += 1;
        state.pings.1 = state.pings.1.max(state.pings.0);
        *state.pinged.entry(text("address")).or_default() += 1;
        let is_lost = state.lost.get_mut(&text("address")).is_some_and(|left| {
            let is_lost = *left > 0;
            *left = left.saturating_sub(1);
            is_lost
        });
        (state.alive.contains(&text("address")) && !is_lost, state.may_not_ping)
    };
    if !alive && !may_not {
        // A cancelled one ends at once.
        let _ran_out = tokio::time::timeout(Duration::from_millis(interval), stop.cancelled()).await;
    }
    state.lock().unwrap().pings.0 -= 1;
    let row = Sentence::re().with("seq", "0").with("host", text("address")).with("sent", "1");
    match (may_not, alive) {
        (true, _) => Sentence::trap(None, "not enough permissions (9)"),
        (false, true) => row.with("time", "453us").with("received", "1"),
        (false, false) => row.with("status", "timeout").with("received", "0"),
    }
}
