//! What holds of the decoder whatever bytes it meets. Used by a test and by the fuzz target.

use routeros_api::wire::{Decoder, Limits, Sentence, WireError};

/// Small enough for random bytes to reach every limit.
const LIMITS: Limits = Limits { word_bytes_max: 300, sentence_bytes_max: 700, sentence_words_max: 12 };

/// The sentences in `bytes` given in pieces of `chunk`, and the error that ended them, if one did.
fn decoded(bytes: &[u8], chunk: usize) -> (Vec<Sentence>, Option<WireError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut sentences = Vec::new();
    let mut given = 0;
    for mut piece in bytes.chunks(chunk) {
        given += piece.len();
        loop {
            let before = piece.len();
            match decoder.decode(&mut piece) {
                Ok(Some(sentence)) => {
                    assert!(piece.len() < before, "a sentence takes bytes");
                    sentences.push(sentence);
                }
                Ok(None) => break assert!(piece.is_empty(), "no sentence takes all bytes"),
                Err(error) => return (sentences, Some(error)),
            }
            // Held is what came, doubled by growth, and never more than the limits allow.
            let allowed = LIMITS.sentence_bytes_max * 2 + LIMITS.sentence_words_max * 8;
            assert!(decoder.held_bytes() <= allowed.max(8192).min(given * 6 + 64));
        }
    }
    (sentences, None)
}

/// Checks every law for these bytes.
///
/// How they are cut does not matter; what is decoded keeps to the limits, and is read back as the
/// same when it is written again.
pub(crate) fn holds_for(bytes: &[u8]) {
    let (sentences, error) = decoded(bytes, bytes.len().max(1));
    for chunk in [1, 3, 64] {
        assert_eq!(decoded(bytes, chunk), (sentences.clone(), error), "in pieces of {chunk}");
    }
    let mut written = Vec::new();
    for sentence in &sentences {
        assert!(!sentence.is_empty() && sentence.len() <= LIMITS.sentence_words_max);
        assert!(sentence.words().all(|word| !word.is_empty() && word.len() <= LIMITS.word_bytes_max));
        assert!(sentence.words().map(<[u8]>::len).sum::<usize>() <= LIMITS.sentence_bytes_max);
        assert_eq!(sentence.words().count(), sentence.len());
        let _ = (sentence.tag(), sentence.attribute("name"), format!("{sentence:?}"));
        assert_eq!(sentence.rest().count(), sentence.len() - 1);
        sentence.encode(&mut written);
    }
    assert!(written.len() <= bytes.len(), "the shortest form is no longer than what came");
    assert_eq!(decoded(&written, 17), (sentences, None));
}
