//! Publishing tokens for receivers: `current` before it is applied, `previous` while it may still
//! arrive.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::dispatch::writes::write;
use crate::engine::ids::{SourceId, SubscriptionId};
use crate::engine::ports::Published;
use crate::engine::queue::timers::Alarm;
use crate::engine::state::terms::longest_overlap;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::rotation::life::HeldToken;
use crate::rotation::wait::Wait;

pub(crate) fn alarm_source(turn: &mut Turn<'_>, id: SourceId, at: Duration) {
    if let Some(source) = turn.state.sources.get_mut(id) {
        turn.state.timers.file(&mut source.timer, at, Alarm::Source(id));
    }
}

/// Has the published Secret read.
pub(crate) fn read_published(turn: &mut Turn<'_>, id: SourceId) {
    // Who may not act keeps no tokens.
    let Some((key, secret_name)) = turn.state.publication_of(id).filter(|_| turn.state.term.is_some()) else {
        return;
    };
    let Some(source) = turn.state.source_mut(id).filter(|source| !source.published.busy) else {
        return;
    };
    source.published.busy = true;
    let (namespace, forgotten) = (source.namespace, source.published.forgotten);
    write(turn.state, namespace, Write::ReadPublished { id, key, secret_name, forgotten });
}

/// A new token is published before it is applied.
pub(crate) fn publish_held(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    if turn.state.publication_of(id).is_none() {
        return;
    }
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let (Some(held), Some(token)) = (&source.state.held, &source.token) else {
        return;
    };
    // `previous` is the last token that was recorded as applied, not the last one minted.
    let applied = source.published.applied.as_ref().map(|(of, token)| (token.clone(), Some(of.to_string())));
    let stood = source.published.tokens.as_ref();
    let carried = |fingerprint: &str| source.carried.keys().any(|carried| **carried == *fingerprint);
    let previous = applied.or_else(|| {
        stood.and_then(|stood| {
            if carried(&stood.fingerprint) {
                return Some((stood.current.clone(), Some(stood.fingerprint.clone())));
            }
            Some((stood.previous.clone()?, stood.previous_fingerprint.clone()))
        })
    });
    let (previous, previous_fingerprint) = previous.unzip();
    source.published.pending = Some(Published {
        current: token.clone(),
        previous,
        previous_fingerprint: previous_fingerprint.flatten(),
        fingerprint: held.fingerprint.clone(),
        minted: held.minted.wall,
        expires: held.expires,
        allowed_hosts: source.bounds().hosts(),
    });
    // Until it is published nobody applies it, within reason: see `decide`.
    source.state.apply_after = Some(Wait::starting(now.wall, Duration::from_secs(3_600)));
    write_published(turn, id);
}

/// The published token has another life: its readers are told, and nobody waits for them.
pub(crate) fn publish_life(turn: &mut Turn<'_>, id: SourceId) {
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let (publication, Some(held)) = (&mut source.published, &source.state.held) else {
        return;
    };
    let newest = publication.pending.as_ref().or(publication.tokens.as_ref());
    let Some(newest) = newest.filter(|newest| newest.fingerprint == held.fingerprint) else {
        return;
    };
    let tokens = Published { minted: held.minted.wall, expires: held.expires, ..newest.clone() };
    publication.pending = Some(tokens);
    write_published(turn, id);
}

/// The copy may go where its token may: what is said of that goes along, whenever it changes.
pub(crate) fn publish_hosts(turn: &mut Turn<'_>, id: SourceId) {
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    // Without a held token nobody knows what the Secret says that it is read from.
    if source.state.held.is_none() {
        return;
    }
    let allowed_hosts = source.bounds().hosts();
    let publication = &mut source.published;
    let newest = publication.pending.as_ref().or(publication.tokens.as_ref());
    let Some(newest) = newest.filter(|newest| newest.allowed_hosts != allowed_hosts) else {
        return;
    };
    publication.pending = Some(Published { allowed_hosts, ..newest.clone() });
    write_published(turn, id);
}

pub(crate) fn write_published(turn: &mut Turn<'_>, id: SourceId) {
    let Some((key, secret_name)) = turn.state.publication_of(id) else {
        return;
    };
    let Some(source) = turn.state.source_mut(id).filter(|source| !source.published.busy) else {
        return;
    };
    let Some(tokens) = source.published.pending.clone().map(Box::new) else {
        return;
    };
    source.published.busy = true;
    let (namespace, forgotten) = (source.namespace, source.published.forgotten);
    write(turn.state, namespace, Write::Published { id, key, secret_name, forgotten, tokens });
}

/// A token has been recorded as applied: from now on it is what `previous` will be.
pub(crate) fn remember_applied(turn: &mut Turn<'_>, id: SubscriptionId, held: &HeldToken) {
    let Some(source_id) = turn.state.entry(id).and_then(|entry| entry.source) else {
        return;
    };
    if turn.state.publication_of(source_id).is_none() {
        return;
    }
    let Some(source) = turn.state.source_mut(source_id) else {
        return;
    };
    if source.holds_token(held)
        && let Some(token) = &source.token
    {
        source.published.applied = Some((Arc::from(held.fingerprint.as_str()), token.clone()));
    }
}

/// After an apply: once all members have moved, `previous` goes when the overlap is over.
pub(crate) fn after_apply(turn: &mut Turn<'_>, id: SubscriptionId) {
    if let Some(source) = turn.state.entry(id).and_then(|entry| entry.source) {
        plan_tending(turn, source);
    }
}

pub(crate) fn plan_tending(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    let Some(source) = turn.state.source(id) else {
        return;
    };
    if source.drops_previous() && !source.carried.is_empty() {
        let overlap = longest_overlap(turn.state, id);
        alarm_source(turn, id, now.boot + overlap);
    }
}

/// The source's time has come: write what could not be written, read what could not be read, or
/// drop a `previous` that nobody needs any more.
pub(crate) fn tend_publication(turn: &mut Turn<'_>, id: SourceId) {
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    if source.state.unread {
        return read_published(turn, id);
    }
    if source.published.pending.is_some() {
        return write_published(turn, id);
    }
    if !source.drops_previous() {
        return;
    }
    if let Some(tokens) = source.published.tokens.clone() {
        source.published.pending = Some(Published { previous: None, previous_fingerprint: None, ..tokens });
        write_published(turn, id);
    }
}
