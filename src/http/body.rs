//! The body of an answer.

use std::fmt;

use zeroize::Zeroizing;

/// The most bytes of a body that are read.
pub const MAX_BODY: usize = 1024 * 1024;

/// The bytes of an answer. They may hold a token, so they are wiped when dropped and never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body(Zeroizing<Vec<u8>>);

/// The body is larger than [`MAX_BODY`].
#[derive(Debug)]
pub(super) struct Full;

impl Body {
    /// Takes bytes over, as they would have come from a server.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what has come in.
    pub(super) fn extend(&mut self, chunk: &[u8]) -> Result<(), Full> {
        let needed = self.0.len().saturating_add(chunk.len());
        if needed > MAX_BODY {
            return Err(Full);
        }
        if needed > self.0.capacity() {
            // A vector that grows by itself leaves its old bytes behind, unwiped.
            let mut larger = Zeroizing::new(Vec::with_capacity((needed * 2).min(MAX_BODY)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(chunk);
        Ok(())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[redacted, {} bytes]", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_as_much_as_is_allowed_and_no_more() {
        let mut body = Body::default();
        for chunk in [vec![1; 1000], vec![2; MAX_BODY - 1001], vec![3; 1]] {
            body.extend(&chunk).unwrap();
        }
        assert_eq!(body.len(), MAX_BODY);
        assert_eq!((body.as_bytes()[999], body.as_bytes()[1000]), (1, 2));
        assert!(body.extend(&[4]).is_err());
        assert!(body.extend(&[]).is_ok());
    }

    #[test]
    fn grows_to_twice_what_it_needs_and_to_the_limit_at_most() {
        let mut body = Body::default();
        assert!(body.is_empty());
        let capacities = [100, 100, 1, 600_000, 400_000].map(|size| {
            body.extend(&vec![0; size]).unwrap();
            body.0.capacity()
        });
        assert_eq!(capacities, [200, 200, 402, MAX_BODY, MAX_BODY]);
        assert!(!body.is_empty());
    }

    #[test]
    fn is_never_printed() {
        let body = Body::new(b"token".to_vec());
        assert_eq!(format!("{body:?}"), "[redacted, 5 bytes]");
    }
}
