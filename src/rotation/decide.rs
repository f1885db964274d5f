//! What to do next with one subscription.
//!
//! The rules are tried in order and the first that matches wins. The order is part of the product's
//! promise: leaving a rule out, or trying it later, produced a doubled subscription, a stale token
//! or a storm in the models these rules come from.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::backoff::Wait;
use super::claims::Claimant;
use super::deletion;
use super::facts::{
    Facts, HeldBack, Memory, ProviderFact, ProviderProfile, SourceFact, SourceState, Subject,
};
use super::locate::{self, Located};
use super::rotate::Case;
use super::schedule::{self, Plan, Terms};
use super::time::{Moment, written};
use crate::api::{ObjectKey, Ownership, Reason, WebhookSubscriptionSpec, WhenMissing};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time, unless something changes; `None` when only a change helps.
    Wait {
        /// When to decide again.
        until: Option<DateTime<Utc>>,
        /// How the subscription stands meanwhile.
        reason: WaitReason,
    },
    /// A complete listing of the provider, begun at this time or later, is needed first.
    List {
        /// The earliest begin of a listing that helps.
        begun_after: DateTime<Utc>,
    },
    /// Bring a token to the remote subscription.
    Rotate {
        /// Id of the remote subscription.
        id: String,
        /// How it is ours, or becomes so with this rotation.
        ownership: Ownership,
        /// What makes it necessary.
        why: Why,
        /// Which token to bring.
        token: TokenChoice,
    },
    /// Create the remote subscription; nothing like it exists.
    Create {
        /// Digest of action and URL.
        target: String,
        /// Which token to bring.
        token: TokenChoice,
    },
    /// Delete the remote subscription.
    Delete {
        /// Its id.
        id: String,
    },
    /// Give the remote subscription to the object that waits for it, then let this one go.
    HandOver {
        /// The object that waits.
        heir: ObjectKey,
    },
    /// Let the deleted object go.
    Release {
        /// Why the remote subscription is left behind although the policy says otherwise.
        orphaned: Option<String>,
    },
}

impl Step {
    /// Whether it needs a call to the provider.
    #[must_use]
    pub fn is_call(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Rotate { .. } | Self::Create { .. } | Self::Delete { .. })
    }
}

/// What makes a rotation necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The token's time has come.
    Due,
    /// The members of the source carry different tokens.
    Split,
    /// Whoever proves deliveries cannot know the token in place.
    Gate,
    /// The source has a newer token.
    TokenMoved,
    /// The document differs from the one in place.
    Document,
    /// Somebody asked for it.
    Manual,
    /// The remote was changed by somebody else.
    Drift,
    /// A listing lacks the remote: the update tells whether it is really gone.
    Absent,
    /// A Secret in the document has changed.
    Secrets,
    /// The remote is taken over.
    Adopting,
    /// An older request with an unknown outcome may have landed late.
    Unsettled,
}

/// Which token to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenChoice {
    /// The held one.
    Take,
    /// A new one.
    Mint,
}

/// How a subscription stands while nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// All is in place.
    Settled,
    /// It or its provider is suspended.
    Suspended,
    /// No valid version of it is known.
    Invalid,
    /// Something it refers to is not there, or not usable.
    Awaiting(Reason, String),
    /// Another object comes before this one.
    Conflict(Claimant, Option<String>),
    /// An attempt failed and the next one's time has not come, or calls are held back.
    BackingOff(Reason, String),
    /// Somebody has asked for a rotation, and the source's last mint is too recent for another.
    Asked {
        /// When there can be another.
        not_before: DateTime<Utc>,
    },
    /// A create or a publication needs time to settle.
    Settling(String),
    /// Only a person can help.
    Stalled(Reason, String),
}

/// Decides what to do next. Total: every combination of facts has an answer.
#[must_use]
pub fn decide(now: Moment, subject: &Subject<'_>, facts: &Facts<'_>, memory: &Memory) -> Step {
    let expiry = subject.status.token_expiration_time.filter(|expires| *expires > now.wall);
    let wait = |reason| Step::Wait { until: expiry, reason };

    if let Some(since) = subject.identity.deleted.or(memory.deleting_since) {
        let step = deletion::delete(now, since, subject, facts, memory);
        let ends = deletion::held_up_until(since, facts, memory).into_iter().chain(expiry);
        return unless_held_back(step, now, facts, ends.filter(|end| *end > now.wall).min(), None);
    }
    let Some(spec) = subject.spec else {
        return wait(WaitReason::Invalid);
    };
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
    if let Some(until) = own_wait(now, subject, memory, desired) {
        let (reason, message) =
            memory.failing.clone().unwrap_or((Reason::Pending, "an attempt failed".into()));
        let until = expiry.map_or(until, |expiry| expiry.min(until));
        return Step::Wait { until: Some(until), reason: WaitReason::BackingOff(reason, message) };
    }
    let case = Case { now, subject, spec, facts, memory, profile, desired, source, expiry };
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
        reason: WaitReason::BackingOff(held_back.reason, held_back_message(&held_back)),
    }
}

pub(super) fn held_back_message(held_back: &HeldBack) -> String {
    let until = written(held_back.until);
    match held_back.reason {
        Reason::RateLimited => {
            format!("the provider asked for fewer requests (429, or Retry-After); calls to its origin pause until {until}; lower spec.limits if it happens often")
        }
        Reason::ProviderRefusedCredentials => {
            "the provider refuses the credential (401); renew it in the provider's Secret".to_owned()
        }
        _ if held_back.asked => {
            format!("the provider asked to be left alone (Retry-After); calls to its origin pause until {until}")
        }
        _ => "the provider does not answer; calls to its origin pause and are tried again; if that goes on, check spec.baseUrl of the provider and its server".to_owned(),
    }
}

/// Rule 5 (b): the object's own back-off, unless what the attempt was made with has changed.
pub(super) fn own_wait(
    now: Moment,
    subject: &Subject<'_>,
    memory: &Memory,
    desired: &str,
) -> Option<DateTime<Utc>> {
    let (wait, made_with) = memory.wait.as_ref()?;
    if *made_with != attempt_inputs(subject, desired) {
        return None;
    }
    wait.pending(now.wall)
}

/// Whether an attempt with what is in force now has failed, however long ago.
pub(super) fn was_attempted(subject: &Subject<'_>, memory: &Memory, desired: &str) -> bool {
    memory.wait.as_ref().is_some_and(|(_, made_with)| *made_with == attempt_inputs(subject, desired))
}

/// What an attempt is made with: when this changes, a back-off has nothing more to say.
#[must_use]
pub fn attempt_inputs(subject: &Subject<'_>, desired: &str) -> String {
    let generation = subject.identity.generation.to_string();
    let request = subject.identity.rotate_requested.as_deref().unwrap_or_default();
    let deleting = if subject.identity.deleted.is_some() { "deleting" } else { "" };
    super::target::short_digest(&[&generation, request, desired, deleting])
}

/// What the time of a subscription's rotation depends on.
#[must_use]
pub fn terms(spec: &WebhookSubscriptionSpec, profile: &ProviderProfile, source: &SourceState) -> Terms {
    let rotation = spec.rotation.as_ref();
    Terms {
        renew_before: rotation
            .and_then(|rotation| rotation.renew_before.as_ref())
            .map(crate::api::Duration::to_std),
        overlap: rotation
            .and_then(|rotation| rotation.overlap.as_ref())
            .map_or(profile.overlap, crate::api::Duration::to_std),
        members: source.members,
        requests_per_minute: profile.requests_per_minute,
        mint_timeout: source.timeout,
        apply_timeout: profile.timeout,
        revokes_previous: source.revokes_previous,
        jitter_seed: source.jitter_seed,
    }
}

/// The plan for the token that is on record, if it has an expiry.
#[must_use]
pub fn planned(
    subject: &Subject<'_>,
    spec: &WebhookSubscriptionSpec,
    profile: &ProviderProfile,
    source: &SourceState,
) -> Option<Plan> {
    let minted = subject.status.token_minted_time?;
    let expires = subject.status.token_expiration_time?;
    Some(schedule::plan(minted, expires, &terms(spec, profile, source)))
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

/// What a spec says about a remote that has vanished.
pub(super) fn recreates(spec: &WebhookSubscriptionSpec) -> bool {
    spec.webhook_id.is_none() && spec.when_missing.unwrap_or_default() == WhenMissing::Recreate
}
