//! Feeds `targets/delivery_headers.rs` with what libFuzzer makes up.
#![no_main]

#[path = "../targets/header_block.rs"]
mod header_block;
#[path = "../targets/delivery_headers.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|block: &[u8]| target::run(block));
