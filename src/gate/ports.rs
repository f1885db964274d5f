//! What the gate needs of the process that it runs in.

use futures::future::BoxFuture;
use tokio::time::Instant;

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

/// What came of reading one key of a Secret.
pub type Read = Result<SecretText, CredentialFailure>;

/// Reads the Secrets that receivers name.
pub trait Credentials: Send + Sync {
    /// The values of these keys, one for each, as they were at `since` or later. Several that ask for the
    /// same may share one read.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        references: &'a [SecretKeyReference],
        since: Instant,
    ) -> BoxFuture<'a, Vec<Read>>;
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

    /// Whether the status that an object had when it was declared is what this gate wrote itself.
    fn recorded_is_ours(&self) -> bool {
        true
    }

    /// Forgets what is remembered of a receiver with this uid whose object is gone.
    fn forget<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<(), String>>;
}
