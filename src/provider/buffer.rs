//! A buffer for text that may hold a token: wiped, bounded, never printed.

use std::io;

use zeroize::Zeroizing;

use crate::secret::SecretText;

/// The most bytes that a rendered document, or any value on its way into one, may have.
///
/// A subscription's headers alone can have 256 KiB; four times that leaves room for their encodings
/// and still bounds what a provider's author can make this process hold.
pub(super) const MAX_RENDERED: usize = 1024 * 1024;

/// What was to be rendered is larger than [`MAX_RENDERED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Text being put together.
pub(super) struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(1024)))
    }

    /// Adds text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), TooLarge> {
        let needed = self.0.len().saturating_add(text.len());
        self.reserve(needed)?;
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Adds anything that serialises, as JSON.
    pub(super) fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooLarge> {
        // Everything given here can be serialised, so running out of room is the only failure.
        serde_json::to_writer(self, value).map_err(|_| TooLarge)
    }

    /// The text.
    pub(super) fn finish(mut self) -> SecretText {
        // Only whole `&str`s and JSON were added, so nothing is ever replaced here.
        let bytes = std::mem::take(&mut *self.0);
        SecretText::new(String::from_utf8(bytes).unwrap_or_default())
    }

    fn reserve(&mut self, needed: usize) -> Result<(), TooLarge> {
        if needed > MAX_RENDERED {
            return Err(TooLarge);
        }
        if needed > self.0.capacity() {
            // A vector that grows by itself leaves its old bytes behind, unwiped.
            let mut larger = Zeroizing::new(Vec::with_capacity((needed * 2).min(MAX_RENDERED)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        Ok(())
    }
}

impl io::Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.reserve(self.0.len().saturating_add(bytes.len()))
            .map_err(|TooLarge| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_as_much_as_is_allowed_and_no_more() {
        let mut buffer = SecretBuffer::new();
        buffer.text(&"a".repeat(MAX_RENDERED - 4)).unwrap();
        buffer.json("bc").unwrap();
        assert_eq!(buffer.text("d"), Err(TooLarge));
        assert_eq!(buffer.json(&1), Err(TooLarge));
        let text = buffer.finish();
        assert_eq!(text.len(), MAX_RENDERED);
        assert!(text.expose().ends_with("aa\"bc\""));
    }
}
