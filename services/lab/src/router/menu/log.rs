//! `/log`: what a router wrote down.

use super::{Menu, Rights};
use crate::network::RouterIndex;
use crate::router::Row;
use crate::state::{LogLine, State};

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Log];

struct Log;

impl Menu for Log {
    fn path(&self) -> &'static str {
        "/log"
    }

    fn noun(&self) -> &'static str {
        "log"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let lines = &state.routers[router.at()].log;
        lines.iter().map(|line| log_row(line, state.stamp(router, line.at))).collect()
    }
}

/// A line of the log as a row.
pub(crate) fn log_row(line: &LogLine, stamp: String) -> Row {
    let mut row = Row::of(line.id);
    row.put("time", stamp);
    row.put("topics", line.topics);
    row.put("message", &*line.message);
    row
}
