//! Which addresses a channel may point at.
//!
//! Operators give the addresses of their endpoints, and tenants' operators are not the host's: what points
//! at loopback, private or link-local addresses is refused unless the configuration allows it. A name is
//! resolved here, and the connection goes to the address that was looked at, whatever the name means a
//! moment later.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Why an address is not connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// It lies where channels must not point.
    #[error("it points at {0}, which is not a public address (`allow_private_targets` is off)")]
    Private(IpAddr),
    /// Nobody knows the name now.
    #[error("resolving its name")]
    Name(#[from] io::Error),
    /// The name means nothing.
    #[error("its name has no address")]
    Nowhere,
}

/// The rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) allow_private: bool,
}

impl Targets {
    /// Whether `address` may be connected to.
    pub(crate) fn check(self, address: IpAddr) -> Result<(), TargetError> {
        let address = address.to_canonical();
        if self.allow_private || is_public(address) { Ok(()) } else { Err(TargetError::Private(address)) }
    }

    /// The addresses of `host`, every one of which may be connected to.
    pub(crate) async fn resolve(self, host: &str, port: u16) -> Result<Vec<SocketAddr>, TargetError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
        for address in &found {
            self.check(address.ip())?;
        }
        if found.is_empty() { Err(TargetError::Nowhere) } else { Ok(found) }
    }
}

impl Resolve for Targets {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = *self;
        Box::pin(async move {
            let found = targets.resolve(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The [`TargetError`] among the causes of `error`, if that is what it came from.
pub(crate) fn cause_of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TargetError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Source: the IANA IPv4 Special-Purpose Address Registry.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = a == 192 && b == 0 && c == 0;
    let is_benchmark = a == 198 && (b == 18 || b == 19);
    !(address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || is_protocol
        || is_benchmark
        // This network; multicast, reserved and broadcast.
        || a == 0
        || a >= 224)
}

/// Source: the IANA IPv6 Special-Purpose Address Registry; only 2000::/3 is given out.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_given_out = first & 0xe000 == 0x2000;
    let is_documentation = (first == 0x2001 && second == 0xdb8) || first == 0x3fff;
    // Teredo and 6to4 carry an IPv4 address nobody has looked at.
    let is_tunnel = (first == 0x2001 && second == 0) || first == 0x2002;
    is_given_out && !is_documentation && !is_tunnel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_may_be_pointed_at() {
        let strict = Targets { allow_private: false };
        for text in ["9.9.9.9", "192.1.0.1", "172.32.0.1", "2620:fe::fe", "::ffff:9.9.9.9"] {
            assert!(strict.check(text.parse().unwrap()).is_ok(), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(matches!(strict.check(text.parse().unwrap()), Err(TargetError::Private(_))), "{text}");
            assert!(Targets { allow_private: true }.check(text.parse().unwrap()).is_ok());
        }
    }

    #[tokio::test]
    async fn a_name_that_means_a_private_address_is_refused() {
        let strict = Targets { allow_private: false };
        assert!(matches!(strict.resolve("localhost", 80).await, Err(TargetError::Private(_))));
        assert!(matches!(strict.resolve("[::1]", 80).await, Err(TargetError::Private(_))));
        assert!(Targets { allow_private: true }.resolve("localhost", 80).await.is_ok());
    }
}
