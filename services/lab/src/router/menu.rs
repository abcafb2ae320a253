//! What there is to read and to change: one value per menu, one file per family of menus.

mod dhcp;
mod interface;
mod ip;
mod log;
mod neighbour;
mod netwatch;
mod ppp;
mod scheduler;
mod script;
mod system;
mod users;

pub(crate) use self::log::log_row;
pub(crate) use self::scheduler::TASKS;
pub(crate) use self::script::SCRIPTS;
pub use self::users::Rights;
pub(crate) use self::users::{Policy, policies};

use std::net::IpAddr;

use routeros_api::value;
use routeros_api::wire::Sentence;

use super::query::Query;
use super::{Attributes, Refusal, Row};
use crate::network::RouterIndex;
use crate::state::State;

/// A menu. What a menu cannot do is no command in it.
pub trait Menu: Sync {
    /// Its path.
    fn path(&self) -> &'static str;

    /// What the router's log calls one of its rows.
    fn noun(&self) -> &'static str;

    /// Whether this router has it: versions and boards differ.
    fn is_on(&self, _state: &State, _router: RouterIndex) -> bool {
        true
    }

    /// Its rows in order. `rights` decide what of them may be seen.
    fn rows(&self, state: &State, router: RouterIndex, rights: Rights) -> Vec<Row>;

    /// Adds a row and gives its id.
    ///
    /// # Errors
    ///
    /// What the router says to it.
    fn add(&self, _state: &mut State, _router: RouterIndex, _asked: &Asked<'_>) -> Result<u32, Refusal> {
        Err(Refusal::no_command())
    }

    /// Changes a row.
    ///
    /// # Errors
    ///
    /// What the router says to it.
    fn set(
        &self,
        _state: &mut State,
        _router: RouterIndex,
        _id: u32,
        _attributes: &Attributes,
    ) -> Result<(), Refusal> {
        Err(Refusal::no_command())
    }

    /// Removes a row.
    ///
    /// # Errors
    ///
    /// What the router says to it.
    fn remove(&self, _state: &mut State, _router: RouterIndex, _id: u32) -> Result<(), Refusal> {
        Err(Refusal::no_command())
    }

    /// Changes a menu that has no items.
    ///
    /// # Errors
    ///
    /// What the router says to it.
    fn set_all(
        &self,
        _state: &mut State,
        _router: RouterIndex,
        _attributes: &Attributes,
    ) -> Result<(), Refusal> {
        Err(Refusal::no_command())
    }

    /// Whether it is one thing without items.
    fn is_single(&self) -> bool {
        false
    }

    /// What only some menus can do to a row, such as `run`.
    ///
    /// # Errors
    ///
    /// What the router says to it.
    fn deed(
        &self,
        _state: &mut State,
        _router: RouterIndex,
        _verb: &str,
        _id: u32,
        _attributes: &Attributes,
    ) -> Result<(), Refusal> {
        Err(Refusal::no_command())
    }

    /// The verbs of [`Menu::deed`].
    fn deeds(&self) -> &'static [&'static str] {
        &[]
    }
}

/// What somebody wants added, and who.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// With what.
    pub attributes: &'a Attributes,
    /// By which user.
    pub user: &'a str,
}

/// The menu at a path.
pub fn at(path: &str) -> Option<&'static dyn Menu> {
    let families = [
        dhcp::MENUS,
        interface::MENUS,
        ip::MENUS,
        log::MENUS,
        neighbour::MENUS,
        netwatch::MENUS,
        ppp::MENUS,
        scheduler::MENUS,
        script::MENUS,
        system::MENUS,
        users::MENUS,
    ];
    families.into_iter().flatten().copied().find(|menu| menu.path() == path)
}

/// What one command is answered, but for the tag.
#[derive(Debug, Default)]
pub struct Answer {
    /// Each `!re`, ready to be tagged.
    pub rows: Vec<Sentence>,
    /// `=ret=` of the end.
    pub ret: Option<String>,
    /// Whether it is one that says `!empty` when it has no rows.
    pub has_rows: bool,
}

/// A `print` or `listen` as it was asked for: which rows, and of them which properties.
#[derive(Debug, Default)]
pub struct View {
    query: Query,
    proplist: Option<Vec<String>>,
}

impl View {
    /// Of a sentence.
    ///
    /// # Errors
    ///
    /// When its query words are none.
    pub fn read(said: &Sentence) -> Result<Self, Refusal> {
        let proplist = said.attribute(".proplist").filter(|list| !list.is_empty());
        let proplist =
            proplist.map(|list| value::text(list).split(',').map(|name| name.trim().to_owned()).collect());
        Ok(Self { query: Query::read(said.queries())?, proplist })
    }

    /// The row as it is seen, or `None` when it is not chosen.
    pub fn of(&self, row: &Row) -> Option<Sentence> {
        self.query.passes(row).then(|| row.sentence(self.proplist.as_deref()))
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The user's name.
    pub user: String,
    /// From where.
    pub from: IpAddr,
    /// What he may.
    pub rights: Rights,
}

impl State {
    /// Does what reads or changes a menu.
    pub(crate) fn answer(
        &mut self,
        router: RouterIndex,
        menu: &dyn Menu,
        verb: &str,
        said: &Sentence,
        asker: &Asker,
    ) -> Result<Answer, Refusal> {
        if !menu.is_on(self, router) {
            return Err(Refusal::no_command());
        }
        if matches!(verb, "print" | "getall" | "listen") {
            asker.rights.need(Policy::Read)?;
            let view = View::read(said)?;
            let rows = menu.rows(self, router, asker.rights);
            let rows: Vec<Sentence> = rows.iter().filter_map(|row| view.of(row)).collect();
            if said.attribute("count-only").is_some() {
                return Ok(Answer { ret: Some(rows.len().to_string()), ..Answer::default() });
            }
            return Ok(Answer { rows, ret: None, has_rows: true });
        }
        let is_known = matches!(verb, "add" | "set" | "unset" | "enable" | "disable" | "remove");
        if !is_known && !menu.deeds().contains(&verb) {
            return Err(Refusal::no_command());
        }
        asker.rights.need(Policy::Write)?;
        if menu.path().starts_with("/user") {
            asker.rights.need(Policy::Grant)?;
        }
        let attributes = match verb {
            "enable" => Attributes::single("disabled", "no"),
            "disable" => Attributes::single("disabled", "yes"),
            "unset" => {
                let name = said.attribute("value-name").map(value::text).unwrap_or_default();
                Attributes::single(&name, "")
            }
            _ => Attributes::of(said),
        };
        if verb == "add" {
            let asked = Asked { attributes: &attributes, user: &asker.user };
            let id = menu.add(self, router, &asked)?;
            let name = attributes.get("name").map(str::to_owned);
            self.note_change(router, menu, name.as_deref(), "added", asker);
            return Ok(Answer { ret: Some(format!("*{id:X}")), ..Answer::default() });
        }
        if menu.is_single() {
            menu.set_all(self, router, &attributes)?;
            self.note_change(router, menu, None, "changed", asker);
            return Ok(Answer::default());
        }
        for (id, name) in self.chosen(router, menu, said)? {
            match verb {
                "remove" => menu.remove(self, router, id)?,
                "set" | "unset" | "enable" | "disable" => menu.set(self, router, id, &attributes)?,
                deed => menu.deed(self, router, deed, id, &attributes)?,
            }
            let what = if verb == "remove" { "removed" } else { "changed" };
            self.note_change(router, menu, name.as_deref(), what, asker);
        }
        Ok(Answer::default())
    }

    /// The line a router writes when somebody changes it. What was changed to what it does not say.
    fn note_change(
        &mut self,
        router: RouterIndex,
        menu: &dyn Menu,
        name: Option<&str>,
        what: &str,
        asker: &Asker,
    ) {
        let noun = menu.noun();
        let named = name.filter(|name| !name.is_empty()).map(|name| format!(" <{name}>")).unwrap_or_default();
        let Asker { user, from, .. } = asker;
        let message = if self.routers[router.at()].version.is_v6() {
            format!("{noun} {what} by {user}")
        } else {
            format!("{noun}{named} {what} by api:{user}@{from}")
        };
        self.log(router, "system,info", message);
    }

    /// The items a command names by `.id` or `numbers`: ids or names, comma separated. All or none.
    fn chosen(
        &self,
        router: RouterIndex,
        menu: &dyn Menu,
        said: &Sentence,
    ) -> Result<Vec<(u32, Option<String>)>, Refusal> {
        let Some(named) = said.attribute(".id").or_else(|| said.attribute("numbers")) else {
            return Err(Refusal::argument("missing value(s) of argument(s) numbers"));
        };
        let named = value::text(named);
        let rows = menu.rows(self, router, Rights::NONE);
        let find = |item: &str| {
            let key = if item.starts_with('*') { ".id" } else { "name" };
            let row = rows.iter().find(|row| row.get(key) == Some(item))?;
            let id = u32::from_str_radix(row.get(".id")?.strip_prefix('*')?, 16).ok()?;
            Some((id, row.get("name").map(str::to_owned)))
        };
        named.split(',').map(|item| find(item.trim()).ok_or_else(Refusal::no_item)).collect()
    }
}

/// The row of a menu that is one thing.
fn single(properties: &[(&'static str, &str)]) -> Vec<Row> {
    let mut row = Row::default();
    for (name, value) in properties {
        row.put(*name, *value);
    }
    vec![row]
}
