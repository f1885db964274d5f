//! Looking at one subscription: asking the rules, and doing what they say.

use crate::api::Reason;
use crate::engine::dispatch::agenda::{file, file_expiry, grace_ends, leave_line};
use crate::engine::dispatch::pauses::{hasten, held_back};
use crate::engine::ids::SubscriptionId;
use crate::engine::providers::account::asks_whose;
use crate::engine::providers::filing::want_listing;
use crate::engine::queue::line::Line;
use crate::engine::reconcile::finalizer::keep_finalizer;
use crate::engine::reconcile::letting_go::{hand_over, release};
use crate::engine::sent::Then;
use crate::engine::sources::mint::want_mint;
use crate::engine::subscriptions::announce::announce;
use crate::engine::subscriptions::decision::{
    Judged, Shown, is_deleting, judge, presented, without_past_failure,
};
use crate::engine::subscriptions::persist::record;
use crate::engine::turn::Turn;
use crate::rotation::decide;
use crate::rotation::facts::Subject;
use crate::rotation::step::{Step, TokenChoice, WaitReason};

/// Decides what a subscription needs and does it, but for calls, which wait for their turn.
pub(crate) fn reconcile(turn: &mut Turn<'_>, id: SubscriptionId) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    if entry.is_busy() {
        return;
    }
    check_for_duplicates(turn, id);
    let Some(mut judged) = judge(turn, id) else {
        return;
    };
    if judged.is_held_back()
        && hasten(turn, id)
        && let Some(sooner) = judge(turn, id)
    {
        judged = sooner;
    }
    tracing::trace!(subscription = %judged.object.identity.key, step = ?judged.step, "decided");
    if record_first(turn, id, &judged) {
        return;
    }
    leave_line(turn, id);
    file(turn, id, None);
    act(turn, id, judged);
    if let Some(entry) = turn.state.entry_mut(id).filter(|entry| !entry.is_busy()) {
        entry.pack();
    }
}

/// A status that is not durable is written before anything new is begun that depends on it, and
/// tried again after a while otherwise.
fn record_first(turn: &mut Turn<'_>, id: SubscriptionId, judged: &Judged) -> bool {
    let now = turn.now;
    let Some((wait, _)) = turn.state.entry(id).and_then(|entry| entry.unrecorded) else {
        return false;
    };
    if turn.state.term.is_none() {
        return false;
    }
    let waits = wait.pending(now.wall).is_some();
    // A delete can be repeated, and in a namespace that is going nothing may be recorded any more.
    let depends = matches!(judged.step, Step::Create { .. } | Step::HandOver);
    if waits && depends {
        file(turn, id, Some(wait.until));
        return true;
    }
    if waits {
        return false;
    }
    record(turn, id, judged.object.status.clone(), Then::Reconcile);
    true
}

/// Once, some time after a create, a listing shows whether there is a second one.
fn check_for_duplicates(turn: &mut Turn<'_>, id: SubscriptionId) {
    let now = turn.now;
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    if entry.memory().duplicate_check.is_none_or(|at| at > now.wall) {
        return;
    }
    entry.remember(|memory| memory.duplicate_check = None);
    let can_list = turn.state.client_of(id).is_some_and(|remote| remote.profile().can_list);
    if can_list {
        want_listing(turn, id, now.wall);
    }
}

pub(crate) fn act(turn: &mut Turn<'_>, id: SubscriptionId, judged: Judged) {
    let now = turn.now;
    if turn.state.term.is_none() {
        // Another process leads: nothing is written and nothing is called.
        return;
    }
    if keep_finalizer(turn, id, &judged.object) || asks_whose(turn, id, &judged.unread, &judged.object) {
        return;
    }
    match judged.step {
        Step::Wait { until, ref reason } => {
            let fields = without_past_failure(turn.state, id, &judged.object.status);
            let status = presented(
                turn.state,
                id,
                &judged.object,
                &judged.document,
                &fields,
                &Shown::as_it(reason),
                now,
            );
            let recorded = judged.recorded.as_ref();
            if status == *recorded.unwrap_or(&judged.object.status) {
                file(turn, id, until);
            } else {
                if recorded.is_some() {
                    follow_held(turn, id);
                }
                announce(turn, &judged.object, &status);
                record(turn, id, status, Then::Reconcile);
            }
        }
        Step::List { begun_after } => {
            if let Some(entry) = turn.state.entry_mut(id) {
                // A time that lies ahead was written before the clock was set back, and no
                // listing would ever be late enough for it.
                entry.remember(|memory| {
                    let remembered = memory.listing_after.filter(|after| *after <= now.wall);
                    memory.listing_after = remembered.or(Some(begun_after));
                });
            }
            if !lapse(turn, id, &judged) {
                want_listing(turn, id, begun_after);
                file_expiry(turn, id, &judged.object);
            }
        }
        Step::Rotate { token: TokenChoice::Mint, .. } | Step::Create { token: TokenChoice::Mint, .. } => {
            if !lapse(turn, id, &judged) {
                want_mint(turn, id, &judged.object);
                file_expiry(turn, id, &judged.object);
            }
        }
        Step::Rotate { .. } | Step::Create { .. } | Step::Delete { .. } => {
            if !lapse(turn, id, &judged) {
                line_up(turn, id, &judged);
                file_expiry(turn, id, &judged.object);
            }
        }
        Step::HandOver => hand_over(turn, id, &judged.object),
        Step::Release { orphaned } => release(turn, id, &judged.object, orphaned),
    }
}

/// The token in place has another life: what is known of it on boot time goes with that.
fn follow_held(turn: &mut Turn<'_>, id: SubscriptionId) {
    let Some(entry) = turn.state.entry(id) else {
        return;
    };
    let source = entry.source.and_then(|source| turn.state.source(source));
    let minted = source.and_then(|source| source.state.held.as_ref()).map(|held| held.minted.boot);
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.minted_boot = minted;
    }
}

/// While a call or a mint is waited for, the token may end: that is shown at once. Returns
/// whether a record was begun.
fn lapse(turn: &mut Turn<'_>, id: SubscriptionId, judged: &Judged) -> bool {
    let now = turn.now;
    let object = &judged.object;
    let expired = object.status.token_expiration_time.is_some_and(|end| end <= now.wall);
    let shown = object.status.conditions.iter().any(|condition| condition.reason == Reason::TokenExpired);
    if !expired || shown || is_deleting(object, false) {
        return false;
    }
    let shown = Shown::as_it(&WaitReason::Settled);
    let status = presented(turn.state, id, object, &judged.document, &object.status, &shown, now);
    if status == object.status {
        return false;
    }
    announce(turn, object, &status);
    record(turn, id, status, Then::Reconcile);
    true
}

/// Puts a call in line at its origin.
fn line_up(turn: &mut Turn<'_>, id: SubscriptionId, judged: &Judged) {
    let now = turn.now;
    let Some(entry) = turn.state.entry(id) else {
        return;
    };
    let namespace = entry.namespace;
    let keeps_failing = entry.keeps_failing();
    let source = entry.source.and_then(|source| turn.state.source(source));
    let subject = Subject {
        identity: &judged.object.identity,
        spec: judged.object.spec.as_ref(),
        status: &judged.object.status,
    };
    let deadline = source.map_or(now.wall, |source| decide::deadline(now, &subject, &source.state));
    let deadline = deadline.timestamp_millis();
    let grace_over = grace_ends(turn.state, id, &judged.object).filter(|ends| *ends <= now.wall);
    let line = match judged.step {
        // Under lasting load whoever comes last never has a turn.
        Step::Delete { .. } => grace_over.map_or(Line::Last, |ends| Line::Deadline(ends.timestamp_millis())),
        _ if keeps_failing => Line::Failing(deadline),
        _ => Line::Deadline(deadline),
    };
    let Some(provider) = turn.state.provider(entry.provider) else {
        return;
    };
    // The rules let nothing else through while calls pause.
    let line =
        if held_back(turn.state, provider, now).is_some() && !matches!(judged.step, Step::Delete { .. }) {
            Line::LastAttempt(deadline)
        } else {
            line
        };
    let Some(origin) = provider.origin().map(str::to_owned) else {
        return;
    };
    let Some(origin) = turn.state.origins.get_mut(&origin) else {
        return;
    };
    let place = origin.tenant_for(namespace, now.boot).ready.put(id, line);
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.place = Some(place);
    }
}
