//! The router's API, sentence by sentence.

use std::time::{Duration, Instant};

use lab::{Lab, Settings};
use routeros_api::session::{Options, Session};
use routeros_api::wire::Sentence;
use routeros_api::{Command, Credentials};

use crate::isp::{CORE, Client, TOWER, fast, network, node, shown, started};

/// The transcript of the reference. `…` stands for what differs from run to run.
const TRANSCRIPT: &str = "
C /login =name=nms =password=s3cret .tag=1
S !done .tag=1
C /system/resource/print =.proplist=version,uptime,cpu-load .tag=2
S !re =version=7.16.2 (stable) =uptime=… =cpu-load=… .tag=2
S !done .tag=2
C /ip/firewall/address-list/add =list=suspended =address=10.7.3.4 =comment .tag=3
S !done =ret=*ID .tag=3
C /ip/firewall/address-list/print ?list=suspended ?address=10.7.3.4 .tag=4
S !re =.id=*ID =list=suspended =address=10.7.3.4 =dynamic=false =disabled=false =creation-time=… .tag=4
S !done .tag=4
C /ip/firewall/address-list/remove =.id=*ID .tag=5
S !done .tag=5
C /ip/firewall/address-list/remove =.id=*ID .tag=6
S !trap =message=no such item .tag=6
S !done .tag=6
C /nosuch/print .tag=7
S !trap =category=0 =message=no such command prefix .tag=7
S !done .tag=7
C # .tag=8
S !trap =category=0 =message=no such command prefix .tag=8
S !done .tag=8
C /quit
S !fatal session terminated on request
";

fn words(line: &str) -> Vec<String> {
    // A blank begins a new word only before what words begin with.
    let mut words: Vec<String> = Vec::new();
    for part in line.split(' ') {
        let fatal = words.len() == 1 && words[0] == "!fatal";
        if words.is_empty() || fatal || part.starts_with(['=', '.', '?', '!']) {
            words.push(part.to_owned());
        } else {
            let last = words.last_mut().unwrap();
            *last = format!("{last} {part}");
        }
    }
    words
}

#[tokio::test]
async fn the_transcript_of_the_reference_is_played_word_for_word() {
    let lab = started(fast(None)).await;
    let mut client = Client::connect(&lab, CORE).await;
    let mut id = String::new();
    for line in TRANSCRIPT.lines().filter(|line| !line.is_empty()) {
        let (side, line) = line.split_at(2);
        if side == "C " {
            let line = line.replace("*ID", &id);
            client.say(&words(&line).iter().map(String::as_str).collect::<Vec<_>>()).await;
            continue;
        }
        let said = client.hear().await.unwrap();
        if let Some(ret) = said.attribute("ret") {
            id = String::from_utf8(ret.to_vec()).unwrap();
            assert!(
                id.starts_with('*')
                    && id[1..].chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c))
            );
        }
        let expected = words(&line.replace("*ID", &id));
        let said: Vec<String> = said.words().map(|word| String::from_utf8(word.to_vec()).unwrap()).collect();
        let matches = said.len() == expected.len()
            && said.iter().zip(&expected).all(|(said, expected)| match expected.strip_suffix('…') {
                Some(start) => said.starts_with(start) && said.len() > start.len(),
                None => said == expected,
            });
        assert!(matches, "expected {expected:?}, heard {said:?}");
    }
    assert_eq!(client.hear().await, None, "the router closes after /quit");
    lab.stop().await;
}

#[tokio::test]
async fn a_stranger_is_sent_away_and_a_wrong_password_is_told_so() {
    let lab = started(fast(None)).await;
    let mut client = Client::connect(&lab, CORE).await;
    client.say(&["/system/identity/print", ".tag=1"]).await;
    assert_eq!(client.hear().await, Some(Sentence::fatal("not logged in")));
    assert_eq!(client.hear().await, None);

    let mut client = Client::connect(&lab, CORE).await;
    let refused = ["!trap =message=invalid user name or password (6) .tag=1", "!done .tag=1"];
    assert_eq!(client.ask(&["/login", "=name=nms", "=password=wrong", ".tag=1"]).await, refused);
    let challenged = client.ask(&["/login"]).await;
    assert_eq!((challenged.len(), challenged[0].len()), (1, "!done =ret=".len() + 32));
    assert_eq!(client.ask(&["/login", "=name=nms", "=password=s3cret"]).await, ["!done"]);
    assert_eq!(client.ask(&["/system/identity/print"]).await, ["!re =name=core", "!done"]);
    let (all, routers) = lab.counters();
    assert_eq!((all.logins, all.logins_refused, routers["core"].calls["/system/identity/print"]), (1, 1, 1));
    lab.stop().await;
}

#[tokio::test]
async fn a_command_that_names_one_customer_is_counted_and_one_about_all_is_not() {
    let lab = started(fast(None)).await;
    let mut client = Client::connect(&lab, TOWER).await;
    client.ask(&["/login", "=name=nms", "=password=s3cret"]).await;
    let counted = || lab.counters().1["tower"].calls_about_one;
    let all = client.ask(&["/ppp/active/print", "=.proplist=address"]).await;
    client.ask(&["/ppp/active/print", "?service=pppoe"]).await;
    client.ask(&["/ping", "=address=10.0.0.1", "=count=1"]).await;
    assert_eq!(counted(), 0);
    client.ask(&["/ppp/active/print", "?name=cust-00"]).await;
    client.ask(&["/ppp/secret/print", "?name=cust-01"]).await;
    let address = all[0].rsplit(' ').next().unwrap().replace("=address=", "");
    client.ask(&["/ping", &format!("=address={address}"), "=count=1"]).await;
    assert_eq!(counted(), 3, "{all:?}");
    lab.stop().await;
}

#[tokio::test]
async fn an_old_router_takes_the_answer_to_its_challenge_only() {
    let lab = Lab::start(network(Some("6.42.12 (long-term)")), fast(None)).await.unwrap();
    let credentials = Credentials::new("nms", "s3cret");
    let address = lab.api_address(CORE);
    let session = Session::connect(address, None, &credentials, &Options::default()).await.unwrap();
    let reply = session.call(&Command::new("/system/resource/print"), Duration::from_secs(5)).await.unwrap();
    assert_eq!(reply.rows[0].text("version").unwrap(), "6.42.12 (long-term)");
    let wrong = Credentials::new("nms", "other");
    let error = Session::connect(address, None, &wrong, &Options::default()).await.unwrap_err();
    assert!(format!("{error:?}").contains("cannot log in"), "{error:?}");
    lab.stop().await;
}

#[tokio::test]
async fn an_empty_answer_says_so_from_7_18_on() {
    for (version, heard) in
        [("7.17.2", vec!["!done .tag=1"]), ("7.18.1", vec!["!empty .tag=1", "!done .tag=1"])]
    {
        let lab = Lab::start(network(Some(version)), fast(None)).await.unwrap();
        let mut client = Client::logged_in(&lab, CORE).await;
        assert_eq!(client.ask(&["/ppp/active/print", ".tag=1"]).await, heard);
        lab.stop().await;
    }
}

#[tokio::test]
async fn sessions_and_netwatch_entries_are_listed_and_can_be_changed() {
    let lab = started(fast(Some("127.0.0.1:9".parse().unwrap()))).await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    let sessions = client.ask(&["/ppp/active/print", "=.proplist=name,service"]).await;
    let expected: Vec<String> =
        ["00", "01", "10", "11"].iter().map(|n| format!("!re =name=cust-{n} =service=pppoe")).collect();
    assert_eq!(sessions[..4], expected);
    assert_eq!(client.ask(&["/ppp/active/print", "=count-only="]).await, ["!done =ret=4"]);

    let watched = client.ask(&["/tool/netwatch/print", "=.proplist=host,status,comment"]).await;
    let expected = |s: u8| format!("!re =host=10.0.{s}.1 =status=up =comment=mastwatch:sector-{s}");
    assert_eq!(watched, [expected(0), expected(1), "!done".to_owned()]);
    let scripts =
        client.ask(&["/tool/netwatch/print", "=.proplist=up-script", "?comment=mastwatch:sector-0"]).await;
    assert!(
        scripts[0].contains(":local thing \"sector-0\"") && scripts[0].contains("\\\"status\\\":\\\"up\\\"")
    );

    let added = client.ask(&["/tool/netwatch/add", "=host=10.0.0.1", "=interval=30s", "=comment=mine"]).await;
    let id = added[0].strip_prefix("!done =ret=").unwrap().to_owned();
    let set = ["/tool/netwatch/set", &format!("=.id={id}"), "=disabled=yes", "=interval=1m"];
    assert_eq!(client.ask(&set).await, ["!done"]);
    let shown =
        client.ask(&["/tool/netwatch/print", "=.proplist=interval,disabled,status", "?comment=mine"]).await;
    assert_eq!(shown[0], "!re =interval=1m =disabled=true");
    assert_eq!(client.ask(&["/tool/netwatch/remove", &format!("=numbers={id}")]).await, ["!done"]);
    let unknown = client.ask(&["/tool/netwatch/add", "=host=10.0.0.1", "=nonsense=1"]).await;
    assert_eq!(unknown[0], "!trap =category=1 =message=unknown parameter nonsense");

    assert_eq!(client.ask(&["/ppp/secret/disable", "=numbers=cust-00"]).await, ["!done"]);
    let secret = client.ask(&["/ppp/secret/print", "=.proplist=name,disabled", "?name=cust-00"]).await;
    assert_eq!(secret[0], "!re =name=cust-00 =disabled=true");
    let again = client.ask(&["/ppp/secret/add", "=name=cust-00"]).await;
    assert!(again[0].contains("already exists"), "{again:?}");
    lab.stop().await;
}

#[tokio::test]
async fn a_listener_hears_who_comes_and_goes_and_is_interrupted_when_cancelled() {
    let lab = started(fast(None)).await;
    let mut client = Client::logged_in(&lab, TOWER).await;
    client.say(&["/ppp/active/listen", "=.proplist=.id,name", ".tag=L"]).await;
    let ids = client.ask(&["/ppp/active/print", "=.proplist=.id", "?name=cust-00", ".tag=1"]).await;
    let id = ids[0].strip_prefix("!re =.id=").unwrap().strip_suffix(" .tag=1").unwrap().to_owned();
    client.say(&["/ppp/active/remove", &format!("=.id={id}"), ".tag=2"]).await;
    let mut heard = vec![shown(&client.hear().await.unwrap()), shown(&client.hear().await.unwrap())];
    heard.sort();
    assert_eq!(heard, ["!done .tag=2".to_owned(), format!("!re =.id={id} =.dead=true .tag=L")]);
    let back = client.hear().await.unwrap();
    assert_eq!((back.attribute("name"), back.tag()), (Some(b"cust-00".as_slice()), Some(b"L".as_slice())));
    client.say(&["/cancel", "=tag=L", ".tag=3"]).await;
    let ends = ["!trap =category=2 =message=interrupted .tag=L", "!done .tag=3", "!done .tag=L"];
    for end in ends {
        assert_eq!(shown(&client.hear().await.unwrap()), end);
    }
    assert_eq!(client.ask(&["/cancel", "=tag=nobody", ".tag=4"]).await, ["!done .tag=4"]);
    lab.stop().await;
}

#[tokio::test]
async fn a_ping_measures_in_real_time_and_blocks_nothing_else() {
    let lab = started(fast(None)).await;
    lab.with(|state| {
        let sector = state.network.find("sector-0").unwrap();
        state.world.set_line(sector, 100_000, 0.0);
    });
    let mut client = Client::logged_in(&lab, TOWER).await;
    let begun = Instant::now();
    client.say(&["/ping", "=address=10.0.0.1", "=count=3", "=interval=200ms", "=size=64", ".tag=p"]).await;
    assert_eq!(
        client.ask(&["/system/identity/print", ".tag=i"]).await,
        ["!re =name=tower .tag=i", "!done .tag=i"]
    );
    for seq in 0..3 {
        let row = client.hear().await.unwrap();
        let text = |name: &str| String::from_utf8(row.attribute(name).unwrap_or_default().to_vec()).unwrap();
        assert_eq!(
            (text("seq"), text("host"), text("size")),
            (seq.to_string(), "10.0.0.1".into(), "64".into())
        );
        assert_eq!(
            (text("sent"), text("received"), text("packet-loss")),
            ((seq + 1).to_string(), (seq + 1).to_string(), "0".into())
        );
        let rtt = routeros_api::value::duration(&text("time")).unwrap().unwrap();
        assert!((95..=106).contains(&rtt.as_millis()), "{rtt:?}");
        assert!(!text("min-rtt").is_empty() && text("status").is_empty());
    }
    assert_eq!(shown(&client.hear().await.unwrap()), "!done .tag=p");
    let took = begun.elapsed();
    assert!((Duration::from_millis(490)..Duration::from_millis(800)).contains(&took), "{took:?}");

    lab.set_broken(&[node(&lab, "sector-0")], true);
    let lost = client.ask(&["/tool/ping", "=address=10.0.0.1", "=count=2", "=interval=50ms"]).await;
    assert_eq!(
        lost,
        [
            "!re =seq=0 =host=10.0.0.1 =status=timeout =sent=1 =received=0 =packet-loss=100",
            "!re =seq=1 =host=10.0.0.1 =status=timeout =sent=2 =received=0 =packet-loss=100",
            "!done"
        ]
    );
    client.say(&["/ping", "=address=10.0.0.1", "=interval=1s", ".tag=e"]).await;
    let cancelled = client.ask(&["/cancel", ".tag=c"]).await;
    assert_eq!(cancelled, ["!trap =category=2 =message=interrupted .tag=e", "!done .tag=c"]);
    assert_eq!(shown(&client.hear().await.unwrap()), "!done .tag=e");
    let (all, _) = lab.counters();
    assert_eq!((all.pings_at_once_max, all.calls["/ping"], all.calls["/tool/ping"]), (1, 2, 1));
    lab.stop().await;
}

#[tokio::test]
async fn version_6_rounds_to_milliseconds_and_loss_is_what_was_set() {
    let lab = Lab::start(network(Some("6.49.10 (long-term)")), fast(None)).await.unwrap();
    lab.with(|state| {
        let sector = state.network.find("sector-1").unwrap();
        state.world.set_line(sector, 12_500, 0.25);
    });
    let mut client = Client::logged_in(&lab, TOWER).await;
    let rows = client.ask(&["/ping", "=address=10.0.1.1", "=count=100", "=interval=20ms"]).await;
    let answered: Vec<_> = rows.iter().filter(|row| row.contains("=time=")).collect();
    assert!((60..90).contains(&answered.len()), "{} of 100", answered.len());
    assert!(
        answered.iter().all(|row| ["=time=11ms", "=time=12ms", "=time=13ms"].iter().any(|t| row.contains(t)))
    );
    let last = &rows[99];
    assert!(
        last.contains(&format!("=received={} =packet-loss={}", answered.len(), 100 - answered.len())),
        "{last}"
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_session_too_many_is_refused_and_nonsense_ends_a_connection() {
    let lab = Lab::start(network(None), Settings { sessions_max: 2, ..fast(None) }).await.unwrap();
    let first = Client::logged_in(&lab, CORE).await;
    let _second = Client::logged_in(&lab, CORE).await;
    let mut third = Client::connect(&lab, CORE).await;
    assert_eq!(third.hear().await, None);
    drop(first);
    let again = async {
        loop {
            let mut client = Client::connect(&lab, CORE).await;
            client
                .send(&Sentence::new("/login").with("name", "nms").with("password", "s3cret").to_bytes())
                .await;
            if let Ok(Some(_)) = client.next().await {
                return client;
            }
        }
    };
    let mut client = tokio::time::timeout(Duration::from_secs(5), again).await.unwrap();
    // The length of a word of 5 MiB is enough: nobody waits for the word.
    client.send(&[0xe0, 0x50, 0, 0]).await;
    assert_eq!(client.hear().await.unwrap().first(), b"!fatal");
    lab.stop().await;
}
