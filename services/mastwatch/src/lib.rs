//! The mastwatch binary: every service, the private servers and the command line.
//!
//! `mastwatch up` is the whole system on one machine: private copies of nats-server, Postgres and
//! VictoriaMetrics under a data directory, and every service in this process. `mastwatch run NAME …`
//! runs services against servers that somebody else keeps. Everything else talks to the console's API.

pub mod administrator;
pub mod api;
pub mod audit;
pub mod cli;
pub mod compose;
pub mod convert;
pub mod demo;
pub mod doctor;
pub mod generate;
pub mod history;
pub mod import;
pub mod incidents;
pub mod inventory;
pub mod keys;
pub mod live_check;
pub mod nats_users;
pub mod onboard;
pub mod rebuild;
#[cfg(test)]
mod reference;
pub mod router;
pub mod scout;
pub mod servers;
pub mod settings;
pub mod show;
pub mod status;
pub mod subscriber;
pub mod up;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
