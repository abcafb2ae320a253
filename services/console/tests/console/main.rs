//! The console from outside: its routes, what it takes in, whom it tells, and who may see what.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administrators;
mod audit;
mod desk;
mod ground;
mod health;
mod history;
mod import;
mod live_check;
mod subscribers;
mod told;
