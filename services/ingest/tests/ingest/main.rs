//! The front door from outside, on a real log, and what its decoders do with any bytes whatever.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod absurd;
mod audit;
mod front_door;
mod ground;
mod hostile_bytes;
mod law;
mod secrets;
