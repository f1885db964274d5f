//! The one type in which tokens and credentials travel.
//!
//! It can be neither serialised nor printed, so a type that is logged, written into a status or
//! sent as an event cannot hold one by accident. Getting the bytes out is one method with a name
//! that stands out in review.
//!
//! Libraries that send, read and parse a token make copies of it in memory of their own. The binary
//! wipes all memory that is freed (`main.rs`), so no copy outlives its owner. What is left are owners
//! that live on:
//! - the buffers of a connection keep the last request and the last answer in them, until the next ones
//!   take their place or the connection is closed, which it is 30 s after its last use;
//! - what the process was started with stays readable for root as long as it runs: a Secret in a
//!   variable (`HOOKKEEPER_SECRET_…`) rather than in a file;
//! - memory that the operating system has swapped out is not wiped on disk: encrypt the swap, or have
//!   none.

pub mod bounds;

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
