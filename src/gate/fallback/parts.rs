//! What asking works with.

use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::ports::{Asking, Means};
use crate::gate::clock::Clock;
use crate::gate::digest::DigestKey;
use crate::gate::hand_on::{Exchange, Locate};
use crate::gate::observer::Observer;
use crate::store::{Digest, Store};

/// How platforms are asked; the defaults are those of a production process.
#[derive(Clone)]
pub struct Options {
    /// How many questions may be under way together. A namespace may have as many as it leaves to the
    /// next.
    pub most: usize,
    /// How many of them for one receiver.
    pub most_of_one: usize,
    /// A receiver is looked after at least so often, though nothing says that there is anything.
    pub look_every: Duration,
    /// How often it is looked whether something is waited for that nobody is asked for.
    pub tidy_every: Duration,
    /// Whether all receivers of a namespace are known. What is waited for by others is left alone until this
    /// is so.
    pub knows_all_of: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            most: 64,
            most_of_one: 10,
            look_every: Duration::from_secs(30),
            tidy_every: Duration::from_secs(60),
            knows_all_of: Arc::new(|_| true),
        }
    }
}

/// What asking works with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) asking: Arc<dyn Asking>,
    pub(super) exchange: Arc<dyn Exchange>,
    pub(super) locate: Arc<dyn Locate>,
    pub(super) means: Arc<dyn Means>,
    pub(super) budget: Arc<dyn Budget>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) digests: DigestKey,
    pub(super) options: Options,
}

impl Parts {
    /// What a status is known again by.
    pub(super) fn status_digest(&self, status: &str) -> Digest {
        self.digests.digest("polled status", &[status.as_bytes()])
    }
}
