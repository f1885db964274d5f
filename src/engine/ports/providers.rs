//! Calling providers.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::leadership::CallFence;
use crate::api::{ObjectKey, WebhookProviderSpec, WebhookSubscriptionSpec};
use crate::engine::account::Account;
use crate::rotation::facts::ProviderProfile;
use crate::rotation::outcome::{Applied, CallFailure, Listing, Refusal};
use crate::rotation::reading::Reading;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// A document to send, but for the parts that only the module `provider` knows.
#[derive(Clone, Debug)]
pub struct Document {
    /// Namespace of the subscription, where its Secrets are.
    pub namespace: Arc<str>,
    /// What the subscription asks for.
    pub spec: Arc<WebhookSubscriptionSpec>,
    /// The token to put in.
    pub token: SecretText,
    /// Where the token may go: what its source says, and the Secret that it was read from.
    pub token_bounds: Bounds,
}

/// A rule that an object breaks: the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field, such as `spec.postbackUrl`.
    pub field: String,
    /// What is wrong and how to put it right.
    pub problem: String,
}

/// Turns a provider's description into something that can be called.
pub trait ProviderClients: Send + Sync {
    /// Merges the description with its preset, parses and checks it. Makes no call.
    ///
    /// # Errors
    /// The first rule that the description breaks.
    fn resolve(
        &self,
        key: &ObjectKey,
        spec: &WebhookProviderSpec,
    ) -> Result<Arc<dyn ProviderClient>, Invalid>;
}

/// What becomes of a provider's credential after a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Custody {
    /// It is read for each call and forgotten.
    #[default]
    Nothing,
    /// The last one that worked is kept in memory, for deletes alone: a namespace that is deleted
    /// loses its Secrets before its subscriptions.
    Deletes,
    /// The provider itself is being deleted: it is kept for the listings that deletions need, too.
    Ending,
}

/// One provider: manages its subscriptions.
pub trait ProviderClient: Send + Sync {
    /// What the engine must know to plan calls.
    fn profile(&self) -> &ProviderProfile;
    /// Checks a subscription against the provider's rules. Makes no call.
    ///
    /// # Errors
    /// The first rule that the subscription breaks.
    fn check(&self, spec: &WebhookSubscriptionSpec) -> Result<(), Invalid>;
    /// A warning about a valid subscription, such as a request catcher behind its postback URL.
    fn warning(&self, spec: &WebhookSubscriptionSpec) -> Option<String>;
    /// Digest of everything the update document is made of but token and Secret bytes: action,
    /// URL, parameters, header specs, the operation.
    fn document_digest(&self, spec: &WebhookSubscriptionSpec) -> String;
    /// Digest of the identity of each Secret in the document, as [`Applied::secrets`] has it.
    fn document_secrets<'a>(
        &'a self,
        namespace: &'a str,
        spec: &'a WebhookSubscriptionSpec,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>>;
    /// Reads the credential and says whose it is. Makes no call.
    ///
    /// # Errors
    /// It cannot be read, or must not be sent to the provider.
    fn identify(&self) -> BoxFuture<'_, Result<Account, Refusal>>;
    /// Whose credential it was that was read last; `None` while none was.
    fn account(&self) -> Option<Account>;
    /// From now on what is written is written for this account alone: a create, an update or a delete
    /// with the credential of another is refused with [`Refusal::AccountChanged`].
    fn act_for(&self, account: Account);
    /// Says from now on what becomes of the credential. What comes back reads it ahead where it is to
    /// be kept and none is yet, and makes no call.
    fn keep_credential(&self, _custody: Custody) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
    /// Reads the next page of a listing; sends exactly one request. The listing comes back when that
    /// page made it complete. After a failure the same page can be asked for again.
    fn list<'a>(
        &'a self,
        reading: &'a mut Reading,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Option<Listing>, CallFailure>>;
    /// Creates a subscription; sends exactly one request.
    fn create<'a>(
        &'a self,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>>;
    /// Replaces a subscription's document; sends exactly one request.
    fn update<'a>(
        &'a self,
        id: &'a str,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>>;
    /// Deletes a subscription; one that is missing is an `Err` with `missing: true`.
    fn delete<'a>(
        &'a self,
        spec: &'a WebhookSubscriptionSpec,
        id: &'a str,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<(), CallFailure>>;
}
