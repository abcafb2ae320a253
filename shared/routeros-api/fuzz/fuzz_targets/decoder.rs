//! Looks for bytes that break a law of the decoder: `./dev fuzz`.
#![no_main]

#[path = "../../tests/conversations/law/mod.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds_for(bytes));
