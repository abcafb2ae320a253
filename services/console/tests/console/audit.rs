//! What is on record is shown to those whose it is.

use crate::ground::{ground, read, small};
use events::{Fact, Refusal, RefusalReason, TenantId, Time};

fn refusal(reason: RefusalReason, token: Option<&str>, count: u64) -> Fact {
    let at = Time::from_us(1_764_000_000_000_000);
    let source = Some("203.0.113.9".parse().unwrap());
    let token = token.map(str::to_owned);
    Fact::Refusal(Refusal { reason, token, source, count, first: at, last: at, detail: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_turned_away_is_shown_to_whose_token_it_was_and_to_the_operator() {
    let g = ground().await;
    g.imported(&small("hillside")).await;
    let tenant = TenantId::of("hillside");
    let token = g.token("hillside").await;
    g.say(tenant, "ingest", None, refusal(RefusalReason::WrongSource, Some("core3millhil"), 1)).await;
    for n in 1..=3 {
        let fact = refusal(RefusalReason::Stale, Some("core3millhil"), n);
        g.say(tenant, "ingest", None, fact).await;
    }
    g.say(TenantId::operator(), "ingest", None, refusal(RefusalReason::Unauthorized, None, 200)).await;
    g.settled(tenant).await;
    g.settled(TenantId::operator()).await;

    let (status, all) = read(g.get(&token, "/api/v1/audit")).await;
    assert_eq!(status, 200);
    let what: Vec<&str> =
        all["items"].as_array().unwrap().iter().map(|r| r["what"].as_str().unwrap()).collect();
    assert_eq!(what[..4], ["refused"; 4], "the newest first");
    assert!(what.contains(&"token_granted") && what.contains(&"inventory_changed"), "{what:?}");
    let (_, page) = read(g.get(&token, "/api/v1/audit?what=refused&limit=3")).await;
    let newest = &page["items"][0];
    assert_eq!((&newest["done_by"], &newest["subject"]), (&"core3millhil".into(), &"203.0.113.9".into()));
    assert_eq!((&newest["detail"]["reason"], &newest["detail"]["count"]), (&"stale".into(), &3.into()));
    let next = page["next"].as_str().unwrap();
    let (_, page) = read(g.get(&token, &format!("/api/v1/audit?what=refused&cursor={next}"))).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["detail"]["reason"], "wrong_source");
    assert!(page.get("next").is_none());

    // What is nobody's is the operator's, and no tenant's.
    let (status, page) = read(g.get(&g.admin, "/api/v1/operator/audit?what=refused")).await;
    assert_eq!((status.as_u16(), &page["items"][0]["detail"]["count"]), (200, &200.into()));
    assert_eq!((&page["items"][0]["done_by"], page["items"].as_array().unwrap().len()), (&"".into(), 1));
    assert_eq!(read(g.get(&token, "/api/v1/operator/audit")).await.0, 403);
    let (_, page) = read(g.get(&g.admin, "/api/v1/operator/audit")).await;
    assert!(page["items"].as_array().unwrap().iter().any(|r| r["what"] == "token_granted"), "{page}");
    for wrong in ["what=mischief", "limit=0", "cursor=x"] {
        assert_eq!(read(g.get(&token, &format!("/api/v1/audit?{wrong}"))).await.0, 400, "{wrong}");
    }
    g.end().await;
}
