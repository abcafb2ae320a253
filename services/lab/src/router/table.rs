//! Menus that only hold what is put there.

use std::collections::BTreeMap;

use super::{Attributes, Refusal, Row};

/// What one such menu knows.
#[derive(Debug)]
pub struct Form {
    /// Its path.
    pub path: &'static str,
    /// The attributes a row may have.
    pub columns: &'static [&'static str],
    /// Those that no two rows may share together. Empty: all may.
    pub unique: &'static [&'static str],
}

/// Every such menu.
pub const FORMS: &[Form] = &[
    Form {
        path: "/ip/address",
        columns: &["address", "network", "interface", "disabled", "comment"],
        unique: &["address", "interface"],
    },
    Form {
        path: "/ip/arp",
        columns: &["address", "mac-address", "interface", "disabled", "comment"],
        unique: &["address"],
    },
    Form {
        path: "/ip/dhcp-server/lease",
        columns: &[
            "address",
            "mac-address",
            "client-id",
            "server",
            "block-access",
            "rate-limit",
            "lease-time",
            "disabled",
            "comment",
        ],
        unique: &["mac-address", "server"],
    },
    Form {
        path: "/ip/dns/static",
        columns: &["name", "address", "type", "ttl", "disabled", "comment"],
        unique: &[],
    },
    Form {
        path: "/ip/firewall/address-list",
        columns: &["list", "address", "timeout", "disabled", "comment"],
        unique: &["list", "address"],
    },
    Form { path: "/ip/neighbor", columns: &[], unique: &[] },
    Form {
        path: "/ip/route",
        columns: &["dst-address", "gateway", "distance", "scope", "routing-table", "disabled", "comment"],
        unique: &[],
    },
    Form {
        path: "/queue/simple",
        columns: &["name", "target", "max-limit", "limit-at", "parent", "priority", "disabled", "comment"],
        unique: &["name"],
    },
    Form {
        path: "/system/scheduler",
        columns: &[
            "name",
            "start-time",
            "start-date",
            "interval",
            "on-event",
            "policy",
            "disabled",
            "comment",
        ],
        unique: &["name"],
    },
    Form {
        path: "/system/script",
        columns: &["name", "source", "policy", "dont-require-permissions", "owner", "comment"],
        unique: &["name"],
    },
];

/// The rows of one menu.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<u32, TableRow>);

#[derive(Debug, Clone, Default)]
struct TableRow {
    values: Vec<(&'static str, String)>,
    created: String,
}

impl TableRow {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find_map(|(found, value)| (*found == name).then_some(value.as_str()))
    }

    /// A row with a `timeout` is dynamic.
    fn is_dynamic(&self) -> bool {
        self.get("timeout").is_some_and(|timeout| !timeout.is_empty())
    }
}

/// The most rows a menu holds.
const ROWS_MAX: usize = 100_000;

impl Table {
    /// Adds a row under this id.
    pub fn add(
        &mut self,
        form: &Form,
        id: u32,
        attributes: &Attributes,
        created: String,
    ) -> Result<(), Refusal> {
        if self.0.len() >= ROWS_MAX {
            return Err(Refusal::failure("failure: too many items"));
        }
        let mut row = TableRow { values: Vec::new(), created };
        self.change(form, None, &mut row, attributes)?;
        self.0.insert(id, row);
        Ok(())
    }

    /// Changes a row.
    pub fn set(&mut self, form: &Form, id: u32, attributes: &Attributes) -> Result<(), Refusal> {
        let mut row = self.0.get(&id).cloned().ok_or_else(Refusal::no_item)?;
        self.change(form, Some(id), &mut row, attributes)?;
        self.0.insert(id, row);
        Ok(())
    }

    /// Removes a row.
    pub fn remove(&mut self, id: u32) -> Result<(), Refusal> {
        self.0.remove(&id).map(|_| ()).ok_or_else(Refusal::no_item)
    }

    /// Forgets the rows that do not outlive a boot.
    pub fn forget_dynamic(&mut self) {
        self.0.retain(|_, row| !row.is_dynamic());
    }

    /// Every row.
    pub fn rows(&self, form: &Form) -> Vec<Row> {
        self.0.iter().map(|(id, row)| shown(form, *id, row)).collect()
    }

    fn change(
        &self,
        form: &Form,
        id: Option<u32>,
        row: &mut TableRow,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        for (name, value) in attributes.iter() {
            let Some(column) = form.columns.iter().find(|column| **column == name) else {
                return Err(Refusal::unknown_parameter(name));
            };
            let value = match *column {
                "disabled" => super::truth(name, value)?.to_string(),
                _ => value.to_owned(),
            };
            match row.values.iter_mut().find(|(known, _)| known == column) {
                Some((_, old)) => *old = value,
                None => row.values.push((column, value)),
            }
        }
        let same = |other: &TableRow| form.unique.iter().all(|column| other.get(column) == row.get(column));
        if !form.unique.is_empty() && self.0.iter().any(|(other, found)| Some(*other) != id && same(found)) {
            return Err(Refusal::failure("failure: already have such entry"));
        }
        Ok(())
    }
}

fn shown(form: &Form, id: u32, row: &TableRow) -> Row {
    let mut shown = Row::of(id);
    for column in form.columns.iter().filter(|column| !matches!(**column, "disabled" | "comment")) {
        shown.put_if(*column, row.get(column).unwrap_or_default());
    }
    if form.columns.contains(&"disabled") {
        shown.put("dynamic", row.is_dynamic().to_string());
        shown.put("disabled", row.get("disabled").unwrap_or("false"));
    }
    if form.path == "/ip/firewall/address-list" {
        shown.put("creation-time", &*row.created);
    }
    shown.put_if("comment", row.get("comment").unwrap_or_default());
    shown
}
