//! The lab as a program: from a network file to webhooks.

use std::net::SocketAddr;
use std::time::Duration;

use lab::control::{NodeState, Standing};
use lab::{Config, Settings};

use crate::isp::{Collector, Hook, PATIENCE};

/// Two concentrators above one sector; a boot of 20 s, a tenth of a second here.
const NETWORK: &str = "
tenant: {id: t, name: T}
sites:
  - {id: s, name: S}
devices:
  - {id: a, name: A, class: router, tier: core, site: s, address: 127.22.0.1, login: {user: u, password: p, port: 18728}, webhook: {token: mw_pg2c5dgruwdz_d34bpu8b830euayaqc8kgi4bbks2an9n}}
  - {id: b, name: B, class: router, tier: core, site: s, address: 127.22.0.2, login: {user: u, password: p, port: 18728}, webhook: {token: mw_rzyok6tor7kf_lxm1jnpt32z2w4erggf7ile7ceiw4pfi}}
  - {id: ap, name: AP, class: sector_ap, needs: [{any: [a, b]}], address: 10.0.0.1}
subscribers:
  - {account: acct-1, parent: ap, user: cust-1, concentrator: [a, b]}
lab: {boot: 20s, session_timeout: 20s}
";

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_customer_moves_to_the_other_concentrator_and_a_boot_takes_its_time() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (collector, ingest) = Collector::start().await;
    let place = tempfile::tempdir().unwrap();
    let network = place.path().join("network.yaml");
    std::fs::write(&network, NETWORK).unwrap();
    let control = free_port();
    let config = Config {
        network,
        control,
        settings: Settings {
            time_scale: 50.0,
            ingest: Some(format!("http://{ingest}").parse().unwrap()),
            ..Settings::default()
        },
        icmp_device: None,
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(lab::run(config, async {
        let _ = stopped.await;
    }));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{control}/api/v1");
    let up = async {
        while client.get(format!("{base}/state")).send().await.is_err() {
            assert!(!running.is_finished(), "the lab ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.unwrap();
    let standing =
        || async { client.get(format!("{base}/state")).send().await.unwrap().json::<Standing>().await };
    let sessions =
        |standing: Standing| standing.routers.iter().map(|router| router.session_count).collect::<Vec<_>>();
    assert_eq!(sessions(standing().await.unwrap()), [1, 0]);

    let post =
        |what: &str| client.post(format!("{base}/{what}")).json(&serde_json::json!({"nodes": ["a"]})).send();
    post("break").await.unwrap();
    let hooks = collector.wait_for(1).await;
    assert_eq!((hooks[0].says(), hooks[0].from), ("cust-1 online".into(), [127, 22, 0, 2].into()));
    assert_eq!(sessions(standing().await.unwrap()), [0, 1]);

    post("mend").await.unwrap();
    let node = || async {
        client.get(format!("{base}/nodes/a")).send().await.unwrap().json::<NodeState>().await.unwrap()
    };
    let state = node().await;
    assert!(state.is_broken && state.is_starting);
    let started = async { while node().await.is_broken {} };
    tokio::time::timeout(PATIENCE, started).await.unwrap();
    // He stays where he is: nothing but the first words of the router that is back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sessions(standing().await.unwrap()), [0, 1]);
    assert!(!collector.taken().iter().skip(1).map(Hook::says).any(|said| said.starts_with("cust-1")));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_played_is_named_with_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let network = place.path().join("network.yaml");
    std::fs::write(&network, NETWORK.replace("127.22.0.1", "192.0.2.1")).unwrap();
    let config = Config { network, control: free_port(), settings: Settings::default(), icmp_device: None };
    let error = format!("{:#}", lab::run(config, std::future::pending()).await.unwrap_err());
    assert!(
        error.contains("network.yaml") && error.contains("router `a` has the address 192.0.2.1"),
        "{error}"
    );
}
