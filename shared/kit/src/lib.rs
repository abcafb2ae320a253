//! How things are heard and said: the log, deciders, keepers, workers and projections.

pub mod commit;
pub mod dead;
pub mod log;
pub mod message;
pub mod publish;
pub mod read;
pub mod timer;

pub use crate::{
    log::{Credentials, Log, LogConfig, LogError, LogState},
    message::{EncodeError, Outgoing, Raw, Undecodable},
    publish::{ARRAY_MAX, PublishError, PublishLimits, PublishStats, Stored},
    read::{Filter, From, Reader},
};
