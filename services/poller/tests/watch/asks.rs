//! Asks in, answers out.

use crate::{
    ground::{Ground, ends, now, until},
    router::Router,
};
use events::{Fact, Outcome, Probe, Question, RollCall, SessionState};
use socket2::{Domain, Socket, Type};
use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// A listener whose queue is full, like a host that is gone: what connects to it gets no answer.
fn dead_listener() -> (Vec<TcpStream>, Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(stream);
        assert!(queue.len() < 100, "the queue never fills");
    }
    (queue, socket, address)
}

fn silent(tries: u8, last: bool) -> Outcome {
    Outcome::Silent { tries, last }
}

fn router_silent(tries: u8, last: bool) -> Outcome {
    Outcome::RouterSilent { tries, last }
}

fn roll(outcome: &Outcome) -> &RollCall {
    match outcome {
        Outcome::RollCall(roll) => roll,
        other => panic!("no roll call: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_reached_or_silent_try_by_try() {
    let ground = Ground::lay().await;
    let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_queue, _socket, dead) = dead_listener();
    let mut node = ground.node("server-1");
    node.address = Some("127.0.0.1".parse().unwrap());
    ground.put(vec![node, ground.node("nowhere")]).await;
    let running = ground.start(&[]).await;

    let tcp = |port| Question::Reach { probe: Probe::Tcp { port } };
    let alive = ground.ask("server-1", tcp(open.local_addr().unwrap().port())).await;
    assert!(matches!(alive[..], [Outcome::Replied { .. }]), "{alive:?}");
    let begun = Instant::now();
    let gone = ground.ask("server-1", tcp(dead.port())).await;
    assert_eq!(gone, [silent(1, false), silent(2, false), silent(3, true)]);
    assert!((2.0..4.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    let no_address = ground.ask("nowhere", Question::Reach { probe: Probe::Icmp }).await;
    assert!(matches!(&no_address[..], [Outcome::Unanswered { why }] if why.contains("address")));
    let unknown = ground.ask("no-such-node", Question::Reach { probe: Probe::Icmp }).await;
    assert!(matches!(&unknown[..], [Outcome::Unanswered { why }] if why.contains("inventory")));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_router_is_silent_to_its_api_too_and_a_refusing_one_is_alive() {
    let ground = Ground::lay().await;
    let (_queue, _socket, dead) = dead_listener();
    let closed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let refusing = closed.local_addr().unwrap().as_socket().unwrap();
    let rejecting = Router::start("127.0.0.1").await;
    rejecting.state().rejects = true;
    ground
        .put(vec![
            ground.router("dead", dead, "x"),
            ground.router("refusing", refusing, "x"),
            ground.router("rejecting", rejecting.address, "x"),
            ground.child("behind-dead", "dead", Some("10.0.0.1")),
            ground.child("behind-rejecting", "rejecting", Some("10.0.0.2")),
        ])
        .await;
    let running = ground.start(&[]).await;

    let reach = || Question::Reach { probe: Probe::RouterOs };
    let gone = ground.ask("dead", reach()).await;
    assert_eq!(gone, [silent(1, false), silent(2, false), silent(3, true)]);
    for alive in ["refusing", "rejecting"] {
        let answers = ground.ask(alive, reach()).await;
        assert!(matches!(answers[..], [Outcome::Replied { .. }]), "{alive}: {answers:?}");
    }
    let through = |router| Question::PingThrough { router: ground.id(router) };
    let behind = ground.ask("behind-dead", through("dead")).await;
    assert_eq!(behind, [router_silent(1, false), router_silent(2, false), router_silent(3, true)]);
    let rejected = ground.ask("behind-rejecting", through("rejecting")).await;
    assert!(
        matches!(&rejected[..], [Outcome::Unanswered { why }] if why.contains("rejected")),
        "{rejected:?}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_is_pinged_by_its_router_and_is_silent_only_by_its_word() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_router().await;
    router.state().alive.insert("10.0.0.1".into());
    let ping = || Question::PingThrough { router: ground.id("core-1") };
    assert_eq!(ground.ask("ap-1", ping()).await, [Outcome::Replied { rtt_us: 453 }]);
    router.state().alive.clear();
    let gone = ground.ask("ap-1", ping()).await;
    assert_eq!(gone, [silent(1, false), silent(2, false), silent(3, true)]);
    router.state().is_silent = true;
    let dark = ground.ask("ap-1", ping()).await;
    assert_eq!(dark, [router_silent(1, false), router_silent(2, false), router_silent(3, true)]);
    {
        let mut state = router.state();
        (state.is_silent, state.may_not_ping) = (false, true);
    }
    let refused = ground.ask("ap-1", ping()).await;
    assert!(
        refused.iter().any(|a| matches!(a, Outcome::Unanswered { why } if why.contains("permissions"))),
        "{refused:?}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_looked_up_once_for_all_who_ask_meanwhile() {
    let ground = Ground::lay().await;
    let router = Router::start("127.0.0.1").await;
    let mac = ground.keys.look_up(ground.id("core-1"), vault::SessionKind::Mac, "AA:BB:CC:00:00:01");
    let subscriber = |name: &str, key| {
        let mut node = ground.child(name, "core-1", None);
        node.claims = vec![key];
        node
    };
    ground
        .put(vec![
            ground.router("core-1", router.address, "s3cret"),
            subscriber("sub-1", ground.claim("core-1", "alice")),
            subscriber("sub-2", ground.claim("core-1", "bob")),
            subscriber("sub-3", mac),
        ])
        .await;
    router.state().sessions.insert("alice".into());
    router.state().leases.insert("aa-bb-cc-00-00-01".into());
    let running = ground.start(&[]).await;
    let session = |keys| Question::Session { router: ground.id("core-1"), keys };
    let alice = ground.ask("sub-1", session(vec![ground.claim("core-1", "alice")])).await;
    assert_eq!(alice, [Outcome::Session { state: SessionState::Present }]);
    let bob = ground.ask("sub-2", session(vec![ground.claim("core-1", "bob")])).await;
    assert_eq!(bob, [Outcome::Session { state: SessionState::Absent }]);
    let leased = ground.ask("sub-3", session(vec![mac])).await;
    assert_eq!(leased, [Outcome::Session { state: SessionState::Present }]);

    let before = router.state().tables;
    let asks: Vec<_> = (0..200)
        .map(|_| {
            let keys = vec![ground.claim("core-1", "alice")];
            ground.question("sub-1", session(keys), Duration::from_secs(10))
        })
        .collect();
    ground.say(asks.iter().cloned().map(Fact::Ask).collect()).await;
    let answers = ground
        .answers_until("all are answered", |all| {
            asks.iter().all(|ask| all.iter().any(|answer| ends(answer, ask.id)))
        })
        .await;
    let present = Outcome::Session { state: SessionState::Present };
    let said = answers.iter().filter(|answer| asks.iter().any(|ask| answer.ask == Some(ask.id)));
    assert!(said.clone().count() == 200 && said.into_iter().all(|answer| answer.outcome == present));
    let reads = router.state().tables - before;
    assert!(reads <= 20, "{reads} readings for 200 asks");
    assert_eq!(router.state().logins, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_call_tells_everything_and_then_what_has_changed() {
    let ground = Ground::lay().await;
    let router = Router::start("127.0.0.1").await;
    let mut nodes = vec![
        ground.router("core-1", router.address, "s3cret"),
        ground.child("ap-1", "core-1", Some("10.0.0.1")),
        ground.child("ap-2", "core-1", Some("10.0.0.2")),
        ground.child("ap-3", "core-1", None),
    ];
    for n in 0..800 {
        let mut node = ground.child(&format!("sub-{n}"), "core-1", None);
        node.claims = vec![ground.claim("core-1", &format!("user-{n}"))];
        nodes.push(node);
    }
    ground.put(nodes).await;
    {
        let mut state = router.state();
        state.netwatch = [("10.0.0.1", "up"), ("10.0.0.2", "unknown"), ("10.0.0.3", "down")]
            .map(|(host, status)| (host.to_owned(), status))
            .into();
        state.comments.insert("10.0.0.3".into(), "nms:ap-3".into());
        state.sessions = (0..800).map(|n| format!("user-{n}")).collect();
        state.sessions.insert("a stranger".into());
    }
    let running = ground.start(&[]).await;
    let call = |whole| Question::RollCall { whole };

    // Nobody knows yet what was told before: the whole is told.
    let all = ground.ask("core-1", call(false)).await;
    let rolls: Vec<&RollCall> = all.iter().map(roll).collect();
    assert_eq!(rolls.len(), 2, "802 ids need two chunks");
    assert!(rolls.iter().all(|roll| roll.whole && roll.chunks == 2 && roll.uptime_ms == 183_845_000));
    let up: Vec<_> = rolls.iter().flat_map(|roll| roll.up.clone()).collect();
    let down: Vec<_> = rolls.iter().flat_map(|roll| roll.down.clone()).collect();
    assert_eq!((up, down), (vec![ground.id("ap-1")], vec![ground.id("ap-3")]));
    assert_eq!(rolls.iter().map(|roll| roll.present.len()).sum::<usize>(), 800);

    {
        let mut state = router.state();
        state.netwatch.insert("10.0.0.1".into(), "down");
        state.sessions.remove("user-7");
    }
    let [changed] = ground.ask("core-1", call(false)).await.try_into().unwrap();
    let changed = roll(&changed);
    assert!(!changed.whole);
    assert_eq!((&changed.up, &changed.down), (&vec![], &vec![ground.id("ap-1")]));
    assert_eq!((changed.present.len(), &changed.gone), (0, &vec![ground.claim("core-1", "user-7")]));
    let [same] = ground.ask("core-1", call(false)).await.try_into().unwrap();
    assert!(roll(&same).down.is_empty() && roll(&same).gone.is_empty());
    let whole = ground.ask("core-1", call(true)).await;
    assert!(whole.iter().all(|answer| roll(answer).whole));

    router.state().is_silent = true;
    let dark = ground.ask("core-1", call(true)).await;
    assert_eq!(dark, [silent(1, false), silent(2, false), silent(3, true)]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_children_are_asked_about_eight_at_a_time() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_router().await;
    let asks: Vec<_> = (0..500)
        .map(|_| {
            let question = Question::PingThrough { router: ground.id("core-1") };
            ground.question("ap-1", question, Duration::from_secs(6))
        })
        .collect();
    ground.say(asks.iter().cloned().map(Fact::Ask).collect()).await;
    let answers = ground
        .answers_until("all are answered", |all| {
            asks.iter().all(|ask| all.iter().any(|answer| ends(answer, ask.id)))
        })
        .await;
    let most = router.state().pings.1;
    assert!((2..=8).contains(&most), "{most} pings at once");
    let count = |outcome: &str| answers.iter().filter(|answer| name(&answer.outcome) == outcome).count();
    let (silent, unanswered) = (count("silent"), count("unanswered"));
    assert_eq!(silent + unanswered, 500);
    assert!(silent >= 7, "those whose turn came were found out");
    assert!(unanswered > 0, "those whose deadline passed are answered as just that");
    assert_eq!(router.state().logins, 1);
    running.stop().await;
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Silent { last: true, .. } => "silent",
        Outcome::Unanswered { .. } => "unanswered",
        Outcome::Silent { .. }
        | Outcome::Replied { .. }
        | Outcome::RouterSilent { .. }
        | Outcome::Session { .. }
        | Outcome::RollCall(_) => "other",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ask_is_answered_once_and_a_late_one_as_late() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_router().await;
    router.state().alive.insert("10.0.0.1".into());
    let question = || Question::PingThrough { router: ground.id("core-1") };
    let ask = ground.question("ap-1", question(), Duration::from_secs(10));
    ground.say(vec![Fact::Ask(ask.clone()), Fact::Ask(ask.clone())]).await;
    ground.say(vec![Fact::Ask(ask.clone())]).await;
    until("the repeats were noticed", Duration::from_secs(20), async || {
        ground.figure("mastwatch_poller_asks_repeated_total") >= 2.0
    })
    .await;
    let answers = ground.answers_until("it is answered", |all| all.iter().any(|a| ends(a, ask.id))).await;
    assert_eq!(answers.iter().filter(|answer| answer.ask == Some(ask.id)).count(), 1);

    router.state().is_silent = true;
    let hurried = ground.question("ap-1", question(), Duration::from_millis(700));
    ground.say(vec![Fact::Ask(hurried.clone())]).await;
    let answers = ground.answers_until("it is answered", |all| all.iter().any(|a| ends(a, hurried.id))).await;
    let last = answers.iter().rfind(|answer| answer.ask == Some(hurried.id)).unwrap();
    assert!(matches!(&last.outcome, Outcome::Unanswered { why } if why.contains("deadline")), "{last:?}");
    assert!(now().ms_since(hurried.deadline) < 5_000);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_asks_are_answered_as_too_many() {
    let ground = Ground::lay().await;
    let router = Router::start("127.0.0.1").await;
    let core = ground.router("core-1", router.address, "s3cret");
    ground.put(vec![core, ground.child("ap-1", "core-1", Some("10.0.0.1"))]).await;
    let running = ground.start(&[("asks_at_once", "4"), ("asks_waiting_max", "6")]).await;
    let asks: Vec<_> = (0..40)
        .map(|_| {
            let question = Question::PingThrough { router: ground.id("core-1") };
            ground.question("ap-1", question, Duration::from_secs(10))
        })
        .collect();
    ground.say(asks.iter().cloned().map(Fact::Ask).collect()).await;
    let answers = ground
        .answers_until("all are answered", |all| {
            asks.iter().all(|ask| all.iter().any(|answer| ends(answer, ask.id)))
        })
        .await;
    let too_many = answers.iter().filter(
        |answer| matches!(&answer.outcome, Outcome::Unanswered { why } if why.contains("too many asks")),
    );
    assert_eq!(too_many.count(), 30);
    assert!((ground.figure("mastwatch_poller_asks_overflown_total") - 30.0).abs() < 0.5);
    assert!(router.state().pings.1 <= 4);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_login_or_address_means_a_new_session() {
    let ground = Ground::lay().await;
    let (router, running) = ground.with_one_router().await;
    let reach = || Question::Reach { probe: Probe::RouterOs };
    for _ in 0..3 {
        assert!(matches!(ground.ask("core-1", reach()).await[..], [Outcome::Replied { .. }]));
    }
    assert_eq!(router.state().logins, 1);
    ground.put(vec![ground.router("core-1", router.address, "another")]).await;
    until("the new login is used", Duration::from_secs(20), async || {
        assert!(matches!(ground.ask("core-1", reach()).await[..], [Outcome::Replied { .. }]));
        router.state().logins == 2
    })
    .await;
    let moved = Router::start("127.0.0.1").await;
    ground.put(vec![ground.router("core-1", moved.address, "another")]).await;
    until("the new address is used", Duration::from_secs(20), async || {
        assert!(matches!(ground.ask("core-1", reach()).await[..], [Outcome::Replied { .. }]));
        moved.state().logins == 1
    })
    .await;
    running.stop().await;
}
