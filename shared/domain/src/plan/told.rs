//! Changes as events tell of them: in router words, short enough for an event, and without what is nobody's
//! business.
//!
//! Of a token only the public part is told, of a script that is somebody else's only our lines, and of a
//! customer neither user name nor address. So what is told is for people; it is never applied.

use events::{ChangeKind, Property, RouterChange};

use super::{Attributes, Change, Menu, Plan, block, script::quoted, token};

/// The most characters that are told of a value.
const VALUE_CHARS_MAX: usize = 400;
/// What stands for what is not told.
const HIDDEN: &str = "…";

impl Change {
    /// As events tell of it.
    pub fn told(&self) -> RouterChange {
        let menu = self.menu();
        let (change, row, called, before, after) = match self {
            Change::Add { attributes, .. } => {
                (ChangeKind::Add, None, called(attributes), None, Some(attributes))
            }
            Change::Set { id, called, attributes, before, .. } => {
                (ChangeKind::Set, Some(id.clone()), called.as_str(), Some(before), Some(attributes))
            }
            Change::Remove { id, called, before, .. } => {
                (ChangeKind::Remove, Some(id.clone()), called.as_str(), Some(before), None)
            }
        };
        let is_person = matches!(menu, Menu::Secrets | Menu::Sessions);
        let told = |attributes: Option<&Attributes>| {
            attributes.into_iter().flatten().map(|(name, value)| property(menu, name, value)).collect()
        };
        RouterChange {
            menu: menu.path().to_owned(),
            change,
            row,
            called: if is_person { HIDDEN.to_owned() } else { short(&token::hidden(called)) },
            before: told(before),
            after: told(after),
        }
    }
}

impl Plan {
    /// The first changes as events tell of them: as many as take `bytes_max` in JSON, and at least one.
    pub fn announced(&self, bytes_max: usize) -> Vec<RouterChange> {
        let mut left = bytes_max;
        let mut announced = Vec::new();
        for change in self.changes.iter().map(Change::told) {
            let bytes = bytes_of(&change);
            if bytes > left && !announced.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            announced.push(change);
        }
        announced
    }
}

/// A change as it would be typed at the router; what it was stands after it.
pub fn words(change: &RouterChange) -> String {
    let mut words = format!("{} {}", change.menu.replace('/', " ").trim_start(), change.change.name());
    words.insert(0, '/');
    if let Some(row) = &change.row {
        words.push(' ');
        words.push_str(row);
    }
    for Property { name, value } in &change.after {
        let is_plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_' | ',' | '*');
        if !value.is_empty() && value.chars().all(is_plain) {
            words.push_str(&format!(" {name}={value}"));
        } else {
            words.push_str(&format!(" {name}=\"{}\"", quoted(value)));
        }
    }
    if change.row.is_some() && !change.called.is_empty() {
        words.push_str(&format!(" # {}", change.called));
    }
    words
}

fn called(attributes: &Attributes) -> &str {
    let named = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted);
    named("name").or_else(|| named("comment")).map_or("", |(_, value)| value)
}

fn property(menu: Menu, name: &str, value: &str) -> Property {
    let is_person = matches!(
        (menu, name),
        (Menu::Secrets | Menu::Sessions, "name")
            | (Menu::Secrets, "remote-address" | "password")
            | (Menu::AddressLists, "address")
            | (Menu::Queues, "target")
    );
    let is_shared = matches!(name, "on-up" | "on-down" | "lease-script");
    let value = if is_person {
        HIDDEN.to_owned()
    } else if is_shared {
        short(&token::hidden(&block::shown(value)))
    } else {
        short(&token::hidden(value))
    };
    Property { name: name.to_owned(), value }
}

/// Not more than so many characters of it.
fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(VALUE_CHARS_MAX).collect();
    format!("{kept}… ({count} characters)")
}

/// At most what it takes in JSON, where a character may become six.
fn bytes_of(change: &RouterChange) -> usize {
    let escaped =
        |text: &str| -> usize {
            text.chars()
                .map(|c| {
                    if c.is_ascii_control() { 6 } else { c.len_utf8() + usize::from(matches!(c, '"' | '\\')) }
                })
                .sum()
        };
    let properties = change.before.iter().chain(&change.after);
    let properties: usize = properties.map(|p| escaped(&p.name) + escaped(&p.value) + 24).sum();
    let row = change.row.as_deref().map_or(0, escaped);
    escaped(&change.menu) + row + escaped(&change.called) + properties + 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::attributes;

    #[test]
    fn of_scripts_that_are_shared_only_our_lines_are_told() {
        let ours = "# mastwatch begin: x\n:put \"mw_abcdefghijkl_0123\"\n# mastwatch end";
        let script = format!(":global password \"hunter2\"\n{ours}\n:put 1");
        let change = Change::Set {
            menu: Menu::Profiles,
            id: "*1".into(),
            called: "gold".into(),
            attributes: attributes([("on-up", &script)]),
            before: attributes([("on-up", ":global password \"hunter2\"")]),
        };
        let told = change.told();
        let json = format!("{told:?}");
        assert!(!json.contains("hunter2") && !json.contains("0123"), "{json}");
        assert_eq!(told.before[0].value, "(1 line of others)");
        assert!(told.after[0].value.starts_with("(1 line of others)\n# mastwatch begin"), "{json}");
        assert!(words(&told).starts_with("/ppp profile set *1 on-up=\""), "{}", words(&told));
    }

    #[test]
    fn of_customers_neither_name_nor_address_is_told() {
        let row = [("name", "anna.smith"), ("disabled", "no")];
        let change = Change::Remove {
            menu: Menu::Sessions,
            id: "*8".into(),
            called: "anna.smith".into(),
            before: attributes(row),
        };
        assert!(!format!("{:?}", change.told()).contains("anna"));
        let added = Change::Add {
            menu: Menu::AddressLists,
            attributes: attributes([
                ("list", "suspended"),
                ("address", "10.9.8.7"),
                ("comment", "mastwatch:c-1"),
            ]),
        };
        let told = added.told();
        assert!(!format!("{told:?}").contains("10.9.8.7"));
        assert_eq!(told.called, "mastwatch:c-1");
    }
}
