//! What the shells tell the engine.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::api::{
    Declared, Identity, Kind, ObjectKey, SubscriptionStatus, TokenSourceSpec, TokenSourceStatus,
    WebhookProviderSpec, WebhookProviderStatus, WebhookSubscriptionSpec,
};

use super::ports::Invalid;

/// A change of the desired state.
#[derive(Clone, Debug)]
pub enum Change {
    /// A subscription is there, or is different.
    Subscription(Box<Declared<WebhookSubscriptionSpec, SubscriptionStatus>>),
    /// A token source is there, or is different.
    TokenSource(Box<Declared<TokenSourceSpec, TokenSourceStatus>>),
    /// A provider is there, or is different.
    Provider(Box<Declared<WebhookProviderSpec, WebhookProviderStatus>>),
    /// An object breaks a rule; its last valid version stays in force.
    Invalid {
        /// Kind of the object.
        kind: Kind,
        /// Who it is.
        identity: Identity,
        /// The rule it breaks.
        problem: Invalid,
        /// What is recorded of it.
        status: serde_json::Value,
    },
    /// An object is gone from the desired state.
    Gone {
        /// Kind of the object.
        kind: Kind,
        /// Which one.
        key: ObjectKey,
        /// Whether its deletion policy is followed; otherwise it is orphaned with a warning.
        prune: bool,
    },
    /// Who proves deliveries with this token source's tokens is not who it was, or what they have kept.
    Gates(ObjectKey),
    /// A gate has seen a token in a delivery.
    Evidence(Box<Evidence>),
    /// Everything that was there at the start has been handed over.
    Synced,
    /// Answers when everything that was handed over before has been taken in.
    Mark(Arc<tokio::sync::Notify>),
}

/// A token that a gate has seen in a delivery. Nothing of the token itself is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The receiver at which it came in.
    pub receiver: ObjectKey,
    /// Fingerprint of the token.
    pub fingerprint: String,
    /// The subscription that the delivery named.
    pub subscription: Option<String>,
    /// Its event, where that is known.
    pub event: Option<String>,
    /// When it came in.
    pub at: DateTime<Utc>,
    /// It was refused: the token is no longer accepted, and only known again.
    pub retired: bool,
}
