//! The receivers that a process knows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use super::receiver::Receiver;

/// The receivers at work by their uid, and those that are there and cannot be at work.
#[derive(Clone, Debug, Default)]
pub struct Known {
    at_work: BTreeMap<Arc<str>, Arc<Receiver>>,
    /// Those of which there is no valid version. What waits for them goes on waiting.
    refused: BTreeSet<Arc<str>>,
}

/// The receivers that there are. Equal pointers mean that nothing has changed.
pub type Receivers = Arc<Known>;

impl Known {
    /// Receivers at work, and the uids of those that are refused.
    #[must_use]
    pub fn new(at_work: BTreeMap<Arc<str>, Arc<Receiver>>, refused: BTreeSet<Arc<str>>) -> Self {
        Self { at_work, refused }
    }

    /// Whether there is an object with this uid, at work or not. What waits for one that is not there is
    /// nobody's.
    #[must_use]
    pub fn is_there(&self, uid: &str) -> bool {
        self.at_work.contains_key(uid) || self.refused.contains(uid)
    }
}

impl Deref for Known {
    type Target = BTreeMap<Arc<str>, Arc<Receiver>>;

    fn deref(&self) -> &Self::Target {
        &self.at_work
    }
}
