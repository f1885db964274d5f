//! What a shell tells the gate.

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
    /// A receiver's object is gone, since this time.
    Gone(ObjectKey, DateTime<Utc>),
    /// A token source is there, is different, or is gone.
    Source(ObjectKey, Option<Box<TokenSourceSpec>>),
    /// Everything that was there at the start has been handed over.
    Synced,
}
