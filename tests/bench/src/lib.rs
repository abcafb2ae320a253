//! Benchmarks: one JSON line a run.
