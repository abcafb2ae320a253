//! What a router shows is what its history says, and nobody else's.

use embedded::VictoriaMetrics;
use lab::network::Network;
use network_file::{NetworkFile, OnlyWrittenOut};
use routeros_api::{Command, Credentials, Options, Policy, Router, Target};
use serde_json::Value;
use stack::Stack;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);

/// A router of each major version, each with two radios, an access point and subscribers.
fn network(tenant: &str, ports: (u16, u16)) -> NetworkFile {
    let (old, new) = ports;
    let text = format!(
        "
tenant: {{id: {tenant}, name: {tenant}}}
sites:
  - {{id: s, name: S}}
devices:
  - {{id: old, name: Old, class: router, tier: core, site: s, address: 127.31.0.1,
     login: {{user: nms, password: s3cret, port: {old}}}}}
  - {{id: new, name: New, class: router, tier: core, site: s, address: 127.31.0.2,
     login: {{user: nms, password: s3cret, port: {new}}}}}
  - {{id: old-st-1, name: A, class: station, tier: station, parent: old, address: 10.31.0.1}}
  - {{id: old-st-2, name: B, class: station, tier: station, parent: old, address: 10.31.0.2}}
  - {{id: new-st-1, name: C, class: station, tier: station, parent: new, address: 10.32.0.1}}
  - {{id: new-st-2, name: D, class: station, tier: station, parent: new, address: 10.32.0.2}}
subscribers:
  - {{account: a-1, parent: new-st-1, user: cust-1}}
  - {{account: a-2, parent: new-st-1, user: cust-2}}
  - {{account: a-3, parent: new-st-2, user: cust-3}}
lab:
  nodes:
    old: {{version: 6.49.10}}
    new: {{version: 7.16.2}}
"
    );
    network_file::parse("history.yaml", &text, &OnlyWrittenOut).unwrap()
}

/// What a router shows over its API, as an operator would see it.
async fn shown(address: std::net::SocketAddr, command: Command) -> Vec<routeros_api::Row> {
    let credentials = Credentials::new("nms", "s3cret");
    let target = Target { address, source: None, credentials, options: Options::default() };
    let router = Router::new(target, Policy::default());
    router.call(&command, Duration::from_secs(10)).await.unwrap().rows
}

/// The last value of each of a node's series, by interface or profile; none: nothing was measured.
async fn last(stack: &Stack, tenant: &str, node: &str, metric: &str) -> Vec<(String, f64)> {
    let path = format!("/api/v1/nodes/{node}/history?metric={metric}&step=1");
    let now = chrono::Utc::now();
    let from = (now - chrono::Duration::seconds(300)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let Ok(history) = stack.api_of(tenant).get(&format!("{path}&from={from}")).await else { return vec![] };
    let of = |series: &Value| {
        let part = ["interface", "profile"].iter().find_map(|key| series[*key].as_str()).unwrap_or("");
        let point = series["points"].as_array().unwrap().last()?;
        Some((part.to_owned(), point["value"].as_f64().unwrap()))
    };
    let mut found: Vec<(String, f64)> = history["series"].as_array().unwrap().iter().filter_map(of).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

async fn becomes(stack: &Stack, node: &str, metric: &str, wanted: &[(&str, f64)], said: impl Fn() -> String) {
    let wanted: Vec<(String, f64)> = wanted.iter().map(|(of, value)| ((*of).to_owned(), *value)).collect();
    let began = Instant::now();
    loop {
        let found = last(stack, "hillside", node, metric).await;
        if found == wanted {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{metric} of {node} is {found:?}, not {wanted:?}\n{}", said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_played_router_has_exactly_the_values_that_it_shows() {
    let stack = Stack::start().await.unwrap();
    let series = VictoriaMetrics::start_temporary(|_| {}).await.unwrap();
    stack.configure("vm_url", &series.url()).unwrap();
    let ports = (stack::free_port().unwrap().port(), stack::free_port().unwrap().port());
    let network = network("hillside", ports);
    // The routers' time all but stands still, so that nothing drifts between two looks.
    let settings = lab::Settings { time_scale: 0.01, ..lab::Settings::default() };
    let lab = lab::Lab::start(Network::from_file(&network).unwrap(), settings).await.unwrap();
    let running = stack.run_as(&["all"], None, &[("MASTWATCH_POLLER__SNAPSHOT_EVERY_S", "3")]).unwrap();
    stack.import(&network).await.unwrap();
    let said = || running.said();

    let address = |id: &str| {
        let node = lab.network().find(id).unwrap();
        lab.api_address(lab.router_of(node).unwrap())
    };
    let old = shown(address("old"), Command::new("/interface/wireless/registration-table/print")).await;
    assert_eq!(old.len(), 2);
    for row in &old {
        let signal = row.text("signal-strength").unwrap();
        let signal: f64 = signal.split('@').next().unwrap().parse().unwrap();
        let node = row.text("radio-name").unwrap();
        becomes(&stack, &node, "signal_dbm", &[("", signal)], said).await;
    }
    let new = shown(address("new"), Command::new("/interface/wifi/registration-table/print")).await;
    let arp = shown(address("new"), Command::new("/ip/arp/print")).await;
    assert_eq!(new.len(), 2);
    for row in &new {
        let mac = row.text("mac-address").unwrap();
        let entry = arp.iter().find(|entry| entry.text("mac-address").as_ref() == Some(&mac)).unwrap();
        let node = if entry.text("address").unwrap() == "10.32.0.1" { "new-st-1" } else { "new-st-2" };
        let signal: f64 = row.text("signal").unwrap().parse().unwrap();
        becomes(&stack, node, "signal_dbm", &[("", signal)], said).await;
    }
    for id in ["old", "new"] {
        let number =
            |row: &routeros_api::Row, name: &str| -> f64 { row.text(name).unwrap().parse().unwrap() };
        let resource = &shown(address(id), Command::new("/system/resource/print")).await[0];
        becomes(&stack, id, "cpu_load_percent", &[("", number(resource, "cpu-load"))], said).await;
        becomes(&stack, id, "memory_free_bytes", &[("", number(resource, "free-memory"))], said).await;
        let sensors = shown(address(id), Command::new("/system/health/print")).await;
        let volts = match sensors.iter().find(|row| row.text("name").as_deref() == Some("voltage")) {
            Some(row) => number(row, "value"),
            None => number(&sensors[0], "voltage"),
        };
        becomes(&stack, id, "voltage_volts", &[("", volts)], said).await;
    }
    let sessions = shown(address("new"), Command::new("/ppp/active/print")).await.len();
    assert_eq!(sessions, 3);
    becomes(&stack, "new", "sessions_active_count", &[("", 3.0)], said).await;
    let profile = shown(address("new"), Command::new("/ppp/secret/print")).await[0]
        .text("profile")
        .unwrap()
        .into_owned();
    becomes(&stack, "new", "sessions_of_profile_count", &[(&profile, 3.0)], said).await;
    // Counters go on even so: the same second is looked at until both agree.
    let began = Instant::now();
    loop {
        let ports = shown(address("new"), Command::new("/interface/print").query("default-name")).await;
        let mut wanted: Vec<(String, f64)> = ports
            .iter()
            .map(|row| {
                (
                    row.text("default-name").unwrap().into_owned(),
                    row.text("rx-byte").unwrap().parse().unwrap(),
                )
            })
            .collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        let found = last(&stack, "hillside", "new", "interface_rx_bytes_total").await;
        if found == wanted {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{found:?} is not {wanted:?}\n{}", said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let rtt = last(&stack, "hillside", "new-st-1", "rtt_ms").await;
    assert!(rtt.len() == 1 && (0.05..500.0).contains(&rtt[0].1), "{rtt:?}");

    // Another tenant's network of the same names has no history, and no way to this one.
    let mut other = network.clone();
    other.tenant.slug = "valley".into();
    other.tenant.name = "Valley".into();
    other.subscribers.clear();
    for node in &mut other.nodes {
        node.login = None;
    }
    stack.import(&other).await.unwrap();
    let api = stack.api_of("valley");
    let asked = async |node: &str| {
        let began = Instant::now();
        loop {
            // The read models follow the import.
            match api.get(&format!("/api/v1/nodes/{node}/history?metric=signal_dbm")).await {
                Ok(history) => return history,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error:#}\n{}", said()),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert_eq!(asked("old-st-1").await["series"], serde_json::json!([]));
    let theirs = events::NodeId::of(events::TenantId::of("hillside"), "old-st-1");
    let refused = api.get(&format!("/api/v1/nodes/{theirs}/history?metric=signal_dbm")).await.unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused:#}");
    let unknown = api.get("/api/v1/nodes/old-st-1/history?metric=signal_strength").await.unwrap_err();
    assert!(unknown.to_string().contains("signal_dbm") && unknown.to_string().contains("400"), "{unknown:#}");
    lab.stop().await;
}
