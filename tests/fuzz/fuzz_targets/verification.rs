//! Feeds `targets/verification.rs` with what libFuzzer makes up.
#![no_main]

#[path = "../targets/header_block.rs"]
mod header_block;
#[path = "../targets/verification.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8], &[u8])| {
    target::run(input.0, input.1, input.2);
});
