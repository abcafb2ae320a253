//! What a session promises, against a router that a test plays.

use std::time::{Duration, Instant};

use crate::peer::{A_MOMENT, Peer, SOON, accept, brisk, listening, nms, session};
use routeros_api::session::Lost;
use routeros_api::wire::Sentence;
use routeros_api::{CallError, Command, Options, Row, Session};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

fn print(menu: &str) -> Command {
    Command::new(&format!("{menu}/print"))
}

fn names(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.text("name").unwrap_or_default().into_owned()).collect()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_golden_transcript_is_spoken() {
    let (listener, address) = listening().await;
    let tag = |tag: &'static str| Some(tag.as_bytes());
    let row = Sentence::re().with(".id", "*1B").with("list", "suspended").with("address", "10.7.3.4");
    let row = row.with("dynamic", "false").with("disabled", "false");
    let row = row.with("creation-time", "2026-11-20 09:12:33");
    let resource = Sentence::re().with("version", "7.16.2 (stable)").with("uptime", "2d3h4m5s");
    let lists = "/ip/firewall/address-list";
    let remove = Sentence::new(format!("{lists}/remove")).with(".id", "*1B");
    let prefix = Sentence::trap(Some(0), "no such command prefix");
    let script = vec![
        (Sentence::new("/login").with("name", "nms").with("password", "s3cret"), vec![Sentence::done()]),
        (
            Sentence::new("/system/resource/print").with(".proplist", "version,uptime,cpu-load"),
            vec![resource.with("cpu-load", "7"), Sentence::done()],
        ),
        (
            Sentence::new(format!("{lists}/add"))
                .with("list", "suspended")
                .with("address", "10.7.3.4")
                .flag("comment"),
            vec![Sentence::done().with("ret", "*1B")],
        ),
        (
            Sentence::new(format!("{lists}/print")).query("list=suspended").query("address=10.7.3.4"),
            vec![row, Sentence::done()],
        ),
        (remove.clone(), vec![Sentence::done()]),
        (remove, vec![Sentence::trap(None, "no such item"), Sentence::done()]),
        (Sentence::new("/nosuch/print"), vec![prefix.clone(), Sentence::done()]),
        (Sentence::new("#"), vec![prefix, Sentence::done()]),
    ];
    let router = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        for (number, (expected, answers)) in script.into_iter().enumerate() {
            let number = (number + 1).to_string();
            assert_eq!(peer.hear().await, expected.tagged(Some(number.as_bytes())));
            for answer in answers {
                peer.say(&answer.tagged(Some(number.as_bytes()))).await;
            }
        }
        let quit = peer.hear().await;
        assert_eq!(quit, Sentence::new("/quit").tagged(tag("9")));
        peer.say(&Sentence::fatal("session terminated on request")).await;
    });

    let session = Session::connect(address, None, &nms(), &brisk()).await.unwrap();
    let resource = print("/system/resource").proplist(&["version", "uptime", "cpu-load"]);
    let reply = session.call(&resource, SOON).await.unwrap();
    assert_eq!(reply.rows[0].text("version").unwrap(), "7.16.2 (stable)");
    assert_eq!(reply.rows[0].get("cpu-load"), Some(b"7".as_slice()));

    let add = Command::new("/ip/firewall/address-list/add").with("list", "suspended");
    let add = add.with("address", "10.7.3.4").flag("comment");
    assert_eq!(session.call(&add, SOON).await.unwrap().ret(), Some(b"*1B".as_slice()));

    let find = print(lists).equal("list", "suspended").equal("address", "10.7.3.4");
    let found = session.call(&find, SOON).await.unwrap().rows;
    assert_eq!((found.len(), found[0].id().unwrap().as_ref()), (1, "*1B"));

    let remove = Command::new("/ip/firewall/address-list/remove").with(".id", "*1B");
    assert!(session.call(&remove, SOON).await.unwrap().rows.is_empty());
    let Err(CallError::Trap(trap)) = session.call(&remove, SOON).await else { panic!("it is gone") };
    assert!(trap.is_no_such_item() && trap.category.is_none());
    for unknown in ["/nosuch/print", "#"] {
        let Err(CallError::Trap(trap)) = session.call(&Command::new(unknown), SOON).await else {
            panic!("{unknown} is no command")
        };
        assert!(trap.is_no_such_command());
    }
    let fatal = Lost::Fatal { message: "session terminated on request".into() };
    let quit = session.call(&Command::new("/quit"), SOON).await;
    assert_eq!(quit, Err(CallError::Lost { why: fatal.clone(), sent: true }));
    assert_eq!(session.lost(), Some(fatal.clone()));
    let after = session.call(&print("/interface"), SOON).await;
    assert_eq!(after, Err(CallError::Lost { why: fatal, sent: false }));
    router.await.unwrap();
}

#[tokio::test]
async fn commands_do_not_wait_for_each_other_and_replies_may_interleave() {
    let (session, mut peer) = session(&brisk()).await;
    let ask = |menu: &'static str| {
        let session = session.clone();
        tokio::spawn(async move { session.call(&print(menu), SOON).await })
    };
    let first = ask("/slow");
    let slow = peer.hear().await;
    let second = ask("/quick");
    let quick = peer.hear().await;
    assert_eq!(session.in_flight_count(), 2);
    // The tag stands first in one reply and last in another: both occur.
    let tagged_first = |asked: &Sentence, name: &str| Sentence::re().tagged(asked.tag()).with("name", name);
    peer.say(&tagged_first(&slow, "s1")).await;
    peer.say(&tagged_first(&quick, "q1")).await;
    peer.say(&Sentence::re().with("name", "s2").tagged(slow.tag())).await;
    peer.done(&quick).await;
    assert_eq!(names(&second.await.unwrap().unwrap().rows), ["q1"]);
    peer.done(&slow).await;
    assert_eq!(names(&first.await.unwrap().unwrap().rows), ["s1", "s2"]);
    eventually("every place is free again", || session.in_flight_count() == 0).await;
}

#[tokio::test]
async fn an_answer_arrives_one_byte_at_a_time() {
    let (session, mut peer) = session(&brisk()).await;
    let command = print("/interface");
    let (reply, ()) = tokio::join!(session.call(&command, SOON), async {
        let asked = peer.hear().await;
        let long = Sentence::re().with("name", "n".repeat(300)).tagged(asked.tag());
        for sentence in [long, Sentence::done().tagged(asked.tag())] {
            for byte in sentence.to_bytes() {
                peer.say_bytes(&[byte]).await;
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(names(&reply.unwrap().rows), ["n".repeat(300)]);
}

#[tokio::test]
async fn no_rows_are_no_rows_in_every_version() {
    let (session, mut peer) = session(&brisk()).await;
    let command = print("/ppp/active");
    for says_empty in [false, true] {
        let (reply, ()) = tokio::join!(session.call(&command, SOON), async {
            let asked = peer.hear().await;
            if says_empty {
                peer.say(&Sentence::empty().tagged(asked.tag())).await;
            }
            peer.done(&asked).await;
        });
        assert!(reply.unwrap().rows.is_empty());
    }
}

#[tokio::test]
async fn a_reply_word_of_the_future_is_passed_over() {
    let (session, mut peer) = session(&brisk()).await;
    let command = print("/ppp/active");
    let (reply, ()) = tokio::join!(session.call(&command, SOON), async {
        let asked = peer.hear().await;
        peer.say(&Sentence::new("!progress").with("percent", "50").tagged(asked.tag())).await;
        peer.done(&asked).await;
    });
    assert!(reply.is_ok());
}

#[tokio::test]
async fn the_first_of_several_traps_is_told_and_a_row_after_the_end_is_passed_over() {
    let (session, mut peer) = session(&brisk()).await;
    let command = print("/x");
    let (reply, asked) = tokio::join!(session.call(&command, SOON), async {
        let asked = peer.hear().await;
        peer.say(&Sentence::trap(Some(1), "first").tagged(asked.tag())).await;
        peer.say(&Sentence::trap(Some(4), "second").tagged(asked.tag())).await;
        peer.done(&asked).await;
        asked
    });
    let Err(CallError::Trap(trap)) = reply else { panic!("{reply:?}") };
    assert_eq!(trap.message, "first");
    peer.say(&Sentence::re().with("name", "late").tagged(asked.tag())).await;
    let (reply, ()) = tokio::join!(session.call(&command, SOON), async {
        let asked = peer.hear().await;
        peer.done(&asked).await;
    });
    assert!(reply.is_ok());
}

/// Both orders of the two ends occur; in either the place becomes free, once.
#[tokio::test]
async fn a_command_that_runs_out_of_time_is_cancelled_and_keeps_its_place_until_it_ends() {
    let options = Options { in_flight_max: 1, ..brisk() };
    for canceller_ends_first in [true, false] {
        let (session, mut peer) = session(&options).await;
        let ping = Command::new("/ping").with("address", "10.0.0.1");
        let short = Duration::from_millis(30);
        assert_eq!(session.call(&ping, short).await, Err(CallError::TimedOut { after: short }));
        let asked = peer.hear().await;
        let cancel = peer.hear().await;
        assert_eq!(cancel.first(), b"/cancel");
        assert_eq!(cancel.attribute("tag"), asked.tag());
        assert_ne!(cancel.tag(), asked.tag());

        // The router has not ended it, so there is no room for another.
        assert_eq!(session.in_flight_count(), 1);
        assert_eq!(session.call(&print("/x"), short).await, Err(CallError::Busy { after: short }));

        peer.say(&Sentence::trap(Some(2), "interrupted").tagged(asked.tag())).await;
        let mut ends = [&cancel, &asked];
        if !canceller_ends_first {
            ends.reverse();
        }
        for end in ends {
            peer.done(end).await;
        }
        let command = print("/x");
        let (reply, ()) = tokio::join!(session.call(&command, SOON), async {
            let asked = peer.hear().await;
            assert_eq!(asked.first(), b"/x/print");
            peer.done(&asked).await;
        });
        assert!(reply.is_ok());
        assert_eq!(session.lost(), None);
    }
}

#[tokio::test]
async fn a_caller_that_walks_away_cancels_its_command() {
    let (session, mut peer) = session(&brisk()).await;
    let asking = tokio::spawn({
        let session = session.clone();
        async move { session.call(&print("/slow"), SOON).await }
    });
    let asked = peer.hear().await;
    asking.abort();
    let cancel = peer.hear().await;
    assert_eq!(cancel.attribute("tag"), asked.tag());
}

#[tokio::test]
async fn listening_hands_out_changes_as_they_come_until_it_is_dropped() {
    let (session, mut peer) = session(&brisk()).await;
    let mut rows = session.listen(&Command::new("/ppp/active/listen")).await.unwrap();
    let asked = peer.hear().await;
    peer.say(&Sentence::re().with(".id", "*1").with("name", "a").tagged(asked.tag())).await;
    let first = rows.next().await.unwrap().unwrap();
    assert_eq!((first.text("name").unwrap().as_ref(), first.is_dead()), ("a", false));
    assert!(timeout(A_MOMENT, rows.next()).await.is_err(), "listening never ends by itself");
    peer.say(&Sentence::re().with(".id", "*1").with(".dead", "true").tagged(asked.tag())).await;
    assert!(rows.next().await.unwrap().unwrap().is_dead());
    drop(rows);
    let cancel = peer.hear().await;
    assert_eq!(cancel.attribute("tag"), asked.tag());
    peer.done(&cancel).await;
    eventually("the place is free again", || session.in_flight_count() == 0).await;
}

#[tokio::test]
async fn a_router_that_stops_a_listener_is_heard() {
    let (session, mut peer) = session(&brisk()).await;
    let mut rows = session.listen(&Command::new("/log/listen")).await.unwrap();
    let asked = peer.hear().await;
    peer.say(&Sentence::trap(Some(2), "interrupted").tagged(asked.tag())).await;
    peer.done(&asked).await;
    let Some(Err(CallError::Trap(trap))) = rows.next().await else { panic!("it was interrupted") };
    assert!(trap.is_interrupted());
    assert!(rows.next().await.is_none());
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_and_the_rest_goes_on() {
    let options = Options { reply_rows_max: 10, ..brisk() };
    let (session, mut peer) = session(&options).await;
    let command = print("/flood");
    let (reply, asked) = tokio::join!(session.call(&command, SOON), async {
        let asked = peer.hear().await;
        for _ in 0..50 {
            peer.say(&Sentence::re().with("name", "x").tagged(asked.tag())).await;
        }
        asked
    });
    assert!(matches!(reply, Err(CallError::TooMuch { rows_max: 10, .. })), "{reply:?}");
    assert_eq!(session.held_bytes(), 0);
    let cancel = peer.hear().await;
    assert_eq!(cancel.attribute("tag"), asked.tag());
    peer.done(&asked).await;
    peer.done(&cancel).await;
    let command = print("/small");
    let (reply, ()) = tokio::join!(session.call(&command, SOON), async {
        let asked = peer.hear().await;
        peer.done(&asked).await;
    });
    assert!(reply.is_ok());
}

#[tokio::test]
async fn bytes_are_limited_for_each_answer_and_for_all_together() {
    let options = Options { reply_bytes_max: 40_000, session_bytes_max: 60_000, ..brisk() };
    let (session, mut peer) = session(&options).await;
    let mut listeners = Vec::new();
    for _ in 0..2 {
        listeners.push(session.listen(&Command::new("/log/listen")).await.unwrap());
    }
    let asked = [peer.hear().await, peer.hear().await];
    for asked in &asked {
        for _ in 0..3 {
            peer.say(&Sentence::re().with("message", "m".repeat(10_000)).tagged(asked.tag())).await;
        }
    }
    // The second listener's third row is beyond what the session may hold.
    let cancel = peer.hear().await;
    assert_eq!(cancel.attribute("tag"), asked[1].tag());
    assert!(session.held_bytes() <= 60_000);
    let [first, second] = listeners.as_mut_slice() else { unreachable!("two were begun") };
    let error = second.next().await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::TooMuch { bytes_max: 60_000, .. }), "{error:?}");
    for _ in 0..3 {
        assert!(first.next().await.unwrap().is_ok());
    }
    assert_eq!(session.held_bytes(), 0);
}

#[tokio::test]
async fn unread_rows_are_given_back_when_nobody_wants_them() {
    let (session, mut peer) = session(&brisk()).await;
    let rows = session.listen(&Command::new("/log/listen")).await.unwrap();
    let asked = peer.hear().await;
    peer.say(&Sentence::re().with("message", "m".repeat(10_000)).tagged(asked.tag())).await;
    eventually("the row is held", || session.held_bytes() > 10_000).await;
    drop(rows);
    eventually("the row is given back", || session.held_bytes() == 0).await;
}

#[tokio::test]
async fn everyone_is_told_when_the_connection_is_cut_in_the_middle_of_a_reply() {
    let (session, mut peer) = session(&brisk()).await;
    let command = print("/x");
    let (first, second, ()) =
        tokio::join!(session.call(&command, SOON), session.call(&command, SOON), async {
            let asked = peer.hear().await;
            let bytes = Sentence::re().with("name", "half").tagged(asked.tag()).to_bytes();
            peer.say_bytes(&bytes[..bytes.len() / 2]).await;
            peer.stream.shutdown().await.unwrap();
        });
    let lost = Err(CallError::Lost { why: Lost::Closed, sent: true });
    assert_eq!((first, second), (lost.clone(), lost));
    assert_eq!(timeout(SOON, session.ended()).await, Ok(Lost::Closed));
}

#[tokio::test]
async fn a_router_that_owes_the_end_of_a_cancelled_command_is_found_silent() {
    let options = Options { silent_after: Duration::from_millis(100), ..brisk() };
    let (session, mut peer) = session(&options).await;
    let short = Duration::from_millis(20);
    assert!(matches!(session.call(&print("/x"), short).await, Err(CallError::TimedOut { .. })));
    assert_eq!(session.lost(), None, "a slow answer alone is no proof");
    assert_eq!(timeout(SOON, session.ended()).await, Ok(Lost::Silent));
    let mut said = Vec::new();
    while let Some(sentence) = peer.hear_or_end().await {
        said.push(sentence.first().to_vec());
    }
    assert_eq!(said, [b"/x/print".to_vec(), b"/cancel".to_vec()], "then we hang up");
}

#[tokio::test]
async fn a_quiet_session_is_asked_whether_it_lives() {
    let options = Options {
        keep_alive: Duration::from_millis(60),
        silent_after: Duration::from_millis(150),
        ..brisk()
    };
    let (session, mut peer) = session(&options).await;
    for _ in 0..3 {
        let asked = peer.hear().await;
        assert_eq!(asked.first(), b"/system/identity/print");
        // A refusal is a sign of life as good as any.
        peer.say(&Sentence::trap(None, "not enough permissions (9)").tagged(asked.tag())).await;
        peer.done(&asked).await;
    }
    assert_eq!((session.lost(), session.in_flight_count()), (None, 0));
    assert_eq!(peer.hear().await.first(), b"/system/identity/print");
    assert_eq!(timeout(SOON, session.ended()).await, Ok(Lost::Silent));
}

#[tokio::test]
async fn dripping_bytes_without_ever_answering_does_not_keep_a_session() {
    let options = Options {
        keep_alive: Duration::from_millis(60),
        silent_after: Duration::from_millis(100),
        ..brisk()
    };
    let (session, mut peer) = session(&options).await;
    let dripping = tokio::spawn(async move {
        // One endless word, a byte at a time.
        let _ = peer.stream.write_all(&[0xc0, 0xff, 0xff]).await;
        while peer.stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(timeout(SOON, session.ended()).await, Ok(Lost::Silent));
    timeout(SOON, dripping).await.expect("we hang up").unwrap();
}

#[tokio::test]
async fn a_peer_that_speaks_but_never_ends_what_it_owes_is_given_up() {
    let options = Options { silent_after: Duration::from_millis(50), ..brisk() };
    let (session, mut peer) = session(&options).await;
    let short = Duration::from_millis(20);
    let _listening = session.listen(&Command::new("/log/listen")).await.unwrap();
    let asked = peer.hear().await;
    assert!(matches!(session.call(&print("/x"), short).await, Err(CallError::TimedOut { .. })));
    let row = Sentence::re().with("message", "chatter").tagged(asked.tag()).to_bytes();
    let chatter = tokio::spawn(async move {
        while peer.stream.write_all(&row).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(timeout(SOON, session.ended()).await, Ok(Lost::Silent));
    timeout(SOON, chatter).await.expect("we hang up").unwrap();
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_left() {
    let cases: [(&[u8], &str); 6] = [
        (b"\xf8", "reserved"),
        (b"\x05hello\0", "no reply"),
        (b"\x05!done\0", "no tag"),
        (b"\x05!done\x0a.tag=99999\0", "a tag never used"),
        (b"\x05!done\x09.tag=mine\0", "a tag not ours"),
        (b"\xf0\xff\xff\xff\xff", "a word of 4 GiB"),
    ];
    for (bytes, case) in cases {
        let (session, mut peer) = session(&brisk()).await;
        peer.say_bytes(bytes).await;
        let lost = timeout(SOON, session.ended()).await.expect(case);
        assert!(matches!(lost, Lost::Protocol(_)), "{case}: {lost:?}");
        assert!(peer.hear_or_end().await.is_none(), "{case}: we hang up");
    }
}

#[tokio::test]
async fn the_connection_closes_with_the_last_handle() {
    let (session, mut peer) = session(&brisk()).await;
    let other = session.clone();
    drop(session);
    assert_eq!(other.lost(), None);
    drop(other);
    assert!(peer.hear_or_end().await.is_none());
}

#[tokio::test]
async fn closing_ends_what_is_in_flight() {
    let (session, mut peer) = session(&brisk()).await;
    let command = print("/slow");
    let (reply, ()) = tokio::join!(session.call(&command, SOON), async {
        peer.hear().await;
        session.close();
    });
    assert_eq!(reply, Err(CallError::Lost { why: Lost::Released, sent: true }));
}

#[tokio::test]
async fn a_session_runs_over_any_stream() {
    let (ours, theirs) = tokio::io::duplex(64);
    let (credentials, options) = (nms(), brisk());
    let (session, ()) = tokio::join!(Session::over(ours, &credentials, &options), async {
        let mut peer = Peer::new(theirs);
        peer.welcome().await;
    });
    assert!(session.is_ok());
}
