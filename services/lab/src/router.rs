//! A router as its API clients see it.
//!
//! [`door`] takes connections, or is dead; [`certificate`] puts them into TLS; [`session`] speaks with one client, in the [`manner`] that the router has; [`menu`] knows what
//! there is to read and change, and [`table`] keeps what is merely put there; [`query`] chooses rows;
//! [`ping`] measures.

mod certificate;
mod door;
mod fetch;
mod manner;
pub mod menu;
mod ping;
mod query;
mod session;
pub mod table;

pub(crate) use self::certificate::Certificate;
pub use self::door::{Door, keep};
pub use self::manner::Manner;
pub use self::session::serve;

use std::borrow::Cow;

use routeros_api::value;
use routeros_api::wire::Sentence;

/// One row of a menu: properties in order, the id among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row(Vec<(Cow<'static, str>, String)>);

impl Row {
    /// A row with an id.
    pub fn of(id: u32) -> Self {
        Self(vec![(Cow::Borrowed(".id"), format!("*{id:X}"))])
    }

    /// The number in its id.
    pub fn id(&self) -> Option<u32> {
        u32::from_str_radix(self.get(".id")?.strip_prefix('*')?, 16).ok()
    }

    /// Adds a property.
    pub fn put(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds a property unless it has no value: routers leave those out.
    pub fn put_if(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.put(name, value);
        }
    }

    /// A property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    /// As one `!re`: every property, or those of the list in its order.
    pub fn sentence(&self, proplist: Option<&[String]>) -> Sentence {
        let said = Sentence::re();
        match proplist {
            None => self.0.iter().fold(said, |said, (name, value)| said.with(name.as_bytes(), value)),
            Some(names) => names.iter().fold(said, |said, name| match self.get(name) {
                Some(value) => said.with(name, value),
                None => said,
            }),
        }
    }
}

/// The attributes of a command as text.
#[derive(Debug, Clone, Default)]
pub struct Attributes(Vec<(String, String)>);

impl Attributes {
    /// Those of a sentence, without the ones that are addressed to the API itself.
    pub fn of(said: &Sentence) -> Self {
        let text = |bytes| value::text(bytes).into_owned();
        let own = |name: &[u8]| matches!(name, b".id" | b"numbers" | b".proplist");
        Self(
            said.attributes()
                .filter(|(name, _)| !own(name))
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
        )
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// These and, unless it is among them, one more.
    pub fn or(&self, name: &str, value: &str) -> Self {
        let mut all = self.clone();
        if all.get(name).is_none_or(str::is_empty) {
            all.0.retain(|(known, _)| known != name);
            all.0.push((name.to_owned(), value.to_owned()));
        }
        all
    }

    /// Only this one.
    pub fn single(name: &str, value: &str) -> Self {
        Self(vec![(name.to_owned(), value.to_owned())])
    }
}

impl From<&[(&str, &str)]> for Attributes {
    fn from(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

impl<const N: usize> From<&[(&str, &str); N]> for Attributes {
    fn from(pairs: &[(&str, &str); N]) -> Self {
        Self::from(pairs.as_slice())
    }
}

/// Why a router does not do what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `=category=`, which many real refusals leave out.
    pub category: Option<u32>,
    /// `=message=`.
    pub message: String,
}

impl Refusal {
    /// There is no such menu or command.
    pub fn no_command() -> Self {
        Self { category: Some(0), message: "no such command prefix".to_owned() }
    }

    /// There is no such item.
    pub fn no_item() -> Self {
        Self { category: None, message: "no such item".to_owned() }
    }

    /// The user's group lacks a policy.
    pub fn not_permitted() -> Self {
        Self { category: None, message: "not enough permissions (9)".to_owned() }
    }

    /// The board was shipped so that it may not, until somebody presses its button.
    pub fn not_in_device_mode() -> Self {
        Self::failure("failure: not allowed by device-mode")
    }

    /// A value is wrong.
    pub fn argument(message: impl Into<String>) -> Self {
        Self { category: Some(1), message: message.into() }
    }

    /// The menu knows no such attribute.
    pub fn unknown_parameter(name: &str) -> Self {
        Self::argument(format!("unknown parameter {}", value::printable(name.as_bytes(), 64)))
    }

    /// Anything else.
    pub fn failure(message: impl Into<String>) -> Self {
        Self { category: None, message: message.into() }
    }

    /// As it is said.
    pub fn sentence(&self) -> Sentence {
        Sentence::trap(self.category, &self.message)
    }
}

/// A truth value of an attribute.
pub(crate) fn truth(name: &str, text: &str) -> Result<bool, Refusal> {
    value::truth(text).map_err(|_| Refusal::argument(format!("input does not match any value of {name}")))
}
