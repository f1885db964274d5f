//! What a call was made with, to be held against the state when it has ended.

use std::sync::Arc;

use super::ids::SubscriptionId;
use crate::api::{Ownership, SubscriptionStatus};
use crate::rotation::life::HeldToken;
use crate::rotation::step::Why;

/// What an apply was made with.
#[derive(Clone, Debug)]
pub(crate) struct Applying {
    pub(crate) id: String,
    pub(crate) ownership: Ownership,
    pub(crate) why: Why,
    pub(crate) sent: Sent,
}

/// What was sent, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) held: HeldToken,
    /// Digest of the document.
    pub(crate) digest: String,
    pub(crate) origin: Arc<str>,
}

/// What a create was made with.
#[derive(Clone, Debug)]
pub(crate) struct Creating {
    /// The term in which it was decided on.
    pub(crate) term: Option<u64>,
    pub(crate) sent: Sent,
}

/// What a call was decided on.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) term: Option<u64>,
    pub(crate) status: SubscriptionStatus,
}

/// What follows a record.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// The subscription is looked at again.
    Reconcile,
    /// The create is sent: its record is durable.
    Create(Creating),
    /// The status was handed to an heir: now the one that had it is let go.
    Release(SubscriptionId),
}
