//! `/system/scheduler`, whose tasks really run: see [`crate::scheduler`].

use super::script::POLICY;
use super::{Asked, Menu, Rights};
use crate::network::RouterIndex;
use crate::router::table::{Column, Form};
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Tasks];

/// The rows of `/system/scheduler`.
pub(crate) const TASKS: Form = Form {
    path: "/system/scheduler",
    noun: "new script scheduled",
    columns: &[
        Column::text("name"),
        Column::text("start-date"),
        Column::text("start-time"),
        Column::time("interval"),
        Column::text("on-event"),
        Column::text("owner"),
        Column::allowed("policy"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["name"],
    unique: &["name"],
    taken: "failure: item with such name already exists",
    flags: &["disabled"],
};

struct Tasks;

impl Menu for Tasks {
    fn path(&self) -> &'static str {
        TASKS.path
    }

    fn noun(&self) -> &'static str {
        TASKS.noun
    }

    fn rows(&self, state: &State, router: RouterIndex, rights: Rights) -> Vec<Row> {
        let mut rows = TASKS.rows(state, router, rights);
        for row in &mut rows {
            let id = row.id().unwrap_or_default();
            let this = &state.routers[router.at()];
            if let Some(next) = this.tasks.get(&id).and_then(|task| task.next) {
                row.put("next-run", state.stamp(router, next));
            }
            row.put("run-count", this.runs.get(&id).copied().unwrap_or_default().to_string());
        }
        rows
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        if !state.routers[router.at()].device_mode.allows_push() {
            return Err(Refusal::not_in_device_mode());
        }
        let (date, time) = state.date_and_time(router);
        let attributes = asked.attributes.or("policy", POLICY).or("owner", asked.user);
        let attributes = attributes.or("start-date", &date).or("start-time", &time).or("interval", "0s");
        let id = TASKS.add(state, router, &Asked { attributes: &attributes, user: asked.user })?;
        state.arm(router, id);
        Ok(id)
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        TASKS.set(state, router, id, to)?;
        state.arm(router, id);
        Ok(())
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        TASKS.remove(state, router, id)?;
        let this = state.router(router);
        this.tasks.remove(&id);
        this.runs.remove(&id);
        Ok(())
    }
}
