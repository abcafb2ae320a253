//! What an operator writes down: the network file, its errors and its generator.
//!
//! One YAML file says what the network is. [`parse`] reads it whole and tells everything that is
//! wrong with it, with line, column and what would be right; [`NetworkFile::to_inventory`] makes
//! of it what is laid down in the log, sealed; [`NetworkFile::to_yaml`] writes it again;
//! [`generate`] makes networks of any size, and [`demo`] the one that is shown.
//!
//! The simulated ISP reads the same file. What only it needs is under [`NetworkFile::lab`].
//!
//! The format is described for people in `docs/reference/network-file.md`; every example of that
//! page is read by a test.

mod check;
mod demo;
mod duration;
mod generate;
mod inventory;
mod lab;
mod legacy;
mod model;
mod problem;
mod read;
mod secret;
mod write;
mod yaml;

pub use demo::demo;
pub use generate::{Concentrators, Shape, TooLarge, generate};
pub use inventory::{Import, SealedPerson, WrongTenant};
pub use lab::{Lab, LabDeviceMode, LabHints, LabNode, LabRights};
pub use legacy::{Legacy, LegacyError, Rewritten};
pub use model::{
    ChannelEntry, LoginEntry, Mesh, Need, NetworkFile, NodeEntry, Opens, PersonEntry, SeenBy, ServiceEntry,
    Session, SiteEntry, Subscriber, TenantEntry, TokenEntry, Via, WebhookEntry,
};
pub use problem::{PROBLEMS_MAX, Position, Problem, Problems};
pub use read::{TEXT_MAX, parse};
pub use secret::{OnlyWrittenOut, Secret, Secrets, SecretsHere};
