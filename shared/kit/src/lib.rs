//! How things are heard and said: the log, deciders, keepers, workers and projections.

pub mod admin;
pub mod commit;
pub mod config;
pub mod dead;
pub mod decider;
pub mod deciding;
pub mod http;
pub mod keeper;
pub mod lease;
pub mod log;
pub mod message;
mod nodes;
pub mod permissions;
pub mod personal;
pub mod postgres;
pub mod projection;
pub mod publish;
pub mod quota;
pub mod read;
pub mod run;
pub mod samples;
pub mod telemetry;
pub mod timer;
pub mod worker;

pub use crate::{
    decider::{Decider, DeciderError, DeciderOptions, DeciderStats, Leasing, Observe, Then},
    deciding::decide,
    keeper::{Asked, Keeper, KeeperEvent, KeeperOptions, KeeperStats},
    lease::{Lease, LeaseConfig, Slots},
    log::{Credentials, Log, LogConfig, LogError, LogState},
    message::{EncodeError, Outgoing, Raw, Undecodable},
    postgres::{Place, as_tenant, move_position},
    projection::{Chunk, Project, Projection, ProjectionError, Told},
    publish::{ARRAY_MAX, PublishError, PublishLimits, PublishStats, Stored},
    read::{Filter, From, Reader, TapStats},
    run::{Process, Restart, Service},
    worker::{Job, Verdict, Worker, WorkerError},
};
