//! The commands as a person types them, against the real parts and an outage that the real deciders found.

use mastwatch::api::Api;
use network_file::{Concentrators, NetworkFile, Shape};
use serde_json::Value;
use stack::{
    Stack, binary,
    hand::{Said, Typist},
    ledger,
};
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

/// A person with a shell: an administrator's token, one tenant, a directory.
struct Person<'s> {
    stack: &'s Stack,
    tenant: String,
    dir: TempDir,
}

impl Person<'_> {
    async fn types(&self, words: &[&str]) -> Said {
        let typist = Typist { tenant: Some(&self.tenant), dir: Some(self.dir.path()), ..Typist::default() };
        typist.types(self.stack, words, None)
    }

    /// As a program would: with `--json`.
    async fn asks(&self, words: &[&str]) -> Said {
        self.types(&[words, &["--json"]].concat()).await
    }

    fn has(&self, file: &str) -> bool {
        self.dir.path().join(file).exists()
    }
}

/// Asks again until it is so.
async fn comes_to(person: &Person<'_>, words: &[&str], is_so: impl Fn(&Said) -> bool) -> Said {
    let began = Instant::now();
    loop {
        let said = person.types(words).await;
        if is_so(&said) {
            return said;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it never came to it: {said:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn rebuilt(person: &Person<'_>, config: &Path) -> Said {
    let words = ["rebuild", "--json", "--config", config.to_str().unwrap()];
    // While facts are being written, other rows are no fault.
    comes_to(person, &words, |said| said.code == 0).await
}

/// An ISP of eight subscribers in a file, and a person beside it.
fn isp(stack: &Stack) -> (NetworkFile, Person<'_>) {
    let shape = Shape {
        towers: 2,
        sectors: 2,
        clients: 2,
        heartbeat_s: 5,
        // Another test may be playing its own ISP at the usual one.
        api_port: stack::free_port().unwrap().port(),
        concentrators: Concentrators::Towers,
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    stack.tell_the_sink(&mut network);
    let person = Person { stack, tenant: network.tenant.slug.clone(), dir: TempDir::new().unwrap() };
    std::fs::write(person.dir.path().join("network.yaml"), network.to_yaml()).unwrap();
    (network, person)
}

/// N1: a person imports a network, its core breaks, and every command says so.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_says_what_the_deciders_found_to_people_and_to_programs() {
    let stack = Stack::start().await.unwrap();
    let (network, person) = isp(&stack);
    let tenant = network.tenant.slug.clone();

    // Nobody is there yet: what is wrong, and what to do.
    let alone = person.types(&["status"]).await.with_code(1);
    assert!(alone.err.contains("is `mastwatch up` running"), "{alone:?}");
    let alone = person.asks(&["status"]).await.with_code(1);
    let error: Value = serde_json::from_str(&alone.err).unwrap();
    assert!(error["error"].is_string() && error["causes"][0].is_string(), "{error}");
    let wrong = person.asks(&["statsu"]).await.with_code(2);
    assert!(serde_json::from_str::<Value>(&wrong.err).unwrap()["error"].is_string(), "{wrong:?}");

    let running = stack.run(&["all"]).unwrap();
    let lab = stack.play(&network).await.unwrap();
    let imported =
        comes_to(&person, &["import", "network.yaml", "--json"], |said| said.code == 0).await.object();
    assert_eq!(imported["committed"], true, "{imported}");
    let again = person.types(&["import", "network.yaml"]).await.with_code(0);
    assert!(again.out.contains("is in force already: 0 new, 0 changed, 0 removed"), "{again:?}");
    let again = person.asks(&["import", "network.yaml"]).await.with_code(0).object();
    assert_eq!((&again["committed"], &again["created"]), (&false.into(), &0.into()), "{again}");
    stack
        .settled(&tenant, Duration::from_secs(60))
        .await
        .unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));

    // All is well.
    let well = comes_to(&person, &["status"], |said| said.code == 0).await;
    assert!(well.out.contains("Nothing is open."), "{well:?}");
    let well = person.asks(&["status"]).await.with_code(0).object();
    assert_eq!(well["open_incidents"], Value::Array(vec![]), "{well}");
    assert_eq!(well["health"]["core"]["up"], 1, "{well}");
    let none = person.types(&["incidents"]).await.with_code(0);
    assert_eq!(none.out, "Nothing is open.\n");
    let account = network.subscribers[0].account.clone();
    // It is measured anew each time, on a machine that may be busy.
    let check = comes_to(&person, &["live-check", &account], |said| said.code == 0).await;
    assert!(check.out.lines().count() >= 3 && !check.out.contains(" down "), "{check:?}");
    // Everybody hangs on something at a site, and is there too.
    let all = person.asks(&["inventory"]).await.with_code(0).objects();
    assert_eq!(all.len(), network.nodes.len() + network.subscribers.len());
    let site = network.sites.iter().find(|site| site.id == "tower-1").unwrap();
    let here = person.asks(&["inventory", "--site", &site.id]).await.with_code(0).objects();
    assert!(!here.is_empty() && here.len() < all.len(), "{} of {}", here.len(), all.len());
    assert!(here.iter().all(|node| node["site_name"] == site.name.as_str()), "{here:?}");
    let table = person.types(&["inventory", "--site", &site.id, "--tier", "subscriber"]).await.with_code(0);
    let inherited = format!("{} (inherited)", site.name);
    assert!(table.out.lines().skip(1).all(|line| line.ends_with(&inherited)), "{table:?}");
    let counted = person.asks(&["status", "--site", &site.id]).await.with_code(0).object();
    let up = counted["health"].as_object().unwrap().values().filter_map(|of| of["up"].as_u64()).sum::<u64>();
    assert_eq!(up, here.len() as u64, "{counted}");
    for words in [["status", "--site", "no such site"], ["inventory", "--site", "no such site"]] {
        let unknown = person.types(&words).await.with_code(1);
        assert!(unknown.err.contains("there is no site `no such site`"), "{unknown:?}");
    }

    for words in [["live-check", "no such / thing?"], ["explain", "nothing"]] {
        let unknown = person.types(&words).await.with_code(1);
        assert!(
            unknown.err.contains("network file") || unknown.err.contains("incidents --all"),
            "{unknown:?}"
        );
        let unknown = person.asks(&words).await.with_code(1);
        let error: Value = serde_json::from_str(&unknown.err).unwrap();
        assert!(error["error"].as_str().unwrap().contains(words[1]), "{error}");
    }

    // The core loses its power.
    lab.set_broken(&[lab.network().find("core-1").unwrap()], true);
    let told = stack.sink.wait_for(1, Duration::from_secs(40)).await;
    told.unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));
    let below = network.nodes.len() + network.subscribers.len();
    let ill = comes_to(&person, &["status", "--json"], |said| said.code == 3).await.object();
    assert_eq!(ill["health"]["core"]["down"], 1, "{ill}");
    let all_cut_off = |said: &Said| {
        said.code == 0 && said.object()["suppressed_count"].as_u64() == u64::try_from(below - 1).ok()
    };
    let first = ill["open_incidents"][0]["id"].as_str().unwrap();
    comes_to(&person, &["explain", first, "--json"], all_cut_off).await;
    // The title follows who is cut off, and the rows follow the log.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ledger::written(&stack, &[network.tenant_id()], Duration::from_secs(30)).await.unwrap();
    let ill = person.types(&["status"]).await.with_code(3);
    let open = person.asks(&["incidents"]).await.with_code(0).object();
    let (id, title) = (open["id"].as_str().unwrap(), open["title"].as_str().unwrap());
    assert!(ill.out.contains(title), "{ill:?}");
    let listed = person.types(&["incidents"]).await.with_code(0);
    assert!(listed.out.contains(&id[..8]) && listed.out.contains(title), "{listed:?}");
    let one = person.types(&["incidents", &id[..8]]).await.with_code(0);
    assert!(one.out.starts_with(title) && one.out.contains("told engineers by noc"), "{one:?}");
    assert_eq!(person.asks(&["incidents", &id[..8]]).await.with_code(0).object()["id"], *id);

    let told = comes_to(&person, &["explain", &id[..8], "--json"], all_cut_off).await.object();
    let suppressed = told["suppressed"].as_array().unwrap();
    assert_eq!((suppressed.len(), &told["unexplained_count"]), (below - 1, &0.into()), "{told:#}");
    let text = person.types(&["explain", &id[..8]]).await.with_code(0);
    let lines: Vec<&str> = text.out.lines().collect();
    for one in suppressed {
        let (event, heard) = (one["event"].as_str().unwrap(), one["heard"].as_str().unwrap());
        let of_it: Vec<_> = lines.iter().filter(|line| line.ends_with(&format!("event {event}"))).collect();
        assert!(matches!(of_it[..], [line] if line.starts_with(&heard[11..19])), "{event}\n{}", text.out);
    }
    for thing in network.nodes.iter().map(|n| &n.id).chain(network.subscribers.iter().map(|s| &s.account)) {
        let named = lines.iter().filter(|line| line.contains(&format!(" {thing}): cut off by"))).count();
        assert_eq!(named, usize::from(thing != "core-1"), "{thing}\n{}", text.out);
    }
    let counts = lines.last().unwrap();
    assert!(counts.contains(&format!("{} suppressed, 0 unexplained", below - 1)), "{counts}");

    let check = comes_to(&person, &["live-check", &account], |said| said.code == 3).await;
    assert!(check.out.lines().next().unwrap().contains(" down "), "{check:?}");
    let check = comes_to(&person, &["live-check", &account, "--json"], |said| said.code == 3).await.objects();
    assert!(check.iter().any(|hop| hop["file_id"] == "core-1" && hop["state"] == "down"), "{check:?}");

    // It comes back, and what was written is what the log tells.
    lab.set_broken(&[lab.network().find("core-1").unwrap()], false);
    comes_to(&person, &["status"], |said| said.code == 0).await;
    let over = person.asks(&["incidents", "--all"]).await.with_code(0).object();
    assert_eq!((&over["id"], &over["state"]), (&open["id"], &"resolved".into()));
    ledger::quiet(&stack.log, Duration::from_secs(60)).await.unwrap();
    let told = rebuilt(&person, stack.config()).await.object();
    assert!(told["equal"] == true && told["before"] == told["after"], "{told}");
    let told = person.types(&["rebuild", "--config", stack.config().to_str().unwrap()]).await;
    assert!(told.out.contains("before  ") && told.out.contains("after   "), "{told:?}");

    // Somebody knocks with a token that is nobody's, and is on record.
    let knock =
        format!("http://{}/api/webhooks/device-status?id=core-1&status=down&token=mw_nobodys", stack.ingest);
    assert_eq!(reqwest::get(knock).await.unwrap().status(), 401);
    let seen = |said: &Said| said.code == 0 && said.out.contains("reason=unauthorized");
    let refused = ["audit", "--operator", "--what", "refused"];
    let told = comes_to(&person, &refused, seen).await;
    assert!(told.out.contains("  refused  -") && told.out.contains("127.0.0.1"), "{told:?}");
    let told = person.asks(&refused).await.with_code(0).object();
    assert_eq!((&told["detail"]["reason"], &told["detail"]["count"]), (&"unauthorized".into(), &1.into()));
    let imported = person.asks(&["audit", "--what", "inventory_changed"]).await.with_code(0).objects();
    assert_eq!(imported.len(), 1, "{imported:?}");

    // What needs nothing of it.
    let found = person.asks(&["doctor"]).await;
    let is_good = |what: &str| found.objects().iter().any(|f| f["what"] == what && f["good"] == true);
    assert!(["nats-server", "Postgres", "console"].into_iter().all(is_good), "{found:?}");
    let doctor = person.types(&["doctor"]).await.with_code(found.code);
    assert!(doctor.out.contains("ok    console"), "{doctor:?}");
    let made = ["generate", "--towers", "1", "--clients", "1"];
    let text = person.types(&made).await.with_code(0);
    let object = person.asks(&made).await.with_code(0).object();
    assert_eq!(object["text"].as_str().map(str::trim_end), Some(text.out.trim_end()));
    let kept = person.asks(&[&made[..], &["--output", "made.yaml"]].concat()).await.with_code(0).object();
    assert!(person.has("made.yaml") && kept["path"] == "made.yaml" && kept["subscribers"] == 3, "{kept}");
    let would = person.types(&["import", "made.yaml", "--dry-run"]).await.with_code(0);
    assert!(would.out.contains("made.yaml would be imported"), "{would:?}");
    lab.stop().await;
}

/// Nobody was cut off, so nobody is suppressed: who lost a session is named, with the verdict that says so.
#[tokio::test(flavor = "multi_thread")]
async fn explain_names_who_lost_their_sessions_below_what_works() {
    let stack = Stack::start().await.unwrap();
    let (network, person) = isp(&stack);
    let running = stack.run(&["all"]).unwrap();
    let lab = stack.play(&network).await.unwrap();
    comes_to(&person, &["import", "network.yaml"], |said| said.code == 0).await;
    let settled = stack.settled(&network.tenant.slug, Duration::from_secs(60)).await;
    settled.unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));

    let (lose, keep) = network.subscribers.split_at(5);
    let nodes: Vec<_> = lose.iter().map(|s| lab.network().find(&s.account).unwrap()).collect();
    lab.set_broken(&nodes, true);
    let told = stack.sink.wait_for(1, Duration::from_secs(90)).await;
    told.unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));
    let open = comes_to(&person, &["incidents", "--json"], |said| said.out.contains("sessions_lost")).await;
    let id = open.object()["id"].as_str().unwrap().to_owned();
    let told = person.asks(&["explain", &id]).await.with_code(0).object();
    assert_eq!((&told["lost_count"], &told["suppressed_count"]), (&5.into(), &0.into()), "{told:#}");
    let text = person.types(&["explain", &id]).await.with_code(0);
    for one in told["lost"].as_array().unwrap() {
        assert!(text.out.contains(&format!("event {}\n", one["event"].as_str().unwrap())), "{}", text.out);
    }
    for (these, named) in [(lose, 1), (keep, 0)] {
        for subscriber in these {
            let line = format!(" {}): verdict: down, confidence 100%, event ", subscriber.account);
            assert_eq!(text.out.matches(&line).count(), named, "{line}\n{}", text.out);
        }
    }
    let counts = text.out.lines().last().unwrap();
    assert!(counts.contains("5 lost their sessions, 0 suppressed, 0 unexplained"), "{counts}");
    lab.stop().await;
}

/// R4 and the switch, as a person types it: who is suspended is cut off at the played router, too many are held back
/// until somebody confirms, and while cutting is halted nobody is.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_suspends_confirms_halts_and_resumes_and_each_command_says_how_it_stands() {
    let stack = Stack::start().await.unwrap();
    let (mut network, person) = isp(&stack);
    for login in network.nodes.iter_mut().filter_map(|node| node.login.as_mut()) {
        login.enforce = true;
    }
    std::fs::write(person.dir.path().join("network.yaml"), network.to_yaml()).unwrap();
    let running = stack.run(&["all"]).unwrap();
    let lab = stack.play(&network).await.unwrap();
    comes_to(&person, &["import", "network.yaml"], |said| said.code == 0).await;
    let settled = stack.settled(&network.tenant.slug, Duration::from_secs(90)).await;
    settled.unwrap_or_else(|e| panic!("{e:#}\n{}", running.said()));
    let at_tower = network.subscribers.iter().filter(|one| one.seen_by.router() == Some("tower-1"));
    let accounts: Vec<&str> = at_tower.map(|one| one.account.as_str()).collect();
    let [first, second, third, ..] = accounts[..] else { panic!("{accounts:?}") };
    let session = |account: &str| {
        let user = lab.network().find(account).unwrap();
        lab.with(|state| {
            let all = state.routers.iter().flat_map(|router| router.secrets.values());
            let secret = all.into_iter().find(|secret| secret.node == Some(user)).unwrap();
            matches!(secret.standing, lab::ppp::Standing::On(_))
        })
    };
    let shows = async |account: &str, code: i32, word: &str| {
        comes_to(&person, &["subscriber", "show", account], |said| {
            said.code == code && said.out.contains(word)
        })
        .await
    };

    // Nothing was said of anybody.
    let alone = person.types(&["subscriber", "show", first]).await.with_code(1);
    assert!(alone.err.contains("nothing was said of what"), "{alone:?}");
    let none = person.types(&["subscriber", "list"]).await.with_code(0);
    assert_eq!(none.out, "There are none.\n");
    let open = person.types(&["cutting", "show"]).await.with_code(0);
    assert_eq!(open.out, "Subscribers are cut off as they should be.\n");
    let wrong = person.types(&["subscriber", "list", "--state", "Held!"]).await.with_code(1);
    assert!(wrong.err.contains("is no state"), "{wrong:?}");
    person.types(&["cutting", "router", "tower-9"]).await.with_code(1);

    // One is cut off; it is said once.
    assert!(session(first) && session(second));
    assert_eq!(person.types(&["subscriber", "suspend", first]).await.with_code(0).out, "Said.\n");
    let again = person.types(&["subscriber", "suspend", first]).await.with_code(0);
    assert_eq!(again.out, "It was so already.\n");
    let done = shows(first, 0, "tower-1: in_force").await;
    assert!(done.out.starts_with(&format!("{first}: suspended, said by")), "{done:?}");
    assert!(!session(first) && session(second));
    let done = person.asks(&["subscriber", "show", first]).await.with_code(0).object();
    assert_eq!((&done["state"], &done["at_routers"][0]["state"]), (&"suspended".into(), &"in_force".into()));
    let router = person.types(&["cutting", "router", "tower-1"]).await.with_code(0);
    assert!(router.out.starts_with("tower-1: in_force since "), "{router:?}");

    // A second is one too many of four, until somebody says yes to it.
    person.types(&["subscriber", "suspend", second]).await.with_code(0);
    shows(second, 3, "tower-1: held").await;
    let held = person.types(&["subscriber", "list", "--state", "held"]).await.with_code(0);
    assert!(held.out.starts_with(&format!("{second} at tower-1: held since ")), "{held:?}");
    let router = comes_to(&person, &["cutting", "router", "tower-1"], |said| said.code == 3).await;
    assert!(
        router.out.contains("1 held back") && router.out.contains("somebody has to confirm it"),
        "{router:?}"
    );
    let typed = router.out.lines().last().unwrap().split("mastwatch ").nth(1).unwrap().to_owned();
    assert!(session(second));
    let said = person.types(&typed.split(' ').collect::<Vec<_>>()).await.with_code(0);
    assert!(said.out.starts_with("Said;"), "{said:?}");
    shows(second, 0, "tower-1: in_force").await;
    assert!(!session(second));

    // While it is halted nobody is cut off, and who is served again is.
    person.types(&["cutting", "halt", "--why", "the books are wrong"]).await.with_code(0);
    let halted = comes_to(&person, &["cutting", "show"], |said| said.code == 3).await;
    assert!(
        halted.out.contains("Nobody is cut off") && halted.out.contains("the books are wrong"),
        "{halted:?}"
    );
    person.types(&["subscriber", "suspend", third]).await.with_code(0);
    let held = shows(third, 3, "tower-1: held").await;
    assert!(held.out.contains("all cutting off is halted") && session(third), "{held:?}");
    person.types(&["subscriber", "resume", first]).await.with_code(0);
    shows(first, 0, &format!("{first}: active")).await;
    person.types(&["subscriber", "resume", third]).await.with_code(0);
    shows(third, 0, &format!("{third}: active")).await;
    assert!(session(third), "nobody was cut off");
    person.types(&["cutting", "allow"]).await.with_code(0);
    let open = comes_to(&person, &["cutting", "show", "--json"], |said| said.code == 0).await.object();
    assert_eq!(open["is_halted"], false, "{open}");
    lab.stop().await;
}

/// A program that starts everything hears where it is once it is ready, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_a_program_its_addresses_once_when_it_is_ready() {
    kit::telemetry::use_ring();
    let data = TempDir::new().unwrap();
    let port = || stack::free_port().unwrap().to_string();
    let mut up = tokio::process::Command::new(binary().unwrap())
        .args(["up", "--json", "--data"])
        .arg(data.path())
        .env("MASTWATCH_CONSOLE__LISTEN", port())
        .env("MASTWATCH_INGEST__LISTEN", port())
        .env("MASTWATCH_ADMIN_ADDRESS", port())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(120), lines.next_line()).await.unwrap().unwrap();
    let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
    let at = |key: &str| told[key].as_str().unwrap().to_owned();
    let ready = reqwest::get(format!("{}/readyz", at("health_and_metrics"))).await.unwrap();
    assert!(ready.status().is_success(), "{ready:?}");
    let token = std::fs::read_to_string(at("token_file")).unwrap();
    let api = Api::new(at("console"), token.trim().to_owned(), None);
    assert_eq!(api.get("/api/v1/tenants").await.unwrap(), Value::Array(vec![]));
    assert!(Path::new(&at("servers_file")).exists() && at("webhooks").starts_with("http://"), "{told}");

    // As Ctrl-C does; it stops its servers itself.
    let pid = up.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert!(up.wait().await.unwrap().success());
}
