//! Benchmarks on the real thing: one JSON line a run on standard output, progress on standard error.
//!
//! Each is measured beside its limit in the same run, on servers of its own. Every line says what else the
//! machine was doing: figures of a busy machine are no figures.

mod all;
mod client;
mod ingest;
mod limits;
mod machine;
mod probe;
mod project;
mod replay;
mod rest;
mod routers;
mod storm;
mod suspicion;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use serde_json::Value;
use std::process::ExitCode;

/// The same as in the program that is measured.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

/// Benchmarks: one JSON line a run.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    which: Which,
}

/// Which benchmark.
#[derive(Debug, Subcommand)]
enum Which {
    /// An outage through the front door, from the first report to the last recovery.
    Storm(storm::Args),
    /// Signals through the front door, beside a handler that only stores.
    Ingest(ingest::Args),
    /// Rows of read models, beside a bare insert of the same rows.
    Project,
    /// The log through a decider, beside a bare ordered read.
    Replay(replay::Args),
    /// From a claim to what people can see of it in Postgres.
    Suspicion(suspicion::Args),
    /// Many ICMP targets at once, beside fping.
    Probe(probe::Args),
    /// A whole installation that has nothing to do.
    Rest(rest::Args),
    /// Many routers: installed, then read every few minutes, some of them black-holed.
    Routers(routers::Args),
    /// Every one of them but `routers`, which takes half an hour, with the parameters the figures of the README are taken with.
    All(all::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    kit::telemetry::use_ring();
    let outcome = match Cli::parse().which {
        Which::All(args) => return all::run(&args).await,
        Which::Storm(args) => storm::run(&args).await,
        Which::Ingest(args) => ingest::run(&args).await,
        Which::Project => project::run().await,
        Which::Replay(args) => replay::run(&args).await,
        Which::Suspicion(args) => suspicion::run(&args).await,
        Which::Probe(args) => probe::run(&args).await,
        Which::Rest(args) => rest::run(&args).await,
        Which::Routers(args) => routers::run(&args).await,
    };
    match outcome {
        Ok(line) => {
            write_line(&line);
            for missed in limits::missed(&line) {
                progress(format_args!("not within its limit: {missed}"));
            }
            if limits::passed(&line) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            progress(format_args!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

#[allow(clippy::print_stdout, reason = "the line is what a benchmark is for")]
fn write_line(line: &Value) {
    println!("{line}");
}

/// Says how far it has come.
#[allow(clippy::print_stderr, reason = "progress is for the person who waits")]
pub(crate) fn progress(what: impl std::fmt::Display) {
    eprintln!("{what}");
}
