//! The reconciler on a played router, over a log of its own.

use crate::ground::{Ground, until, writes};
use domain::plan::{Snitches, without_snitches, words};
use events::{About, Claim, Health, Noun, PlanState, RepairOutcome, SignalSource};
use lab::network::{DeviceMode, Habits};
use lab::{Lab, Settings};
use routeros_api::{Command, Router};
use routers::{Collector, PATIENCE, ROUTER, TOKEN, apply, network_of, print, session, started};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const VERSION: &str = "7.16.2 (stable)";
/// Where nobody listens: for tests in which nothing has to arrive.
const NOWHERE: &str = "http://127.0.0.1:9";

fn lived_in() -> Habits {
    Habits { is_lived_in: true, ..Habits::default() }
}

async fn played(aps: u8, habits: Habits) -> Arc<Lab> {
    let settings = Settings { time_scale: 100.0, ..Settings::default() };
    Lab::start(network_of(VERSION, habits, aps), settings).await.unwrap()
}

async fn rows(session: &Router, command: Command) -> Vec<routeros_api::Row> {
    session.call(&command, PATIENCE).await.unwrap().rows
}

/// Whether the secret part of the token is in any message about the router.
async fn is_token_told(ground: &Ground) -> bool {
    let secret = TOKEN.rsplit('_').next().unwrap();
    let mut heard = ground.heard(Noun::Plan).await;
    heard.extend(ground.heard(Noun::Repair).await);
    heard.iter().any(|heard| serde_json::to_string(&heard.fact).unwrap().contains(secret))
}

/// Requirements, R7 and R11, and the opt-in: nothing is ever written to a router whose operator has not said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_operators_yes_a_plan_is_said_and_nothing_is_written() {
    let lab = played(3, lived_in()).await;
    let before = print(&session(&lab).await.unwrap()).await.unwrap();
    let ground = Ground::lay().await;
    ground.import(&lab, false).await;
    let running = ground.start(NOWHERE).await;
    let plan = ground.stands(PlanState::Proposed).await;
    assert_eq!((plan.change_count, plan.changes.len(), plan.managed), (9, 9, false));
    let shown: Vec<String> = plan.changes.iter().map(words).collect();
    assert!(
        shown[0].starts_with("/system script add policy=read,write,test name=mastwatch-parked"),
        "{shown:?}"
    );
    assert!(shown.iter().any(|line| line.contains("comment=mastwatch:ap-1")), "{shown:?}");

    // Ordered to change it, it is not changed either.
    let plan = ground.look(true).await;
    assert_eq!((plan.state, plan.change_count), (PlanState::Proposed, 9));
    assert_eq!((writes(&lab), ground.repairs().await), (0, vec![]));
    assert_eq!(print(&session(&lab).await.unwrap()).await.unwrap(), before);
    running.stop().await;
    lab.stop().await;
}

/// Requirements, R7 and R11: what is installed tells of everything; what is deleted or altered comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_deletes_or_alters_is_repaired_and_the_second_look_writes_nothing() {
    let (collector, address) = Collector::start().await.unwrap();
    let lab = played(8, lived_in()).await;
    let ground = Ground::lay().await;
    let running = ground.start(&format!("http://{address}")).await;
    ground.import(&lab, true).await;
    ground.stands(PlanState::AsDesired).await;
    collector.wait_for(&["ap-0 up", "ap-7 up"]).await.unwrap();
    let installed = ground.repairs().await;
    assert_eq!(installed.len(), 14);
    assert!(installed.iter().all(|repair| repair.outcome == RepairOutcome::Made), "{installed:?}");
    let written = writes(&lab);
    assert_eq!(written, 14);
    let before = ground.plans().await.len();
    assert_eq!(ground.look(true).await.state, PlanState::AsDesired);
    assert_eq!((writes(&lab), ground.plans().await.len()), (written, before + 1), "the order is answered");

    let hand = session(&lab).await.unwrap();
    for n in 0..5 {
        let entry = Command::new("/tool/netwatch/print").equal("comment", format!("mastwatch:ap-{n}"));
        let id = rows(&hand, entry).await[0].text(".id").unwrap().into_owned();
        rows(&hand, Command::new("/tool/netwatch/remove").with(".id", &id)).await;
    }
    let altered = Command::new("/ppp/profile/set").with(".id", "gold").with("on-up", ":log info \"gold\"");
    rows(&hand, altered).await;
    let entry = Command::new("/tool/netwatch/print").equal("comment", "mastwatch:ap-6");
    let id = rows(&hand, entry).await[0].text(".id").unwrap().into_owned();
    rows(&hand, Command::new("/tool/netwatch/set").with(".id", &id).with("down-script", "")).await;
    let (repaired, written) = (installed.len(), writes(&lab));
    assert_eq!(ground.look(true).await.state, PlanState::AsDesired);
    let repairs = ground.repairs().await.split_off(repaired);
    assert_eq!((repairs.len(), writes(&lab)), (7, written + 7));
    let set: Vec<_> = repairs.iter().filter(|repair| !repair.change.before.is_empty()).collect();
    assert_eq!(set.len(), 2, "before and after of what was altered are told: {repairs:?}");
    assert_eq!(ground.look(true).await.state, PlanState::AsDesired);
    assert_eq!((ground.repairs().await.len(), writes(&lab)), (repaired + 7, written + 7));
    assert!(!is_token_told(&ground).await);
    assert_eq!(lab.counters().0.logins, 2, "one session of ours, and the test's own");
    running.stop().await;
    lab.stop().await;
}

/// Killed anywhere, the next one finishes; every write is recorded once, and what was there before stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_whose_maker_is_killed_is_finished_by_the_next_and_every_write_is_recorded_once() {
    let lab = played(8, lived_in()).await;
    let before = print(&session(&lab).await.unwrap()).await.unwrap();
    let ground = Ground::lay().await;
    ground.import(&lab, true).await;
    for kill_after in [1, 4, 9, 13] {
        let running = ground.start(NOWHERE).await;
        until("so much is written", async || writes(&lab) >= kill_after).await;
        running.kill().await;
    }
    let running = ground.start(NOWHERE).await;
    ground.stands(PlanState::AsDesired).await;
    let repairs = ground.repairs().await;
    let known = |outcome| matches!(outcome, RepairOutcome::Made | RepairOutcome::Found);
    let recorded: Vec<_> = repairs.iter().filter(|repair| known(repair.outcome)).collect();
    assert_eq!(recorded.len() as u64, writes(&lab), "{repairs:#?}");
    let once: BTreeSet<_> = recorded.iter().map(|repair| (repair.plan, repair.number)).collect();
    assert_eq!(once.len(), recorded.len());
    assert_eq!(writes(&lab), 14, "nothing was written twice");
    running.stop().await;

    let hand = session(&lab).await.unwrap();
    apply(&hand, &without_snitches()).await.unwrap();
    assert_eq!(print(&hand).await.unwrap(), before, "what was there before is as it was");
    lab.stop().await;
}

/// What was claimed by the reporter, as short texts.
async fn claimed(ground: &Ground) -> Vec<(About, Claim)> {
    let signals = ground.signals().await;
    assert!(
        signals.iter().all(|s| s.source == SignalSource::Reconcile && s.sender == Some(ground.id("core")))
    );
    signals.into_iter().map(|signal| (signal.about, signal.says)).collect()
}

/// Requirements, R3 and R5: what the router knows and nobody has heard of is claimed, once; and nothing is
/// written to the router for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_lost_is_made_good_and_the_router_is_not_written_to() {
    let lab = started(VERSION, Habits::default()).await.unwrap();
    let ground = Ground::lay().await;
    ground.import(&lab, false).await;
    // The router's own entries push to nobody: it has no token.
    let hand = session(&lab).await.unwrap();
    let snitches = Snitches {
        sessions: false,
        leases: false,
        ..routers::snitches("127.0.0.1:9".parse().unwrap(), VERSION)
    };
    apply(&hand, &snitches.desired()).await.unwrap();
    let all = ["ap-0", "ap-1", "ap-2", "acct-ada", "acct-ben \"the\\first\"", "acct-cem"];
    for file_id in all {
        ground.believe(file_id, Health::Up).await;
    }
    let written = writes(&lab);
    let status = async |host: &str, status: &str| {
        let entry = Command::new("/tool/netwatch/print").equal("host", host).equal("status", status);
        !rows(&hand, entry).await.is_empty()
    };
    until("everybody was tested", async || status("10.0.0.0", "up").await && status("10.0.0.1", "up").await)
        .await;
    let running = ground.start(NOWHERE).await;
    ground.look(false).await;
    assert_eq!(claimed(&ground).await, [], "everything is as it is believed");

    let broken = ["ap-1", "acct-ada"];
    lab.set_broken(&broken.map(|id| lab.network().find(id).unwrap()), true);
    until("ap-1 is down", async || status("10.0.0.1", "down").await).await;
    let session_of = |user: &str| Command::new("/ppp/active/print").equal("name", user);
    until("ada is gone", async || rows(&hand, session_of("ada")).await.is_empty()).await;
    // What is being checked is claimed by somebody already, until a word of its health ends that.
    ground.suspect("ap-1").await;
    ground.look(false).await;
    assert_eq!(claimed(&ground).await, [(About::Node(ground.id("acct-ada")), Claim::Down)]);
    ground.believe("acct-ada", Health::Impacted).await;
    ground.believe("ap-1", Health::Up).await;
    ground.look(false).await;
    let mut expected = broken.map(|id| (About::Node(ground.id(id)), Claim::Down));
    expected.sort_by_key(|(about, _)| *about == About::Node(ground.id("ap-1")));
    assert_eq!(claimed(&ground).await, expected);

    // It was believed; nothing is said again. What is back is said too.
    ground.believe("ap-1", Health::Down).await;
    ground.look(false).await;
    assert_eq!(claimed(&ground).await.len(), 2);
    lab.set_broken(&broken.map(|id| lab.network().find(id).unwrap()), false);
    until("ap-1 is up", async || status("10.0.0.1", "up").await).await;
    until("ada is back", async || !rows(&hand, session_of("ada")).await.is_empty()).await;
    ground.look(false).await;
    let mut expected = broken.map(|id| (About::Node(ground.id(id)), Claim::Up));
    expected.sort_by_key(|(about, _)| *about);
    assert_eq!(claimed(&ground).await[2..], expected);
    assert_eq!(writes(&lab), written, "nothing was written");
    running.stop().await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_has_just_booted_tells_nothing_of_its_children() {
    let lab = started(VERSION, Habits::default()).await.unwrap();
    let ground = Ground::lay().await;
    ground.blind_for(u32::MAX).await;
    ground.import(&lab, false).await;
    ground.believe("acct-ada", Health::Unknown).await;
    let running = ground.start(NOWHERE).await;
    ground.look(false).await;
    assert_eq!(claimed(&ground).await, []);
    ground.blind_for(0).await;
    ground.look(false).await;
    assert_eq!(claimed(&ground).await, [(About::Node(ground.id("acct-ada")), Claim::Up)]);
    running.stop().await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_router_cannot_push_it_is_told_why_and_nothing_is_written() {
    let home = Habits { device_mode: DeviceMode::Home, ..Habits::default() };
    let reader = Habits { group: "read".into(), ..Habits::default() };
    for (habits, finding) in [(home, "device-mode"), (reader, "policy `write`")] {
        let lab = started("7.20.8", habits).await.unwrap();
        let ground = Ground::lay().await;
        ground.import(&lab, true).await;
        let running = ground.start(NOWHERE).await;
        let plan = ground.stands(PlanState::Unfit).await;
        assert!(plan.findings.iter().any(|text| text.contains(finding)), "{plan:?}");
        assert_eq!(writes(&lab), 0);
        running.stop().await;
        lab.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_away_is_said_to_be_once_and_put_right_when_it_is_back() {
    let lab = started(VERSION, lived_in()).await.unwrap();
    let ground = Ground::lay().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    ground.import_at(&lab, |_| address, true).await;
    let running = ground.start(NOWHERE).await;
    let plan = ground.stands(PlanState::Unreachable).await;
    assert!(plan.managed && plan.error.is_some_and(|error| error.contains("refused")));
    // Tried again and again, it says no more.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ground.plans().await.len(), 1);
    ground.import(&lab, true).await;
    ground.stands(PlanState::AsDesired).await;
    running.stop().await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_was_rebooted_is_looked_at_as_soon_as_it_is_back() {
    let lab = started(VERSION, lived_in()).await.unwrap();
    let ground = Ground::lay().await;
    ground.import(&lab, true).await;
    let running = ground.start(NOWHERE).await;
    ground.stands(PlanState::AsDesired).await;
    // A look goes on after that: a reboot in the middle of it is no news to it.
    let ended = || ground.figure("mastwatch_reconciler_visits_total", "outcome=\"as_desired\"");
    until("the look has ended", async || ended() >= 1.0).await;
    let looks = || ground.figure("mastwatch_reconciler_visits_total", "why=\"reconnect\"");
    assert_eq!(looks(), 0.0);
    lab.with(|state| state.reboot(&[ROUTER]));
    until("it is looked at again", async || looks() >= 1.0).await;
    ground.stands(PlanState::AsDesired).await;
    running.stop().await;
    lab.stop().await;
}
