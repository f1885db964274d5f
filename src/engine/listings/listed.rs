//! A page of a listing has been answered.

use crate::api::{ConditionStatus, Reason};
use crate::engine::calls::ending::request_ended;
use crate::engine::calls::failure::fail;
use crate::engine::calls::news::{OriginNews, news_of};
use crate::engine::class::class_of;
use crate::engine::dispatch::agenda::reconcile_each;
use crate::engine::effect::Count;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::listings::comparing::listing_arrived;
use crate::engine::ports::{CallFailure, Listing};
use crate::engine::providers::filing::file_provider;
use crate::engine::providers::status::{hold_provider, record_provider};
use crate::engine::reading::Paused;
use crate::engine::turn::Turn;
use crate::rotation::answers::{Hold, Judgement, Operation, judge_call};
use crate::rotation::backoff;
use crate::rotation::time::Moment;
use crate::rotation::wait::Wait;

/// A page has been answered.
pub(crate) fn listed(
    turn: &mut Turn<'_>,
    id: ProviderId,
    started: Moment,
    paused: Paused,
    result: Result<Option<Listing>, CallFailure>,
) {
    let now = turn.now;
    let class = class_of(&result);
    let took = now.boot.saturating_sub(started.boot);
    turn.count(Count::ProviderRequest { operation: Operation::List.as_str(), class, took });
    let judgement = result.as_ref().err().map(|failure| judge_call(Operation::List, failure));
    let news = match (&result, &judgement) {
        (Err(failure), Some(judgement)) => news_of(failure, judgement),
        _ => OriginNews::Answers,
    };
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    let place = provider.listing_at.take();
    let is_outdated = paused.epoch != provider.listing_epoch;
    if let Some(place) = place {
        request_ended(turn, *place, None, news);
    }
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    match (result, judgement) {
        // The provider has changed, or another process has led: whoever waits asks again.
        _ if is_outdated => {}
        (Ok(None), _) => {
            if paused.failures > 0 {
                provider.list_failures = 0;
            }
            provider.list_wait = None;
            provider.paused = Some(Paused { failures: 0, ..paused });
            return file_provider(turn, id);
        }
        (Ok(Some(listing)), _) => {
            provider.listing_since = None;
            listing_arrived(turn, id, listing, paused.started);
        }
        (Err(failure), judgement) => {
            provider.paused = paused.after(&failure);
            if provider.paused.is_none() {
                provider.listing_since = None;
            }
            if let Some(judgement) = judgement {
                listing_failed(turn, id, &judgement);
            }
        }
    }
    if let Some(provider) = turn.state.provider_mut(id)
        && !provider.waiting.is_empty()
    {
        let waiting = std::mem::take(&mut provider.waiting);
        reconcile_each(turn, waiting);
    }
    file_provider(turn, id);
}

fn listing_failed(turn: &mut Turn<'_>, id: ProviderId, judgement: &Judgement) {
    let now = turn.now;
    let random = turn.around.random.bits();
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    tracing::warn!(provider = %provider.key, reason = %judgement.reason, "{}", judgement.message);
    if judgement.reason == Reason::ListForbidden {
        provider.list_forbidden = true;
        provider.wanted = None;
        let users = provider.users.clone();
        reconcile_each(turn, users);
        return;
    }
    let wait = backoff::delay(provider.list_failures, backoff::LONGEST_WAIT, random);
    provider.list_failures = provider.list_failures.saturating_add(1);
    provider.list_wait = Some(Wait::starting(now.wall, wait));
    if judgement.hold == Hold::Nothing {
        provider.answered = Some((ConditionStatus::False, judgement.reason, judgement.message.clone()));
    }
    // Those who wait for it are told; a verification is tried again at its next time, unless it
    // goes on where it failed.
    let goes_on = provider.paused.is_some();
    let waiting: Vec<SubscriptionId> = provider.waiting.iter().copied().collect();
    if !waiting.is_empty() && !goes_on {
        provider.wanted = Some(now.wall);
    }
    hold_provider(turn, id, judgement);
    record_provider(turn, id);
    if goes_on && matches!(judgement.hold, Hold::Asked(_)) {
        // They wait for the origin, and show that.
        return;
    }
    let mut judgement = judgement.clone();
    judgement.hold = Hold::Nothing;
    for waiting in waiting {
        if turn.state.entry(waiting).is_some_and(|entry| !entry.is_busy()) {
            fail(turn, waiting, &judgement, Operation::List);
        }
    }
}

pub(crate) fn listing_broken(turn: &mut Turn<'_>, id: ProviderId, what: &str) {
    let failure = CallFailure::Unanswered { what: what.to_owned() };
    let mut judgement = judge_call(Operation::List, &failure);
    judgement.reason = Reason::InternalError;
    let provider = turn.state.provider_mut(id);
    let under_way = provider.and_then(|provider| {
        provider.forget_reading();
        provider.listing_at.take()
    });
    if let Some(place) = under_way {
        request_ended(turn, *place, None, OriginNews::Unknown);
    }
    listing_failed(turn, id, &judgement);
    file_provider(turn, id);
}
