//! What follows when no token came.

use std::time::Duration;

use crate::api::{Reason, TokenSourceSpec};
use crate::engine::dispatch::agenda::reconcile_soon;
use crate::engine::effect::Count;
use crate::engine::ids::{SourceId, SubscriptionId};
use crate::engine::ports::MintFailure;
use crate::engine::sent::Then;
use crate::engine::sources::status::record_source;
use crate::engine::state::terms::plans;
use crate::engine::subscriptions::announce::announce;
use crate::engine::subscriptions::decision::{OF_MINT, Shown, document_of, presented};
use crate::engine::subscriptions::persist::record;
use crate::engine::turn::Turn;
use crate::rotation::answers::{Hold, judge_mint};
use crate::rotation::schedule::Plan;
use crate::rotation::step::WaitReason;
use crate::rotation::time::between;
use crate::rotation::wait::Wait;
use crate::rotation::{backoff, status};

pub(crate) fn lifetime_unknown(turn: &mut Turn<'_>, id: SourceId) {
    let message =
        "the token source does not say how long its tokens live; set assumedLifetime on the token source";
    mint_did_not_help(turn, id, Reason::LifetimeUnknown, message.to_owned(), backoff::LONGEST_LONG_WAIT);
}

pub(crate) fn mint_failed(turn: &mut Turn<'_>, id: SourceId, failure: &MintFailure) {
    let now = turn.now;
    let random = turn.around.random.bits();
    let plans: Vec<Plan> = plans(turn.state, id).collect();
    let cap = match failure {
        // The source answers, with what is over: asked often, it answers that often.
        MintFailure::ExpiredOnArrival | MintFailure::NoLife { .. } => backoff::LONGEST_WAIT,
        _ => backoff::cap(plans.iter().map(|plan| plan.lead).min()),
    };
    let first_end = plans.iter().map(|plan| plan.expires).min();
    let rest = first_end.map_or(Duration::ZERO, |end| between(now.wall, end));
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let judgement = judge_mint(failure, source.spec.as_deref().unwrap_or(&TokenSourceSpec::default()));
    let wait = match judgement.hold {
        Hold::Source(asked) => {
            source.hold.open(now.wall, asked, judgement.reason);
            let until = source.hold.pending(now.wall).map_or(now.wall, |held| held.until);
            // A pause that outlasts a token is interrupted once.
            let outlasted = plans.iter().filter(|plan| plan.is_outlasted_by(until));
            let last_attempt = outlasted.map(Plan::last_attempt).filter(|last| *last > now.wall).min();
            between(now.wall, last_attempt.unwrap_or(until))
        }
        _ => backoff::delay(source.failures, backoff::hurried(cap, source.failures, rest), random),
    };
    tracing::info!(source = %source.key, reason = %judgement.reason, "{}", judgement.message);
    mint_did_not_help(turn, id, judgement.reason, judgement.message, wait);
}

/// No token came: the source waits, and the members that asked say why.
pub(crate) fn mint_did_not_help(
    turn: &mut Turn<'_>,
    id: SourceId,
    reason: Reason,
    message: String,
    wait: Duration,
) {
    let now = turn.now;
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let wait = Wait::starting(now.wall, wait.max(Duration::from_millis(100)));
    source.failures = source.failures.saturating_add(1);
    source.state.wait = Some(wait);
    let changed = source.state.failing.as_ref().is_none_or(|(before, _)| *before != reason);
    let count = source.failures;
    let emitted = changed || backoff::is_recorded(count);
    if emitted {
        source.state.failing = Some((reason, message.clone()));
    }
    let waiting = std::mem::take(&mut source.waiting);
    if emitted {
        record_source(turn, id);
    }
    for member in waiting {
        // Each is a rotation that did not come about; the mint itself is counted once.
        if let Some(provider) = turn.state.provider_key(member) {
            turn.count(Count::Rotation { provider, outcome: reason, lead: None });
        }
        if emitted {
            note_mint_failure(turn, member, count, reason, &message, wait);
        } else {
            reconcile_soon(turn, member);
        }
    }
}

/// A mint's failure is recorded in the members that waited for it.
fn note_mint_failure(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    count: u32,
    reason: Reason,
    message: &str,
    wait: Wait,
) {
    let now = turn.now;
    let Some(entry) = turn.state.entry(id).filter(|entry| !entry.is_busy()) else {
        return;
    };
    let Some(object) = entry.object() else {
        return;
    };
    let wanted = document_of(turn.state, id, &object);
    let fields = status::failed(&object.status, count, reason, OF_MINT, now.wall, wait.until);
    let reason = if reason == Reason::LifetimeUnknown && object.status.webhook_id.is_none() {
        WaitReason::Stalled(reason, message.to_owned())
    } else {
        WaitReason::BackingOff(reason, message.to_owned())
    };
    let status = presented(turn.state, id, &object, &wanted, &fields, &Shown::as_it(&reason), now);
    announce(turn, &object, &status);
    record(turn, id, status, Then::Reconcile);
}
