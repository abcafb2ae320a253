//! How things are heard and said: the log, deciders, keepers, workers and projections.

pub mod admin;
pub mod commit;
pub mod config;
pub mod dead;
pub mod http;
pub mod log;
pub mod message;
pub mod postgres;
pub mod publish;
pub mod quota;
pub mod read;
pub mod run;
pub mod telemetry;
pub mod timer;

pub use crate::{
    log::{Credentials, Log, LogConfig, LogError, LogState},
    message::{EncodeError, Outgoing, Raw, Undecodable},
    publish::{ARRAY_MAX, PublishError, PublishLimits, PublishStats, Stored},
    read::{Filter, From, Reader},
};
pub use run::Service;
