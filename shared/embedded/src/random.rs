//! Unpredictable bytes for passwords and names, from the kernel.

use std::fs::File;
use std::io::{self, Read};

/// `bytes` random bytes, written as lower-case hexadecimal digits (two for each byte).
///
/// # Errors
///
/// When `/dev/urandom` cannot be read.
pub(crate) fn hex(bytes: usize) -> io::Result<String> {
    let mut raw = vec![0_u8; bytes];
    File::open("/dev/urandom")?.read_exact(&mut raw)?;
    Ok(raw.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A random number below `bound`, which must not be zero.
///
/// # Errors
///
/// When `/dev/urandom` cannot be read.
pub(crate) fn below(bound: u32) -> io::Result<u32> {
    let mut raw = [0_u8; 8];
    File::open("/dev/urandom")?.read_exact(&mut raw)?;
    let wide = u64::from_le_bytes(raw) % u64::from(bound);
    Ok(u32::try_from(wide).expect("a remainder is below its divisor, which fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_random_names_differ_and_have_the_length_asked_for() {
        let (one, other) = (hex(8).unwrap(), hex(8).unwrap());
        assert_eq!(one.len(), 16);
        assert_ne!(one, other);
    }

    #[test]
    fn a_number_below_one_is_zero() {
        assert_eq!(below(1).unwrap(), 0);
    }
}
