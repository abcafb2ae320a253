//! By what a router is known, over its API inside TLS: the reconciler on a played router with a self-signed certificate.

use crate::ground::{Ground, until};
use events::{Fingerprint, PlanState};
use lab::{Lab, Settings};
use routers::{ROUTER, network_in_tls};
use std::sync::Arc;

const VERSION: &str = "7.16.2 (stable)";
const NOWHERE: &str = "http://127.0.0.1:9";

async fn played() -> Arc<Lab> {
    Lab::start(network_in_tls(VERSION), Settings { time_scale: 100.0, ..Settings::default() }).await.unwrap()
}

fn shown_by(lab: &Lab) -> Fingerprint {
    Fingerprint(lab.fingerprint(ROUTER).unwrap().0)
}

/// Trust on first use: a router nobody vouches for is told nothing, and what is said of it is what there is to pin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_nobody_vouches_for_hears_no_password_until_its_certificate_is_pinned() {
    let (lab, ground) = (played().await, Ground::lay().await);
    ground.import(&lab, false).await;
    let running = ground.start(NOWHERE).await;
    let plan = ground.stands(PlanState::Unreachable).await;
    assert_eq!(plan.certificate_shown, Some(shown_by(&lab)), "{plan:?}");
    let error = plan.error.unwrap();
    assert!(error.contains(&shown_by(&lab).to_string()) && error.contains("pin it"), "{error}");
    let heard = lab.counters().0;
    assert_eq!((heard.logins, heard.logins_refused), (0, 0));

    ground.pin(Some(shown_by(&lab)));
    ground.import(&lab, false).await;
    let plan = ground.stands(PlanState::Proposed).await;
    assert_eq!((plan.certificate_shown, plan.error), (None, None));
    assert_eq!(lab.counters().0.logins, 1);
    running.stop().await;
    lab.stop().await;
}

/// A certificate that has changed is told with the old and the new one, and nothing is said to who shows it; pinned, it is
/// entered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_refused_with_both_fingerprints_until_the_new_one_is_pinned() {
    let (lab, ground) = (played().await, Ground::lay().await);
    let before = shown_by(&lab);
    ground.pin(Some(before));
    ground.import(&lab, false).await;
    let running = ground.start(NOWHERE).await;
    ground.stands(PlanState::Proposed).await;
    lab.renew_certificate(ROUTER).unwrap();
    let after = shown_by(&lab);
    assert_ne!(before, after);
    // The session that there is goes on with the key it was agreed on.
    assert_eq!(ground.look(false).await.state, PlanState::Proposed);
    lab.with(|state| state.reboot(&[ROUTER]));
    let mut error = String::new();
    until("it shows its new certificate", async || {
        let plan = ground.look(false).await;
        error = plan.error.unwrap_or_default();
        plan.certificate_shown == Some(after)
    })
    .await;
    assert!(error.contains(&before.to_string()) && error.contains(&after.to_string()), "{error}");
    assert!(error.contains("has changed") && error.contains("pins the new one"), "{error}");
    assert_eq!(lab.counters().0.logins, 1);

    ground.pin(Some(after));
    ground.import(&lab, false).await;
    ground.stands(PlanState::Proposed).await;
    assert_eq!(lab.counters().0.logins, 2);
    running.stop().await;
    lab.stop().await;
}

/// Without TLS a password is said only where the configuration allows it, and the error says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_without_tls_hears_no_password_where_that_is_forbidden() {
    let lab = routers::started(VERSION, lab::network::Habits::default()).await.unwrap();
    let ground = Ground::lay().await;
    ground.tell("PLAIN_API", "never");
    ground.import(&lab, false).await;
    let running = ground.start(NOWHERE).await;
    let error = ground.stands(PlanState::Unreachable).await.error.unwrap();
    for words in ["not inside TLS", "api-ssl", "tls: on", "plain_api"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let heard = lab.counters().0;
    assert_eq!((heard.logins, heard.logins_refused, heard.calls.len()), (0, 0, 0));
    running.stop().await;
    lab.stop().await;
}
