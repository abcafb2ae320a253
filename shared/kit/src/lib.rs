//! How things are heard and said: the log, deciders, keepers, workers and projections.

pub mod admin;
pub mod config;
pub mod http;
pub mod postgres;
pub mod quota;
pub mod run;
pub mod telemetry;

pub use run::Service;
