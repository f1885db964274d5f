//! The key under which credentials are compared.

use crate::gate::digest::DigestKey;
use crate::store::Digest;

/// A key under which presented and known credentials are compared: random, of this process, never
/// kept.
#[derive(Clone, Debug)]
pub struct ProcessKey(DigestKey);

impl ProcessKey {
    /// A key of these bytes, which are random.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(DigestKey::new(random))
    }

    /// What a credential is compared by.
    pub(super) fn digest(&self, credential: &[u8]) -> Digest {
        self.0.digest("credential", &[credential])
    }
}
