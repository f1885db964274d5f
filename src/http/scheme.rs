//! Authentication schemes (RFC 9110, section 11.1) in front of credentials.

use crate::secret::SecretText;

/// Schemes that token servers are known to write in front of their tokens.
const KNOWN: [&str; 14] = [
    "Bearer",
    "Token",
    "JWT",
    "OAuth",
    "Basic",
    "DPoP",
    "PoP",
    "MAC",
    "GNAP",
    "ApiKey",
    "Api-Key",
    "SSWS",
    "GenieKey",
    "Zoho-oauthtoken",
];

/// The first word of a text that goes on after a blank, such as `Bearer` of `Bearer abc`.
fn first_word(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once([' ', '\t'])?;
    let rest = rest.trim_start_matches([' ', '\t']);
    (!word.is_empty()).then_some((word, rest))
}

fn is_known(word: &str) -> bool {
    KNOWN.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// The scheme that a text puts in front of the credential that follows it, such as `Bearer ` or
/// `Token token=`.
#[must_use]
pub fn added_scheme(text: &str) -> Option<&str> {
    let (word, _) = first_word(text.trim_start_matches([' ', '\t']))?;
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)).then_some(word)
}

/// The scheme that stands right before the end of a text, such as the last word of
/// `Authorization: Bearer `.
#[must_use]
pub fn scheme_at_end(text: &str) -> Option<&str> {
    let words = text.trim_end_matches([' ', '\t']);
    let last = words.rsplit(|character: char| !is_scheme_character(character)).next()?;
    (words.len() < text.len() && !last.is_empty()).then_some(last)
}

fn is_scheme_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.".contains(character)
}

/// The credential without the schemes it begins with: the known ones, and `added`, which the place
/// it goes to puts there itself. Without a credential after it, a word is no scheme.
///
/// ```
/// use hookkeeper::http::without_scheme;
///
/// assert_eq!(without_scheme("Bearer abc", None), "abc");
/// assert_eq!(without_scheme("acme abc", Some("Acme")), "abc");
/// assert_eq!(without_scheme("two words", Some("Bearer")), "two words");
/// ```
#[must_use]
pub fn without_scheme<'a>(credential: &'a str, added: Option<&str>) -> &'a str {
    let mut credential = credential;
    while let Some((word, rest)) = first_word(credential) {
        let is_added = added.is_some_and(|added| added.eq_ignore_ascii_case(word));
        if rest.is_empty() || !(is_added || is_known(word)) {
            break;
        }
        credential = rest;
    }
    credential
}

/// Whether the text is a scheme and nothing after it.
#[must_use]
pub fn is_bare_scheme(text: &str) -> bool {
    text.eq_ignore_ascii_case("Bearer")
}

/// A credential with what stands before it in its header, in one piece that never outgrows its memory,
/// so that no copy stays behind. Some
/// token servers write a scheme before the token themselves, and some people write it into the Secret:
/// there is never one after another.
#[must_use]
pub fn prefixed(prefix: &str, credential: &SecretText) -> SecretText {
    let credential = match added_scheme(prefix) {
        Some(scheme) => without_scheme(credential.expose(), Some(scheme)),
        None => credential.expose(),
    };
    let mut text = String::with_capacity(prefix.len() + credential.len());
    text.push_str(prefix);
    text.push_str(credential);
    SecretText::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_taken_off_and_nothing_else() {
        for (credential, added, expected) in [
            ("abc", None, "abc"),
            ("Bearer abc", None, "abc"),
            ("bearer   abc", None, "abc"),
            ("Bearer\tabc", None, "abc"),
            ("Bearer Bearer abc", None, "abc"),
            ("JWT abc", Some("Bearer"), "abc"),
            ("Acme abc", None, "Acme abc"),
            ("ACME abc", Some("acme"), "abc"),
            ("two words", Some("Bearer"), "two words"),
            ("Bearer", Some("Bearer"), "Bearer"),
            ("Bearerabc", Some("Bearer"), "Bearerabc"),
            ("Bearer ", None, "Bearer "),
            ("", None, ""),
        ] {
            assert_eq!(without_scheme(credential, added), expected, "{credential:?} {added:?}");
        }
    }

    #[test]
    fn what_adds_a_scheme() {
        for (prefix, expected) in [
            ("Bearer ", Some("Bearer")),
            (" Bearer ", Some("Bearer")),
            ("Token token=", Some("Token")),
            ("", None),
            ("v1.", None),
            ("Bearer", None),
            (" ", None),
        ] {
            assert_eq!(added_scheme(prefix), expected, "{prefix:?}");
        }
        for (text, expected) in [
            ("Bearer ", Some("Bearer")),
            ("Authorization: Bearer ", Some("Bearer")),
            ("{\"a\":\"JWT ", Some("JWT")),
            ("Bearer", None),
            ("key=", None),
            (": ", None),
            ("", None),
        ] {
            assert_eq!(scheme_at_end(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_tokens_own_scheme_is_taken_off_where_the_header_adds_one_and_kept_elsewhere() {
        for (prefix, token, expected) in [
            ("Bearer ", "abc", "Bearer abc"),
            ("Bearer ", "Bearer abc", "Bearer abc"),
            ("Bearer ", "bearer  abc", "Bearer abc"),
            ("JWT ", "Bearer abc", "JWT abc"),
            ("Acme ", "acme abc", "Acme abc"),
            ("Token token=", "Token abc", "Token token=abc"),
            ("", "Bearer abc", "Bearer abc"),
            ("", "abc", "abc"),
            ("v1.", "Bearer abc", "v1.Bearer abc"),
            ("Bearer ", "two words", "Bearer two words"),
        ] {
            assert_eq!(prefixed(prefix, &token.into()).expose(), expected, "{prefix:?} {token:?}");
        }
    }

    #[test]
    fn a_scheme_without_a_credential_is_a_bare_one() {
        assert!(is_bare_scheme("Bearer") && is_bare_scheme("bearer"));
        for text in ["", "Bearer ", "Bearer abc", "Token"] {
            assert!(!is_bare_scheme(text), "{text:?}");
        }
    }
}
