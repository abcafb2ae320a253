//! A router over TLS is added from the command line: known by its certificate from then on.

use lab::Lab;
use network_file::OnlyWrittenOut;
use stack::{
    Running, Stack,
    hand::{types_with, until},
};
use std::sync::Arc;

const TENANT: &str = "pinned";
const ADDRESS: &str = "127.28.0.1";

/// A router whose API is inside TLS, and what is typed to add it.
struct Ground {
    stack: Stack,
    running: Running,
    lab: Arc<Lab>,
    port: String,
}

impl Ground {
    async fn lay() -> Self {
        let stack = Stack::start().await.unwrap();
        let port = stack::free_port().unwrap().port().to_string();
        let text = format!(
            "tenant: {{id: {TENANT}, name: Pinned}}
devices:
  - {{id: core, class: router, tier: core, address: {ADDRESS}, login: {{user: nms, password: s3cret, port: {port}, tls: on}}}}
"
        );
        let network = network_file::parse("pinned.yaml", &text, &OnlyWrittenOut).unwrap();
        let running = stack.run(&["all"]).unwrap();
        let lab = stack.play(&network).await.unwrap();
        let other = format!("tenant: {{id: {TENANT}, name: Pinned}}\nsites: [{{id: hill, name: Hill}}]\n");
        stack.import(&network_file::parse("other.yaml", &other, &OnlyWrittenOut).unwrap()).await.unwrap();
        // The tables may be being made.
        until("the read models answer", &running, async || {
            stack.api_of(TENANT).get("/api/v1/sightings").await.ok()
        })
        .await;
        Self { stack, running, lab, port }
    }

    fn add(&self, more: &[&str]) -> (i32, String) {
        let words =
            ["router", "add", "core", "--address", ADDRESS, "--port", &self.port, "--user", "nms", "--tls"];
        let words: Vec<&str> = words.iter().chain(&["--password-file", "-"]).chain(more).copied().collect();
        types_with(&self.stack, TENANT, &words, Some("s3cret\n"))
    }

    fn shown(&self) -> String {
        let router = self.lab.network().router_indices().next().unwrap();
        self.lab.fingerprint(router).unwrap().to_string()
    }

    async fn pinned(&self) -> Option<String> {
        let node = self.stack.api_of(TENANT).get("/api/v1/inventory/nodes/core").await.unwrap();
        node["login_certificate"].as_str().map(str::to_owned)
    }
}

/// Issue text, the poller's router sessions: TLS with pinned certificates. Trust on first use, and never a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_known_by_the_certificate_that_was_shown_before_the_yes() {
    let ground = Ground::lay().await;
    let logins = || ground.lab.counters().0.logins;
    let before = ground.shown();
    let (code, said) = ground.add(&[]);
    assert_eq!(code, 3, "{said}\n{}", ground.running.said());
    assert!(said.contains(&format!("core shows the certificate {before}")), "{said}");
    assert!(said.contains(&format!("--certificate {before}")) && !said.contains("Logged in"), "{said}");
    assert_eq!(logins(), 0, "the password was said to somebody nobody vouches for");

    let (code, said) = ground.add(&["--yes"]);
    assert!(code == 0 && said.contains("Logged in to core"), "{code}: {said}\n{}", ground.running.said());
    assert_eq!(ground.pinned().await.as_deref(), Some(before.as_str()));

    // Another certificate: no yes in advance takes it.
    let router = ground.lab.network().router_indices().next().unwrap();
    ground.lab.renew_certificate(router).unwrap();
    ground.lab.with(|state| state.reboot(&[router]));
    let after = ground.shown();
    let path = "/api/v1/routers/core/plan";
    until("the router is refused", &ground.running, async || {
        types_with(&ground.stack, TENANT, &["router", "plan", "core"], None);
        let plan = ground.stack.api_of(TENANT).find(path).await.ok()??;
        (plan["certificate_shown"] == after.as_str()).then_some(())
    })
    .await;
    let known = logins();
    let (code, said) = ground.add(&["--yes"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("has changed") && said.contains(&before) && said.contains(&after), "{said}");
    assert_eq!((ground.pinned().await, logins()), (Some(before), known));

    // Named, it is the router's.
    let (code, said) = ground.add(&["--certificate", &after, "--yes"]);
    assert!(code == 0 && said.contains("Logged in to core"), "{code}: {said}\n{}", ground.running.said());
    assert_eq!(ground.pinned().await, Some(after));
    assert!(!ground.running.said_in_all().contains("s3cret"));
    ground.lab.stop().await;
}
