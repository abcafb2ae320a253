//! Looks for bytes that break a law of the decoders: `./dev fuzz`.
#![no_main]

#[path = "../../tests/ingest/law/mod.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds_for(bytes));
