//! Importing networks: all of it or nothing, the same file once, and precise words about what is wrong.

use crate::ground::{Ground, ground, ground_under, network, read, small};
use events::{Fact, Noun, RevisionSource, TenantId};
use kit::{Filter, From};
use network_file::Shape;
use serde_json::json;
use std::time::Instant;

/// Every fact of a tenant about these nouns, in order.
async fn facts(ground: &Ground, tenant: TenantId, nouns: &[Noun]) -> Vec<Fact> {
    let filters: Vec<_> = nouns.iter().map(|noun| Filter::noun(*noun).tenant(tenant)).collect();
    let end = ground.log.state().await.unwrap().last_seq;
    let mut reader = ground.log.read(&filters, From::Start, Some(end));
    let mut found = vec![];
    while let Some(raw) = reader.next().await.unwrap() {
        found.push(raw.decode().unwrap().fact);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_imported_once_and_only_what_differs_is_said_again() {
    let g = ground().await;
    let tenant = TenantId::of("hillside");
    let file = small("hillside");

    let (status, dry) = read(g.post(&g.admin, "/api/v1/import?dry_run=true").body(file.clone())).await;
    assert_eq!(
        (status.as_u16(), dry["created"].as_u64(), dry["committed"].as_bool()),
        (200, Some(26), Some(false))
    );
    assert!(facts(&g, tenant, &[Noun::Access, Noun::Inventory, Noun::Revision]).await.is_empty());

    let done = g.imported(&file).await;
    let expected = json!({
        "tenant": "hillside", "revision": 1, "committed": true, "dry_run": false,
        "created": 26, "changed": 0, "removed": 0, "unchanged": 0, "left_alone": 0,
        "tokens_granted": 3, "tokens_revoked": 0, "tokens_left_revoked": [],
        "persons_stored": 16, "persons_forgotten": 0, "entitlements_set": 0, "parts": 0,
    });
    assert_eq!(done, expected);
    assert_eq!(g.log.personal(tenant).await.unwrap().len(), 16);
    let end = g.log.state().await.unwrap().last_seq;

    let (_, again) = g.import(&format!("# a comment more\n{file}")).await;
    assert_eq!((again["committed"].as_bool(), again["unchanged"].as_u64()), (Some(false), Some(26)));
    assert_eq!(again["persons_stored"], 0);
    assert_eq!(g.log.state().await.unwrap().last_seq, end, "the same file commits nothing");

    // One node other, one tower with all below it gone, and its token with it.
    let mut other = network("hillside", Shape { towers: 1, ..Shape::default() });
    other.subscribers[0].plan = Some("home-1000".into());
    let done = g.imported(&other.to_yaml()).await;
    assert_eq!(done["revision"], 2);
    assert_eq!((done["changed"].as_u64(), done["created"].as_u64()), (Some(1), Some(0)), "{done:#}");
    assert_eq!(done["removed"], 1 + 1 + 2 + 8, "{done:#}");
    assert_eq!((done["tokens_revoked"].as_u64(), done["persons_forgotten"].as_u64()), (Some(1), Some(8)));
    assert_eq!(g.log.personal(tenant).await.unwrap().len(), 8);
    let (_, nodes) = read(g.get(&g.admin, "/api/v1/inventory/nodes?tenant=hillside&limit=1000")).await;
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1 + 1 + 2 + 8);

    // What the first said comes back as it was.
    let done = g.imported(&file).await;
    assert_eq!((done["revision"].as_u64(), done["tokens_granted"].as_u64()), (Some(3), Some(1)));
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_every_fault_is_named_with_its_place() {
    let g = ground().await;
    g.imported(&small("hillside")).await;
    let end = g.log.state().await.unwrap().last_seq;

    let wrong = small("hillside").replace("parent: tower-2", "parent: tower-9");
    let (status, told) = g.import(&wrong).await;
    assert_eq!((status.as_u16(), told["code"].as_str()), (422, Some("wrong_network_file")));
    let error = &told["errors"][0];
    assert_eq!(error["file"], "network.yaml");
    assert!(error["line"].as_u64().unwrap() > 20 && error["column"].as_u64().unwrap() > 0, "{error}");
    assert!(error["message"].as_str().unwrap().contains("tower-9"), "{error}");
    assert!(told["request_id"].is_string(), "{told:#}");

    // Only the graph shows that two that feed each other alone are never fed.
    let ring = "version: 1\ntenant: {id: hillside}\ndevices:\n  \
        - {id: a, class: router, tier: core, parent: b}\n  - {id: b, class: router, tier: core, parent: a}\n";
    let (status, told) = g.import(ring).await;
    assert_eq!(status, 422, "{told:#}");
    assert_eq!(told["errors"][0]["line"], 4, "{told:#}");
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("a → b"), "{told:#}");

    // A file from elsewhere reads neither the environment nor files of the server.
    let secret = small("hillside").replacen("password: ", "password: ${PATH} #", 1);
    let (status, told) = g.import(&secret).await;
    assert_eq!(status, 422);
    assert!(!told.to_string().contains("/usr/bin"), "{told:#}");

    for (body, code) in [("", 422), ("][", 422), ("\u{0}", 422)] {
        assert_eq!(g.import(body).await.0, code, "{body:?}");
    }
    let (status, told) = read(g.post(&g.admin, "/api/v1/import").body(vec![0xff, 0xfe])).await;
    assert_eq!((status.as_u16(), told["code"].as_str()), (400, Some("malformed")));
    assert_eq!(g.log.state().await.unwrap().last_seq, end, "nothing was said");
    g.end().await;
}

/// R59: a group of each mode is made through the API, and read back as it is kept: a header and its members.
#[tokio::test(flavor = "multi_thread")]
async fn groups_of_every_mode_are_made_by_the_api_and_bad_ones_are_refused() {
    let g = ground().await;
    let file = |needs: &str| {
        format!(
            "version: 1\ntenant: {{id: hillside}}\ndevices:\n  \
             - {{id: a, class: router, tier: core, address: 10.0.0.1}}\n  \
             - {{id: b, class: router, tier: core, address: 10.0.0.2}}\n  \
             - {{id: c, class: router, tier: core, address: 10.0.0.3}}\n  \
             - {{id: x, class: server, tier: site, needs: [{needs}]}}\n"
        )
    };
    let mut token = None;
    for (needs, mode, k) in [
        ("{any: [a, b]}", "any", json!(null)),
        ("{all: [a, b, c]}", "all", json!(null)),
        ("{k_of_n: 2, of: [a, b, c]}", "k_of_n", json!(2)),
    ] {
        g.imported(&file(needs)).await;
        if token.is_none() {
            token = Some(g.token("hillside").await);
        }
        g.settled(TenantId::of("hillside")).await;
        let (status, x) = read(g.get(token.as_ref().unwrap(), "/api/v1/inventory/nodes/x")).await;
        assert_eq!(status, 200, "{x:#}");
        let group = &x["groups"][0];
        assert_eq!((group["mode"].as_str(), &group["k"]), (Some(mode), &k), "{x:#}");
        let members = group["members"].as_array().unwrap().len();
        assert_eq!(members, needs.matches(", ").count() + usize::from(mode != "k_of_n"), "{x:#}");
    }
    for (needs, says) in [
        // Nothing on this cycle could be supplied with everything up.
        ("{all: [a, x]}", "x"),
        // What another tenant has, this one does not know.
        ("{any: [a, valley-core]}", "valley-core"),
        ("{k_of_n: 4, of: [a, b, c]}", "4"),
    ] {
        let (status, told) = g.import(&file(needs)).await;
        assert_eq!(status, 422, "{needs}: {told:#}");
        assert!(told["errors"][0]["message"].as_str().unwrap().contains(says), "{told:#}");
    }
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_import_is_laid_down_in_parts_and_takes_effect_at_once() {
    let g = ground().await;
    let tenant = TenantId::of("large");
    let shape = Shape { towers: 10, sectors: 10, clients: 10, ..Shape::default() };
    let file = network("large", shape).to_yaml();
    let done = g.imported(&file).await;
    let parts = done["parts"].as_u64().unwrap();
    assert!(parts > 5, "{done:#}");
    assert_eq!(done["created"].as_u64().unwrap(), shape.nodes() + 11);
    let said = facts(&g, tenant, &[Noun::Inventory, Noun::Part, Noun::Revision]).await;
    assert_eq!(said.len() as u64, parts + 1, "parts, then the revision that names them");
    let Some(Fact::Revision(revision)) = said.last() else { panic!("the revision comes last") };
    assert!(matches!(revision.source, RevisionSource::Parts { count, .. } if u64::from(count) == parts));
    let (_, one) = read(g.get(&g.admin, "/api/v1/inventory/nodes/tower-10-sector-10?tenant=large")).await;
    assert_eq!(one["subscribers_below"], 10, "{one:#}");

    let (_, again) = g.import(&file).await;
    assert_eq!((again["committed"].as_bool(), again["created"].as_u64()), (Some(false), Some(0)));
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_lays_down_only_the_parts_that_are_missing() {
    let master = vault::MasterKey::random().to_base64().to_string();
    let g = ground_under(&master).await;
    let tenant = TenantId::of("large");
    let file = network("large", Shape { towers: 10, sectors: 10, clients: 10, ..Shape::default() }).to_yaml();
    assert_eq!(read(g.post(&g.admin, "/api/v1/tenants").json(&json!({"slug": "large"}))).await.0, 201);
    let done = g.imported(&file).await;
    let said = facts(&g, tenant, &[Noun::Access, Noun::Inventory, Noun::Part, Noun::Revision]).await;

    // Another log, where the same was begun and died with half of the parts laid down.
    let h = ground_under(&master).await;
    let parts = done["parts"].as_u64().unwrap() as usize;
    let begun = said.iter().filter(|fact| !matches!(fact, Fact::Access(a) if a.now.key() != "keys"));
    for fact in begun.take(1 + 2 + 1 + parts / 2) {
        h.say(tenant, "console", None, fact.clone()).await;
    }
    let laid = facts(&h, tenant, &[Noun::Part]).await;
    assert_eq!(laid.len(), parts / 2);
    let again = h.imported(&file).await;
    assert_eq!((&again["revision"], &again["parts"]), (&done["revision"], &done["parts"]));
    let laid = facts(&h, tenant, &[Noun::Part]).await;
    assert_eq!(laid.len(), parts, "each part was laid down once");
    g.end().await;
    h.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_imports_at_the_same_time_each_is_in_force_whole() {
    let g = ground().await;
    let a = small("hillside");
    let b = network("hillside", Shape { towers: 3, ..Shape::default() }).to_yaml();
    let imports = (0..6).map(|n| {
        let file = if n % 2 == 0 { a.clone() } else { b.clone() };
        let request = g.post(&g.admin, "/api/v1/import").body(file);
        read(request)
    });
    for (status, done) in futures::future::join_all(imports).await {
        assert_eq!(status, 200, "{done:#}");
    }
    let revisions = facts(&g, TenantId::of("hillside"), &[Noun::Revision]).await;
    for (n, fact) in (1..).zip(&revisions) {
        let Fact::Revision(revision) = fact else { panic!("only revisions were asked for") };
        assert_eq!(revision.number, n, "from 1, without gaps");
    }
    let (status, told) = read(g.post(&g.admin, "/api/v1/import?base_revision=0").body(b.clone())).await;
    assert_eq!((status.as_u16(), told["code"].as_str()), (409, Some("conflict")));
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_revoked_stays_revoked_and_a_foreign_token_is_not_taken_over() {
    let g = ground().await;
    let file = small("hillside");
    g.imported(&file).await;
    let (_, tokens) = read(g.get(&g.admin, "/api/v1/tokens?tenant=hillside")).await;
    let prefix = tokens[0]["prefix"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/tokens/{prefix}?tenant=hillside");
    assert_eq!(read(g.request(reqwest::Method::DELETE, &g.admin, &path)).await.0, 204);
    let (_, again) = g.import(&file).await;
    assert_eq!(
        (again["committed"].as_bool(), &again["tokens_left_revoked"]),
        (Some(false), &json!([prefix]))
    );

    // Another tenant's file with the same tokens.
    let (status, told) = g.import(&file.replace("id: hillside", "id: valley")).await;
    assert_eq!(status, 422, "{told:#}");
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("another token's"), "{told:#}");
    assert!(told["errors"][0]["line"].as_u64().unwrap() > 1, "{told:#}");
    g.end().await;
}

/// The most memory this process has had, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// The largest network there is samples of. `MASTWATCH_LONG=1` measures it; otherwise a tenth.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_network_is_imported_in_bounded_time() {
    let g = ground().await;
    let towers = if std::env::var_os("MASTWATCH_LONG").is_some() { 100 } else { 10 };
    let shape = Shape { towers, sectors: 10, clients: 99, ..Shape::default() };
    let file = network("largest", shape).to_yaml();
    let bytes = file.len();
    let began = Instant::now();
    let (status, done) = g.import(&file).await;
    let first = began.elapsed();
    assert_eq!(status, 200, "{done:#}");
    assert_eq!(done["created"].as_u64().unwrap(), shape.nodes() + u64::from(towers) + 1);
    let began = Instant::now();
    let (_, again) = g.import(&file).await;
    let second = began.elapsed();
    assert_eq!(again["committed"], false);
    let parts = &done["parts"];
    println!(
        "{} nodes, {bytes} bytes, {parts} parts: imported in {first:?}, found unchanged in {second:?}; \
         peak {} MiB, test included",
        shape.nodes(),
        peak_mib()
    );
    assert!(first.as_secs() < 120 && second.as_secs() < 120, "{first:?}, {second:?}");
    g.end().await;
}
