//! The rules of the house as tests.
//!
//! What is written down twice drifts: the schemas beside the types, the arrows of the architecture
//! beside the manifests. This crate works the second form out of the first, or reads both,
//! and its tests say where they differ. It runs nothing of the product.

pub mod asyncapi;
pub mod layers;
pub mod metrics;
pub mod programs;
pub mod requirements;
pub mod samples;
pub mod schemas;
pub mod sources;

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("this crate lies in tests/tidy")
}

/// Whether the tests are to write what they would otherwise compare: `MASTWATCH_WRITE=1`.
pub fn is_to_write() -> bool {
    std::env::var_os("MASTWATCH_WRITE").is_some_and(|v| v == "1")
}

/// Compares `text` with the file at `path` (below the root), or writes it there when asked to.
///
/// # Errors
///
/// What differs, and how to mend it.
pub fn agree(path: &str, text: &str) -> anyhow::Result<()> {
    let file = root().join(path);
    let there = std::fs::read_to_string(&file).ok();
    if there.as_deref() == Some(text) {
        return Ok(());
    }
    if is_to_write() {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        return Ok(std::fs::write(file, text)?);
    }
    let state = if there.is_some() { "is not what is generated now" } else { "is missing" };
    anyhow::bail!("{path} {state}; `MASTWATCH_WRITE=1 cargo nextest run -p tidy` writes it")
}
