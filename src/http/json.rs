//! Reading an answer as JSON.

use serde_json::Value;

/// Reads JSON of at most so many values; `None` when it is none, or holds more. A byte order mark
/// in front of it is passed over (RFC 8259, section 8.1).
///
/// An answer's length does not bound what reading it costs: each of the values in `[{"a":0},…]`
/// takes a hundred times its bytes, so that one answer of [`MAX_BODY`](super::MAX_BODY) would take
/// as many megabytes.
#[must_use]
pub fn read_json(text: &[u8], most_values: usize) -> Option<Value> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    // No value begins without one of these; those inside texts count too, which is only stricter.
    let values = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if values > most_values {
        return None;
    }
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_values_as_are_allowed_and_no_more() {
        assert!(read_json(b"7", 0).is_some());
        assert!(read_json(b"{\"a\":[1,2]}", 3).is_some());
        assert!(read_json("\u{feff}{}".as_bytes(), 3).is_some());
        for (text, most) in [
            ("{\"a\":[1,2]}", 2),
            ("[{},{},{}]", 5),
            ("[[[[]]]]", 3),
            ("\"a,b,c\"", 1),
            ("no json", 9),
            ("[", 9),
            ("", 9),
        ] {
            assert!(read_json(text.as_bytes(), most).is_none(), "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_before_the_document_is_left_out() {
        assert_eq!(read_json("\u{feff}{\"a\":1}".as_bytes(), 1), read_json(b"{\"a\":1}", 1));
        assert!(read_json("\u{feff}\u{feff}1".as_bytes(), 1).is_none());
    }

    #[test]
    fn nesting_ends_in_none_and_not_in_an_overflow() {
        assert!(read_json("[".repeat(100_000).as_bytes(), usize::MAX).is_none());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read_json(deep.as_bytes(), usize::MAX).is_none());
    }
}
