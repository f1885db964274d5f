//! Files with manifests: no text makes reading panic, and every error can be shown.

use hookkeeper::api::manifest;

pub fn run(text: &str) {
    for document in manifest::read(text) {
        match document {
            Ok(document) => drop(document.key()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
