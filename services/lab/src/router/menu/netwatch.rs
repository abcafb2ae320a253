//! `/tool/netwatch`, whose entries really probe: see [`crate::netwatch`].

use super::{Asked, Menu, Rights};
use crate::netwatch;
use crate::network::RouterIndex;
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Netwatch];

struct Netwatch;

impl Menu for Netwatch {
    fn path(&self) -> &'static str {
        netwatch::MENU
    }

    fn noun(&self) -> &'static str {
        "netwatch entry"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        state.netwatch_rows(router)
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        state.add_netwatch(router, asked.attributes)
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        state.set_netwatch(router, id, to)
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        state.remove_netwatch(router, id)
    }
}
