//! Texts of others, made fit for a line of the log and for a terminal.
//!
//! Names of files, keys of manifests and words of servers come from people whom we do not know. A line
//! break in one of them would look like a line of ours, and an escape sequence or a mark that turns the
//! direction of writing would change what a terminal shows.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal, or who reads lines, does anything else with the character than to show it: the
/// control characters (C0, DEL and C1), separators of lines, and marks of the direction of writing.
#[must_use]
pub fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The text on one line and without effects: each active character is written as its escape, such as
/// `\n` or `\u001b`, which means the same inside of a JSON text.
///
/// ```
/// use hookkeeper::printable::printable;
///
/// assert_eq!(printable("a\nb\u{1b}[2J\u{202e}"), r"a\nb\u001b[2J\u202e");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            active if is_active(active) => {
                // Writing into a text does not fail; all of them fit into four digits.
                let _ = write!(shown, "\\u{:04x}", u32::from(active));
            }
            plain => shown.push(plain),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_is_left_and_nothing_else_is_touched() {
        for code in 0..=0x2fff_u32 {
            let Some(character) = char::from_u32(code) else { continue };
            let text = format!("a{character}b");
            let shown = printable(&text);
            assert!(!shown.chars().any(is_active), "{code:x}");
            assert_eq!(*shown == *text, !is_active(character), "{code:x}");
            assert_eq!(shown.lines().count(), 1, "{code:x}");
        }
        for plain in ["Ação", "日本語", "שלום", "a b", "\\n", "👩\u{200d}💻"] {
            assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn every_kind_of_active_character_is_known() {
        for character in [
            '\0', '\n', '\r', '\t', '\u{7}', '\u{8}', '\u{1b}', '\u{7f}', '\u{80}', '\u{85}', '\u{9b}',
            '\u{9d}', '\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}',
            '\u{2066}', '\u{2069}',
        ] {
            assert!(is_active(character), "{:x}", u32::from(character));
        }
    }

    #[test]
    fn inside_of_a_json_text_the_escape_means_the_character() {
        let hostile = "a\u{7f}\u{9b}2J\u{2028}\u{202e}\u{2066}";
        let json = serde_json::to_string(hostile).unwrap();
        let shown = printable(&json);
        assert!(!shown.chars().any(is_active));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), hostile);
    }
}
