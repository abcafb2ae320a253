//! One change of a router, in its own words.

use std::fmt;

use super::{Attributes, Menu, Row, differing, script::quoted, token};

/// One change, as one command of the API.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// A row is added.
    Add {
        /// Where.
        menu: Menu,
        /// With these attributes.
        attributes: Attributes,
    },
    /// Properties of a row are changed.
    Set {
        /// Where.
        menu: Menu,
        /// Of which row.
        id: String,
        /// What people know that row by: its name, or else its comment.
        called: String,
        /// What they become.
        attributes: Attributes,
        /// What they were, under the same names.
        before: Attributes,
    },
    /// A row is removed.
    Remove {
        /// Where.
        menu: Menu,
        /// Which.
        id: String,
        /// What people know it by: its name, or else its comment.
        called: String,
        /// What it was.
        before: Attributes,
    },
}

impl Change {
    /// What of `row` is not as wished, if anything.
    pub(crate) fn setting(menu: Menu, row: &Row, wished: &[(String, String)]) -> Option<Self> {
        let attributes = differing(row, wished);
        if attributes.is_empty() {
            return None;
        }
        let before = |(name, _): &(String, String)| (name.clone(), row.get(name).to_owned());
        let before = attributes.iter().map(before).collect();
        Some(Change::Set { menu, id: row.id.clone(), called: row.called().to_owned(), attributes, before })
    }

    pub(crate) fn removal(menu: Menu, row: &Row) -> Self {
        let before = row.values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Change::Remove { menu, id: row.id.clone(), called: row.called().to_owned(), before }
    }

    /// Where.
    pub fn menu(&self) -> Menu {
        match self {
            Change::Add { menu, .. } | Change::Set { menu, .. } | Change::Remove { menu, .. } => *menu,
        }
    }

    /// The command word, such as `/tool/netwatch/add`.
    pub fn command(&self) -> String {
        let verb = match self {
            Change::Add { .. } => "add",
            Change::Set { .. } => "set",
            Change::Remove { .. } => "remove",
        };
        format!("{}/{verb}", self.menu().path())
    }

    /// The attributes of the command, `.id` among them.
    pub fn attributes(&self) -> Vec<(&str, &str)> {
        match self {
            Change::Add { attributes, .. } => borrowed(attributes).collect(),
            Change::Set { id, attributes, .. } => {
                std::iter::once((".id", id.as_str())).chain(borrowed(attributes)).collect()
            }
            Change::Remove { id, .. } => vec![(".id", id)],
        }
    }

    /// What stood there before, under names; nothing for a row that is new.
    pub fn before(&self) -> &[(String, String)] {
        match self {
            Change::Add { .. } => &[],
            Change::Set { before, .. } | Change::Remove { before, .. } => before,
        }
    }
}

impl fmt::Display for Change {
    /// As it would be typed at the router; of tokens only the public part is shown, of passwords nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.command()[1..].replace('/', " "))?;
        let (written, called) = match self {
            Change::Add { attributes, .. } => (attributes.as_slice(), ""),
            Change::Set { id, called, attributes, .. } => {
                write!(f, " {id}")?;
                (attributes.as_slice(), called.as_str())
            }
            Change::Remove { id, called, .. } => {
                write!(f, " {id}")?;
                (&[][..], called.as_str())
            }
        };
        for (name, value) in written {
            let value = if name == "password" { "…".into() } else { token::hidden(value) };
            let is_plain =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_' | ',' | '*');
            if !value.is_empty() && value.chars().all(is_plain) {
                write!(f, " {name}={value}")?;
            } else {
                write!(f, " {name}=\"{}\"", quoted(&value))?;
            }
        }
        if called.is_empty() { Ok(()) } else { write!(f, " # {called}") }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn borrowed(attributes: &Attributes) -> impl Iterator<Item = (&str, &str)> {
    attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}
