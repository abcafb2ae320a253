//! The private nats-server, as a real one.

use async_nats::ServerAddr;
use async_nats::jetstream::{self, stream};
use embedded::{Durability, Nats, NatsCluster, NatsOptions, Port, StartError, Version};
use std::fs;
use std::time::{Duration, Instant};

async fn context(urls: &[String]) -> jetstream::Context {
    let addresses: Vec<ServerAddr> = urls.iter().map(|url| url.parse().unwrap()).collect();
    let client = async_nats::ConnectOptions::new().max_reconnects(None).connect(addresses).await.unwrap();
    jetstream::new(client)
}

/// Publishes until it is acknowledged: a server that comes back needs a moment.
async fn publish(log: &jetstream::Context, subject: &'static str) -> u64 {
    let begun = Instant::now();
    loop {
        let outcome = match log.publish(subject, "x".into()).await {
            Ok(acknowledgement) => acknowledgement.await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(stored) => return stored.sequence,
            Err(error) => {
                assert!(begun.elapsed() < Duration::from_secs(30), "not stored within 30 s: {error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn config(name: &str, replicas: usize) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec!["a.>".to_owned()],
        num_replicas: replicas,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_kill_a_stop_and_on_the_same_address() {
    let nats = Nats::start_temporary(|_| {}).await.unwrap();
    assert!(nats.program().version >= Some(Version(2, 14, 0)));
    let (url, pid) = (nats.url(), nats.pid().unwrap());
    let log = context(&[nats.url()]).await;
    log.create_stream(config("A", 1)).await.unwrap();
    assert_eq!(publish(&log, "a.1").await, 1);

    nats.kill();
    assert_eq!(nats.pid(), None);
    nats.ended().await;
    nats.restart().await.unwrap();
    assert_ne!(nats.pid().unwrap(), pid);
    assert_eq!(nats.url(), url);
    assert_eq!(publish(&log, "a.2").await, 2);

    nats.stop().await;
    assert_eq!(nats.pid(), None);
    nats.restart().await.unwrap();
    assert_eq!(publish(&log, "a.3").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_silent_until_it_is_thawed() {
    let nats = Nats::start_temporary(|_| {}).await.unwrap();
    let log = context(&[nats.url()]).await;
    log.create_stream(config("A", 1)).await.unwrap();
    nats.freeze().unwrap();
    let acknowledgement = log.publish("a.1", "x".into()).await.unwrap().into_future();
    let mut acknowledgement = Box::pin(acknowledgement);
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut acknowledgement).await.is_err());
    nats.thaw().unwrap();
    assert_eq!(acknowledgement.await.unwrap().sequence, 1);

    nats.freeze().unwrap();
    nats.kill();
    assert!(nats.freeze().is_err() && nats.thaw().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_serves_one_process_and_a_dropped_server_gives_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = Nats::start(NatsOptions::new(dir.path())).await.unwrap();
    let name = first.server_name().to_owned();
    let refused = Nats::start(NatsOptions::new(dir.path())).await.unwrap_err();
    assert!(matches!(refused, StartError::InUse { pid, .. } if pid == std::process::id()), "{refused}");
    let pid_file = fs::read_to_string(dir.path().join("nats.pid")).unwrap();
    assert_eq!(pid_file.lines().next().unwrap(), first.pid().unwrap().to_string());
    drop(first);
    assert!(!dir.path().join("nats.pid").exists());
    let second = Nats::start(NatsOptions::new(dir.path())).await.unwrap();
    assert_eq!(second.server_name(), name, "the name stays with the directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_options_reach_the_server() {
    let nats = Nats::start_temporary(|options| {
        options.durability = Durability::Interval;
        options.max_payload_bytes = 4_096;
        options.store_bytes_max = Some(1024 * 1024);
        options.server_name = Some("one-\"quoted\"-name".to_owned());
        options.extra_config = "authorization { users: [ { user: keeper, password: pw, permissions: { \
                                publish: [\"in.>\", \"$JS.API.>\"], subscribe: \"_INBOX.>\" } } ] }"
            .to_owned();
    })
    .await
    .unwrap();
    assert_eq!(nats.durability(), Durability::Interval);
    assert!(async_nats::connect(nats.url()).await.is_err(), "without a password");
    let client = async_nats::ConnectOptions::with_user_and_password("keeper".into(), "pw".into())
        .connect(nats.url())
        .await
        .unwrap();
    let info = client.server_info();
    assert_eq!(info.max_payload, 4_096);
    assert_eq!(info.server_name, "one-\"quoted\"-name");
    let account = jetstream::new(client.clone()).query_account().await.unwrap();
    assert_eq!(account.limits.max_storage.unwrap_or(-1), -1, "the account itself is not limited");
    let log = jetstream::new(client);
    let too_large = stream::Config { max_bytes: 2 * 1024 * 1024, ..config("A", 1) };
    assert!(log.create_stream(too_large).await.is_err(), "beyond the limit of the store");
    log.create_stream(config("B", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_and_a_bad_configuration_are_errors_that_quote_the_server() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Nats::start_temporary(|options| {
        options.port = Port::Fixed(port);
    })
    .await
    .unwrap_err();
    assert!(error.to_string().contains("address already in use"), "{error}");

    let error = Nats::start_temporary(|options| options.extra_config = "no_such_key: 1".to_owned())
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("no_such_key"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_are_one_cluster_and_go_on_without_any_one_of_them() {
    let cluster = NatsCluster::start_temporary(|_| {}).await.unwrap();
    let log = context(&cluster.urls()).await;
    log.create_stream(config("A", 3)).await.unwrap();
    let mut last = publish(&log, "a.1").await;
    for member in cluster.members() {
        member.kill();
        let next = publish(&log, "a.2").await;
        assert!(next > last, "{next} after {last}");
        last = next;
        member.restart().await.unwrap();
        cluster.whole().await.unwrap();
    }
    cluster.kill();
    cluster.restart().await.unwrap();
    assert!(publish(&log, "a.3").await > last);
    cluster.stop().await;
}

#[tokio::test]
async fn a_server_does_not_outlive_the_runtime_that_started_it_being_dropped() {
    let nats = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Nats::start_temporary(|_| {})).unwrap()
    })
    .join()
    .unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    client.flush().await.unwrap();
    let pid = nats.pid().unwrap();
    drop(client);
    drop(nats);
    assert!(embedded::tree(pid).is_empty());
}
