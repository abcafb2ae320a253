//! Words said together: one command or one reply.

use std::fmt;

use super::length::put_length;

/// One command or one reply: one or more words, none of them empty.
///
/// All words lie in one buffer, so a sentence costs two allocations however many words it has.
/// Words are bytes: what they mean as text depends on who wrote them, see [`crate::value::text`].
///
/// `Debug` shows which attributes there are but not their values, because those may be secrets.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Sentence {
    data: Vec<u8>,
    /// Where each word ends in `data`.
    ends: Vec<u32>,
}

/// What one word is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// `/ip/address/print`: the whole word.
    Command(&'a [u8]),
    /// `=name=value`; `=name` and `=name=` both have an empty value.
    Attribute {
        /// What stands before the second `=`.
        name: &'a [u8],
        /// What stands after it, further `=` included.
        value: &'a [u8],
    },
    /// `.tag=5`: addressed to the API itself.
    Api {
        /// With its dot: `.tag`.
        name: &'a [u8],
        /// What stands after the first `=`.
        value: &'a [u8],
    },
    /// `?type=ether`: what follows the question mark. Their order matters.
    Query(&'a [u8]),
    /// `!re`: the whole word.
    Reply(&'a [u8]),
    /// Anything else, as the text of `!fatal`.
    Bare(&'a [u8]),
}

impl<'a> Word<'a> {
    /// What `word` is.
    pub fn of(word: &'a [u8]) -> Self {
        match word {
            [b'/', ..] => Word::Command(word),
            [b'!', ..] => Word::Reply(word),
            [b'?', query @ ..] => Word::Query(query),
            [b'=', rest @ ..] => {
                let (name, value) = split_at_equals(rest);
                Word::Attribute { name, value }
            }
            [b'.', ..] => {
                let (name, value) = split_at_equals(word);
                Word::Api { name, value }
            }
            [] | [_, ..] => Word::Bare(word),
        }
    }
}

fn split_at_equals(word: &[u8]) -> (&[u8], &[u8]) {
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (&word[..at], &word[at + 1..]),
        None => (word, &[]),
    }
}

impl Sentence {
    /// A sentence that begins with `first`: a command word or a reply word.
    pub fn new(first: impl AsRef<[u8]>) -> Self {
        Self::default().word(first)
    }

    /// `!re`: one row of an answer.
    pub fn re() -> Self {
        Self::new("!re")
    }

    /// `!done`: the end of every answer.
    pub fn done() -> Self {
        Self::new("!done")
    }

    /// `!empty`: there are no rows. Routers say so since 7.18, before `!done`.
    pub fn empty() -> Self {
        Self::new("!empty")
    }

    /// `!trap`: an error, to be followed by `!done`.
    pub fn trap(category: Option<u32>, message: impl AsRef<[u8]>) -> Self {
        let trap = Self::new("!trap");
        let trap = match category {
            Some(category) => trap.with("category", category.to_string()),
            None => trap,
        };
        trap.with("message", message)
    }

    /// `!fatal`: the router is about to close the connection. Its text is one bare word.
    pub fn fatal(text: impl AsRef<[u8]>) -> Self {
        Self::new("!fatal").word(text)
    }

    /// Adds a whole word. An empty one adds nothing: it would end the sentence.
    pub fn word(mut self, word: impl AsRef<[u8]>) -> Self {
        self.push(&[word.as_ref()]);
        self
    }

    /// Adds `=name=value`. The value may hold any bytes; the name must not hold `=`.
    pub fn with(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.push(&[b"=", name.as_ref(), b"=", value.as_ref()]);
        self
    }

    /// Adds `=name=`: an attribute that is merely there, such as `once`.
    pub fn flag(self, name: impl AsRef<[u8]>) -> Self {
        self.with(name, "")
    }

    /// Adds `?query`.
    pub fn query(mut self, query: impl AsRef<[u8]>) -> Self {
        self.push(&[b"?", query.as_ref()]);
        self
    }

    /// Adds `.tag=` when there is one. A reply carries the tag of its command, byte for byte.
    pub fn tagged(mut self, tag: Option<&[u8]>) -> Self {
        if let Some(tag) = tag {
            self.push(&[b".tag=", tag]);
        }
        self
    }

    /// Adds one word given in parts.
    ///
    /// # Panics
    ///
    /// When the words of one sentence would be 4 GiB together.
    fn push(&mut self, parts: &[&[u8]]) {
        if parts.iter().all(|part| part.is_empty()) {
            return;
        }
        for part in parts {
            self.data.extend_from_slice(part);
        }
        self.ends.push(u32::try_from(self.data.len()).expect("a sentence is shorter than 4 GiB"));
    }

    /// A sentence of exactly this size, from what a decoder has gathered.
    pub(super) fn gathered(data: &[u8], ends: &[u32]) -> Self {
        Self { data: data.to_vec(), ends: ends.to_vec() }
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing has been said.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of memory this sentence keeps, its bookkeeping included.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.data.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// All words in order.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.data[start as usize..*end as usize])
    }

    /// The command or reply word; empty in an empty sentence.
    pub fn first(&self) -> &[u8] {
        self.words().next().unwrap_or_default()
    }

    /// The words after the first, each as what it is.
    pub fn rest(&self) -> impl Iterator<Item = Word<'_>> {
        self.words().skip(1).map(Word::of)
    }

    /// Every `=name=value` in order.
    pub fn attributes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rest().filter_map(|word| match word {
            Word::Attribute { name, value } => Some((name, value)),
            Word::Command(_) | Word::Api { .. } | Word::Query(_) | Word::Reply(_) | Word::Bare(_) => None,
        })
    }

    /// The value of the first attribute of that name. An attribute without value is simply absent.
    pub fn attribute(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        self.attributes().find_map(|(found, value)| (found == name).then_some(value))
    }

    /// Every query word in order, without its question mark.
    pub fn queries(&self) -> impl Iterator<Item = &[u8]> {
        self.rest().filter_map(|word| match word {
            Word::Query(query) => Some(query),
            Word::Command(_) | Word::Api { .. } | Word::Attribute { .. } | Word::Reply(_) | Word::Bare(_) => {
                None
            }
        })
    }

    /// The tag, wherever it stands. An empty tag is none.
    pub fn tag(&self) -> Option<&[u8]> {
        self.rest().find_map(|word| match word {
            Word::Api { name: b".tag", value } if !value.is_empty() => Some(value),
            Word::Command(_)
            | Word::Api { .. }
            | Word::Attribute { .. }
            | Word::Query(_)
            | Word::Reply(_)
            | Word::Bare(_) => None,
        })
    }

    /// Appends the sentence as it crosses the wire, with its end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.data.len() + 2 * self.ends.len() + 1);
        for word in self.words() {
            put_length(u32::try_from(word.len()).expect("a word is shorter than its sentence"), out);
            out.extend_from_slice(word);
        }
        out.push(0);
    }

    /// The sentence as it crosses the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// Attributes whose values say nothing of a person and hold no secret.
const SHOWN: [&[u8]; 5] = [b".id", b".proplist", b"category", b"message", b"tag"];

impl fmt::Debug for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.first().escape_ascii())?;
        for word in self.rest() {
            match word {
                Word::Attribute { name, value } if value.is_empty() || SHOWN.contains(&name) => {
                    write!(f, " ={}={}", name.escape_ascii(), value.escape_ascii())?;
                }
                Word::Attribute { name, .. } => write!(f, " ={}=…", name.escape_ascii())?,
                Word::Api { name, value } => {
                    write!(f, " {}={}", name.escape_ascii(), value.escape_ascii())?;
                }
                Word::Query(query) => write!(f, " ?{}…", split_at_equals(query).0.escape_ascii())?,
                Word::Command(word) | Word::Reply(word) | Word::Bare(word) => {
                    write!(f, " {}", word.escape_ascii())?;
                }
            }
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn sentences_are_written_as_the_router_writes_them() {
        let tag = |tag: &'static str| Some(tag.as_bytes());
        let vectors = [
            (
                Sentence::new("/login").with("name", "admin").with("password", "pw"),
                "06 2f6c6f67696e 0b 3d6e616d653d61646d696e 0c 3d70617373776f72643d7077 00",
            ),
            (Sentence::done(), "05 21646f6e65 00"),
            (Sentence::done().tagged(tag("5")), "05 21646f6e65 06 2e7461673d35 00"),
            (
                Sentence::re().with(".id", "*1").with("name", "ether1"),
                "03 217265 07 3d2e69643d2a31 0c 3d6e616d653d657468657231 00",
            ),
            (Sentence::done().with("ret", "*3"), "05 21646f6e65 07 3d7265743d2a33 00"),
            (Sentence::empty().tagged(tag("5")), "06 21656d707479 06 2e7461673d35 00"),
            (
                Sentence::new("/cancel").with("tag", "2").tagged(tag("7")),
                "07 2f63616e63656c 06 3d7461673d32 06 2e7461673d37 00",
            ),
            (
                Sentence::trap(Some(2), "interrupted").tagged(tag("2")),
                "05 2174726170 0b 3d63617465676f72793d32
                 14 3d6d6573736167653d696e746572727570746564 06 2e7461673d32 00",
            ),
        ];
        for (sentence, bytes) in vectors {
            assert_eq!(sentence.to_bytes(), hex(bytes), "{sentence:?}");
        }
        let long = Sentence::new("=comment=".to_owned() + &"x".repeat(200)).to_bytes();
        assert_eq!(&long[..6], hex("80 d1 3d 63 6f 6d"));
    }

    #[test]
    fn a_value_may_hold_anything_and_an_attribute_no_value_at_all() {
        let said = Sentence::new("/x").with("comment", "a=b\r\n\0=").word("=detail").flag("once");
        assert_eq!(said.attribute("comment"), Some(b"a=b\r\n\0=".as_slice()));
        assert_eq!(said.attribute("detail"), Some(b"".as_slice()));
        assert_eq!(said.attribute("once"), Some(b"".as_slice()));
        assert_eq!(said.attribute("other"), None);
    }

    #[test]
    fn a_tag_is_found_wherever_it_stands_and_is_not_an_attribute() {
        let early = Sentence::new("!re").word(".tag=a=1").with("name", "x");
        let late = Sentence::new("!re").with("name", "x").word(".tag=a=1");
        assert_eq!(early.tag(), Some(b"a=1".as_slice()));
        assert_eq!(late.tag(), Some(b"a=1".as_slice()));
        assert_eq!(Sentence::new("!re").with(".tag", "7").tag(), None);
        assert_eq!(Sentence::new("!re").word(".tag=").tag(), None);
    }

    #[test]
    fn queries_keep_their_order() {
        let said = Sentence::new("/p").query("type=ether").query("-comment").query("#|");
        let queries: Vec<&[u8]> = said.queries().collect();
        assert_eq!(queries, [b"type=ether".as_slice(), b"-comment", b"#|"]);
    }

    #[test]
    fn an_empty_word_cannot_end_a_sentence_early() {
        assert_eq!(Sentence::new("/a").word("").with("b", "").to_bytes(), b"\x02/a\x03=b=\0");
    }

    #[test]
    fn debug_keeps_secrets() {
        let said = Sentence::new("/login").with("name", "nms").with("password", "hunter2");
        let shown = format!("{:?}", said.query("secret=hunter2"));
        assert_eq!(shown, "[/login =name=… =password=… ?secret…]");
    }
}
