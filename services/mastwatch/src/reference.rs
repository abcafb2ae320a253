//! Pages of `docs/reference` that are made from the program itself.

use std::path::Path;

/// Holds the page called `name` against `page`; writes it where `MASTWATCH_WRITE=1`.
pub(crate) fn is_written(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("MASTWATCH_WRITE").is_some_and(|v| v == "1") {
        std::fs::write(&path, page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "`MASTWATCH_WRITE=1 cargo nextest run -p mastwatch` writes {}", path.display());
}
