//! Making statuses and finalizers durable, and publishing tokens.

use futures::future::BoxFuture;

use crate::api::{ObjectKey, SubscriptionStatus, TokenSourceStatus, WebhookProviderStatus};
use crate::rotation::outcome::Published;

/// Why a record could not be made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFailure {
    /// The object is gone; there is nothing to record on.
    #[error("the object is gone")]
    Gone,
    /// This process may no longer write: another one leads.
    #[error("another process leads")]
    Superseded,
    /// It may or may not be durable; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Makes a status or a finalizer durable, and answers only when it is.
pub trait Record: Send + Sync {
    /// Writes a subscription's status. The write is meant for the object with this uid only.
    fn subscription<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        status: &'a SubscriptionStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Writes a token source's status.
    fn token_source<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a TokenSourceStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Writes a provider's status.
    fn provider<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a WebhookProviderStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Puts our finalizer on a subscription, before something must be done at its deletion; or takes
    /// it off, when nothing must be any more.
    fn set_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Puts our finalizer on a provider, so that it stays as long as deletions need it; or takes it
    /// off. The write is meant for the object with this uid only.
    fn set_provider_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Lets a deleted subscription go: takes the finalizer off, or forgets what is recorded.
    fn release<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<(), RecordFailure>>;
}

/// Why a token could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishFailure {
    /// Something of that name exists that is not ours.
    #[error(
        "{0} exists and does not belong to the TokenSource; choose another publishTo.secretName, or delete the Secret"
    )]
    Conflict(String),
    /// It could not be read or written; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Keeps the current and the previous token where receivers can read them.
pub trait Publish: Send + Sync {
    /// What is published for a source; `None` when nothing is.
    fn read<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Published>, PublishFailure>>;
    /// Replaces what is published.
    fn write<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
        tokens: &'a Published,
    ) -> BoxFuture<'a, Result<(), PublishFailure>>;
}
