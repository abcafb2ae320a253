//! One API client, from the connection to its end.
//!
//! Commands run side by side: what takes time (`/ping`, `listen`) has a task of its own, everything
//! else is answered at once. Every reply sentence is one write, so that none is cut in two by us.
//!
//! A router that cannot be reached neither reads nor writes: its clients hear nothing, not even an
//! end. One that has started anew does not know its old connections and resets them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use routeros_api::login::challenge_response;
use routeros_api::value;
use routeros_api::wire::{Decoder, Limits, Sentence};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::certificate::Wire;
use super::menu::{self, Answer, Asker, Menu, Policy, View};
use super::ping::Ping;
use super::{Refusal, Row};
use crate::lab::Lab;
use crate::network::RouterIndex;
use crate::state::{Change, Listener, Presence};

/// Replies that wait to be written before commands wait for them.
const REPLIES_WAITING_MAX: usize = 256;
/// Commands of one session that run at the same time.
const STREAMS_MAX: usize = 64;
/// Changes a listener may be behind.
const CHANGES_WAITING_MAX: usize = 1024;
/// What a client may send before it has logged in.
const STRANGER: Limits =
    Limits { word_bytes_max: 1 << 10, sentence_bytes_max: 4 << 10, sentence_words_max: 16 };
/// Wrong passwords before a connection is closed.
const TRIES_MAX: u32 = 10;

/// Speaks with one client until either side ends.
pub async fn serve(lab: Arc<Lab>, router: RouterIndex, stream: TcpStream, from: SocketAddr, boot: u32) {
    let sessions_max = lab.settings().sessions_max as u64;
    let admitted = lab.with(|state| {
        let this = state.router(router);
        let admitted = this.counters.sessions_now < sessions_max;
        if admitted {
            this.counters.sessions_now += 1;
        } else {
            this.counters.sessions_refused += 1;
        }
        admitted.then(|| (this.presence.subscribe(), this.power.clone()))
    });
    let Some((presence, power)) = admitted else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "asking for undelayed writes");
    }
    if let Some(wire) = wired(&lab, router, stream, presence.clone(), boot).await {
        speak(&lab, router, wire, from, (presence, boot), power).await;
    }
    lab.with(|state| state.router(router).counters.sessions_now -= 1);
}

/// The connection as its client wants it: inside TLS, where the router's API is. None: they do not agree.
async fn wired(
    lab: &Lab,
    router: RouterIndex,
    stream: TcpStream,
    mut presence: watch::Receiver<Presence>,
    boot: u32,
) -> Option<Box<dyn Wire>> {
    let Some(certificate) = lab.certificate(router) else { return Some(Box::new(stream)) };
    if !heard(&mut presence, boot).await {
        return None;
    }
    tokio::select! {
        agreed = certificate.agree(stream) => match agreed {
            Ok(stream) => Some(Box::new(stream)),
            Err(error) => {
                tracing::debug!(%error, "a client does not agree on TLS");
                None
            }
        },
        () = lab.ended() => None,
    }
}

async fn speak(
    lab: &Arc<Lab>,
    router: RouterIndex,
    wire: Box<dyn Wire>,
    from: SocketAddr,
    (presence, boot): (watch::Receiver<Presence>, u32),
    power: CancellationToken,
) {
    let (mut read, write) = tokio::io::split(wire);
    let (replies, waiting) = mpsc::channel(REPLIES_WAITING_MAX);
    let over = CancellationToken::new();
    let presence_at_end = presence.clone();
    let writer = tokio::spawn(write_replies(
        (Arc::clone(lab), router),
        write,
        waiting,
        (presence.clone(), boot),
        over.clone(),
    ));
    let mut client = Client {
        lab: Arc::clone(lab),
        router,
        from,
        replies,
        over: over.clone(),
        power,
        user: None,
        challenge: None,
        tries: 0,
        streams: HashMap::new(),
        stream_count: 0,
    };
    client.listen_to(&mut read, presence, boot).await;
    if let Some(id) = client.user {
        lab.with(|state| state.router(router).users.remove(&id));
    }
    for stream in client.streams.values() {
        stream.stop();
    }
    // The writer ends when the last of the streams has let go of the channel, with all replies written.
    drop(client.replies);
    let Ok(write) = writer.await else { return };
    // A dead router says no goodbye; one that has started anew knows nothing of this connection.
    let mut last = presence_at_end;
    let known = tokio::select! {
        known = heard(&mut last, boot) => known,
        () = lab.ended() => true,
    };
    let wire = read.unsplit(write);
    if !known && let Err(error) = SockRef::from(wire.socket()).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "resetting a connection of an earlier boot");
    }
}

/// Waits until the router can be heard. `false`: it is another one by now.
async fn heard(presence: &mut watch::Receiver<Presence>, boot: u32) -> bool {
    match presence.wait_for(|presence| presence.is_reachable).await {
        Ok(now) => now.boot == boot,
        Err(_) => false,
    }
}

async fn write_replies(
    (lab, router): (Arc<Lab>, RouterIndex),
    mut write: WriteHalf<Box<dyn Wire>>,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    (mut presence, boot): (watch::Receiver<Presence>, u32),
    over: CancellationToken,
) -> WriteHalf<Box<dyn Wire>> {
    while let Some(reply) = waiting.recv().await {
        let written = async {
            let manner = lab.with(|state| state.router(router).manner);
            heard(&mut presence, boot).await && manner.say(&reply, &mut write).await
        };
        let written = tokio::select! {
            () = over.cancelled() => false,
            written = written => written,
        };
        if !written {
            over.cancel();
            break;
        }
    }
    write
}

struct Client {
    lab: Arc<Lab>,
    router: RouterIndex,
    from: SocketAddr,
    replies: mpsc::Sender<Vec<u8>>,
    /// Ends when nothing can be written any more.
    over: CancellationToken,
    /// Ends when the router loses its power.
    power: CancellationToken,
    /// Its row of `/user/active`, once it has logged in.
    user: Option<u32>,
    challenge: Option<String>,
    tries: u32,
    /// What runs, by a number of ours and its tag.
    streams: HashMap<(u64, Vec<u8>), Arc<Stream>>,
    stream_count: u64,
}

/// A command that takes time.
struct Stream {
    /// Ends when it is cancelled or the router loses its power.
    stopped: CancellationToken,
    /// Whether its end has been said: nothing is said of it after that.
    is_over: Mutex<bool>,
}

impl Stream {
    fn stop(&self) {
        self.stopped.cancel();
    }

    /// Takes the right to say its end; only the first gets it.
    fn finish(&self) -> bool {
        self.stop();
        !std::mem::replace(&mut *self.is_over.lock().unwrap_or_else(PoisonError::into_inner), true)
    }

    /// Says one sentence unless the end has been said. `false`: no more is wanted.
    async fn say(&self, said: Sentence, replies: &mpsc::Sender<Vec<u8>>) -> bool {
        let Ok(room) = replies.reserve().await else { return false };
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_over {
            room.send(said.to_bytes());
        }
        !*is_over
    }
}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    More,
    End,
}

impl Client {
    async fn listen_to(
        &mut self,
        read: &mut ReadHalf<Box<dyn Wire>>,
        mut presence: watch::Receiver<Presence>,
        boot: u32,
    ) {
        let mut decoder = Decoder::new(STRANGER);
        let mut buffer = vec![0; 4096];
        let over = self.over.clone();
        let lab = Arc::clone(&self.lab);
        loop {
            let arrived = async {
                if !heard(&mut presence, boot).await {
                    return None;
                }
                // Whether the router is still there is looked at again before anything is answered.
                let count = read.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
                heard(&mut presence, boot).await.then_some(count)
            };
            let count = tokio::select! {
                biased;
                () = lab.ended() => None,
                () = over.cancelled() => None,
                count = arrived => count,
            };
            let Some(count) = count else { return };
            let mut bytes = &buffer[..count];
            loop {
                match decoder.decode(&mut bytes) {
                    Ok(None) => break,
                    Ok(Some(said)) => {
                        let stranger = self.user.is_none();
                        if self.hear(&said).await == Next::End {
                            return;
                        }
                        if stranger && self.user.is_some() {
                            decoder = Decoder::new(Limits::SERVER);
                        }
                    }
                    Err(error) => {
                        self.say(&Sentence::fatal(error.to_string()), None).await;
                        return;
                    }
                }
            }
        }
    }

    /// Says one sentence. `false`: nobody hears it any more.
    async fn say(&self, said: &Sentence, tag: Option<&[u8]>) -> bool {
        self.replies.send(said.clone().tagged(tag).to_bytes()).await.is_ok()
    }

    async fn refuse(&self, refusal: &Refusal, tag: Option<&[u8]>) {
        self.say(&refusal.sentence(), tag).await;
        self.say(&Sentence::done(), tag).await;
    }

    async fn hear(&mut self, said: &Sentence) -> Next {
        let path = value::text(said.first()).into_owned();
        let tag = said.tag().map(<[u8]>::to_vec);
        let tag = tag.as_deref();
        if path == "/login" {
            return self.login(said, tag).await;
        }
        if self.user.is_none() {
            self.say(&Sentence::fatal("not logged in"), None).await;
            return Next::End;
        }
        self.streams.retain(|_, stream| !stream.stopped.is_cancelled());
        let (menu, verb) = path.rsplit_once('/').unwrap_or_default();
        let menu = menu::at(menu);
        let known = menu.is_some()
            || matches!(path.as_str(), "/quit" | "/cancel" | "/ping" | "/tool/ping" | "/tool/fetch");
        self.lab.with(|state| {
            let router = state.router(self.router);
            router.counters.called(if known { &path } else { "(unknown)" });
            router.counters.calls_about_one += u64::from(router.names_a_customer(said));
        });
        match (path.as_str(), menu) {
            ("/quit", _) => {
                self.say(&Sentence::fatal("session terminated on request"), None).await;
                Next::End
            }
            ("/cancel", _) => {
                self.cancel(said.attribute("tag"), tag).await;
                Next::More
            }
            ("/ping" | "/tool/ping", _) => {
                match self.asker().rights.need(Policy::Test) {
                    Ok(()) => self.ping(said, tag).await,
                    Err(refusal) => self.refuse(&refusal, tag).await,
                }
                Next::More
            }
            ("/tool/fetch", _) => {
                // Waits for its server, and so do the commands behind it on this connection.
                let fetched = match self.asker().rights.need(Policy::Test) {
                    Ok(()) => super::fetch::fetch(&self.lab, self.router, said).await,
                    Err(refusal) => Err(refusal),
                };
                let answer = fetched.map(|row| Answer { rows: vec![row], ..Answer::default() });
                self.answer(answer, tag, true).await;
                Next::More
            }
            (_, Some(menu)) => {
                let flag = |name: &str| said.attribute(name).is_some();
                let prints = matches!(verb, "print" | "getall");
                let follows = verb == "listen" || (prints && (flag("follow") || flag("follow-only")));
                let asker = self.asker();
                if prints && !flag("follow-only") || !follows {
                    let answer = self.lab.with(|state| state.answer(self.router, menu, verb, said, &asker));
                    if answer.is_err() && follows {
                        self.answer(answer, tag, true).await;
                        return Next::More;
                    }
                    self.answer(answer, tag, !follows).await;
                }
                if follows {
                    match asker.rights.need(Policy::Read) {
                        Ok(()) => self.follow(menu, said, tag).await,
                        Err(refusal) => self.refuse(&refusal, tag).await,
                    }
                }
                Next::More
            }
            (_, None) => {
                self.refuse(&Refusal::no_command(), tag).await;
                Next::More
            }
        }
    }

    /// Who speaks, and what he may at this moment.
    fn asker(&self) -> Asker {
        self.lab.with(|state| {
            let user =
                self.user.and_then(|id| Some(state.routers[self.router.at()].users.get(&id)?.0.clone()));
            let user = user.unwrap_or_default();
            let rights = state.rights(self.router, &user);
            Asker { user, from: self.from.ip(), rights }
        })
    }

    async fn answer(&self, answer: Result<Answer, Refusal>, tag: Option<&[u8]>, ends: bool) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) => return self.refuse(&refusal, tag).await,
        };
        for row in &answer.rows {
            if !self.say(row, tag).await {
                return;
            }
        }
        if !ends {
            return;
        }
        if answer.has_rows
            && answer.rows.is_empty()
            && self.lab.with(|state| state.router(self.router).version.says_empty())
        {
            self.say(&Sentence::empty(), tag).await;
        }
        let done = match answer.ret {
            Some(ret) => Sentence::done().with("ret", ret),
            None => Sentence::done(),
        };
        self.say(&done, tag).await;
    }

    async fn login(&mut self, said: &Sentence, tag: Option<&[u8]>) -> Next {
        let name = said.attribute("name").map(value::text).unwrap_or_default().into_owned();
        let version = self.lab.with(|state| state.router(self.router).version.clone());
        let expected = self.lab.with(|state| state.password(self.router, &name));
        let given = match (said.attribute("password"), said.attribute("response")) {
            (Some(password), None) if !version.wants_challenge() => {
                expected.is_some_and(|expected| password == expected.as_bytes())
            }
            (None, Some(response)) => {
                let expected = self.challenge.take().zip(expected).and_then(|(challenge, password)| {
                    challenge_response(password.as_bytes(), challenge.as_bytes()).ok()
                });
                let matches = expected.is_some_and(|expected| expected.as_bytes() == response);
                matches && version.takes_challenge()
            }
            // A bare `/login`, or a password where only challenges are known.
            (None, None) | (Some(_), _) => {
                let (high, low) = self.lab.with(|state| (state.dice.bits(), state.dice.bits()));
                let challenge = format!("{high:016x}{low:016x}");
                self.challenge = Some(challenge.clone());
                self.say(&Sentence::done().with("ret", challenge), tag).await;
                return Next::More;
            }
        };
        let (router, from) = (self.router, self.from.ip());
        if given {
            let old = self.user;
            self.user = Some(self.lab.with(|state| {
                let now = state.clock.now();
                let this = state.router(router);
                this.counters.logins += 1;
                let id = old.unwrap_or_else(|| this.next_id());
                this.users.insert(id, (name.clone(), from, now));
                state.log(
                    router,
                    "system,info,account",
                    format!("user {name} logged in from {from} via api"),
                );
                id
            }));
            self.say(&Sentence::done(), tag).await;
            return Next::More;
        }
        self.tries += 1;
        self.lab.with(|state| {
            state.router(router).counters.logins_refused += 1;
            let name = value::printable(name.as_bytes(), 64);
            state.log(
                router,
                "system,error,critical",
                format!("login failure for user {name} from {from} via api"),
            );
        });
        let message =
            if version.wants_challenge() { "cannot log in" } else { "invalid user name or password (6)" };
        self.refuse(&Refusal::failure(message), tag).await;
        if self.tries >= TRIES_MAX { Next::End } else { Next::More }
    }

    async fn cancel(&mut self, victim: Option<&[u8]>, tag: Option<&[u8]>) {
        let meant = |running: &Vec<u8>| victim.is_none_or(|victim| victim == running);
        let cancelled: Vec<_> = self.streams.extract_if(|(_, running), _| meant(running)).collect();
        let cancelled: Vec<_> = cancelled
            .into_iter()
            .filter(|(_, stream)| stream.finish())
            .map(|((_, running), _)| running)
            .collect();
        let tag_of = |running: &Vec<u8>| Some(running.clone()).filter(|tag| !tag.is_empty());
        for running in &cancelled {
            self.say(&Sentence::trap(Some(2), "interrupted"), tag_of(running).as_deref()).await;
        }
        self.say(&Sentence::done(), tag).await;
        for running in &cancelled {
            self.say(&Sentence::done(), tag_of(running).as_deref()).await;
        }
    }

    /// Room for one more command that takes time.
    async fn stream(&mut self, tag: Option<&[u8]>) -> Option<Arc<Stream>> {
        if self.streams.len() >= STREAMS_MAX {
            self.refuse(&Refusal::failure("failure: too many commands at once"), tag).await;
            return None;
        }
        self.stream_count += 1;
        let stream = Arc::new(Stream { stopped: self.power.child_token(), is_over: Mutex::new(false) });
        self.streams.insert((self.stream_count, tag.unwrap_or_default().to_vec()), Arc::clone(&stream));
        Some(stream)
    }

    async fn ping(&mut self, said: &Sentence, tag: Option<&[u8]>) {
        let ping = match Ping::read(said) {
            Ok(ping) => ping,
            Err(refusal) => return self.refuse(&refusal, tag).await,
        };
        let Some(stream) = self.stream(tag).await else { return };
        let (lab, router, replies) = (Arc::clone(&self.lab), self.router, self.replies.clone());
        let tag = tag.map(<[u8]>::to_vec);
        self.lab.spawn(async move {
            lab.with(|state| {
                let counters = &mut state.router(router).counters;
                counters.pings_now += 1;
                counters.pings_at_once_max = counters.pings_at_once_max.max(counters.pings_now);
            });
            let tell = |row: Row| stream.say(row.sentence(None).tagged(tag.as_deref()), &replies);
            let finished = tokio::select! {
                biased;
                () = stream.stopped.cancelled() => false,
                () = lab.ended() => false,
                () = ping.run(Arc::clone(&lab), router, tell) => true,
            };
            lab.with(|state| state.router(router).counters.pings_now -= 1);
            if finished && stream.finish() {
                let done = Sentence::done().tagged(tag.as_deref()).to_bytes();
                // Nobody is left to be told when this fails.
                let _ = replies.send(done).await;
            }
        });
    }

    async fn follow(&mut self, menu: &dyn Menu, said: &Sentence, tag: Option<&[u8]>) {
        let view = match View::read(said) {
            Ok(view) => view,
            Err(refusal) => return self.refuse(&refusal, tag).await,
        };
        let Some(stream) = self.stream(tag).await else { return };
        let (sender, mut changes) = mpsc::channel(CHANGES_WAITING_MAX);
        self.lab.with(|state| {
            state.router(self.router).listeners.push(Listener { menu: menu.path(), sender });
        });
        let (lab, replies, over) = (Arc::clone(&self.lab), self.replies.clone(), self.over.clone());
        let tag = tag.map(<[u8]>::to_vec);
        self.lab.spawn(async move {
            loop {
                let change = tokio::select! {
                    biased;
                    () = stream.stopped.cancelled() => break,
                    () = over.cancelled() => break,
                    () = lab.ended() => break,
                    change = changes.recv() => change,
                };
                let said = match change {
                    Some(Change::Row(row)) => view.of(&row),
                    Some(Change::Dead(id)) => Some(Sentence::re().with(".id", id).with(".dead", "true")),
                    // It did not keep up: better no connection than one that hides changes.
                    None => {
                        over.cancel();
                        break;
                    }
                };
                let Some(said) = said else { continue };
                if !stream.say(said.tagged(tag.as_deref()), &replies).await {
                    break;
                }
            }
            stream.stop();
        });
    }
}
