//! What crosses the connection, in both directions, without any input or output.
//!
//! A *word* is a length prefix and that many bytes; a *sentence* is words ended by a word of no
//! length. Commands and replies are both sentences, so a client and a simulated router use the same
//! [`Sentence`] and the same [`Decoder`].
//!
//! A prefix is a promise, not a fact: the decoder holds what has arrived, never what was announced.

mod decoder;
mod length;
mod sentence;

pub use self::decoder::{Decoder, Limits, WireError};
pub use self::length::{BadPrefix, PREFIX_BYTES_MAX, put_length, take_length};
pub use self::sentence::{Sentence, Word};
