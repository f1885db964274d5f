//! Files with manifests: no text makes reading panic, and every error can be shown.
#![no_main]

use hookkeeper::api::manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for document in manifest::read(text) {
        match document {
            Ok(document) => drop(document.key()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
