//! The decoder's laws over many random and damaged inputs. The fuzz target goes further.

use crate::law;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use routeros_api::wire::Sentence;

/// What a router or a client may well say.
fn conversation() -> Vec<u8> {
    let tag = Some(b"7".as_slice());
    [
        Sentence::new("/login").with("name", "admin").with("password", "pw"),
        Sentence::new("/ppp/active/print").with(".proplist", "name,uptime").query("name=x").tagged(tag),
        Sentence::re().with(".id", "*1").with("comment", "x".repeat(200)).tagged(tag),
        Sentence::empty().tagged(tag),
        Sentence::trap(Some(2), "interrupted").tagged(tag),
        Sentence::done().with("ret", "*3").tagged(tag),
        Sentence::fatal("session terminated on request"),
    ]
    .iter()
    .flat_map(Sentence::to_bytes)
    .collect()
}

#[test]
fn the_laws_hold_for_random_bytes() {
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..20_000 {
        let mut bytes = vec![0; random.random_range(0..256)];
        random.fill(bytes.as_mut_slice());
        law::holds_for(&bytes);
    }
}

#[test]
fn the_laws_hold_for_damaged_conversations() {
    let mut random = SmallRng::seed_from_u64(2);
    let whole = conversation();
    law::holds_for(&whole);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..5) {
                0 => bytes[at] ^= 1 << random.random_range(0..8),
                1 => bytes[at] = [0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xdf, 0xe0, 0xef, 0xf0, 0xff][at % 10],
                2 => bytes.insert(at, random.random()),
                3 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        law::holds_for(&bytes);
    }
}

fn any_word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 1..20),
        vec(any::<u8>(), 120..140),
        "[!/=?.][a-z=]{0,8}".prop_map(Into::into)
    ]
}

proptest! {
    #[test]
    fn what_is_said_is_heard(said in vec(vec(any_word(), 1..5), 0..5)) {
        let said: Vec<Sentence> = said
            .iter()
            .map(|words| words.iter().fold(Sentence::default(), Sentence::word))
            .collect();
        let bytes: Vec<u8> = said.iter().flat_map(Sentence::to_bytes).collect();
        law::holds_for(&bytes);
        let mut decoder = routeros_api::wire::Decoder::new(routeros_api::wire::Limits::CLIENT);
        let mut input = bytes.as_slice();
        let mut heard = Vec::new();
        while let Some(sentence) = decoder.decode(&mut input).unwrap() {
            heard.push(sentence);
        }
        prop_assert_eq!(heard, said);
        prop_assert!(!decoder.is_mid_sentence());
    }

    #[test]
    fn a_long_word_is_heard_in_every_form_of_length(
        length in prop_oneof![Just(0x7f_usize), Just(0x80), Just(0x3fff), Just(0x4000), Just(0x1f_ffff), Just(0x20_0000)],
    ) {
        let said = Sentence::new("!re").word(vec![b'x'; length]);
        let bytes = said.to_bytes();
        let mut decoder = routeros_api::wire::Decoder::new(routeros_api::wire::Limits::SERVER);
        prop_assert_eq!(decoder.decode(&mut bytes.as_slice()), Ok(Some(said)));
    }
}
