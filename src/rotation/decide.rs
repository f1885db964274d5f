//! What to do next with one subscription.
//!
//! The rules are tried in order and the first that matches wins. The order is part of the product's
//! promise: leaving a rule out, or trying it later, produced a doubled subscription, a stale token
//! or a storm in the models these rules come from.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::backoff::Wait;
use super::facts::{
    Drift, Facts, Hand, Memory, ProviderFact, ProviderProfile, SourceFact, SourceState, Subject,
};
use super::locate::{self, Located};
use super::schedule::{self, Plan, Terms};
use super::time::{Moment, add, between};
use crate::api::{
    DeletionPolicy, ObjectKey, Ownership, Reason, WebhookSubscriptionSpec, WhenMissing,
};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time, unless something changes; `None` when only a change helps.
    Wait {
        /// When to decide again.
        until: Option<DateTime<Utc>>,
        /// How the subscription stands meanwhile.
        standing: Standing,
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

/// What makes a rotation necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The token's time has come.
    Due,
    /// The members of the source carry different tokens.
    Split,
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
    /// The one in hand.
    Take,
    /// A new one.
    Mint,
}

/// How a subscription stands while nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All is in place.
    Settled,
    /// It or its provider is suspended.
    Suspended,
    /// No valid version of it is known.
    Invalid,
    /// Something it refers to is not there, or not usable.
    Awaiting(Reason, String),
    /// Another object has the better claim.
    Conflict(ObjectKey, Option<String>),
    /// An attempt failed and the next one's time has not come, or calls are held back.
    BackingOff(Reason, String),
    /// A create or a publication needs time to settle.
    Settling(String),
    /// Only a person can help.
    Stalled(Reason, String),
}

/// Decides what to do next. Total: every combination of facts has an answer.
#[must_use]
pub fn decide(now: Moment, subject: &Subject<'_>, facts: &Facts<'_>, memory: &Memory) -> Step {
    let expiry = subject
        .status
        .token_expiration_time
        .filter(|expires| *expires > now.wall);
    let wait = |standing| Step::Wait {
        until: expiry,
        standing,
    };

    if let Some(since) = subject.identity.deleted.or(memory.deleting_since) {
        return delete(now, since, subject, facts, memory);
    }
    let Some(spec) = subject.spec else {
        return wait(Standing::Invalid);
    };
    if spec.is_suspended()
        || matches!(
            facts.provider,
            ProviderFact::Usable {
                suspended: true,
                ..
            }
        )
    {
        return wait(Standing::Suspended);
    }
    let (profile, list_forbidden, desired) = match facts.provider {
        ProviderFact::NotFound => {
            let name = &spec.provider_ref.name;
            let message =
                format!("WebhookProvider {name} was not found; create it in the same namespace");
            return wait(Standing::Awaiting(Reason::ProviderNotFound, message));
        }
        ProviderFact::Invalid(problem) => {
            let message = format!(
                "WebhookProvider {} is invalid: {problem}",
                spec.provider_ref.name
            );
            return wait(Standing::Awaiting(Reason::InvalidSpec, message));
        }
        ProviderFact::Usable {
            profile,
            list_forbidden,
            desired_digest,
            ..
        } => (profile, list_forbidden || !profile.can_list, desired_digest),
    };
    let source = match facts.source {
        SourceFact::NotFound => {
            let name = spec
                .token_source_ref
                .as_ref()
                .map_or("", |reference| reference.name.as_str());
            let message =
                format!("TokenSource {name} was not found; create it in the same namespace");
            return wait(Standing::Awaiting(Reason::TokenSourceNotFound, message));
        }
        SourceFact::Invalid(problem) => {
            return wait(Standing::Awaiting(
                Reason::InvalidSpec,
                format!("the TokenSource is invalid: {problem}"),
            ));
        }
        SourceFact::Usable(source) => source,
    };
    if let Some(rival) = facts.rival {
        return wait(Standing::Conflict(rival.clone(), None));
    }
    if let (Some(at), None) = (
        subject.status.webhook_origin.as_ref(),
        spec.webhook_id.as_ref(),
    ) && *at != profile.origin
        && subject.status.webhook_id.is_some()
    {
        let message = format!(
            "the recorded id lives at {at}, and the provider's baseUrl is now {}; create a new object for the new \
             provider, or set the baseUrl back",
            profile.origin
        );
        return wait(Standing::Stalled(Reason::ProviderMismatch, message));
    }
    if let Some((until, reason)) = facts.held_back {
        let until = expiry.map_or(until, |expiry| expiry.min(until));
        return Step::Wait {
            until: Some(until),
            standing: Standing::BackingOff(reason, held_back_message(reason)),
        };
    }
    if let Some(until) = own_wait(now, subject, memory, desired) {
        let (reason, message) = memory
            .failing
            .clone()
            .unwrap_or((Reason::Pending, "an attempt failed".into()));
        let until = expiry.map_or(until, |expiry| expiry.min(until));
        return Step::Wait {
            until: Some(until),
            standing: Standing::BackingOff(reason, message),
        };
    }
    let case = Case {
        now,
        subject,
        spec,
        facts,
        memory,
        profile,
        desired,
        source,
        expiry,
    };
    match locate::locate(&case, list_forbidden) {
        Located::Known { id, ownership, why } => case.rotate_if_needed(&id, ownership, why),
        Located::Absent { target } => case.create(target),
        Located::Unknown(step) => step,
    }
}

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
    pub(super) fn wait(&self, until: Option<DateTime<Utc>>, standing: Standing) -> Step {
        let until = match (until, self.expiry) {
            (Some(until), Some(expiry)) => Some(until.min(expiry)),
            (until, expiry) => until.or(expiry),
        };
        Step::Wait { until, standing }
    }

    fn create(&self, target: String) -> Step {
        if !self.profile.can_create {
            let message = "the provider has no create operation; set spec.webhookId to the id of an existing webhook";
            return self.wait(
                None,
                Standing::Stalled(Reason::RemoteMissing, message.into()),
            );
        }
        match self.choose_token(Why::Document) {
            Ok(token) => Step::Create { target, token },
            Err(step) => step,
        }
    }

    /// Rules 7 to 9.
    fn rotate_if_needed(&self, id: &str, ownership: Ownership, forced: Option<Why>) -> Step {
        let status = self.subject.status;
        let planned = planned(self.now, self.subject, self.spec, self.profile, self.source);
        let carried = status.token_fingerprint.as_deref();
        let why = forced
            .or_else(|| {
                (status.applied_digest.as_deref() != Some(self.desired)).then_some(Why::Document)
            })
            .or_else(|| self.pending_request().map(|_| Why::Manual))
            .or_else(|| (self.memory.drift == Some(Drift::Seen)).then_some(Why::Drift))
            .or_else(|| self.memory.absent.then_some(Why::Absent))
            .or_else(|| self.memory.secrets_changed.then_some(Why::Secrets))
            .or_else(|| {
                (self.source.newest.is_some() && self.source.newest.as_deref() != carried)
                    .then_some(Why::TokenMoved)
            })
            .or_else(|| self.source.split.then_some(Why::Split))
            .or_else(|| {
                let late = self
                    .memory
                    .resend
                    .is_some_and(|wait| wait.pending(self.now.wall).is_none());
                late.then_some(Why::Unsettled)
            })
            .or_else(|| {
                let due = !self.source.polled && planned.is_some_and(|plan| self.is_due(&plan));
                due.then_some(Why::Due)
            });
        let Some(why) = why else {
            let until = [
                planned.filter(|_| !self.source.polled).map(|plan| plan.due),
                self.memory.resend.map(|wait| wait.until),
                self.memory.duplicate_check,
            ];
            return self.wait(until.into_iter().flatten().min(), Standing::Settled);
        };
        match self.choose_token(why) {
            Ok(token) => Step::Rotate {
                id: id.to_owned(),
                ownership,
                why,
                token,
            },
            Err(step) => step,
        }
    }

    fn is_due(&self, plan: &Plan) -> bool {
        let status = self.subject.status;
        let Some(minted) = status.token_minted_time else {
            return true;
        };
        // A clock that shows a time before the mint was set back: rotate once, and the new mint's
        // time is right by the new clock.
        let by_wall = self.now.wall >= plan.due || self.now.wall < minted;
        let by_boot = self
            .memory
            .minted_boot
            .is_some_and(|at| self.now.boot.saturating_sub(at) >= between(minted, plan.due));
        by_wall || by_boot
    }

    pub(super) fn pending_request(&self) -> Option<&str> {
        let asked = self.subject.identity.rotate_requested.as_deref()?;
        (self.subject.status.last_handled_rotate_request.as_deref() != Some(asked)).then_some(asked)
    }

    /// Which token a step takes; or the wait until there can be one.
    fn choose_token(&self, why: Why) -> Result<TokenChoice, Step> {
        if self.source.unread {
            return Err(self.wait(
                None,
                Standing::Settling("the published token is being read".into()),
            ));
        }
        let hand = self
            .source
            .hand
            .as_ref()
            .filter(|hand| hand.is_alive(self.now));
        let wanted = match hand {
            Some(hand) if self.suits(hand, why) => TokenChoice::Take,
            _ => TokenChoice::Mint,
        };
        if wanted == TokenChoice::Take {
            return self.unless_publishing(TokenChoice::Take);
        }
        let Some(until) = self
            .source
            .wait
            .and_then(|wait| wait.pending(self.now.wall))
        else {
            return Ok(TokenChoice::Mint);
        };
        // No mint can be had now. A token with life left is never withheld from a remote that holds
        // an older one: the mint may already have ended the older one's life.
        let carried = self.subject.status.token_fingerprint.as_deref();
        if let Some(hand) = hand
            && (carried != Some(hand.fingerprint.as_str())
                || !matches!(why, Why::Due | Why::Split | Why::Manual))
        {
            return self.unless_publishing(TokenChoice::Take);
        }
        let standing = match &self.source.failing {
            Some((reason, message)) => Standing::BackingOff(*reason, message.clone()),
            None if self.subject.status.token_fingerprint.is_some() => Standing::Settled,
            None => Standing::Settling("the source was asked a moment ago".into()),
        };
        Err(self.wait(Some(until), standing))
    }

    fn suits(&self, hand: &Hand, why: Why) -> bool {
        if self.source.polled {
            return true;
        }
        let own_due = hand.expires.map(|expires| {
            schedule::plan(
                hand.minted.wall,
                expires,
                &terms(self.spec, self.profile, self.source),
            )
            .due
        });
        let fresh = own_due.is_none_or(|due| self.now.wall < due);
        let other =
            self.subject.status.token_fingerprint.as_deref() != Some(hand.fingerprint.as_str());
        match why {
            Why::TokenMoved => {
                fresh
                    || self
                        .source
                        .wait
                        .is_some_and(|wait| wait.pending(self.now.wall).is_some())
            }
            Why::Due | Why::Split => other && fresh,
            Why::Manual => {
                let seen = self.memory.request_seen.as_ref().map(|(_, seen)| *seen);
                fresh && seen.is_some_and(|seen| hand.minted.wall >= seen)
            }
            Why::Document
            | Why::Drift
            | Why::Absent
            | Why::Secrets
            | Why::Adopting
            | Why::Unsettled => fresh,
        }
    }

    fn unless_publishing(&self, choice: TokenChoice) -> Result<TokenChoice, Step> {
        match self
            .source
            .apply_after
            .and_then(|wait| wait.pending(self.now.wall))
        {
            Some(until) => {
                let message =
                    "a new token was published and is left for its readers before it is applied";
                Err(self.wait(Some(until), Standing::Settling(message.into())))
            }
            None => Ok(choice),
        }
    }
}

/// Rule 1.
fn delete(
    now: Moment,
    since: DateTime<Utc>,
    subject: &Subject<'_>,
    facts: &Facts<'_>,
    memory: &Memory,
) -> Step {
    let status = subject.status;
    if let Some(heir) = facts.heir
        && status.webhook_id.is_some()
    {
        return Step::HandOver { heir: heir.clone() };
    }
    let release = Step::Release { orphaned: None };
    let Some(spec) = subject.spec else {
        return release;
    };
    let follows = spec.deletion_policy() == DeletionPolicy::Delete;
    let has_remote = status.webhook_id.is_some() || status.creation.is_some();
    if !follows || !has_remote || subject.identity.force_orphan {
        return release;
    }
    let orphan = |why: &str| Step::Release {
        orphaned: Some(why.to_owned()),
    };
    let grace_ends = add(since, facts.grace);
    let give_up = now.wall >= grace_ends;
    let hold_on = |until: Option<DateTime<Utc>>, standing| Step::Wait {
        until: Some(until.map_or(grace_ends, |until| until.min(grace_ends))),
        standing,
    };
    let profile = match facts.provider {
        ProviderFact::Usable {
            suspended: true, ..
        } => return release,
        _ if spec.is_suspended() => return release,
        ProviderFact::Usable { profile, .. } => profile,
        ProviderFact::NotFound | ProviderFact::Invalid(_) if give_up => {
            return orphan("its WebhookProvider cannot be used");
        }
        ProviderFact::NotFound | ProviderFact::Invalid(_) => {
            let message =
                "the deletion waits for the WebhookProvider to be usable again".to_owned();
            return hold_on(None, Standing::Awaiting(Reason::ProviderNotFound, message));
        }
    };
    if !profile.can_delete {
        return orphan("the provider has no delete operation");
    }
    if let Some((until, reason)) = facts.held_back {
        return Step::Wait {
            until: Some(until),
            standing: Standing::BackingOff(reason, held_back_message(reason)),
        };
    }
    if let Some((wait, _)) = &memory.wait
        && let Some(until) = wait.pending(now.wall)
    {
        let (reason, message) = memory
            .failing
            .clone()
            .unwrap_or((Reason::Pending, "an attempt failed".into()));
        return Step::Wait {
            until: Some(until),
            standing: Standing::BackingOff(reason, message),
        };
    }
    let gives_up_on = [
        Reason::SecretNotFound,
        Reason::ProviderRefusedCredentials,
        Reason::DestinationNotAllowed,
    ];
    if let Some((reason, message)) = &memory.failing
        && give_up
        && gives_up_on.contains(reason)
    {
        return orphan(message);
    }
    if let Some(id) = &status.webhook_id {
        return if facts.owner_of.owner(id).is_some() {
            release
        } else {
            Step::Delete { id: id.clone() }
        };
    }
    match locate::outcome_of_creation(now, subject, spec, facts, profile) {
        locate::Outcome::Found(id) => Step::Delete { id },
        locate::Outcome::Nothing => release,
        locate::Outcome::NeedsListing(begun_after) => Step::List { begun_after },
        locate::Outcome::Settling(until) => Step::Wait {
            until: Some(until),
            standing: Standing::Settling("the outcome of a create is awaited".into()),
        },
        locate::Outcome::Several(_) | locate::Outcome::CannotKnow => {
            orphan("the outcome of a create cannot be found out")
        }
    }
}

fn held_back_message(reason: Reason) -> String {
    match reason {
        Reason::RateLimited => {
            "the provider asked for fewer requests; calls to its origin pause".to_owned()
        }
        Reason::ProviderRefusedCredentials => {
            "the provider refuses the credential (401); renew it in the provider's Secret"
                .to_owned()
        }
        _ => {
            "the provider does not answer; calls to its origin pause and are tried again".to_owned()
        }
    }
}

/// Rule 5 (b): the object's own back-off, unless what the attempt was made with has changed.
fn own_wait(
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

/// What an attempt is made with: when this changes, a back-off has nothing more to say.
#[must_use]
pub fn attempt_inputs(subject: &Subject<'_>, desired: &str) -> String {
    let generation = subject.identity.generation.to_string();
    let request = subject
        .identity
        .rotate_requested
        .as_deref()
        .unwrap_or_default();
    super::target::short_digest(&[&generation, request, desired])
}

/// What the time of a subscription's rotation depends on.
#[must_use]
pub fn terms(
    spec: &WebhookSubscriptionSpec,
    profile: &ProviderProfile,
    source: &SourceState,
) -> Terms {
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
    _now: Moment,
    subject: &Subject<'_>,
    spec: &WebhookSubscriptionSpec,
    profile: &ProviderProfile,
    source: &SourceState,
) -> Option<Plan> {
    let minted = subject.status.token_minted_time?;
    let expires = subject.status.token_expiration_time?;
    Some(schedule::plan(
        minted,
        expires,
        &terms(spec, profile, source),
    ))
}

/// When the provider's copy stops being valid: what work is ordered by.
#[must_use]
pub fn deadline(now: Moment, subject: &Subject<'_>, source: &SourceState) -> DateTime<Utc> {
    let status = subject.status;
    let superseded = source.newest.is_some() && source.newest != status.token_fingerprint;
    let own = status.token_expiration_time.unwrap_or(now.wall);
    match &source.hand {
        Some(hand) if superseded && source.revokes_previous => own.min(hand.minted.wall),
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
