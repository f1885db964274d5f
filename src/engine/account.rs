//! Whose webhooks a credential manages, without the credential.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

/// Drawn when the process begins: nobody can make two texts collide, or find a text by its digest.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A digest under a key that only this process has.
pub(crate) fn keyed(value: impl Hash) -> u64 {
    KEY.hash_one(value)
}

/// Whose credential it is: a keyed digest of its value, which lives in memory only. Copies of one
/// Secret are one account.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account(u64);

impl Account {
    /// The account of a credential, which is all of these texts together.
    #[must_use]
    pub fn of_credential(texts: &[&str]) -> Self {
        Self(keyed(("credential", texts)))
    }

    /// Without a credential nothing tells two authors at a provider apart but their namespaces.
    #[must_use]
    pub fn of_namespace(namespace: &str) -> Self {
        Self(keyed(("namespace", namespace)))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Account")
    }
}
