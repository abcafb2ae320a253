//! The decoders' laws for random and for nearly right bytes. The fuzzer looks further.

use crate::law;
use proptest::prelude::*;

/// What senders really write, from which nearly right bytes are made.
const SAMPLES: [&[u8]; 5] = [
    b"user=u%20one&status=online&boot=2026-11-20-10%3A00-5m&seq=17&token=mw_abcdefghijkl_x",
    br#"{"id":"sector-1","status":"down","boot":"b","seq":2,"detail":"\u00e4 \"timeout\""}"#,
    br#"[{"user":"u","router":"core-1","says":"up"},{"id":"n","says":"down","at":1795000000}]"#,
    b"mac=D4:CA:6D:00:00:01&address=10.0.0.9&status=bound\r\n",
    b"[{},{\"id\":null}]",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_break_no_law(bytes: Vec<u8>) {
        law::holds_for(&bytes);
    }

    #[test]
    fn what_senders_write_with_bytes_changed_breaks_no_law(
        sample in 0..SAMPLES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..12),
    ) {
        let mut bytes = SAMPLES[sample].to_vec();
        for (at, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        law::holds_for(&bytes);
    }
}

#[test]
fn what_senders_write_breaks_no_law() {
    SAMPLES.iter().for_each(|sample| law::holds_for(sample));
}
