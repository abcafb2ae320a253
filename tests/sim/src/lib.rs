//! Decisions under faults, in virtual time, by seed.
//!
//! A seed draws a network, a script of failures and recoveries, and what goes wrong on the way:
//! claims lost, doubled, delayed and shuffled, asks that nobody answers, services that crash between
//! any two commits. The deciders run over a virtual log; at the end an oracle that shares no code
//! with them compares what they said with what was so.
//!
//! `world` what there is, `script` what happens to it, `net` and `probe` what can be seen of it, `visit` what the reconciler makes good,
//! `bus` the log, `crew` the deciders, `fault` what goes wrong, `run` one story, `oracle` the
//! judgement, `story` what is kept of a failure, `trace` a story told line by line.

pub mod agenda;
pub mod bus;
pub mod crew;
pub mod fault;
pub mod net;
pub mod oracle;
pub mod probe;
pub mod rng;
pub mod run;
pub mod script;
pub mod story;
#[cfg(test)]
mod toy;
pub mod trace;
pub mod visit;
pub mod world;
