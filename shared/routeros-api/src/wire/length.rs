//! The length in front of every word: one to five bytes, big-endian, the first byte says how many.

/// The longest prefix there is.
pub const PREFIX_BYTES_MAX: usize = 5;

/// A first byte that begins no length.
///
/// `F8` and above are reserved control bytes and `F1` to `F7` are undefined. Whoever meets one
/// cannot find the next word and has to give the connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {byte:#04x} begins no word length")]
pub struct BadPrefix {
    /// The byte that was met.
    pub byte: u8,
}

/// Appends the shortest prefix for a word of `length` bytes.
pub fn put_length(length: u32, out: &mut Vec<u8>) {
    let [a, b, c, d] = length.to_be_bytes();
    match length {
        0..=0x7f => out.push(d),
        0x80..=0x3fff => out.extend_from_slice(&[c | 0x80, d]),
        0x4000..=0x1f_ffff => out.extend_from_slice(&[b | 0xc0, c, d]),
        0x20_0000..=0x0fff_ffff => out.extend_from_slice(&[a | 0xe0, b, c, d]),
        0x1000_0000..=u32::MAX => out.extend_from_slice(&[0xf0, a, b, c, d]),
    }
}

/// Reads the prefix at the start of `bytes`: the length and how many bytes the prefix took.
///
/// `None` when the prefix has not wholly arrived. A length in a longer form than it needs is read
/// as it stands: routers do not send such, and refusing them would protect nothing.
///
/// # Errors
///
/// [`BadPrefix`] when the first byte begins no length.
pub fn take_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, BadPrefix> {
    let length = match *bytes {
        [] => None,
        [a @ 0x00..=0x7f, ..] => Some((u32::from(a), 1)),
        [a @ 0x80..=0xbf, b, ..] => Some((u32::from_be_bytes([0, 0, a & 0x3f, b]), 2)),
        [a @ 0xc0..=0xdf, b, c, ..] => Some((u32::from_be_bytes([0, a & 0x1f, b, c]), 3)),
        [a @ 0xe0..=0xef, b, c, d, ..] => Some((u32::from_be_bytes([a & 0x0f, b, c, d]), 4)),
        [0xf0, a, b, c, d, ..] => Some((u32::from_be_bytes([a, b, c, d]), 5)),
        [0x80..=0xf0, ..] => None,
        [byte @ 0xf1..=0xff, ..] => return Err(BadPrefix { byte }),
    };
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every boundary between two forms, and both ends.
    const VECTORS: [(u32, &[u8]); 14] = [
        (0, &[0x00]),
        (1, &[0x01]),
        (0x7f, &[0x7f]),
        (0x80, &[0x80, 0x80]),
        (0xff, &[0x80, 0xff]),
        (0x100, &[0x81, 0x00]),
        (0x3fff, &[0xbf, 0xff]),
        (0x4000, &[0xc0, 0x40, 0x00]),
        (0x1f_ffff, &[0xdf, 0xff, 0xff]),
        (0x20_0000, &[0xe0, 0x20, 0x00, 0x00]),
        (0x0fff_ffff, &[0xef, 0xff, 0xff, 0xff]),
        (0x1000_0000, &[0xf0, 0x10, 0x00, 0x00, 0x00]),
        (0x7fff_ffff, &[0xf0, 0x7f, 0xff, 0xff, 0xff]),
        (u32::MAX, &[0xf0, 0xff, 0xff, 0xff, 0xff]),
    ];

    #[test]
    fn every_length_is_written_as_the_router_writes_it() {
        for (length, prefix) in VECTORS {
            let mut out = Vec::new();
            put_length(length, &mut out);
            assert_eq!(out, prefix, "{length:#x}");
        }
    }

    #[test]
    fn every_length_is_read_back_and_a_part_of_it_is_not() {
        for (length, prefix) in VECTORS {
            let followed = [prefix, &[0xff, 0xff]].concat();
            assert_eq!(take_length(&followed), Ok(Some((length, prefix.len()))));
            for cut in 0..prefix.len() {
                assert_eq!(take_length(&prefix[..cut]), Ok(None), "{length:#x} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_control_byte_begins_no_length() {
        for byte in 0xf1..=0xff {
            assert_eq!(take_length(&[byte, 0, 0, 0, 0]), Err(BadPrefix { byte }));
        }
    }
}
