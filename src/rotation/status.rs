//! What is recorded after an outcome, and while nothing happens.
//!
//! Every way through this file ends in [`present`], which sets every condition from what is known:
//! nothing falls through to `Ready`, and equal input gives equal output, so that an unchanged
//! status is never written.
//!
//! # What a crash leaves behind
//! A process can be killed after any step. What it leaves is on record here or at the provider, and
//! leads back to one webhook with a live token (`tests/it/crashes`):
//!
//! | killed after | leaves | the next process |
//! |---|---|---|
//! | deciding | nothing | decides again |
//! | a mint | a token that nobody uses, and perhaps a revoked one in use | mints when a rotation is due, and applies |
//! | an apply, before its record | the new token at the provider, the old one on record | rotates when it is due: once more than necessary |
//! | some of the members of a source | different fingerprints on record | finds the source split: one mint, for all members |
//! | the creation record ([`creation_opened`]) | the record, and no webhook | lets it settle, lists, finds none, creates (`locate.rs`) |
//! | a create, before its record | the record, and a webhook | lets it settle, lists, adopts that one (`locate.rs`) |
//! | a delete, before the finalizer is off | no webhook | deletes again; a missing one counts as deleted |
//! | publishing, before the apply | a new and live `current` in the Secret | applies that one, and mints nothing |

use chrono::{DateTime, SubsecRound, Utc};

use super::conditions::{self, View};
use super::life::HeldToken;
use super::observed;
use super::step::WaitReason;
use crate::api::{CreationRecord, Failures, Ownership, Reason, SubscriptionStatus, recorded_request};

/// A token was brought to the remote subscription.
#[derive(Clone, Debug)]
pub struct Rotated<'a> {
    /// Id of the remote subscription.
    pub id: &'a str,
    /// Where that id lives.
    pub origin: &'a str,
    /// How it is ours.
    pub ownership: Ownership,
    /// The token.
    pub held: &'a HeldToken,
    /// Digest of the document.
    pub digest: &'a str,
    /// Digest of the identity of the Secrets in it.
    pub secrets: Option<String>,
    /// The manual request that this satisfies.
    pub handled_request: Option<&'a str>,
    /// When the answer came.
    pub at: DateTime<Utc>,
}

/// Times in status have whole seconds where nothing hangs on more; a token's own times keep their
/// milliseconds, because short lives are planned from them.
pub(crate) fn to_milliseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(3)
}

/// The fields after a token was applied.
#[must_use]
pub fn rotated(before: &SubscriptionStatus, outcome: &Rotated<'_>) -> SubscriptionStatus {
    let mut conditions = before.conditions.clone();
    if before.token_fingerprint.as_ref() != Some(&outcome.held.fingerprint) {
        observed::begin_anew(&mut conditions, outcome.at);
    }
    SubscriptionStatus {
        conditions,
        webhook_id: Some(outcome.id.to_owned()),
        webhook_origin: Some(outcome.origin.to_owned()),
        ownership: Some(outcome.ownership),
        token_fingerprint: Some(outcome.held.fingerprint.clone()),
        token_minted_time: Some(to_milliseconds(outcome.held.minted.wall)),
        token_expiration_time: outcome.held.expires.map(to_milliseconds),
        last_rotated_time: Some(to_milliseconds(outcome.at)),
        applied_digest: Some(outcome.digest.to_owned()),
        applied_secrets: outcome.secrets.clone(),
        last_handled_rotate_request: outcome
            .handled_request
            .map(str::to_owned)
            .or_else(|| before.last_handled_rotate_request.clone()),
        failures: None,
        creation: None,
        missing_since: None,
        ..before.clone()
    }
}

/// The fields with the life that the token in place has now, where the source has given it another
/// one; `None` where nothing changes.
#[must_use]
pub fn with_life_of(before: &SubscriptionStatus, held: &HeldToken) -> Option<SubscriptionStatus> {
    if before.token_fingerprint.as_deref() != Some(held.fingerprint.as_str()) {
        return None;
    }
    let status = SubscriptionStatus {
        token_minted_time: Some(to_milliseconds(held.minted.wall)),
        token_expiration_time: held.expires.map(to_milliseconds),
        ..before.clone()
    };
    (status != *before).then_some(status)
}

/// The fields when a create is about to be sent.
#[must_use]
pub fn creation_opened(before: &SubscriptionStatus, target: &str, now: DateTime<Utc>) -> SubscriptionStatus {
    let record = CreationRecord { target: target.to_owned(), started_time: to_milliseconds(now) };
    SubscriptionStatus { creation: Some(record), ..before.clone() }
}

/// The fields after a create that certainly did not take effect.
#[must_use]
pub fn creation_closed(before: &SubscriptionStatus) -> SubscriptionStatus {
    SubscriptionStatus { creation: None, ..before.clone() }
}

/// The fields after the provider said that there is no such subscription.
#[must_use]
pub fn missing(before: &SubscriptionStatus, now: DateTime<Utc>) -> SubscriptionStatus {
    SubscriptionStatus {
        missing_since: before.missing_since.or(Some(to_milliseconds(now))),
        ..before.clone()
    }
}

/// The fields when a listing shows the subscription that an update did not find.
#[must_use]
pub fn found(before: &SubscriptionStatus) -> SubscriptionStatus {
    SubscriptionStatus { missing_since: None, ..before.clone() }
}

/// The fields after a failed attempt. `count` is how many failed in a row.
#[must_use]
pub fn failed(
    before: &SubscriptionStatus,
    count: u32,
    reason: Reason,
    inputs: &str,
    now: DateTime<Utc>,
    next_attempt: DateTime<Utc>,
) -> SubscriptionStatus {
    let since = before.failures.as_ref().map_or_else(|| to_milliseconds(now), |failures| failures.since);
    let failures = Failures {
        count: i32::try_from(count).unwrap_or(i32::MAX),
        reason,
        since,
        next_attempt_time: to_milliseconds(next_attempt),
        inputs: Some(inputs.to_owned()),
    };
    SubscriptionStatus { failures: Some(failures), ..before.clone() }
}

/// The object that waited takes over what the deleted one had.
#[must_use]
pub fn handed_over(heir: &SubscriptionStatus, owner: &SubscriptionStatus) -> SubscriptionStatus {
    SubscriptionStatus {
        webhook_id: owner.webhook_id.clone(),
        webhook_origin: owner.webhook_origin.clone(),
        ownership: owner.ownership,
        token_fingerprint: owner.token_fingerprint.clone(),
        token_minted_time: owner.token_minted_time,
        token_expiration_time: owner.token_expiration_time,
        last_rotated_time: owner.last_rotated_time,
        applied_digest: owner.applied_digest.clone(),
        applied_secrets: owner.applied_secrets.clone(),
        missing_since: owner.missing_since,
        // A create whose outcome is open may be all there is of the remote.
        creation: owner.creation.clone().or_else(|| heir.creation.clone()),
        failures: None,
        ..heir.clone()
    }
}

/// A manual request seen on a new object is recorded as handled: its first rotation is to come
/// anyway.
#[must_use]
pub fn request_noted(before: &SubscriptionStatus, request: &str) -> SubscriptionStatus {
    SubscriptionStatus { last_handled_rotate_request: Some(recorded_request(request)), ..before.clone() }
}

/// Brings conditions, `observedGeneration` and `nextRotationTime` in line with the fields and with
/// how the subscription stands.
#[must_use]
pub fn present(fields: &SubscriptionStatus, view: &View<'_>) -> SubscriptionStatus {
    let mut status = fields.clone();
    status.observed_generation = Some(view.generation);
    let asked = match view.wait {
        WaitReason::Asked { not_before } => Some(*not_before),
        _ => None,
    };
    status.next_rotation_time =
        view.plan.map(|plan| plan.due).into_iter().chain(asked).min().map(to_milliseconds);
    conditions::bring_in_line(&mut status, view);
    status
}
