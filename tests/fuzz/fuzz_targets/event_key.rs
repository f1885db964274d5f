//! Feeds `targets/event_key.rs` with what libFuzzer makes up.
#![no_main]

#[path = "../targets/event_key.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    target::run(body);
});
