//! The placeholder language: parsing ends, and what it yields is within its bounds.
#![no_main]

use hookkeeper::provider::{MAX_PLACEHOLDERS, MAX_TEMPLATE, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Template::parse(text) {
        Ok(template) => {
            assert!(text.len() <= MAX_TEMPLATE);
            assert!(template.sources().count() <= MAX_PLACEHOLDERS);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
