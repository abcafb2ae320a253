//! Private copies of nats-server, Postgres and VictoriaMetrics for one machine.
//!
//! [`Programs`] finds the programs, [`Nats`], [`NatsCluster`], [`Postgres`] and [`VictoriaMetrics`]
//! start them under a directory of their own and on loopback only. A directory belongs to one
//! process at a time, a server never outlives the process that started it, and nothing that
//! already runs on the machine is touched: every port is a free one unless a fixed one is asked
//! for. `mastwatch up`, the tests of every crate and the benchmarks use the same code.
//!
//! A reader would wrongly assume that dropping a server stops it in good order. Dropping ends it
//! at once, as a crash would; `stop` is the orderly way.

mod claim;
mod error;
mod http;
mod logs;
mod measure;
mod nats;
mod ports;
mod postgres;
mod process;
mod programs;
mod random;
mod server;
mod temporary;
mod victoria_metrics;

pub use crate::error::{NotRunning, StartError};
pub use crate::measure::{cpu_time, cpu_time_of_one, pss_bytes, pss_bytes_of_one, tree};
pub use crate::nats::{Durability, Nats, NatsCluster, NatsOptions};
pub use crate::ports::{Port, free_port};
pub use crate::postgres::{Postgres, PostgresOptions};
pub use crate::process::AtParentDeath;
pub use crate::programs::{FindError, Place, PostgresPrograms, Program, Programs, Version};
pub use crate::temporary::Temporary;
pub use crate::victoria_metrics::{VictoriaMetrics, VictoriaMetricsOptions};
