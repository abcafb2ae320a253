//! Tenant, policy, channels and tokens.

use super::{
    Reader,
    field::{Fields, NAME_MAX, TEXT_MAX, short},
};
use crate::{
    Secret,
    model::{ChannelEntry, Opens, TenantEntry, TokenEntry, Via},
    yaml::Yaml,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use events::{Audience, Policy};

/// The longest hold or escalation, milliseconds: a day.
const HOLD_MAX_MS: u64 = 86_400_000;

impl Reader<'_> {
    pub(super) fn tenant(&mut self, file: &Fields<'_, '_>) -> TenantEntry {
        let Some(entry) = file.get("tenant") else {
            self.note(
                file.at,
                "the file has no `tenant`".into(),
                Some("add `tenant: {id: my-isp, name: My ISP}`"),
            );
            return TenantEntry::default();
        };
        let Some(fields) = self.fields(&entry.value, "a tenant", &["id", "name"]) else {
            return TenantEntry::default();
        };
        let slug = self.required_text(&fields, "id", 40).map(|(at, slug)| {
            let fits = slug.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
            if !fits {
                self.note(
                    at,
                    format!("`{}` cannot be a tenant's id", short(slug)),
                    Some("it is up to 40 small letters, digits and `-`"),
                );
            }
            slug.to_owned()
        });
        let slug = slug.unwrap_or_default();
        let name =
            self.optional_text(&fields, "name", NAME_MAX).map_or(slug.as_str(), |(_, name)| name).to_owned();
        TenantEntry { slug, name }
    }

    pub(super) fn policy(&mut self, file: &Fields<'_, '_>) -> Policy {
        let mut policy = Policy::default();
        let keys = ["resolve_hold", "recover_hold", "blind_after_boot", "escalate_after", "walks_per_hour"];
        let Some(entry) = file.get("policy") else { return policy };
        let Some(fields) = self.fields(&entry.value, "a policy", &keys) else { return policy };
        let mut hold = |key, least_ms, to: &mut u32| {
            if let Some(ms) = self.span_ms(&fields, key, least_ms, HOLD_MAX_MS) {
                *to = u32::try_from(ms).expect("a day of milliseconds fits into 32 bits");
            }
        };
        hold("resolve_hold", 0, &mut policy.resolve_hold_ms);
        hold("recover_hold", 0, &mut policy.recover_hold_ms);
        hold("blind_after_boot", 0, &mut policy.blind_after_boot_ms);
        hold("escalate_after", 1_000, &mut policy.escalate_after_ms);
        if let Some(walks) = self.number(&fields, "walks_per_hour", 1, 10_000_000) {
            policy.walks_per_hour = walks;
        }
        policy
    }

    pub(super) fn channel(&mut self, yaml: &Yaml<'_>) -> Option<ChannelEntry> {
        let fields = self.fields(yaml, "a channel", &["name", "audience", "webhook", "email"])?;
        let (_, name) = self.required_text(&fields, "name", NAME_MAX)?;
        let audiences = [("engineers", Audience::Engineers), ("technicians", Audience::Technicians)];
        if !fields.has("audience") {
            self.note(
                fields.at,
                "a channel has no `audience`".into(),
                Some("add `audience: engineers` or `technicians`"),
            );
        }
        if let Some((at, "support")) = self.optional_text(&fields, "audience", NAME_MAX) {
            let what = "`support` has no channels: nothing is pushed to it, it has its dashboard".into();
            self.note(at, what, Some("write engineers or technicians"));
            return None;
        }
        let audience = self.choice(&fields, "audience", &audiences);
        let via = match (fields.get("webhook"), fields.get("email")) {
            (Some(entry), None) => self.webhook_channel(&entry.value),
            (None, Some(entry)) => self.email_channel(&entry.value),
            (Some(_), Some(email)) => {
                let what = "a channel has both `webhook` and `email`".into();
                self.note(email.at, what, Some("make two channels of it"));
                None
            }
            (None, None) => {
                let hint = "add `webhook: {url: …, secret: …}` or `email: {server: …, from: …, to: […]}`";
                self.note(fields.at, "a channel has neither `webhook` nor `email`".into(), Some(hint));
                None
            }
        };
        Some(ChannelEntry { name: name.to_owned(), audience: audience?, via: via?, at: fields.at })
    }

    fn webhook_channel(&mut self, yaml: &Yaml<'_>) -> Option<Via> {
        let fields = self.fields(yaml, "a webhook channel", &["url", "secret"])?;
        let url = self.url(&fields, "url", &["http", "https"], true);
        let secret = self.required_secret(&fields, "secret");
        if let Some(secret) = &secret
            && !is_standard_webhook_secret(secret)
        {
            self.note_at(
                &fields,
                "secret",
                "`secret` is no signing secret of Standard Webhooks".into(),
                "write `whsec_` and 24 to 64 bytes in base64, made by `echo whsec_$(openssl rand -base64 32)`",
            );
        }
        Some(Via::Webhook { url: url?, secret: secret? })
    }

    fn email_channel(&mut self, yaml: &Yaml<'_>) -> Option<Via> {
        let fields = self.fields(yaml, "an e-mail channel", &["server", "from", "to", "user", "password"])?;
        let server = self.url(&fields, "server", &["smtp", "smtps"], true);
        let from = self.required_text(&fields, "from", TEXT_MAX).map(|(at, from)| (at, from.to_owned()));
        let to = self.texts(&fields, "to");
        if to.is_empty() {
            self.note_at(
                &fields,
                "to",
                "an e-mail channel has nobody under `to`".into(),
                "add `to: [noc@example.net]`",
            );
        }
        if to.len() > 50 {
            let what = "more than 50 addresses under `to`".into();
            self.note_at(&fields, "to", what, "use a mailing list");
        }
        for (at, address) in from.iter().map(|(at, from)| (*at, from.as_str())).chain(to.iter().copied()) {
            let fits = address.split_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
            if !fits {
                let what = format!("`{}` is no mail address", short(address));
                self.note(at, what, Some("write it like `noc@example.net`"));
            }
        }
        let login = match (self.secret(&fields, "user"), self.secret(&fields, "password")) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                let what = "an e-mail channel has `user` or `password`, but not both".into();
                self.note(fields.at, what, Some("give both, or neither"));
                None
            }
        };
        let to = to.into_iter().map(|(_, to)| to.to_owned()).collect();
        Some(Via::Email { server: server?, from: from?.1, to, login })
    }

    pub(super) fn token(&mut self, yaml: &Yaml<'_>) -> Option<TokenEntry> {
        let fields = self.fields(yaml, "a token", &["name", "for", "token", "from"])?;
        let (_, name) = self.required_text(&fields, "name", NAME_MAX)?;
        let choices = [("signals", Opens::Signals), ("console", Opens::Console)];
        if !fields.has("for") {
            self.note(fields.at, "a token has no `for`".into(), Some("add `for: signals` or `for: console`"));
        }
        let opens = self.choice(&fields, "for", &choices);
        let token = self.token_text(&fields, "token");
        let from = self.networks(&fields, "from");
        Some(TokenEntry { name: name.to_owned(), opens: opens?, token: token?, from, at: fields.at })
    }

    /// The token under `key`, which must be there and have the form of one.
    pub(super) fn token_text(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<Secret> {
        let token = self.required_secret(fields, key)?;
        self.is_token(fields, key, &token).then_some(token)
    }

    /// Whether `token` has the form of one; notes it when not.
    pub(super) fn is_token(&mut self, fields: &Fields<'_, '_>, key: &str, token: &Secret) -> bool {
        match vault::prefix_of(token.reveal()) {
            Ok(_) => true,
            Err(why) => {
                let hint = "write it like `mw_<12 small letters or digits>_<32 letters or digits>`";
                self.note_at(fields, key, format!("`{key}`: {why}"), hint);
                false
            }
        }
    }

    /// The networks under `key`, as `address/bits`.
    pub(super) fn networks(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Vec<String> {
        let mut networks = Vec::new();
        for (at, text) in self.texts(fields, key) {
            let network = text
                .parse::<ipnet::IpNet>()
                .or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from))
                .map(|network| network.trunc().to_string());
            match network {
                Ok(network) => networks.push(network),
                Err(_) => {
                    let what = format!("`{}` is no network", short(text));
                    self.note(at, what, Some("write it like `10.0.3.0/24` or `10.0.3.1`"));
                }
            }
        }
        if networks.len() > 64 {
            let what = format!("more than 64 networks under `{key}`");
            self.note_at(fields, key, what, "name larger networks");
        }
        networks
    }

    /// The URL under `key` with one of `schemes`.
    pub(super) fn url(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        schemes: &[&str],
        required: bool,
    ) -> Option<String> {
        let (at, text) = if required {
            self.required_text(fields, key, TEXT_MAX)?
        } else {
            self.optional_text(fields, key, TEXT_MAX)?
        };
        let fits = url::Url::parse(text).is_ok_and(|url| {
            schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty())
        });
        if !fits {
            let what = format!("`{key}` is no address that begins with {}", named(schemes));
            self.note(
                at,
                what,
                Some(&format!("write it like `{}://host.example.net`", schemes.last().unwrap_or(&""))),
            );
            return None;
        }
        Some(text.to_owned())
    }
}

/// How schemes are named in messages.
fn named(schemes: &[&str]) -> String {
    schemes.iter().map(|scheme| format!("`{scheme}://`")).collect::<Vec<_>>().join(" or ")
}

/// Whether it is `whsec_` and base64 of 24 to 64 bytes. Source: Standard Webhooks, "Signature scheme".
fn is_standard_webhook_secret(secret: &Secret) -> bool {
    secret
        .reveal()
        .strip_prefix("whsec_")
        .and_then(|text| STANDARD.decode(text).ok())
        .is_some_and(|bytes| (24..=64).contains(&bytes.len()))
}
