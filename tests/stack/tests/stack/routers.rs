//! Routers in the whole: installed by the real reconciler, killed on the way, told of by push, and made good.

use events::{About, Claim, Fact, NodeId, Noun, SignalSource};
use lab::netwatch::Belief;
use mastwatch::api::Api;
use network_file::{Concentrators, LabHints, NetworkFile, Shape};
use serde_json::Value;
use stack::{
    Running, Stack,
    hand::{facts, said_of, types, until, writes},
    ledger,
};
use std::{collections::BTreeSet, time::Duration};

/// Routers whose operator has lived with them and lets us change them; nothing of ours is there.
fn network(stack: &Stack, towers: u32, sectors: u32, clients: u32) -> NetworkFile {
    let shape = Shape {
        towers,
        sectors,
        clients,
        heartbeat_s: 5,
        // Another test may be playing its own ISP at the usual one.
        api_port: stack::free_port().unwrap().port(),
        concentrators: Concentrators::Towers,
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    stack.tell_the_sink(&mut network);
    network.lab.defaults = LabHints {
        netwatch: Some(false),
        ppp_scripts: Some(false),
        lived_in: Some(true),
        netwatch_delay_ms: Some(0),
        ..network.lab.defaults
    };
    for node in &mut network.nodes {
        // Their tokens follow from the tenant's keys.
        node.webhook = None;
        if let Some(login) = &mut node.login {
            login.manage = true;
        }
    }
    network
}

fn routers(network: &NetworkFile) -> Vec<String> {
    network.nodes.iter().filter(|node| node.login.is_some()).map(|node| node.id.clone()).collect()
}

async fn are_installed(api: &Api, routers: &[String], reconciler: &Running) {
    for router in routers {
        until(&format!("{router} is as it should be"), reconciler, async || {
            let plan = api.find(&format!("/api/v1/routers/{router}/plan")).await.ok()??;
            (plan["state"] == "as_desired").then_some(())
        })
        .await;
    }
}

/// Requirements, R7 and R11: killed again and again while it installs, the reconciler has everything in place
/// in the end, each write on record once; what is installed tells of everything; and a claim that is lost on its
/// way is made good.
#[tokio::test(flavor = "multi_thread")]
async fn routers_are_installed_however_often_the_reconciler_is_killed_and_a_lost_claim_is_made_good() {
    let stack = Stack::start().await.unwrap();
    let mut network = network(&stack, 2, 4, 2);
    // Sessions outlast the turn of netwatch: else the word of those below a sector leads to it first.
    network.lab.defaults.session_timeout_ms = Some(120_000);
    let (tenant, routers) = (network.tenant.slug.clone(), routers(&network));
    let others = ["ingest", "poller", "diagnostician", "correlator", "notifier", "projector", "console"];
    let running = stack.run(&others).unwrap();
    let lab = stack.play(&network).await.unwrap();
    stack.import(&network).await.unwrap();
    let api = stack.api_of(&tenant);
    for kill_after in [2, 9, 17] {
        let mut reconciler = stack.run(&["reconciler"]).unwrap();
        until("so much is written", &reconciler, async || (writes(&lab) >= kill_after).then_some(())).await;
        reconciler.kill();
    }
    let reconciler = stack.run(&["reconciler"]).unwrap();
    are_installed(&api, &routers, &reconciler).await;
    let mut repairs: Vec<Value> = Vec::new();
    for router in &routers {
        let page = api.get(&format!("/api/v1/routers/{router}/repairs?limit=1000")).await.unwrap();
        repairs.extend(page["items"].as_array().unwrap().clone());
    }
    let is_known = |repair: &&Value| repair["outcome"] == "made" || repair["outcome"] == "found";
    let written = writes(&lab);
    assert_eq!(repairs.iter().filter(is_known).count() as u64, written, "{repairs:#?}");
    assert!(written >= 20, "{written}");

    // Done again by hand, there is nothing to do; nothing that is told holds a token.
    for router in &routers {
        let (code, said) = types(&stack, &tenant, &["router", "repair", router]);
        assert!(code == 0 && said.contains("is as it should be"), "{code}: {said}");
    }
    assert_eq!(writes(&lab), written);
    let (code, said) = types(&stack, &tenant, &["router", "repairs", "tower-1", "--json"]);
    assert!(code == 0 && said.contains("mastwatch-parked") && said.contains("mw_"), "{code}: {said}");
    let is_bare = |text: &str| {
        text.split("mw_").skip(1).all(|rest| rest.get(12..).is_some_and(|r| r.starts_with("_…")))
    };
    assert!(is_bare(&said), "{said}");

    // What is installed tells of a sector that fails.
    stack.settled(&tenant, Duration::from_secs(90)).await.unwrap();
    let id = |file_id: &str| NodeId::of(network.tenant_id(), file_id);
    let broken = |sector: &str, is_broken: bool| {
        lab.set_broken(&[lab.network().find(sector).unwrap()], is_broken);
    };
    let health = async |sector: &str| {
        let told = api.find(&format!("/api/v1/health/{sector}")).await.ok()??;
        told["health"].as_str().map(str::to_owned)
    };
    let is = async |sector: &str, wanted: &str| {
        until(&format!("{sector} is {wanted}"), &running, async || {
            (health(sector).await.as_deref() == Some(wanted)).then_some(())
        })
        .await;
    };
    broken("tower-1-sector-1", true);
    is("tower-1-sector-1", "down").await;
    let by = async |source: SignalSource, sector: &str| {
        let signals = facts(&stack, Noun::Signal).await.into_iter();
        let says = signals.filter_map(|fact| match fact {
            Fact::Signal(s) if s.source == source && s.about == About::Node(id(sector)) => Some(s.says),
            _ => None,
        });
        says.collect::<Vec<_>>()
    };
    assert!(by(SignalSource::Netwatch, "tower-1-sector-1").await.contains(&Claim::Down));

    // The word about another is lost on its way: the next look makes it good, and writes nothing.
    lab.with(|state| state.faults.drop = 1.0);
    broken("tower-2-sector-1", true);
    until("netwatch sees it", &running, async || {
        let (_, said) = types(&stack, &tenant, &["router", "plan", "tower-2"]);
        assert!(said.contains("is as it should be"), "{said}");
        (!by(SignalSource::Reconcile, "tower-2-sector-1").await.is_empty()).then_some(())
    })
    .await;
    is("tower-2-sector-1", "down").await;
    assert!(by(SignalSource::Netwatch, "tower-2-sector-1").await.iter().all(|says| *says == Claim::Up));
    assert_eq!(by(SignalSource::Reconcile, "tower-2-sector-1").await, [Claim::Down]);
    assert_eq!(writes(&lab), written, "telling of it writes nothing");
    lab.with(|state| state.faults.drop = 0.0);

    // N7: what was written is what the log tells.
    drop(reconciler);
    ledger::quiet(&stack.log, Duration::from_secs(60)).await.unwrap();
    ledger::rebuilt(&stack).await.unwrap();
    lab.stop().await;
}

/// Requirements, R3: of twenty that fail while every webhook is lost, one look at each router makes good what was
/// missed, each by a claim of source `reconcile`; people are told exactly what they are told when nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_the_same_whether_claims_are_pushed_or_made_good_by_the_next_look() {
    let stack = Stack::start().await.unwrap();
    let network = network(&stack, 5, 4, 1);
    let (tenant, routers) = (network.tenant.slug.clone(), routers(&network));
    let running = stack.run(&["all"]).unwrap();
    let lab = stack.play(&network).await.unwrap();
    stack.import(&network).await.unwrap();
    are_installed(&stack.api_of(&tenant), &routers, &running).await;
    stack.settled(&tenant, Duration::from_secs(90)).await.unwrap();
    let sectors: Vec<&str> =
        network.nodes.iter().map(|node| node.id.as_str()).filter(|id| id.contains("-sector-")).collect();
    assert_eq!(sectors.len(), 20);
    let places: Vec<_> = sectors.iter().map(|id| lab.network().find(id).unwrap()).collect();
    let ids: BTreeSet<NodeId> = sectors.iter().map(|id| NodeId::of(network.tenant_id(), id)).collect();
    // Of which sectors one of the two claims never came from there, after the first so many claims.
    let unclaimed_by = async |source: SignalSource, before: usize| {
        let signals = facts(&stack, Noun::Signal).await.split_off(before);
        let is_missing = |id: &&NodeId| {
            [Claim::Down, Claim::Up].iter().any(|wanted| {
                !signals.iter().any(|fact| match fact {
                    Fact::Signal(said) => {
                        said.about == About::Node(**id) && said.source == source && said.says == *wanted
                    }
                    _ => false,
                })
            })
        };
        ids.iter().filter(is_missing).copied().collect::<Vec<_>>()
    };
    let mut told: Vec<BTreeSet<(String, String)>> = Vec::new();
    for lost in [false, true] {
        lab.with(|state| state.faults.drop = if lost { 1.0 } else { 0.0 });
        let (before, claimed_before) = (stack.sink.told().len(), facts(&stack, Noun::Signal).await.len());
        for is_broken in [true, false] {
            lab.set_broken(&places, is_broken);
            if lost {
                // An entry looks again when its script has ended, and that tries for a while to be heard.
                let belief = if is_broken { Belief::Down } else { Belief::Up };
                until("every router knows", &running, async || {
                    lab.with(|state| {
                        let entries = state.routers.iter().flat_map(|router| router.netwatch.values());
                        let knows = entries
                            .filter(|entry| entry.node.is_some_and(|node| places.contains(&node)))
                            .all(|entry| entry.belief == belief);
                        knows.then_some(())
                    })
                })
                .await;
                assert_eq!(stack.sink.told().len(), before + if is_broken { 0 } else { 20 });
                // All at once, to be done within the minute.
                std::thread::scope(|all| {
                    for router in &routers {
                        all.spawn(|| types(&stack, &tenant, &["router", "plan", router]));
                    }
                });
            }
            let wanted = before + if is_broken { 20 } else { 40 };
            until(&format!("{wanted} are told, lost: {lost}"), &running, async || {
                (stack.sink.told().len() >= wanted).then_some(())
            })
            .await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let all = stack.sink.told();
        assert_eq!(all.len(), before + 40, "{:?}", &all[before..]);
        told.push(all[before..].iter().map(|(what, title)| (what.clone(), title.clone())).collect());
        // A router whose session broke on a busy machine is looked at as soon as it is back, perhaps before its push
        // is heard: what is pushed need not be all that is claimed.
        let source = if lost { SignalSource::Reconcile } else { SignalSource::Netwatch };
        if let Some(sector) = unclaimed_by(source, claimed_before).await.first() {
            panic!("{source:?} did not tell of {sector}:\n{}", said_of(&stack, *sector).await);
        }
    }
    assert_eq!(told[0], told[1]);

    // Who told of all this is counted for each router: half came by itself or was found in looking, half was missed.
    let api = stack.api_of(&tenant);
    until("every change is counted", &running, async || {
        let trust = api.get("/api/v1/trust?days=1").await.ok()?;
        let sum = |name: &str| {
            trust["items"].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).sum()
        };
        let [pushed, polled, reconciled]: [u64; 3] = ["pushed", "polled", "reconciled"].map(sum);
        (pushed + polled + reconciled >= 80 && pushed >= 20 && reconciled >= 20).then_some(())
    })
    .await;
    let (code, said) = types(&stack, &tenant, &["router", "trust"]);
    assert!(code == 0 && said.contains("reconciled") && said.contains("tower-1"), "{said}");
    lab.stop().await;
}
