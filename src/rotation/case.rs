//! Everything a rule may look at, once the way to the provider is clear.

use chrono::{DateTime, Utc};

use super::claims::Claimant;
use super::facts::{Facts, Memory, ProviderProfile, SourceState, Subject};
use super::step::{Step, WaitReason};
use super::time::{Moment, not_ahead};
use crate::api::{ObjectKey, WebhookSubscriptionSpec};

/// Everything a rule may look at, once the way to the provider is clear.
pub(super) struct Case<'a> {
    pub(super) now: Moment,
    pub(super) subject: &'a Subject<'a>,
    pub(super) spec: &'a WebhookSubscriptionSpec,
    pub(super) facts: &'a Facts<'a>,
    pub(super) memory: &'a Memory,
    pub(super) profile: &'a ProviderProfile,
    pub(super) desired: &'a str,
    pub(super) source: &'a SourceState,
    pub(super) expiry: Option<DateTime<Utc>>,
}

impl Case<'_> {
    pub(super) fn wait(&self, until: Option<DateTime<Utc>>, reason: WaitReason) -> Step {
        let until = match (until, self.expiry) {
            (Some(until), Some(expiry)) => Some(until.min(expiry)),
            (until, expiry) => until.or(expiry),
        };
        Step::Wait { until, reason }
    }

    /// Another object, as the author of this one may know it.
    pub(super) fn claimant(&self, key: &ObjectKey) -> Claimant {
        Claimant::seen_from(&self.subject.identity.key, key)
    }

    pub(super) fn not_ahead(&self, recorded: DateTime<Utc>) -> DateTime<Utc> {
        not_ahead(recorded, self.now, self.memory.listing_after)
    }
}
