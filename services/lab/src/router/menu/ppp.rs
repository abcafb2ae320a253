//! `/ppp` and `/radius`, behind which customers come and go: see [`crate::ppp`].

use super::{Asked, Menu, Policy, Rights, single};
use crate::network::RouterIndex;
use crate::ppp;
use crate::router::table::{Column, Form};
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Sessions, &Secrets, &Profiles, &Aaa, &SERVERS];

struct Sessions;
struct Secrets;
struct Profiles;
struct Aaa;

/// `/radius`.
const SERVERS: Form = Form {
    path: "/radius",
    noun: "radius server",
    columns: &[
        Column::text("service"),
        Column::text("address"),
        Column::hidden("secret"),
        Column::text("timeout"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["address"],
    unique: &[],
    taken: "",
    flags: &["disabled"],
};

impl Menu for Sessions {
    fn path(&self) -> &'static str {
        ppp::ACTIVE
    }

    fn noun(&self) -> &'static str {
        "ppp session"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        state.session_rows(router)
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        state.remove_session(router, id)
    }
}

impl Menu for Secrets {
    fn path(&self) -> &'static str {
        ppp::SECRET
    }

    fn noun(&self) -> &'static str {
        "ppp secret"
    }

    fn rows(&self, state: &State, router: RouterIndex, rights: Rights) -> Vec<Row> {
        state.secret_rows(router, rights.has(Policy::Sensitive))
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        state.add_secret(router, asked.attributes)
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        state.set_secret(router, id, to)
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        state.remove_secret(router, id)
    }
}

impl Menu for Profiles {
    fn path(&self) -> &'static str {
        ppp::PROFILE
    }

    fn noun(&self) -> &'static str {
        "ppp profile"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        state.profile_rows(router)
    }

    fn add(&self, state: &mut State, router: RouterIndex, asked: &Asked<'_>) -> Result<u32, Refusal> {
        state.add_profile(router, asked.attributes)
    }

    fn set(&self, state: &mut State, router: RouterIndex, id: u32, to: &Attributes) -> Result<(), Refusal> {
        state.set_profile(router, id, to)
    }

    fn remove(&self, state: &mut State, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        state.remove_profile(router, id)
    }
}

impl Menu for Aaa {
    fn path(&self) -> &'static str {
        "/ppp/aaa"
    }

    fn noun(&self) -> &'static str {
        "ppp aaa"
    }

    fn is_single(&self) -> bool {
        true
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: Rights) -> Vec<Row> {
        let uses = state.habits(router).radius.to_string();
        single(&[("use-radius", &uses), ("accounting", "true"), ("interim-update", "0s")])
    }
}

impl State {
    /// The server that a router asks whose customers are in no list of its own.
    pub(crate) fn place_radius(&mut self, router: RouterIndex) {
        if self.habits(router).radius {
            let server = [("service", "ppp"), ("address", "127.0.0.1"), ("timeout", "300ms")];
            self.place(router, &SERVERS, &Attributes::from(&server));
        }
    }
}
