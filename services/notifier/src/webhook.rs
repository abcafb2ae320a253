//! The webhook: a signed POST after Standard Webhooks 1.0.
//!
//! `webhook-id` is the notice's id and the body follows from the notice alone, so every retry carries the same
//! and a receiver can tell it; only timestamp and signature are of the attempt. No redirect is followed.
//!
//! Only 2xx is success. A body the receiver understood and will not have (400, 413, 415, 422) is
//! rejected at once, 410 switches the endpoint off, and everything else is tried again: a wrong address or
//! password may be put right within the day that a notice lasts.

use crate::{
    call::{Letter, Outcome, shortened},
    target::{Targets, cause_of},
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use events::{Incident, Notice, Time};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Response, StatusCode, header, redirect};
use serde::Serialize;
use sha2::Sha256;
use std::{error::Error, time::Duration};
use url::{Host, Url};
use vault::Zeroizing;

/// How long connecting may take, of the time a call may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Before the secret of a channel. Source: Standard Webhooks, "Signature scheme".
const SECRET_START: &str = "whsec_";

/// Base64 with or without padding: both are about.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a request cannot be made of a channel's settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// Not an address of the web.
    #[error("the channel's `url` is no http:// or https:// address")]
    Url,
    /// Not a signing secret.
    #[error("the channel's secret is no signing secret: `whsec_` and base64")]
    Secret,
}

/// One request, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) url: Url,
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) body: Bytes,
}

/// The address of a channel, if it is one of the web.
pub(crate) fn address(url: &str) -> Result<Url, SettingsError> {
    let url = Url::parse(url).map_err(|_| SettingsError::Url)?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(SettingsError::Url) }
}

/// The request that tells `letter`, signed at `now` with every secret in `secrets` (parted by
/// white space; two while one takes the other's place).
pub(crate) fn request(
    letter: &Letter<'_>,
    url: Url,
    secrets: &str,
    now: Time,
) -> Result<Post, SettingsError> {
    let body = body(letter);
    let id = letter.notice.id.to_string();
    let timestamp = now.ms().div_euclid(1_000).to_string();
    let mut signatures = Vec::new();
    for secret in secrets.split_whitespace() {
        signatures.push(signed(secret, &id, &timestamp, &body)?);
    }
    if signatures.is_empty() {
        return Err(SettingsError::Secret);
    }
    Ok(Post { url, id, timestamp, signature: signatures.join(" "), body })
}

/// `v1,` and base64 of HMAC-SHA256 over id, timestamp and body, parted by dots.
fn signed(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> Result<String, SettingsError> {
    let text = secret.strip_prefix(SECRET_START).ok_or(SettingsError::Secret)?;
    let key = Zeroizing::new(LENIENT.decode(text).map_err(|_| SettingsError::Secret)?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| SettingsError::Secret)?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    Ok(format!("v1,{}", LENIENT.encode(mac.finalize().into_bytes())))
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Time,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    notice: String,
    audience: &'static str,
    step: u32,
    urgency: events::Urgency,
    title: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Owner<'a>>,
    affected: Affected<'a>,
    incident: &'a Incident,
    links: Links<'a>,
}

/// Whose the broken thing is, in the operator's books.
#[derive(Serialize)]
struct Owner<'a> {
    account: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_url: Option<&'a str>,
}

/// Who is cut off, in figures.
#[derive(Serialize)]
struct Affected<'a> {
    subscribers: u32,
    sites: u32,
    by_tier: &'a std::collections::BTreeMap<events::Tier, u32>,
    by_plan: &'a std::collections::BTreeMap<String, u32>,
}

#[derive(Serialize)]
struct Links<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
}

fn body(letter: &Letter<'_>) -> Bytes {
    let Notice { id, audience, phase, step, urgency, title, text, at, about, .. } = letter.notice;
    let owner = about.owner.as_ref();
    let ticket = owner.and_then(|owner| owner.ticket_url.as_deref());
    let told = Told {
        kind: format!("incident.{}", phase.name()),
        timestamp: *at,
        data: Data {
            notice: id.to_string(),
            audience: audience.name(),
            step: *step,
            urgency: *urgency,
            title,
            text,
            owner: owner.map(|owner| Owner { account: &owner.account, ticket_url: ticket }),
            affected: Affected {
                subscribers: about.impact.subscribers,
                sites: about.impact.sites,
                by_tier: &about.impact.by_tier,
                by_plan: &about.impact.by_plan,
            },
            incident: about,
            links: Links { incident: letter.incident_url(), ticket },
        },
    };
    Bytes::from(serde_json::to_vec(&told).expect("plain data is representable as JSON"))
}

/// What an answer means.
pub(crate) fn classify(status: u16, retry_after: Option<&str>, body: &[u8], now: Time) -> Outcome {
    let said = shortened(&String::from_utf8_lossy(body));
    let text = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") };
    match status {
        200..=299 => Outcome::Delivered(format!("HTTP {status}")),
        400 | 413 | 415 | 422 => Outcome::Rejected(text),
        410 => Outcome::Gone(text),
        _ => Outcome::Retry { why: text, after: retry_after.and_then(|after| pause(after, now)) },
    }
}

/// `Retry-After`: seconds, or a date. Source: RFC 9110, section 10.2.3.
fn pause(text: &str, now: Time) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    let ms = Time::from_ms(date.timestamp_millis()).ms_since(now);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// Sends requests, to allowed addresses only.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    client: Client,
    targets: Targets,
    within: Duration,
}

impl Web {
    /// Calls that may take `within`, to what `targets` allows.
    pub(crate) fn new(targets: Targets, within: Duration) -> reqwest::Result<Self> {
        kit::telemetry::use_ring();
        let client = Client::builder()
            .dns_resolver(targets)
            .redirect(redirect::Policy::none())
            // A proxy of the environment would connect to what we have not looked at.
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN.min(within))
            .timeout(within)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("mastwatch/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, targets, within })
    }

    /// Sends `post` and says how it ended.
    pub(crate) async fn send(&self, post: Post, now: Time) -> Outcome {
        // A name is looked at when it is resolved; an address written out never is.
        let written_out = match post.url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(Err(refused)) = written_out.map(|address| self.targets.check(address)) {
            return Outcome::Rejected(refused.to_string());
        }
        let sent = self
            .client
            .post(post.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", post.id)
            .header("webhook-timestamp", post.timestamp)
            .header("webhook-signature", post.signature)
            .body(post.body)
            .send()
            .await;
        match sent {
            Ok(response) => self.answered(response, now).await,
            Err(error) => unanswered(&error.without_url(), self.within),
        }
    }

    async fn answered(&self, mut response: Response, now: Time) -> Outcome {
        let status: StatusCode = response.status();
        let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.map(str::to_owned);
        let mut body = Vec::new();
        // The status is the answer; what follows it is for people, and may break off.
        while body.len() < ANSWER_BYTES_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())]);
        }
        classify(status.as_u16(), after.as_deref(), &body, now)
    }
}

/// What a call without an answer means: before the connection stood nothing was said, afterwards who knows.
fn unanswered(error: &reqwest::Error, within: Duration) -> Outcome {
    if let Some(refused) = cause_of(error) {
        return match refused {
            crate::target::TargetError::Private(_) => Outcome::Rejected(refused.to_string()),
            crate::target::TargetError::Name(_) | crate::target::TargetError::Nowhere => {
                Outcome::Retry { why: refused.to_string(), after: None }
            }
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    if error.is_connect() {
        return Outcome::Retry { why: format!("no connection: {}", shortened(&text)), after: None };
    }
    if error.is_timeout() {
        return Outcome::Unknown(format!("no answer within {} s", within.as_secs_f64()));
    }
    Outcome::Unknown(format!("the connection ended before an answer: {}", shortened(&text)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use events::{
        Audience, ChannelId, Impact, IncidentClass, IncidentId, IncidentState, NodeId, NoticeId, Phase,
        RootCause, TenantId, Tier, Urgency,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    pub(crate) fn notice(phase: Phase) -> Notice {
        let tenant = TenantId::of("hillside");
        let (channel, at) = (ChannelId::of(tenant, "noc"), Time::from_ms(1_795_000_000_000));
        let root = RootCause {
            node: NodeId::of(tenant, "core-3"),
            name: "Core-3".into(),
            tier: Tier::Core,
            primary: true,
            down: true,
            since: at,
            quiet: false,
            flapping: false,
            confidence: 80,
            evidence: vec![],
            subscribers_below: None,
        };
        let incident = Incident {
            id: IncidentId::default(),
            state: IncidentState::Open,
            class: IncidentClass::Outage,
            title: "Core-3 at Mill Hill is down: 10 sites, 3,150 subscribers".into(),
            urgency: Urgency::Urgent,
            tier: Tier::Core,
            site: None,
            site_name: Some("Mill Hill".into()),
            site_address: None,
            site_hypothesis: None,
            roots: vec![root],
            impact: Impact { subscribers: 3_150, sites: 10, ..Impact::default() },
            opened_at: at,
            ended_at: None,
            ended_because: None,
            merged_into: None,
            blind: None,
            acknowledged_by: None,
            hold: 0,
            timeline: vec![],
            owner: Some(events::Owner {
                account: "4711".into(),
                ticket_url: Some("https://tickets.example/17".into()),
            }),
        };
        Notice {
            id: NoticeId::of(incident.id, "engineers", channel, phase.name(), 0),
            incident: incident.id,
            audience: Audience::Engineers,
            channel,
            phase,
            step: 0,
            urgency: Urgency::Urgent,
            title: incident.title.clone(),
            text: "Where: Mill Hill\nWhy: 9 probes unanswered\n".into(),
            at,
            expires: at.plus_ms(86_400_000),
            about: Box::new(incident),
        }
    }

    pub(crate) fn letter<'a>(notice: &'a Notice, console: Option<&'a Url>) -> Letter<'a> {
        Letter { notice, first: None, possibly_repeated: false, console }
    }

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // Source: the test vector of the Standard Webhooks libraries.
        let signature = signed(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_a_secret_is_replaced_both_sign() {
        let (old, new) = ("whsec_b2xkIHNlY3JldCBvbGQgc2VjcmV0IQ==", "whsec_bmV3IHNlY3JldCBuZXcgc2VjcmV0IQ");
        let (notice, url) = (notice(Phase::Opened), address("https://a.example/").unwrap());
        let sign = |secrets: &str| {
            request(&letter(&notice, None), url.clone(), secrets, notice.at).map(|post| post.signature)
        };
        let both = sign(&format!("{new} {old}")).unwrap();
        assert_eq!(both, format!("{} {}", sign(new).unwrap(), sign(old).unwrap()));
        for wrong in ["", "secret", "whsec_!!!", &format!("{new} secret")] {
            assert_eq!(sign(wrong), Err(SettingsError::Secret));
        }
    }

    #[test]
    fn every_attempt_has_the_same_id_and_body() {
        let (notice, url) = (notice(Phase::Opened), address("https://a.example/hook").unwrap());
        let at = |s: i64| {
            let now = notice.at.plus_ms(s * 1_000);
            request(&letter(&notice, None), url.clone(), "whsec_b2xkIHNlY3JldCBvbGQgc2VjcmV0IQ==", now)
                .unwrap()
        };
        let (first, second) = (at(0), at(300));
        assert_eq!((&first.id, &first.body), (&second.id, &second.body));
        assert_ne!((&first.timestamp, &first.signature), (&second.timestamp, &second.signature));
        assert_eq!(first.id, notice.id.to_string());
        assert_eq!(second.timestamp, "1795000300");
    }

    #[test]
    fn the_body_names_whose_it_is_how_many_are_affected_and_where_to_read_on() {
        let console = Url::parse("https://noc.example/mast/").unwrap();
        let notice = notice(Phase::Resolved);
        let body: Value = serde_json::from_slice(&body(&letter(&notice, Some(&console)))).unwrap();
        assert_eq!(body["type"], "incident.resolved");
        assert_eq!(body["timestamp"], notice.at.to_string());
        let data = &body["data"];
        assert_eq!(data["title"], notice.title);
        assert_eq!(data["owner"], json!({"account": "4711", "ticket_url": "https://tickets.example/17"}));
        assert_eq!(data["affected"]["subscribers"], 3_150);
        assert_eq!(data["incident"]["roots"][0]["name"], "Core-3");
        let link = format!("https://noc.example/mast/incidents/{}", notice.incident);
        assert_eq!(data["links"], json!({"incident": link, "ticket": "https://tickets.example/17"}));
    }

    #[test]
    fn an_answer_is_told_apart_by_what_to_do_about_it() {
        let now = Time::from_ms(1_795_000_000_000);
        let is = |status, after: Option<&str>| classify(status, after, b" because\n", now);
        assert_eq!(is(204, None), Outcome::Delivered("HTTP 204".into()));
        assert_eq!(is(400, None), Outcome::Rejected("HTTP 400: because".into()));
        assert_eq!(is(410, None), Outcome::Gone("HTTP 410: because".into()));
        for status in [301, 401, 404, 408, 429, 500, 503] {
            let why = format!("HTTP {status}: because");
            assert_eq!(is(status, None), Outcome::Retry { why, after: None });
        }
        let after = |text: &str| match is(429, Some(text)) {
            Outcome::Retry { after, .. } => after.map(|d| d.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("soon"), None);
        let date = chrono::DateTime::from_timestamp(1_795_000_090, 0).unwrap();
        assert_eq!(after(&date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()), Some(90));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
    }

    #[test]
    fn only_addresses_of_the_web_are_taken() {
        for wrong in ["", "ftp://a", "file:///etc/passwd", "https://", "javascript:1"] {
            assert_eq!(address(wrong), Err(SettingsError::Url), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(status: u16, after in "\\PC{0,30}|[0-9]{0,25}", body: Vec<u8>) {
            drop(classify(status, Some(&after), &body, Time::EPOCH));
        }
    }
}
