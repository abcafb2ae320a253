//! The read models, on a real Postgres: what rows say, that they can be told again, and time series.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod downtimes;
mod history;
mod read_models;
mod rebuild;
mod reference;
mod series;
