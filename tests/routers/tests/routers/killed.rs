//! The reconciler as a real process, killed in the middle of what it does to many routers: each stands at a write of
//! its own, before it or after it, when the process is killed.

use crate::ground::{
    Ground,
    billing::person,
    gate::{Gate, Side},
    until, writes_at,
};
use domain::plan::without_snitches;
use events::{EnforcementState, Entitled, Noun, PlanState, Rate, RepairOutcome, ServiceState};
use lab::{Lab, Settings, network::RouterIndex};
use routeros_api::{Command, Router};
use routers::{PATIENCE, apply, many, print, session_at};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const VERSION: &str = "7.16.2 (stable)";
const NOWHERE: &str = "http://127.0.0.1:9";

/// Those who are added appear nowhere but in what is sealed, and at the router.
const USER: &str = "eve.person";
const PASSWORD: &str = "hunter2-hunter2";
const ADDRESS: [u8; 4] = [10, 77, 66, 55];

fn user_of(case: &Case) -> String {
    format!("{USER}-{}@hillside", case.index.0)
}

/// One router, and where the process is when it is killed.
struct Case {
    index: RouterIndex,
    router: String,
    /// What is done there.
    kind: &'static str,
    /// How many writes it takes.
    takes: usize,
    /// Behind so many of them it is killed.
    at: usize,
    side: Side,
    gate: Arc<Gate>,
    hand: Router,
}

impl Case {
    async fn rows(&self, menu: &str, name: &str) -> Vec<routeros_api::Row> {
        let command = Command::new(&format!("{menu}/print")).equal("name", name);
        self.hand.call(&command, PATIENCE).await.unwrap().rows
    }

    fn told(&self) -> String {
        format!("{} at {}, killed at write {}, {:?}", self.kind, self.router, self.at, self.side)
    }
}

/// A router for every write of every kind, and for both sides of it.
async fn cases(kinds: &[(&'static str, usize)], aps: u8) -> (Arc<Lab>, Vec<Case>) {
    let moments = kinds.iter().flat_map(|(kind, takes)| (0..*takes).map(move |at| (*kind, *takes, at)));
    let moments: Vec<_> = moments.flat_map(|one| [(one, Side::Before), (one, Side::After)]).collect();
    let count = u16::try_from(moments.len()).unwrap();
    let settings = Settings { time_scale: 100.0, ..Settings::default() };
    let lab = Lab::start(many(VERSION, count, aps), settings).await.unwrap();
    let mut all = Vec::new();
    for (n, ((kind, takes, at), side)) in moments.into_iter().enumerate() {
        let index = RouterIndex(u32::try_from(n).unwrap());
        let gate = Gate::before(lab.api_address(index)).await;
        let hand = session_at(&lab, index).await.unwrap();
        all.push(Case { index, router: format!("core-{n}"), kind, takes, at, side, gate, hand });
    }
    (lab, all)
}

/// Waits until every router stands at its write, for the kill.
async fn all_shut(lab: &Lab, cases: &[Case], before: &BTreeMap<&str, u64>) {
    for case in cases {
        until(&format!("a write is held up: {}", case.told()), async || case.gate.is_shut()).await;
        let heard = before[case.router.as_str()] + case.at as u64 + u64::from(case.side == Side::After);
        until(&case.told(), async || writes_at(lab, &case.router) == heard).await;
    }
}

fn written<'c>(lab: &Lab, cases: &'c [Case]) -> BTreeMap<&'c str, u64> {
    cases.iter().map(|case| (case.router.as_str(), writes_at(lab, &case.router))).collect()
}

/// Requirements, R7 and R11: an installation that is killed at any of its writes is finished by the next process, each
/// write is made and recorded once, and what the operator had is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_is_killed_at_any_write_is_finished_and_nothing_is_doubled() {
    // A script, a task, a block in each of three profiles, and an entry for each of two.
    let (lab, cases) = cases(&[("install", 7)], 2).await;
    let ground = Ground::lay().await;
    ground.import_at(&lab, |router| cases[router.0 as usize].gate.address, true).await;
    let mut found = Vec::new();
    for case in &cases {
        found.push(print(&case.hand).await.unwrap());
        case.gate.shut_after(case.at, case.side);
    }
    let before = written(&lab, &cases);
    let mut process = ground.run(NOWHERE);
    all_shut(&lab, &cases, &before).await;
    process.kill();
    for case in &cases {
        case.gate.open();
    }
    let _next = ground.run(NOWHERE);
    until("every router is as it should be", async || {
        let last: BTreeMap<_, _> =
            ground.plans().await.into_iter().map(|plan| (plan.router, plan.state)).collect();
        cases.iter().all(|case| last.get(&ground.id(&case.router)) == Some(&PlanState::AsDesired))
    })
    .await;
    let repairs = ground.repairs().await;
    for (case, found) in cases.iter().zip(found) {
        let told = case.told();
        assert_eq!(writes_at(&lab, &case.router), case.takes as u64, "{told}");
        let of_router = repairs.iter().filter(|repair| repair.router == ground.id(&case.router));
        let known = of_router
            .filter(|repair| matches!(repair.outcome, RepairOutcome::Made | RepairOutcome::Found))
            .map(|repair| (repair.plan, repair.number));
        let known: Vec<_> = known.collect();
        assert_eq!((known.len(), BTreeSet::from_iter(&known).len()), (case.takes, case.takes), "{told}");
        let script = &case.rows("/ppp/profile", "default").await[0].text("on-up").unwrap().into_owned();
        assert!(
            script.contains("hello") && script.matches("# mastwatch begin").count() == 1,
            "{told}: {script}"
        );
        apply(&case.hand, &without_snitches()).await.unwrap();
        assert_eq!(print(&case.hand).await.unwrap(), found, "what was there before is as it was: {told}");
    }
    lab.stop().await;
}

/// What a subscriber is to get for a kind of job.
fn wanted(ground: &Ground, case: &Case, kind: &str) -> (String, Entitled) {
    let account = format!("acct-user-{}-0", case.index.0);
    let gold = |state| Entitled { profile: Some("gold".into()), ..ground.entitled(&account, state) };
    match kind {
        "add" => {
            let account = format!("acct-eve-{}", case.index.0);
            let rate = Some(Rate { up_bps: 2_000_000, down_bps: 20_000_000 });
            let added = ground.added(&account, PASSWORD, Some(ADDRESS.into()));
            (account, Entitled { rate, ..added })
        }
        "update" | "connect" => (account.clone(), gold(ServiceState::Active)),
        "disconnect" => (account.clone(), gold(ServiceState::Suspended)),
        other => panic!("no job is called {other}"),
    }
}

/// Says these, one for each router, and waits until they are in force.
async fn pursued(ground: &Ground, all: Vec<(String, Entitled)>) {
    let (accounts, entitled): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    ground.entitle(entitled).await;
    for account in accounts {
        ground.enforced(&account, EnforcementState::InForce).await;
    }
}

/// Requirements, R22: each of the four jobs, killed at any of its writes before or after the router heard it, is done
/// exactly once by the next process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_that_is_killed_with_its_process_at_any_write_is_done_exactly_once() {
    let kinds = [("add", 2), ("update", 2), ("disconnect", 2), ("connect", 1)];
    let (lab, cases) = cases(&kinds, 1).await;
    let ground = Ground::lay().await;
    ground.allow_enforcing();
    ground.configure(&[("CUT_MOST_PERCENT", "100"), ("ENFORCE_EVERY_S", "600")]);
    ground.import_at(&lab, |router| cases[router.0 as usize].gate.address, false).await;
    ground.persons(&lab).await;
    for case in cases.iter().filter(|case| case.kind == "add") {
        let (account, _) = wanted(&ground, case, "add");
        let eve = person(Some(&user_of(case)), Some(ADDRESS.into()));
        ground.subscriber_at(&case.router, &account, eve).await;
    }
    let mut process = ground.run(NOWHERE);
    let of_kinds = |kinds: &[&str], job: &str| {
        let some = cases.iter().filter(|case| kinds.contains(&case.kind));
        some.map(|case| wanted(&ground, case, job)).collect::<Vec<_>>()
    };
    // First what each job begins with.
    pursued(&ground, of_kinds(&["disconnect", "connect"], "update")).await;
    pursued(&ground, of_kinds(&["connect"], "disconnect")).await;
    let is_on =
        async |case: &Case| !case.rows("/ppp/active", &format!("user-{}-0", case.index.0)).await.is_empty();
    for case in cases.iter().filter(|case| matches!(case.kind, "update" | "disconnect")) {
        until("the subscriber is connected", async || is_on(case).await).await;
    }
    let before = written(&lab, &cases);
    for case in &cases {
        case.gate.shut_after(case.at, case.side);
    }
    ground.entitle(cases.iter().map(|case| wanted(&ground, case, case.kind).1).collect()).await;
    all_shut(&lab, &cases, &before).await;
    process.kill();
    for case in &cases {
        let (account, _) = wanted(&ground, case, case.kind);
        let last = ground.standings(&account).await.pop().unwrap();
        assert_eq!(last.state, EnforcementState::Begun, "{}", case.told());
        case.gate.open();
    }
    let _next = ground.run(NOWHERE);
    for case in &cases {
        let (account, _) = wanted(&ground, case, case.kind);
        ground.enforced(&account, EnforcementState::InForce).await;
        let (told, user) = (case.told(), format!("user-{}-0", case.index.0));
        assert_eq!(writes_at(&lab, &case.router) - before[case.router.as_str()], case.takes as u64, "{told}");
        match case.kind {
            "add" => {
                let eve = case.rows("/ppp/secret", &user_of(case)).await;
                assert_eq!(eve.len(), 1, "{told}");
                assert_eq!(eve[0].text("comment"), Some(format!("mastwatch:{account}").into()), "{told}");
                assert_eq!(
                    case.rows("/queue/simple", &format!("mastwatch-{account}")).await.len(),
                    1,
                    "{told}"
                );
            }
            "update" => {
                let secret = case.rows("/ppp/secret", &user).await;
                assert_eq!(secret[0].text("profile"), Some("gold".into()), "{told}");
            }
            "disconnect" => {
                let secret = case.rows("/ppp/secret", &user).await;
                assert!(secret[0].text("disabled") == Some("true".into()) && !is_on(case).await, "{told}");
            }
            _ => until("the subscriber dials in", async || is_on(case).await).await,
        }
    }
    // Of the person nothing is anywhere but at the router and sealed.
    for noun in [Noun::Entitlement, Noun::Enforcement, Noun::Repair, Noun::Plan] {
        let all = ground.heard(noun).await;
        assert!(!all.is_empty() || noun == Noun::Plan, "{noun:?}");
        for heard in all {
            let text = serde_json::to_string(&heard.fact).unwrap();
            let address = std::net::IpAddr::from(ADDRESS).to_string();
            assert!(![USER, PASSWORD, &address].iter().any(|word| text.contains(word)), "{text}");
        }
    }
    lab.stop().await;
}
