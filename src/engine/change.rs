//! What a shell tells the engine about the desired state.

use super::ports::Invalid;
use crate::api::{
    Declared, Identity, Kind, ObjectKey, SubscriptionStatus, TokenSourceSpec, TokenSourceStatus,
    WebhookProviderSpec, WebhookProviderStatus, WebhookSubscriptionSpec,
};

/// One change of the desired state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A subscription is there, or is different now.
    Subscription(Box<Declared<WebhookSubscriptionSpec, SubscriptionStatus>>),
    /// A token source is there, or is different now.
    TokenSource(Box<Declared<TokenSourceSpec, TokenSourceStatus>>),
    /// A provider is there, or is different now.
    Provider(Box<Declared<WebhookProviderSpec, WebhookProviderStatus>>),
    /// An object that breaks a rule; its last valid version stays in force.
    Invalid {
        /// Kind of the object.
        kind: Kind,
        /// Who it is.
        identity: Identity,
        /// The rule it breaks.
        problem: Invalid,
        /// What is recorded of it, in the form of its kind.
        status: serde_json::Value,
    },
    /// The object is gone from the desired state.
    Gone {
        /// Kind of the object.
        kind: Kind,
        /// Namespace and name of the object.
        key: ObjectKey,
        /// Follow the deletion policy; otherwise the object is orphaned with a warning.
        prune: bool,
    },
    /// Everything that was there at the start has been handed over.
    Synced,
}
