//! What the gate needs of the process that it runs in.

use futures::future::BoxFuture;

use crate::api::{ObjectKey, SecretKeyReference, WebhookReceiverStatus};
use crate::secret::SecretText;

/// Why a key of a Secret could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFailure {
    /// There is no such Secret, or it lacks the key.
    #[error("not found")]
    NotFound,
    /// It could not be read; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Reads the Secrets that receivers name.
pub trait Credentials: Send + Sync {
    /// One key's value, as it is at this moment.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretText, CredentialFailure>>;
}

/// Keeps the status of receivers.
pub trait Statuses: Send + Sync {
    /// Writes a receiver's status. The write is meant for the object with this uid only.
    fn write<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        status: &'a WebhookReceiverStatus,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Forgets what is remembered of a receiver with this uid whose object is gone.
    fn forget<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<(), String>>;
}
