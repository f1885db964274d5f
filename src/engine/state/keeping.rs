//! What is kept of a provider for deletions.

use std::collections::BTreeSet;

use crate::engine::ids::SubscriptionId;
use crate::engine::ports::Custody;
use crate::rotation::wait::Wait;

/// What is kept of a provider for deletions.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// How many subscriptions have the policy to delete their remote, and are not gone yet.
    pub(crate) holders: u32,
    /// What the remote was told to do with its credential.
    pub(crate) custody: Custody,
    /// The finalizer is being written.
    pub(crate) writing: bool,
    /// It could not be written: when to try again, and how often that failed.
    pub(crate) pause: Option<(Wait, u32)>,
    /// Those whose create waits until the finalizer stands.
    pub(crate) waiting: BTreeSet<SubscriptionId>,
    /// People were told that the provider's deletion waits.
    pub(crate) emitted: bool,
}

impl Keeping {
    /// The provider has another remote, which has been told nothing, or none.
    pub(crate) fn forget_client(&mut self) {
        self.custody = Custody::Nothing;
    }
}
