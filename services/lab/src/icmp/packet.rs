//! IPv4 echo requests and their replies, as bytes.
//!
//! Source: RFC 791 and RFC 792.

use std::net::Ipv4Addr;

/// An echo request that arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Who asks.
    pub from: Ipv4Addr,
    /// Who is asked.
    pub to: Ipv4Addr,
    /// Identifier, sequence and data: what comes back unchanged.
    pub rest: &'a [u8],
}

/// Why a packet is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is shorter than it says or must be.
    #[error("the packet is cut short")]
    Short,
    /// It is not IPv4.
    #[error("the packet is not IPv4")]
    Version,
    /// It is a piece of a packet.
    #[error("the packet is a fragment")]
    Fragment,
    /// It is no echo request.
    #[error("the packet is no echo request")]
    Other,
    /// A checksum does not match.
    #[error("a checksum is wrong")]
    Checksum,
}

const HEADER_BYTES: usize = 20;
const PROTOCOL_ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;

/// Reads an echo request.
///
/// # Errors
///
/// [`Malformed`] for everything else.
pub fn echo(packet: &[u8]) -> Result<Echo<'_>, Malformed> {
    let first = packet.first().ok_or(Malformed::Short)?;
    if first >> 4 != 4 {
        return Err(Malformed::Version);
    }
    let header_bytes = usize::from(first & 0x0f) * 4;
    if header_bytes < HEADER_BYTES || packet.len() < header_bytes {
        return Err(Malformed::Short);
    }
    let total_bytes = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if total_bytes < header_bytes + 8 || packet.len() < total_bytes {
        return Err(Malformed::Short);
    }
    if checksum(&packet[..header_bytes]) != 0 {
        return Err(Malformed::Checksum);
    }
    if u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0 {
        return Err(Malformed::Fragment);
    }
    let icmp = &packet[header_bytes..total_bytes];
    if packet[9] != PROTOCOL_ICMP || icmp[0] != ECHO_REQUEST || icmp[1] != 0 {
        return Err(Malformed::Other);
    }
    if checksum(icmp) != 0 {
        return Err(Malformed::Checksum);
    }
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Ok(Echo { from: address(12), to: address(16), rest: &icmp[4..] })
}

/// The answer to an echo request.
pub fn reply(asked: &Echo<'_>) -> Vec<u8> {
    let total_bytes = HEADER_BYTES + 4 + asked.rest.len();
    let length = u16::try_from(total_bytes).expect("a reply is no longer than its request").to_be_bytes();
    let mut packet = Vec::with_capacity(total_bytes);
    packet.extend([0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, PROTOCOL_ICMP, 0, 0]);
    packet.extend(asked.to.octets());
    packet.extend(asked.from.octets());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend([0; 4]);
    packet.extend_from_slice(asked.rest);
    let sum = checksum(&packet[HEADER_BYTES..]).to_be_bytes();
    packet[HEADER_BYTES + 2..HEADER_BYTES + 4].copy_from_slice(&sum);
    packet
}

/// The one's complement of the one's complement sum; 0 over bytes that hold their own checksum.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ping -c 1 -s 4 198.18.0.9` with the data `mast`.
    fn request() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0x12, 0x34, 0x40, 0, 64, 1, 0, 0, 198, 18, 0, 1, 198, 18, 0, 9];
        let sum = checksum(&packet).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        let mut icmp = vec![8, 0, 0, 0, 0xab, 0xcd, 0, 7];
        icmp.extend(b"mast");
        let sum = checksum(&icmp).to_be_bytes();
        icmp[2..4].copy_from_slice(&sum);
        packet.extend(icmp);
        packet
    }

    #[test]
    fn a_request_is_answered_with_what_it_brought() {
        let packet = request();
        let asked = echo(&packet).unwrap();
        assert_eq!(
            (asked.from.to_string(), asked.to.to_string()),
            ("198.18.0.1".into(), "198.18.0.9".into())
        );
        let reply = reply(&asked);
        assert_eq!((checksum(&reply[..20]), checksum(&reply[20..])), (0, 0));
        assert_eq!(reply[12..20], [198, 18, 0, 9, 198, 18, 0, 1]);
        assert_eq!((reply[20], &reply[24..]), (0, &packet[24..]));
        assert_eq!(reply.len(), packet.len());
    }

    #[test]
    fn a_checksum_of_the_standard_is_reckoned_as_there() {
        // Source: RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }

    #[test]
    fn what_is_no_whole_echo_request_is_left_alone() {
        let broken = |at: usize, byte: u8| {
            let mut packet = request();
            packet[at] = byte;
            // A checksum that matches again, so that the byte itself is what is refused.
            packet[10..12].fill(0);
            let sum = checksum(&packet[..20]).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
            echo(&packet).err()
        };
        assert_eq!(broken(0, 0x65), Some(Malformed::Version));
        assert_eq!(broken(0, 0x44), Some(Malformed::Short));
        assert_eq!(broken(3, 200), Some(Malformed::Short));
        assert_eq!(broken(6, 0x20), Some(Malformed::Fragment));
        assert_eq!(broken(9, 6), Some(Malformed::Other));
        assert_eq!(broken(20, 0), Some(Malformed::Other));
        assert_eq!(broken(30, b'x'), Some(Malformed::Checksum));
        let packet = request();
        for length in 0..packet.len() {
            assert_eq!(echo(&packet[..length]), Err(Malformed::Short), "{length} bytes");
        }
    }
}
