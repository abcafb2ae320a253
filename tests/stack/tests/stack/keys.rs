//! Master keys: rotated while everything runs; and nothing that is stored holds a password.

use embedded::Postgres;
use events::{Access, Fact, LookUpKey, Noun, TenantId};
use kit::{Filter, From};
use network_file::{Concentrators, NetworkFile, Session, Shape};
use serde_json::Value;
use sqlx::{Connection, PgConnection, Row};
use stack::{
    Stack,
    hand::{Typist, until},
};
use std::{path::Path, time::Duration};
use vault::{MasterKeys, OpenError};

/// A command of an administrator as it is typed: exit code, and what it said as JSON.
fn asks(stack: &Stack, token: &str, words: &[&str]) -> (i32, Option<Value>, String) {
    let typist = Typist { token: Some(token), ..Typist::default() };
    let said = typist.types(stack, &[words, &["--json"]].concat(), None);
    (said.code, serde_json::from_str(&said.out).ok(), said.err)
}

/// How the keys of a tenant are wrapped now.
async fn wrapped(stack: &Stack, tenant: TenantId) -> LookUpKey {
    let filter = Filter::noun(Noun::Access).tenant(tenant);
    let end = stack.log.state().await.unwrap().last_seq;
    let mut reader = stack.log.read(&[filter], From::LastPerSubject, Some(end));
    let mut found = None;
    while let Some(raw) = reader.next().await.unwrap() {
        if let Fact::Access(said) = raw.decode().unwrap().fact
            && let Access::Keys(keys) = said.now
        {
            found = Some(keys);
        }
    }
    found.expect("every tenant has keys")
}

/// Every row of every table, as text.
async fn dump(postgres: &Postgres) -> String {
    let mut owner = PgConnection::connect(&postgres.superuser_url()).await.unwrap();
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables
        where schemaname not in ('pg_catalog', 'information_schema')";
    let mut all = String::new();
    for table in sqlx::query(tables).fetch_all(&mut owner).await.unwrap() {
        let rows = format!("select t::text from {} t", table.get::<String, _>(0));
        for row in sqlx::query(sqlx::AssertSqlSafe(rows)).fetch_all(&mut owner).await.unwrap() {
            all.push_str(row.get(0));
            all.push('\n');
        }
    }
    all
}

/// Whether a file below `dir` holds this text.
fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, text);
        }
        // A file that is gone by now holds nothing.
        let content = std::fs::read(&path).unwrap_or_default();
        String::from_utf8_lossy(&content).contains(text)
    })
}

/// An ISP whose core is looked at every two seconds by logging in.
fn network(stack: &Stack) -> NetworkFile {
    let shape = Shape {
        towers: 2,
        sectors: 2,
        clients: 2,
        heartbeat_s: 2,
        // Another test may be playing its own ISP at the usual one.
        api_port: stack::free_port().unwrap().port(),
        concentrators: Concentrators::Towers,
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    stack.tell_the_sink(&mut network);
    network
}

/// Requirements, R83: passwords and user names of subscribers are in no row and in no file of the log as they are;
/// a new master key comes while everything runs, routers are looked at as before, a poller that starts later
/// enters them by the new key alone, and the old one opens nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn master_keys_are_rotated_while_everything_runs_and_nothing_stored_holds_a_password() {
    let stack = Stack::start().await.unwrap();
    let network = network(&stack);
    let tenant = TenantId::of(&network.tenant.slug);
    let others = ["ingest", "diagnostician", "correlator", "notifier", "projector", "console", "reconciler"];
    let running = stack.run(&others).unwrap();
    let mut poller =
        stack.run_as(&["poller"], None, &[("MASTWATCH_POLLER__TAKEOVER_AFTER_MS", "1000")]).unwrap();
    let lab = stack.play(&network).await.unwrap();
    stack.import(&network).await.unwrap();
    let api = stack.api_of(&network.tenant.slug);
    stack.settled(&network.tenant.slug, Duration::from_secs(60)).await.unwrap();

    let login = network.nodes.iter().find_map(|node| node.login.as_ref()).unwrap();
    let user = network.subscribers.iter().find_map(|subscriber| match &subscriber.session {
        Session::Pppoe(user) => Some(user.reveal().to_owned()),
        Session::Mac(_) | Session::Static(_) | Session::None => None,
    });
    let secrets = [login.password.reveal().to_owned(), user.expect("a subscriber has a user name")];
    let rows = dump(&stack.postgres).await;
    assert!(rows.contains(&network.tenant.slug), "the rows are read");
    for secret in &secrets {
        assert!(!rows.contains(secret), "a row holds a secret as it is");
        assert!(holds(stack.nats.dir(), &tenant.to_string()), "the log is read");
        assert!(!holds(stack.nats.dir(), secret), "the log holds a secret as it is");
    }

    let file = stack.path("master.key");
    let file_name = file.to_str().unwrap();
    let old = MasterKeys::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(old.open_tenant(tenant, &wrapped(&stack, tenant).await).is_ok());
    // Who may not do it leaves the file as it is.
    let (code, _, why) = asks(&stack, "mw_nobody000000_no", &["rotate-keys", "--file", file_name]);
    assert!(code == 1 && why.contains("token"), "{why}");
    assert_eq!(MasterKeys::drop_older_in_file(&file).unwrap(), 0);

    let logins = |lab: &lab::Lab| lab.counters().0.logins;
    let looks = |lab: &lab::Lab| lab.counters().0.calls.values().sum::<u64>();
    let looks_before = looks(&lab);
    let words = ["rotate-keys", "--file", file_name];
    let (code, said, why) = asks(&stack, stack.administrator(), &words);
    assert_eq!(code, 0, "{why}");
    let said = said.unwrap();
    assert_eq!((&said["rewrapped"], &said["dropped"]), (&Value::from(1), &Value::from(1)), "{said}");
    let now = wrapped(&stack, tenant).await;
    assert_eq!(old.open_tenant(tenant, &now).unwrap_err(), OpenError::UnknownMasterKey);
    assert!(MasterKeys::from_file(&file).unwrap().open_tenant(tenant, &now).is_ok());
    // A second run draws yet another one.
    let (code, said, why) = asks(&stack, stack.administrator(), &words);
    assert_eq!((code, said.unwrap()["rewrapped"].as_u64()), (0, Some(1)), "{why}");

    until("routers are looked at as before", &poller, async || {
        (looks(&lab) > looks_before + 3).then_some(())
    })
    .await;
    let of_each = lab.counters().1;
    let once_each = |counted: &lab::counters::Counters| counted.logins <= 2;
    assert!(of_each.values().all(once_each), "poller and reconciler log in once each: {of_each:?}");
    let logins_before = logins(&lab);
    poller.kill();
    let poller = stack.run_as(&["poller"], None, &[("MASTWATCH_POLLER__TAKEOVER_AFTER_MS", "1000")]).unwrap();
    let core = network.nodes.iter().find(|node| node.login.is_some()).unwrap().id.clone();
    until("a poller that knows the new key alone enters routers", &poller, async || {
        (logins(&lab) > logins_before).then_some(())
    })
    .await;
    // What is pushed is understood as before, and people are told.
    lab.set_broken(&[lab.network().find(&core).unwrap()], true);
    until("the outage is told", &running, async || {
        let incidents = api.get("/api/v1/incidents").await.unwrap();
        incidents["items"].as_array().filter(|all| !all.is_empty()).map(|_| ())
    })
    .await;
    lab.stop().await;
}
