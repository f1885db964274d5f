//! A term begins or ends, or everything is known for the first time.

use crate::engine::dispatch::agenda::{reconcile_all, reconcile_each, reconcile_soon};
use crate::engine::providers::begin::begin_provider;
use crate::engine::sources::begin::begin_source;
use crate::engine::state::State;
use crate::engine::turn::Turn;

/// All objects are known: only now can members be compared and claims be judged.
pub(crate) fn synced(turn: &mut Turn<'_>) {
    turn.state.synced = true;
    for id in turn.state.sources.ids() {
        begin_source(turn, id);
    }
    for id in turn.state.providers.ids() {
        begin_provider(turn, id);
    }
    reconcile_all(turn);
}

/// A new term begins with a look at everything; without a claim nothing is done outside.
pub(crate) fn claim_changed(turn: &mut Turn<'_>, term: Option<u64>) {
    turn.state.term = term;
    if term.is_some() {
        if turn.state.synced {
            take_over(turn);
        }
        reconcile_all(turn);
    } else {
        forget_tokens(turn.state);
    }
}

/// Who may not act keeps no tokens: see [`crate::engine::state::tokens`].
fn forget_tokens(state: &mut State) {
    for (_, source) in state.sources.iter_mut() {
        source.forget_tokens();
    }
}

/// Another process may have led until now: what this one holds, has read or has seen in a
/// listing may be older than what that one brought.
fn take_over(turn: &mut Turn<'_>) {
    forget_tokens(turn.state);
    for id in turn.state.sources.ids() {
        begin_source(turn, id);
    }
    for id in turn.state.providers.ids() {
        if let Some(provider) = turn.state.provider_mut(id) {
            provider.listing = None;
            provider.forget_reading();
        }
        begin_provider(turn, id);
    }
}

/// A remote that somebody has just given up may have been deleted: an earlier listing says nothing.
pub(crate) fn reconcile_freed(turn: &mut Turn<'_>) {
    let now = turn.now;
    let again = std::mem::take(&mut turn.state.looked_at_again);
    reconcile_each(turn, again);
    for id in std::mem::take(&mut turn.state.freed) {
        if let Some(entry) = turn.state.entry_mut(id).filter(|entry| entry.expected.is_none()) {
            entry.remember(|memory| memory.listing_after = Some(now.wall));
        }
        reconcile_soon(turn, id);
    }
}
