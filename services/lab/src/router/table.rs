//! Menus that hold what is put there.
//!
//! A [`Form`] says what a row may have and in which form a router shows it; a [`Table`] holds the rows.

use std::collections::BTreeMap;

use routeros_api::value;

use super::menu::{Asked, Menu, Rights, policies};
use super::{Attributes, Refusal, Row};
use crate::network::RouterIndex;
use crate::state::{Change, State};
use crate::version::duration;

/// What one such menu knows.
#[derive(Debug)]
pub struct Form {
    /// Its path.
    pub path: &'static str,
    /// What the log calls one of its rows.
    pub noun: &'static str,
    /// The attributes a row may have.
    pub columns: &'static [Column],
    /// Those that it must have.
    pub required: &'static [&'static str],
    /// Those that no two rows may share together. Empty: all may.
    pub unique: &'static [&'static str],
    /// What is said to a row that shares them.
    pub taken: &'static str,
    /// Which truths every row shows: `dynamic`, `invalid`, `disabled`.
    pub flags: &'static [&'static str],
}

/// One attribute of a row.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Text that is never shown.
    Hidden,
    Truth,
    Time,
    /// Up and down, bits per second.
    Rates,
    /// Addresses with their masks.
    Hosts,
    /// Policies, those that are there.
    Allowed,
    /// Policies, those that are not there with a `!`.
    Policies,
}

impl Column {
    /// Any text.
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text }
    }

    /// Any text, which is never shown.
    pub const fn hidden(name: &'static str) -> Self {
        Self { name, kind: Kind::Hidden }
    }

    /// `true` or `false`.
    pub const fn truth(name: &'static str) -> Self {
        Self { name, kind: Kind::Truth }
    }

    /// A length of time.
    pub const fn time(name: &'static str) -> Self {
        Self { name, kind: Kind::Time }
    }

    /// Up and down, bits per second.
    pub const fn rates(name: &'static str) -> Self {
        Self { name, kind: Kind::Rates }
    }

    /// Addresses with their masks.
    pub const fn hosts(name: &'static str) -> Self {
        Self { name, kind: Kind::Hosts }
    }

    /// Policies of a script.
    pub const fn allowed(name: &'static str) -> Self {
        Self { name, kind: Kind::Allowed }
    }

    /// Policies of a group.
    pub const fn policies(name: &'static str) -> Self {
        Self { name, kind: Kind::Policies }
    }

    /// A value as a router keeps it.
    fn kept(self, text: &str) -> Result<String, Refusal> {
        let no_value = || Refusal::argument(format!("invalid value for argument {}", self.name));
        match self.kind {
            _ if text.is_empty() => Ok(String::new()),
            Kind::Text | Kind::Hidden => Ok(text.to_owned()),
            Kind::Truth => super::truth(self.name, text).map(|truth| truth.to_string()),
            Kind::Time => match value::duration(text) {
                Ok(Some(time)) => Ok(duration(time)),
                Ok(None) => Ok(text.to_owned()),
                Err(_) => Err(no_value()),
            },
            Kind::Rates => {
                let (up, down) = text.split_once('/').unwrap_or((text, text));
                let (up, down) = rate(up).zip(rate(down)).ok_or_else(no_value)?;
                Ok(format!("{up}/{down}"))
            }
            Kind::Hosts => {
                let host = |host: &str| {
                    let (address, mask) = host.split_once('/').unwrap_or((host, ""));
                    let address: std::net::IpAddr = address.parse().map_err(|_| no_value())?;
                    let whole = if address.is_ipv4() { "32" } else { "128" };
                    Ok(format!("{address}/{}", if mask.is_empty() { whole } else { mask }))
                };
                Ok(text.split(',').map(host).collect::<Result<Vec<String>, Refusal>>()?.join(","))
            }
            Kind::Allowed => policies(self.name, text, false),
            Kind::Policies => policies(self.name, text, true),
        }
    }
}

/// Bits per second: `10M`, `512k`, `1000000`.
fn rate(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1_000),
        b'M' => (&text[..text.len() - 1], 1_000_000),
        b'G' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The rows of one menu, in the order in which they are shown.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<u32, TableRow>,
    order: Vec<u32>,
}

/// One row.
#[derive(Debug, Clone, Default)]
pub struct TableRow {
    values: Vec<(&'static str, Box<str>)>,
    created: Box<str>,
}

impl TableRow {
    /// An attribute, as it is shown.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find_map(|(found, value)| (*found == name).then_some(&**value))
    }

    /// A row with a `timeout` is dynamic.
    fn is_dynamic(&self) -> bool {
        self.get("timeout").is_some_and(|timeout| !timeout.is_empty())
    }
}

/// The most rows a menu holds.
const ROWS_MAX: usize = 100_000;

impl Table {
    /// The first row with that value.
    pub fn find(&self, column: &str, value: &str) -> Option<(u32, &TableRow)> {
        self.iter().find(|(_, row)| row.get(column) == Some(value))
    }

    /// One row.
    pub fn get(&self, id: u32) -> Option<&TableRow> {
        self.rows.get(&id)
    }

    /// Every row in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &TableRow)> {
        self.order.iter().filter_map(|id| Some((*id, self.rows.get(id)?)))
    }

    /// Forgets the rows that do not outlive a boot.
    pub fn forget_dynamic(&mut self) {
        self.rows.retain(|_, row| !row.is_dynamic());
        self.order.retain(|id| self.rows.contains_key(id));
    }

    fn put(&mut self, id: u32, row: TableRow) {
        if self.rows.insert(id, row).is_none() {
            self.order.push(id);
        }
    }

    fn changed(
        &self,
        form: &Form,
        id: Option<u32>,
        mut row: TableRow,
        attributes: &Attributes,
    ) -> Result<TableRow, Refusal> {
        for (name, value) in attributes.iter() {
            let Some(column) = form.columns.iter().find(|column| column.name == name) else {
                return Err(Refusal::unknown_parameter(name));
            };
            let value = column.kept(value)?.into();
            match row.values.iter_mut().find(|(known, _)| *known == column.name) {
                Some((_, old)) => *old = value,
                None => row.values.push((column.name, value)),
            }
        }
        let is_missing = |name: &&&str| row.get(name).is_none_or(str::is_empty);
        if let Some(missing) = form.required.iter().find(is_missing) {
            return Err(Refusal::argument(format!("missing value(s) of argument(s) {missing}")));
        }
        let same = |other: &TableRow| form.unique.iter().all(|column| other.get(column) == row.get(column));
        if !form.unique.is_empty() && self.rows.iter().any(|(other, found)| Some(*other) != id && same(found))
        {
            return Err(Refusal::failure(form.taken));
        }
        Ok(row)
    }
}

impl Form {
    fn shown(&self, id: u32, row: &TableRow, sees_all: bool) -> Row {
        let mut shown = Row::of(id);
        let is_plain = |column: &&Column| {
            !matches!(column.name, "disabled" | "comment") && (sees_all || column.kind != Kind::Hidden)
        };
        for column in self.columns.iter().filter(is_plain) {
            shown.put_if(column.name, row.get(column.name).unwrap_or_default());
        }
        for flag in self.flags {
            let value = match *flag {
                "dynamic" => row.is_dynamic(),
                flag => row.get(flag) == Some("true"),
            };
            shown.put(*flag, value.to_string());
        }
        if self.path == "/ip/firewall/address-list" {
            shown.put("creation-time", &*row.created);
        }
        shown.put_if("comment", row.get("comment").unwrap_or_default());
        shown
    }

    fn tell(&self, state: &mut State, router: RouterIndex, id: u32) {
        state.router(router).tell(self.path, |this| {
            let row = this.tables.get(self.path)?.get(id)?;
            Some(Change::Row(self.shown(id, row, false)))
        });
    }

    /// Puts a row before another, or at the end.
    fn reorder(
        &self,
        state: &mut State,
        router: RouterIndex,
        id: u32,
        to: &Attributes,
    ) -> Result<(), Refusal> {
        let table = state.router(router).tables.entry(self.path).or_default();
        let before = match to.get("destination").filter(|id| !id.is_empty()) {
            None => None,
            Some(named) => {
                let number = named.strip_prefix('*').and_then(|id| u32::from_str_radix(id, 16).ok());
                let place = number.and_then(|id| table.order.iter().position(|known| *known == id));
                Some(table.order[place.ok_or_else(Refusal::no_item)?])
            }
        };
        table.order.retain(|known| *known != id);
        let place = before.and_then(|before| table.order.iter().position(|known| *known == before));
        table.order.insert(place.unwrap_or(table.order.len()), id);
        Ok(())
    }
}

impl Menu for Form {
    fn path(&self) -> &'static str {
        self.path
    }

    fn noun(&self) -> &'static str {
        self.noun
    }

    fn rows(&self, state: &State, router: RouterIndex, rights: Rights) -> Vec<Row> {
        let sees_all = rights.has(super::menu::Policy::Sensitive);
        let table = state.routers[router.at()].tables.get(self.path);
        // A user's password is shown to nobody.
        let sees_all = sees_all && self.path != "/user";
        table
            .map(|table| table.iter().map(|(id, row)| self.shown(id, row, sees_all)).collect())
            .unwrap_or_default()
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        let created = state.stamp(router, state.clock.now()).into();
        let this = state.router(router);
        let table = this.tables.entry(self.path).or_default();
        if table.rows.len() >= ROWS_MAX {
            return Err(Refusal::failure("failure: too many items"));
        }
        let row = TableRow { values: Vec::new(), created };
        let row = table.changed(self, None, row, asked.attributes)?;
        this.last_id += 1;
        let id = this.last_id;
        table.put(id, row);
        self.tell(state, router, id);
        Ok(id)
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        let table = state.router(router).tables.entry(self.path).or_default();
        let row = table.rows.get(&id).cloned().ok_or_else(Refusal::no_item)?;
        let row = table.changed(self, Some(id), row, to)?;
        table.put(id, row);
        self.tell(state, router, id);
        Ok(())
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        let this = state.router(router);
        let table = this.tables.entry(self.path).or_default();
        table.rows.remove(&id).ok_or_else(Refusal::no_item)?;
        table.order.retain(|known| *known != id);
        this.tell(self.path, |_| Some(Change::Dead(format!("*{id:X}"))));
        Ok(())
    }

    fn deeds(&self) -> &'static [&'static str] {
        // Where the order matters, rows may be moved.
        if self.path == "/queue/simple" { &["move"] } else { &[] }
    }

    fn deed(
        &self,
        state: &mut State,
        router: RouterIndex,
        _verb: &str,
        id: u32,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        self.reorder(state, router, id, attributes)
    }
}
