//! What is asked of a router, and what it answers.

use std::borrow::Cow;
use std::fmt;

use crate::value;
use crate::wire::Sentence;

/// One command, without its tag: the session gives it one.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    sentence: Sentence,
    repeatable: bool,
}

impl Command {
    /// A command such as `/system/resource/print`.
    ///
    /// One that ends in `print` or `getall` only reads, so it may be [repeated](Self::repeatable).
    pub fn new(path: &str) -> Self {
        let verb = path.rsplit('/').next().unwrap_or_default();
        Self { sentence: Sentence::new(path), repeatable: matches!(verb, "print" | "getall") }
    }

    /// Says that the router may be asked this twice with no harm, when a connection breaks in between.
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Whether this may be asked again when nobody knows if it was heard.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Adds `=name=value`.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.sentence = self.sentence.with(name, value);
        self
    }

    /// Adds `=name=`, such as `once` or `count-only`.
    pub fn flag(self, name: &str) -> Self {
        self.with(name, "")
    }

    /// Asks for these properties only. Without it a router also works out the slow ones.
    pub fn proplist(self, properties: &[&str]) -> Self {
        self.with(".proplist", properties.join(","))
    }

    /// Adds a query word, such as `type=ether` or `#|`, without its question mark.
    pub fn query(mut self, query: impl AsRef<[u8]>) -> Self {
        self.sentence = self.sentence.query(query);
        self
    }

    /// Only rows whose property `name` is `value`.
    pub fn equal(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.query([name.as_bytes(), b"=", value.as_ref()].concat())
    }

    /// The command word.
    pub fn path(&self) -> Cow<'_, str> {
        value::text(self.sentence.first())
    }

    /// As it is sent, but for the tag.
    pub fn sentence(&self) -> &Sentence {
        &self.sentence
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentence.fmt(f)
    }
}

/// One `!re` of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Sentence);

impl Row {
    /// The row in a `!re` sentence.
    pub fn new(sentence: Sentence) -> Self {
        Self(sentence)
    }

    /// The raw value of a property; a property without a value is absent.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.attribute(name)
    }

    /// The value of a property as text.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(value::text)
    }

    /// Every property and its raw value, in the order sent.
    pub fn properties(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.attributes()
    }

    /// The item's `.id`, such as `*1B`.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.text(".id")
    }

    /// Whether a `listen` says with this row that the item is gone (`.dead=yes` or `.dead=true`).
    pub fn is_dead(&self) -> bool {
        matches!(self.get(".dead"), Some(b"yes" | b"true"))
    }

    /// As it was received.
    pub fn sentence(&self) -> &Sentence {
        &self.0
    }
}

/// All a router said to one command that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Each `!re`, in order.
    pub rows: Vec<Row>,
    /// The `!done` that ended it.
    pub done: Sentence,
}

impl Reply {
    /// `=ret=` of the end: a new item's id, a count, or the value of a command that returns one.
    pub fn ret(&self) -> Option<&[u8]> {
        self.done.attribute("ret")
    }
}

/// Why a router refused a command or stopped it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trap {
    /// What kind of refusal it is; many real ones leave it out.
    pub category: Option<TrapCategory>,
    /// The router's own words, at most 256 printable characters. Match on parts, in any letter case.
    pub message: String,
}

/// The router's own division of its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrapCategory {
    /// 0: there is no such item or command.
    Missing,
    /// 1: a value was not understood.
    Argument,
    /// 2: somebody cancelled it.
    Interrupted,
    /// 3: a script failed.
    Script,
    /// 4: it failed for another reason.
    Failure,
    /// 5: the API itself failed.
    Api,
    /// 6: the terminal failed.
    Terminal,
    /// 7: not an error: a value from `:return`.
    Returned,
    /// A number that means nothing yet.
    Other(u32),
}

impl From<u32> for TrapCategory {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::Missing,
            1 => Self::Argument,
            2 => Self::Interrupted,
            3 => Self::Script,
            4 => Self::Failure,
            5 => Self::Api,
            6 => Self::Terminal,
            7 => Self::Returned,
            8.. => Self::Other(number),
        }
    }
}

/// The longest message that is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 256;

impl Trap {
    /// What a `!trap` sentence says.
    pub fn read(sentence: &Sentence) -> Self {
        let category = sentence
            .attribute("category")
            .and_then(|number| value::text(number).parse::<u32>().ok().map(TrapCategory::from));
        let message = sentence.attribute("message").unwrap_or_default();
        Self { category, message: value::printable(message, MESSAGE_CHARS_MAX) }
    }

    fn says(&self, part: &str) -> bool {
        self.message.to_ascii_lowercase().contains(part)
    }

    /// The command or its menu does not exist on this router: a version or a package is missing.
    pub fn is_no_such_command(&self) -> bool {
        self.says("no such command") || self.says("no such directory")
    }

    /// The item named does not exist, perhaps no longer.
    pub fn is_no_such_item(&self) -> bool {
        self.says("no such item")
    }

    /// The user's group lacks a policy.
    pub fn is_not_permitted(&self) -> bool {
        self.says("not enough permissions")
    }

    /// It was cancelled.
    pub fn is_interrupted(&self) -> bool {
        self.category == Some(TrapCategory::Interrupted) || self.says("interrupted")
    }
}

/// The text of a `!fatal`: a bare word, or a message as some simulators send.
pub(crate) fn fatal_text(sentence: &Sentence) -> String {
    let text = sentence.attribute("message").or_else(|| sentence.words().nth(1)).unwrap_or_default();
    value::printable(text, MESSAGE_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_is_repeated_unasked() {
        assert!(Command::new("/ppp/active/print").is_repeatable());
        assert!(!Command::new("/ppp/active/remove").is_repeatable());
        assert!(!Command::new("/system/reboot").is_repeatable());
        assert!(Command::new("/ping").repeatable().is_repeatable());
    }

    #[test]
    fn a_trap_is_known_by_parts_of_its_text() {
        let trap = Trap::read(&Sentence::trap(Some(0), "No such command prefix"));
        assert_eq!(trap.category, Some(TrapCategory::Missing));
        assert!(trap.is_no_such_command() && !trap.is_no_such_item());
        let trap = Trap::read(&Sentence::trap(None, "not enough permissions (9)"));
        assert!(trap.category.is_none() && trap.is_not_permitted());
        assert!(Trap::read(&Sentence::trap(Some(2), "interrupted")).is_interrupted());
        assert_eq!(Trap::read(&Sentence::new("!trap")).message, "");
    }

    #[test]
    fn a_removed_item_is_dead_in_both_spellings() {
        assert!(Row::new(Sentence::re().with(".id", "*1").with(".dead", "yes")).is_dead());
        assert!(Row::new(Sentence::re().with(".id", "*1").with(".dead", "true")).is_dead());
        assert!(!Row::new(Sentence::re().with(".id", "*1")).is_dead());
    }

    #[test]
    fn the_text_of_a_fatal_is_found_in_both_forms() {
        assert_eq!(fatal_text(&Sentence::fatal("not logged in")), "not logged in");
        assert_eq!(fatal_text(&Sentence::new("!fatal").with("message", "x")), "x");
    }
}
