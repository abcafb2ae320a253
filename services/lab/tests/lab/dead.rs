//! A router that is dead answers nothing, whoever asks and however.

use std::sync::Arc;
use std::time::Duration;

use lab::Lab;
use lab::router::Manner;
use routeros_api::session::{Options, Session};
use routeros_api::{CallError, Command, ConnectError, Credentials};
use tokio::net::TcpStream;

use crate::isp::{CORE, Client, PATIENCE, TOWER, fast, node, started};

const SILENCE: Duration = Duration::from_millis(700);

async fn tcp_connects(lab: &Lab, router: lab::network::RouterIndex) -> bool {
    match tokio::time::timeout(SILENCE, TcpStream::connect(lab.api_address(router))).await {
        Ok(connected) => {
            connected.expect("a dead router refuses nothing either");
            true
        }
        Err(_) => false,
    }
}

async fn session(lab: &Lab, within: Duration) -> Result<Session, ConnectError> {
    let options = Options { connect_within: within, ..Options::default() };
    Session::connect(lab.api_address(CORE), None, &Credentials::new("nms", "s3cret"), &options).await
}

async fn until_dead(lab: &Arc<Lab>) {
    // The door turns a moment after the world does.
    let dead = async { while tcp_connects(lab, CORE).await {} };
    tokio::time::timeout(PATIENCE, dead).await.expect("the door should be dead by now");
}

#[tokio::test]
async fn a_dead_router_lets_every_probe_run_out_and_a_mended_one_answers() {
    let lab = started(fast(None)).await;
    for _ in 0..3 {
        assert!(tcp_connects(&lab, CORE).await);
        let before = session(&lab, PATIENCE).await.unwrap();
        lab.set_broken(&[node(&lab, "core")], true);
        until_dead(&lab).await;
        assert!(!tcp_connects(&lab, CORE).await);
        assert!(!tcp_connects(&lab, TOWER).await, "what hangs below is out of reach as well");
        let error = session(&lab, SILENCE).await.unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
        let asked = before.call(&Command::new("/system/identity/print"), SILENCE).await;
        assert!(matches!(asked, Err(CallError::TimedOut { .. })), "{asked:?}");

        lab.set_broken(&[node(&lab, "core")], false);
        let after = session(&lab, PATIENCE).await.unwrap();
        let reply = after.call(&Command::new("/system/resource/print"), PATIENCE).await.unwrap();
        assert!(!reply.rows[0].text("uptime").unwrap().contains('d'), "it has just started");
        let lost = tokio::time::timeout(PATIENCE, before.ended()).await;
        lost.expect("the router that started anew resets what it does not know");
    }
    lab.stop().await;
}

#[tokio::test]
async fn a_session_that_was_only_cut_off_goes_on_when_the_link_is_mended() {
    let lab = started(fast(None)).await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    lab.set_broken(&[node(&lab, "link")], true);
    client.say(&["/system/identity/print", ".tag=1"]).await;
    let heard = tokio::time::timeout(SILENCE, client.next()).await;
    assert!(heard.is_err(), "not even an end is heard: {heard:?}");
    lab.set_broken(&[node(&lab, "link")], false);
    assert_eq!(client.hear().await.unwrap().attribute("name"), Some(b"tower".as_slice()));
    lab.stop().await;
}

/// Half dead is not dead: the connection is taken, and what comes over it is too little, or nothing.
#[tokio::test]
async fn an_api_that_is_half_dead_breaks_off_or_says_too_little_and_a_mended_one_answers() {
    let lab = started(fast(None)).await;
    let is = |manner: Manner| lab.with(|state| state.router(CORE).manner = manner);
    let print = Command::new("/system/identity/print");
    for manner in [Manner::Trickles, Manner::BreaksOff, Manner::Mute] {
        is(Manner::Well);
        let before = session(&lab, PATIENCE).await.unwrap();
        assert!(before.call(&print, PATIENCE).await.is_ok());
        is(manner);
        let asked = before.call(&print, SILENCE).await.unwrap_err();
        let error = session(&lab, SILENCE).await.unwrap_err();
        let is_late = matches!(asked, CallError::TimedOut { .. });
        let is_silent = matches!(error, ConnectError::TimedOut { .. } | ConnectError::Silent { .. });
        let breaks_off = manner == Manner::BreaksOff;
        assert_eq!((is_late, is_silent), (!breaks_off, !breaks_off), "{manner:?}: {asked:?}, {error:?}");
        if breaks_off {
            tokio::time::timeout(PATIENCE, before.ended()).await.expect("the connection is over");
        }
    }
    is(Manner::Well);
    assert!(session(&lab, PATIENCE).await.unwrap().call(&print, PATIENCE).await.is_ok());
    lab.stop().await;
}
