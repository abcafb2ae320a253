//! The `mastwatch` command.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A message of the log is some thirty small allocations, most of them in the client's headers: they come
/// and go faster by this one.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    mastwatch::cli::run()
}
