//! Writes, and reads of what is written: they wait for a place before they begin.

use std::sync::Arc;

use super::ids::{ProviderId, SourceId, SubscriptionId};
use super::ports::{Custody, ProviderClient, Published};
use super::sent::Then;
use crate::api::{
    ObjectKey, SubscriptionStatus, TokenSourceStatus, WebhookProviderStatus, WebhookSubscriptionSpec,
};

/// Something to be written, or to be read from where it is written.
pub(crate) enum Write {
    /// A subscription's status.
    Status {
        id: SubscriptionId,
        key: ObjectKey,
        uid: String,
        status: Arc<SubscriptionStatus>,
        /// In which it was decided on.
        term: Option<u64>,
        then: Then,
    },
    /// A subscription's finalizer.
    Finalizer { id: SubscriptionId, key: ObjectKey, uid: String, wanted: bool },
    /// A deleted subscription is let go.
    Release { id: SubscriptionId, key: ObjectKey, uid: String },
    /// The Secrets of a document are read and compared with those that were applied.
    CompareSecrets {
        id: SubscriptionId,
        client: Arc<dyn ProviderClient>,
        namespace: Arc<str>,
        spec: Box<WebhookSubscriptionSpec>,
    },
    /// A token source's status.
    SourceStatus {
        id: SourceId,
        key: ObjectKey,
        before: Box<TokenSourceStatus>,
        status: Box<TokenSourceStatus>,
    },
    /// The published Secret is read.
    ReadPublished { id: SourceId, key: ObjectKey, secret_name: String, forgotten: u64 },
    /// The published Secret is written.
    Published { id: SourceId, key: ObjectKey, secret_name: String, forgotten: u64, tokens: Box<Published> },
    /// A provider's status.
    ProviderStatus { id: ProviderId, key: ObjectKey, status: Box<WebhookProviderStatus> },
    /// A provider's finalizer.
    ProviderFinalizer { id: ProviderId, key: ObjectKey, uid: String, wanted: bool },
    /// A provider's credential is read, to know whose it is.
    Identify { id: ProviderId, client: Arc<dyn ProviderClient> },
    /// A provider's credential is kept for deletions.
    KeepCredential { id: ProviderId, client: Arc<dyn ProviderClient>, custody: Custody },
}
