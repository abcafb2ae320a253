//! Whom our passwords may be said to: how a router proves that it is the router.
//!
//! Over TLS a router is known by the certificate that is pinned in the inventory, or else by an authority of the
//! configuration. Where there is neither it is refused, and the error tells which certificate it shows. Without TLS
//! anybody on the way can read the password and answer in the router's place; so that is done only where the
//! configuration allows it.

use events::{Fingerprint, Login};
use routeros_api::{
    Tls,
    tls::{Fingerprint as Shown, TlsError},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

/// Where routers may be logged in to without TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainApi {
    /// Nowhere.
    Never,
    /// At addresses that are not routed in the Internet.
    #[default]
    Private,
    /// Everywhere.
    Anywhere,
}

impl PlainApi {
    fn allows(self, address: IpAddr) -> bool {
        match self {
            PlainApi::Never => false,
            PlainApi::Private => is_private(address),
            PlainApi::Anywhere => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            PlainApi::Never => "never",
            PlainApi::Private => "private",
            PlainApi::Anywhere => "anywhere",
        }
    }
}

/// Whether an address is not routed in the Internet. Sources: RFC 1918, RFC 6598 (behind carriers' NAT), RFC 3927,
/// RFC 4193, RFC 4291.
fn is_private(address: IpAddr) -> bool {
    let of_v4 = |v4: Ipv4Addr| {
        let [a, b, ..] = v4.octets();
        v4.is_private() || v4.is_loopback() || v4.is_link_local() || (a == 100 && b & 0b1100_0000 == 64)
    };
    match address {
        IpAddr::V4(v4) => of_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => of_v4(v4),
            None => v6 == Ipv6Addr::LOCALHOST || v6.is_unique_local() || v6.is_unicast_link_local(),
        },
    }
}

/// How routers prove who they are.
#[derive(Debug)]
pub struct Trust {
    /// For routers without a certificate of their own in the inventory.
    unpinned: Tls,
    plain: PlainApi,
    /// Made once for each: never more than certificates were pinned.
    pinned: Mutex<HashMap<Fingerprint, Tls>>,
}

impl Trust {
    /// Certificates that are not pinned are judged by `authority`, PEM; without one nobody vouches for them.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when `authority` is no PEM text.
    pub fn new(authority: Option<&str>, plain: PlainApi) -> Result<Self, TlsError> {
        let unpinned = match authority {
            Some(pem) => Tls::signed_by(pem.as_bytes(), None)?,
            None => Tls::nobody()?,
        };
        Ok(Self { unpinned, plain, pinned: Mutex::default() })
    }

    /// How the router at `address` is to prove who it is; none: it need not.
    ///
    /// # Errors
    ///
    /// Why it may not be logged in to, and what to do, for people.
    pub(crate) fn tls(&self, address: IpAddr, login: &Login) -> Result<Option<Tls>, String> {
        if !login.tls {
            return if self.plain.allows(address) { Ok(None) } else { Err(self.no_plain(address)) };
        }
        let Some(pinned) = login.certificate else { return Ok(Some(self.unpinned.clone())) };
        let mut known = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = known.get(&pinned) {
            return Ok(Some(tls.clone()));
        }
        let tls = Tls::known_by(Shown(pinned.0)).map_err(|error| error.to_string())?;
        known.insert(pinned, tls.clone());
        Ok(Some(tls))
    }

    fn no_plain(&self, address: IpAddr) -> String {
        format!(
            "its API at {address} is not inside TLS, and `plain_api = \"{}\"` forbids to say a password there: give the \
             router a certificate for `/ip service api-ssl` and its `login` `tls: on` (`mastwatch router add … --tls`), or \
             allow it by `plain_api`",
            self.plain.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Sealed;

    fn login(tls: bool, certificate: Option<Fingerprint>) -> Login {
        let secret = Sealed(String::new());
        Login { port: 8728, tls, certificate, secret, manage: false, enforce: false, token: None }
    }

    #[test]
    fn a_password_is_said_without_tls_only_where_that_is_allowed() {
        let private = ["10.1.2.3", "172.31.0.1", "192.168.88.1", "127.0.0.1", "100.127.1.1", "169.254.1.1"];
        let private = private.iter().chain(&["::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"]);
        let public = ["192.0.2.1", "100.128.0.1", "172.32.0.1", "8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8"];
        let is_allowed = |plain, address: &str| {
            let trust = Trust::new(None, plain).unwrap();
            trust.tls(address.parse().unwrap(), &login(false, None)).is_ok()
        };
        for address in private {
            assert!(is_allowed(PlainApi::Private, address), "{address}");
            assert!(!is_allowed(PlainApi::Never, address), "{address}");
        }
        for address in public {
            assert!(!is_allowed(PlainApi::Private, address), "{address}");
            assert!(is_allowed(PlainApi::Anywhere, address), "{address}");
        }
        let why = Trust::new(None, PlainApi::Never).unwrap();
        let why = why.tls("10.0.0.1".parse().unwrap(), &login(false, None)).unwrap_err();
        assert!(why.contains("tls: on") && why.contains("plain_api = \"never\""), "{why}");
    }

    #[test]
    fn a_pinned_certificate_goes_before_the_authority_and_is_the_same_each_time() {
        let trust = Trust::new(None, PlainApi::Never).unwrap();
        let of = |certificate| trust.tls("10.0.0.1".parse().unwrap(), &login(true, certificate)).unwrap();
        let (one, other) = (Some(Fingerprint([1; 32])), Some(Fingerprint([2; 32])));
        assert_eq!(of(one), of(one));
        assert_ne!(of(one), of(other));
        assert_eq!(of(None), Some(Tls::nobody().unwrap()));
    }
}
