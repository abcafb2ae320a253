//! Subscribers: one by one, and tables of many.

use super::{
    Reader, Wanted,
    field::{Fields, NAME_MAX, TEXT_MAX},
};
use crate::{
    Secret,
    model::{PersonEntry, SeenBy, Session, Subscriber},
    problem::{Position, did_you_mean},
    yaml::{Entry, Value, Yaml},
};
use std::borrow::Cow;

/// The keys of one subscriber.
const KEYS: [&str; 13] = [
    "account",
    "parent",
    "needs",
    "user",
    "mac",
    "address",
    "concentrator",
    "site",
    "plan",
    "ticket",
    "person",
    "service",
    "maintenance",
];

/// What can differ from row to row of a table.
const COLUMNS: [&str; 9] =
    ["account", "parent", "user", "mac", "address", "concentrator", "site", "plan", "ticket"];

/// How many routers may hold a session.
const CONCENTRATORS_MAX: usize = 8;

impl Reader<'_> {
    pub(super) fn subscriber(&mut self, yaml: &Yaml<'_>) -> Option<Subscriber> {
        let fields = self.fields(yaml, "a subscriber", &KEYS)?;
        let account = self.required_id(&fields, "account").map(|(_, account)| account.to_owned());
        let needs = self.needs(&fields, None);
        if !fields.has("parent") && !fields.has("needs") {
            let what = "a subscriber has no `parent`".into();
            self.note(fields.at, what, Some("add `parent: …`, what it hangs on"));
        }
        let session = self.session(&fields);
        let concentrators = self.concentrators(&fields);
        let site = self.site_reference(&fields);
        let plan = self.optional_text(&fields, "plan", NAME_MAX).map(|(_, plan)| plan.to_owned());
        let ticket = self.url(&fields, "ticket", &["http", "https"], false);
        let person = self.person(&fields);
        let service = self.entitlement(&fields, &session);
        let maintenance = self.maintenance(&fields);
        Some(Subscriber {
            account: account?,
            needs,
            session,
            concentrators,
            seen_by: SeenBy::Nobody,
            site,
            plan,
            ticket,
            person,
            service,
            maintenance,
            at: fields.at,
        })
    }

    fn session(&mut self, fields: &Fields<'_, '_>) -> Session {
        let written: Vec<&str> =
            ["user", "mac", "address"].into_iter().filter(|key| fields.has(key)).collect();
        match written.as_slice() {
            [] => Session::None,
            ["user"] => self
                .optional_text(fields, "user", NAME_MAX)
                .map_or(Session::None, |(_, user)| Session::Pppoe(Secret::new(user))),
            ["mac"] => self.mac(fields).map_or(Session::None, Session::Mac),
            ["address"] => self.static_address(fields),
            _ => {
                let what = format!("a subscriber is known by one of `{}`", written.join("` and `"));
                self.note(fields.at, what, Some("keep the one its service is told by"));
                Session::None
            }
        }
    }

    /// The MAC under `mac`, in lower case with colons.
    fn mac(&mut self, fields: &Fields<'_, '_>) -> Option<Secret> {
        let (at, text) = self.optional_text(fields, "mac", NAME_MAX)?;
        let digits: String =
            text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).map(|c| c.to_ascii_lowercase()).collect();
        if digits.len() != 12 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            self.note(at, "`mac` is no MAC address".into(), Some("write it like `d4:ca:6d:00:12:34`"));
            return None;
        }
        let pairs: Vec<&str> = (0..6).map(|n| &digits[2 * n..2 * n + 2]).collect();
        Some(Secret::new(pairs.join(":")))
    }

    /// The static address under `address`, which is never repeated in a message: it names a person.
    fn static_address(&mut self, fields: &Fields<'_, '_>) -> Session {
        let Some((at, text)) = self.optional_text(fields, "address", NAME_MAX) else { return Session::None };
        match text.parse() {
            Ok(address) => Session::Static(address),
            Err(_) => {
                let what = "`address` is no IP address".into();
                self.note(
                    at,
                    what,
                    Some("write it like `10.0.3.1`; where a person lives belongs under `person`"),
                );
                Session::None
            }
        }
    }

    fn concentrators(&mut self, fields: &Fields<'_, '_>) -> Vec<String> {
        let texts = self.texts(fields, "concentrator");
        if texts.len() > CONCENTRATORS_MAX {
            let what = format!("more than {CONCENTRATORS_MAX} routers under `concentrator`");
            self.note_at(fields, "concentrator", what, "name only those that may hold this session");
        }
        for (at, text) in &texts {
            self.reference(text, *at, Wanted::RouterWithLogin);
        }
        texts.into_iter().map(|(_, text)| text.to_owned()).collect()
    }

    fn person(&mut self, fields: &Fields<'_, '_>) -> Option<PersonEntry> {
        let entry = fields.get("person")?;
        let person = self.fields(&entry.value, "a person", &["name", "phone", "address"])?;
        let mut detail = |key| self.optional_text(&person, key, TEXT_MAX).map(|(_, text)| Secret::new(text));
        Some(PersonEntry { name: detail("name"), phone: detail("phone"), address: detail("address") })
    }

    /// Many subscribers that have something in common: each row is read as if it had been written
    /// out with the names of the columns and what stands beside the table.
    pub(super) fn subscriber_table(&mut self, yaml: &Yaml<'_>) -> Option<Vec<Subscriber>> {
        let keys = ["columns", "rows", "parent", "concentrator", "site", "plan", "ticket"];
        let fields = self.fields(yaml, "a subscriber table", &keys)?;
        let columns = self.columns(&fields)?;
        let Some(rows) = fields.get("rows") else {
            self.note(fields.at, "a subscriber table has no `rows`".into(), Some("add `rows: [[…], […]]`"));
            return None;
        };
        let Value::List(rows) = &rows.value.value else {
            let what = format!("`rows` is a list of rows, found {}", rows.value.what());
            self.note(rows.value.at, what, Some("write each row like `- [c-1, ap-1, user-1]`"));
            return None;
        };
        let Value::Map(beside) = &yaml.value else { return None };
        let shared: Vec<&Entry<'_>> =
            beside.iter().filter(|entry| entry.key != "columns" && entry.key != "rows").collect();
        let mut subscribers = Vec::with_capacity(rows.len());
        for row in rows {
            if self.finder.is_full() {
                break;
            }
            subscribers.extend(self.row(row, &columns, &shared));
        }
        Some(subscribers)
    }

    fn columns<'y>(&mut self, fields: &Fields<'y, '_>) -> Option<Vec<(Position, &'y str)>> {
        let columns = self.texts(fields, "columns");
        let mut right = !columns.is_empty();
        if columns.is_empty() {
            let what = "a subscriber table has no `columns`".into();
            self.note_at(fields, "columns", what, "add `columns: [account, parent, user]`");
        }
        for (n, (at, column)) in columns.iter().enumerate() {
            if !COLUMNS.contains(column) {
                let hint = did_you_mean(column, COLUMNS)
                    .unwrap_or_else(|| format!("a column is one of {}", COLUMNS.join(", ")));
                self.note(*at, format!("unknown column `{column}`"), Some(&hint));
                right = false;
            } else if fields.has(column) || columns.iter().take(n).any(|(_, other)| other == column) {
                let what = format!("`{column}` is given twice for each row");
                self.note(*at, what, Some("keep the column, or what stands beside the table"));
                right = false;
            }
        }
        if right && !columns.iter().any(|(_, column)| *column == "account") {
            let what = "a subscriber table has no column `account`".into();
            self.note_at(fields, "columns", what, "add it to `columns`");
            right = false;
        }
        right.then_some(columns)
    }

    fn row(
        &mut self,
        row: &Yaml<'_>,
        columns: &[(Position, &str)],
        shared: &[&Entry<'_>],
    ) -> Option<Subscriber> {
        let Value::List(cells) = &row.value else {
            let what = format!("a row is a list of {} values, found {}", columns.len(), row.what());
            self.note(row.at, what, Some("write it like `- [c-1, ap-1, user-1]`"));
            return None;
        };
        if cells.len() != columns.len() {
            let what = format!("this row has {} values; there are {} columns", cells.len(), columns.len());
            self.note(row.at, what, Some("write `~` where a row has no value"));
            return None;
        }
        let cells = columns.iter().zip(cells).filter(|(_, cell)| !cell.is_nothing());
        let entries: Vec<Entry<'_>> = cells
            .map(|((_, column), cell)| Entry {
                key: Cow::Borrowed(*column),
                at: cell.at,
                value: cell.borrowed(),
            })
            .chain(shared.iter().map(|entry| Entry {
                key: Cow::Borrowed(entry.key.as_ref()),
                at: entry.at,
                value: entry.value.borrowed(),
            }))
            .collect();
        self.subscriber(&Yaml { at: row.at, value: Value::Map(entries) })
    }
}
