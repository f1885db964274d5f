//! The placeholder language: parsing ends, and what it yields is within its bounds.

use hookkeeper::provider::{MAX_PLACEHOLDERS, MAX_TEMPLATE, Template};

pub fn run(text: &str) {
    match Template::parse(text) {
        Ok(template) => {
            assert!(text.len() <= MAX_TEMPLATE);
            assert!(template.sources().count() <= MAX_PLACEHOLDERS);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
