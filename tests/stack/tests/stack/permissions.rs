//! Each service connects as a user of its own, which may do what the service does and nothing else.

use events::{
    About, Claim, Delivery, DeliveryKind, DeliverySaid, EventId, Fact, NodeId, NoticeId, Noun, Say, Signal,
    SignalSource, TenantId, Time,
};
use kit::{
    Log, Outgoing, PublishError,
    permissions::{self, User},
};
use lab::Lab;
use network_file::{Concentrators, NetworkFile, Session, Shape};
use serde_json::Value;
use stack::{
    Running, Stack, as_user, binary,
    fleet::Fleet,
    free_port,
    hand::{facts, until},
    password_of,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::Arc,
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

/// Which of these subjects the server does not let `user` publish to, tried where nothing can come of it: with a
/// condition that never holds, or as a request that is none.
async fn refused(stack: &Stack, user: &str, subjects: &[String]) -> BTreeSet<String> {
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
    // The server answers in order: once it has refused the last, it has said what it has to say of the others.
    let last = "nobody.may.say.this".to_owned();
    for subject in subjects.iter().chain([&last]) {
        client.publish_with_headers(subject.clone(), headers.clone(), "?".into()).await.unwrap();
    }
    let mut refused = BTreeSet::new();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), denials.recv()).await.unwrap().unwrap();
        if event.contains(&format!("\"{last}\"")) {
            return refused;
        }
        if event.to_lowercase().contains("permissions violation") {
            let named = subjects.iter().filter(|subject| event.contains(&format!("\"{subject}\"")));
            refused.extend(named.cloned());
        }
    }
}

/// Who says facts of a noun, as the design has it.
const fn sayers(noun: Noun) -> &'static [&'static str] {
    match noun {
        Noun::Inventory | Noun::Part | Noun::Revision | Noun::Access | Noun::Entitlement | Noun::Order => {
            &["console"]
        }
        Noun::Signal => &["ingest", "poller", "reconciler"],
        Noun::Answer | Noun::View => &["poller"],
        Noun::Refusal => &["ingest"],
        Noun::Ask => &["diagnostician", "correlator", "console"],
        Noun::Suspicion | Noun::Health => &["diagnostician"],
        Noun::Incident => &["correlator"],
        Noun::Notice | Noun::Delivery => &["notifier"],
        Noun::Repair | Noun::Plan | Noun::Enforcement => &["reconciler"],
        Noun::Sighting => &["reconciler", "console"],
        // Its own only: see below.
        Noun::Timer | Noun::Cut | Noun::Due => &[],
    }
}

/// What services must or must not be allowed about a tenant, and who must be.
fn matters(tenant: TenantId) -> BTreeMap<String, Vec<&'static str>> {
    let part = events::partition_of(tenant);
    let mut all: BTreeMap<String, Vec<&'static str>> = Noun::ALL
        .into_iter()
        .map(|noun| (format!("mw.{part}.{tenant}.{}.made-up", noun.token()), sayers(noun).to_vec()))
        .collect();
    for service in Fleet::SERVICES {
        let decides = ["diagnostician", "correlator", "notifier"].contains(&service);
        let who = if decides { vec![service] } else { vec![] };
        all.insert(format!("mw.{part}.{tenant}.timer.{service}.made-up"), who.clone());
        all.insert(format!("mw.{part}.all.cut.{service}"), who);
        let buries = if service == "projector" { "projector-series" } else { service };
        all.insert(format!("dead.{buries}.made-up"), vec![service]);
    }
    all.insert(format!("personal.{tenant}.made-up"), vec!["console"]);
    all.insert(format!("metrics.{part}.{tenant}.made-up"), vec!["poller"]);
    all.insert("$JS.API.STREAM.MSG.GET.PERSONAL".into(), vec!["reconciler", "console"]);
    all.insert(format!("$JS.API.DIRECT.GET.PERSONAL.personal.{tenant}.made-up"), vec!["poller"]);
    all.insert("$JS.API.STREAM.UPDATE.LOG".into(), vec![permissions::SETUP]);
    for call in ["DELETE.LOG", "MSG.DELETE.LOG", "SNAPSHOT.LOG", "DELETE.PERSONAL"] {
        all.insert(format!("$JS.API.STREAM.{call}"), vec![]);
    }
    all
}

/// One of those who are a user: which service, and for which tenant only.
type Member<'a> = (&'a str, Option<TenantId>);

/// Holds what a user may do against what those who are it must be able to do.
async fn may_do_what_these_do(stack: &Stack, user: &str, members: &[Member<'_>], tenant: TenantId) {
    let matters = matters(tenant);
    let subjects: Vec<String> = matters.keys().cloned().collect();
    let refused = refused(stack, user, &subjects).await;
    for (subject, who) in matters {
        let names_another = |only: TenantId| only != tenant && subject.contains(&tenant.to_string());
        let may =
            members.iter().any(|(service, only)| who.contains(service) && !only.is_some_and(names_another));
        assert_eq!(!refused.contains(&subject), may, "{user} publishes {subject}");
    }
}

async fn readiness(port: &std::net::SocketAddr) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://{port}/readyz")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

fn small_network() -> NetworkFile {
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
    network_file::generate(&shape).unwrap()
}

/// A small outage, from the import to the notice that ends it. `said` is what the services wrote.
async fn lives_through_an_outage(
    stack: &Stack,
    network: &NetworkFile,
    said: &dyn Fn() -> String,
) -> Arc<Lab> {
    let lab = stack.play(network).await.unwrap();
    let imported = stack.import(network).await.unwrap_or_else(|e| panic!("{e:#}\n{}", said()));
    assert_eq!(imported["committed"], true, "{imported}");
    let settled = stack.settled(&network.tenant.slug, Duration::from_secs(60)).await;
    settled.unwrap_or_else(|e| panic!("{e:#}\n{}", said()));
    let core = lab.network().find("core-1").unwrap();
    for (broken, count, event) in [(true, 1, "incident.opened"), (false, 2, "incident.resolved")] {
        lab.set_broken(&[core], broken);
        let told = stack.sink.wait_for(count, Duration::from_secs(60)).await;
        let told = told.unwrap_or_else(|e| panic!("{e:#}\n{}", said()));
        assert_eq!(told[count - 1].0, event);
    }
    lab
}

/// Waits until a process has ended, in which nothing was denied it: leases are given back at the very end.
async fn ends_without_a_denial(name: &str, running: &mut Running) {
    let began = Instant::now();
    while running.has_ended().is_none() {
        assert!(began.elapsed() < Duration::from_secs(30), "{name} does not end:\n{}", running.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let all = running.said_in_all();
    let denied: Vec<&str> = all.lines().filter(|line| line.to_lowercase().contains("violation")).collect();
    assert!(denied.is_empty(), "{name} needs more than it may:\n{}", denied.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_works_as_a_user_that_may_do_nothing_else() {
    let mut network = small_network();
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

    stack.tell_the_sink(&mut network);
    let mut fleet = Fleet::start(&stack).unwrap();
    let lab = lives_through_an_outage(&stack, &network, &|| fleet.said(&Fleet::SERVICES)).await;
    until("it is pinged through its router", fleet.of("poller"), async || {
        let mut signals = facts(&stack, Noun::Signal).await.into_iter();
        let is_claim = |fact| matches!(fact, Fact::Signal(it) if it.about == About::Node(with_static) && it.source == SignalSource::ProxyPing);
        signals.any(is_claim).then_some(())
    })
    .await;
    fleet.mind(&stack, &[]).unwrap();
    assert_eq!(fleet.ended(), Vec::<String>::new());
    // In good order to the end: leases are given back.
    for service in Fleet::SERVICES {
        fleet.of(service).signal("TERM").unwrap();
    }
    for service in Fleet::SERVICES {
        ends_without_a_denial(service, fleet.of(service)).await;
    }

    // What it does not do it may not do.
    publishes(&stack, "ingest", signal(other)).await.unwrap();
    publishes(&stack, &pollers_user, signal(own)).await.unwrap();
    publishes(&stack, &pollers_user, signal(other)).await.unwrap_err();
    publishes(&stack, "ingest", delivery(own)).await.unwrap_err();
    for name in users.iter().map(|user| user.name.as_str()) {
        let member = if name == pollers_user { ("poller", Some(own)) } else { (name, None) };
        for tenant in [own, other] {
            may_do_what_these_do(&stack, name, &[member], tenant).await;
        }
    }

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

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_several_services_works_as_one_user_that_may_do_no_more_than_they() {
    let mut network = small_network();
    let slug = network.tenant.slug.clone();
    let (own, other) = (network.tenant_id(), TenantId::of("somebody-else"));
    let pollers_user = format!("poller-{POP}");
    let processes: [(&str, Vec<&str>); 3] = [
        ("edge", vec!["ingest", "poller"]),
        ("beliefs", vec!["diagnostician", "correlator", "notifier"]),
        ("desk", vec!["console", "projector", "reconciler"]),
    ];
    // As the command prints them.
    let mut print = Command::new(binary().unwrap());
    print.args(["nats-users", "--json", "--pop", &format!("{POP}={slug}")]);
    for (name, services) in &processes {
        let services = services.join(",").replace("poller", &pollers_user);
        print.args(["--process", &format!("{name}={services}")]);
    }
    let printed = print.output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let users: Vec<User> = String::from_utf8(printed.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|user| User {
            name: user["name"].as_str().unwrap().to_owned(),
            publish: texts(&user["publish"]),
            subscribe: texts(&user["subscribe"]),
        })
        .collect();
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["poller", "edge", "beliefs", "desk", "setup"]);

    let as_whom = processes.iter().map(|(name, services)| (services[0], (*name).to_owned()));
    let stack = Stack::start_with_users(&users, as_whom.collect::<Vec<_>>()).await.unwrap();
    stack.configure("pop", POP).unwrap();
    stack.tell_the_sink(&mut network);
    let mut running: Vec<Running> =
        processes.iter().map(|(_, services)| stack.run(services).unwrap()).collect();
    let said = || running.iter().map(Running::said).collect::<Vec<_>>().join("\n---\n");
    let lab = lives_through_an_outage(&stack, &network, &said).await;
    for process in &running {
        process.signal("TERM").unwrap();
    }
    for ((name, _), process) in processes.iter().zip(&mut running) {
        ends_without_a_denial(name, process).await;
    }

    for (name, services) in &processes {
        let bound = |service: &&'static str| (*service, (*service == "poller").then_some(own));
        let members: Vec<Member<'_>> = services.iter().map(bound).collect();
        for tenant in [own, other] {
            may_do_what_these_do(&stack, name, &members, tenant).await;
        }
    }
    lab.stop().await;
}
