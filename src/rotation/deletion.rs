//! Rule 1 of [`super::decide`]: what becomes of the remote subscription when the object is deleted.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::backoff::{own_wait, was_attempted};
use super::facts::{Facts, Memory, ProviderFact, ProviderProfile, Subject};
use super::locate::{self, Outcome};
use super::step::{Step, WaitReason};
use super::time::{Moment, add};
use crate::api::{DeletionPolicy, Reason, WebhookSubscriptionSpec};

struct Deletion<'a> {
    now: Moment,
    subject: &'a Subject<'a>,
    facts: &'a Facts<'a>,
    memory: &'a Memory,
    since: DateTime<Utc>,
    grace_ends: DateTime<Utc>,
}

/// How long a process that begins after the grace is over waits for a pause of all calls to end.
const FIRST_CHANCE: Duration = Duration::from_secs(60);

/// Until when a deletion may be held up, after an attempt of this process and without one.
pub(super) fn held_up_until(since: DateTime<Utc>, facts: &Facts<'_>, memory: &Memory) -> [DateTime<Utc>; 2] {
    let grace_ends = add(since, facts.grace);
    let seen = memory.deletion_seen.unwrap_or(since);
    [grace_ends, grace_ends.max(add(seen, facts.grace.min(FIRST_CHANCE)))]
}

pub(super) fn delete(
    now: Moment,
    since: DateTime<Utc>,
    subject: &Subject<'_>,
    facts: &Facts<'_>,
    memory: &Memory,
) -> Step {
    let status = subject.status;
    let has_remote = status.webhook_id.is_some() || status.creation.is_some();
    if !has_remote {
        return Step::Release { orphaned: None };
    }
    if facts.heir.is_some() {
        return Step::HandOver;
    }
    let Some(spec) = subject.spec else {
        // The finalizer tells that a version that this process has not seen asked for the deletion.
        return Step::Release {
            orphaned: (subject.identity.has_finalizer)
                .then(|| "no valid version of the object is known".to_owned()),
        };
    };
    if spec.deletion_policy() != DeletionPolicy::Delete {
        return Step::Release { orphaned: None };
    }
    let deletion = Deletion { now, subject, facts, memory, since, grace_ends: add(since, facts.grace) };
    deletion.at_the_provider(spec)
}

impl Deletion<'_> {
    fn at_the_provider(&self, spec: &WebhookSubscriptionSpec) -> Step {
        let give_up = self.now.wall >= self.grace_ends;
        if self.subject.identity.force_orphan {
            return orphan("its annotation hookkeeper.dev/force-orphan asks for it");
        }
        if spec.is_suspended() {
            return orphan("it is suspended, and no call is made");
        }
        let (profile, list_unavailable, desired) = match self.facts.provider {
            ProviderFact::Usable { suspended: true, .. } => {
                return orphan("its WebhookProvider is suspended, and no call is made");
            }
            ProviderFact::NotFound | ProviderFact::Invalid(_) if give_up => {
                return orphan("its WebhookProvider cannot be used");
            }
            ProviderFact::NotFound => return self.await_provider(Reason::ProviderNotFound),
            ProviderFact::Invalid(_) => return self.await_provider(Reason::InvalidSpec),
            ProviderFact::Usable { profile, list_forbidden, desired_digest, .. } => {
                (profile, list_forbidden || !profile.can_list, desired_digest)
            }
        };
        if !profile.can_delete {
            return orphan("the provider has no delete operation");
        }
        if let Some(at) = &self.subject.status.webhook_origin
            && *at != profile.origin
        {
            return if give_up {
                orphan("it lives at another origin than its WebhookProvider's baseUrl")
            } else {
                self.await_provider(Reason::ProviderMismatch)
            };
        }
        if give_up && let Some(why) = self.keeps_failing(desired) {
            return orphan(&why);
        }
        if let Some(until) = own_wait(self.now, self.subject, self.memory, desired) {
            let (reason, message) =
                (self.memory.failing.clone()).unwrap_or((Reason::Pending, "an attempt failed".into()));
            return self.wait(Some(until), WaitReason::BackingOff(reason, message));
        }
        self.remote(spec, profile, list_unavailable)
    }

    /// What keeps the deletion from ending, if an attempt has shown that or none may be made: whatever
    /// it is, it is not waited for beyond the grace.
    fn keeps_failing(&self, desired: &str) -> Option<String> {
        if was_attempted(self.subject, self.memory, desired) {
            let failing = self.memory.failing.as_ref();
            return Some(failing.map_or_else(|| "it failed".to_owned(), |(_, message)| message.clone()));
        }
        let held_back = self.facts.held_back.filter(|held| held.until > self.now.wall)?;
        let [_, untried] = held_up_until(self.since, self.facts, self.memory);
        (self.now.wall >= untried).then(|| held_back.message())
    }

    /// An open creation record comes first: the remote it speaks of may be there besides a recorded
    /// one.
    fn remote(
        &self,
        spec: &WebhookSubscriptionSpec,
        profile: &ProviderProfile,
        list_unavailable: bool,
    ) -> Step {
        let outcome = locate::outcome_of_creation(
            self.now,
            self.subject,
            spec,
            self.facts,
            self.memory,
            profile,
            list_unavailable,
        );
        match outcome {
            Outcome::Found(id) => Step::Delete { id },
            Outcome::Nothing => self.recorded(),
            Outcome::NeedsListing(begun_after) => Step::List { begun_after },
            Outcome::Settling(until) => {
                let message = "the outcome of a create is awaited";
                self.wait(Some(until), WaitReason::Settling(message.into()))
            }
            Outcome::Several(_) | Outcome::CannotKnow => {
                orphan("the outcome of a create cannot be found out")
            }
        }
    }

    fn recorded(&self) -> Step {
        match &self.subject.status.webhook_id {
            Some(id) if self.facts.owner_of.owner(id).is_none() => Step::Delete { id: id.clone() },
            _ => Step::Release { orphaned: None },
        }
    }

    fn await_provider(&self, reason: Reason) -> Step {
        let message = "the deletion waits for the WebhookProvider to be usable again".to_owned();
        self.wait(None, WaitReason::Awaiting(reason, message))
    }

    /// Waits, but decides again when the grace or the token's life ends.
    fn wait(&self, until: Option<DateTime<Utc>>, reason: WaitReason) -> Step {
        let ends = [until, Some(self.grace_ends), self.subject.status.token_expiration_time];
        Step::Wait { until: (ends.into_iter().flatten()).filter(|end| *end > self.now.wall).min(), reason }
    }
}

fn orphan(why: &str) -> Step {
    Step::Release { orphaned: Some(why.to_owned()) }
}
