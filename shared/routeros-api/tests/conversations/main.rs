//! Conversations with a router that a test plays.
#![allow(clippy::unwrap_used, reason = "what a test did not expect should end it")]

mod connect;
mod hostile_bytes;
mod law;
mod peer;
mod pool;
mod session;
