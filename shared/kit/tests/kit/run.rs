//! The promises about a process and its services, with a real log.

use embedded::{Nats, Temporary};
use kit::{
    Service,
    admin::Build,
    config::{Common, Durability},
    run::{Process, Restart, RunError},
    telemetry::Telemetry,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

const BUILD: Build = Build { version: "0", revision: "test" };

async fn process() -> (Temporary<Nats>, Process) {
    let nats = Nats::start_temporary(|_| {}).await.unwrap();
    let common = Common {
        nats_url: nats.url(),
        admin_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        drain_s: 1,
        ..Common::default()
    };
    let process = Process::open(common, BUILD, Telemetry::default()).await.unwrap();
    (nats, process)
}

fn soon(times: u32) -> Restart {
    let ms = Duration::from_millis;
    Restart::Bounded { first: ms(1), most: ms(5), times, within: Duration::from_secs(60) }
}

async fn until_stopped(service: Service) -> anyhow::Result<()> {
    service.readiness.ready();
    service.stop.cancelled().await;
    Ok(())
}

#[tokio::test]
async fn a_service_that_fails_or_panics_is_started_again_and_the_others_go_on() {
    let tries = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&tries);
    let (_nats, process) = process().await;
    let process =
        process.restarting(soon(9)).service("steady", until_stopped).service("shaky", move |service| {
            let nth = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                match nth {
                    0 => anyhow::bail!("no luck"),
                    1 => panic!("on purpose"),
                    2 => Ok(()),
                    _ => until_stopped(service).await,
                }
            }
        });
    let (stop, metrics, board) = (process.stop(), process.metrics(), process.board());
    let running = tokio::spawn(process.run());
    let durability = Durability::Always;
    while !board.report(durability).ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(tries.load(Ordering::SeqCst), 4);
    assert!(metrics.text().unwrap().contains("mastwatch_shaky_restarts_total 3\n"));
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(!board.report(durability).ready);
}

#[tokio::test]
async fn a_service_that_keeps_failing_ends_the_process_in_good_order() {
    let drained = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&drained);
    let (_nats, process) = process().await;
    let process = process.restarting(soon(3)).service("hopeless", async |_| anyhow::bail!("never")).service(
        "steady",
        move |service| {
            let seen = Arc::clone(&seen);
            async move {
                service.stop.cancelled().await;
                seen.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        },
    );
    let error = process.run().await.unwrap_err();
    assert!(matches!(&error, RunError::Failed { service: "hopeless", .. }), "{error}");
    assert_eq!(
        format!("{:#}", anyhow::Error::from(error)),
        "running hopeless: given up after 4 failures: never"
    );
    assert_eq!(drained.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_service_that_does_not_end_is_cut_off_in_time() {
    let (_nats, process) = process().await;
    let stop = process.stop();
    let process = process.service("stubborn", move |_| {
        stop.cancel();
        std::future::pending::<anyhow::Result<()>>()
    });
    let began = Instant::now();
    let error = process.run().await.unwrap_err();
    assert!(matches!(error, RunError::CutOff { ref services, .. } if services == &["stubborn"]), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_process_waits_for_its_log_and_can_be_stopped_meanwhile() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let common = Common {
        nats_url: format!("nats://{nobody}"),
        admin_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Common::default()
    };
    let process = Process::open(common, BUILD, Telemetry::default()).await.unwrap();
    let process = process.service("never", async |_| anyhow::bail!("it must not be started"));
    let (stop, board) = (process.stop(), process.board());
    let running = tokio::spawn(process.run());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!board.report(Durability::Always).ready && !running.is_finished());
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_failed_run_left_behind_is_told_to_end() {
    let ended = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&ended);
    let (_nats, process) = process().await;
    let process = process.service("parent", move |service| {
        let seen = Arc::clone(&seen);
        async move {
            tokio::spawn(async move {
                service.stop.cancelled().await;
                seen.fetch_add(1, Ordering::SeqCst);
            });
            anyhow::bail!("gone")
        }
    });
    process.run().await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}
