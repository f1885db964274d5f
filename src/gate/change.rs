//! What a shell tells the gate.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::api::validation::Problem;
use crate::api::{
    Declared, Identity, ObjectKey, TokenSourceSpec, WebhookReceiverSpec, WebhookReceiverStatus,
};

/// A change of the desired state, as far as it is the gate's.
#[derive(Clone, Debug)]
pub enum ReceiverChange {
    /// A receiver is there, or is different. It comes again with the same generation when the subscription
    /// that names it sends its token in another header.
    Declared(Box<Declared<WebhookReceiverSpec, WebhookReceiverStatus>>),
    /// A receiver breaks a rule; its last valid version stays in force.
    Invalid(Identity, Vec<Problem>),
    /// A receiver's object is gone, since this time, and may come back: nothing more is handed on.
    Gone(ObjectKey, DateTime<Utc>),
    /// A receiver's object was deleted for good: what waits is parked, and whoever takes its name gets
    /// nothing of it.
    Deleted(ObjectKey),
    /// A token source is there, is different, or is gone.
    Source(ObjectKey, Option<Box<TokenSourceSpec>>),
    /// Subscriptions still carry the tokens of this source with these fingerprints.
    Carried(ObjectKey, BTreeSet<Arc<str>>),
    /// All receivers of this namespace have been handed over, where that is not said by [`Self::Synced`].
    Listed(Arc<str>),
    /// Everything that was there at the start has been handed over.
    Synced,
}
