//! The `mastwatch` command.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    mastwatch::cli::run(mastwatch::cli::Cli::parse())
}
