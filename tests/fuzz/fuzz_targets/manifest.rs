//! Feeds `targets/manifest.rs` with what libFuzzer makes up.
#![no_main]

#[path = "../targets/manifest.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|text: &str| target::run(text));
