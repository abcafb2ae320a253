//! A router for tests: it says what the test tells it to, and nothing else.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use routeros_api::wire::{Decoder, Limits, Sentence};
use routeros_api::{ConnectError, Credentials, Options, Session};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Long enough on a busy machine, short enough for a test that hangs.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// What has to pass when nothing must happen.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(80);

/// One connection, seen from the router.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, decoder: Decoder::new(Limits::SERVER), unread: Vec::new() }
    }

    /// The next sentence, or `None` when the client has closed.
    pub(crate) async fn hear_or_end(&mut self) -> Option<Sentence> {
        loop {
            let mut input = self.unread.as_slice();
            let heard = self.decoder.decode(&mut input).expect("a client speaks the protocol");
            self.unread = input.to_vec();
            if heard.is_some() {
                return heard;
            }
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout(SOON, self.stream.read(&mut buffer));
            match read.await.expect("the client says something soon") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
            }
        }
    }

    pub(crate) async fn hear(&mut self) -> Sentence {
        self.hear_or_end().await.expect("the client has more to say")
    }

    pub(crate) async fn say(&mut self, sentence: &Sentence) {
        self.say_bytes(&sentence.to_bytes()).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client listens");
        self.stream.flush().await.expect("the client listens");
    }

    /// Says that what `asked` began is over.
    pub(crate) async fn done(&mut self, asked: &Sentence) {
        self.say(&Sentence::done().tagged(asked.tag())).await;
    }

    /// Lets the client in.
    pub(crate) async fn welcome(&mut self) {
        let login = self.hear().await;
        assert_eq!(login.first(), b"/login");
        self.done(&login).await;
    }
}

/// A listening router and its address.
pub(crate) async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a listener has an address");
    (listener, address)
}

/// A port that refuses, and that nobody else can get, until the socket listens.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback has a free port");
    let address = socket.local_addr().expect("a bound socket has an address");
    (socket, address)
}

pub(crate) async fn accept(listener: &TcpListener) -> Peer {
    let accepted = tokio::time::timeout(SOON, listener.accept()).await.expect("the client comes soon");
    let (stream, _) = accepted.expect("loopback accepts");
    stream.set_nodelay(true).expect("a socket has options");
    Peer::new(stream)
}

pub(crate) fn nms() -> Credentials {
    Credentials::new("nms", "s3cret")
}

/// Options that do not make a test wait.
pub(crate) fn brisk() -> Options {
    Options { connect_within: SOON, ..Options::default() }
}

/// A session and the router at its other end.
pub(crate) async fn session(options: &Options) -> (Session, Peer) {
    let (listener, address) = listening().await;
    let credentials = nms();
    let connecting = Session::connect(address, None, &credentials, options);
    let (session, peer) = tokio::join!(connecting, async {
        let mut peer = accept(&listener).await;
        peer.welcome().await;
        peer
    });
    (session.expect("the router welcomes"), peer)
}

/// How connecting ends when the router does `what`.
pub(crate) async fn connecting<F: Future<Output = Peer>>(
    options: &Options,
    what: impl FnOnce(Peer) -> F,
) -> Result<Session, ConnectError> {
    let (listener, address) = listening().await;
    let credentials = nms();
    let (session, _open) = tokio::join!(Session::connect(address, None, &credentials, options), async {
        what(accept(&listener).await).await
    });
    session
}
