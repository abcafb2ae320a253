//! Which port a server listens on.
//!
//! A free port is looked for *below* the range from which the kernel numbers outgoing
//! connections. A server that is killed and started again on the same port must find it free; a
//! client that keeps reconnecting meanwhile would otherwise sooner or later be given that very
//! number for its own end, and either take the port or, on loopback, connect to itself.

use crate::random;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below this, ports are likely to be somebody's usual one.
const LOWEST: u16 = 15_000;

/// Where outgoing ports begin when the kernel does not say. Source: ip(7), `ip_local_port_range`.
const OUTGOING_BEGIN: u16 = 32_768;

/// How many numbers are tried before a free port is despaired of.
const TRIES: u32 = 400;

/// The TCP port of a server, on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Port {
    /// Any free one. It stays the same over `restart`.
    #[default]
    Free,
    /// This one, or the start fails.
    Fixed(u16),
}

impl Port {
    /// The number to listen on.
    pub(crate) fn number(self) -> io::Result<u16> {
        match self {
            Port::Fixed(number) => Ok(number),
            Port::Free => free_port(),
        }
    }
}

/// Ports this process has handed out. Never twice: their servers may not listen yet.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A TCP port on which nobody listens now, at any address of this machine. Another process may still be faster, so
/// callers try again.
///
/// # Errors
///
/// When none is found.
pub fn free_port() -> io::Result<u16> {
    let end = outgoing_begin().max(LOWEST + 1_000);
    for _ in 0..TRIES {
        let step = random::below(u32::from(end - LOWEST))?;
        let number = LOWEST + u16::try_from(step).map_err(io::Error::other)?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
            && TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(number)
        {
            return Ok(number);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port"))
}

fn outgoing_begin() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(OUTGOING_BEGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_never_handed_out_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| Port::Free.number().unwrap()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_fixed_port_is_taken_as_it_is() {
        assert_eq!(Port::Fixed(4222).number().unwrap(), 4222);
    }
}
