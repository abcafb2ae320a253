//! What follows from what: laws by property, and stories told to the deciders one fact at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blind;
mod enforce;
mod flapping;
mod learned;
mod many_roots;
mod many_suspects;
mod merging;
mod overtaken;
mod pinged;
mod place;
mod plan;
mod promises;
mod recovery;
mod reporter;
mod revision;
mod scout;
mod sessions;
mod site;
mod stories;
mod supply;
mod tables;
mod town;
