//! What follows from an attempt that failed.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::breaker::Breaker;
use super::calls::Then;
use super::entry::Object;
use super::finish::OriginNews;
use super::ids::SubscriptionId;
use super::judge::{Judged, Shown};
use super::ports::CallFailure;
use crate::api::{ConditionStatus, ConditionType, Kind, Reason, SubscriptionStatus};
use crate::rotation::answers::{Hold, Judgement, Operation, Pace, judge_call};
use crate::rotation::backoff;
use crate::rotation::facts::Subject;
use crate::rotation::schedule;
use crate::rotation::status::{self};
use crate::rotation::step::WaitReason;
use crate::rotation::time::{Moment, between, subtract, written};
use crate::rotation::wait::Wait;

pub(super) fn origin_news(failure: &CallFailure, judgement: &Judgement) -> OriginNews {
    match (&judgement.hold, failure) {
        // It was answered, and whoever was answered pauses: see `hold_provider`.
        (Hold::Asked(_), _) => OriginNews::Pauses,
        (_, CallFailure::Refused(_)) => OriginNews::Unknown,
        _ if judgement.counts_against_origin => OriginNews::Fails,
        _ => OriginNews::Answers,
    }
}

pub(super) fn internal(what: &str) -> Judgement {
    let failure = CallFailure::Unanswered { what: what.to_owned() };
    let mut judgement = judge_call(Operation::Update, &failure);
    judgement.reason = Reason::InternalError;
    judgement.message = format!("{what}; please report it with the log around this time");
    judgement.counts_against_origin = false;
    judgement
}

impl Engine {
    /// An attempt failed: when the next one comes, and what is shown meanwhile.
    pub(super) fn fail(
        &mut self,
        id: SubscriptionId,
        judgement: &Judgement,
        operation: Operation,
        now: Moment,
    ) {
        let Some(Judged { object, document, .. }) = self.judge(id, now) else {
            return self.rest(id);
        };
        if let Some(provider) = self.provider_key(id) {
            self.ports.meter.rotation(&provider, judgement.reason, None);
        }
        if let Some(provider) = self.state.entry(id).map(|entry| entry.provider) {
            self.hold_provider(provider, judgement, now);
        }
        if judgement.hold != Hold::Nothing {
            // Not the object's own failure: it waits for what was held back and takes its turn again.
            tracing::warn!(subscription = %object.identity.key, operation = operation.as_str(), reason = %judgement.reason, "{}", judgement.message);
            return self.rest(id);
        }
        let lead = self.lead_of(id, &object);
        let cap = match judgement.pace {
            Pace::Soon => backoff::cap(lead.map(|(lead, _)| lead)),
            Pace::Rarely => backoff::LONGEST_LONG_WAIT,
        };
        let rest = object.status.token_expiration_time.map_or(Duration::ZERO, |end| between(now.wall, end));
        let random = self.ports.random.bits();
        let subject = Subject { identity: &object.identity, spec: None, status: &object.status };
        let desired = document.desired.as_deref().unwrap_or_default();
        let inputs = backoff::attempt_inputs(&subject, desired);
        let provider = self.state.entry(id).and_then(|entry| self.state.provider(entry.provider));
        let breaker = provider.and_then(|provider| self.breaker_of(provider));
        let with_others = judgement.counts_against_origin && breaker.is_some_and(Breaker::is_away);
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let mut emitted = false;
        let mut count = 0;
        let mut until = now.wall;
        entry.remember(|memory| {
            let cap = match judgement.pace {
                Pace::Soon => backoff::hurried(cap, memory.failures, rest),
                Pace::Rarely => cap,
            };
            let wait = backoff::delay(memory.failures, cap, random);
            let mut wait = Wait::starting(now.wall, wait);
            if let (Pace::Rarely, Some((_, last_chance))) = (judgement.pace, lead)
                && last_chance > now.wall
            {
                wait.until = wait.until.min(last_chance);
            }
            memory.failures = memory.failures.saturating_add(1);
            memory.failed_with_others = with_others;
            count = memory.failures;
            until = wait.until;
            memory.wait = Some((wait, inputs.clone()));
            let changed = memory.failing.as_ref().is_none_or(|(reason, _)| *reason != judgement.reason);
            emitted = changed || backoff::is_recorded(count);
            if emitted {
                memory.failing = Some((judgement.reason, judgement.message.clone()));
            }
        });
        // The first of its kind is told to people, too: see `announce`.
        tracing::info!(
            subscription = %object.identity.key,
            operation = operation.as_str(),
            reason = %judgement.reason,
            failures = count,
            next = written(until),
            "{}", judgement.message
        );
        if !emitted {
            self.rest(id);
            return;
        }
        let fields = status::failed(&object.status, count, judgement.reason, &inputs, now.wall, until);
        let reason = WaitReason::BackingOff(judgement.reason, judgement.message.clone());
        let status = self.presented(id, &object, &document, &fields, &Shown::as_it(&reason), now);
        self.announce(&object, &status);
        self.record(id, status, Then::Reconcile);
    }

    /// The lead of the token in place and the last moment at which an attempt can still succeed.
    pub(super) fn lead_of(&self, id: SubscriptionId, object: &Object) -> Option<(Duration, DateTime<Utc>)> {
        let entry = self.state.entry(id)?;
        let spec = object.spec.as_ref()?;
        let remote = self.state.provider(entry.provider)?.client.as_ref()?;
        let source = self.state.source(entry.source?)?;
        let subject = Subject { identity: &object.identity, spec: Some(spec), status: &object.status };
        let plan = schedule::planned(&subject, spec, remote.profile(), &source.state)?;
        Some((plan.lead, subtract(plan.expires, plan.safety)))
    }

    /// Tells people of a transition, by comparing what was shown with what is shown now.
    pub(super) fn announce(&self, object: &Object, after: &SubscriptionStatus) {
        let shown = |status: &SubscriptionStatus, kind| {
            status
                .conditions
                .iter()
                .find(|condition| condition.kind == kind)
                .map(|condition| (condition.status, condition.reason, condition.message.clone()))
        };
        let key = &object.identity.key;
        for (kind, bad) in [
            (ConditionType::Stalled, ConditionStatus::True),
            (ConditionType::RotationHealthy, ConditionStatus::False),
            (ConditionType::Ready, ConditionStatus::False),
        ] {
            let (was, is) = (shown(&object.status, kind), shown(after, kind));
            let Some((holds, reason, message)) = is.filter(|is| is.0 == bad) else {
                continue;
            };
            if was.is_some_and(|was| was.0 == holds && was.1 == reason) {
                continue;
            }
            let speaks = match kind {
                ConditionType::Ready => matches!(reason, Reason::TokenExpired | Reason::Conflict),
                _ => true,
            };
            if speaks {
                self.emit(Kind::WebhookSubscription, key, true, reason, message);
            }
        }
    }
}
