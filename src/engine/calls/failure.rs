//! What follows from an attempt that failed.

use std::time::Duration;

use crate::api::Reason;
use crate::engine::dispatch::pauses::breaker_of;
use crate::engine::effect::Count;
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::CallFailure;
use crate::engine::providers::status::hold_provider;
use crate::engine::queue::breaker::Breaker;
use crate::engine::sent::Then;
use crate::engine::state::terms::lead_of;
use crate::engine::subscriptions::announce::announce;
use crate::engine::subscriptions::decision::{Judged, Shown, judge, presented};
use crate::engine::subscriptions::persist::record;
use crate::engine::subscriptions::rest::rest;
use crate::engine::turn::Turn;
use crate::rotation::answers::{Hold, Judgement, Operation, Pace, judge_call};
use crate::rotation::facts::Subject;
use crate::rotation::step::WaitReason;
use crate::rotation::time::{between, written};
use crate::rotation::wait::Wait;
use crate::rotation::{backoff, status};

pub(crate) fn internal(what: &str) -> Judgement {
    let failure = CallFailure::Unanswered { what: what.to_owned() };
    let mut judgement = judge_call(Operation::Update, &failure);
    judgement.reason = Reason::InternalError;
    judgement.message = format!("{what}; please report it with the log around this time");
    judgement.counts_against_origin = false;
    judgement
}

/// An attempt failed: when the next one comes, and what is shown meanwhile.
pub(crate) fn fail(turn: &mut Turn<'_>, id: SubscriptionId, judgement: &Judgement, operation: Operation) {
    let now = turn.now;
    let Some(Judged { object, document, .. }) = judge(turn, id) else {
        return rest(turn, id);
    };
    if let Some(provider) = turn.state.provider_key(id) {
        turn.count(Count::Rotation { provider, outcome: judgement.reason, lead: None });
    }
    if let Some(provider) = turn.state.entry(id).map(|entry| entry.provider) {
        hold_provider(turn, provider, judgement);
    }
    if judgement.hold != Hold::Nothing {
        // Not the object's own failure: it waits for what was held back and takes its turn again.
        tracing::warn!(subscription = %object.identity.key, operation = operation.as_str(), reason = %judgement.reason, "{}", judgement.message);
        return rest(turn, id);
    }
    let lead = lead_of(turn.state, id, &object);
    let cap = match judgement.pace {
        Pace::Soon => backoff::cap(lead.map(|(lead, _)| lead)),
        Pace::Rarely => backoff::LONGEST_LONG_WAIT,
    };
    let left = object.status.token_expiration_time.map_or(Duration::ZERO, |end| between(now.wall, end));
    let random = turn.around.random.bits();
    let subject = Subject { identity: &object.identity, spec: None, status: &object.status };
    let desired = document.desired.as_deref().unwrap_or_default();
    let inputs = backoff::attempt_inputs(&subject, desired);
    let provider = turn.state.entry(id).and_then(|entry| turn.state.provider(entry.provider));
    let breaker = provider.and_then(|provider| breaker_of(turn.state, provider));
    let with_others = judgement.counts_against_origin && breaker.is_some_and(Breaker::is_away);
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let mut emitted = false;
    let mut count = 0;
    let mut until = now.wall;
    entry.remember(|memory| {
        let cap = match judgement.pace {
            Pace::Soon => backoff::hurried(cap, memory.failures, left),
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
        rest(turn, id);
        return;
    }
    let fields = status::failed(&object.status, count, judgement.reason, &inputs, now.wall, until);
    let reason = WaitReason::BackingOff(judgement.reason, judgement.message.clone());
    let status = presented(turn.state, id, &object, &document, &fields, &Shown::as_it(&reason), now);
    announce(turn, &object, &status);
    record(turn, id, status, Then::Reconcile);
}
