//! Feeds `targets/template.rs` with what libFuzzer makes up.
#![no_main]

#[path = "../targets/template.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|text: &str| target::run(text));
