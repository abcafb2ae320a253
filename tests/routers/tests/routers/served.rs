//! Subscribers who are there already, or may be at several routers: what they are entitled to, over a log of its own.

use crate::ground::{Ground, billing::person, until, writes, writes_at};
use events::{EnforcementState, Entitled, Noun, ServiceState};
use lab::{
    Lab, Settings,
    network::{Habits, RouterIndex},
};
use routeros_api::{Command, Credentials, Options, Policy, Router, Target};
use routers::{PATIENCE, ROUTER, many, network_of, session, session_at};
use std::{sync::Arc, time::Duration};

const VERSION: &str = "7.16.2 (stable)";
const NOWHERE: &str = "http://127.0.0.1:9";

async fn played(routers: u16) -> Arc<Lab> {
    let settings = Settings { time_scale: 100.0, ..Settings::default() };
    Lab::start(many(VERSION, routers, 1), settings).await.unwrap()
}

async fn allowed(lab: &Lab, every_s: &str) -> Ground {
    let ground = Ground::lay().await;
    ground.allow_enforcing();
    ground.configure(&[("CUT_MOST_PERCENT", "100"), ("RETRY_MOST_S", "2"), ("ENFORCE_EVERY_S", every_s)]);
    ground.import(lab, false).await;
    ground.persons(lab).await;
    ground
}

async fn does(hand: &Router, command: Command) -> Vec<routeros_api::Row> {
    hand.call(&command, PATIENCE).await.unwrap().rows
}

async fn secret(hand: &Router, user: &str) -> Option<routeros_api::Row> {
    does(hand, Command::new("/ppp/secret/print").equal("name", user)).await.pop()
}

async fn password(hand: &Router, user: &str) -> String {
    secret(hand, user).await.unwrap().text("password").unwrap().into_owned()
}

async fn is_on(hand: &Router, user: &str) -> bool {
    !does(hand, Command::new("/ppp/active/print").equal("name", user)).await.is_empty()
}

/// Nothing that was said holds one of these words.
async fn is_unsaid(ground: &Ground, words: &[&str]) {
    for noun in [Noun::Entitlement, Noun::Enforcement, Noun::Repair, Noun::Plan] {
        for heard in ground.heard(noun).await {
            let text = serde_json::to_string(&heard.fact).unwrap();
            assert!(!words.iter().any(|word| text.contains(word)), "{text}");
        }
    }
}

/// A password that is changed reaches who is there already: compared where the router shows passwords, written once
/// where it does not; and no session ends for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_is_written_where_it_differs_and_once_where_that_does_not_show() {
    const WORDS: [&str; 3] = ["first-hunter", "second-hunter", "third-hunter"];
    let lab = played(1).await;
    let ground = allowed(&lab, "2").await;
    let running = ground.start(NOWHERE).await;
    let (account, user) = ("acct-user-0-0", "user-0-0");
    let say = async |word: &str| {
        let now = Entitled { profile: None, ..ground.added(account, word, None) };
        ground.entitle(vec![now]).await;
        ground.enforced(account, EnforcementState::InForce).await
    };
    let hand = session(&lab).await.unwrap();
    until("the subscriber is connected", async || is_on(&hand, user).await).await;
    let session_id = async || {
        let rows = does(&hand, Command::new("/ppp/active/print").equal("name", user)).await;
        rows[0].text("session-id").unwrap().into_owned()
    };
    let began = session_id().await;
    say(WORDS[0]).await;
    assert_eq!((password(&hand, user).await, writes(&lab)), (WORDS[0].into(), 1));
    // What somebody changes by hand is put back at the next turn.
    does(&hand, Command::new("/ppp/secret/set").with(".id", user).with("password", "by hand")).await;
    until("it is put back", async || password(&hand, user).await == WORDS[0]).await;
    let written = writes(&lab);
    assert_eq!(written, 3);
    say(WORDS[0]).await;
    assert_eq!((session_id().await, writes(&lab)), (began, written), "the same again is not written");

    // From here on our user may not see passwords.
    does(
        &hand,
        Command::new("/user/add").with("name", "owner").with("group", "full").with("password", "looks"),
    )
    .await;
    let group = Command::new("/user/group/add").with("name", "blind").with("policy", "read,write,api,test");
    does(&hand, group).await;
    does(&hand, Command::new("/user/set").with(".id", "nms").with("group", "blind")).await;
    let target = Target {
        address: lab.api_address(ROUTER),
        source: None,
        credentials: Credentials::new("owner", "looks"),
        options: Options::default(),
    };
    let owner = Router::new(target, Policy::default());
    let written = writes(&lab);
    say(WORDS[1]).await;
    assert_eq!((password(&owner, user).await, writes(&lab)), (WORDS[1].into(), written + 1));
    // Neither later turns nor another process write it again.
    tokio::time::sleep(Duration::from_secs(4)).await;
    running.stop().await;
    let running = ground.start(NOWHERE).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(writes(&lab), written + 1);
    say(WORDS[2]).await;
    assert_eq!((password(&owner, user).await, writes(&lab)), (WORDS[2].into(), written + 2));
    is_unsaid(&ground, &WORDS).await;
    is_unsaid(&ground, &["by hand"]).await;
    running.stop().await;
    lab.stop().await;
}

/// Whom any of several concentrators may serve has a secret at each of them, and is cut off at each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_dial_in_at_any_of_several_routers_is_known_at_each_and_cut_off_at_each() {
    let lab = played(3).await;
    let ground = allowed(&lab, "600").await;
    let eve = person(Some("eve"), None);
    ground.subscriber_of_any(&["core-0", "core-1"], "acct-eve", eve).await;
    let running = ground.start(NOWHERE).await;
    let hands = [
        session_at(&lab, RouterIndex(0)).await.unwrap(),
        session_at(&lab, RouterIndex(1)).await.unwrap(),
        session_at(&lab, RouterIndex(2)).await.unwrap(),
    ];
    let stands = async |state: EnforcementState, last: &str| {
        until(&format!("she is {last} at both"), async || {
            let all = ground.standings("acct-eve").await;
            ["core-0", "core-1"].iter().all(|router| {
                let here = all.iter().rev().find(|now| now.router == ground.id(router));
                here.is_some_and(|now| now.state == state)
            })
        })
        .await;
    };
    ground.entitle(vec![ground.added("acct-eve", "hunter2-hunter2", None)]).await;
    stands(EnforcementState::InForce, "added").await;
    for hand in &hands[..2] {
        let row = secret(hand, "eve").await.unwrap();
        assert_eq!(row.text("comment"), Some("mastwatch:acct-eve".into()));
        assert_eq!(password(hand, "eve").await, "hunter2-hunter2");
    }
    assert!(secret(&hands[2], "eve").await.is_none(), "the third is not hers");

    let suspended =
        Entitled { state: ServiceState::Suspended, ..ground.added("acct-eve", "hunter2-hunter2", None) };
    ground.entitle(vec![suspended]).await;
    until("she is disabled at both", async || {
        let mut disabled = 0;
        for hand in &hands[..2] {
            let row = secret(hand, "eve").await.unwrap();
            disabled += usize::from(row.text("disabled") == Some("true".into()));
        }
        disabled == 2
    })
    .await;
    stands(EnforcementState::InForce, "cut off").await;
    assert_eq!(
        ["core-0", "core-1", "core-2"].map(|router| writes_at(&lab, router)),
        [2, 2, 0],
        "added and disabled, at each"
    );
    running.stop().await;
    lab.stop().await;
}

/// Who lives in RADIUS and dials in though he is suspended is cut off at once when his router says so, and not at its
/// next turn; whoever dials in without end orders one look in a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_suspended_and_dials_in_again_is_cut_off_at_once_and_one_look_is_ordered_in_a_while() {
    let radius = Habits { radius: true, ..Habits::default() };
    let settings = Settings { time_scale: 100.0, ..Settings::default() };
    let lab = Lab::start(network_of(VERSION, radius, 1), settings).await.unwrap();
    let ground = allowed(&lab, "86400").await;
    ground.configure(&[("DIALLED_IN_EVERY_S", "5")]);
    let running = ground.start(NOWHERE).await;
    let cuts = || lab.counters().0.calls.get("/ppp/active/remove").copied().unwrap_or_default();
    let ordered = |outcome: &str| ground.figure("mastwatch_reconciler_dialled_in_total", outcome);
    let hand = session(&lab).await.unwrap();
    let is_back = async || until("the subscriber has dialled in", async || is_on(&hand, "ada").await).await;

    // One who is served orders nothing.
    is_back().await;
    ground.dialled_in("core", "ada").await;
    ground.set("acct-ada", ServiceState::Suspended).await;
    ground.enforced("acct-ada", EnforcementState::Partly).await;
    assert_eq!(cuts(), 1);
    is_back().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((cuts(), ordered("ordered")), (1, 0.0), "its router's next turn is a day away");

    for count in [2, 3] {
        is_back().await;
        ground.dialled_in("core", "ada").await;
        until("the session is ended", async || cuts() == count).await;
        is_back().await;
        for _ in 0..3 {
            ground.dialled_in("core", "ada").await;
        }
        let soon = 3.0 * (count - 1) as f64;
        until("the rest comes too soon", async || ordered("too_soon") == soon).await;
        assert_eq!((cuts(), ordered("\"ordered\"")), (count, (count - 1) as f64));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    running.stop().await;
    lab.stop().await;
}
