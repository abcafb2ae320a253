//! A router is added, scanned and put in charge of what it sees: with the real program, from the command line.

use events::{About, Fact, Inventory, NodeId, Noun, Order, Origin, Sighting, SightingState, TenantId};
use lab::Lab;
use network_file::{NetworkFile, OnlyWrittenOut};
use reqwest::Method;
use serde_json::Value;
use stack::{
    Running, Stack,
    hand::{facts, facts_of, types, types_at_a_terminal, types_with, until, writes},
    ledger,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const TENANT: &str = "scouted";
/// Everything that is played. What an operator has written down is the first device alone.
const BELOW: &str = "
  - {id: sector, name: Sector, class: router, tier: sector, parent: core, address: 127.26.0.2, login: {user: nms, password: s3cret, port: PORT}}
  - {id: st-a, name: A, class: station, parent: sector, address: 10.0.1.1}
  - {id: st-b, name: B, class: station, parent: sector}
  - {id: sw, name: Switch, class: switch, parent: core, address: 10.0.0.3}
  - {id: ap-1, name: AP, class: sector_ap, parent: sw, address: 10.0.0.4}
  - {id: bare, name: Bare, class: sector_ap, parent: core}
lab:
  netwatch: off
  ppp_scripts: off
  netwatch_delay: 0s
  nodes: {sector: {bridges: on}}
";

fn network(port: u16, core: &str, below: &str) -> NetworkFile {
    let text = format!(
        "tenant: {{id: {TENANT}, name: Scouted}}
sites: [{{id: hill, name: Mill Hill}}]
devices:
  - {{id: {core}, name: Core, class: router, tier: core, site: hill, address: 127.26.0.1, login: {{user: nms, password: s3cret, port: PORT, manage: on}}}}{below}"
    );
    network_file::parse("scouted.yaml", &text.replace("PORT", &port.to_string()), &OnlyWrittenOut).unwrap()
}

/// What routers see, under what each is called. Names are asked for, which is on record.
async fn seen(stack: &Stack) -> Vec<Value> {
    let page = stack.api_of(TENANT).get("/api/v1/sightings?limit=1000&names=true").await.unwrap();
    page["items"].as_array().unwrap().clone()
}

async fn seen_as(stack: &Stack, name: &str) -> Value {
    seen(stack).await.into_iter().find(|device| device["name"] == name).unwrap()
}

async fn id_of(stack: &Stack, name: &str) -> String {
    seen_as(stack, name).await["id"].as_str().unwrap().to_owned()
}

/// What a node hangs on, and how far up it stands; as the API has it.
async fn stands(stack: &Stack, running: &Running, node: &str) -> (String, String) {
    let path = format!("/api/v1/inventory/nodes/{node}");
    let found =
        until(&format!("{node} is there"), running, async || stack.api_of(TENANT).find(&path).await.ok()?)
            .await;
    let parent = found["groups"][0]["members"][0]["file_id"].as_str().unwrap_or_default();
    (parent.to_owned(), found["tier"].as_str().unwrap().to_owned())
}

/// The hosts that a played router watches for us, by our comment.
fn watched(lab: &Lab, router: usize) -> BTreeSet<String> {
    lab.with(|state| state.routers[router].netwatch.values().map(|entry| entry.host.to_string()).collect())
}

async fn scanned(stack: &Stack, running: &Running, router: &str) -> String {
    // The tables may be being made.
    until("the read models answer", running, async || {
        stack.api_of(TENANT).get("/api/v1/sightings").await.ok()
    })
    .await;
    let (code, said) = types(stack, TENANT, &["router", "scan", router]);
    assert_eq!(code, 0, "{said}\n{}", running.said());
    said
}

/// Requirements, R12 and R13, and the way of a newcomer.
#[tokio::test(flavor = "multi_thread")]
async fn a_tower_is_scanned_and_grows_into_three_tiers_by_saying_yes() {
    let stack = Stack::start().await.unwrap();
    let port = stack::free_port().unwrap().port();
    let running = stack.run(&["all"]).unwrap();
    let lab: Arc<Lab> = stack.play(&network(port, "core", BELOW)).await.unwrap();
    let small = network(port, "core", "");
    stack.import(&small).await.unwrap();

    // R12: six boxes, two of them without an address.
    let said = scanned(&stack, &running, "core").await;
    assert!(said.contains("core sees 6 devices: 0 known, 6 proposed"), "{said}");
    assert!(said.contains("(name sealed)") && !said.contains("st-a") && said.contains("ap-1"), "{said}");
    let all = seen(&stack).await;
    assert_eq!(all.len(), 6);
    assert_eq!(all.iter().filter(|device| device["address"].is_null()).count(), 2);
    let orders = facts(&stack, Noun::Order).await;
    assert!(
        orders.iter().any(
            |fact| matches!(fact, Fact::Order(o) if matches!(o.order, Order::OpenSightings { count: 2 }))
        )
    );

    // One yes: device, link, and the router watches it.
    until("the core is as it should be", &running, async || {
        let plan = stack.api_of(TENANT).find("/api/v1/routers/core/plan").await.ok()??;
        (plan["state"] == "as_desired").then_some(())
    })
    .await;
    let id = id_of(&stack, "sector").await;
    let (code, said) = types(&stack, TENANT, &["router", "add", &id[..8]]);
    assert!(
        code == 0 && said.contains("`sector` is in the inventory; its router watches it"),
        "{code} {said}"
    );
    assert_eq!(stands(&stack, &running, "sector").await, ("core".into(), "sector".into()));
    assert_eq!(watched(&lab, 0), BTreeSet::from(["127.26.0.2".to_owned()]));

    // One no: it does not come back. What hangs on a device that is not there waits for that.
    let (code, said) = types(&stack, TENANT, &["router", "reject", &id_of(&stack, "bare").await]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = types(&stack, TENANT, &["router", "add", &id_of(&stack, "ap-1").await]);
    assert!(code == 1 && said.contains("hangs on another device"), "{code} {said}");
    let said = scanned(&stack, &running, "core").await;
    assert!(said.contains("6 devices: 1 known, 4 proposed, 0 moved, 1 rejected"), "{said}");
    let (_, said) = types(&stack, TENANT, &["router", "proposals"]);
    assert!(!said.contains("bare") && said.contains("ap-1"), "{said}");

    // The sector is a router: a newcomer gives address, user and password, and nothing else.
    let port = port.to_string();
    let words = ["router", "add", "sector", "--address", "127.26.0.2", "--user", "nms", "--port", &port];
    let asked: Vec<&str> = words.into_iter().chain(["--password-file", "-"]).collect();
    let (code, said) = types_with(&stack, TENANT, &asked, Some("wrong\n"));
    assert!(
        code == 3 && said.contains("cannot be looked at since ") && !said.contains("wrong"),
        "{code} {said}"
    );
    let before = writes(&lab);
    let (code, said) = types_with(&stack, TENANT, &asked, Some("s3cret\n"));
    assert!(
        code == 0 && said.contains("Logged in to sector: ") && said.contains("RouterOS 7.16.2"),
        "{code} {said}"
    );
    assert!(said.contains("/system script add") && said.contains("say --yes"), "{said}");
    assert_eq!(writes(&lab), before, "without a yes nothing is written");
    // At a terminal the password is asked for and not shown, and the changes are made after a yes alone.
    const QUESTION: &str = "and keep them so? [y/N]";
    let answers = |to_changes| [("Password of nms: ", "s3cret"), (QUESTION, to_changes)];
    for no in ["", "n", "maybe"] {
        let (code, said) = types_at_a_terminal(&stack, TENANT, &words, &answers(no));
        assert!(code == 0 && said.contains("/system script add"), "{code} {said}");
        assert!(!said.contains("s3cret"), "{said}");
        assert_eq!(writes(&lab), before, "after `{no}` nothing is written");
    }
    let (code, said) = types_at_a_terminal(&stack, TENANT, &words, &answers("y"));
    assert!(
        code == 0 && said.contains("is as it should be") && said.contains("sector sees 3 devices"),
        "{code} {said}"
    );
    assert!(writes(&lab) > before, "{said}");
    let sector = NodeId::of(TenantId::of(TENANT), "sector");
    let signals = facts(&stack, Noun::Signal).await.into_iter();
    let tried = signals.filter(|fact| matches!(fact, Fact::Signal(it) if it.sender == Some(sector) && it.about == About::Node(sector)));
    assert_eq!(tried.count(), 1, "what was installed was tried, and arrived");
    assert!(!said.contains("did not arrive"), "{said}");
    let now = writes(&lab);
    let yes: Vec<&str> = asked.iter().copied().chain(["--yes"]).collect();
    let (code, said) = types_with(&stack, TENANT, &yes, Some("s3cret\n"));
    assert_eq!((code, writes(&lab)), (0, now), "the same words again change nothing: {said}");

    // R13: everything hangs where it hangs, without anybody having drawn it.
    scanned(&stack, &running, "core").await;
    for name in ["sw", "ap-1", "st-a", "st-b"] {
        let (code, said) =
            types(&stack, TENANT, &["router", "add", &id_of(&stack, name).await, "--id", name]);
        assert_eq!(code, 0, "{name}: {said}");
    }
    for (name, parent, tier) in [
        ("sw", "core", "site"),
        ("ap-1", "sw", "sector"),
        ("sector", "core", "sector"),
        ("st-a", "sector", "station"),
        ("st-b", "sector", "station"),
    ] {
        assert_eq!(stands(&stack, &running, name).await, (parent.into(), tier.into()), "{name}");
    }
    let core = ["10.0.0.3", "10.0.0.4", "127.26.0.2"].map(str::to_owned);
    assert_eq!((watched(&lab, 0), watched(&lab, 1)), (core.into(), ["10.0.1.1".to_owned()].into()));

    // The file does not know of them, and leaves them alone; but it may not take away what they hang on.
    let again = stack.import(&small).await.unwrap();
    assert_eq!(
        (&again["committed"], &again["left_alone"], &again["removed"]),
        (&false.into(), &5.into(), &0.into())
    );
    let other = network(port.parse().unwrap(), "core-2", "").to_yaml().into_bytes();
    let refused = stack.api.call(Method::POST, "/api/v1/import", Some(other)).await.unwrap_err().to_string();
    assert!(refused.contains("added by hand"), "{refused}");
    let (code, said) = types(&stack, TENANT, &["router", "remove", "sector"]);
    assert!(code == 1 && said.contains("hangs on it"), "{said}");
    let (code, said) = types(&stack, TENANT, &["router", "remove", "st-b"]);
    assert_eq!(code, 0, "{said}");

    ledger::quiet(&stack.log, Duration::from_secs(60)).await.unwrap();
    ledger::rebuilt(&stack).await.unwrap();
    lab.stop().await;
}

/// Killed at any moment, console has added a device with all that belongs to it, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_added_whole_or_not_at_all_whenever_the_console_is_killed() {
    let stack = Stack::start().await.unwrap();
    let port = stack::free_port().unwrap().port();
    let _others = stack.run(&["ingest", "projector", "reconciler"]).unwrap();
    let mut console = stack.run(&["console"]).unwrap();
    let lab = stack.play(&network(port, "core", BELOW)).await.unwrap();
    stack.import(&network(port, "core", "")).await.unwrap();
    scanned(&stack, &console, "core").await;
    let ids: Vec<String> =
        seen(&stack).await.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let api = stack.api_of(TENANT);
    let core = NodeId::of(TenantId::of(TENANT), "core");
    let mut torn = 0;
    for (n, id) in ids.iter().enumerate() {
        let path = format!("/api/v1/sightings/{id}/add");
        let body =
            serde_json::to_vec(&serde_json::json!({"parent": "core", "id": format!("box-{n}")})).unwrap();
        let asking = tokio::spawn({
            let (api, path, body) = (api.clone(), path.clone(), body.clone());
            async move { api.call(Method::POST, &path, Some(body)).await.is_ok() }
        });
        tokio::time::sleep(Duration::from_millis(n as u64)).await;
        console.kill();
        torn += usize::from(!asking.await.unwrap());
        is_whole(&stack, core).await;
        console = stack.run(&["console"]).unwrap();
        // Who asks again gets it, or hears that it is there.
        until("the device is added", &console, async || {
            let added = api.call(Method::POST, &path, Some(body.clone())).await;
            let is_there = added.as_ref().is_err_and(|error| error.to_string().contains("already"));
            (added.is_ok() || is_there).then_some(())
        })
        .await;
        is_whole(&stack, core).await;
    }
    assert!(torn > 0, "nobody was killed in the middle");
    lab.stop().await;
}

/// Nodes of the scout, devices that became them, and orders that say so are the same; each with its link.
async fn is_whole(stack: &Stack, core: NodeId) {
    let (mut nodes, mut devices, mut orders) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for fact in facts_of(stack, &[Noun::Inventory, Noun::Sighting, Noun::Order]).await {
        match fact {
            Fact::Inventory(Inventory::Node(node)) if node.origin == Origin::Scout => {
                let needs = serde_json::to_value(&node.needs).unwrap();
                assert_eq!(needs[0]["members"][0], serde_json::json!(core));
                assert!(nodes.insert(node.id), "a node was said twice");
            }
            Fact::Sighting(Sighting::Device(device)) if device.state == SightingState::Known => {
                devices.extend(device.node);
            }
            Fact::Order(said) => {
                if let Order::AddSighting { node, .. } = said.order {
                    orders.insert(node);
                }
            }
            _ => {}
        }
    }
    assert_eq!((&devices, &orders), (&nodes, &nodes));
}
