//! What an operator can read and change, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use lab::network::{DeviceMode, Habits, Kind, Network, Node, Sight};
use lab::{Lab, Settings};

use crate::isp::{CORE, Client, PATIENCE, TOWER, fast, network, node, started};

/// The network of the tests with its routers after another manner, and a customer with a lease at the tower.
async fn mannered(version: Option<&str>, habits: Habits) -> Arc<Lab> {
    let base = network(version);
    let mut nodes = base.nodes().to_vec();
    nodes.push(Node {
        needs: nodes[3].needs.clone(),
        seen_by: Some((TOWER, Sight::Lease("02:00:00:00:00:07".into()))),
        ..Node::new("acct-lease", Kind::Subscriber)
    });
    let mut plans = base.routers().to_vec();
    for plan in &mut plans {
        plan.habits = Habits { version: plan.habits.version.clone(), ..habits.clone() };
    }
    Lab::start(Network::new(nodes, plans).unwrap(), fast(None)).await.unwrap()
}

async fn until(client: &mut Client, words: &[&str], is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
    let seen = async {
        loop {
            let said = client.ask(words).await;
            if is_so(&said) {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap()
}

#[tokio::test]
async fn a_reader_is_refused_every_change_and_sees_no_password_that_he_may_not_see() {
    let lab = mannered(None, Habits { group: "read".into(), ..Habits::default() }).await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    let refused = "!trap =message=not enough permissions (9)";
    for command in [
        &["/ppp/secret/set", "=numbers=cust-00", "=disabled=yes"][..],
        &["/ppp/secret/disable", "=numbers=cust-00"],
        &["/tool/netwatch/add", "=host=10.0.0.1"],
        &["/system/identity/set", "=name=x"],
        &["/system/script/add", "=name=x"],
        &["/user/set", "=numbers=nms", "=group=full"],
    ] {
        assert_eq!(client.ask(command).await, [refused, "!done"], "{command:?}");
    }
    let pinged = client.ask(&["/ping", "=address=10.0.0.1", "=count=1", "=interval=10ms"]).await;
    assert!(pinged[0].starts_with("!re =seq=0"), "a reader may ping: {pinged:?}");

    let tower = node(&lab, "tower");
    assert_eq!(lab.network().router(TOWER).node, tower);
    // Somebody who may everything makes a group that may not see passwords, and puts him there.
    let seen = client.ask(&["/ppp/secret/print", "=.proplist=password", "?name=cust-00"]).await;
    assert_eq!(seen[0], "!re =password=pw-cust-00");
    let groups = client.ask(&["/user/group/print", "=.proplist=policy", "?name=read"]).await;
    assert!(groups[0].contains("!write") && groups[0].contains(",read,"), "{groups:?}");
    let users = client.ask(&["/user/print", "?name=nms"]).await;
    assert!(users[0].ends_with("=name=nms =group=read =disabled=false"), "{users:?}");
    lab.stop().await;
}

#[tokio::test]
async fn users_and_groups_are_made_and_decide_who_may_what() {
    let lab = started(fast(None)).await;
    let mut client = Client::logged_in(&lab, CORE).await;
    let group = ["/user/group/add", "=name=watcher", "=policy=read,api,test"];
    assert!(client.ask(&group).await[0].starts_with("!done =ret=*"));
    let user = ["/user/add", "=name=eve", "=password=pw", "=group=watcher"];
    assert!(client.ask(&user).await[0].starts_with("!done =ret=*"));
    assert_eq!(client.ask(&user).await[0], "!trap =message=failure: user with the same name already exists");
    let printed = client.ask(&["/user/print", "?name=eve"]).await;
    assert!(!printed[0].contains("pw"), "{printed:?}");

    let mut eve = Client::connect(&lab, CORE).await;
    assert_eq!(eve.ask(&["/login", "=name=eve", "=password=pw"]).await, ["!done"]);
    assert_eq!(eve.ask(&["/system/identity/print"]).await[0], "!re =name=core");
    assert!(eve.ask(&["/system/identity/set", "=name=x"]).await[0].contains("not enough permissions (9)"));
    let active = client.ask(&["/user/active/print", "=.proplist=name,group"]).await;
    assert_eq!(active, ["!re =name=nms =group=full", "!re =name=eve =group=watcher", "!done"]);
    // Rights end at once, and the door is shut for the next time.
    assert_eq!(client.ask(&["/user/disable", "=numbers=eve"]).await, ["!done"]);
    let mut again = Client::connect(&lab, CORE).await;
    assert!(again.ask(&["/login", "=name=eve", "=password=pw"]).await[0].contains("invalid user name"));
    lab.stop().await;
}

#[tokio::test]
async fn a_written_netwatch_entry_runs_the_script_it_names_and_a_wrong_script_names_its_line() {
    let lab = started(fast(None)).await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    let script = ["/system/script/add", "=name=tell", "=source=:log info \"it is there\""];
    assert!(client.ask(&script).await[0].starts_with("!done =ret="));
    let again = client.ask(&script).await;
    assert_eq!(again[0], "!trap =message=failure: item with such name already exists");
    let wrong = "=down-script=:local a 1\n:foreach x in=$a do={}";
    let add = ["/tool/netwatch/add", "=host=10.0.0.1", "=interval=10s", "=up-script=tell", wrong];
    assert!(client.ask(&add).await[0].starts_with("!done =ret="));
    let log = |text: &'static str| ["/log/print", "=.proplist=topics,message", text];
    until(&mut client, &log("?message=it is there"), |said| said[0].contains("script,info")).await;
    lab.set_broken(&[node(&lab, "sector-0")], true);
    let said = until(&mut client, &log("?topics=script,error"), |said| said.len() > 1).await;
    assert_eq!(
        said[0],
        "!re =topics=script,error =message=line 2: `:foreach` is no command of this language"
    );
    let changed = client.ask(&log("?topics=system,info")).await;
    assert!(
        changed[0].starts_with("!re =topics=system,info =message=script <tell> added by api:nms@127."),
        "{changed:?}"
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_task_runs_at_its_interval_until_it_is_disabled_and_never_on_a_board_at_home() {
    let lab = started(fast(None)).await;
    let mut client = Client::logged_in(&lab, CORE).await;
    let event = "=on-event=:log info \"tick\"";
    let added = client.ask(&["/system/scheduler/add", "=name=t", "=interval=00:00:10", event]).await;
    let id = added[0].strip_prefix("!done =ret=").unwrap().to_owned();
    let print = ["/system/scheduler/print", "=.proplist=name,interval,run-count,next-run,owner"];
    let shown = until(&mut client, &print, |said| !said[0].contains("run-count=0")).await;
    assert!(
        shown[0].starts_with("!re =name=t =interval=10s =run-count=") && shown[0].contains("=next-run=20")
    );
    assert!(shown[0].ends_with("=owner=nms"), "{shown:?}");
    assert_eq!(client.ask(&["/system/scheduler/disable", &format!("=.id={id}")]).await, ["!done"]);
    let ticks = client.ask(&["/log/print", "=count-only=", "?message=tick"]).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(client.ask(&["/log/print", "=count-only=", "?message=tick"]).await, ticks);
    let run = ["/system/script/add", "=name=once", "=source=:log info \"tock\""];
    client.ask(&run).await;
    assert_eq!(client.ask(&["/system/script/run", "=numbers=once"]).await, ["!done"]);
    until(&mut client, &["/log/print", "=count-only=", "?message=tock"], |said| said[0].ends_with("=1"))
        .await;

    lab.with(|state| state.router(CORE).device_mode = DeviceMode::Home);
    let refused = client.ask(&["/system/scheduler/add", "=name=u", "=interval=1m", event]).await;
    assert_eq!(refused[0], "!trap =message=failure: not allowed by device-mode");
    let mode = client.ask(&["/system/device-mode/print", "=.proplist=mode,fetch,scheduler"]).await;
    assert_eq!(mode[0], "!re =mode=home =fetch=false =scheduler=false");
    lab.stop().await;
}

#[tokio::test]
async fn a_lease_is_taken_back_when_it_runs_out_and_a_blocked_customer_gets_none() {
    let habits = Habits { lease_time: Duration::from_secs(40), ..Habits::default() };
    let lab = mannered(None, habits).await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    let script = "=lease-script=:log info (\"lease \" . $leaseBound . \" \" . $leaseActMAC)";
    assert_eq!(client.ask(&["/ip/dhcp-server/set", "=numbers=dhcp1", script]).await, ["!done"]);
    let print = ["/ip/dhcp-server/lease/print", "=.proplist=.id,mac-address,status,dynamic"];
    let there = client.ask(&print).await;
    assert!(there[0].ends_with("=mac-address=02:00:00:00:00:07 =status=bound =dynamic=true"), "{there:?}");
    let id = there[0].split(' ').find_map(|word| word.strip_prefix("=.id=")).unwrap().to_owned();

    lab.set_broken(&[node(&lab, "acct-lease")], true);
    until(&mut client, &print, |said| said.len() == 1).await;
    lab.set_broken(&[node(&lab, "acct-lease")], false);
    until(&mut client, &print, |said| said.len() == 2).await;
    let said = client.ask(&["/log/print", "=.proplist=message", "?topics=script,info"]).await;
    let lease = |bound| format!("!re =message=lease {bound} 02:00:00:00:00:07");
    assert_eq!(said, [lease("0"), lease("1"), "!done".to_owned()]);

    let block = ["/ip/dhcp-server/lease/set", &format!("=.id={id}"), "=block-access=yes"];
    assert!(client.ask(&block).await[0].contains("dynamic lease"));
    assert_eq!(client.ask(&["/ip/dhcp-server/lease/make-static", &format!("=.id={id}")]).await, ["!done"]);
    assert_eq!(client.ask(&block).await, ["!done"]);
    let shown = until(&mut client, &print, |said| said[0].contains("=status=waiting")).await;
    assert!(shown[0].ends_with("=dynamic=false"), "{shown:?}");
    lab.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_added_again_lets_its_customer_dial_in_and_a_profile_keeps_its_secrets() {
    let lab = started(fast(None)).await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    assert_eq!(client.ask(&["/ppp/secret/remove", "=numbers=cust-00"]).await, ["!done"]);
    let active = ["/ppp/active/print", "=count-only=", "?name=cust-00"];
    assert_eq!(client.ask(&active).await, ["!done =ret=0"]);
    let profile =
        ["/ppp/profile/add", "=name=gold", "=rate-limit=20M/100M", "=on-up=:log info (\"gold \" . $user)"];
    assert!(client.ask(&profile).await[0].starts_with("!done =ret="));
    let secret =
        ["/ppp/secret/add", "=name=cust-00", "=profile=gold", "=remote-address=100.64.9.9", "=comment=a=b"];
    assert!(client.ask(&secret).await[0].starts_with("!done =ret="));
    until(&mut client, &active, |said| said[0].ends_with("=1")).await;
    until(&mut client, &["/log/print", "=count-only=", "?message=gold cust-00"], |said| {
        said[0].ends_with("=1")
    })
    .await;
    assert_eq!(client.ask(&["/ppp/profile/set", "=numbers=gold", "=name=platinum"]).await, ["!done"]);
    let shown = client
        .ask(&["/ppp/secret/print", "=.proplist=profile,remote-address,comment", "?name=cust-00"])
        .await;
    assert_eq!(shown[0], "!re =profile=platinum =remote-address=100.64.9.9 =comment=a=b");
    assert_eq!(
        client.ask(&["/ppp/secret/unset", "=numbers=cust-00", "=value-name=comment"]).await,
        ["!done"]
    );
    let shown = client.ask(&["/ppp/secret/print", "=.proplist=comment", "?name=cust-00"]).await;
    assert_eq!(shown[0], "!re");
    lab.stop().await;
}

#[tokio::test]
async fn queues_are_shown_as_a_router_does_and_can_be_moved() {
    let lab = started(fast(None)).await;
    let mut client = Client::logged_in(&lab, CORE).await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        let (name, target) = (format!("=name=q{n}"), format!("=target=10.0.0.{n}"));
        let added = client.ask(&["/queue/simple/add", &name, &target, "=max-limit=10M/512k"]).await;
        ids.push(added[0].strip_prefix("!done =ret=").unwrap().to_owned());
    }
    let shown = client
        .ask(&["/queue/simple/print", "=.proplist=target,max-limit,dynamic,invalid,disabled", "?name=q1"])
        .await;
    assert_eq!(
        shown[0],
        "!re =target=10.0.0.1/32 =max-limit=10000000/512000 =dynamic=false =invalid=false =disabled=false"
    );
    let wrong = client.ask(&["/queue/simple/set", "=numbers=q1", "=max-limit=fast"]).await;
    assert_eq!(wrong[0], "!trap =category=1 =message=invalid value for argument max-limit");
    let moved = ["/queue/simple/move", &format!("=numbers={}", ids[2]), &format!("=destination={}", ids[0])];
    assert_eq!(client.ask(&moved).await, ["!done"]);
    let order = client.ask(&["/queue/simple/print", "=.proplist=name"]).await;
    assert_eq!(order[..3], ["!re =name=q3", "!re =name=q1", "!re =name=q2"]);
    assert!(
        client.ask(&["/ip/firewall/address-list/move", "=numbers=*1"]).await[0].contains("no such command")
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_neighbour_that_falls_silent_is_shown_for_a_while_and_then_forgotten() {
    let lab = Lab::start(network(None), Settings { time_scale: 200.0, ..fast(None) }).await.unwrap();
    let mut client = Client::logged_in(&lab, CORE).await;
    let print = ["/ip/neighbor/print", "=.proplist=identity,address,platform,version"];
    let seen = client.ask(&print).await;
    assert_eq!(
        seen[0],
        "!re =identity=tower =address=127.20.0.2 =platform=MikroTik =version=7.16.2 (stable)"
    );
    lab.set_broken(&[node(&lab, "tower")], true);
    assert_eq!(client.ask(&print).await.len(), 2);
    until(&mut client, &print, |said| said.len() == 1).await;
    lab.set_broken(&[node(&lab, "tower")], false);
    assert_eq!(client.ask(&print).await.len(), 2);
    lab.stop().await;
}

#[tokio::test]
async fn versions_differ_in_what_menus_there_are_and_a_clock_may_be_wrong() {
    let habits = Habits { clock_ahead_s: -1_700_000_000, is_lived_in: true, ..Habits::default() };
    let lab = mannered(Some("6.49.10 (long-term)"), habits).await;
    let mut client = Client::logged_in(&lab, CORE).await;
    assert!(client.ask(&["/system/device-mode/print"]).await[0].contains("no such command"));
    assert!(
        client.ask(&["/tool/netwatch/add", "=host=10.0.0.1", "=type=simple"]).await[0]
            .contains("unknown parameter type")
    );
    let health = client.ask(&["/system/health/print"]).await;
    assert!(health.len() == 2 && health[0].starts_with("!re =voltage=24.1"), "{health:?}");
    let packages = client.ask(&["/system/package/print", "=.proplist=name,version", "?name=ppp"]).await;
    assert_eq!(packages[0], "!re =name=ppp =version=6.49.10");
    let clock = client.ask(&["/system/clock/print", "=.proplist=date"]).await;
    let year: i32 = clock[0].rsplit('/').next().unwrap().parse().unwrap();
    assert!((1970..2000).contains(&year), "{clock:?}");
    let theirs = client.ask(&["/tool/netwatch/print", "=.proplist=comment", "?comment=the office"]).await;
    assert_eq!(theirs[0], "!re =comment=the office");

    let lab7 = mannered(Some("7.20.8 (stable)"), Habits::default()).await;
    let mut client = Client::logged_in(&lab7, TOWER).await;
    let health = client.ask(&["/system/health/print", "=.proplist=name,value,type"]).await;
    assert_eq!((health.len(), health[0].as_str()), (4, "!re =name=voltage =value=24.1 =type=V"));
    lab.stop().await;
    lab7.stop().await;
}
