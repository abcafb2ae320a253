//! One change of a router, in its own words.

use super::{Attributes, Menu, Row, script::quoted};

/// One change, as one command of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub(super) fn removal(menu: Menu, row: &Row) -> Self {
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

    /// As it would be typed at the router. Every occurrence of a text in `hidden` is shown as `(hidden)`.
    pub fn shown(&self, hidden: &[&str]) -> String {
        let mut shown = self.command().replace('/', " ");
        shown.replace_range(..1, "/");
        if let Change::Set { id, .. } | Change::Remove { id, .. } = self {
            shown += &format!(" {id}");
        }
        let written = match self {
            Change::Add { attributes, .. } | Change::Set { attributes, .. } => attributes.as_slice(),
            Change::Remove { .. } => &[],
        };
        for (name, value) in written {
            let hide = |value: String, text: &&str| value.replace(*text, "(hidden)");
            let value = hidden.iter().filter(|text| !text.is_empty()).fold(value.clone(), hide);
            let is_plain =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_' | ',' | '*');
            if !value.is_empty() && value.chars().all(is_plain) {
                shown += &format!(" {name}={value}");
            } else {
                shown += &format!(" {name}=\"{}\"", quoted(&value));
            }
        }
        if let Change::Set { called, .. } | Change::Remove { called, .. } = self
            && !called.is_empty()
        {
            shown += &format!(" # {called}");
        }
        shown
    }
}

fn borrowed(attributes: &Attributes) -> impl Iterator<Item = (&str, &str)> {
    attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}
