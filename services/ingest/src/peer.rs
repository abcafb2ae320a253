//! Where a request really came from.
//!
//! The address at the other end of the connection, unless that is a reverse proxy we were told of: then the last
//! address it names, which is the one it saw itself. What stands before that anybody may have
//! written.

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Whose word counts about where a request came from.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    pub(crate) networks: Vec<IpNet>,
    pub(crate) header: HeaderName,
}

impl Proxies {
    /// The address a request came from. IPv4 in IPv6 counts as IPv4.
    pub(crate) fn source(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.ip().to_canonical();
        if !is_within(peer, &self.networks) {
            return peer;
        }
        let named = headers.get_all(&self.header).iter().next_back();
        let last = named.and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
        last.and_then(|last| address(last.trim())).unwrap_or(peer)
    }
}

/// An address, perhaps with a port or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let found = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    found.map(|address: IpAddr| address.to_canonical())
}

/// Whether `address` lies in one of `networks`.
pub(crate) fn is_within(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxies() -> Proxies {
        Proxies {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            header: HeaderName::from_static("x-forwarded-for"),
        }
    }

    fn source(peer: &str, said: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for said in said {
            headers.append("x-forwarded-for", said.parse().unwrap());
        }
        proxies().source(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_known_proxy_is_believed_and_only_its_own_word() {
        assert_eq!(source("192.0.2.1:9", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(source("10.1.1.1:9", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(source("10.1.1.1:9", &["1.1.1.1", "2.2.2.2 , 198.51.100.8:4711"]), "198.51.100.8");
        assert_eq!(source("10.1.1.1:9", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(source("10.1.1.1:9", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(source("10.1.1.1:9", &["unknown"]), "10.1.1.1");
        assert_eq!(source("10.1.1.1:9", &[]), "10.1.1.1");
        assert_eq!(source("[::ffff:10.1.1.1]:9", &["::ffff:198.51.100.7"]), "198.51.100.7");
    }

    proptest! {
        #[test]
        fn nothing_a_proxy_says_panics(said in "[\\[\\]:.,a-f0-9 ]{0,40}") {
            source("10.1.1.1:9", &[&said]);
        }
    }
}
