//! Each service connects as a user of its own, which may do what the service does and nothing else.

use events::{
    About, Claim, Delivery, DeliveryKind, DeliverySaid, EventId, Fact, NodeId, NoticeId, Noun, Say, Signal,
    SignalSource, TenantId, Time,
};
use kit::{Log, Outgoing, PublishError, permissions};
use network_file::{Concentrators, Session, Shape};
use stack::{
    Stack, TESTER, as_user,
    fleet::Fleet,
    free_port,
    hand::{facts, until},
    password_of,
};
use std::{
    process::Command,
    time::{Duration, Instant},
};

const POP: &str = "north";

fn outgoing(tenant: TenantId, fact: Fact) -> Outgoing {
    let id = EventId::numbered(NodeId::of(tenant, "made-up"), "test", u64::from(std::process::id()));
    let say = Say { id, tenant, at: Time::from_ms(1_795_000_000_000), cause: None, fact };
    Outgoing::new(say, "test")
}

fn signal(tenant: TenantId) -> Outgoing {
    let about = About::Node(NodeId::of(tenant, "nobody-knows-this"));
    let says = Signal {
        about,
        says: Claim::Up,
        source: SignalSource::Heartbeat,
        sender: None,
        boot: None,
        seq: None,
        sealed_name: None,
        detail: None,
    };
    outgoing(tenant, Fact::Signal(says))
}

/// A belief: what only one service says.
fn delivery(tenant: TenantId) -> Outgoing {
    let notice = NoticeId(NodeId::of(tenant, "a notice").0);
    let now = Delivery { notice, attempts: 1, answer: None, possibly_repeated: false };
    outgoing(tenant, Fact::Delivery(DeliverySaid { kind: DeliveryKind::Attempted, now }))
}

async fn publishes(stack: &Stack, user: &str, out: Outgoing) -> Result<(), String> {
    let log = Log::connect(as_user(&stack.nats, user)).await.unwrap();
    let stored = log.within(Duration::from_secs(4)).publish(out).await;
    match stored {
        Ok(_) => Ok(()),
        Err(PublishError::Unavailable(reason)) => {
            assert!(reason.to_lowercase().contains("permissions violation"), "{user}: {reason}");
            Err(reason)
        }
        Err(other) => panic!("{user}: {other}"),
    }
}

/// Whether the server lets `user` publish to a subject, tried where nothing can come of it: with a condition that
/// never holds, or as a request that is none.
async fn may_publish(stack: &Stack, user: &str, subject: &str) -> bool {
    let (denied, mut denials) = tokio::sync::mpsc::unbounded_channel();
    let client = async_nats::ConnectOptions::with_user_and_password(user.into(), password_of(user))
        .custom_inbox_prefix(format!("_INBOX_{user}"))
        .event_callback(move |event| {
            let denied = denied.clone();
            async move { drop(denied.send(event.to_string())) }
        })
        .connect(stack.nats.url())
        .await
        .unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Expected-Last-Sequence", "1");
    client.publish_with_headers(subject.to_owned(), headers, "?".into()).await.unwrap();
    // The server answers in order: what it has to say of this it has said before it answers to a ping.
    client.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::iter::from_fn(|| denials.try_recv().ok()).all(|event| !event.to_lowercase().contains("violation"))
}

async fn readiness(port: &std::net::SocketAddr) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://{port}/readyz")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_works_as_a_user_that_may_do_nothing_else() {
    let shape = Shape {
        towers: 2,
        sectors: 2,
        clients: 2,
        heartbeat_s: 5,
        concentrators: Concentrators::Towers,
        // Every played ISP has the same addresses, so each has a port of its own.
        api_port: free_port().unwrap().port(),
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    let (own, other) = (network.tenant_id(), TenantId::of("somebody-else"));
    let mut users: Vec<_> = Fleet::SERVICES.into_iter().map(permissions::service).collect();
    users.extend([permissions::point_of_presence(POP, &[own]), permissions::setup()]);
    let pollers_user = format!("poller-{POP}");
    let as_whom = Fleet::SERVICES.map(|service| {
        (service, if service == "poller" { pollers_user.clone() } else { service.to_owned() })
    });
    let stack = Stack::start_with_users(&users, as_whom).await.unwrap();
    stack.configure("pop", POP).unwrap();

    // The server takes the users as they are printed, with passwords from its environment.
    let printed = stack.path("users.conf");
    std::fs::write(&printed, permissions::configuration(&users)).unwrap();
    let mut check = Command::new(&stack.nats.program().path);
    check.arg("-t").arg("-c").arg(&printed);
    check.envs(users.iter().map(|user| (user.password_variable(), password_of(&user.name))));
    let checked = check.output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    // One has a static address: its poller has to read where it answers.
    network.subscribers[0].session = Session::Static([192, 168, 88, 50].into());
    let with_static = NodeId::of_account(own, &network.subscribers[0].account);
    let config = std::fs::read_to_string(stack.config()).unwrap();
    std::fs::write(stack.config(), config.replace("[poller]\n", "[poller]\nstatic_every_s = 2\n")).unwrap();

    // A small outage, to the notice that ends it.
    stack.tell_the_sink(&mut network);
    let mut fleet = Fleet::start(&stack).unwrap();
    let lab = stack.play(&network).await.unwrap();
    let imported = stack.import(&network).await;
    let imported = imported.unwrap_or_else(|e| panic!("{e:#}\n{}", fleet.said(&Fleet::SERVICES)));
    assert_eq!(imported["committed"], true, "{imported}");
    let settled = stack.settled(&network.tenant.slug, Duration::from_secs(60)).await;
    settled.unwrap_or_else(|e| panic!("{e:#}\n{}", fleet.said(&Fleet::SERVICES)));
    until("it is pinged through its router", fleet.of("poller"), async || {
        let mut signals = facts(&stack, Noun::Signal).await.into_iter();
        let is_claim = |fact| matches!(fact, Fact::Signal(it) if it.about == About::Node(with_static) && it.source == SignalSource::ProxyPing);
        signals.any(is_claim).then_some(())
    })
    .await;
    let core = lab.network().find("core-1").unwrap();
    for (broken, count, event) in [(true, 1, "incident.opened"), (false, 2, "incident.resolved")] {
        lab.set_broken(&[core], broken);
        let told = stack.sink.wait_for(count, Duration::from_secs(60)).await;
        let told = told.unwrap_or_else(|e| panic!("{e:#}\n{}", fleet.said(&Fleet::SERVICES)));
        assert_eq!(told[count - 1].0, event);
    }
    fleet.mind(&stack, &[]).unwrap();
    assert_eq!(fleet.ended(), Vec::<String>::new());
    // In good order to the end: leases are given back.
    for service in Fleet::SERVICES {
        fleet.of(service).signal("TERM").unwrap();
    }
    for service in Fleet::SERVICES {
        let (began, running) = (Instant::now(), fleet.of(service));
        while running.has_ended().is_none() {
            assert!(began.elapsed() < Duration::from_secs(30), "{service} does not end:\n{}", running.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let all = running.said_in_all();
        let denied: Vec<&str> =
            all.lines().filter(|line| line.to_lowercase().contains("violation")).collect();
        assert!(denied.is_empty(), "{service} needs more than it may:\n{}", denied.join("\n"));
    }

    // What it does not do it may not do.
    publishes(&stack, "ingest", signal(other)).await.unwrap();
    publishes(&stack, &pollers_user, signal(own)).await.unwrap();
    publishes(&stack, &pollers_user, signal(other)).await.unwrap_err();
    publishes(&stack, "ingest", delivery(own)).await.unwrap_err();
    let subject =
        |tenant: TenantId, noun: &str| format!("mw.{}.{tenant}.{noun}.made-up", events::partition_of(tenant));
    for (noun, sayers) in [
        ("health", &["diagnostician"][..]),
        ("suspicion", &["diagnostician"]),
        ("incident", &["correlator"]),
        ("notice", &["notifier"]),
        ("delivery", &["notifier"]),
        ("inventory", &["console"]),
        ("access", &["console"]),
        ("entitlement", &["console"]),
        ("enforcement", &["reconciler"]),
        ("answer", &["poller"]),
    ] {
        for user in &users {
            let may = may_publish(&stack, &user.name, &subject(other, noun)).await;
            assert_eq!(may, sayers.contains(&user.name.as_str()), "{} says {noun}", user.name);
        }
    }
    assert!(may_publish(&stack, &pollers_user, &subject(own, "answer")).await);
    let person = |tenant: TenantId| format!("$JS.API.DIRECT.GET.PERSONAL.personal.{tenant}.made-up");
    assert!(may_publish(&stack, &pollers_user, &person(own)).await);
    assert!(!may_publish(&stack, &pollers_user, &person(other)).await);
    for user in users.iter().map(|user| user.name.as_str()) {
        for call in ["STREAM.DELETE.LOG", "STREAM.MSG.DELETE.LOG", "STREAM.SNAPSHOT.LOG"] {
            assert!(!may_publish(&stack, user, &format!("$JS.API.{call}")).await, "{user}: {call}");
        }
    }
    assert!(may_publish(&stack, TESTER, &subject(other, "health")).await);

    // Who may not do what it needs says so, where it is looked for.
    let port = free_port().unwrap();
    let address = port.to_string();
    let variables = [("MASTWATCH_ADMIN_ADDRESS", address.as_str())];
    let running = stack.run_as(&["correlator"], Some("projector"), &variables).unwrap();
    let began = Instant::now();
    loop {
        match readiness(&port).await {
            Some((503, why)) if why.contains("does not permit this user") => break,
            other if began.elapsed() > Duration::from_secs(20) => panic!("{other:?}\n{}", running.said()),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    assert!(running.said_in_all().to_lowercase().contains("permissions violation"), "{}", running.said());
    // And who may not declare the streams but should, ends with the reason.
    let declares = [("MASTWATCH_DECLARE_STREAMS", "true")];
    let mut running = stack.run_as(&["ingest"], Some("ingest"), &declares).unwrap();
    let status = loop {
        match running.has_ended() {
            Some(status) => break status,
            None if began.elapsed() > Duration::from_secs(60) => panic!("{}", running.said()),
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    assert!(!status.success());
    assert!(running.said().contains("may not declare the stream `LOG`"), "{}", running.said());
    lab.stop().await;
}
