//! Keyed digests: what has to be known again, without being kept.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};

use crate::store::Digest;

/// A key for digests: HMAC-SHA256 (RFC 2104). Who does not have it can neither make a digest nor try
/// out what one was made of, which matters where there are few possible values, such as tax ids.
#[derive(Clone)]
pub struct DigestKey(Key);

impl DigestKey {
    /// A key of these bytes, which are random.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(Key::new(HMAC_SHA256, random))
    }

    /// The digest of these parts in this order. Each goes in with its length, so that `ab`, `c` and
    /// `a`, `bc` have different ones; `purpose` keeps digests for one thing apart from those for another.
    #[must_use]
    pub fn digest(&self, purpose: &str, parts: &[&[u8]]) -> Digest {
        let mut context = Context::with_key(&self.0);
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DigestKey")
    }
}

/// Where among the known digests the presented one is.
///
/// The only place where something secret is compared. Digests of one key are compared, never the
/// secrets: how long it takes then says nothing of what these have in common. Each comparison takes the
/// same time, and all of them are made, whichever matches.
#[must_use]
pub fn position<'a>(presented: &Digest, known: impl IntoIterator<Item = &'a Digest>) -> Option<usize> {
    let mut found = None;
    for (index, digest) in known.into_iter().enumerate() {
        let equal = verify_slices_are_equal(presented, digest).is_ok();
        found = found.or(equal.then_some(index));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_the_key_the_purpose_and_where_a_part_ends() {
        let key = DigestKey::new(&[1; 32]);
        let digest = key.digest("event", &[b"ab", b"c"]);
        assert_eq!(digest, DigestKey::new(&[1; 32]).digest("event", &[b"ab", b"c"]));
        for other in [
            key.digest("event", &[b"a", b"bc"]),
            key.digest("event", &[b"abc"]),
            key.digest("event", &[b"ab", b"c", b""]),
            key.digest("event", &[b"c", b"ab"]),
            key.digest("body", &[b"ab", b"c"]),
            DigestKey::new(&[2; 32]).digest("event", &[b"ab", b"c"]),
        ] {
            assert_ne!(digest, other);
        }
        assert_eq!(format!("{key:?}"), "DigestKey");
    }

    #[test]
    fn the_first_of_equal_ones_is_found_wherever_it_is() {
        let known: Vec<Digest> = [3_u8, 4, 4, 5].map(|byte| [byte; 32]).to_vec();
        assert_eq!(position(&[3; 32], &known), Some(0));
        assert_eq!(position(&[4; 32], &known), Some(1));
        assert_eq!(position(&[5; 32], &known), Some(3));
        assert_eq!(position(&[6; 32], &known), None);
        let mut near = [5; 32];
        near[31] ^= 1;
        assert_eq!(position(&near, &known), None);
        assert_eq!(position(&[6; 32], []), None);
    }
}
