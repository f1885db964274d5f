//! What stands before a credential in its header.

use hyper::header::AUTHORIZATION;

use crate::http::{HeaderName, added_scheme, without_scheme};

/// What stands before a credential. In `Authorization` it is a scheme (RFC 9110, section 11): case does
/// not matter in it, nor how many blanks follow. Elsewhere it is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    is_scheme: bool,
}

impl Prefix {
    /// What stands before the credential in this header.
    #[must_use]
    pub fn new(header: &HeaderName, prefix: &str) -> Self {
        let is_scheme = header == AUTHORIZATION;
        let text = prefix.trim_start_matches([' ', '\t']);
        Self { text: text.to_owned(), is_scheme }
    }

    /// What follows it in the value of a header; `None` when the value does not begin with it, or
    /// nothing follows.
    #[must_use]
    pub fn strip<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = value;
        let mut wanted = self.text.as_bytes();
        while let [first, following @ ..] = wanted {
            let (blanks, after) = split_blanks(wanted);
            if self.is_scheme && blanks > 0 {
                let (found, after_found) = split_blanks(rest);
                if found == 0 {
                    return None;
                }
                (wanted, rest) = (after, after_found);
                continue;
            }
            let [byte, after_byte @ ..] = rest else { return None };
            let equal = if self.is_scheme { byte.eq_ignore_ascii_case(first) } else { byte == first };
            if !equal {
                return None;
            }
            (wanted, rest) = (following, after_byte);
        }
        let rest = super::field::trimmed(rest);
        (!rest.is_empty()).then_some(rest)
    }

    /// The credential as it stands after the prefix. A scheme that it already begins with is not written
    /// a second time by who sends it: [`crate::http::prefixed`].
    #[must_use]
    pub fn credential<'a>(&self, credential: &'a str) -> &'a str {
        match added_scheme(&self.text) {
            Some(scheme) => without_scheme(credential, Some(scheme)),
            None => credential,
        }
    }
}

fn split_blanks(text: &[u8]) -> (usize, &[u8]) {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (blanks, &text[blanks..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(header: &str, prefix: &str, value: &str) -> Option<String> {
        let header = HeaderName::from_bytes(header.as_bytes()).unwrap();
        let prefix = Prefix::new(&header, prefix);
        prefix.strip(value.as_bytes()).map(|rest| String::from_utf8(rest.to_vec()).unwrap())
    }

    #[test]
    fn a_scheme_of_authorization_is_known_in_any_case_and_with_any_blanks() {
        for value in ["Bearer abc", "bearer abc", "BEARER\tabc", "Bearer   abc", "bEaReR \t abc"] {
            assert_eq!(stripped("authorization", "Bearer ", value).as_deref(), Some("abc"), "{value}");
        }
        for value in ["Bearerabc", "Bearer", "Bearer ", "Basic abc", "abc", "", "Bearer\u{a0}abc"] {
            assert_eq!(stripped("authorization", "Bearer ", value), None, "{value}");
        }
        assert_eq!(stripped("authorization", "Token token=", "TOKEN   Token=abc").as_deref(), Some("abc"));
        assert_eq!(stripped("authorization", "", "Bearer abc").as_deref(), Some("Bearer abc"));
        assert_eq!(stripped("authorization", "Bearer", "bearerabc").as_deref(), Some("abc"));
    }

    #[test]
    fn in_another_header_a_prefix_is_what_it_is() {
        assert_eq!(stripped("x-token", "Token ", "Token abc").as_deref(), Some("abc"));
        assert_eq!(stripped("x-token", "Token ", "token abc"), None);
        assert_eq!(stripped("x-token", "Token ", "Token\tabc"), None);
        assert_eq!(stripped("x-token", "sha256=", "sha256=abc").as_deref(), Some("abc"));
        assert_eq!(stripped("x-token", "sha256=", "SHA256=abc"), None);
        assert_eq!(stripped("x-token", "", "abc").as_deref(), Some("abc"));
    }

    #[test]
    fn a_scheme_that_the_credential_begins_with_is_not_there_twice() {
        let prefix = Prefix::new(&AUTHORIZATION, "Bearer ");
        assert_eq!(prefix.credential("Bearer abc"), "abc");
        assert_eq!(prefix.credential("abc"), "abc");
        assert_eq!(Prefix::new(&AUTHORIZATION, "").credential("Bearer abc"), "Bearer abc");
    }
}
