//! Places in an answer, and what is read from there.

use serde_json::Value;
use zeroize::Zeroize as _;

use super::field::Field;
use crate::engine::ports::Invalid;
use crate::http::{Body, read_json};
use crate::printable::is_active;

/// The longest pointer, in bytes.
const MAX_POINTER: usize = 512;
/// The longest id that is taken, in bytes; it stands in status and in paths.
const MAX_ID: usize = 256;
/// The most values of an answer: a page of some thousands of subscriptions.
const MAX_VALUES: usize = 50_000;

/// A JSON Pointer (RFC 6901); empty for the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(String);

impl Pointer {
    /// Checks a pointer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, field: &Field) -> Result<Self, Invalid> {
        if text.len() > MAX_POINTER {
            return Err(field.invalid(format!("the pointer is longer than {MAX_POINTER} bytes")));
        }
        if !text.is_empty() && !text.starts_with('/') {
            return Err(
                field.invalid("a JSON Pointer (RFC 6901) is empty or starts with /, such as /data/id")
            );
        }
        if text.chars().any(is_active) {
            return Err(field.invalid("a pointer holds no control characters"));
        }
        // The part before the first `~` has none; each of the others starts with what follows one.
        let well_escaped = |after: &str| after.starts_with('0') || after.starts_with('1');
        if !text.split('~').skip(1).all(well_escaped) {
            return Err(field.invalid("in a JSON Pointer ~ is written ~0, and / inside a name ~1"));
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.pointer(&self.0)
    }
}

/// A provider's answer as JSON. Its texts are wiped when dropped: providers echo headers.
pub(super) struct Answered(Value);

impl Answered {
    /// Reads a body; `None` when it is no JSON, or one of too many values.
    pub(super) fn read(body: &Body) -> Option<Self> {
        read_json(body.as_bytes(), MAX_VALUES).map(Self)
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

/// An id: a text or a whole number that can stand in a path and in status.
pub(super) fn read_id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        // To whoever writes `17.0` all numbers are floating point, and up to there they are exact.
        Value::Number(number) => {
            let whole =
                number.as_f64().filter(|id| id.fract() == 0.0 && id.abs() < 9_007_199_254_740_992.0)?;
            format!("{whole:.0}")
        }
        _ => return None,
    };
    is_usable_id(&id).then_some(id)
}

/// Whether the text can stand as an id in a path and in status.
pub(super) fn is_usable_id(id: &str) -> bool {
    !matches!(id, "" | "." | "..")
        && id.len() <= MAX_ID
        && id.trim().len() == id.len()
        && !id.chars().any(|c| is_active(c) || is_invisible(c))
}

/// Whether a character shows nothing.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_is_checked_when_it_is_read() {
        let parse = |text| Pointer::parse(text, &Field::new("p"));
        for text in ["", "/", "/a/0", "/a~0b~1c", "/é"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in [
            "a",
            "$.a",
            "/a~",
            "/a~2",
            "/~/b",
            " /a",
            "/a\nb",
            "/\u{1b}[2J",
            "/\u{9b}",
            "/\u{202e}",
            "/\u{2028}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"/a".repeat(300)).is_err());
    }

    #[test]
    fn an_id_is_a_text_or_a_whole_number() {
        for (value, id) in [
            (json!("d5b2"), Some("d5b2")),
            (json!(42), Some("42")),
            (json!(-1), Some("-1")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (json!("a/b c"), Some("a/b c")),
            (json!(""), None),
            (json!(".."), None),
            (json!(17.0), Some("17")),
            (json!(-2.0), Some("-2")),
            (json!(1.5), None),
            (json!(1e300), None),
            (json!(9_007_199_254_740_992.0), None),
            (json!("a\nb"), None),
            (json!(" a"), None),
            (json!("a\u{a0}"), None),
            (json!("a\u{202e}b"), None),
            (json!("a\u{1b}[2Jb"), None),
            (json!("a\u{feff}"), None),
            (json!("é"), Some("é")),
            (json!("x".repeat(300)), None),
            (json!(null), None),
            (json!(true), None),
            (json!({"id": 1}), None),
        ] {
            assert_eq!(read_id(&value).as_deref(), id, "{value}");
        }
    }
}
