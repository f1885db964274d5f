//! What a read or a write of the published Secret brings.

use std::time::Duration;

use crate::api::Reason;
use crate::engine::dispatch::agenda::reconcile_users_of_source;
use crate::engine::ids::SourceId;
use crate::engine::ports::{PublishFailure, Published};
use crate::engine::sources::keep_alive::keep_alive;
use crate::engine::sources::offer::{gates_know, offer_held};
use crate::engine::sources::publish::{
    alarm_source, plan_tending, publish_hosts, tend_publication, write_published,
};
use crate::engine::sources::status::record_source;
use crate::engine::state::terms::publishing_pause;
use crate::engine::turn::Turn;
use crate::rotation::backoff;
use crate::rotation::life::HeldToken;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;

/// A published token that is alive is held: it is applied, and nothing new is minted.
pub(crate) fn published_read(
    turn: &mut Turn<'_>,
    id: SourceId,
    forgotten: u64,
    result: Result<Option<Published>, PublishFailure>,
) {
    let now = turn.now;
    if is_forgotten(turn, id, forgotten) {
        return;
    }
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    source.published.busy = false;
    match result {
        Ok(found) => {
            source.state.unread = false;
            source.published.failures = 0;
            let of_publishing = |reason| matches!(reason, Reason::Conflict | Reason::InternalError);
            source.state.failing = source.state.failing.take().filter(|(reason, _)| !of_publishing(*reason));
            if let Some(tokens) = found {
                let alive = tokens.expires.is_none_or(|expires| expires > now.wall);
                // What a Secret holds is read from there, with the hosts it may be sent to.
                if alive && source.state.held.is_none() && !source.state.polled {
                    let age = between(tokens.minted, now.wall);
                    source.state.held = Some(HeldToken {
                        fingerprint: tokens.fingerprint.clone(),
                        minted: Moment { wall: tokens.minted, boot: now.boot.saturating_sub(age) },
                        expires: tokens.expires,
                        confirmed: tokens.minted,
                    });
                    source.token = Some(tokens.current.clone());
                    source.last_lifetime = tokens.expires.map(|expires| between(tokens.minted, expires));
                }
                source.published.tokens = Some(tokens);
            }
            source.refresh();
            leave_for_readers(turn, id);
            offer_held(turn, id);
            gates_know(turn, id);
            keep_alive(turn, id);
            plan_tending(turn, id);
            publish_hosts(turn, id);
        }
        Err(failure) => {
            source.publishing_failed("read", &failure);
            let wait = backoff::delay(source.published.failures, Duration::from_secs(30), 0);
            alarm_source(turn, id, now.boot + wait);
        }
    }
    record_source(turn, id);
    reconcile_users_of_source(turn, id);
}

/// A token that was published a moment ago, by this process or by another, is still left for its
/// readers: they do not read faster because somebody else leads.
fn leave_for_readers(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    let pause = publishing_pause(turn.state, id);
    if let Some(source) = turn.state.source_mut(id)
        && let Some(held) = &source.state.held
    {
        let left = pause.saturating_sub(between(held.minted.wall, now.wall));
        source.state.apply_after = (!left.is_zero()).then(|| Wait::starting(now.wall, left));
    }
}

/// Whether what was known of the Secret has been forgotten since a read or a write of it began: what
/// it brings is dropped, and what stands there is read again.
fn is_forgotten(turn: &mut Turn<'_>, id: SourceId, forgotten: u64) -> bool {
    let Some(source) = turn.state.source_mut(id).filter(|source| source.published.forgotten != forgotten)
    else {
        return false;
    };
    source.published.busy = false;
    tend_publication(turn, id);
    true
}

pub(crate) fn published_written(
    turn: &mut Turn<'_>,
    id: SourceId,
    forgotten: u64,
    tokens: Published,
    result: Result<(), PublishFailure>,
) {
    let now = turn.now;
    if is_forgotten(turn, id, forgotten) {
        return;
    }
    let pause = publishing_pause(turn.state, id);
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    source.published.busy = false;
    match result {
        Ok(()) => {
            source.published.failures = 0;
            let is_new = source
                .published
                .tokens
                .as_ref()
                .is_none_or(|before| before.fingerprint != tokens.fingerprint);
            let newer_waits = source.published.pending.as_ref().is_some_and(|pending| *pending != tokens);
            source.published.tokens = Some(tokens);
            if newer_waits {
                write_published(turn, id);
            } else {
                source.published.pending = None;
                if is_new {
                    source.state.apply_after = Some(Wait::starting(now.wall, pause));
                    source.wait_for_gates(now, pause);
                }
                source.state.failing = None;
                record_source(turn, id);
                gates_know(turn, id);
                reconcile_users_of_source(turn, id);
            }
        }
        Err(failure) => {
            source.publishing_failed("written", &failure);
            let wait = backoff::delay(source.published.failures, Duration::from_secs(30), 0);
            record_source(turn, id);
            alarm_source(turn, id, now.boot + wait);
        }
    }
}

pub(crate) fn publishing_broken(turn: &mut Turn<'_>, id: SourceId, what: &str) {
    let now = turn.now;
    if let Some(source) = turn.state.source_mut(id) {
        source.published.busy = false;
        tracing::error!(source = %source.key, "{what}");
    }
    alarm_source(turn, id, now.boot + backoff::LONGEST_WAIT);
}
