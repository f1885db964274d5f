//! What to do next with one subscription.
//!
//! The rules are tried in order and the first that matches wins. The order is part of the product's
//! promise: leaving a rule out, or trying it later, produced a doubled subscription, a stale token
//! or a storm in the models these rules come from. Comments name the rules by their numbers.
//!
//! | | when | then |
//! |---|---|---|
//! | 1 | it is being deleted | finish as `deletionPolicy` says, then let it go (`deletion.rs`) |
//! | 2 | it or its provider is suspended | no call |
//! | 3 | its current version is not valid | go on with the last valid one that this process has seen; without one, wait |
//! | 4 | another object owns the same webhook ([`super::claims`]) | wait for that one |
//! | 5 | calls are held back: (a) those to the provider, or to its origin, from everybody; (b) its own, after a failure | wait: (a) whatever asks for the call, rule 1 included; (b) unless what the attempt was made with has changed ([`super::backoff::attempt_inputs`]) |
//! | 6 | no webhook is known for it | find it, or create it (`locate.rs`) |
//! | 7 | something differs: the document, a Secret in it, the webhook at the provider, or the source's token; or a person asks | rotate (`rotate.rs`) |
//! | 8 | the rotation is due ([`super::schedule`]) | rotate |
//! | 9 | nothing of that | wait until it is due, until the next check, or until the token expires, whichever is first |
//!
//! Three things follow from what a rule must know:
//! - Without any valid version (rule 3) nobody can tell whether it is suspended, so that is looked at
//!   before rule 2.
//! - A provider or a source that is not there, or is not valid, is waited for after rule 2: no later
//!   rule can be tried without them. An id that is on record for another origin stops before rule 5,
//!   because only a person can say which of the two is meant.
//! - Rule 5 (a) forbids a call, so it is tried on the step that the others give: what needs no call
//!   stands as it does.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::backoff::own_wait;
use super::case::Case;
use super::claims::Claimant;
use super::deletion;
use super::facts::{Facts, Memory, ProviderFact, SourceFact, SourceState, Subject};
use super::locate::{self, Located};
use super::schedule::planned;
use super::step::{Step, WaitReason};
use super::time::Moment;
use super::wait::Wait;
use crate::api::Reason;

/// Decides what to do next. Total: every combination of facts has an answer.
#[must_use]
pub fn decide(now: Moment, subject: &Subject<'_>, facts: &Facts<'_>, memory: &Memory) -> Step {
    let expiry = subject.status.token_expiration_time.filter(|expires| *expires > now.wall);
    let wait = |reason| Step::Wait { until: expiry, reason };

    // Rule 1.
    if let Some(since) = subject.identity.deleted.or(memory.deleting_since) {
        let step = deletion::delete(now, since, subject, facts, memory);
        let ends = deletion::held_up_until(since, facts, memory).into_iter().chain(expiry);
        return unless_held_back(step, now, facts, ends.filter(|end| *end > now.wall).min(), None);
    }
    // Rule 3. A current version that is not valid stands behind the last valid one, in `spec`.
    let Some(spec) = subject.spec else {
        return wait(WaitReason::Invalid);
    };
    // Rule 2.
    if spec.is_suspended() || matches!(facts.provider, ProviderFact::Usable { suspended: true, .. }) {
        return wait(WaitReason::Suspended);
    }
    let (profile, list_forbidden, desired) = match facts.provider {
        ProviderFact::NotFound => {
            let name = &spec.provider_ref.name;
            let message = format!("WebhookProvider {name} was not found; create it in the same namespace");
            return wait(WaitReason::Awaiting(Reason::ProviderNotFound, message));
        }
        ProviderFact::Invalid(problem) => {
            let message = format!("WebhookProvider {} is invalid: {problem}", spec.provider_ref.name);
            return wait(WaitReason::Awaiting(Reason::InvalidSpec, message));
        }
        ProviderFact::Usable { profile, list_forbidden, desired_digest, .. } => {
            (profile, list_forbidden || !profile.can_list, desired_digest)
        }
    };
    let source = match facts.source {
        SourceFact::NotFound => {
            let name = spec.token_source_ref.as_ref().map_or("", |reference| reference.name.as_str());
            let message = format!("TokenSource {name} was not found; create it in the same namespace");
            return wait(WaitReason::Awaiting(Reason::TokenSourceNotFound, message));
        }
        SourceFact::Invalid(problem) => {
            return wait(WaitReason::Awaiting(
                Reason::InvalidSpec,
                format!("the TokenSource is invalid: {problem}"),
            ));
        }
        SourceFact::Usable(source) => source,
    };
    let status = subject.status;
    // Rule 4.
    if let Some(rival) = facts.rival {
        let id = spec.webhook_id.as_ref().or(status.webhook_id.as_ref());
        return wait(WaitReason::Conflict(Claimant::seen_from(&subject.identity.key, rival), id.cloned()));
    }
    // Another id that is given is looked for at the new origin; the recorded one lives at the old.
    if let (Some(at), Some(recorded)) = (&status.webhook_origin, &status.webhook_id)
        && *at != profile.origin
        && spec.webhook_id.as_ref().is_none_or(|given| given == recorded)
    {
        let message = format!(
            "the recorded id lives at {at}, and the provider's baseUrl is now {}; create a new object for the new \
             provider, or set the baseUrl back",
            profile.origin
        );
        return wait(WaitReason::Stalled(Reason::ProviderMismatch, message));
    }
    // Rule 5 (b).
    if let Some(until) = own_wait(now, subject, memory, desired) {
        let (reason, message) =
            memory.failing.clone().unwrap_or((Reason::Pending, "an attempt failed".into()));
        let until = expiry.map_or(until, |expiry| expiry.min(until));
        return Step::Wait { until: Some(until), reason: WaitReason::BackingOff(reason, message) };
    }
    let case = Case { now, subject, spec, facts, memory, profile, desired, source, expiry };
    // Rule 6, then 7 to 9.
    let step = match locate::locate(&case, list_forbidden) {
        Located::Known { id, ownership, why } => case.rotate_if_needed(&id, ownership, why),
        Located::Absent { target } => case.create(target),
        Located::Unknown(step) => step,
    };
    let used = memory.last_attempt;
    let last_attempt = planned(subject, spec, profile, source)
        .filter(|plan| plan.expires > now.wall && used != status.token_expiration_time)
        .filter(|plan| facts.held_back.is_some_and(|held| plan.is_outlasted_by(held.until)))
        .map(|plan| plan.last_attempt());
    unless_held_back(step, now, facts, expiry, last_attempt)
}

/// Rule 5 (a): while calls are held back nothing is called, whatever asks for it. Tried last, so
/// that what needs no call stands as it does. A pause that was asked for and outlasts the token is
/// interrupted once, by a last attempt while it can still be in time.
fn unless_held_back(
    step: Step,
    now: Moment,
    facts: &Facts<'_>,
    expiry: Option<DateTime<Utc>>,
    last_attempt: Option<DateTime<Utc>>,
) -> Step {
    let Some(held_back) = facts.held_back.filter(|held| held.until > now.wall) else {
        return step;
    };
    let last_attempt = last_attempt
        .filter(|at| held_back.asked && *at < held_back.until && matches!(step, Step::Rotate { .. }));
    if last_attempt.is_some_and(|at| at <= now.wall) || !step.is_call() {
        return step;
    }
    Step::Wait {
        until: [Some(held_back.until), expiry, last_attempt].into_iter().flatten().min(),
        reason: WaitReason::BackingOff(held_back.reason, held_back.message()),
    }
}

/// When the provider's copy stops being valid: what work is ordered by.
#[must_use]
pub fn deadline(now: Moment, subject: &Subject<'_>, source: &SourceState) -> DateTime<Utc> {
    let status = subject.status;
    let superseded = source.newest.is_some() && source.newest != status.token_fingerprint;
    let own = status.token_expiration_time.unwrap_or(now.wall);
    match &source.held {
        Some(held) if superseded && source.revokes_previous => own.min(held.minted.wall),
        _ => own,
    }
}

/// A wait of this length that starts now, for [`Memory::resend`].
#[must_use]
pub fn resend_wait(now: Moment, timeout: Duration) -> Wait {
    Wait::starting(now.wall, timeout * 2)
}
