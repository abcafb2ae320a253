//! Bytes in, sentences out, however the bytes are cut.

use super::length::{BadPrefix, PREFIX_BYTES_MAX, take_length};
use super::sentence::Sentence;

/// How much one sentence may be before the peer is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of one word.
    pub word_bytes_max: usize,
    /// The bytes of all words of one sentence.
    pub sentence_bytes_max: usize,
    /// The words of one sentence.
    pub sentence_words_max: usize,
}

impl Limits {
    /// For a client: 64 KiB a word, which is the longest text a router hands out in one property,
    /// and 256 KiB in at most 4,096 words a sentence.
    pub const CLIENT: Self =
        Self { word_bytes_max: 64 << 10, sentence_bytes_max: 256 << 10, sentence_words_max: 4096 };

    /// For a simulated router, which should take what a real one takes: 4 MiB a word, 8 MiB a sentence.
    pub const SERVER: Self =
        Self { word_bytes_max: 4 << 20, sentence_bytes_max: 8 << 20, sentence_words_max: 65_536 };
}

/// Why the bytes of a peer make no sentence. The connection cannot be used after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Where a length should begin, something else does.
    #[error(transparent)]
    Prefix(#[from] BadPrefix),
    /// A word is announced that is longer than allowed.
    #[error("a word of {length} bytes is announced, {max} are allowed")]
    LongWord {
        /// What the prefix says, in bytes.
        length: u32,
        /// [`Limits::word_bytes_max`].
        max: usize,
    },
    /// The words of one sentence are longer than allowed.
    #[error("a sentence is longer than {max} bytes")]
    LongSentence {
        /// [`Limits::sentence_bytes_max`].
        max: usize,
    },
    /// One sentence has more words than allowed.
    #[error("a sentence has more than {max} words")]
    ManyWords {
        /// [`Limits::sentence_words_max`].
        max: usize,
    },
}

/// Capacity that is kept from one sentence to the next; more is given back.
const KEPT_BYTES: usize = 4096;

/// Gathers bytes into sentences.
///
/// What it holds grows with what has arrived and is bounded by [`Limits`]; a length prefix alone
/// allocates nothing. After an error it stays broken and repeats the error.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    prefix: [u8; PREFIX_BYTES_MAX],
    prefix_length: usize,
    /// The bytes of the present word that are still to come.
    missing: usize,
    data: Vec<u8>,
    ends: Vec<u32>,
    broken: Option<WireError>,
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            prefix: [0; PREFIX_BYTES_MAX],
            prefix_length: 0,
            missing: 0,
            data: Vec::new(),
            ends: Vec::new(),
            broken: None,
        }
    }

    /// Takes bytes from the front of `input` until a sentence is whole, or all of them.
    ///
    /// `None`: all of `input` was taken and the sentence goes on. Call again while there is input,
    /// as it may hold several sentences. Empty sentences are passed over, as routers do.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the bytes make no sentence or exceed the limits.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Sentence>, WireError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let decoded = self.advance(input);
        if let Err(error) = decoded {
            self.broken = Some(error);
            (self.data, self.ends) = (Vec::new(), Vec::new());
        }
        decoded
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Sentence>, WireError> {
        while let Some((first, after_first)) = input.split_first() {
            if self.missing > 0 {
                let (taken, rest) = input.split_at(self.missing.min(input.len()));
                self.data.extend_from_slice(taken);
                *input = rest;
                self.missing -= taken.len();
                if self.missing == 0 {
                    self.ends.push(self.data.len() as u32);
                }
                continue;
            }
            self.prefix[self.prefix_length] = *first;
            self.prefix_length += 1;
            *input = after_first;
            let Some((length, _)) = take_length(&self.prefix[..self.prefix_length])? else { continue };
            self.prefix_length = 0;
            if length > 0 {
                self.missing = self.allowed(length)?;
            } else if !self.ends.is_empty() {
                return Ok(Some(self.finish()));
            }
        }
        Ok(None)
    }

    /// The length of the word that begins here, if the sentence may have it.
    fn allowed(&self, length: u32) -> Result<usize, WireError> {
        let Limits { word_bytes_max, sentence_bytes_max, sentence_words_max } = self.limits;
        let bytes = length as usize;
        if bytes > word_bytes_max {
            return Err(WireError::LongWord { length, max: word_bytes_max });
        }
        // The place where a word ends is kept in 32 bits, whatever the limits allow.
        let sentence_bytes_max = sentence_bytes_max.min(u32::MAX as usize);
        if self.data.len().saturating_add(bytes) > sentence_bytes_max {
            return Err(WireError::LongSentence { max: sentence_bytes_max });
        }
        if self.ends.len() >= sentence_words_max {
            return Err(WireError::ManyWords { max: sentence_words_max });
        }
        Ok(bytes)
    }

    fn finish(&mut self) -> Sentence {
        let sentence = Sentence::gathered(&self.data, &self.ends);
        self.data.clear();
        self.data.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_BYTES / size_of::<u32>());
        sentence
    }

    /// Whether a sentence has begun and not ended: a connection that closes here was cut.
    pub fn is_mid_sentence(&self) -> bool {
        self.prefix_length > 0 || self.missing > 0 || !self.ends.is_empty()
    }

    /// The bytes of memory held for the sentence that has begun.
    pub fn held_bytes(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut Decoder, mut input: &[u8]) -> Result<Vec<Sentence>, WireError> {
        let mut sentences = Vec::new();
        while let Some(sentence) = decoder.decode(&mut input)? {
            sentences.push(sentence);
        }
        assert!(input.is_empty(), "nothing is left over");
        Ok(sentences)
    }

    #[test]
    fn sentences_come_out_however_the_bytes_are_cut() {
        let said = [
            Sentence::done().tagged(Some(b"5")),
            Sentence::re().with("comment", "x".repeat(20_000)),
            Sentence::fatal("bye"),
        ];
        let bytes: Vec<u8> = said.iter().flat_map(Sentence::to_bytes).collect();
        for chunk in [1, 2, 3, 7, 4096, bytes.len()] {
            let mut decoder = Decoder::new(Limits::CLIENT);
            let heard: Vec<Sentence> =
                bytes.chunks(chunk).flat_map(|part| all(&mut decoder, part).unwrap()).collect();
            assert_eq!(heard, said);
            assert!(!decoder.is_mid_sentence());
        }
    }

    #[test]
    fn empty_sentences_are_passed_over() {
        let mut decoder = Decoder::new(Limits::CLIENT);
        assert_eq!(all(&mut decoder, b"\0\0\x02/a\0\0\0"), Ok(vec![Sentence::new("/a")]));
    }

    #[test]
    fn a_length_in_a_longer_form_than_needed_is_read_as_it_stands() {
        let mut decoder = Decoder::new(Limits::CLIENT);
        let bytes = b"\xf0\x00\x00\x00\x02/a\xe0\x00\x00\x02=b\x80\x00";
        assert_eq!(all(&mut decoder, bytes), Ok(vec![Sentence::new("/a").word("=b")]));
    }

    #[test]
    fn a_promise_allocates_nothing() {
        let limits = Limits { word_bytes_max: usize::MAX, sentence_bytes_max: usize::MAX, ..Limits::SERVER };
        let mut decoder = Decoder::new(limits);
        assert_eq!(all(&mut decoder, &[0xf0, 0xff, 0xff, 0xff, 0xff]), Ok(vec![]));
        assert_eq!(decoder.held_bytes(), 0);
        assert_eq!(all(&mut decoder, &[b'x'; 100]), Ok(vec![]));
        assert!(decoder.held_bytes() <= 256, "{}", decoder.held_bytes());
    }

    #[test]
    fn more_than_allowed_breaks_the_decoder_for_good() {
        let limits = Limits { word_bytes_max: 100, sentence_bytes_max: 150, sentence_words_max: 3 };
        let word = |length: u8| [vec![length], vec![b'x'; length.into()]].concat();
        let cases = [
            (word(101), WireError::LongWord { length: 101, max: 100 }),
            ([word(100), word(51)].concat(), WireError::LongSentence { max: 150 }),
            (word(1).repeat(4), WireError::ManyWords { max: 3 }),
            (vec![0xf8], WireError::Prefix(BadPrefix { byte: 0xf8 })),
        ];
        for (bytes, error) in cases {
            let mut decoder = Decoder::new(limits);
            assert_eq!(all(&mut decoder, &bytes), Err(error));
            assert_eq!(all(&mut decoder, b"\x02/a\0"), Err(error), "still broken");
            assert_eq!(decoder.held_bytes(), 0);
        }
    }

    #[test]
    fn a_long_sentence_leaves_no_large_buffer_behind() {
        let mut decoder = Decoder::new(Limits::CLIENT);
        let long = Sentence::re().with("a", "x".repeat(60_000)).to_bytes();
        assert_eq!(all(&mut decoder, &long).unwrap().len(), 1);
        assert!(decoder.held_bytes() <= 2 * KEPT_BYTES);
    }
}
