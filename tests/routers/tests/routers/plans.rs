//! Plans applied to played routers over their API.

use std::time::Duration;

use domain::plan::{Finding, fitness, plan, without_snitches};
use lab::Lab;
use lab::network::{DeviceMode, Habits};
use routeros_api::{CallError, Command, Router, RouterError};
use routers::{Collector, PATIENCE, ROUTER, apply, make, print, read, session, snitches, started};

const VERSIONS: [&str; 3] = ["6.49.10 (long-term)", "7.16.2 (stable)", "7.20.8 (stable)"];

fn lived_in() -> Habits {
    Habits { is_lived_in: true, ..Habits::default() }
}

/// How many commands that change something the router has heard.
fn writes(lab: &Lab) -> u64 {
    let (all, _) = lab.counters();
    let is_write = |path: &&str| ["/add", "/set", "/remove"].iter().any(|verb| path.ends_with(verb));
    all.calls.iter().filter(|(path, _)| is_write(&path.as_str())).map(|(_, count)| count).sum()
}

async fn rows(session: &Router, command: Command) -> Vec<routeros_api::Row> {
    session.call(&command, Duration::from_secs(10)).await.unwrap().rows
}

/// Waits until a menu shows so many rows that a query chooses.
async fn shows(session: &Router, path: &str, query: &str, count: usize) {
    let there = async {
        while rows(session, Command::new(path).query(query)).await.len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("{path} ?{query}: not {count}"));
}

#[tokio::test]
async fn what_is_installed_is_read_back_as_it_was_meant_and_the_second_run_writes_nothing() {
    for version in VERSIONS {
        let lab = started(version, lived_in()).await.unwrap();
        let session = session(&lab).await.unwrap();
        let desired = snitches("127.0.0.1:9".parse().unwrap(), version).desired();
        let first = apply(&session, &desired).await.unwrap();
        // A script, a task, a DHCP server, three profiles and three entries.
        assert_eq!(first.changes.len(), 9, "{version}: {}", first.shown());
        let written = writes(&lab);
        let second = apply(&session, &desired).await.unwrap();
        assert_eq!((second.changes.as_slice(), writes(&lab)), (&[][..], written), "{version}");

        // What somebody deletes or alters comes back, and only that.
        let entry =
            rows(&session, Command::new("/tool/netwatch/print").equal("comment", "mastwatch:ap-1")).await;
        let id = entry[0].text(".id").unwrap().into_owned();
        session.call(&Command::new("/tool/netwatch/remove").with(".id", &id), PATIENCE).await.unwrap();
        let altered =
            Command::new("/ppp/profile/set").with(".id", "gold").with("on-up", ":log info \"gold\"");
        session.call(&altered, PATIENCE).await.unwrap();
        let repair = apply(&session, &desired).await.unwrap();
        let commands: Vec<String> = repair.changes.iter().map(domain::plan::Change::command).collect();
        assert_eq!(commands, ["/ppp/profile/set", "/tool/netwatch/add"], "{version}");
        assert!(plan(&read(&session, &desired).await.unwrap(), &desired).unwrap().is_empty());
        lab.stop().await;
    }
}

#[tokio::test]
async fn a_router_that_was_lived_in_is_left_as_it_was_found() {
    for version in VERSIONS {
        let lab = started(version, lived_in()).await.unwrap();
        let session = session(&lab).await.unwrap();
        let before = print(&session).await.unwrap();
        assert!(before.iter().any(|row| row.contains(&"comment=the office".to_owned())), "{before:?}");
        apply(&session, &snitches("127.0.0.1:9".parse().unwrap(), version).desired()).await.unwrap();
        assert_ne!(print(&session).await.unwrap(), before);
        apply(&session, &without_snitches()).await.unwrap();
        assert_eq!(print(&session).await.unwrap(), before, "{version}");
        lab.stop().await;
    }
}

/// What a router prints, without the ids that it drew, when it was told and what it could not send.
async fn shape(session: &Router) -> Vec<String> {
    let differs = [".id=", "start-date=", "start-time=", "creation-time=", "source=,{"];
    let printed = print(session).await.unwrap();
    let alike = |row: Vec<String>| -> String {
        let words = row.into_iter().filter(|word| differs.iter().all(|start| !word.starts_with(start)));
        words.collect::<Vec<_>>().join(" ")
    };
    let mut shape: Vec<String> = printed.into_iter().map(alike).collect();
    shape.sort();
    shape
}

#[tokio::test]
async fn a_plan_that_is_broken_off_at_any_step_is_finished_by_the_next_and_nothing_is_doubled() {
    let version = "7.16.2 (stable)";
    let desired = snitches("127.0.0.1:9".parse().unwrap(), version).desired();
    let whole = {
        let lab = started(version, lived_in()).await.unwrap();
        let session = session(&lab).await.unwrap();
        apply(&session, &desired).await.unwrap();
        let whole = shape(&session).await;
        lab.stop().await;
        whole
    };
    for step in 0..9 {
        let lab = started(version, lived_in()).await.unwrap();
        let killed = session(&lab).await.unwrap();
        let planned = plan(&read(&killed, &desired).await.unwrap(), &desired).unwrap();
        for change in &planned.changes[..step] {
            make(&killed, change).await.unwrap();
        }
        // The next one is sent, and whether the router heard it is never known.
        let sent =
            tokio::time::timeout(Duration::from_micros(300), make(&killed, &planned.changes[step])).await;
        drop(sent);
        killed.close();
        let next = session(&lab).await.unwrap();
        let rest = apply(&next, &desired).await.unwrap();
        assert!(rest.changes.len() <= planned.changes.len() - step, "step {step}: {}", rest.shown());
        // A command that the router came to only after it had been read is put right by the run after.
        while !apply(&next, &desired).await.unwrap().is_empty() {}
        let ended = shape(&next).await;
        let only = |one: &[String], other: &[String]| -> Vec<String> {
            one.iter().filter(|row| !other.contains(row)).cloned().collect()
        };
        assert_eq!((only(&ended, &whole), only(&whole, &ended)), (vec![], vec![]), "step {step}");
        assert_eq!(ended.len(), whole.len(), "step {step}");
        lab.stop().await;
    }
}

#[tokio::test]
async fn what_was_installed_tells_of_everything_and_the_operators_own_lines_run_as_before() {
    for version in VERSIONS {
        let (collector, address) = Collector::start().await.unwrap();
        let lab = started(version, lived_in()).await.unwrap();
        let session = session(&lab).await.unwrap();
        apply(&session, &snitches(address, version).desired()).await.unwrap();
        collector.wait_for(&["ap-0 up", "ap-1 up", "ap-2 up"]).await.unwrap();

        let nodes = ["ap-1", "acct-ada", "acct-ben \"the\\first\"", "acct-cem"];
        let nodes = nodes.map(|id| lab.network().find(id).unwrap());
        lab.set_broken(&nodes, true);
        let ben = "ben \"the\\first\"";
        let gone = ["ap-1 down", "ada offline", &format!("{ben} offline"), "02:00:00:00:00:07 unbound"];
        collector.wait_for(&gone).await.unwrap();
        lab.set_broken(&nodes, false);
        collector
            .wait_for(&["ada online", &format!("{ben} online"), "02:00:00:00:00:07 bound"])
            .await
            .unwrap();

        let log = rows(&session, Command::new("/log/print").proplist(&["topics", "message"])).await;
        let has = |text: &str| log.iter().any(|line| line.text("message").unwrap_or_default() == text);
        assert!(has("hello ada") && has("goodbye ada"), "{version}: the operator's own lines ran");
        let errors: Vec<_> =
            log.iter().filter(|line| line.text("topics").as_deref() == Some("script,error")).collect();
        assert!(errors.is_empty(), "{version}: {errors:?}");
        let seqs: std::collections::BTreeSet<u64> =
            collector.heard().iter().filter_map(|(_, body)| body["seq"].as_u64()).collect();
        assert_eq!(seqs.len(), collector.heard().len(), "no number was used twice");
        lab.stop().await;
    }
}

#[tokio::test]
async fn what_could_not_be_sent_is_kept_and_said_when_the_server_is_back() {
    for version in VERSIONS {
        let (collector, address) = Collector::start().await.unwrap();
        let lab = started(version, Habits::default()).await.unwrap();
        let session = session(&lab).await.unwrap();
        apply(&session, &snitches(address, version).desired()).await.unwrap();
        collector.wait_for(&["ap-0 up", "ap-1 up", "ap-2 up"]).await.unwrap();

        collector.refuse(true);
        let nodes = ["ap-2", "acct-ben \"the\\first\"", "acct-cem"].map(|id| lab.network().find(id).unwrap());
        lab.set_broken(&nodes, true);
        let kept = async {
            loop {
                let parked = Command::new("/system/script/print").equal("name", "mastwatch-parked");
                let source = rows(&session, parked).await[0].text("source").unwrap_or_default().into_owned();
                if source.lines().count() == 3 {
                    return source;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let kept = tokio::time::timeout(PATIENCE, kept).await.unwrap();
        assert!(
            kept.contains(",{\"id\":\"ap-2\",\"says\":\"down\",\"source\":\"netwatch\",\"boot\":"),
            "{kept}"
        );
        // What is kept is no difference: the plan does not look at it.
        let desired = snitches(address, version).desired();
        assert!(plan(&read(&session, &desired).await.unwrap(), &desired).unwrap().is_empty());

        collector.refuse(false);
        collector
            .wait_for(&["ap-2 down", "ben \"the\\first\" down", "02:00:00:00:00:07 down"])
            .await
            .unwrap();
        let late =
            collector.heard().into_iter().filter(|(path, _)| path == "/api/v1/signals").collect::<Vec<_>>();
        assert_eq!((late.len(), late[0].1.as_array().unwrap().len()), (1, 3), "{late:?}");
        // Nothing is kept any more: it was said once.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let count = collector.heard().iter().filter(|(path, _)| path == "/api/v1/signals").count();
        assert_eq!(count, 1);
        lab.stop().await;
    }
}

#[tokio::test]
async fn what_a_router_allows_is_known_before_anything_is_written() {
    let at_home = Habits { device_mode: DeviceMode::Home, ..Habits::default() };
    let reader = Habits { group: "read".into(), ..Habits::default() };
    let cases = [
        ("6.49.10 (long-term)", Habits::default(), vec![], true),
        ("7.20.8 (stable)", Habits { group: "write".into(), ..Habits::default() }, vec![], true),
        ("7.20.8 (stable)", at_home, vec![Finding::NoFetch, Finding::NoScheduler], false),
        ("7.16.2 (stable)", reader, vec![Finding::Lacks("write")], false),
        ("6.44.6 (long-term)", Habits::default(), vec![Finding::TooOld], false),
    ];
    for (version, habits, findings, can_push) in cases {
        let lab = started(version, habits).await.unwrap();
        let (told, _) = reconciler::router::told(&session(&lab).await.unwrap(), PATIENCE).await.unwrap();
        let fit = fitness(&told);
        assert_eq!(
            (fit.findings.into_iter().collect::<Vec<_>>(), fit.can_push),
            (findings, can_push),
            "{version}"
        );
        lab.stop().await;
    }
}

#[tokio::test]
async fn who_may_only_read_changes_nothing_and_a_board_at_home_pushes_nothing() {
    let lab = started("7.16.2", Habits { group: "read".into(), ..lived_in() }).await.unwrap();
    let reader = session(&lab).await.unwrap();
    let before = print(&reader).await.unwrap();
    let desired = snitches("127.0.0.1:9".parse().unwrap(), "7").desired();
    let refused = apply(&reader, &desired).await.unwrap_err();
    let Some(RouterError::Call(CallError::Trap(trap))) = refused.downcast_ref::<RouterError>() else {
        panic!("{refused:?}")
    };
    assert!(trap.to_string().contains("not enough permissions (9)"), "{trap}");
    assert_eq!(print(&reader).await.unwrap(), before);
    lab.stop().await;

    let (collector, address) = Collector::start().await.unwrap();
    let home = Habits { device_mode: DeviceMode::Home, ..Habits::default() };
    let lab = started("7.20.8", home).await.unwrap();
    let session = session(&lab).await.unwrap();
    let mode = rows(&session, Command::new("/system/device-mode/print")).await;
    assert_eq!(
        (mode[0].text("fetch"), mode[0].text("scheduler")),
        (Some("false".into()), Some("false".into()))
    );
    let mut wanted = snitches(address, "7.20.8");
    let planned = plan(&read(&session, &wanted.desired()).await.unwrap(), &wanted.desired()).unwrap();
    let refused = async {
        for change in &planned.changes {
            make(&session, change).await?;
        }
        anyhow::Ok(())
    };
    let refused = refused.await.unwrap_err();
    assert!(format!("{refused:#}").contains("not allowed by device-mode"), "{refused:#}");
    // Without a scheduler everything else is taken, and still nothing is heard.
    wanted.scheduler = false;
    apply(&session, &wanted.desired()).await.unwrap();
    shows(&session, "/log/print", "message=mastwatch: could not say that ap-0 is up", 1).await;
    assert!(collector.heard().is_empty());
    lab.with(|state| state.router(ROUTER).device_mode = DeviceMode::Advanced);
    lab.with(|state| state.reboot(&[ROUTER]));
    lab.stop().await;
}
