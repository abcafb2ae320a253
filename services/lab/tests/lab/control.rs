//! The lab's own interface over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lab::Lab;
use lab::claims::Outcome;
use lab::control::{Changed, Counted, NodeState, Problem, Standing, Temper};
use lab::network::DeviceMode;
use lab::router::Manner;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::isp::{CORE, Client, Collector, PATIENCE, fast, started};

struct Control {
    client: reqwest::Client,
    base: String,
}

impl Control {
    async fn of(lab: &Arc<Lab>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let routes = lab::control::routes(Arc::clone(lab));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            base: format!("http://{address}/api/v1/"),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> T {
        let answer = self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    async fn refused(&self, method: reqwest::Method, path: &str, body: String) -> Problem {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let status = answer.status().as_u16();
        let problem: Problem = answer.json().await.unwrap();
        assert_eq!(problem.status, status);
        problem
    }
}

#[tokio::test]
async fn nodes_are_broken_and_mended_and_the_state_tells() {
    let lab = started(fast(None)).await;
    let control = Control::of(&lab).await;
    let changed: Changed = control.post("break", &json!({"nodes": ["link", "sector-0"]})).await;
    assert_eq!(changed.changed_count, 2);
    let changed: Changed = control.post("break", &json!({"nodes": ["link"]})).await;
    assert_eq!(changed.changed_count, 0);
    let standing: Standing = control.get("state").await;
    assert_eq!(
        (standing.broken, standing.node_count, standing.unreachable_count),
        (vec!["link".into(), "sector-0".into()], 9, 8)
    );
    let tower = standing.routers.iter().find(|router| router.id == "tower").unwrap();
    assert!(tower.is_powered && !tower.is_reachable && tower.boot == 1);
    let node: NodeState = control.get("nodes/sector-1").await;
    assert!(!node.is_broken && !node.is_reachable && node.seen_by.as_deref() == Some("tower"));

    let changed: Changed = control.post("mend", &json!({})).await;
    assert_eq!(changed.changed_count, 2);
    let _: Changed = control.post("reboot", &json!({"nodes": ["tower"]})).await;
    let standing: Standing = control.get("state").await;
    assert_eq!((standing.unreachable_count, standing.routers[1].boot), (0, 2));

    let unknown =
        control.refused(reqwest::Method::POST, "break", json!({"nodes": ["nobody"]}).to_string()).await;
    assert_eq!((unknown.status, unknown.detail.as_str()), (404, "there is no node `nobody`"));
    let link = control.refused(reqwest::Method::POST, "reboot", json!({"nodes": ["link"]}).to_string()).await;
    assert_eq!(link.status, 422);
    let wrong = control.refused(reqwest::Method::PUT, "faults", json!({"drop": 1.5}).to_string()).await;
    assert!(wrong.detail.contains("`drop` is 1.5"), "{}", wrong.detail);
    let line = control
        .refused(reqwest::Method::PUT, "nodes/link/line", json!({"rtt_us": 1, "loss": -1.0}).to_string())
        .await;
    assert_eq!(line.status, 422);
    lab.stop().await;
}

#[tokio::test]
async fn a_router_takes_on_another_manner_while_it_runs() {
    let lab = started(fast(None)).await;
    let control = Control::of(&lab).await;
    let mut client = Client::logged_in(&lab, CORE).await;
    let patch = async |body: &Value| -> Temper {
        let request = control.client.patch(format!("{}routers/core", control.base)).json(body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let body = json!({"group": "read", "device_mode": "home", "clock_ahead_s": -3600});
    let temper = patch(&body).await;
    assert_eq!((temper.device_mode, temper.clock_ahead_s), (Some(DeviceMode::Home), Some(-3600)));
    assert!(client.ask(&["/system/identity/set", "=name=x"]).await[0].contains("not enough permissions"));
    assert_eq!(patch(&json!({"group": "full"})).await.device_mode, Some(DeviceMode::Home));
    assert_eq!(client.ask(&["/system/identity/set", "=name=x"]).await, ["!done"]);
    assert_eq!(patch(&json!({"manner": "mute"})).await.manner, Some(Manner::Mute));
    let wrong =
        control.refused(reqwest::Method::PATCH, "routers/core", json!({"group": "kings"}).to_string()).await;
    assert_eq!(wrong.detail, "`kings`: input does not match any value of group");
    let link = control.refused(reqwest::Method::PATCH, "routers/link", "{}".to_owned()).await;
    assert_eq!(link.status, 422);
    lab.stop().await;
}

#[tokio::test]
async fn an_outage_is_played_step_by_step_and_wrong_ones_name_their_step() {
    let (collector, address) = Collector::start().await;
    let lab = started(fast(Some(address))).await;
    let control = Control::of(&lab).await;
    for (wrong, part) in [
        ("- {at: 0s, break: [nobody]}", "step 1: there is no node `nobody`"),
        ("- {at: 0s}\n- {at: soon}", "step 2: `soon` is no time"),
        ("- {at: 0s, smash: [core]}", "unknown field `smash`"),
        ("- {at: 0s, reboot: [link]}", "step 1: `link` is no router"),
        ("break: core", "reading the outage"),
    ] {
        let problem = control.refused(reqwest::Method::POST, "outage", wrong.to_owned()).await;
        assert!(problem.detail.contains(part), "{wrong}: {}", problem.detail);
    }
    let outage = "
- {at: 0s, break: [sector-0]}
- {at: 600ms, mend: [sector-0], faults: {drop: 1.0}}
";
    let post = || control.client.post(format!("{}outage", control.base)).body(outage).send();
    assert_eq!(post().await.unwrap().status(), 202);
    assert_eq!(post().await.unwrap().status(), 409);
    assert_eq!(collector.wait_for(3).await.len(), 3);
    let over = async {
        loop {
            let standing: Standing = control.get("state").await;
            if standing.outage.as_ref().is_some_and(|outage| !outage.is_playing) {
                return standing;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let standing = tokio::time::timeout(PATIENCE, over).await.unwrap();
    assert_eq!(
        (standing.outage.unwrap().done_count, standing.broken.len(), standing.faults.drop),
        (2, 0, 1.0)
    );
    lab.stop().await;
}

#[tokio::test]
async fn claims_are_sent_as_the_routers_would_say_them() {
    let (collector, address) = Collector::start().await;
    let lab = started(fast(Some(address))).await;
    let control = Control::of(&lab).await;
    let claims = json!({
        "claims": [
            {"node": "tower", "status": "down"},
            {"node": "sector-1", "status": "down"},
            {"node": "acct-10", "status": "up"},
        ],
        "at_once": 1,
    });
    let outcome: Outcome = control.post("claims", &claims).await;
    assert_eq!((outcome.accepted_count, outcome.failed_count), (3, 0));
    let hooks = collector.taken();
    let said: Vec<String> = hooks.iter().map(crate::isp::Hook::says).collect();
    assert_eq!(said, ["tower down", "sector-1 down", "cust-10 online"]);
    assert_eq!(hooks.iter().map(crate::isp::Hook::seq).collect::<Vec<_>>(), [1, 1, 2]);
    assert_ne!(hooks[0].from, hooks[1].from);

    let _: Changed = control.post("break", &json!({"nodes": ["core"]})).await;
    let by_magic = json!({"claims": [{"node": "sector-0", "status": "down"}], "even_when_cut_off": true});
    let outcome: Outcome = control.post("claims", &by_magic).await;
    assert_eq!(outcome.accepted_count, 1);
    let as_it_is = json!({"claims": [{"node": "sector-0", "status": "down"}], "tries": 1});
    let outcome: Outcome = control.post("claims", &as_it_is).await;
    assert_eq!((outcome.accepted_count, outcome.failed_count), (0, 1));
    let unseen = json!({"claims": [{"node": "core", "status": "down"}]}).to_string();
    let problem = control.refused(reqwest::Method::POST, "claims", unseen).await;
    assert_eq!(problem.detail, "no router that has a webhook token sees `core`");
    let counted: Counted = control.get("counters").await;
    assert_eq!((counted.all.webhooks_sent, counted.all.webhooks_failed), (4, 1));
    lab.stop().await;
}
