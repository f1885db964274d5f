//! What may stand in a header.

use super::field::Field;
use crate::api::UNSETTABLE_HEADER_MESSAGE;
use crate::engine::ports::Invalid;
use crate::http::{HeaderName, is_free_to_set};

/// The longest name, in bytes.
const MAX_NAME: usize = 128;

/// Checks the name of a header of a request of ours.
///
/// # Errors
/// The name is no HTTP token (RFC 9110, section 5.6.2) or not free to set.
pub(super) fn header_name(name: &str, field: &Field) -> Result<HeaderName, Invalid> {
    let name = parse_name(name)
        .ok_or_else(|| field.invalid("the name of a header has letters, digits and !#$%&'*+-.^_`|~ only"))?;
    if !is_free_to_set(&name) {
        return Err(field.invalid(UNSETTABLE_HEADER_MESSAGE));
    }
    Ok(name)
}

/// The name of a header, if it is one.
pub(super) fn parse_name(name: &str) -> Option<HeaderName> {
    if name.len() > MAX_NAME {
        return None;
    }
    HeaderName::from_bytes(name.as_bytes()).ok()
}

/// Whether the text can be (part of) the value of a header: no line break, NUL or other control
/// character but the tab (RFC 9110, section 5.5).
pub(super) fn is_value(text: &str) -> bool {
    text.chars().all(|c| c == '\t' || !c.is_control())
}

/// Checks a part of a header's value that stands in an object.
///
/// # Errors
/// It has a character that no header may have.
pub(super) fn check_text(text: &str, field: &Field) -> Result<(), Invalid> {
    if is_value(text) {
        Ok(())
    } else {
        Err(field.invalid("a header cannot hold line breaks or other control characters"))
    }
}

/// Checks a content type.
///
/// # Errors
/// It is empty, or has a character that no header may have.
pub(super) fn check_content_type(text: &str, field: &Field) -> Result<(), Invalid> {
    if text.trim().is_empty() {
        return Err(field.invalid("the content type is empty; leave the field out for the default"));
    }
    check_text(text, field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{UNSETTABLE_HEADERS, is_settable};

    #[test]
    fn what_an_object_may_not_set_is_what_the_client_does_not_send() {
        for name in UNSETTABLE_HEADERS {
            assert!(!is_free_to_set(&HeaderName::from_static(name)), "{name}");
            assert!(!is_settable(&name.to_uppercase()), "{name}");
        }
        for name in ["accept", "authorization", "content-type", "cookie", "user-agent", "x-token"] {
            assert!(is_free_to_set(&HeaderName::from_static(name)) && is_settable(name), "{name}");
        }
    }
}
