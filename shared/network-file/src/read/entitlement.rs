//! What a subscriber is entitled to.

use super::{
    Reader,
    field::{Fields, NAME_MAX},
};
use crate::{
    Secret,
    model::{ServiceEntry, Session},
};
use events::{Rate, ServiceState};
use std::net::IpAddr;

/// The keys of a service.
const KEYS: [&str; 5] = ["state", "profile", "rate", "address", "password"];

impl Reader<'_> {
    /// The service of a subscriber who is known by `session`.
    pub(super) fn entitlement(&mut self, fields: &Fields<'_, '_>, session: &Session) -> Option<ServiceEntry> {
        let entry = fields.get("service")?;
        let service = self.fields(&entry.value, "a service", &KEYS)?;
        let states = [("active", ServiceState::Active), ("suspended", ServiceState::Suspended)];
        let state = match service.has("state") {
            true => self.choice(&service, "state", &states)?,
            false => ServiceState::Active,
        };
        let profile = self.optional_text(&service, "profile", NAME_MAX).map(|(_, text)| text.to_owned());
        let address = self.service_address(&service);
        let password: Option<Secret> = self.secret(&service, "password");
        let dials = matches!(session, Session::Pppoe(_));
        for key in ["profile", "address", "password"].into_iter().filter(|key| !dials && service.has(key)) {
            let what = format!("`{key}` is for who dials in, and this subscriber has no `user`");
            self.note_at(&service, key, what, "leave it out, or write the PPPoE `user`");
        }
        let rate = self.rate(&service);
        if rate.is_some() && address.is_none() && !matches!(session, Session::Static(_)) {
            let what = "a `rate` needs an address that is always the same".into();
            self.note_at(&service, "rate", what, "give `address`, or a `profile` that has a rate");
        }
        Some(ServiceEntry { state, profile, rate, address, password })
    }

    /// The address under `address`, which is never repeated in a message: it names a person.
    fn service_address(&mut self, fields: &Fields<'_, '_>) -> Option<IpAddr> {
        let (at, text) = self.optional_text(fields, "address", NAME_MAX)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.note(at, "`address` is no IP address".into(), Some("write it like `10.0.3.1`"));
        }
        address
    }

    /// Up and down, such as `2M/20M`.
    fn rate(&mut self, fields: &Fields<'_, '_>) -> Option<Rate> {
        let (at, text) = self.optional_text(fields, "rate", NAME_MAX)?;
        let rate = text
            .split_once('/')
            .and_then(|(up, down)| Some(Rate { up_bps: bps(up.trim())?, down_bps: bps(down.trim())? }));
        if rate.is_none() {
            let what = "`rate` is no pair of speeds".into();
            self.note(at, what, Some("write up and down like `2M/20M`"));
        }
        rate
    }
}

/// Bits per second: a whole number, with `k`, `M` or `G`.
fn bps(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1_000),
        b'M' => (&text[..text.len() - 1], 1_000_000),
        b'G' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|bps| *bps > 0)
}

#[cfg(test)]
mod tests {
    use super::bps;

    #[test]
    fn a_speed_is_read_as_routers_write_it() {
        assert_eq!(
            [bps("512k"), bps("20M"), bps("1G"), bps("9600")],
            [512_000, 20_000_000, 1_000_000_000, 9_600].map(Some)
        );
        assert_eq!([bps(""), bps("M"), bps("0"), bps("-1"), bps("99999999999G")], [None; 5]);
    }
}
