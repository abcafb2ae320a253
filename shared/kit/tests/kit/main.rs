//! The kit's promises, kept on real servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod decider;
mod full;
mod ground;
mod keeper;
mod nats;
mod postgres;
mod projection;
mod publish;
mod read;
mod run;
mod samples;
mod servers;
mod service;
mod struck;
mod worker;
