//! Feeds `targets/destination.rs` with what libFuzzer makes up.
#![no_main]

#[path = "../targets/destination.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: (&str, &str)| target::run(input.0, input.1));
