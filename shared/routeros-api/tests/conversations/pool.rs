//! What a pooled router promises: one session for all, and patience.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::peer::{A_MOMENT, Peer, SOON, accept, brisk, listening, nms, refusing};
use futures::future::join_all;
use routeros_api::pool::Circuit;
use routeros_api::question::{Identity, Ping};
use routeros_api::session::Lost;
use routeros_api::wire::Sentence;
use routeros_api::{CallError, Command, ConnectError, Options, Policy, Pool, Router, RouterError, Target};
use tokio::net::TcpListener;

fn target(address: SocketAddr) -> Target {
    Target { address, source: None, credentials: nms(), options: brisk() }
}

fn quick() -> Policy {
    Policy { wait_min: Duration::from_millis(40), wait_max: Duration::from_secs(1), ..Policy::default() }
}

fn print() -> Command {
    Command::new("/interface/print")
}

/// Lets everyone in and answers every command after `delay`; tells how much it had to do at once.
async fn serve(listener: TcpListener, delay: Duration, most_at_once: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let most_at_once = Arc::clone(&most_at_once);
        tokio::spawn(async move {
            let (mut peer, mut waiting) = (Peer::new(stream), Vec::new());
            peer.welcome().await;
            loop {
                tokio::select! {
                    // Everything that has come is taken before anything is answered.
                    biased;
                    heard = peer.hear_or_end() => match heard {
                        Some(asked) => waiting.push(asked),
                        None => return,
                    },
                    () = tokio::time::sleep(delay), if !waiting.is_empty() => {
                        most_at_once.fetch_max(waiting.len(), Ordering::Relaxed);
                        peer.done(&waiting.remove(0)).await;
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn everyone_shares_one_login_and_no_more_than_eight_are_served_at_once() {
    let (listener, address) = listening().await;
    let most_at_once = Arc::new(AtomicUsize::new(0));
    tokio::spawn(serve(listener, Duration::from_millis(2), Arc::clone(&most_at_once)));
    let router = Router::new(target(address), Policy::default());
    assert_eq!(router.standing().attempts_count, 0, "nothing is done before it is asked");
    let replies = join_all((0..100).map(|_| {
        let router = router.clone();
        async move { router.call(&print(), SOON).await }
    }))
    .await;
    assert!(replies.iter().all(Result::is_ok));
    let standing = router.standing();
    assert!(standing.is_connected);
    assert_eq!((standing.logins_count, standing.attempts_count), (1, 1));
    assert_eq!(most_at_once.load(Ordering::Relaxed), 8);
}

#[tokio::test]
async fn a_session_that_is_cut_means_one_more_login_and_no_lost_question() {
    let (listener, address) = listening().await;
    let router = Router::new(target(address), quick());
    let command = print();
    let asking = join_all((0..5).map(|_| router.call(&command, SOON)));
    let (replies, ()) = tokio::join!(asking, async {
        let mut peer = accept(&listener).await;
        peer.welcome().await;
        for _ in 0..5 {
            peer.hear().await;
        }
        drop(peer);
        let mut peer = accept(&listener).await;
        peer.welcome().await;
        for _ in 0..5 {
            let asked = peer.hear().await;
            peer.done(&asked).await;
        }
    });
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    assert_eq!(router.standing().logins_count, 2);
}

#[tokio::test]
async fn what_changes_a_router_is_not_said_twice() {
    let (listener, address) = listening().await;
    let router = Router::new(target(address), quick());
    let remove = Command::new("/ppp/active/remove").with(".id", "*1");
    let (reply, ()) = tokio::join!(router.call(&remove, SOON), async {
        let mut peer = accept(&listener).await;
        peer.welcome().await;
        peer.hear().await;
    });
    let lost = CallError::Lost { why: Lost::Closed, sent: true };
    assert!(matches!(&reply, Err(RouterError::Call(error)) if *error == lost), "{reply:?}");
    assert_eq!(router.standing().attempts_count, 1);
}

#[tokio::test]
async fn after_some_failures_nothing_is_tried_for_a_while_and_a_knock_tries_at_once() {
    let patient = Policy { wait_min: Duration::from_secs(20), wait_max: SOON * 9, ..quick() };
    let policies = [(quick(), 3), (patient, 1)];
    for (policy, attempts) in policies {
        let (closed, address) = refusing();
        let router = Router::new(target(address), policy);
        let mut failures = 0;
        let (retry_in, why) = loop {
            match router.call(&print(), SOON).await {
                Err(RouterError::Connect(error)) => {
                    assert!(matches!(*error, ConnectError::Refused));
                    failures += 1;
                }
                Err(RouterError::NotTried { retry_in, why }) => break (retry_in, why),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((failures, router.standing().attempts_count), (attempts, attempts));
        assert!(retry_in <= policy.wait_max);
        assert!(why.to_string().contains("refused"));

        assert!(matches!(router.knock(SOON).await, Err(RouterError::Connect(_))));
        assert_eq!(router.standing().attempts_count, attempts + 1);
        tokio::spawn(serve(closed.listen(8).unwrap(), Duration::ZERO, Arc::default()));
        assert!(router.knock(SOON).await.is_ok());
        assert!(router.call(&print(), SOON).await.is_ok(), "it is there for everyone now");
    }
}

/// Many ask at the moment when the wait is over: the circuit is half-open for one attempt, whatever comes of it.
#[tokio::test]
async fn half_open_lets_exactly_one_attempt_through_however_many_ask() {
    let (closed, address) = refusing();
    let wait = Duration::from_millis(400);
    let policy = Policy { wait_min: wait, wait_max: wait, ..quick() };
    let router = Router::new(target(address), policy);
    while router.standing().circuit != Circuit::Open {
        assert!(router.call(&print(), SOON).await.is_err());
    }
    let before = router.standing().attempts_count;
    tokio::time::sleep(wait).await;
    let command = print();
    let replies = join_all((0..50).map(|_| router.call(&command, SOON))).await;
    assert!(replies.iter().all(|reply| matches!(reply, Err(RouterError::Connect(_)))), "{replies:?}");
    assert_eq!((router.standing().attempts_count, router.standing().circuit), (before + 1, Circuit::Open));
    assert!(matches!(router.call(&command, SOON).await, Err(RouterError::NotTried { .. })));

    tokio::time::sleep(wait).await;
    tokio::spawn(serve(closed.listen(8).unwrap(), Duration::from_millis(1), Arc::default()));
    let replies = join_all((0..50).map(|_| router.call(&command, SOON))).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    let standing = router.standing();
    assert_eq!((standing.attempts_count, standing.logins_count), (before + 2, 1));
    assert_eq!(standing.circuit, Circuit::Closed);
}

#[tokio::test]
async fn while_the_one_attempt_is_under_way_the_circuit_is_half_open() {
    let (listener, address) = listening().await;
    let policy = Policy { opens_after_failures: 1, ..quick() };
    let router = Router::new(target(address), policy);
    let command = print();
    let (refused, ()) = tokio::join!(router.call(&command, SOON), async { drop(accept(&listener).await) });
    assert!(matches!(refused, Err(RouterError::Connect(_))), "{refused:?}");
    assert_eq!(router.standing().circuit, Circuit::Open);
    let (known, ()) = tokio::join!(router.knock(SOON), async {
        let mut peer = accept(&listener).await;
        assert_eq!(router.standing().circuit, Circuit::HalfOpen);
        peer.welcome().await;
        let asked = peer.hear().await;
        assert_eq!(router.standing().circuit, Circuit::Closed);
        peer.done(&asked).await;
    });
    assert!(known.is_ok());
}

#[tokio::test]
async fn the_wait_between_attempts_is_kept_even_when_many_ask() {
    let (_closed, address) = refusing();
    let policy = Policy { wait_min: Duration::from_millis(200), ..quick() };
    let router = Router::new(target(address), policy);
    assert!(matches!(router.call(&print(), SOON).await, Err(RouterError::Connect(_))));
    let began = Instant::now();
    let command = print();
    let replies = join_all((0..50).map(|_| router.call(&command, SOON))).await;
    assert!(began.elapsed() >= Duration::from_millis(95), "half of the wait at least");
    assert!(replies.iter().all(|reply| matches!(reply, Err(RouterError::Connect(_)))));
    assert_eq!(router.standing().attempts_count, 2);
}

#[tokio::test]
async fn a_rejected_login_is_not_repeated() {
    let (listener, address) = listening().await;
    let router = Router::new(target(address), quick());
    let command = print();
    let (reply, ()) = tokio::join!(router.call(&command, SOON), async {
        let mut peer = accept(&listener).await;
        let login = peer.hear().await;
        peer.say(&Sentence::trap(None, "invalid user name or password (6)").tagged(login.tag())).await;
        peer.done(&login).await;
    });
    let rejected = |error: &ConnectError| matches!(error, ConnectError::LoginRejected { .. });
    assert!(matches!(&reply, Err(RouterError::Connect(error)) if rejected(error)), "{reply:?}");
    let again = router.call(&command, SOON).await;
    let Err(RouterError::NotTried { retry_in, .. }) = again else { panic!("{again:?}") };
    assert!(retry_in > Duration::from_secs(290));
    assert_eq!((router.standing().attempts_count, router.standing().logins_count), (1, 0));
}

#[tokio::test]
async fn an_attempt_goes_on_for_the_next_when_nobody_waits_any_more() {
    let (listener, address) = listening().await;
    let router = Router::new(target(address), quick());
    let impatient = router.call(&print(), A_MOMENT).await;
    assert!(matches!(impatient, Err(RouterError::StillConnecting { .. })), "{impatient:?}");
    let mut peer = accept(&listener).await;
    peer.welcome().await;
    let command = print();
    let (reply, ()) = tokio::join!(router.call(&command, SOON), async {
        let asked = peer.hear().await;
        peer.done(&asked).await;
    });
    assert!(reply.is_ok());
    assert_eq!(router.standing().attempts_count, 1);
}

#[tokio::test]
async fn a_router_that_lets_us_in_and_hangs_up_each_time_is_not_stormed() {
    let (listener, address) = listening().await;
    let logins = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&logins);
    tokio::spawn(async move {
        loop {
            let mut peer = accept(&listener).await;
            peer.welcome().await;
            counted.fetch_add(1, Ordering::Relaxed);
            peer.hear_or_end().await;
        }
    });
    let policy = Policy { wait_min: Duration::from_secs(5), wait_max: SOON, ..quick() };
    let router = Router::new(target(address), policy);
    for _ in 0..50 {
        assert!(router.call(&print(), Duration::from_secs(1)).await.is_err());
    }
    assert_eq!(logins.load(Ordering::Relaxed), 2, "one cut is forgiven");
    let resting = router.call(&print(), Duration::from_secs(1)).await;
    assert!(matches!(resting, Err(RouterError::NotTried { .. })), "{resting:?}");
}

#[tokio::test]
async fn a_standing_session_that_falls_silent_is_found_out_and_replaced() {
    let (listener, address) = listening().await;
    let options = Options { silent_after: Duration::from_millis(80), ..brisk() };
    let router = Router::new(Target { options, ..target(address) }, quick());
    let command = print();
    let (reply, _dead) = tokio::join!(router.call(&command, A_MOMENT * 4), async {
        let mut peer = accept(&listener).await;
        peer.welcome().await;
        peer.hear().await;
        peer
    });
    assert!(matches!(reply, Err(RouterError::Call(CallError::TimedOut { .. }))), "{reply:?}");
    let (knocked, ()) = tokio::join!(router.knock(SOON), async {
        let mut peer = accept(&listener).await;
        peer.welcome().await;
        let asked = peer.hear().await;
        assert_eq!(asked.first(), b"/system/identity/print");
        peer.say(&Sentence::trap(None, "not enough permissions (9)").tagged(asked.tag())).await;
        peer.done(&asked).await;
    });
    assert!(knocked.is_ok(), "a refusal is an answer: {knocked:?}");
    assert_eq!(router.standing().logins_count, 2);
}

#[tokio::test]
async fn questions_are_asked_as_this_router_understands_them() {
    let (listener, address) = listening().await;
    let router = Router::new(target(address), quick());
    let ping = Ping::new("10.0.0.7".parse().unwrap(), NonZeroU16::MIN, Duration::from_millis(50)).unwrap();
    let (answers, ()) =
        tokio::join!(async { (router.ask(&ping, SOON).await, router.ask(&Identity, SOON).await) }, async {
            let mut peer = accept(&listener).await;
            peer.welcome().await;
            let asked = peer.hear().await;
            assert_eq!(asked.first(), b"/ping");
            peer.say(&Sentence::trap(Some(0), "no such command").tagged(asked.tag())).await;
            peer.done(&asked).await;
            let asked = peer.hear().await;
            assert_eq!(
                (asked.first(), asked.attribute("count")),
                (b"/tool/ping".as_slice(), Some(b"1".as_slice()))
            );
            let row = Sentence::re().with("time", "453us").with("sent", "1").with("received", "1");
            peer.say(&row.tagged(asked.tag())).await;
            peer.done(&asked).await;
            let asked = peer.hear().await;
            peer.done(&asked).await;
        });
    assert_eq!(answers.0.unwrap().received_count, 1);
    assert!(matches!(answers.1, Err(RouterError::Unreadable(_))), "a router has a name");
}

#[tokio::test]
async fn a_pool_knows_its_routers_by_key_and_begins_anew_when_the_target_changed() {
    let (listener, address) = listening().await;
    tokio::spawn(serve(listener, Duration::ZERO, Arc::default()));
    let pool = Pool::new(quick());
    let first = pool.router("core-1", &target(address));
    first.call(&print(), SOON).await.unwrap();
    assert!(pool.router("core-1", &target(address)).standing().is_connected, "the same one");
    assert_eq!((pool.len(), pool.logins_count()), (1, 1));

    let moved = Target { source: Some("127.0.0.1:0".parse().unwrap()), ..target(address) };
    let second = pool.router("core-1", &moved);
    assert!(matches!(first.call(&print(), SOON).await, Err(RouterError::Closed)));
    assert!(second.call(&print(), SOON).await.is_ok());

    pool.retain(|key| *key != "core-1");
    assert!(pool.is_empty() && pool.get(&"core-1").is_none());
    assert!(matches!(second.knock(SOON).await, Err(RouterError::Closed)));
}

#[tokio::test]
async fn the_session_ends_with_the_last_handle() {
    let (listener, address) = listening().await;
    let router = Router::new(target(address), quick());
    let command = print();
    let (reply, mut peer) = tokio::join!(router.call(&command, SOON), async {
        let mut peer = accept(&listener).await;
        peer.welcome().await;
        let asked = peer.hear().await;
        peer.done(&asked).await;
        peer
    });
    assert!(reply.is_ok());
    drop(router);
    assert!(peer.hear_or_end().await.is_none());
}
