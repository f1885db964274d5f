//! Reading Secrets, at the moment of use.

use futures::future::BoxFuture;

use crate::api::SecretKeyReference;
use crate::rotation::outcome::Refusal;
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Owner};

/// One key of a Secret. Its text is had only by [`Self::open`], which says where it may go.
#[derive(Clone, Debug)]
pub struct SecretValue {
    text: SecretText,
    /// Changes whenever the Secret does: its uid and resourceVersion, or inode, mtime and size.
    pub version: String,
    /// The hosts the value may be sent to; `None` when the Secret does not say.
    pub allowed_hosts: Option<Vec<String>>,
}

impl SecretValue {
    /// A value as it was read.
    #[must_use]
    pub fn new(text: SecretText, version: String, allowed_hosts: Option<Vec<String>>) -> Self {
        Self { text, version, allowed_hosts }
    }

    /// The text, for a request or a token with these bounds, which from now on hold where the Secret of
    /// this name may go.
    #[must_use]
    pub fn open(self, secret: &str, bounds: &mut Bounds) -> SecretText {
        if let Some(hosts) = &self.allowed_hosts {
            bounds.confine(Owner::Secret(secret.to_owned()), hosts);
        }
        self.text
    }
}

/// Why a Secret could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFailure {
    /// There is no such Secret, or it lacks the key.
    #[error("not found")]
    NotFound,
    /// It could not be read; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Reads Secrets, at the moment of use.
pub trait Secrets: Send + Sync {
    /// One key's value.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>>;
}

impl dyn Secrets + '_ {
    /// Reads a key's value and says in our words why it cannot be read.
    ///
    /// # Errors
    /// There is no such value, or it cannot be read.
    pub async fn find(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
    ) -> Result<SecretValue, Refusal> {
        let value = self.read(namespace, reference).await;
        value.map_err(|failure| match failure {
            SecretFailure::NotFound => {
                Refusal::SecretNotFound { name: reference.name.clone(), key: reference.key.clone() }
            }
            SecretFailure::Unavailable(what) => {
                Refusal::SecretUnavailable { name: reference.name.clone(), what }
            }
        })
    }
}
