//! How connecting fails, and that each way is told from the others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::peer::{Peer, SOON, accept, brisk, connecting, listening, nms, refusing};
use routeros_api::login::challenge_response;
use routeros_api::session::{LoginForm, Phase, ProtocolError};
use routeros_api::tls::{Fingerprint, Tls, Unvouched};
use routeros_api::wire::Sentence;
use routeros_api::{Command, ConnectError, Options, Session};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn impatient() -> Options {
    Options { connect_within: Duration::from_millis(150), ..brisk() }
}

const CHALLENGE: &str = "00112233445566778899aabbccddeeff";

async fn answer(peer: &mut Peer, asked: &Sentence, answers: &[Sentence]) {
    for answer in answers {
        peer.say(&answer.clone().tagged(asked.tag())).await;
    }
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (_closed, address) = refusing();
    let refused = Session::connect(address, None, &nms(), &brisk()).await;
    assert!(matches!(refused, Err(ConnectError::Refused)), "{refused:?}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_times_out() {
    // A full backlog: the kernel lets further attempts go unanswered, as a dead host would.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        filling.push(stream);
        assert!(filling.len() < 64, "the backlog fills");
    }
    let dead = Session::connect(address, None, &nms(), &impatient()).await;
    assert!(matches!(dead, Err(ConnectError::TimedOut { .. })), "{dead:?}");
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_silent() {
    let began = Instant::now();
    let silent = connecting(&impatient(), |peer| async { peer }).await;
    assert!(matches!(silent, Err(ConnectError::Silent { during: Phase::Login, .. })), "{silent:?}");
    assert!(began.elapsed() < SOON / 2);
}

#[tokio::test]
async fn a_peer_that_drips_bytes_does_not_stretch_the_deadline() {
    let silent = connecting(&impatient(), |mut peer| async {
        peer.hear().await;
        for byte in Sentence::re().with("name", "x".repeat(40)).to_bytes().iter().cycle().take(30) {
            let _ = peer.stream.write_all(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        peer
    })
    .await;
    assert!(matches!(silent, Err(ConnectError::Silent { .. })), "{silent:?}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_has_closed() {
    let closed = connecting(&brisk(), |mut peer| async {
        peer.hear().await;
        peer.stream.shutdown().await.unwrap();
        peer
    })
    .await;
    assert!(matches!(closed, Err(ConnectError::Closed)), "{closed:?}");
}

#[tokio::test]
async fn a_wrong_password_is_rejected_in_the_words_of_every_version() {
    for words in ["invalid user name or password (6)", "cannot log in"] {
        let rejected = connecting(&brisk(), |mut peer| async {
            let login = peer.hear().await;
            answer(&mut peer, &login, &[Sentence::trap(None, words), Sentence::done()]).await;
            peer
        })
        .await;
        let Err(ConnectError::LoginRejected { message }) = rejected else { panic!("{rejected:?}") };
        assert_eq!(message, words);
    }
}

#[tokio::test]
async fn a_router_that_repeats_the_password_does_not_spread_it() {
    let rejected = connecting(&brisk(), |mut peer| async {
        let login = peer.hear().await;
        answer(&mut peer, &login, &[Sentence::trap(None, "no s3cret here")]).await;
        peer
    })
    .await;
    assert!(!format!("{rejected:?} {}", rejected.as_ref().unwrap_err()).contains("s3cret"));
}

#[tokio::test]
async fn a_fatal_answer_carries_its_text() {
    let fatal = connecting(&brisk(), |mut peer| async {
        peer.hear().await;
        peer.say(&Sentence::fatal("too many sessions")).await;
        peer
    })
    .await;
    let Err(ConnectError::Fatal { message }) = fatal else { panic!("{fatal:?}") };
    assert_eq!(message, "too many sessions");
}

#[tokio::test]
async fn another_protocol_is_not_taken_for_a_router() {
    for greeting in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b"\xff\xfb\x01", b"SSH-2.0-x\r\n\0"] {
        let other = connecting(&impatient(), |mut peer| async move {
            peer.say_bytes(greeting).await;
            peer
        })
        .await;
        let told = matches!(other, Err(ConnectError::Protocol(_) | ConnectError::Silent { .. }));
        assert!(told, "{other:?}");
    }
    let endless = connecting(&brisk(), |mut peer| async {
        peer.hear().await;
        for _ in 0..64 {
            let _ = peer.stream.write_all(&Sentence::re().to_bytes()).await;
        }
        peer
    })
    .await;
    assert!(matches!(endless, Err(ConnectError::Protocol(ProtocolError::Login))), "{endless:?}");
}

#[tokio::test]
async fn a_router_before_6_43_is_answered_with_the_hash() {
    for (form, first_has_password) in [(LoginForm::Either, true), (LoginForm::Challenge, false)] {
        let options = Options { login: form, ..brisk() };
        let session = connecting(&options, |mut peer| async move {
            let login = peer.hear().await;
            assert_eq!(login.attribute("password").is_some(), first_has_password);
            answer(&mut peer, &login, &[Sentence::done().with("ret", CHALLENGE)]).await;
            let login = peer.hear().await;
            let expected = challenge_response(b"s3cret", CHALLENGE.as_bytes()).unwrap();
            assert_eq!(login.attribute("response"), Some(expected.as_bytes()));
            assert_eq!(login.attribute("name"), Some(b"nms".as_slice()));
            assert_eq!(login.attribute("password"), None);
            answer(&mut peer, &login, &[Sentence::done()]).await;
            peer
        })
        .await;
        assert!(session.is_ok(), "{session:?}");
    }
}

#[tokio::test]
async fn the_old_login_is_not_spoken_when_only_the_new_is_wanted() {
    let options = Options { login: LoginForm::Password, ..brisk() };
    let rejected = connecting(&options, |mut peer| async {
        let login = peer.hear().await;
        answer(&mut peer, &login, &[Sentence::done().with("ret", CHALLENGE)]).await;
        peer
    })
    .await;
    assert!(matches!(rejected, Err(ConnectError::LoginRejected { .. })), "{rejected:?}");
}

#[tokio::test]
async fn a_challenge_that_is_none_is_a_broken_protocol() {
    for challenge in ["xyz", "abc", &"00".repeat(100)] {
        let broken = connecting(&brisk(), |mut peer| async {
            let login = peer.hear().await;
            answer(&mut peer, &login, &[Sentence::done().with("ret", challenge)]).await;
            peer
        })
        .await;
        assert!(matches!(broken, Err(ConnectError::Protocol(ProtocolError::Challenge(_)))), "{broken:?}");
    }
}

#[tokio::test]
async fn the_source_address_is_ours_to_choose_and_ours_to_get_wrong() {
    let (listener, address) = listening().await;
    let source = Some("127.0.0.2:0".parse().unwrap());
    let (credentials, options) = (nms(), brisk());
    let (session, from) = tokio::join!(Session::connect(address, source, &credentials, &options), async {
        let mut peer = accept(&listener).await;
        let from = peer.stream.peer_addr().unwrap().ip().to_string();
        peer.welcome().await;
        from
    });
    assert!(session.is_ok());
    assert_eq!(from, "127.0.0.2");
    // An address for documentation: nobody has it. Source: RFC 5737.
    let foreign = Some("192.0.2.1:0".parse().unwrap());
    let wrong = Session::connect(address, foreign, &nms(), &brisk()).await;
    assert!(matches!(wrong, Err(ConnectError::Ours { .. })), "{wrong:?}");
}

/// A router's key pair, and a server that speaks TLS with it.
struct TlsRouter {
    pem: String,
    fingerprint: Fingerprint,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl TlsRouter {
    fn named(name: &str) -> Self {
        let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let fingerprint = Fingerprint::of(key.cert.der());
        Self { pem: key.cert.pem(), fingerprint, acceptor: std::sync::Arc::new(config).into() }
    }

    async fn met_with(&self, tls: Tls) -> Result<Session, ConnectError> {
        let (listener, address) = listening().await;
        let (credentials, options) = (nms(), Options { tls: Some(tls), ..brisk() });
        let (session, ()) = tokio::join!(
            async {
                let session = Session::connect(address, None, &credentials, &options).await?;
                let print = Command::new("/system/identity/print");
                assert!(session.call(&print, SOON).await.is_ok());
                Ok(session)
            },
            async {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = self.acceptor.accept(stream).await else { return };
                let mut peer = Peer::new(stream);
                let Some(login) = peer.hear_or_end().await else { return };
                peer.done(&login).await;
                let asked = peer.hear().await;
                peer.done(&asked).await;
            }
        );
        session
    }
}

#[tokio::test]
async fn a_router_with_the_right_certificate_is_trusted_and_another_is_not() {
    let (right, wrong) = (TlsRouter::named("router.example"), TlsRouter::named("router.example"));
    let (pem, name) = (right.pem.as_bytes(), Some("router.example"));
    assert!(right.met_with(Tls::signed_by(pem, name).unwrap()).await.is_ok());
    assert!(right.met_with(Tls::pinned(pem).unwrap()).await.is_ok());
    assert!(right.met_with(Tls::insecure().unwrap()).await.is_ok());

    let refusals = [
        (&wrong, Tls::signed_by(pem, name).unwrap(), "another key under the same name"),
        (&wrong, Tls::pinned(pem).unwrap(), "another certificate than the pinned one"),
        (&right, Tls::signed_by(pem, Some("other.example")).unwrap(), "the right key, another name"),
        (&right, Tls::signed_by(pem, None).unwrap(), "a certificate without the address"),
    ];
    for (router, tls, case) in refusals {
        let refused = router.met_with(tls).await;
        let Err(ConnectError::Certificate(why)) = refused else { panic!("{case}: {refused:?}") };
        assert_eq!(why.shown(), router.fingerprint, "{case}");
    }
    let by_address = TlsRouter::named("127.0.0.1");
    assert!(by_address.met_with(Tls::signed_by(by_address.pem.as_bytes(), None).unwrap()).await.is_ok());
}

/// What the operator needs to decide is in the error: the certificate that was pinned and the one that was shown.
#[tokio::test]
async fn a_pinned_fingerprint_is_taken_and_a_changed_one_names_both() {
    let (before, after) = (TlsRouter::named("router"), TlsRouter::named("router"));
    assert!(before.met_with(Tls::known_by(before.fingerprint).unwrap()).await.is_ok());
    let Err(ConnectError::Certificate(why)) =
        after.met_with(Tls::known_by(before.fingerprint).unwrap()).await
    else {
        panic!("it was let in");
    };
    assert_eq!(why, Unvouched::Changed { pinned: before.fingerprint, shown: after.fingerprint });
    let words = why.to_string();
    assert!(
        words.contains(&before.fingerprint.to_string()) && words.contains(&after.fingerprint.to_string())
    );
    let Err(ConnectError::Certificate(why)) = after.met_with(Tls::nobody().unwrap()).await else {
        panic!("it was let in");
    };
    assert_eq!(why, Unvouched::Unknown { shown: after.fingerprint });
}

/// A session under other trust is begun anew, one under the same goes on.
#[test]
fn two_that_trust_the_same_are_equal() {
    let (one, other) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
    assert_eq!(Tls::known_by(one).unwrap(), Tls::known_by(one).unwrap());
    assert_ne!(Tls::known_by(one).unwrap(), Tls::known_by(other).unwrap());
    assert_ne!(Tls::known_by(one).unwrap(), Tls::nobody().unwrap());
    assert_ne!(Tls::insecure().unwrap(), Tls::nobody().unwrap());
}

#[tokio::test]
async fn tls_that_never_comes_about_is_told() {
    let tls = Some(Tls::insecure().unwrap());
    let silent = connecting(&Options { tls: tls.clone(), ..impatient() }, |peer| async { peer }).await;
    assert!(matches!(silent, Err(ConnectError::Silent { during: Phase::Tls, .. })), "{silent:?}");
    let plain = connecting(&Options { tls, ..brisk() }, |mut peer| async {
        peer.say(&Sentence::fatal("not logged in")).await;
        peer
    })
    .await;
    assert!(matches!(plain, Err(ConnectError::Tls { .. })), "{plain:?}");
}

#[test]
fn what_is_no_certificate_is_refused() {
    assert!(Tls::pinned(b"").is_err());
    assert!(Tls::pinned(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").is_err());
    let router = TlsRouter::named("router.example");
    assert!(Tls::signed_by(router.pem.as_bytes(), Some("not a name")).is_err());
}
