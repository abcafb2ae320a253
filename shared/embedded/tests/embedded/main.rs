//! The private servers of one machine: how they start, stop, are found dead and start again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nats;
mod postgres;
mod victoria_metrics;
