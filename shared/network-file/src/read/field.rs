//! The keys of one mapping and the simple values under them.

use super::Reader;
use crate::{
    Secret,
    duration::parse_ms,
    problem::{Position, Problem, did_you_mean},
    secret,
    yaml::{Entry, Value, Yaml},
};
use std::{fmt::Display, net::IpAddr, str::FromStr};

/// The most characters of an id.
pub(crate) const ID_MAX: usize = 64;
/// The most characters of a name.
pub(crate) const NAME_MAX: usize = 200;
/// The most characters of an address, reason or URL.
pub(crate) const TEXT_MAX: usize = 1_000;

/// The entries of a mapping whose keys have been looked at.
pub(crate) struct Fields<'y, 'i> {
    pub(crate) what: &'static str,
    pub(crate) at: Position,
    entries: &'y [Entry<'i>],
}

impl<'y, 'i> Fields<'y, 'i> {
    /// The entry under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'y Entry<'i>> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether there is anything under `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

impl Reader<'_> {
    /// The entries of `yaml`, which is `what`; notes keys that are not `known` or stand twice.
    pub(super) fn fields<'y, 'i>(
        &mut self,
        yaml: &'y Yaml<'i>,
        what: &'static str,
        known: &[&str],
    ) -> Option<Fields<'y, 'i>> {
        let Value::Map(entries) = &yaml.value else {
            let first = known.first().copied().unwrap_or_default();
            self.note(
                yaml.at,
                format!("{what} is a mapping of keys and values, found {}", yaml.what()),
                Some(&format!("write it like `{first}: …`")),
            );
            return None;
        };
        for entry in entries {
            if !known.contains(&entry.key.as_ref()) {
                let key: String = entry.key.chars().take(ID_MAX).collect();
                let hint = did_you_mean(&key, known.iter().copied())
                    .unwrap_or_else(|| format!("known here: {}", known.join(", ")));
                self.note(entry.at, format!("unknown key `{key}` in {what}"), Some(&hint));
            }
        }
        for key in known {
            let mut same = entries.iter().filter(|entry| entry.key == *key);
            if let (Some(first), Some(second)) = (same.next(), same.next()) {
                let what = format!("`{key}` stands twice in {what}; the first is in line {}", first.at.line);
                self.note(second.at, what, Some("remove one of them"));
            }
        }
        Some(Fields { what, at: yaml.at, entries })
    }

    /// The text of `yaml`, which is the value of `key`.
    pub(super) fn text<'y>(&mut self, yaml: &'y Yaml<'_>, key: &str, chars_max: usize) -> Option<&'y str> {
        match &yaml.value {
            Value::Text { .. } if yaml.is_nothing() => {
                self.note(yaml.at, format!("`{key}` has no value"), Some("give it one, or remove the line"));
                None
            }
            Value::Text { text, .. } => {
                let bad = text.chars().any(|c| c.is_control() && c != '\n');
                if text.len() > chars_max && text.chars().count() > chars_max {
                    self.note(yaml.at, format!("`{key}` is longer than {chars_max} characters"), None);
                    None
                } else if bad || text.is_empty() {
                    let how = if bad { "has control characters" } else { "is empty" };
                    self.note(yaml.at, format!("`{key}` {how}"), None);
                    None
                } else {
                    Some(text)
                }
            }
            Value::List(_) | Value::Map(_) => {
                self.note(yaml.at, format!("`{key}` is one value, found {}", yaml.what()), None);
                None
            }
        }
    }

    /// The text under `key` and where it stands.
    pub(super) fn optional_text<'y>(
        &mut self,
        fields: &Fields<'y, '_>,
        key: &'static str,
        chars_max: usize,
    ) -> Option<(Position, &'y str)> {
        let entry = fields.get(key)?;
        Some((entry.value.at, self.text(&entry.value, key, chars_max)?))
    }

    /// The text under `key`, which must be there.
    pub(super) fn required_text<'y>(
        &mut self,
        fields: &Fields<'y, '_>,
        key: &'static str,
        chars_max: usize,
    ) -> Option<(Position, &'y str)> {
        if !fields.has(key) {
            let what = format!("{} has no `{key}`", fields.what);
            self.note(fields.at, what, Some(&format!("add `{key}: …`")));
            return None;
        }
        self.optional_text(fields, key, chars_max)
    }

    /// The id under `key`, which must be there.
    pub(super) fn required_id<'y>(
        &mut self,
        fields: &Fields<'y, '_>,
        key: &'static str,
    ) -> Option<(Position, &'y str)> {
        let (at, id) = self.required_text(fields, key, ID_MAX)?;
        self.is_id(at, key, id).then_some((at, id))
    }

    /// Whether `id` may be an id; notes it when not.
    pub(super) fn is_id(&mut self, at: Position, key: &str, id: &str) -> bool {
        let letter = |c: u8| c.is_ascii_alphanumeric();
        let fits = id.bytes().all(|c| letter(c) || matches!(c, b'.' | b'_' | b'-' | b':'))
            && id.bytes().next().is_some_and(letter)
            && id.len() <= ID_MAX;
        if !fits {
            self.note(
                at,
                format!("`{id}` cannot be an id under `{key}`"),
                Some("an id is up to 64 letters, digits and `.`, `_`, `-`, `:`, and begins with a letter or digit"),
            );
        }
        fits
    }

    /// The value under `key` that `FromStr` understands; `like` shows a right one.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        noun: &str,
        like: &str,
    ) -> Option<T> {
        let (at, text) = self.optional_text(fields, key, TEXT_MAX)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.note(
                at,
                format!("`{key}` is no {noun}: `{}`", short(text)),
                Some(&format!("write it like `{like}`")),
            );
        }
        parsed
    }

    /// The IP address under `key`.
    pub(super) fn address(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<IpAddr> {
        self.parsed(fields, key, "IP address", "10.0.3.1")
    }

    /// The one of `choices` that stands under `key`.
    pub(super) fn choice<T: Copy>(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let (at, text) = self.optional_text(fields, key, NAME_MAX)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let hint = did_you_mean(text, names.iter().copied())
            .unwrap_or_else(|| format!("it is one of {}", names.join(", ")));
        self.note(at, format!("`{}` is no {key}", short(text)), Some(&hint));
        None
    }

    /// `on` or `off` under `key`.
    pub(super) fn switch(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<bool> {
        let choices =
            [("on", true), ("off", false), ("true", true), ("false", false), ("yes", true), ("no", false)];
        let (at, text) = self.optional_text(fields, key, NAME_MAX)?;
        let choice = choices.iter().find(|(name, _)| *name == text).map(|(_, on)| *on);
        if choice.is_none() {
            self.note(at, format!("`{key}` is on or off, found `{}`", short(text)), None);
        }
        choice
    }

    /// The span of time under `key`, milliseconds, between `least_ms` and `most_ms`.
    pub(super) fn span_ms(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        least_ms: u64,
        most_ms: u64,
    ) -> Option<u64> {
        let (at, text) = self.optional_text(fields, key, NAME_MAX)?;
        match parse_ms(text) {
            Ok(ms) if (least_ms..=most_ms).contains(&ms) => Some(ms),
            Ok(_) => {
                let bounds = (crate::duration::write_ms(least_ms), crate::duration::write_ms(most_ms));
                let what =
                    format!("`{key}` is `{}`; it can be from {} to {}", short(text), bounds.0, bounds.1);
                self.note(at, what, None);
                None
            }
            Err(why) => {
                self.note(at, format!("`{key}`: {why}"), None);
                None
            }
        }
    }

    /// The whole number under `key`, between `least` and `most`.
    pub(super) fn number<T>(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        least: T,
        most: T,
    ) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let (at, text) = self.optional_text(fields, key, NAME_MAX)?;
        let number = text.parse::<T>().ok().filter(|number| *number >= least && *number <= most);
        if number.is_none() {
            let what = format!("`{key}` is a whole number from {least} to {most}, found `{}`", short(text));
            self.note(at, what, None);
        }
        number
    }

    /// The secret in `yaml`, which is the value of `key`. Never repeated in a message.
    pub(super) fn secret_in(&mut self, yaml: &Yaml<'_>, key: &str) -> Option<Secret> {
        if matches!(&yaml.value, Value::Map(_)) {
            self.note(
                yaml.at,
                format!("`{key}` is one value, found a mapping"),
                Some("put quotes around it: `\"${NAME}\"`"),
            );
            return None;
        }
        let written = self.text(yaml, key, 4_096)?;
        match secret::look_up(written, self.secrets) {
            Ok(secret) => Some(secret),
            Err(why) => {
                self.note(yaml.at, format!("`{key}`: {why}"), None);
                None
            }
        }
    }

    /// The secret under `key`.
    pub(super) fn secret(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<Secret> {
        let entry = fields.get(key)?;
        self.secret_in(&entry.value, key)
    }

    /// The secret under `key`, which must be there.
    pub(super) fn required_secret(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<Secret> {
        if !fields.has(key) {
            let what = format!("{} has no `{key}`", fields.what);
            self.note(fields.at, what, Some(&format!("add `{key}: …`")));
        }
        self.secret(fields, key)
    }

    /// The texts under `key`: one, or a list of them.
    pub(super) fn texts<'y, 'i>(
        &mut self,
        fields: &Fields<'y, 'i>,
        key: &'static str,
    ) -> Vec<(Position, &'y str)> {
        match fields.get(key) {
            None => Vec::new(),
            Some(entry) => match &entry.value.value {
                Value::List(items) => {
                    items.iter().filter_map(|item| Some((item.at, self.text(item, key, TEXT_MAX)?))).collect()
                }
                Value::Text { .. } | Value::Map(_) => self
                    .text(&entry.value, key, TEXT_MAX)
                    .map(|text| (entry.value.at, text))
                    .into_iter()
                    .collect(),
            },
        }
    }

    /// Notes `what` at the value of `key`, or at the whole when the key is absent.
    pub(super) fn note_at(&mut self, fields: &Fields<'_, '_>, key: &str, what: String, hint: &str) {
        let at = fields.get(key).map_or(fields.at, |entry| entry.value.at);
        self.finder.note(Problem::new(at, what).hint(hint));
    }
}

/// As much of `text` as fits into a message.
pub(crate) fn short(text: &str) -> String {
    if text.chars().count() <= 40 { text.to_owned() } else { text.chars().take(40).chain(['…']).collect() }
}
