//! The one type in which tokens and credentials travel.
//!
//! It can be neither serialised nor printed, so a type that is logged, written into a status or
//! sent as an event cannot hold one by accident. Getting the bytes out is one method with a name
//! that stands out in review.

use std::fmt;

use zeroize::Zeroizing;

/// Text that must never be seen: a token, a client secret, an API key.
///
/// Prints as `[redacted]` and is wiped from memory when dropped.
///
/// ```
/// let token = hookkeeper::secret::SecretText::new("eyJhbGciOi".to_owned());
/// assert_eq!(format!("{token:?}"), "[redacted]");
/// assert_eq!(token.expose(), "eyJhbGciOi");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the moment in which it is put into a request.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Without the line end that text editors and `echo` leave in a file that a Secret is made from.
    #[must_use]
    pub fn without_line_end(self) -> Self {
        match self.expose().strip_suffix('\n') {
            Some(line) => line.strip_suffix('\r').unwrap_or(line).into(),
            None => self,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_left_out() {
        for (text, expected) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", "")]
        {
            assert_eq!(SecretText::from(text).without_line_end().expose(), expected);
        }
    }
}
