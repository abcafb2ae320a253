//! How a router is spoken to: the RouterOS API protocol, sessions and a pool of them.
//!
//! [`wire`] is the protocol itself, both directions, without input or output. [`session`] is one
//! logged-in connection that carries many commands at once. [`pool`] keeps one session per router
//! alive and limits what is asked of it. [`question`] is what mastwatch wants to know, as types.
//!
//! A router is not trusted: nothing it sends makes this crate hold more than its limits say, wait
//! longer than its deadlines say, or panic. An answer that does not come is an error that tells
//! *how* it did not come, because a refused connection and a silent one mean different things.

pub mod command;
pub mod login;
pub mod session;
pub mod tls;
pub mod value;
pub mod wire;

pub use crate::command::{Command, Reply, Row, Trap, TrapCategory};
pub use crate::login::Credentials;
pub use crate::session::{CallError, ConnectError, Options, Session};
