//! The least that has to change on a router.
//!
//! A [`plan`] holds what a router [has](Actual) against what is [`Desired`] and names the difference
//! in router words. It is read, planned, applied and read back; a plan that was broken off after any
//! change and made anew ends at the same state, and one for a router that is as desired is empty.
//!
//! Ours is recognised by what stands on the router alone, never by what we remember: a row by the
//! [marker](Menu::marker) before its key, our lines in somebody else's script by the lines around them
//! ([`block`]). What is not ours is never removed, and of what is somebody else's only the properties
//! change that a plan names. A menu that was not read is not empty: nothing is planned for
//! it, and wishing something there is an error.

mod block;
mod change;
mod fitness;
pub mod script;
mod snitch;
mod token;
mod told;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::change::Change;
pub use self::fitness::{Finding, Fitness, Told, fitness};
pub use self::snitch::{Snitches, Watched, snitch_menus, without_snitches};
pub use self::token::hidden;
pub use self::told::words;

/// A menu of a router that plans read and change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Menu {
    /// `/system/script`.
    Scripts,
    /// `/system/scheduler`.
    Tasks,
    /// `/ip/dhcp-server`.
    DhcpServers,
    /// `/ppp/profile`.
    Profiles,
    /// `/tool/netwatch`.
    Netwatch,
    /// `/ppp/secret`.
    Secrets,
    /// `/ip/firewall/address-list`.
    AddressLists,
    /// `/queue/simple`.
    Queues,
    /// `/ppp/active`.
    Sessions,
}

impl Menu {
    /// Its path as the API writes it.
    pub fn path(self) -> &'static str {
        match self {
            Menu::Scripts => "/system/script",
            Menu::Tasks => "/system/scheduler",
            Menu::DhcpServers => "/ip/dhcp-server",
            Menu::Profiles => "/ppp/profile",
            Menu::Netwatch => "/tool/netwatch",
            Menu::Secrets => "/ppp/secret",
            Menu::AddressLists => "/ip/firewall/address-list",
            Menu::Queues => "/queue/simple",
            Menu::Sessions => "/ppp/active",
        }
    }

    /// The properties that a plan looks at: what to ask for with `.proplist`.
    pub fn properties(self) -> &'static [&'static str] {
        match self {
            Menu::Scripts => &[".id", "name", "policy"],
            Menu::Tasks => &[".id", "name", "interval", "on-event", "policy", "disabled"],
            Menu::DhcpServers => &[".id", "name", "lease-script", "dynamic"],
            Menu::Profiles => &[".id", "name", "on-up", "on-down"],
            Menu::Netwatch => &[
                ".id",
                "host",
                "type",
                "interval",
                "timeout",
                "up-script",
                "down-script",
                "disabled",
                "comment",
            ],
            Menu::Secrets => {
                // Who may not see passwords is told none.
                &[".id", "name", "password", "profile", "remote-address", "disabled", "comment"]
            }
            Menu::AddressLists => &[".id", "list", "address", "disabled", "dynamic", "comment"],
            Menu::Queues => &[".id", "name", "target", "max-limit", "disabled", "dynamic", "comment"],
            Menu::Sessions => &[".id", "name", "session-id", "radius"],
        }
    }

    /// The property that tells our rows from others', and what its value begins with before the key.
    ///
    /// Scripts and tasks are known by name, because other scripts call them by it.
    pub fn marker(self) -> (&'static str, &'static str) {
        match self {
            Menu::Scripts | Menu::Tasks => ("name", "mastwatch-"),
            Menu::DhcpServers
            | Menu::Profiles
            | Menu::Netwatch
            | Menu::Secrets
            | Menu::AddressLists
            | Menu::Queues
            | Menu::Sessions => ("comment", "mastwatch:"),
        }
    }
}

/// One row of a menu as the router told it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// Its `.id`, such as `*1F`.
    pub id: String,
    /// Its properties by name; one without a value is absent.
    pub values: BTreeMap<String, String>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        let shown = |name: &str, value| if name == "password" { "…".into() } else { token::hidden(value) };
        f.debug_map().entries(self.values.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

impl Row {
    /// A property; nothing when it has no value.
    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    fn called(&self) -> &str {
        ["name", "comment"]
            .map(|property| self.get(property))
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or("")
    }

    /// What our marker is followed by, when this row of `menu` is ours.
    pub fn key(&self, menu: Menu) -> Option<&str> {
        let (property, marker) = menu.marker();
        // What the router made by itself goes by itself, whatever its comment says.
        self.get(property).strip_prefix(marker).filter(|_| self.get("dynamic") != "true")
    }
}

/// What was read from a router: rows in its own order, of the menus that were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actual(BTreeMap<Menu, Vec<Row>>);

impl Actual {
    /// Remembers all rows of a menu. An empty one was read and has none.
    pub fn told(&mut self, menu: Menu, rows: Vec<Row>) {
        self.0.insert(menu, rows);
    }

    /// The rows of a menu, or `None` when it was not read.
    pub fn rows(&self, menu: Menu) -> Option<&[Row]> {
        self.0.get(&menu).map(Vec::as_slice)
    }

    /// What a router has after it did as told. `id` is the `=ret=` of an `add`.
    pub fn after(&mut self, change: &Change, id: &str) {
        let rows = self.0.entry(change.menu()).or_default();
        match change {
            Change::Add { attributes, .. } => {
                rows.push(Row { id: id.to_owned(), values: attributes.iter().cloned().collect() });
            }
            Change::Set { id, attributes, .. } => {
                for row in rows.iter_mut().filter(|row| row.id == *id) {
                    row.values.extend(attributes.iter().cloned());
                }
            }
            Change::Remove { id, .. } => rows.retain(|row| row.id != *id),
        }
    }
}

/// Attributes in the order in which they are written.
pub type Attributes = Vec<(String, String)>;

pub(crate) fn attributes<const N: usize>(pairs: [(&str, &str); N]) -> Attributes {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What a router should be, as far as we have a say.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// Our rows, by key. In a menu that is named here every row of ours that is not wished goes.
    own: BTreeMap<Menu, BTreeMap<String, Attributes>>,
    /// Our lines in a property of every row of a menu; without lines what is there of ours goes.
    blocks: BTreeMap<(Menu, &'static str), Option<String>>,
}

impl fmt::Debug for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?} {:?}", self.own, self.blocks);
        f.write_str(&token::hidden(&text))
    }
}

impl Desired {
    /// Rows of ours in `menu` that are not wished go.
    pub fn keep(&mut self, menu: Menu) {
        self.own.entry(menu).or_default();
    }

    /// A row of ours in `menu`, under `key`. Properties that are not named are left as they are.
    pub fn own(&mut self, menu: Menu, key: &str, attributes: Attributes) {
        self.own.entry(menu).or_default().insert(key.to_owned(), attributes);
    }

    /// Our lines in `property` of every row of `menu`, or no lines of ours there.
    pub fn block(&mut self, menu: Menu, property: &'static str, lines: Option<String>) {
        self.blocks.insert((menu, property), lines);
    }

    /// The menus that have to be read.
    pub fn menus(&self) -> BTreeSet<Menu> {
        let blocks = self.blocks.keys().map(|(menu, _)| *menu);
        self.own.keys().copied().chain(blocks).collect()
    }
}

/// What has to change, in this order, and what cannot be as desired.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The changes, in the order in which they are to be made.
    pub changes: Vec<Change>,
    /// What is desired and is not ours to make so.
    pub obstacles: Vec<Obstacle>,
}

/// Why something cannot be as desired.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// Where our lines should stand a script is named that stands elsewhere: it is to be written out
    /// here, or our lines into it.
    Named {
        /// Where.
        menu: Menu,
        /// Of which row.
        id: String,
        /// In which property.
        property: &'static str,
        /// The script that is named.
        script: String,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Named { menu, id, property, script } => {
                let menu = menu.path();
                write!(
                    f,
                    "`{property}` of row {id} of `{menu}` names the script `{script}`: write it out there"
                )
            }
        }
    }
}

/// A menu that would have to be read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{}` was not read", .0.path())]
pub struct Unread(pub Menu);

/// What has to change so that `actual` is as `desired`.
///
/// Additions and changes come first, in the order of [`Menu`], so that a script stands before what
/// calls it; removals come last, in the reverse order.
///
/// # Errors
///
/// [`Unread`] when a menu that something is desired of was not read.
pub fn plan(actual: &Actual, desired: &Desired) -> Result<Plan, Unread> {
    let mut plan = Plan::default();
    let mut removed = Vec::new();
    for menu in desired.menus() {
        let rows = actual.rows(menu).ok_or(Unread(menu))?;
        if let Some(own) = desired.own.get(&menu) {
            plan.own(menu, rows, own, &mut removed);
        }
        plan.others(menu, rows, desired);
    }
    plan.changes.extend(removed.into_iter().rev());
    Ok(plan)
}

impl Plan {
    /// Nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes as they would be typed at the router, one a line, for somebody who has to say yes.
    /// Of tokens only the public part is shown.
    pub fn shown(&self) -> String {
        self.changes.iter().map(|change| format!("{change}\n")).collect()
    }

    /// Rows of ours: added, set right, or gone.
    fn own(
        &mut self,
        menu: Menu,
        rows: &[Row],
        own: &BTreeMap<String, Attributes>,
        removed: &mut Vec<Change>,
    ) {
        let (marked, marker) = menu.marker();
        let mut there: BTreeSet<&str> = BTreeSet::new();
        for row in rows {
            let Some(key) = row.key(menu) else { continue };
            match own.get_key_value(key) {
                // The first of several is the one.
                Some((key, wished)) if there.insert(key) => self.set(menu, row, wished),
                Some(_) | None => removed.push(Change::removal(menu, row)),
            }
        }
        for (key, wished) in own.iter().filter(|(key, _)| !there.contains(key.as_str())) {
            let mut attributes = wished.clone();
            attributes.push((marked.to_owned(), format!("{marker}{key}")));
            self.changes.push(Change::Add { menu, attributes });
        }
    }

    /// Rows of others: our lines in their scripts.
    fn others(&mut self, menu: Menu, rows: &[Row], desired: &Desired) {
        let blocks = || desired.blocks.range((menu, "")..).take_while(|((of, _), _)| *of == menu);
        for row in rows.iter().filter(|row| row.get("dynamic") != "true") {
            let mut wished = Attributes::new();
            for ((_, property), lines) in blocks() {
                let script = row.get(property);
                let right = match lines {
                    // A name is no text that lines could be added to.
                    Some(_) if block::is_name(script) => {
                        let (id, script) = (row.id.clone(), script.to_owned());
                        self.obstacles.push(Obstacle::Named { menu, id, property, script });
                        continue;
                    }
                    Some(lines) => block::placed(script, lines),
                    None => block::taken(script),
                };
                if right != script {
                    wished.push(((*property).to_owned(), right));
                }
            }
            self.set(menu, row, &wished);
        }
    }

    fn set(&mut self, menu: Menu, row: &Row, wished: &Attributes) {
        self.changes.extend(Change::setting(menu, row, wished));
    }
}

/// What of `wished` the row does not show.
pub(crate) fn differing(row: &Row, wished: &[(String, String)]) -> Attributes {
    wished.iter().filter(|(name, value)| !value::same(name, value, row.get(name))).cloned().collect()
}
