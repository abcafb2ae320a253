//! A simulated ISP: routers, radios and subscribers that speak network protocols.
//!
//! [`world`] says who reaches whom; every router of the [`network`] is played on its own loopback
//! address: its API ([`router`]), its netwatch entries ([`netwatch`]), its customers' sessions ([`ppp`])
//! and leases ([`dhcp`]) and its tasks ([`scheduler`]), whose scripts really run ([`script`]) and so send
//! real webhooks. Nothing here knows
//! what becomes of them: the lab speaks network protocols and nothing else.

pub mod agenda;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod control;
pub mod counters;
pub mod dhcp;
pub mod dice;
pub mod faults;
mod foreign;
pub mod icmp;
pub mod jobs;
pub mod lab;
pub mod netwatch;
pub mod network;
pub mod outage;
pub mod ppp;
mod radio;
pub mod router;
pub mod run;
pub mod scheduler;
pub mod script;
pub mod settings;
pub mod state;
pub mod version;
pub mod view;
pub mod world;

pub use crate::lab::Lab;
pub use crate::run::{Config, control_at, run};
pub use crate::settings::Settings;
