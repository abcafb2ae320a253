//! A question about history that cannot be answered is refused with the reason.

use crate::ground::{ground, read};

const NETWORK: &str = "
tenant: {id: hillside, name: Hillside}
sites:
  - {id: s, name: S}
devices:
  - {id: core-1, name: Core, class: router, tier: core, site: s, address: 127.0.0.1}
";

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_says_what_is_wrong_and_an_absent_store_says_to_come_again() {
    let ground = ground().await;
    ground.imported(NETWORK).await;
    let token = ground.token("hillside").await;
    for (path, status, says) in [
        ("core-1/history?metric=signal_strength", 400, "signal_dbm"),
        ("core-1/history?metric=signal_dbm&step=0", 400, "`step`"),
        ("core-1/history?metric=signal_dbm&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "`from`"),
        ("core-2/history?metric=signal_dbm", 404, "no such node"),
        ("core-1/history?metric=signal_dbm", 503, "vm_url"),
    ] {
        let (answered, problem) = read(ground.get(&token, &format!("/api/v1/nodes/{path}"))).await;
        assert_eq!(answered, status, "{path}: {problem:#}");
        assert!(problem.to_string().contains(says), "{path}: {problem:#}");
    }
    let (answered, _) =
        read(ground.get("mw_nobody_nothing", "/api/v1/nodes/core-1/history?metric=rtt_ms")).await;
    assert_eq!(answered, 401);
}
