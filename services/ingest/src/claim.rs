//! From what a sender wrote to the signal it means.
//!
//! Pure: the time and the tenant's keys arrive as values. What a person could be known by (user name, MAC)
//! leaves here only as a keyed hash and sealed; the leased address is checked and forgotten.

use crate::{book::Holder, fields::Fields, refusal::Refusal};
use events::{About, Claim, ClaimKey, EventId, Grant, NodeId, Sealed, Signal, SignalSource, Time};
use std::{borrow::Cow, net::IpAddr};
use vault::{Field, SessionKind, TenantKeys};

/// How far `at` may lie before it is heard: 7 days.
const AT_BEFORE_MS: i64 = 7 * 24 * 3_600_000;
/// How far `at` may lie after it is heard: 5 s.
const AT_AFTER_MS: i64 = 5_000;
/// Numbers below this are seconds since 1970, others milliseconds: as seconds it is the year 5138.
const SECONDS_BELOW: u64 = 100_000_000_000;

/// The longest user name, in bytes. Source: an attribute of RADIUS holds 253.
const USER_BYTES_MAX: usize = 253;
/// The longest id in a network file, in bytes, and the longest boot.
const NAME_BYTES_MAX: usize = 128;
/// The longest detail, in bytes.
const DETAIL_BYTES_MAX: usize = 1_024;

/// Which of the webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A PPP profile's on-up or on-down: `user`, `status=online|offline`.
    Ppp,
    /// A netwatch entry: `id`, `status=up|down`.
    Device,
    /// A DHCP server's lease script: `mac`, `address`, `status=bound|unbound`.
    Dhcp,
}

/// A signal and what its sender said about when and which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) signal: Signal,
    /// When it happened, bounded.
    pub(crate) at: Time,
    /// Who numbered it, in which boot, and how.
    pub(crate) number: Option<Number>,
}

/// The number a sender gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) sender: NodeId,
    pub(crate) boot: String,
    pub(crate) seq: u64,
}

impl Number {
    /// The same fact has the same id, however often it is sent.
    pub(crate) fn id(&self) -> EventId {
        EventId::numbered(self.sender, &self.boot, self.seq)
    }
}

/// What is known beside what was written: who, when, under which keys.
pub(crate) struct Given<'a, K> {
    pub(crate) holder: &'a Holder,
    /// The tenant's keys, looked up only where a name must be hidden.
    pub(crate) keys: K,
    pub(crate) now: Time,
}

impl<K, T> Given<'_, K>
where
    K: Fn() -> Result<T, Refusal>,
    T: AsRef<TenantKeys>,
{
    /// What `hook` was told.
    pub(crate) fn hooked(&self, hook: Hook, fields: &Fields<'_>) -> Result<Claimed, Refusal> {
        let router = self.router(fields)?;
        let status = wanted(&fields.status, "status")?;
        let (about, source, says, sealed_name) = match hook {
            Hook::Ppp => {
                let says = one_of("status", status, [("online", Claim::Up), ("offline", Claim::Down)])?;
                let (about, name) = self.session(router, SessionKind::Ppp, user(fields)?)?;
                (about, SignalSource::Ppp, says, Some(name))
            }
            Hook::Dhcp => {
                let says = one_of("status", status, [("bound", Claim::Up), ("unbound", Claim::Down)])?;
                let address = wanted(&fields.address, "address")?;
                if address.parse::<IpAddr>().is_err() {
                    return Err(Refusal::malformed("`address` is no IP address"));
                }
                let (about, name) = self.session(router, SessionKind::Mac, mac(fields)?)?;
                (about, SignalSource::Dhcp, says, Some(name))
            }
            Hook::Device => {
                let says = one_of("status", status, [("up", Claim::Up), ("down", Claim::Down)])?;
                let id = name(wanted(&fields.id, "id")?, "id")?;
                (About::Node(NodeId::of(self.holder.tenant, id)), SignalSource::Netwatch, says, None)
            }
        };
        self.claimed(fields, router, Meant { about, source, says, sealed_name })
    }

    /// What one element of the signals API says.
    pub(crate) fn listed(&self, fields: &Fields<'_>) -> Result<Claimed, Refusal> {
        let router = self.router(fields)?;
        let says = one_of(
            "says",
            wanted(&fields.says, "says")?,
            [("up", Claim::Up), ("down", Claim::Down), ("degraded", Claim::Degraded)],
        )?;
        let source = source(fields)?;
        let tenant = self.holder.tenant;
        let (about, sealed_name) = match (&fields.id, &fields.account, &fields.user, &fields.mac) {
            (Some(id), None, None, None) => (About::Node(NodeId::of(tenant, name(id, "id")?)), None),
            (None, Some(account), None, None) => {
                (About::Node(NodeId::of_account(tenant, name(account, "account")?)), None)
            }
            (None, None, Some(_), None) => {
                let (about, name) = self.session(router, SessionKind::Ppp, user(fields)?)?;
                (about, Some(name))
            }
            (None, None, None, Some(_)) => {
                let (about, name) = self.session(router, SessionKind::Mac, mac(fields)?)?;
                (about, Some(name))
            }
            _ => {
                let wanted = "exactly one of `id`, `account`, `user` and `mac` must say what it is about";
                return Err(Refusal::malformed(wanted));
            }
        };
        self.claimed(fields, router, Meant { about, source, says, sealed_name })
    }

    /// The router that speaks, or is spoken for.
    fn router(&self, fields: &Fields<'_>) -> Result<Option<NodeId>, Refusal> {
        let tenant = self.holder.tenant;
        let named = match &fields.router {
            Some(id) => Some(NodeId::of(tenant, name(id, "router")?)),
            None => None,
        };
        match self.holder.grant {
            Grant::Router { router } if named.is_some_and(|named| named != router) => {
                Err(Refusal::OtherRouter)
            }
            Grant::Router { router } => Ok(Some(router)),
            Grant::Signals => Ok(named),
            Grant::Console | Grant::Administrator => Err(Refusal::OtherGrant),
        }
    }

    /// A session under its keyed hash, and its name sealed.
    fn session(
        &self,
        router: Option<NodeId>,
        kind: SessionKind,
        name: &str,
    ) -> Result<(About, Sealed), Refusal> {
        let router = router.ok_or(Refusal::NoRouter)?;
        let keys = (self.keys)()?;
        let key: ClaimKey = keys.as_ref().look_up(router, kind, name);
        Ok((About::Session(key), keys.as_ref().seal(Field::Session(key), name.as_bytes())))
    }

    fn claimed(&self, fields: &Fields<'_>, router: Option<NodeId>, meant: Meant) -> Result<Claimed, Refusal> {
        let boot = match &fields.boot {
            Some(boot) => Some(name(boot, "boot")?.to_owned()),
            None => None,
        };
        let seq = match &fields.seq {
            Some(seq) => Some(seq.parse().map_err(|_| Refusal::malformed("`seq` is no whole number"))?),
            None => None,
        };
        let detail = fields.detail.as_ref().filter(|detail| !detail.is_empty());
        if detail.is_some_and(|detail| detail.len() > DETAIL_BYTES_MAX) {
            return Err(Refusal::Malformed(format!("`detail` is longer than {DETAIL_BYTES_MAX} bytes")));
        }
        // One who speaks for no router counts for itself.
        let sender = router
            .unwrap_or_else(|| NodeId::of(self.holder.tenant, &format!("token {}", self.holder.prefix())));
        let number = match (&boot, seq) {
            (Some(boot), Some(seq)) => Some(Number { sender, boot: boot.clone(), seq }),
            (Some(_), None) | (None, Some(_)) | (None, None) => None,
        };
        let Meant { about, source, says, sealed_name } = meant;
        let detail = detail.map(|detail| detail.clone().into_owned());
        let signal = Signal { about, says, source, sender: router, boot, seq, sealed_name, detail };
        Ok(Claimed { signal, at: time(&fields.at, self.now)?, number })
    }
}

struct Meant {
    about: About,
    source: SignalSource,
    says: Claim,
    sealed_name: Option<Sealed>,
}

fn wanted<'f>(field: &'f Option<Cow<'_, str>>, called: &str) -> Result<&'f str, Refusal> {
    match field.as_deref() {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) => Err(Refusal::Malformed(format!("`{called}` is empty"))),
        None => Err(Refusal::Malformed(format!("`{called}` is missing"))),
    }
}

/// A name of ours or of a file's: short, and nothing but graphic characters and spaces.
fn name<'f>(text: &'f str, called: &str) -> Result<&'f str, Refusal> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        let wanted = format!("`{called}` must be 1 to {NAME_BYTES_MAX} bytes without control characters");
        return Err(Refusal::Malformed(wanted));
    }
    Ok(text)
}

fn user<'f>(fields: &'f Fields<'_>) -> Result<&'f str, Refusal> {
    let user = wanted(&fields.user, "user")?;
    if user.len() > USER_BYTES_MAX {
        return Err(Refusal::Malformed(format!("`user` is longer than {USER_BYTES_MAX} bytes")));
    }
    Ok(user)
}

fn mac<'f>(fields: &'f Fields<'_>) -> Result<&'f str, Refusal> {
    let mac = wanted(&fields.mac, "mac")?;
    let digits = mac.bytes().filter(u8::is_ascii_hexdigit).count();
    let is_mac = digits == 12
        && mac.len() <= 17
        && mac.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'-' | b'.'));
    if is_mac { Ok(mac) } else { Err(Refusal::malformed("`mac` is no MAC address of 12 hexadecimal digits")) }
}

fn one_of<const N: usize>(called: &str, text: &str, words: [(&str, Claim); N]) -> Result<Claim, Refusal> {
    words.iter().find(|(word, _)| *word == text).map(|(_, claim)| *claim).ok_or_else(|| {
        let wanted = words.map(|(word, _)| format!("`{word}`")).join(" or ");
        Refusal::Malformed(format!("`{called}` must be {wanted}"))
    })
}

/// Who says so: [`SignalSource::Api`] unless said. Nobody outside speaks for mastwatch's own probes.
fn source(fields: &Fields<'_>) -> Result<SignalSource, Refusal> {
    let Some(text) = &fields.source else { return Ok(SignalSource::Api) };
    let named = [
        ("ppp", SignalSource::Ppp),
        ("dhcp", SignalSource::Dhcp),
        ("netwatch", SignalSource::Netwatch),
        ("heartbeat", SignalSource::Heartbeat),
        ("proxy_ping", SignalSource::ProxyPing),
        ("roll_call", SignalSource::RollCall),
        ("snmp", SignalSource::Snmp),
        ("reconcile", SignalSource::Reconcile),
        ("syslog", SignalSource::Syslog),
        ("radius", SignalSource::Radius),
        ("zabbix", SignalSource::Zabbix),
        ("api", SignalSource::Api),
        ("person", SignalSource::Person),
    ];
    let Some((_, source)) = named.into_iter().find(|(word, _)| *word == text.as_ref()) else {
        return Err(Refusal::malformed("`source` is none of the sources of a signal"));
    };
    match source {
        SignalSource::Heartbeat
        | SignalSource::ProxyPing
        | SignalSource::RollCall
        | SignalSource::Reconcile => Err(Refusal::OwnSource(source)),
        SignalSource::Ppp
        | SignalSource::Dhcp
        | SignalSource::Netwatch
        | SignalSource::Snmp
        | SignalSource::Syslog
        | SignalSource::Radius
        | SignalSource::Zabbix
        | SignalSource::Api
        | SignalSource::Person => Ok(source),
    }
}

/// When it happened: RFC 3339, or seconds or milliseconds since 1970; bounded around `now`.
fn time(at: &Option<Cow<'_, str>>, now: Time) -> Result<Time, Refusal> {
    let Some(text) = at else { return Ok(now) };
    let said = match text.parse::<i64>() {
        Ok(number) if number.unsigned_abs() < SECONDS_BELOW => Time::from_ms(number * 1_000),
        Ok(number) => Time::from_ms(number),
        Err(_) => text.parse().map_err(|_| {
            Refusal::malformed("`at` is no RFC 3339 time, nor seconds or milliseconds since 1970")
        })?,
    };
    Ok(said.clamp(now.plus_ms(-AT_BEFORE_MS), now.plus_ms(AT_AFTER_MS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use events::{Access, TenantId, Token};
    use kit::admin::Metrics;
    use proptest::prelude::*;
    use std::sync::{Arc, LazyLock};
    use vault::{FreshToken, MasterKey, MasterKeys};

    const NOW: Time = Time::from_ms(1_795_000_000_000);

    fn tenant() -> TenantId {
        TenantId::of("hillside")
    }

    fn core() -> NodeId {
        NodeId::of(tenant(), "core-1")
    }

    static KEYS: LazyLock<Arc<TenantKeys>> =
        LazyLock::new(|| Arc::new(MasterKeys::new(MasterKey::random(), vec![]).new_tenant(tenant()).0));

    fn holder(grant: Grant) -> Arc<Holder> {
        let book = Book::new(MasterKeys::new(MasterKey::random(), vec![]), &Metrics::default());
        let fresh = FreshToken::random();
        let (prefix, sha256) = (fresh.prefix().to_owned(), fresh.sha256());
        let token = Token { prefix, sha256, grant, networks: vec![], name: "x".into(), revoked: false };
        book.apply(tenant(), Access::Token(token));
        book.holder(fresh.text()).unwrap()
    }

    fn with<T>(
        grant: Grant,
        ask: impl FnOnce(&Given<'_, &dyn Fn() -> Result<Arc<TenantKeys>, Refusal>>) -> T,
    ) -> T {
        let keys = || Ok(KEYS.clone());
        ask(&Given { holder: &holder(grant), keys: &keys, now: NOW })
    }

    fn hooked(hook: Hook, form: &str) -> Result<Claimed, Refusal> {
        let fields = Fields::of_form(form.as_bytes()).unwrap();
        with(Grant::Router { router: core() }, |given| given.hooked(hook, &fields))
    }

    fn listed(grant: Grant, json: &str) -> Result<Claimed, Refusal> {
        let fields = Fields::of_json(json.as_bytes()).unwrap();
        with(grant, |given| given.listed(&fields))
    }

    fn why(refused: Result<Claimed, Refusal>) -> &'static str {
        refused.unwrap_err().reason()
    }

    #[test]
    fn a_ppp_claim_hides_the_user_and_keeps_the_name_sealed() {
        let claimed = hooked(Hook::Ppp, "user=u-7&status=offline&boot=b1&seq=4").unwrap();
        let key = KEYS.look_up(core(), SessionKind::Ppp, "u-7");
        let signal = &claimed.signal;
        assert_eq!((signal.about, signal.says), (About::Session(key), Claim::Down));
        assert_eq!((signal.source, signal.sender), (SignalSource::Ppp, Some(core())));
        let name = KEYS.open(Field::Session(key), signal.sealed_name.as_ref().unwrap()).unwrap();
        assert_eq!(name.as_slice(), b"u-7");
        assert!(!serde_json::to_string(signal).unwrap().contains("u-7"));
        assert_eq!(claimed.number.unwrap().id(), EventId::numbered(core(), "b1", 4));
    }

    #[test]
    fn a_dhcp_claim_is_about_the_mac_in_any_spelling_and_forgets_the_address() {
        let bound = hooked(Hook::Dhcp, "mac=D4:CA:6D:00:00:01&address=10.7.0.9&status=bound").unwrap();
        let unbound = hooked(Hook::Dhcp, "mac=d4ca.6d00.0001&address=10.7.0.9&status=unbound").unwrap();
        assert_eq!(bound.signal.about, unbound.signal.about);
        assert_eq!((bound.signal.says, unbound.signal.says), (Claim::Up, Claim::Down));
        assert!(!serde_json::to_string(&bound.signal).unwrap().contains("10.7.0.9"));
        assert_eq!(bound.number, None);
    }

    #[test]
    fn a_device_claim_is_about_the_node_of_that_file_id() {
        let signal = hooked(Hook::Device, "id=sector-3&status=down&detail=3+lost").unwrap().signal;
        assert_eq!(signal.about, About::Node(NodeId::of(tenant(), "sector-3")));
        assert_eq!((signal.source, signal.says), (SignalSource::Netwatch, Claim::Down));
        assert_eq!((signal.detail.as_deref(), signal.sealed_name), (Some("3 lost"), None));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (hook, form, part) in [
            (Hook::Ppp, "status=online", "`user` is missing"),
            (Hook::Ppp, "user=&status=online", "`user` is empty"),
            (Hook::Ppp, "user=u", "`status` is missing"),
            (Hook::Ppp, "user=u&status=up", "`online` or `offline`"),
            (Hook::Device, "id=a&status=online", "`up` or `down`"),
            (Hook::Device, "id=a%00&status=up", "control characters"),
            (Hook::Device, "id=a&status=up&seq=-1", "`seq`"),
            (Hook::Device, "id=a&status=up&at=yesterday", "`at`"),
            (Hook::Dhcp, "mac=nonsense&address=10.0.0.1&status=bound", "`mac`"),
            (Hook::Dhcp, "mac=d4ca6d000001&address=x&status=bound", "`address`"),
        ] {
            let Err(Refusal::Malformed(what)) = hooked(hook, form) else { panic!("{form} was taken") };
            assert!(what.contains(part), "{form}: {what}");
        }
        let long = format!("id=a&status=up&detail={}", "x".repeat(DETAIL_BYTES_MAX + 1));
        assert_eq!(why(hooked(Hook::Device, &long)), "malformed");
    }

    #[test]
    fn a_signal_of_the_api_is_about_exactly_one_thing() {
        let about = |json| listed(Grant::Signals, json).map(|claimed| claimed.signal.about);
        assert_eq!(about(r#"{"id":"a","says":"up"}"#), Ok(About::Node(NodeId::of(tenant(), "a"))));
        let account = NodeId::of_account(tenant(), "4711");
        assert_eq!(about(r#"{"account":4711,"says":"degraded"}"#), Ok(About::Node(account)));
        let key = KEYS.look_up(core(), SessionKind::Ppp, "u");
        assert_eq!(about(r#"{"user":"u","router":"core-1","says":"down"}"#), Ok(About::Session(key)));
        for (json, reason) in [
            (r#"{"says":"up"}"#, "malformed"),
            (r#"{"id":"a","user":"u","says":"up"}"#, "malformed"),
            (r#"{"id":"a"}"#, "malformed"),
            (r#"{"id":"a","says":"online"}"#, "malformed"),
            (r#"{"id":"a","says":"up","source":"rumour"}"#, "malformed"),
            (r#"{"id":"a","says":"up","source":"roll_call"}"#, "own_source"),
            (r#"{"user":"u","says":"up"}"#, "no_router"),
        ] {
            assert_eq!(why(listed(Grant::Signals, json)), reason, "{json}");
        }
    }

    #[test]
    fn a_router_speaks_for_itself_alone_and_a_console_token_for_nobody() {
        let router = Grant::Router { router: core() };
        assert_eq!(listed(router, r#"{"id":"a","says":"up"}"#).unwrap().signal.sender, Some(core()));
        assert!(listed(router, r#"{"id":"a","router":"core-1","says":"up"}"#).is_ok());
        assert_eq!(why(listed(router, r#"{"id":"a","router":"core-2","says":"up"}"#)), "other_router");
        for grant in [Grant::Console, Grant::Administrator] {
            assert_eq!(why(listed(grant, r#"{"id":"a","says":"up"}"#)), "other_grant");
        }
    }

    #[test]
    fn one_who_speaks_for_no_router_has_numbers_of_its_own() {
        let json = r#"{"id":"a","says":"up","boot":"b","seq":1}"#;
        let claimed = listed(Grant::Signals, json).unwrap();
        assert_eq!(claimed.signal.sender, None);
        let (own, cores) = (claimed.number.unwrap().id(), EventId::numbered(core(), "b", 1));
        assert_ne!(own, cores);
        let forwarded = r#"{"id":"a","router":"core-1","says":"up","boot":"b","seq":1}"#;
        assert_eq!(listed(Grant::Signals, forwarded).unwrap().number.unwrap().id(), cores);
    }

    #[test]
    fn a_time_is_bounded_around_now() {
        let at = |text: &str| time(&Some(text.into()), NOW).unwrap();
        assert_eq!(time(&None, NOW).unwrap(), NOW);
        assert_eq!(at("1794999990"), NOW.plus_ms(-10_000));
        assert_eq!(at("1794999999999"), NOW.plus_ms(-1));
        assert_eq!(at(&NOW.plus_ms(-60_000).to_string()), NOW.plus_ms(-60_000));
        assert_eq!(at("0"), NOW.plus_ms(-AT_BEFORE_MS));
        assert_eq!(at("9223372036854775807"), NOW.plus_ms(AT_AFTER_MS));
        assert_eq!(at("-9223372036854775808"), NOW.plus_ms(-AT_BEFORE_MS));
        assert_eq!(at("9999-12-31T23:59:59Z"), NOW.plus_ms(AT_AFTER_MS));
    }

    proptest! {
        #[test]
        fn nothing_that_can_be_read_panics(
            values in proptest::collection::vec(proptest::option::of("\\PC{0,12}|-?[0-9]{1,25}|up|down|online"), 14),
        ) {
            let mut values = values.into_iter().map(|value| value.map(Cow::Owned));
            let mut next = || values.next().flatten();
            let fields = Fields {
                token: None, user: next(), mac: next(), address: next(), id: next(), account: next(),
                router: next(), status: next(), says: next(), source: next(), boot: next(), seq: next(),
                at: next(), detail: next(),
            };
            for hook in [Hook::Ppp, Hook::Device, Hook::Dhcp] {
                drop(with(Grant::Signals, |given| given.hooked(hook, &fields)));
            }
            drop(with(Grant::Signals, |given| given.listed(&fields)));
        }
    }
}
