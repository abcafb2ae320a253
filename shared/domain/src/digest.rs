//! Whether two things are the same thing, in 64 bits.
//!
//! A thing is written as `serde` sees it, not as text: values in the order of their declaration, with
//! lengths and with the places of variants, so that no two different values of a type run together. The
//! digest is a plain function of those, the same on every machine and in every build: ids derive from it.
//!
//! It is no defence against somebody who looks for two things with the same digest.

use serde::{Serialize, ser};
use std::fmt::{self, Display};

/// A digest of anything that can be written: equal things have equal digests.
pub(crate) fn digest_of(thing: &(impl Serialize + ?Sized)) -> u64 {
    let mut digest = Digest(SEED);
    thing.serialize(&mut digest).expect("a digest takes everything");
    fold(digest.0, SEED)
}

/// An odd number whose bits look random: the fractional part of the golden ratio.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Another one: of the square root of 2.
const STEP: u64 = 0x6a09_e667_f3bc_c909;

/// Both halves of the product: every bit of either number moves about half of the result's.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A digest under way.
struct Digest(u64);

impl Digest {
    fn word(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, STEP) ^ self.0.rotate_left(23);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }
}

/// What cannot be written; nothing in this crate.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unwritable(String);

impl ser::Error for Unwritable {
    fn custom<T: Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

type Done = Result<(), Unwritable>;

/// Text that is written piece by piece: where the pieces end makes no difference.
struct Text {
    text: Digest,
    held: [u8; 8],
    count: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for byte in piece.bytes() {
            self.held[self.count % 8] = byte;
            self.count += 1;
            if self.count.is_multiple_of(8) {
                self.text.word(u64::from_le_bytes(self.held));
                self.held = [0; 8];
            }
        }
        Ok(())
    }
}

macro_rules! words {
    ($($name:ident: $number:ty),*) => {$(
        fn $name(self, number: $number) -> Done {
            self.word(number as u64);
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for &'a mut Digest {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Counted<'a>;
    type SerializeTuple = &'a mut Digest;
    type SerializeTupleStruct = &'a mut Digest;
    type SerializeTupleVariant = &'a mut Digest;
    type SerializeMap = Counted<'a>;
    type SerializeStruct = &'a mut Digest;
    type SerializeStructVariant = &'a mut Digest;

    words!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_bool: bool, serialize_char: char
    );

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_i128(self, number: i128) -> Done {
        self.serialize_u128(number as u128)
    }

    fn serialize_u128(self, number: u128) -> Done {
        self.word(number as u64);
        self.word((number >> 64) as u64);
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Done {
        self.word(u64::from(number.to_bits()));
        Ok(())
    }

    fn serialize_f64(self, number: f64) -> Done {
        self.word(number.to_bits());
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Done {
        self.bytes(text.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Done {
        self.bytes(bytes);
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, text: &T) -> Done {
        let mut pieces = Text { text: Digest(self.0), held: [0; 8], count: 0 };
        fmt::write(&mut pieces, format_args!("{text}")).map_err(|_| ser::Error::custom("text that fails"))?;
        *self = pieces.text;
        if !pieces.count.is_multiple_of(8) {
            self.word(u64::from_le_bytes(pieces.held));
        }
        self.word(pieces.count as u64);
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.word(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, thing: &T) -> Done {
        self.word(1);
        thing.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Done {
        self.word(u64::from(variant));
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, thing: &T) -> Done {
        thing.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        thing: &T,
    ) -> Done {
        self.word(u64::from(variant));
        thing.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Counted<'a>, Unwritable> {
        Ok(Counted { digest: self, count: 0 })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Counted<'a>, Unwritable> {
        Ok(Counted { digest: self, count: 0 })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Unwritable> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unwritable> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unwritable> {
        self.word(u64::from(variant));
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unwritable> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unwritable> {
        self.word(u64::from(variant));
        Ok(self)
    }
}

/// Any number of things, counted as they come: what follows each says that it was there, the end how many.
struct Counted<'a> {
    digest: &'a mut Digest,
    count: u64,
}

impl Counted<'_> {
    fn one(&mut self, thing: &(impl Serialize + ?Sized)) -> Done {
        self.count += 1;
        self.digest.word(self.count);
        thing.serialize(&mut *self.digest)
    }

    fn all(self) -> Done {
        self.digest.word(0);
        Ok(())
    }
}

impl ser::SerializeSeq for Counted<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, thing: &T) -> Done {
        self.one(thing)
    }

    fn end(self) -> Done {
        self.all()
    }
}

impl ser::SerializeMap for Counted<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        self.one(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut *self.digest)
    }

    fn end(self) -> Done {
        self.all()
    }
}

macro_rules! places {
    ($($of:ident: $one:ident),*) => {$(
        impl ser::$of for &mut Digest {
            type Ok = ();
            type Error = Unwritable;

            fn $one<T: Serialize + ?Sized>(&mut self, thing: &T) -> Done {
                thing.serialize(&mut **self)
            }

            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

places!(
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! fields {
    ($($of:ident),*) => {$(
        impl ser::$of for &mut Digest {
            type Ok = ();
            type Error = Unwritable;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, thing: &T) -> Done {
                self.word(1);
                thing.serialize(&mut **self)
            }

            /// A field that is left out must not let the next one take its place.
            fn skip_field(&mut self, _: &'static str) -> Done {
                self.word(0);
                Ok(())
            }

            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Evidence, Time};
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    struct Spare {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<u8>,
    }

    #[test]
    fn different_things_do_not_run_together() {
        assert_ne!(digest_of(&("ab", "c")), digest_of(&("a", "bc")));
        assert_ne!(digest_of(&(vec![1, 2], vec![3])), digest_of(&(vec![1], vec![2, 3])));
        assert_ne!(digest_of(&(Some(0), None::<u8>)), digest_of(&(None::<u8>, Some(0))));
        assert_ne!(
            digest_of(&Spare { a: Some(1), b: None }),
            digest_of(&Spare { a: None, b: Some(1) }),
            "a field that is left out keeps its place"
        );
        assert_ne!(digest_of(&BTreeMap::from([(1, 2)])), digest_of(&BTreeMap::from([(2, 1)])));
        assert_ne!(digest_of(&Time::from_us(1)), digest_of(&Time::from_us(2)));
        assert_ne!(digest_of(&vec![0_u8; 7]), digest_of(&vec![0_u8; 8]));
        assert_ne!(digest_of(""), digest_of("\0"));
    }

    #[test]
    fn many_similar_things_have_as_many_digests() {
        let all: std::collections::BTreeSet<u64> =
            (0..100_000_u64).map(|n| digest_of(&(n / 300, n % 300))).collect();
        assert_eq!(all.len(), 100_000);
    }

    #[test]
    fn text_in_pieces_is_the_text() {
        struct Pieces(&'static [&'static str]);
        impl Display for Pieces {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|piece| f.write_str(piece))
            }
        }
        impl Serialize for Pieces {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        let whole = digest_of(&Pieces(&["the whole of it"]));
        assert_eq!(digest_of(&Pieces(&["the w", "", "hole of it"])), whole);
        assert_ne!(digest_of(&Pieces(&["the whole of it "])), whole);
    }

    #[test]
    fn the_digest_of_a_thing_is_the_same_everywhere() {
        let thing = (Time::from_us(1_795_000_000_123_456), "sector-7", -1_i32, [1.5_f64], None::<Evidence>);
        assert_eq!(digest_of(&thing), 6_886_024_399_630_856_696);
    }
}
