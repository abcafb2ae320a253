//! Subscribers with a static address: pinged through the router that sees them.

use crate::{
    ground::{Ground, Running, until},
    router::Router,
};
use events::{About, Claim, Fact, NodeId, Noun, Outcome, Probe, Question, Signal, SignalSource};
use kit::{Filter, From};
use std::time::Duration;

/// The address that both have.
const SHARED: &str = "192.168.88.50";

impl Ground {
    /// Every claim there is, in order.
    async fn signals(&self) -> Vec<Signal> {
        let end = self.log.state().await.unwrap().last_seq;
        let mut reader = self.log.read(&[Filter::noun(Noun::Signal)], From::Start, Some(end));
        let mut all = Vec::new();
        loop {
            let chunk = reader.next_chunk(500).await.unwrap();
            if chunk.is_empty() {
                return all;
            }
            all.extend(chunk.iter().map(|raw| match raw.decode().unwrap().fact {
                Fact::Signal(signal) => signal,
                other => panic!("no signal: {other:?}"),
            }));
        }
    }

    /// What was claimed of a subscriber behind a router, in order.
    async fn claimed(&self, account: &str, router: &str) -> Vec<Claim> {
        let about = About::Node(NodeId::of_account(self.tenant, account));
        let mine = self.signals().await.into_iter().filter(|signal| signal.about == about);
        mine.map(|signal| {
            let expected = Signal { says: signal.says, ..a_claim(about, self.id(router)) };
            assert_eq!(signal, expected, "and nothing else is said");
            signal.says
        })
        .collect()
    }

    async fn claims_become(&self, account: &str, router: &str, expected: &[Claim]) {
        until(&format!("claimed of {account}: {expected:?}"), Duration::from_secs(30), async || {
            self.claimed(account, router).await == expected
        })
        .await;
    }

    /// One router with one static subscriber, pinged every second.
    async fn with_one_subscriber(&self, settings: &[(&str, &str)]) -> (Router, Running) {
        let router = Router::start("127.0.0.1").await;
        let core = self.router("core-1", router.address, "s3cret");
        self.know("c-1", |person| person.static_address = Some(SHARED.into())).await;
        self.put(vec![core, self.subscriber("c-1", "core-1")]).await;
        router.state().alive.insert(SHARED.into());
        let running = self.start(&[&[("static_every_s", "1")], settings].concat()).await;
        self.claims_become("c-1", "core-1", &[Claim::Up]).await;
        (router, running)
    }
}

fn a_claim(about: About, router: NodeId) -> Signal {
    Signal {
        about,
        says: Claim::Up,
        source: SignalSource::ProxyPing,
        sender: Some(router),
        boot: None,
        seq: None,
        sealed_name: None,
        detail: None,
    }
}

fn pings(router: &Router) -> u32 {
    router.state().pinged.get(SHARED).copied().unwrap_or(0)
}

async fn some_more_pings(router: &Router, count: u32) {
    let so_far = pings(router);
    until("it is pinged again", Duration::from_secs(30), async || pings(router) >= so_far + count).await;
}

/// Requirements, R8: the same private address behind two routers is two subscribers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_with_one_address_behind_two_routers_are_kept_apart_and_this_host_sends_no_echo() {
    let ground = Ground::lay().await;
    let (one, other) = (Router::start("127.0.0.1").await, Router::start("127.0.0.1").await);
    one.state().alive.insert(SHARED.into());
    let mut nodes = Vec::new();
    for (account, core, router) in [("c-1", "core-1", &one), ("c-2", "core-2", &other)] {
        nodes.push(ground.router(core, router.address, "s3cret"));
        nodes.push(ground.subscriber(account, core));
        ground.know(account, |person| person.static_address = Some(SHARED.into())).await;
    }
    // Nobody knows where these are, or a session tells of them: nothing is asked about them.
    let mut here = ground.node("here");
    here.address = Some("127.0.0.1".parse().unwrap());
    nodes.push(here);
    nodes.push(ground.subscriber("unknown", "core-1"));
    nodes.push(ground.subscriber("dials-in", "core-1"));
    ground
        .know("dials-in", |person| {
            person.user = Some("cust-1".into());
            person.static_address = Some("192.168.88.51".into());
        })
        .await;
    ground.put(nodes).await;
    let running = ground.start(&[("static_every_s", "1")]).await;
    ground.claims_become("c-1", "core-1", &[Claim::Up]).await;
    ground.claims_become("c-2", "core-2", &[Claim::Down]).await;
    one.state().alive.clear();
    other.state().alive.insert(SHARED.into());
    ground.claims_become("c-1", "core-1", &[Claim::Up, Claim::Down]).await;
    ground.claims_become("c-2", "core-2", &[Claim::Down, Claim::Up]).await;

    // Asked about, each is looked for behind its own router, and behind no other.
    let ask = async |account: &str, router: &str| {
        let mut ask = ground.question(
            account,
            Question::PingThrough { router: ground.id(router) },
            Duration::from_secs(10),
        );
        ask.target = NodeId::of_account(ground.tenant, account);
        ground.say(vec![Fact::Ask(ask.clone())]).await;
        let answers =
            ground.answers_until("it is answered", |all| all.iter().any(|a| crate::ground::ends(a, ask.id)));
        let mut mine = answers.await.into_iter().filter(|answer| answer.ask == Some(ask.id));
        mine.next_back().unwrap().outcome
    };
    assert_eq!(ask("c-1", "core-1").await, Outcome::Silent { tries: 3, last: true });
    assert!(matches!(ask("c-2", "core-2").await, Outcome::Replied { .. }));
    for (account, router) in [("c-2", "core-1"), ("unknown", "core-1"), ("dials-in", "core-1")] {
        assert!(matches!(ask(account, router).await, Outcome::Unanswered { .. }), "{account} {router}");
    }

    let asked = |router: &Router| router.state().pinged.keys().cloned().collect::<Vec<_>>();
    assert_eq!((asked(&one), asked(&other)), (vec![SHARED.to_owned()], vec![SHARED.to_owned()]));
    assert!(pings(&one) > 3 && pings(&other) > 3, "by its routers it was pinged");
    assert_eq!((one.state().logins, other.state().logins), (1, 1), "over the session that everybody shares");
    // The socket of this host for echoes was never opened: its buffer has no size. Figures are taken every 5 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(ground.figure("mastwatch_poller_echo_window") > 0.0, "figures were taken");
    assert_eq!(ground.figure("mastwatch_poller_echo_buffer_bytes"), 0.0);
    assert_eq!(ground.signals().await.len(), 4, "only changes are said");
    assert_eq!(ground.figure("mastwatch_poller_claims_said_total"), 4.0);
    assert!(!ground.metrics.text().unwrap().contains(SHARED));
    // One echo of its own shows there, where the system lets us send any.
    if let [Outcome::Replied { .. }] = ground.ask("here", Question::Reach { probe: Probe::Icmp }).await[..] {
        until("the socket is seen to be open", Duration::from_secs(20), async || {
            ground.figure("mastwatch_poller_echo_buffer_bytes") > 0.0
        })
        .await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_echo_or_two_claim_nothing_and_three_do() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_subscriber(&[]).await;
    for lost in [1, 2] {
        router.state().lost.insert(SHARED.into(), lost);
        some_more_pings(&router, lost + 2).await;
        assert_eq!(router.state().lost[SHARED], 0);
    }
    assert_eq!(ground.claimed("c-1", "core-1").await, [Claim::Up]);
    router.state().alive.clear();
    ground.claims_become("c-1", "core-1", &[Claim::Up, Claim::Down]).await;
    some_more_pings(&router, 4).await;
    router.state().alive.insert(SHARED.into());
    ground.claims_become("c-1", "core-1", &[Claim::Up, Claim::Down, Claim::Up]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_silent_or_has_just_booted_says_nothing_of_those_behind_it() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_subscriber(&[]).await;
    router.state().is_silent = true;
    router.state().alive.clear();
    let ended = |outcome: &str| {
        let name = format!("mastwatch_poller_static_pings_total{{outcome=\"{outcome}\"}}");
        ground.figure(&name)
    };
    until("its silence is noticed", Duration::from_secs(30), async || ended("router_silent") > 0.0).await;
    assert_eq!(ground.claimed("c-1", "core-1").await, [Claim::Up]);
    // It is back, and does not see everybody yet.
    router.state().uptime = Some("4m59s");
    router.state().is_silent = false;
    until("it is asked again", Duration::from_secs(60), async || ended("too_early") > 1.0).await;
    assert_eq!(ground.claimed("c-1", "core-1").await, [Claim::Up]);
    // One that does not do it says nothing either.
    router.state().may_not_ping = true;
    until("it refuses", Duration::from_secs(30), async || ended("refused") > 0.0).await;
    assert_eq!(ground.claimed("c-1", "core-1").await, [Claim::Up]);
    router.state().may_not_ping = false;
    // Nobody can know what happened meanwhile: what is found first is said.
    router.state().alive.insert(SHARED.into());
    ground.claims_become("c-1", "core-1", &[Claim::Up, Claim::Up]).await;
    router.state().uptime = Some("6m1s");
    router.state().alive.clear();
    ground.claims_become("c-1", "core-1", &[Claim::Up, Claim::Up, Claim::Down]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_said_again_after_a_while_and_who_is_forgotten_is_not_asked_about() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_subscriber(&[("attest_every_s", "10")]).await;
    let begun = std::time::Instant::now();
    ground.claims_become("c-1", "core-1", &[Claim::Up, Claim::Up]).await;
    assert!((6.0..13.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    let subscriber = NodeId::of_account(ground.tenant, "c-1");
    ground.log.purge_personal(ground.tenant, subscriber).await.unwrap();
    let forgotten = "mastwatch_poller_static_pings_total{outcome=\"no_address\"}";
    until("it is looked for", Duration::from_secs(30), async || ground.figure(forgotten) > 0.0).await;
    let so_far = pings(&router);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(pings(&router), so_far);
    running.stop().await;
}

/// A hundred that do not answer hold up neither those behind another router nor what is asked of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_are_silent_take_half_of_their_routers_places_and_delay_nobody_elses() {
    let ground = Ground::lay().await;
    let (full, other) = (Router::start("127.0.0.1").await, Router::start("127.0.0.1").await);
    let mut nodes = vec![
        ground.router("core-1", full.address, "s3cret"),
        ground.router("core-2", other.address, "s3cret"),
        ground.child("ap-1", "core-1", Some("10.0.0.1")),
    ];
    for n in 0..100 {
        let account = format!("c-{n}");
        ground.know(&account, |person| person.static_address = Some(format!("192.168.88.{n}"))).await;
        nodes.push(ground.subscriber(&account, "core-1"));
    }
    ground.know("lucky", |person| person.static_address = Some(SHARED.into())).await;
    nodes.push(ground.subscriber("lucky", "core-2"));
    ground.put(nodes).await;
    other.state().alive.insert(SHARED.into());
    full.state().alive.insert("10.0.0.1".into());
    let running = ground.start(&[("static_every_s", "1")]).await;
    until("half of the places are taken", Duration::from_secs(30), async || full.state().pings.1 >= 4).await;
    let begun = std::time::Instant::now();
    some_more_pings(&other, 3).await;
    let asked = ground.ask("ap-1", Question::PingThrough { router: ground.id("core-1") }).await;
    assert!(matches!(asked[..], [Outcome::Replied { .. }]), "{asked:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let most = full.state().pings.1;
    assert!(most <= 5, "{most}: half of eight places, and the ask");
    assert!(ground.figure("mastwatch_poller_static_pings_waiting") > 0.0);
    running.stop().await;
}

/// Its slot is given back, and then taken from one that was killed: whoever looks after the router says what it finds
/// first, and that is never that somebody is down who answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_passes_from_poller_to_poller_has_nobody_behind_it_told_down() {
    const BEHIND: usize = 5;
    let ground = Ground::lay().await;
    let router = Router::start("127.0.0.1").await;
    let mut nodes = vec![ground.router("core-1", router.address, "s3cret")];
    let accounts: Vec<String> = (0..BEHIND).map(|n| format!("c-{n}")).collect();
    for (n, account) in accounts.iter().enumerate() {
        let address = format!("192.168.88.{n}");
        router.state().alive.insert(address.clone());
        ground.know(account, |person| person.static_address = Some(address)).await;
        nodes.push(ground.subscriber(account, "core-1"));
    }
    ground.put(nodes).await;
    let pace = [("static_every_s", "1"), ("takeover_after_ms", "1000")];
    // Each time that somebody else looks after the router, all behind it are claimed to be up once more.
    let are_claimed = async |times: usize| {
        until(&format!("all are claimed {times} times"), Duration::from_secs(60), async || {
            for account in &accounts {
                if ground.claimed(account, "core-1").await.len() < times {
                    return false;
                }
            }
            true
        })
        .await;
    };
    let first = ground.start(&pace).await;
    are_claimed(1).await;
    let second = ground.start(&pace).await;
    first.stop().await;
    are_claimed(2).await;
    let third = ground.start(&pace).await;
    second.kill().await;
    are_claimed(3).await;
    let pings = || router.state().pinged.values().sum::<u32>();
    let so_far = pings();
    until("it is pinged by the last one", Duration::from_secs(60), async || {
        pings() > so_far + 4 * BEHIND as u32
    })
    .await;
    for account in &accounts {
        let claims = ground.claimed(account, "core-1").await;
        assert!(claims.iter().all(|claim| *claim == Claim::Up), "{account}: {claims:?}");
        assert!(claims.len() <= 4, "{account}: {claims:?}");
    }
    assert!(router.state().logins <= 4, "one login for each that looks after it: {}", router.state().logins);
    // And who goes then is told of, once.
    router.state().alive.clear();
    let downs = async |account: &str| {
        ground.claimed(account, "core-1").await.iter().filter(|claim| **claim == Claim::Down).count()
    };
    for account in &accounts {
        until(&format!("{account} is claimed down"), Duration::from_secs(60), async || {
            downs(account).await > 0
        })
        .await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for account in &accounts {
        assert_eq!(downs(account).await, 1, "{account}");
    }
    third.stop().await;
}
