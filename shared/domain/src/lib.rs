//! What follows from what: topology, supply, the walk, incidents and who is told.
//!
//! Everything in here is a plain function of what was heard: no clock, no randomness, no I/O.
//! The same log gives the same incidents, always.
//!
//! Three deciders share the vocabulary of this crate and nothing else: [`Diagnosis`] says what
//! is broken, [`Correlation`] gathers that into incidents, [`Announcing`] says who is told.

pub mod announcing;
mod children;
pub mod confidence;
pub mod correlation;
pub mod diagnosis;
mod digest;
pub mod enforce;
mod flapping;
pub mod graph;
pub mod impact;
mod judge;
pub mod network;
pub mod plan;
mod quota;
pub mod recent;
pub mod reporter;
pub mod route;
pub mod scout;
pub mod supply;

pub use announcing::Announcing;
pub use children::Children;
pub use correlation::Correlation;
pub use diagnosis::Diagnosis;
pub use graph::{Graph, Problem};
pub use network::Network;
