//! Telling people, over a real log: each kind of answer of an endpoint or a mail server, and what is
//! said of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ground;

use events::{
    Delivery, DeliveryKind, DeliverySaid, Fact, IncidentKind, IncidentState, NoticeKind, NoticeSaid, Phase,
};
use ground::{Does, Endpoint, MailServer, Manners, POLITE, ground, notice, until};
use serde_json::Value;
use std::time::{Duration, Instant};

use DeliveryKind::{Attempted, Deferred, Delivered, Dropped, Refused, Unknown};

const OK: Does = Does::Answer("204 No Content", "");

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_told_once_when_it_opens_and_once_when_it_is_over() {
    let g = ground().await;
    let endpoint = Endpoint::start(&[OK]).await;
    let mail = MailServer::start(POLITE).await;
    g.channels(vec![("noc", g.webhook("noc", endpoint.address)), ("mail", g.email(mail.address))]).await;
    // Two replicas, of which only one tells.
    let (a, b) = (g.start().await, g.start().await);
    let id = g.incident(IncidentKind::Opened, IncidentState::Open, "core-3").await;
    until("both are told", async || endpoint.got().len() == 1 && mail.got().len() == 1).await;
    g.incident(IncidentKind::Changed, IncidentState::Open, "core-3").await;
    g.incident(IncidentKind::Resolved, IncidentState::Resolved, "core-3").await;
    until("both hear the end", async || endpoint.got().len() >= 2 && mail.got().len() >= 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (told, mails) = (endpoint.got(), mail.got());
    assert_eq!((told.len(), mails.len()), (2, 2));
    let bodies: Vec<Value> = told.iter().map(|got| serde_json::from_str(&got.body).unwrap()).collect();
    assert_eq!(bodies[0]["type"], "incident.opened");
    assert_eq!(bodies[1]["type"], "incident.resolved");
    assert_eq!(bodies[0]["data"]["incident"]["id"], id.to_string());
    assert_eq!(bodies[0]["data"]["affected"]["subscribers"], 3_150);
    assert!(told[0].header("webhook-signature").unwrap().starts_with("v1,"));
    assert_eq!(told[0].header("webhook-id"), bodies[0]["data"]["notice"].as_str());
    assert_eq!(told[0].header("content-type"), Some("application/json"));
    let first = mails[0].lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap();
    assert!(mails[1].contains(&format!("In-Reply-To: {first}")), "{}", mails[1]);
    assert!(mails[1].contains("Subject: Resolved: core-3"), "{}", mails[1]);
    assert_eq!(g.figure("mastwatch_notifier_deliveries_total{end=\"delivered\"}"), 4.0);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_now_is_tried_again_with_the_same_id_and_body() {
    let g = ground().await;
    let busy = Does::Answer("429 Too Many Requests\r\nretry-after: 1", "later");
    let endpoint = Endpoint::start(&[Does::Answer("503 Busy", "down"), busy, OK]).await;
    let [channel] = g.channels(vec![("noc", g.webhook("noc", endpoint.address))]).await[..] else { panic!() };
    let running = g.start().await;
    let notice = g.address(channel, Phase::Opened).await;
    let kinds = g.until_ended(notice.id, Delivered).await;
    assert_eq!(kinds, [Attempted, Deferred, Attempted, Deferred, Attempted, Delivered]);
    let answers: Vec<_> = g.deliveries(notice.id).await.into_iter().filter_map(|(_, d)| d.answer).collect();
    assert_eq!(answers, ["HTTP 503: down", "HTTP 429: later", "HTTP 204"]);
    let got = endpoint.got();
    assert!(got.iter().all(|again| again.body == got[0].body));
    assert!(got.iter().all(|again| again.header("webhook-id") == Some(&*notice.id.to_string())));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_asks_for_is_waited_for() {
    let g = ground().await;
    let endpoint = Endpoint::start(&[Does::Answer("503 Busy\r\nretry-after: 2", ""), OK]).await;
    let [channel] = g.channels(vec![("noc", g.webhook("noc", endpoint.address))]).await[..] else { panic!() };
    let running = g.start().await;
    let notice = g.address(channel, Phase::Opened).await;
    until("the first try", async || endpoint.got().len() == 1).await;
    let began = Instant::now();
    g.until_ended(notice.id, Delivered).await;
    assert!(began.elapsed() > Duration::from_millis(1_700), "{:?}", began.elapsed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_come_to_an_end_and_a_bad_body_is_not_tried_again() {
    let g = ground().await;
    let broken = Endpoint::start(&[Does::Answer("500 Oops", "")]).await;
    let strict = Endpoint::start(&[Does::Answer("422 No", "unwanted")]).await;
    let moved = Endpoint::start(&[Does::Answer("301 Moved\r\nlocation: http://127.0.0.1:1/", "")]).await;
    let ids = g
        .channels(vec![
            ("broken", g.webhook("broken", broken.address)),
            ("strict", g.webhook("strict", strict.address)),
            ("moved", g.webhook("moved", moved.address)),
            ("nowhere", g.webhook_at("nowhere", "nonsense")),
        ])
        .await;
    let running = g.start().await;
    let mut notices = vec![];
    for id in ids {
        notices.push(g.address(id, Phase::Opened).await.id);
    }
    let tried_four_times =
        [Attempted, Deferred, Attempted, Deferred, Attempted, Deferred, Attempted, Refused];
    assert_eq!(g.until_ended(notices[0], Refused).await, tried_four_times);
    assert_eq!(g.until_ended(notices[1], Refused).await, [Attempted, Refused]);
    assert_eq!(g.until_ended(notices[2], Refused).await, tried_four_times);
    assert_eq!(g.until_ended(notices[3], Refused).await, [Refused]);
    assert_eq!((broken.got().len(), strict.got().len(), moved.got().len()), (4, 1, 4));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_off_until_its_settings_change() {
    let g = ground().await;
    let endpoint = Endpoint::start(&[Does::Answer("410 Gone", "")]).await;
    let [channel] = g.channels(vec![("noc", g.webhook("noc", endpoint.address))]).await[..] else { panic!() };
    let running = g.start().await;
    let first = g.address(channel, Phase::Opened).await;
    assert_eq!(g.until_ended(first.id, Refused).await, [Attempted, Refused]);
    assert_eq!(g.figure("mastwatch_notifier_channels_off"), 1.0);
    let second = notice(g.tenant, channel, "core-4", Phase::Opened);
    g.addressed(&second).await;
    assert_eq!(g.until_ended(second.id, Refused).await, [Refused]);
    assert_eq!(endpoint.got().len(), 1);
    endpoint.does(OK);
    let url = format!("http://{}/other", endpoint.address);
    g.channels(vec![("noc", g.webhook_at("noc", &url))]).await;
    let third = notice(g.tenant, channel, "core-5", Phase::Opened);
    g.addressed(&third).await;
    g.until_ended(third.id, Delivered).await;
    assert_eq!(g.figure("mastwatch_notifier_channels_off"), 0.0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_after_the_body_was_sent_is_unknown_and_repeated_with_the_same_id() {
    let g = ground().await;
    for silence in [Does::Nothing, Does::Close] {
        let endpoint = Endpoint::start(&[silence, OK]).await;
        let name = format!("{silence:?}");
        let [channel] = g.channels(vec![(&*name, g.webhook(&name, endpoint.address))]).await[..] else {
            panic!()
        };
        let running = g.start().await;
        let notice = g.address(channel, Phase::Opened).await;
        let kinds = g.until_ended(notice.id, Delivered).await;
        assert_eq!(kinds, [Attempted, Unknown, Attempted, Delivered], "{silence:?}");
        let got = endpoint.got();
        assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
        running.stop().await;
    }
    // The status is the answer, even when what follows it never ends.
    let slow = Endpoint::start(&[Does::Drip]).await;
    let [channel] = g.channels(vec![("slow", g.webhook("slow", slow.address))]).await[..] else { panic!() };
    let running = g.start().await;
    let notice = g.address(channel, Phase::Opened).await;
    assert_eq!(g.until_ended(notice.id, Delivered).await, [Attempted, Delivered]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_does_not_hold_up_the_others() {
    let mut g = ground().await;
    g.config.webhook_within_ms = 5_000;
    let dead = Endpoint::start(&[Does::Nothing]).await;
    let alive = Endpoint::start(&[OK]).await;
    let ids = g
        .channels(vec![
            ("dead", g.webhook("dead", dead.address)),
            ("alive", g.webhook("alive", alive.address)),
        ])
        .await;
    let running = g.start().await;
    for n in 0..300 {
        g.addressed(&notice(g.tenant, ids[0], &format!("core-{n}"), Phase::Opened)).await;
    }
    until("the dead one is full", async || dead.got().len() == 4).await;
    let began = Instant::now();
    for n in 0..20 {
        g.addressed(&notice(g.tenant, ids[1], &format!("core-{n}"), Phase::Opened)).await;
    }
    until("the living one has all", async || alive.got().len() == 20).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(dead.got().len(), 4);
    assert!(g.figure("mastwatch_notifier_busy_total") >= 1.0);
    running.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_unless_allowed() {
    let mut g = ground().await;
    g.config.allow_private_targets = false;
    let endpoint = Endpoint::start(&[OK]).await;
    let mail = MailServer::start(POLITE).await;
    let by_name = format!("http://localhost:{}/", endpoint.address.port());
    let ids = g
        .channels(vec![
            ("ip", g.webhook("ip", endpoint.address)),
            ("name", g.webhook_at("name", &by_name)),
            ("mail", g.email(mail.address)),
        ])
        .await;
    let running = g.start().await;
    for id in ids {
        let notice = g.address(id, Phase::Opened).await;
        assert_eq!(g.until_ended(notice.id, Refused).await, [Attempted, Refused]);
        let why = g.deliveries(notice.id).await[1].1.answer.clone().unwrap();
        assert!(why.contains("not a public address"), "{why}");
    }
    assert!(endpoint.got().is_empty() && mail.got().is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_withdrawn_or_has_expired_is_dropped() {
    let g = ground().await;
    let endpoint = Endpoint::start(&[OK]).await;
    let [channel] = g.channels(vec![("noc", g.webhook("noc", endpoint.address))]).await[..] else { panic!() };
    let withdrawn = g.address(channel, Phase::Opened).await;
    g.say(Fact::Notice(NoticeSaid { kind: NoticeKind::Withdrawn, now: withdrawn.clone() })).await;
    let mut expired = notice(g.tenant, channel, "core-4", Phase::Opened);
    expired.expires = ground::now().plus_ms(-1);
    g.addressed(&expired).await;
    let removed = notice(g.tenant, events::ChannelId::of(g.tenant, "gone"), "core-5", Phase::Opened);
    g.addressed(&removed).await;
    // Nobody hears how an incident ended of which they were never told.
    let over = notice(g.tenant, channel, "core-4", Phase::Resolved);
    g.addressed(&over).await;
    let running = g.start().await;
    for notice in [&withdrawn, &expired, &over, &removed] {
        assert_eq!(g.until_ended(notice.id, Dropped).await, [Dropped]);
    }
    assert!(endpoint.got().is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_incident_never_overtakes_its_beginning() {
    let g = ground().await;
    let busy = Does::Answer("503 Busy", "");
    let endpoint = Endpoint::start(&[busy, busy, OK]).await;
    let [channel] = g.channels(vec![("noc", g.webhook("noc", endpoint.address))]).await[..] else { panic!() };
    let running = g.start().await;
    g.address(channel, Phase::Opened).await;
    let over = g.address(channel, Phase::Resolved).await;
    g.until_ended(over.id, Delivered).await;
    let types: Vec<String> = endpoint
        .got()
        .iter()
        .map(|got| serde_json::from_str::<Value>(&got.body).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types, ["incident.opened", "incident.opened", "incident.opened", "incident.resolved"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_is_no_news_any_more_gives_way_to_the_end() {
    let mut g = ground().await;
    g.config.stale_after_ms = 1_000;
    g.config.retries_ms = vec![600_000];
    let busy = Does::Answer("503 Busy", "");
    let endpoint = Endpoint::start(&[busy, OK]).await;
    let [channel] = g.channels(vec![("noc", g.webhook("noc", endpoint.address))]).await[..] else { panic!() };
    let running = g.start().await;
    let opened = g.address(channel, Phase::Opened).await;
    g.until_ended(opened.id, Deferred).await;
    // Ten minutes are a long time: the end does not wait for them.
    let over = g.address(channel, Phase::Resolved).await;
    assert_eq!(g.until_ended(over.id, Delivered).await, [Attempted, Delivered]);
    assert_eq!(g.kinds(opened.id).await, [Attempted, Deferred, Dropped]);
    assert_eq!(endpoint.got().len(), 2);

    // Found late in the log, both of them: only the end is told.
    let mut late = notice(g.tenant, channel, "core-9", Phase::Opened);
    late.at = ground::now().plus_ms(-60_000);
    let over = notice(g.tenant, channel, "core-9", Phase::Resolved);
    running.stop().await;
    g.addressed(&late).await;
    g.addressed(&over).await;
    let running = g.start().await;
    g.until_ended(over.id, Delivered).await;
    assert_eq!(g.until_ended(late.id, Dropped).await, [Dropped]);
    assert_eq!(endpoint.got().len(), 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_servers_answers_are_told_apart() {
    let g = ground().await;
    for (name, manners, kinds, taken) in [
        ("taken", POLITE, vec![Attempted, Delivered], 1),
        ("no sender", Manners { mail: "550 no", ..POLITE }, vec![Attempted, Refused], 0),
        ("no recipient", Manners { noc: "550 no", boss: "553 no", ..POLITE }, vec![Attempted, Refused], 0),
        ("one recipient", Manners { boss: "550 no", ..POLITE }, vec![Attempted, Delivered], 1),
        ("no message", Manners { end: Some("554 spam"), ..POLITE }, vec![Attempted, Refused], 1),
    ] {
        let mail = MailServer::start(manners).await;
        let [channel] = g.channels(vec![(name, g.email(mail.address))]).await[..] else { panic!() };
        let running = g.start().await;
        let notice = g.address(channel, Phase::Opened).await;
        assert_eq!(g.until_ended(notice.id, *kinds.last().unwrap()).await, kinds, "{name}");
        assert_eq!(mail.got().len(), taken, "{name}");
        running.stop().await;
    }
    for manners in [
        Manners { mail: "451 later", ..POLITE },
        Manners { noc: "450 greylisted", boss: "550 no", ..POLITE },
        Manners { end: Some("452 full"), ..POLITE },
    ] {
        let mail = MailServer::start(manners).await;
        let name = format!("{manners:?}");
        let [channel] = g.channels(vec![(&*name, g.email(mail.address))]).await[..] else { panic!() };
        let running = g.start().await;
        let notice = g.address(channel, Phase::Opened).await;
        until("it is put off", async || g.kinds(notice.id).await.len() >= 2).await;
        mail.has(POLITE);
        let kinds = g.until_ended(notice.id, Delivered).await;
        assert_eq!(kinds[..2], [Attempted, Deferred], "{name}");
        assert!(!mail.got().last().unwrap().contains("possibly repeated"), "nobody had it: {name}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_may_have_been_taken_is_repeated_once_and_says_so() {
    let g = ground().await;
    let mail = MailServer::start(Manners { end: None, ..POLITE }).await;
    let [channel] = g.channels(vec![("mail", g.email(mail.address))]).await[..] else { panic!() };
    let running = g.start().await;
    let notice = g.address(channel, Phase::Opened).await;
    until("it was repeated", async || g.kinds(notice.id).await.len() >= 4).await;
    // And not a third time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(g.kinds(notice.id).await, [Attempted, Unknown, Attempted, Unknown]);
    let got = mail.got();
    assert_eq!(got.len(), 2);
    assert!(!got[0].contains("possibly repeated"), "{}", got[0]);
    assert!(got[1].contains("Subject: [possibly repeated] core-3"), "{}", got[1]);
    assert!(g.deliveries(notice.id).await[3].1.possibly_repeated);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_attempt_and_end_repeats_by_key_or_marked() {
    let mut g = ground().await;
    // Between the attempt and its end there is time to be killed.
    (g.config.webhook_within_ms, g.config.email_within_ms) = (2_000, 2_000);
    let endpoint = Endpoint::start(&[Does::Nothing]).await;
    let mail = MailServer::start(Manners { end: None, ..POLITE }).await;
    let ids =
        g.channels(vec![("noc", g.webhook("noc", endpoint.address)), ("mail", g.email(mail.address))]).await;
    let killed = g.start().await;
    let (hook, letter) = (g.address(ids[0], Phase::Opened).await, g.address(ids[1], Phase::Opened).await);
    until("both calls are under way", async || endpoint.got().len() == 1 && mail.got().len() == 1).await;
    killed.kill();
    endpoint.does(OK);
    mail.has(POLITE);
    let running = g.start().await;
    assert_eq!(g.until_ended(hook.id, Delivered).await, [Attempted, Attempted, Delivered]);
    assert_eq!(g.until_ended(letter.id, Delivered).await, [Attempted, Attempted, Delivered]);
    let (hooks, mails) = (endpoint.got(), mail.got());
    assert_eq!((hooks.len(), mails.len()), (2, 2));
    assert_eq!(hooks[0].header("webhook-id"), hooks[1].header("webhook-id"));
    assert!(!mails[0].contains("possibly repeated"));
    assert!(mails[1].contains("[possibly repeated]"), "{}", mails[1]);
    let said = g.deliveries(letter.id).await;
    assert_eq!(
        said.iter().map(|(_, d)| (d.attempts, d.possibly_repeated)).collect::<Vec<_>>(),
        [(1, false), (2, true), (2, true)]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_lost_tells_nobody_anything_again() {
    let g = ground().await;
    let endpoint = Endpoint::start(&[OK]).await;
    let [channel] = g.channels(vec![("noc", g.webhook("noc", endpoint.address))]).await[..] else { panic!() };
    // What a replica that was killed long ago said of them.
    let mut told = vec![];
    for (n, kind) in [Delivered, Refused, Dropped].into_iter().enumerate() {
        let notice = notice(g.tenant, channel, &format!("core-{n}"), Phase::Opened);
        g.addressed(&notice).await;
        let now = Delivery { notice: notice.id, attempts: 1, answer: None, possibly_repeated: false };
        g.say(Fact::Delivery(DeliverySaid { kind, now })).await;
        told.push(notice.id);
    }
    let running = g.start().await;
    let fresh = g.address(channel, Phase::Opened).await;
    g.until_ended(fresh.id, Delivered).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(endpoint.got().len(), 1);
    for notice in told {
        assert_eq!(g.kinds(notice).await.len(), 1);
    }
    running.stop().await;
}
