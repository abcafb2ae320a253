//! `/system/script`: texts that are run by name.

use super::{Asked, Menu, Rights};
use crate::jobs::Job;
use crate::network::RouterIndex;
use crate::router::table::{Column, Form};
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Scripts];

/// The rows of `/system/script`.
pub(crate) const SCRIPTS: Form = Form {
    path: "/system/script",
    noun: "script",
    columns: &[
        Column::text("name"),
        Column::text("owner"),
        Column::allowed("policy"),
        Column::truth("dont-require-permissions"),
        Column::text("source"),
        Column::text("comment"),
    ],
    required: &["name"],
    unique: &["name"],
    taken: "failure: item with such name already exists",
    flags: &["invalid"],
};

/// What a script may do when nobody says.
pub(super) const POLICY: &str = "ftp,reboot,read,write,policy,test,password,sniff,sensitive,romon";

struct Scripts;

impl Menu for Scripts {
    fn path(&self) -> &'static str {
        SCRIPTS.path
    }

    fn noun(&self) -> &'static str {
        SCRIPTS.noun
    }

    fn rows(&self, state: &State, router: RouterIndex, rights: Rights) -> Vec<Row> {
        let mut rows = SCRIPTS.rows(state, router, rights);
        for row in &mut rows {
            let id = row.id().unwrap_or_default();
            let runs = state.routers[router.at()].runs.get(&id).copied().unwrap_or_default();
            row.put("run-count", runs.to_string());
        }
        rows
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        let attributes = asked.attributes.or("policy", POLICY).or("owner", asked.user);
        let attributes = attributes.or("dont-require-permissions", "no");
        SCRIPTS.add(state, router, &Asked { attributes: &attributes, user: asked.user })
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        SCRIPTS.set(state, router, id, to)
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        SCRIPTS.remove(state, router, id)
    }

    fn deeds(&self) -> &'static [&'static str] {
        &["run"]
    }

    fn deed(
        &self,
        state: &mut State,
        router: RouterIndex,
        _verb: &str,
        id: u32,
        _attributes: &Attributes,
    ) -> Result<(), Refusal> {
        state.run_script(router, Job::Script { script: id });
        Ok(())
    }
}

impl State {
    /// The id and the text of a script.
    pub(crate) fn script_named(&self, router: RouterIndex, name: &str) -> Option<(u32, String)> {
        let table = self.routers[router.at()].tables.get(SCRIPTS.path)?;
        let (id, row) = table.find("name", name)?;
        Some((id, row.get("source").unwrap_or_default().to_owned()))
    }

    /// What a hook runs: the script of that name, or the text itself.
    pub(crate) fn inline_or_named(&self, router: RouterIndex, text: String) -> String {
        let is_name = !text.contains(['\n', ' ', ':', ';']);
        let named = is_name.then(|| self.script_named(router, &text)).flatten();
        named.map_or(text, |(_, source)| source)
    }
}
