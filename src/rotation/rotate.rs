//! Bringing a token: whether it is necessary, and which token.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::case::Case;
use super::facts::Drift;
use super::life::HeldToken;
use super::schedule::{self, Plan, planned, terms};
use super::step::{Step, TokenChoice, WaitReason, Why};
use super::time::{add, between, subtract};
use super::wait::Wait;
use crate::api::{Ownership, Reason, recorded_request};

impl Case<'_> {
    pub(super) fn create(&self, target: String) -> Step {
        if !self.profile.can_create {
            let message =
                "the provider has no create operation; set spec.webhookId to the id of an existing webhook";
            return self.wait(None, WaitReason::Stalled(Reason::RemoteMissing, message.into()));
        }
        match self.choose_token(Why::Document) {
            Ok(token) => Step::Create { target, token },
            Err(step) => step,
        }
    }

    /// Rules 7 to 9.
    pub(super) fn rotate_if_needed(&self, id: &str, ownership: Ownership, forced: Option<Why>) -> Step {
        let Some(why) = forced.or_else(|| self.why()) else {
            let until = [
                self.plan().map(|plan| add(self.now.wall, self.left(&plan))),
                self.memory.resend.map(|wait| wait.until),
                self.memory.duplicate_check.filter(|at| *at > self.now.wall),
            ];
            return self.wait(until.into_iter().flatten().min(), WaitReason::Settled);
        };
        match self.choose_token(why) {
            Ok(token) => Step::Rotate { id: id.to_owned(), ownership, why, token },
            Err(step) => step,
        }
    }

    fn why(&self) -> Option<Why> {
        let (memory, source) = (self.memory, self.source);
        let moved = source.newest.is_some() && source.newest.as_deref() != self.carried();
        let late = memory.resend.is_some_and(|wait| wait.pending(self.now.wall).is_none());
        [
            (!self.is_document_in_place(), Why::Document),
            (self.request_seen().is_some(), Why::Manual),
            (memory.drift == Some(Drift::Seen), Why::Drift),
            (memory.absent || memory.listed_not_found, Why::Absent),
            (memory.secrets_changed, Why::Secrets),
            (moved || memory.strangers_token, Why::TokenMoved),
            (source.split, Why::Split),
            (self.facts.gate_lacks, Why::Gate),
            (late, Why::Unsettled),
            (self.is_due(), Why::Due),
        ]
        .into_iter()
        .find_map(|(holds, why)| holds.then_some(why))
    }

    fn carried(&self) -> Option<&str> {
        self.subject.status.token_fingerprint.as_deref()
    }

    fn is_document_in_place(&self) -> bool {
        self.subject.status.applied_digest.as_deref() == Some(self.desired)
    }

    /// The plan for the token in place; `None` when its end is not known or it is never due.
    fn plan(&self) -> Option<Plan> {
        planned(self.subject, self.spec, self.profile, self.source).filter(|_| !self.source.polled)
    }

    fn is_due(&self) -> bool {
        match self.plan() {
            Some(plan) => self.left(&plan).is_zero(),
            // A token whose end nobody knows, left by a source that is read, is replaced when the
            // source is one that mints.
            None => !self.source.polled,
        }
    }

    /// How long it is until the rotation is due, on the clock that says so first.
    fn left(&self, plan: &Plan) -> Duration {
        let minted = self.subject.status.token_minted_time.unwrap_or(plan.due);
        // A clock that shows a time before the mint was set back: rotate once, and the new mint's
        // time is right by the new clock.
        if self.now.wall < minted {
            return Duration::ZERO;
        }
        let by_wall = between(self.now.wall, plan.due);
        let by_boot = self
            .memory
            .minted_boot
            .map(|at| between(minted, plan.due).saturating_sub(self.now.boot.saturating_sub(at)));
        by_boot.map_or(by_wall, |by_boot| by_boot.min(by_wall))
    }

    /// When the manual request that has not been handled was first seen. One that nobody has noted
    /// could never be recorded as handled, and would be carried out without end.
    fn request_seen(&self) -> Option<DateTime<Utc>> {
        let asked = recorded_request(self.subject.identity.rotate_requested.as_deref()?);
        if self.subject.status.last_handled_rotate_request.as_deref() == Some(asked.as_str()) {
            return None;
        }
        let (noted, seen) = self.memory.request_seen.as_ref()?;
        (*noted == asked).then_some(*seen)
    }

    /// Which token a step takes; or the wait until there can be one.
    fn choose_token(&self, why: Why) -> Result<TokenChoice, Step> {
        if self.source.unread {
            let reason = match &self.source.failing {
                Some((reason, message)) => WaitReason::BackingOff(*reason, message.clone()),
                None => WaitReason::Settling("the published token is being read".into()),
            };
            return Err(self.wait(None, reason));
        }
        let held = self.source.held.as_ref().filter(|held| held.is_alive(self.now));
        if let Some(held) = held.filter(|held| self.suits(held, why)) {
            return self.unless_publishing(held);
        }
        let Some(until) = self.source.wait.and_then(|wait| wait.pending(self.now.wall)) else {
            return Ok(TokenChoice::Mint);
        };
        // No mint can be had now. A token with life left is never withheld from a remote that holds
        // an older one: the mint may already have ended the older one's life.
        if let Some(held) = held
            && (self.carried() != Some(held.fingerprint.as_str())
                || !matches!(why, Why::Due | Why::Split | Why::Manual))
        {
            return self.unless_publishing(held);
        }
        Err(self.wait(Some(until), self.without_token(why, until)))
    }

    /// How a subscription stands that needs a token and can have none yet.
    fn without_token(&self, why: Why, until: DateTime<Utc>) -> WaitReason {
        let expired =
            self.source.held.as_ref().filter(|held| held.expires.is_some_and(|end| end <= self.now.wall));
        let life = expired.and_then(|held| schedule::too_short(held.minted.wall, held.expires?));
        if let (None, Some(life)) = (&self.source.failing, life) {
            // It had ended before it could be sent, and so will the next one.
            return WaitReason::BackingOff(Reason::LifetimeTooShort, schedule::too_short_message(life));
        }
        match &self.source.failing {
            Some((Reason::LifetimeUnknown, message)) if self.subject.status.webhook_id.is_none() => {
                WaitReason::Stalled(Reason::LifetimeUnknown, message.clone())
            }
            Some((reason, message)) => WaitReason::BackingOff(*reason, message.clone()),
            None if why == Why::Manual => WaitReason::Asked { not_before: until },
            None if self.carried().is_some() => WaitReason::Settled,
            None => WaitReason::Settling("the source was asked a moment ago".into()),
        }
    }

    fn suits(&self, held: &HeldToken, why: Why) -> bool {
        if why == Why::Manual {
            let seen = self.request_seen();
            let newer = seen.is_some_and(|seen| held.confirmed.max(held.minted.wall) >= seen);
            return newer && self.is_fresh(held);
        }
        if self.source.polled {
            return true;
        }
        match why {
            Why::Due | Why::Split => self.carried() != Some(held.fingerprint.as_str()) && self.is_fresh(held),
            _ => self.is_fresh(held),
        }
    }

    /// Whether the time has not come to replace the held token, by this subscription's terms.
    fn is_fresh(&self, held: &HeldToken) -> bool {
        let Some(expires) = held.expires.filter(|_| !self.source.polled) else {
            return true;
        };
        let terms = terms(self.spec, self.profile, self.source);
        self.now.wall < schedule::plan(held.minted.wall, expires, &terms).due
    }

    /// The held token, unless it was published a moment ago or has not arrived at those that prove
    /// deliveries with it: then its readers come first, but not for longer than the token in place lives.
    fn unless_publishing(&self, held: &HeldToken) -> Result<TokenChoice, Step> {
        let pending = |wait: Option<Wait>| wait.and_then(|wait| wait.pending(self.now.wall));
        let published =
            pending(self.source.apply_after).filter(|_| self.carried() != Some(held.fingerprint.as_str()));
        // Whoever is to prove deliveries from now on may lack the token in place, too.
        let pause = published.max(pending(self.source.for_gates));
        let last_chance =
            self.plan().map(|plan| subtract(plan.expires, plan.safety)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        match pause.map(|until| until.min(last_chance)) {
            Some(until) if until > self.now.wall => {
                let message = match published {
                    Some(_) => "a new token was published and is left for its readers before it is applied",
                    None => "the token is handed to the gate before it is applied",
                };
                let reason = match &self.source.failing {
                    Some((reason, message)) => WaitReason::BackingOff(*reason, message.clone()),
                    None => WaitReason::Settling(message.into()),
                };
                Err(self.wait(Some(until), reason))
            }
            _ => Ok(TokenChoice::Take),
        }
    }
}
