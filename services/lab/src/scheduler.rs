//! `/system/scheduler`: what a router does at times of its own.
//!
//! A task runs when its interval has passed since it was set or the router started, and then again and
//! again. One that starts at `startup` also runs three seconds after every start. A device-mode that
//! forbids the scheduler lets nothing run.

use std::time::Duration;

use crate::agenda::Due;
use crate::clock::SimTime;
use crate::jobs::Job;
use crate::network::RouterIndex;
use crate::router::menu::TASKS;
use crate::state::State;

/// When tasks of `startup` run after a start.
const STARTUP_AFTER: Duration = Duration::from_secs(3);

/// What the router remembers of a task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Task {
    /// When it runs next.
    pub next: Option<SimTime>,
    /// Rises whenever it starts anew; what was due before no longer matters.
    generation: u32,
}

impl State {
    /// Sets a task going, or to rest when it is disabled or has no interval.
    pub(crate) fn arm(&mut self, router: RouterIndex, id: u32) {
        let interval = self.task_interval(router, id);
        self.arm_after(router, id, interval);
    }

    /// Sets every task going: the router has started.
    pub(crate) fn start_tasks(&mut self, router: RouterIndex) {
        let Some(table) = self.routers[router.at()].tables.get(TASKS.path) else { return };
        let ids: Vec<(u32, bool)> =
            table.iter().map(|(id, row)| (id, row.get("start-time") == Some("startup"))).collect();
        for (id, at_startup) in ids {
            if at_startup {
                self.arm_after(router, id, Some(STARTUP_AFTER));
            } else {
                self.arm(router, id);
            }
        }
    }

    fn arm_after(&mut self, router: RouterIndex, id: u32, after: Option<Duration>) {
        let at = after.map(|after| self.clock.now().after(after));
        let task = self.router(router).tasks.entry(id).or_default();
        task.generation += 1;
        task.next = at;
        let generation = task.generation;
        if let Some(at) = at {
            self.agenda.add(at, Due::Task { router, task: id, generation });
        }
    }

    fn task_interval(&self, router: RouterIndex, id: u32) -> Option<Duration> {
        let row = self.routers[router.at()].tables.get(TASKS.path)?.get(id)?;
        if row.get("disabled") == Some("true") {
            return None;
        }
        let interval = routeros_api::value::duration(row.get("interval")?).ok()??;
        (!interval.is_zero()).then_some(interval)
    }

    /// A task is due.
    pub(crate) fn task(&mut self, router: RouterIndex, id: u32, generation: u32) {
        let this = &self.routers[router.at()];
        let is_due = this.tasks.get(&id).is_some_and(|task| task.generation == generation);
        if !is_due || !this.is_powered {
            return;
        }
        if this.device_mode.allows_push() {
            self.run_script(router, Job::Task { task: id });
        }
        self.arm(router, id);
    }

    /// What a task runs.
    pub(crate) fn task_text(&self, router: RouterIndex, id: u32) -> Option<String> {
        let row = self.routers[router.at()].tables.get(TASKS.path)?.get(id)?;
        let text = row.get("on-event").filter(|text| !text.is_empty())?;
        Some(self.inline_or_named(router, text.to_owned()))
    }
}
