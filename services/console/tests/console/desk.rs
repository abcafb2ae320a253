//! Who may do what at the front desk, and that nothing crosses from one tenant to another.

use crate::ground::{Ground, Sse, ground, read, small, until};
use events::{NodeId, TenantId};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5";

fn pager(host: &str) -> Value {
    json!({"audience": "engineers", "webhook": {"url": format!("https://{host}/hook"), "secret": SECRET}})
}

/// The routes there are, by method. A route that is added here without need is one too many.
const ROUTES: [&str; 49] = [
    "delete /api/v1/channels/{name}",
    "delete /api/v1/inventory/nodes/{node}",
    "delete /api/v1/tokens/{prefix}",
    "get /api/v1/audit",
    "get /api/v1/channels",
    "get /api/v1/cutting",
    "get /api/v1/enforcement",
    "get /api/v1/events",
    "get /api/v1/health",
    "get /api/v1/health/{node}",
    "get /api/v1/incidents",
    "get /api/v1/incidents/{incident}",
    "get /api/v1/incidents/{incident}/explain",
    "get /api/v1/inventory/nodes",
    "get /api/v1/inventory/nodes/{node}",
    "get /api/v1/inventory/sites",
    "get /api/v1/nodes/{node}/history",
    "get /api/v1/operator/audit",
    "get /api/v1/routers/{router}/enforcement",
    "get /api/v1/routers/{router}/plan",
    "get /api/v1/routers/{router}/repairs",
    "get /api/v1/routers/{router}/scan",
    "get /api/v1/sightings",
    "get /api/v1/subscribers/{account}/service",
    "get /api/v1/tenants",
    "get /api/v1/tenants/{slug}",
    "get /api/v1/tokens",
    "get /api/v1/trust",
    "post /api/v1/import",
    "post /api/v1/incidents/{incident}/acknowledge",
    "post /api/v1/incidents/{incident}/close-as-wrong",
    "post /api/v1/keys/rewrap",
    "post /api/v1/nodes/{node}/live-check",
    "post /api/v1/routers",
    "post /api/v1/routers/{router}/cut-held",
    "post /api/v1/routers/{router}/plan",
    "post /api/v1/routers/{router}/repair",
    "post /api/v1/routers/{router}/scan",
    "post /api/v1/sightings/{sighting}/add",
    "post /api/v1/sightings/{sighting}/reject",
    "post /api/v1/subscribers/{account}/resume",
    "post /api/v1/subscribers/{account}/suspend",
    "post /api/v1/tenants",
    "post /api/v1/tokens",
    "put /api/v1/channels/{name}",
    "put /api/v1/cutting",
    "put /api/v1/routers/{router}/manage",
    "put /api/v1/services",
    "put /api/v1/subscribers/{account}/service",
];

fn routes(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
    });
    methods.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_lists_exactly_the_routes_that_are_served() {
    let g = ground().await;
    let (status, document) = read(g.http.get(format!("{}/api/openapi.json", g.url))).await;
    assert_eq!(status, 200);
    assert_eq!(document, serde_json::from_str::<Value>(&console::openapi()).unwrap());
    let listed = routes(&document);
    assert_eq!(listed, ROUTES.map(str::to_owned).into());
    // What is listed is served: without a token every one of them asks for one. What is not listed is not.
    for path in document["paths"].as_object().unwrap().keys() {
        let at = path.replace(['{', '}'], "");
        for method in ["get", "post", "put", "delete", "patch"] {
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = g.http.request(verb, format!("{}{at}", g.url));
            let request = request.header("content-type", "application/json").body("{}");
            let (status, told) = read(request).await;
            let expected = if listed.contains(&format!("{method} {path}")) { 401 } else { 405 };
            assert_eq!(status, expected, "{method} {path}: {told}");
            assert_eq!(told["status"], expected, "as a problem");
        }
    }
    for path in ["/api", "/api/v1", "/api/v1/nodes", "/api/v1/roles", "/api/v2/tenants", "/metrics"] {
        assert_eq!(read(g.get(&g.admin, path)).await.0, 404, "{path}");
    }
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_tokens_and_channels_come_and_go() {
    let g = ground().await;
    let new = json!({"slug": "hillside", "name": "Hillside Internet"});
    assert_eq!(read(g.post(&g.admin, "/api/v1/tenants").json(&new)).await.0, 201);
    assert_eq!(read(g.post(&g.admin, "/api/v1/tenants").json(&new)).await.0, 409);
    for slug in ["", "Upper", "a b", "ä", &"x".repeat(41)] {
        let (status, told) = read(g.post(&g.admin, "/api/v1/tenants").json(&json!({"slug": slug}))).await;
        assert_eq!((status.as_u16(), told["code"].as_str()), (422, Some("slug")), "{slug}");
    }
    let tenant = TenantId::of("hillside");
    g.settled(tenant).await;
    let (_, all) = read(g.get(&g.admin, "/api/v1/tenants")).await;
    assert_eq!(all, json!([{"id": tenant, "slug": "hillside", "name": "Hillside Internet"}]));

    // A token opens its tenant at once, is listed without its secret, and is shut at once.
    let token = g.token("hillside").await;
    assert_eq!(read(g.get(&token, "/api/v1/tenants/hillside")).await.1, all[0]);
    assert_eq!(read(g.post(&token, "/api/v1/tenants").json(&json!({"slug": "mine"}))).await.0, 403);
    let (_, tokens) = read(g.get(&token, "/api/v1/tokens")).await;
    let prefix = tokens[0]["prefix"].as_str().unwrap();
    assert!(token.contains(prefix) && !tokens.to_string().contains(token.rsplit('_').next().unwrap()));
    assert!(!tokens.to_string().contains(&vault::sha256_hex(token.as_bytes())));
    let mut wrong = token.clone();
    wrong.pop();
    for bad in ["", "x", &wrong, &format!("{wrong}!")] {
        let (status, told) = read(g.get(bad, "/api/v1/tokens")).await;
        assert_eq!((status.as_u16(), told["code"].as_str()), (401, Some("unauthorized")));
    }
    let new = json!({"name": "noc", "opens": "console", "networks": ["192.0.2.0/24"]});
    let (_, made) = read(g.post(&token, "/api/v1/tokens").json(&new)).await;
    assert_eq!(read(g.get(made["token"].as_str().unwrap(), "/api/v1/tokens")).await.0, 403, "from elsewhere");
    let new = json!({"name": "zabbix", "opens": "signals"});
    let (_, made) = read(g.post(&token, "/api/v1/tokens").json(&new)).await;
    assert_eq!(read(g.get(made["token"].as_str().unwrap(), "/api/v1/tokens")).await.0, 403, "not for that");
    for (new, code) in [
        (json!({"name": "a", "opens": "administrator"}), "opens"),
        (json!({"name": "a", "opens": "router"}), "router"),
        (json!({"name": "a", "opens": "router", "router": "core-9"}), "router"),
        (json!({"name": "", "opens": "console"}), "name"),
        (json!({"name": "a", "opens": "console", "networks": ["x"]}), "networks"),
    ] {
        let (status, told) = read(g.post(&token, "/api/v1/tokens").json(&new)).await;
        assert_eq!((status.as_u16(), told["code"].as_str()), (422, Some(code)));
    }
    let path = format!("/api/v1/tokens/{prefix}");
    assert_eq!(read(g.request(Method::DELETE, &token, &path)).await.0, 204);
    assert_eq!(read(g.get(&token, "/api/v1/tokens")).await.0, 401);
    assert_eq!(
        read(g.request(Method::DELETE, &g.admin, "/api/v1/tokens/nosuchtoken0?tenant=hillside")).await.0,
        404
    );

    // An administrator names the tenant.
    assert_eq!(read(g.get(&g.admin, "/api/v1/tokens")).await.0, 400);
    assert_eq!(read(g.get(&g.admin, "/api/v1/tokens?tenant=nobody")).await.0, 404);
    assert_eq!(read(g.get(&g.admin, "/api/v1/tokens").header("x-tenant", "hillside")).await.0, 200);
    assert_eq!(read(g.get(&g.admin, "/api/v1/tokens?tenant=a").header("x-tenant", "b")).await.0, 400);

    // Channels: what goes in as a secret does not come out.
    let at = "/api/v1/channels/pager?tenant=hillside";
    let before = g.log.state().await.unwrap().last_seq;
    assert_eq!(read(g.request(Method::PUT, &g.admin, at).json(&pager("hooks.example"))).await.0, 204);
    assert_eq!(g.log.state().await.unwrap().last_seq, before + 2, "the channel and the revision");
    assert_eq!(read(g.request(Method::PUT, &g.admin, at).json(&pager("hooks.example"))).await.0, 204);
    assert_eq!(g.log.state().await.unwrap().last_seq, before + 2, "the same again says nothing");
    g.settled(tenant).await;
    let (_, channels) = read(g.get(&g.admin, "/api/v1/channels?tenant=hillside")).await;
    assert_eq!(channels[0]["endpoint"], "https://hooks.example");
    assert!(!channels.to_string().contains("/hook\"") && !channels.to_string().contains(SECRET));
    let short = json!({"audience": "support", "webhook": {"url": "https://a.b", "secret": "whsec_AAAA"}});
    let (status, told) = read(g.request(Method::PUT, &g.admin, at).json(&short)).await;
    assert_eq!((status.as_u16(), told["code"].as_str()), (422, Some("secret")));
    let mail = json!({"audience": "support", "email": {
        "server": "smtps://mail.example", "from": "a@b", "to": ["c@d"], "user": "u", "password": "p"}});
    let at_mail = "/api/v1/channels/mail?tenant=hillside";
    assert_eq!(read(g.request(Method::PUT, &g.admin, at_mail).json(&mail)).await.0, 204);
    assert_eq!(read(g.request(Method::DELETE, &g.admin, at)).await.0, 204);
    assert_eq!(read(g.request(Method::DELETE, &g.admin, at)).await.0, 404);
    g.settled(tenant).await;
    let (_, channels) = read(g.get(&g.admin, "/api/v1/channels?tenant=hillside")).await;
    assert_eq!(channels.as_array().unwrap().len(), 1);
    g.end().await;
}

/// The same network with every name marked.
fn marked(file: &str) -> String {
    let marks = [
        ("tower-", "zulu-"),
        ("Tower", "Zulu"),
        ("core-", "zulucore-"),
        ("Core-", "Zulu-"),
        ("c-0", "zulu-c-0"),
        ("home-", "zulu-"),
        ("Hill", "Zulu"),
        ("Mast Road", "Zulu Road"),
    ];
    marks.iter().fold(file.to_owned(), |text, (from, to)| text.replace(from, to))
}

struct Other {
    tenant: TenantId,
    node: NodeId,
    incident: String,
    prefix: String,
}

async fn other(g: &Ground) -> Other {
    g.imported(&marked(&small("valley"))).await;
    let tenant = TenantId::of("valley");
    let pager = pager("zulu.example");
    let at = "/api/v1/channels/pager?tenant=valley";
    assert_eq!(read(g.request(Method::PUT, &g.admin, at).json(&pager)).await.0, 204);
    let node = NodeId::of(tenant, "zulucore-1");
    let below = [NodeId::of(tenant, "zulu-1"), NodeId::of(tenant, "zulu-2")];
    let story = g.outage(tenant, node, &below, "Zulu is down").await;
    g.repaired(tenant, node, "zulu").await;
    g.settled(tenant).await;
    let (_, tokens) = read(g.get(&g.admin, "/api/v1/tokens?tenant=valley")).await;
    let prefix = tokens[0]["prefix"].as_str().unwrap().to_owned();
    Other { tenant, node, incident: story.incident.to_string(), prefix }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_ids_of_another_tenant_nothing_of_it_is_seen_or_changed() {
    let g = ground().await;
    g.imported(&small("hillside")).await;
    let b = other(&g).await;
    let a = g.token("hillside").await;
    let of_b = format!("mw.{}.{}.>", events::partition_of(b.tenant), b.tenant);
    let last_of_b = g.log.last(&of_b).await.unwrap().unwrap().seq;
    // The marks do stand where its owner looks.
    let (_, seen) = read(g.get(&g.admin, "/api/v1/inventory/nodes?tenant=valley")).await;
    assert!(seen.to_string().contains("zulu"));

    let mut report = vec![];
    for route in ROUTES {
        let (method, path) = route.split_once(' ').unwrap();
        for node in [b.node.to_string(), "zulucore-1".to_owned()] {
            let path = path
                .replace("{slug}", "valley")
                .replace("{prefix}", &b.prefix)
                .replace("{name}", "pager")
                .replace("{node}", &node)
                .replace("{router}", &node)
                .replace("{account}", &node)
                .replace("{sighting}", &node)
                .replace("{incident}", &b.incident);
            let router = json!({"name": "x", "opens": "router", "router": node});
            for (named, queried) in [(None, ""), (Some("valley"), ""), (None, "?tenant=valley")] {
                let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let mut request = g.request(verb, &a, &format!("{path}{queried}"));
                if let Some(slug) = named {
                    request = request.header("x-tenant", slug);
                }
                let request = match route {
                    "get /api/v1/nodes/{node}/history" => request.query(&[("metric", "rtt_ms")]),
                    "post /api/v1/import" => request.body(marked(&small("valley"))),
                    "post /api/v1/tenants" => request.json(&json!({"slug": "valley"})),
                    "post /api/v1/tokens" => request.json(&router),
                    "put /api/v1/channels/{name}" => request.json(&pager("own.example")),
                    "post /api/v1/routers/{router}/cut-held" => request.json(&json!({"plan": b.node})),
                    "put /api/v1/cutting" => request.json(&json!({"halted": true})),
                    "put /api/v1/services" => request.json(&json!([{"account": node, "state": "suspended"}])),
                    "put /api/v1/subscribers/{account}/service" => {
                        request.json(&json!({"state": "suspended"}))
                    }
                    _ => request,
                };
                let mut response = request.send().await.unwrap();
                let status = response.status().as_u16();
                let is_stream =
                    response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
                let mut body = vec![];
                let reading = async {
                    while let Some(chunk) = response.chunk().await.unwrap() {
                        body.extend(chunk);
                    }
                };
                let within = std::time::Duration::from_millis(if is_stream { 300 } else { 20_000 });
                drop(tokio::time::timeout(within, reading).await);
                let text = String::from_utf8(body).unwrap();
                assert!(!text.to_lowercase().contains("zulu"), "{route} {queried}: {text}");
                assert!(!text.contains(&b.node.to_string()), "{route} {queried}: {text}");
                let is_about_b =
                    path.contains("valley") || path.contains(&b.incident) || path.contains(&node);
                let names_b = named.is_some() || !queried.is_empty();
                let needs_no_tenant = ["post /api/v1/tenants", "get /api/v1/tenants"].contains(&route);
                if is_about_b || (names_b && !needs_no_tenant) || route == "post /api/v1/import" {
                    assert!([403, 404].contains(&status), "{route} {queried}: {status} {text}");
                }
                report
                    .push(format!("{route} tenant={named:?}{queried}: {status}, 0 of {} bytes", text.len()));
            }
        }
    }
    assert_eq!(g.log.last(&of_b).await.unwrap().unwrap().seq, last_of_b, "nothing was said of the other");

    // What the other tenant says now is not told either.
    let mut events = Sse::open(g.get(&a, "/api/v1/events")).await;
    assert_eq!(events.next().await.unwrap().name, "open");
    g.up(b.tenant, b.node).await;
    let own = g.up(TenantId::of("hillside"), NodeId::of(TenantId::of("hillside"), "core-1")).await;
    assert_eq!(events.next().await.unwrap().id, own.to_string());

    let at = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cross-tenant.txt");
    std::fs::write(&at, report.join("\n")).unwrap();
    println!(
        "{} requests with another tenant's ids, each with 0 bytes of it: {}",
        report.len(),
        at.display()
    );
    drop(events);
    g.end().await;
}

#[test]
fn only_the_guarded_module_speaks_to_postgres() {
    fn sources(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { sources(&path, found) } else { found.push(path) }
        }
    }
    let mut found = vec![];
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&src, &mut found);
    assert!(found.len() > 15);
    let speaks = |path: &&std::path::PathBuf| std::fs::read_to_string(path).unwrap().contains("sqlx");
    let places: Vec<_> = found.iter().filter(speaks).map(|path| path.strip_prefix(&src).unwrap()).collect();
    let places: BTreeSet<_> = places.into_iter().collect();
    let guarded = [
        "read_models.rs",
        "read_models/audit.rs",
        "read_models/entitlement.rs",
        "read_models/health.rs",
        "read_models/incident.rs",
        "read_models/network.rs",
        "read_models/notice.rs",
        "read_models/router.rs",
        "read_models/sighting.rs",
        "read_models/tenant.rs",
        "read_models/trust.rs",
    ];
    assert_eq!(places, guarded.map(std::path::Path::new).into());
    // In there, no question is put without naming the tenant, but the one for administrators.
    let text: String =
        found.iter().filter(speaks).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(text.matches("pool.begin()").count(), 2, "in `of` and `every_tenant` alone");
    assert!(!text.contains("format!(") && !text.contains("AssertSqlSafe"), "statements are fixed texts");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_down_reads_are_refused_and_writes_go_on() {
    let g = ground().await;
    let file = small("hillside");
    g.imported(&file).await;
    let tenant = TenantId::of("hillside");
    let token = g.token("hillside").await;
    let story = g.outage(tenant, NodeId::of(tenant, "core-1"), &[], "Core-1 is down").await;
    g.settled(tenant).await;
    g.postgres.kill();

    for path in ["/api/v1/tenants", "/api/v1/incidents", "/api/v1/health", "/api/v1/inventory/nodes"] {
        let response = g.get(&token, path).send().await.unwrap();
        assert_eq!(response.status(), 503, "{path}");
        assert!(response.headers().contains_key("retry-after"), "{path}");
    }
    let (status, done) = g.import(&file.replace("Core-1 at", "Core 1 at")).await;
    assert_eq!((status.as_u16(), done["changed"].as_u64()), (200, Some(1)), "{done:#}");
    assert!(!g.token("hillside").await.is_empty());
    let at = format!("/api/v1/incidents/{}/acknowledge", story.incident);
    assert_eq!(read(g.post(&token, &at).json(&json!({"by": "Ann"}))).await.0, 202);
    let at = format!("/api/v1/incidents/{}/explain", story.incident);
    assert_eq!(read(g.get(&token, &at)).await.0, 200, "that is read from the log");

    g.postgres.restart().await.unwrap();
    until("reads are answered again", async || read(g.get(&token, "/api/v1/tenants")).await.0 == 200).await;
    g.end().await;
}
