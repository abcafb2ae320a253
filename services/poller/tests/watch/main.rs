//! The poller at work: a real log, routers on loopback; asks go in, answers come out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asks;
mod ground;
mod heartbeats;
mod router;
mod sight;
mod snapshots;
mod statics;
mod steady;
