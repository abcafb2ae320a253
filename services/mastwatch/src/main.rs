//! The `mastwatch` command.

fn main() {}
