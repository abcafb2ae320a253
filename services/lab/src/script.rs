//! The router's scripting language, as far as mastwatch's own scripts speak it.
//!
//! Not RouterOS's whole language: exactly what the scripts use that mastwatch places on routers.
//! Anything else is an error that names the line, so that a script which passes here uses nothing
//! doubtful. Three things real routers allow are refused on purpose, because versions differ in
//! them: two kinds of operator in one pair of parentheses, a line break inside parentheses, and a
//! variable that was never declared.

mod parse;
mod run;
mod template;

pub use self::parse::{Script, parse};
pub use self::run::{Fetch, Globals, Host, Value, run};
pub use self::template::{Status, netwatch_script, ppp_script, quoted};

/// What is wrong with a script, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// From 1.
    pub line: u32,
    /// What is wrong there.
    pub what: String,
}
