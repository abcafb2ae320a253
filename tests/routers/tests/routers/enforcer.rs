//! What subscribers are entitled to, on a played router, over a log of its own.

use crate::ground::{Ground, billing::person, until, writes};
use domain::enforce::SUSPENDED;
use events::{EnforcementState, Entitled, Health, Noun, Rate, RouterEnforcementState, ServiceState};
use lab::network::Habits;
use lab::{Lab, Settings};
use routeros_api::{Command, Router};
use routers::{PATIENCE, network_of, print, session};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const VERSION: &str = "7.16.2 (stable)";
const NOWHERE: &str = "http://127.0.0.1:9";

async fn played(habits: Habits) -> Arc<Lab> {
    let settings = Settings { time_scale: 100.0, ..Settings::default() };
    Lab::start(network_of(VERSION, habits, 3), settings).await.unwrap()
}

fn lived_in() -> Habits {
    Habits { is_lived_in: true, ..Habits::default() }
}

/// A router whose operator allows its subscribers to be enforced, and may cut off all of them.
async fn allowed(lab: &Lab) -> Ground {
    let ground = Ground::lay().await;
    ground.allow_enforcing();
    ground.configure(&[("CUT_MOST_PERCENT", "100"), ("RETRY_MOST_S", "2"), ("ENFORCE_EVERY_S", "600")]);
    ground.import(lab, false).await;
    ground.persons(lab).await;
    ground
}

async fn rows(hand: &Router, command: Command) -> Vec<routeros_api::Row> {
    hand.call(&command, PATIENCE).await.unwrap().rows
}

async fn one(hand: &Router, menu: &str, name: &str) -> Option<routeros_api::Row> {
    rows(hand, Command::new(&format!("{menu}/print")).equal("name", name)).await.pop()
}

async fn is_on(hand: &Router, user: &str) -> bool {
    one(hand, "/ppp/active", user).await.is_some()
}

async fn is_disabled(hand: &Router, user: &str) -> bool {
    one(hand, "/ppp/secret", user).await.unwrap().text("disabled") == Some("true".into())
}

/// Requirements, R4: what is wanted while the router is away is there within one retry interval of its return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_suspended_while_the_router_is_away_is_cut_off_when_it_is_back() {
    let lab = played(Habits::default()).await;
    let ground = allowed(&lab).await;
    ground.configure(&[("COMMAND_WITHIN_S", "12")]);
    let running = ground.start(NOWHERE).await;
    let core = [lab.network().find("core").unwrap()];
    lab.set_broken(&core, true);
    ground.set("acct-ada", ServiceState::Suspended).await;
    let waiting = ground.enforced("acct-ada", EnforcementState::Waiting).await;
    assert!(waiting.error.is_some() && waiting.in_force_since.is_none(), "{waiting:?}");
    ground.router_enforced("core", RouterEnforcementState::Unreachable).await;
    // Half an hour of the router's time, and many tries of ours, of which nothing is said.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((ground.standings("acct-ada").await.len(), writes(&lab)), (1, 0));
    lab.set_broken(&core, false);
    let began = Instant::now();
    let mut hand = session(&lab).await;
    while hand.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        hand = session(&lab).await;
    }
    let (hand, back) = (hand.unwrap(), Instant::now());
    let done = ground.enforced("acct-ada", EnforcementState::InForce).await;
    let took = back.elapsed();
    println!("the router took {:?} to come back, and {took:?} later he was cut off", back - began);
    // The retry interval is 2 s, and a look takes a moment on a machine that is busy with others.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(done.in_force_since.is_some() && is_disabled(&hand, "ada").await && !is_on(&hand, "ada").await);
    assert!(!is_disabled(&hand, "ben \"the\\first\"").await, "nobody else is touched");
    // Long enough for anybody to dial in who may.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!is_on(&hand, "ada").await);

    lab.set_broken(&core, true);
    ground.set("acct-ada", ServiceState::Active).await;
    ground.enforced("acct-ada", EnforcementState::Waiting).await;
    lab.set_broken(&core, false);
    ground.enforced("acct-ada", EnforcementState::InForce).await;
    until("the router can be asked", async || session(&lab).await.is_ok()).await;
    let hand = session(&lab).await.unwrap();
    assert!(!is_disabled(&hand, "ada").await);
    until("ada has dialled in again", async || is_on(&hand, "ada").await).await;
    running.stop().await;
    lab.stop().await;
}

/// Requirements, R5: neither swaps its source of truth, and without a yes of its own nothing is enforced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reporter_writes_nothing_and_the_enforcer_claims_nothing() {
    let lab = played(lived_in()).await;
    let hand = session(&lab).await.unwrap();
    let before = print(&hand).await.unwrap();
    let ground = Ground::lay().await;
    // `manage` does not imply `enforce`; here it has nothing to repair, because nobody allowed that either.
    ground.import(&lab, false).await;
    ground.persons(&lab).await;
    ground.set("acct-ada", ServiceState::Suspended).await;
    ground.believe("acct-ada", Health::Down).await;
    let running = ground.start(NOWHERE).await;
    ground.look(true).await;
    assert_eq!(ground.signals().await.len(), 1, "the reporter says what the router knows");
    assert_eq!((writes(&lab), print(&hand).await.unwrap()), (0, before));
    assert_eq!(ground.heard(Noun::Enforcement).await.len(), 0);

    // Allowed, the enforcer cuts her off; whoever is believed to be what stays so.
    ground.allow_enforcing();
    ground.configure(&[("CUT_MOST_PERCENT", "100")]);
    let of_beliefs = async || {
        let mut count = 0;
        for noun in [Noun::Signal, Noun::Suspicion, Noun::Health, Noun::Incident] {
            count += ground.heard(noun).await.len();
        }
        count
    };
    let beliefs = of_beliefs().await;
    ground.import(&lab, false).await;
    ground.enforced("acct-ada", EnforcementState::InForce).await;
    assert!(!is_on(&hand, "ada").await && is_disabled(&hand, "ada").await);
    assert_eq!((writes(&lab), of_beliefs().await), (2, beliefs));
    running.stop().await;
    lab.stop().await;
}

/// Requirements, R22: what somebody changes by hand is as it was at the next turn, and the turn after writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_in_secrets_and_queues_is_repaired_at_the_next_turn() {
    let lab = played(lived_in()).await;
    let ground = allowed(&lab).await;
    // The 15 minutes, scaled.
    ground.configure(&[("ENFORCE_EVERY_S", "2")]);
    ground.subscriber("acct-dot", person(None, Some([10, 1, 0, 9].into()))).await;
    let rate = Some(Rate { up_bps: 1_000_000, down_bps: 5_000_000 });
    let dot = Entitled { rate, ..ground.entitled("acct-dot", ServiceState::Suspended) };
    let ada =
        Entitled { profile: Some("gold".into()), ..ground.entitled("acct-ada", ServiceState::Suspended) };
    ground.entitle(vec![dot, ada]).await;
    let running = ground.start(NOWHERE).await;
    for account in ["acct-dot", "acct-ada"] {
        ground.enforced(account, EnforcementState::InForce).await;
    }
    let hand = session(&lab).await.unwrap();
    let listed = || Command::new("/ip/firewall/address-list/print").equal("list", SUSPENDED);
    let queue = || Command::new("/queue/simple/print").equal("name", "mastwatch-acct-dot");
    assert_eq!((rows(&hand, listed()).await.len(), rows(&hand, queue()).await.len()), (1, 1));
    let written = writes(&lab);

    rows(
        &hand,
        Command::new("/ppp/secret/set").with(".id", "ada").with("disabled", "no").with("profile", "default"),
    )
    .await;
    let id = rows(&hand, queue()).await[0].text(".id").unwrap().into_owned();
    rows(&hand, Command::new("/queue/simple/set").with(".id", &id).with("max-limit", "1G/1G")).await;
    let id = rows(&hand, listed()).await[0].text(".id").unwrap().into_owned();
    rows(&hand, Command::new("/ip/firewall/address-list/remove").with(".id", &id)).await;
    until("the drift is repaired", async || {
        let secret = one(&hand, "/ppp/secret", "ada").await.unwrap();
        let is_back =
            secret.text("disabled") == Some("true".into()) && secret.text("profile") == Some("gold".into());
        let rate = rows(&hand, queue()).await[0].text("max-limit") == Some("1000000/5000000".into());
        is_back && rate && rows(&hand, listed()).await.len() == 1
    })
    .await;
    until("her session is over", async || !is_on(&hand, "ada").await).await;
    let repaired = writes(&lab);
    // Three of the test's own, and what it takes: a secret, perhaps a session, a queue and a row of a list.
    assert!((6..=7).contains(&(repaired - written)), "{}", repaired - written);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(writes(&lab), repaired);
    running.stop().await;
    lab.stop().await;
}

/// Who lives in RADIUS loses the session, and that the rest is not ours is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_user_in_radius_the_session_ends_and_that_the_rest_is_not_ours_is_told() {
    let lab = played(Habits { radius: true, ..Habits::default() }).await;
    let ground = allowed(&lab).await;
    ground.set("acct-ada", ServiceState::Suspended).await;
    let running = ground.start(NOWHERE).await;
    let partly = ground.enforced("acct-ada", EnforcementState::Partly).await;
    assert!(partly.not_ours.unwrap().contains("RADIUS"));
    let (all, _) = lab.counters();
    assert_eq!((writes(&lab), all.calls.get("/ppp/active/remove")), (1, Some(&1)));
    running.stop().await;
    lab.stop().await;
}

/// An accounting system that goes wrong cuts nobody off: not all at once, and not one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_be_cut_off_with_too_many_others_is_held_back_until_somebody_confirms() {
    use RouterEnforcementState::{Held, InForce};
    let lab =
        Lab::start(routers::many(VERSION, 1, 40), Settings { time_scale: 100.0, ..Settings::default() });
    let lab = lab.await.unwrap();
    let account = |n: usize| format!("acct-user-0-{}", 2 * n);
    let ground = Ground::lay().await;
    ground.allow_enforcing();
    // Of twenty active subscribers two.
    ground.configure(&[("ENFORCE_EVERY_S", "600")]);
    ground.import(&lab, false).await;
    ground.persons(&lab).await;
    let running = ground.start(NOWHERE).await;
    let suspend = async |which: std::ops::Range<usize>| {
        ground.entitle(which.map(|n| ground.entitled(&account(n), ServiceState::Suspended)).collect()).await;
    };
    suspend(0..5).await;
    let held = ground.router_enforced("core-0", Held).await;
    assert_eq!((held.held_count, held.active_count, writes(&lab)), (5, 20, 0));
    let why = held.error.clone().unwrap();
    assert!(why.contains("5 would be cut off") && why.contains("at most 2"), "{why}");
    assert_eq!(ground.enforced(&account(4), EnforcementState::Held).await.error, Some(why));
    until("it is counted", async || ground.figure("mastwatch_reconciler_cuts_held", "") == 5.0).await;

    // Yes to something else is no yes; one more, and what was shown is not what it is about any more.
    let shown = held.held.unwrap();
    suspend(5..6).await;
    until("the sixth is held too", async || {
        ground.router_standing("core-0").await.is_some_and(|now| now.held_count == 6)
    })
    .await;
    ground.confirm("core-0", shown).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(writes(&lab), 0);
    let shown = ground.router_standing("core-0").await.unwrap().held.unwrap();
    ground.confirm("core-0", shown).await;
    ground.router_enforced("core-0", InForce).await;
    assert_eq!((writes(&lab), ground.figure("mastwatch_reconciler_cuts_total", "")), (12, 6.0));

    // Six were cut off within the interval: not one more. Who is served again is.
    suspend(6..7).await;
    let held = ground.router_enforced("core-0", Held).await;
    assert!(held.error.unwrap().contains("6 were lately"));
    ground.set(&account(0), ServiceState::Active).await;
    ground.enforced(&account(0), EnforcementState::InForce).await;
    assert_eq!(writes(&lab), 13);
    running.stop().await;
    lab.stop().await;
}

/// The switch stops all cutting off at once, says so, and lets everything else go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_cutting_off_is_halted_nobody_is_cut_off_and_who_is_served_again_is() {
    let lab = played(lived_in()).await;
    let ground = allowed(&lab).await;
    let ben = "acct-ben \"the\\first\"";
    ground.set(ben, ServiceState::Suspended).await;
    let running = ground.start(NOWHERE).await;
    ground.enforced(ben, EnforcementState::InForce).await;
    ground.halt(true).await;
    ground.set("acct-ada", ServiceState::Suspended).await;
    let held = ground.enforced("acct-ada", EnforcementState::Held).await;
    assert_eq!(held.error.as_deref(), Some("cutting off is halted: the books are wrong"));
    let hand = session(&lab).await.unwrap();
    assert!(is_on(&hand, "ada").await);
    ground.set(ben, ServiceState::Active).await;
    ground.enforced(ben, EnforcementState::InForce).await;
    assert!(!is_disabled(&hand, "ben \"the\\first\"").await);
    // Nobody's yes goes above it; and when it goes on, it goes on at once.
    assert_eq!(ground.router_enforced("core", RouterEnforcementState::Held).await.held, None);
    ground.halt(false).await;
    ground.enforced("acct-ada", EnforcementState::InForce).await;
    assert!(!is_on(&hand, "ada").await);
    running.stop().await;

    // The installation's own switch.
    ground.configure(&[("CUTTING", "false")]);
    ground.set(ben, ServiceState::Suspended).await;
    let running = ground.start(NOWHERE).await;
    let held = ground.enforced(ben, EnforcementState::Held).await;
    assert!(held.error.unwrap().contains("`cutting = false`"));
    assert!(is_on(&hand, "ben \"the\\first\"").await);
    running.stop().await;
    lab.stop().await;
}
