//! The router's scripting language, as far as mastwatch's own scripts speak it.
//!
//! Not RouterOS's whole language: exactly what the scripts use that mastwatch places on routers.
//! Anything else is an error that names the line, so that a script which passes here uses nothing
//! doubtful. Three things real routers allow are refused on purpose, because versions differ in
//! them: two kinds of operator in one pair of parentheses, a line break inside parentheses, and a
//! variable that was never declared.

mod parse;
mod run;

use domain::plan::script::Says;

pub use self::parse::{Script, parse};
pub use self::run::{Fetch, Globals, Host, Value, run};

/// What a router says of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// `up`; `online` of a session, `bound` of a lease.
    Up,
    /// `down`; `offline` of a session, `unbound` of a lease.
    Down,
}

impl Status {
    /// As it is said of a device.
    pub fn of_device(self) -> &'static str {
        self.says().of_device()
    }

    /// As it is said of a session.
    pub fn of_session(self) -> &'static str {
        self.says().of_session()
    }

    /// As it is said of a lease.
    pub fn of_lease(self) -> &'static str {
        match self {
            Status::Up => "bound",
            Status::Down => "unbound",
        }
    }

    /// As the scripts that mastwatch places have it.
    pub fn says(self) -> Says {
        match self {
            Status::Up => Says::Up,
            Status::Down => Says::Down,
        }
    }
}

/// What is wrong with a script, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// From 1.
    pub line: u32,
    /// What is wrong there.
    pub what: String,
}
