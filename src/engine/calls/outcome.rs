//! What follows from a call to a provider that has ended.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};

use crate::api::{Kind, Ownership, Reason};
use crate::engine::calls::ending::end_call;
use crate::engine::calls::failure::fail;
use crate::engine::calls::in_place::{Success, in_place};
use crate::engine::calls::missing::{gone_missing, is_shown_nevertheless, listed_but_not_found};
use crate::engine::calls::news::{OriginNews, news_of};
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::{Applied, CallFailure};
use crate::engine::providers::account::is_about_account;
use crate::engine::providers::status::hold_provider;
use crate::engine::queue::hold_back::HoldBack;
use crate::engine::sent::{Applying, Creating, Then};
use crate::engine::state::subscription::Entry;
use crate::engine::subscriptions::letting_go::let_go;
use crate::engine::subscriptions::persist::{put_status, record};
use crate::engine::subscriptions::rest::rest;
use crate::engine::turn::Turn;
use crate::rotation::answers::{Operation, judge_call};
use crate::rotation::step::Why;
use crate::rotation::wait::Wait;
use crate::rotation::{decide, status};

/// The next whole minute: one listing then serves everything that was created within a minute.
fn whole_minute(time: DateTime<Utc>) -> DateTime<Utc> {
    let into = time.timestamp().rem_euclid(60);
    (time + chrono::TimeDelta::seconds(60 - into)).trunc_subsecs(0)
}

/// The outcome is not recorded. What was sent may have landed after what the other leader sent.
pub(crate) fn overtaken(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    operation: Operation,
    result: Result<Applied, CallFailure>,
) {
    let now = turn.now;
    let judged = result.err().map(|failure| (judge_call(operation, &failure), failure));
    let (news, sent) = match &judged {
        None => (OriginNews::Answers, true),
        Some((judgement, failure)) => (news_of(failure, judgement), judgement.outcome_unknown),
    };
    end_call(turn, id, Some(news));
    if let (Some((judgement, _)), Some(entry)) = (&judged, turn.state.entry(id)) {
        let provider = entry.provider;
        hold_provider(turn, provider, judgement);
    }
    let (timeout, settle) = (turn.state.timeout_of(id), turn.state.settle_of(id));
    if let Some(entry) = turn.state.entry_mut(id).filter(|_| sent) {
        tracing::warn!(subscription = %entry.key, "another process has led meanwhile; what this one sent is not recorded");
        entry.remember(|memory| {
            memory.listing_after = Some(now.wall);
            match operation {
                Operation::Create => memory.duplicate_check = Some(whole_minute(now.wall + settle)),
                _ => memory.resend = Some(decide::resend_wait(now, timeout)),
            }
        });
    }
    rest(turn, id);
}

pub(crate) fn applied(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    applying: &Applying,
    result: Result<Applied, CallFailure>,
) {
    let now = turn.now;
    let Some(object) = turn.state.entry(id).and_then(Entry::object) else {
        return end_call(turn, id, None);
    };
    let sent = &applying.sent;
    let document = format!("{}/{}", sent.digest, sent.held.fingerprint);
    match result {
        Ok(applied) => {
            end_call(turn, id, Some(OriginNews::Answers));
            let ownership = applying.ownership;
            let happened = match applying.why {
                Why::Adopting if ownership == Ownership::Adopted => Reason::Adopted,
                // The outcome of a create has been found out.
                Why::Adopting => Reason::Created,
                _ => Reason::Rotated,
            };
            let success =
                Success { remote_id: &applying.id, ownership, sent, secrets: applied.secrets, happened };
            end_refusal(turn, id);
            in_place(turn, id, &object, success);
            let timeout = turn.state.timeout_of(id);
            if let Some(entry) = turn.state.entry_mut(id) {
                entry.remember(|memory| {
                    // An older request may still be queued at the provider and land last. One with
                    // this document does no harm yet, but would if another one followed soon.
                    let unsettled = &mut memory.unsettled;
                    let other = unsettled.iter().any(|(unsettled, _)| *unsettled != document);
                    unsettled.retain(|(same, lands)| *same == document && lands.pending(now.wall).is_some());
                    memory.resend = other.then(|| decide::resend_wait(now, timeout));
                });
            }
        }
        Err(failure) if is_about_account(turn, id, &failure) => {
            end_call(turn, id, None);
            rest(turn, id);
        }
        Err(failure) => {
            let judgement = judge_call(Operation::Update, &failure);
            end_call(turn, id, Some(news_of(&failure, &judgement)));
            let timeout = turn.state.timeout_of(id);
            if let Some(entry) = turn.state.entry_mut(id) {
                entry.remember(|memory| {
                    memory.listing_after = Some(now.wall);
                    if judgement.outcome_unknown {
                        memory.unsettled.retain(|(before, _)| *before != document);
                        memory.unsettled.truncate(1);
                        memory.unsettled.push((document, decide::resend_wait(now, timeout)));
                    }
                });
            }
            if judgement.missing && is_shown_nevertheless(turn.state, id, &object) {
                listed_but_not_found(turn, id, &object, &failure);
            } else if judgement.missing {
                gone_missing(turn, id, &object);
            } else {
                fail(turn, id, &judgement, Operation::Update);
            }
        }
    }
}

/// A last attempt that was made although a 401 holds its provider back, and succeeded: the
/// credential is taken after all.
fn end_refusal(turn: &mut Turn<'_>, id: SubscriptionId) {
    let Some(entry) = turn.state.entry(id).filter(|entry| entry.memory().last_attempt.is_some()) else {
        return;
    };
    let provider = entry.provider;
    if let Some(provider) = turn.state.provider_mut(provider)
        && provider.hold.is_refusal()
    {
        provider.hold = HoldBack::default();
    }
}

pub(crate) fn created(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    creating: &Creating,
    result: Result<Applied, CallFailure>,
) {
    let now = turn.now;
    let Some(object) = turn.state.entry(id).and_then(Entry::object) else {
        return;
    };
    let failure = match result {
        Ok(Applied { id: Some(remote_id), secrets }) => {
            end_call(turn, id, Some(OriginNews::Answers));
            let settle = turn.state.settle_of(id);
            if let Some(entry) = turn.state.entry_mut(id) {
                let at = whole_minute(now.wall + settle);
                entry.remember(|memory| memory.duplicate_check = Some(at));
            }
            let again = object.status.missing_since.is_some();
            let happened = if again { Reason::Recreated } else { Reason::Created };
            let success = Success {
                remote_id: &remote_id,
                ownership: Ownership::Created,
                sent: &creating.sent,
                secrets,
                happened,
            };
            return in_place(turn, id, &object, success);
        }
        Ok(Applied { id: None, .. }) => {
            CallFailure::Unreadable { what: "no id in the answer to a create".into() }
        }
        Err(failure) => failure,
    };
    if is_about_account(turn, id, &failure) {
        end_call(turn, id, None);
        return record(turn, id, status::creation_closed(&object.status), Then::Reconcile);
    }
    let judgement = judge_call(Operation::Create, &failure);
    end_call(turn, id, Some(news_of(&failure, &judgement)));
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.remember(|memory| memory.listing_after = Some(now.wall));
    }
    if !judgement.outcome_unknown {
        let closed = status::creation_closed(&object.status);
        put_status(turn, id, &closed);
        if let Some(entry) = turn.state.entry_mut(id) {
            // The record is to go, whatever else is written.
            entry.unrecorded = Some((Wait::starting(now.wall, Duration::ZERO), 0));
        }
    }
    fail(turn, id, &judgement, Operation::Create);
}

pub(crate) fn deleted(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    remote: &str,
    result: Result<(), CallFailure>,
) {
    let Some(object) = turn.state.entry(id).and_then(Entry::object) else {
        return;
    };
    let missing = matches!(&result, Err(failure) if judge_call(Operation::Delete, failure).missing);
    match result {
        Err(failure) if is_about_account(turn, id, &failure) => {
            end_call(turn, id, None);
            rest(turn, id);
        }
        Err(failure) if !missing => {
            let judgement = judge_call(Operation::Delete, &failure);
            end_call(turn, id, Some(news_of(&failure, &judgement)));
            fail(turn, id, &judgement, Operation::Delete);
        }
        _ => {
            end_call(turn, id, Some(OriginNews::Answers));
            let note = format!("webhook {remote} was deleted at the provider");
            turn.emit(Kind::WebhookSubscription, &object.identity.key, false, Reason::Deleted, note);
            let_go(turn, id, &object);
        }
    }
}
